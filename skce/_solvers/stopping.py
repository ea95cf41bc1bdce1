"""The rules that end L-BFGS, and SDCA where L-BFGS is faster."""

import numpy as np

from skce._solvers.result import Result
from skce._solvers.rounding import TINY

__all__ = ["MOST_PASSES", "NEAR", "SAFETY", "Stop", "is_slow"]

# Times the goal: an estimate from which Newton's direction, or a certificate, is worth its passes.
# 1: magic 1.17, yeast 1.20; 10: covtype and satimage 1.5; 3: clinc150_minilm 1.25, bibtex 1.08
NEAR = 4.0
# The estimate times this has to be within the goal. estimates.py --fits 1200 --from 700000: of fits
# with converged_ 99.8 % end within tol, the worst 9.8 goals off, 98.6 % by an estimate that is not
SAFETY = 3.0  # below the gap; 2: 99.9 %, 14.7 goals, 98.1 %; 1: 99.3 %, 21.7 goals, 78.2 %
LOOSEST = 0.01  # tol to which estimates are held at least: farther away they are too low; 1: 97.3 %
# Share of the curvature it was told that the last step must meet: where curvature falls on the way,
LEAST_BEND = 0.9  # estimates are too low; 0: 5 of 60 Cauchy columns end 288 to 2,500 goals off
LEAST_GRADIENT = 1e-6  # relative to that at zero: what rounding may leave; without a penalty
# Passes of SDCA that tell how fast its gap falls, at least, or half of all: gaps rise now and then.
LOOK_BACK = 6  # 10: the same on five sets at .01/n
# Passes that SDCA may still need at that rate, or make while its gap does not fall.
MOST_PASSES = 100  # 60: tmc2007, 3,000 rows, alpha=.01/n, 3.9 s


class Stop:
    """The rule that ends a fit.

    Attributes
    ----------
    aim : float
        What is to be left to fall, for that rule to hold.
    bound : float
        How far the objective may fall: at most, of the weights, by the penalty; of the intercepts
        as the pairs tell.
    ended : str or None
        Why it ended without the rule.
    """

    def __init__(self, problem, engine, limits):
        self.problem, self.engine, self.limits = problem, engine, limits
        self.ended, self.proof, self.tried, self.at_zero = None, None, np.inf, None
        self.bound = np.inf

    def __call__(self):
        problem, engine, self.proof = self.problem, self.engine, None
        goal = problem.goal(engine.value, self.limits.tol)
        self.aim = goal * (LOOSEST / max(self.limits.tol, LOOSEST))
        if problem.alpha == 0:
            share = self._relative_gradient()
            self.aim = engine.estimate * min(1.0, self.limits.tol / max(share, TINY)) ** 2 / 2
            return share <= (
                self.limits.tol if engine.by_newton else min(self.limits.tol, LEAST_GRADIENT)
            )
        bound = engine.objective.bound(engine.gradient)
        if self.limits.certified:
            self.aim = engine.estimate * goal / max(2 * bound, goal)
        else:
            self.bound = bound + SAFETY * engine.left
            told = engine.by_newton and engine.bend >= LEAST_BEND
            if self.bound <= goal or (told and SAFETY * engine.estimate <= self.aim):
                return True
        # what a fit began with may be proven: fitted once more with warm_start it stays as it is
        asked = self.limits.certified or engine.passes == 1
        if not asked or bound > min(goal, self.tried):
            return False
        self.tried = bound / 2
        self.proof = engine.objective.certified(engine.W, engine.gradient)
        return problem.is_within(self.proof[2], self.proof[1], self.limits.tol)

    @property
    def estimate(self):
        """Of how far the objective may fall."""
        return min(SAFETY * self.engine.estimate, self.bound)

    def _relative_gradient(self):
        """Return the largest entry of the gradient in standardised columns, over that at zero."""
        objective = self.engine.objective
        if self.at_zero is None:
            gradient = self.engine.gradient
            if self.engine.W.any():
                zero = np.zeros_like(self.engine.W)
                _, gradient = objective.value_and_gradient(zero, remember=False)
            self.at_zero = max(objective.largest_scaled_gradient(gradient), LEAST_GRADIENT)
        return objective.largest_scaled_gradient(self.engine.gradient) / self.at_zero

    def is_progress(self, before):
        """Tell whether the objective fell from `before` by more than rounding makes."""
        return before - self.engine.value > self.engine.objective.noise(before)

    def stalled(self):
        """Return why an end where nothing falls is not the optimum, None where it is."""
        engine, problem = self.engine, self.problem
        if problem.alpha == 0:
            left = self._relative_gradient()
            if left <= LEAST_GRADIENT:
                return None
            return f"rounding left a relative gradient of {left:.1g}: give an alpha above 0"
        near = max(self.aim, engine.objective.noise(engine.value))
        if not self.limits.certified and self.estimate <= near:
            return None
        left = f"gap of about {engine.estimate:.1g}"
        if self.limits.certified:
            self.proof = engine.objective.certified(engine.W, engine.gradient)
            left = f"bound of the gap of {self.proof[2]:.1g}"
        left = f"rounding in {problem.X.dtype} left a {left}"
        return f"{left}: give a larger tol or alpha, or scale the columns of X"

    def result(self, curve, passes, ran_out):
        """Return the Result, without a bound of the gap where the limits do not ask for one."""
        engine, proof = self.engine, self.proof
        if proof is None and not self.limits.prove:
            proof = engine.objective.rounded(engine.W), engine.value, np.inf
        W, value, gap = proof or engine.objective.certified(engine.W, engine.gradient)
        estimate = self.estimate
        return Result(W, value, gap, estimate, curve, passes, self.ended, engine, ran_out=ran_out)


def is_slow(gaps, goal, left=MOST_PASSES):
    """Tell whether the goal is too many passes away, as the gaps of the last ones fell."""
    if len(gaps) <= LOOK_BACK:
        return False
    back = max(LOOK_BACK, len(gaps) // 2)
    rate = np.log(gaps[-1 - back] / max(gaps[-1], TINY)) / back
    return np.log(max(gaps[-1], TINY) / max(goal, TINY)) > min(left, MOST_PASSES) * max(rate, TINY)
