"""Stochastic dual coordinate ascent: groups of labels, the loop over passes, when it ends."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from skce._kernels.threads import thread_count
from skce._solvers.ascent import SDCA
from skce._solvers.result import Result
from skce._solvers.stopping import MOST_PASSES, NEAR, is_slow

__all__ = ["GAVE_UP", "SplitSDCA", "minimize"]

# Least labels of a group, and most groups: each makes passes over X of its own, in a thread.
GROUP, MOST_GROUPS = 64, 8
GAVE_UP = "another solver is faster"


class SplitSDCA:
    """SDCA for groups of labels, which are problems of their own, in threads.

    The groups depend on the number of labels only.
    """

    def __init__(self, problem, W, rng, q=None):
        self.problem = problem
        groups = self.groups(problem)
        seeds = [np.random.RandomState(rng.randint(2**31 - 1)) for _ in groups]
        # its threads end with it
        self.pool = ThreadPoolExecutor(min(len(groups), thread_count()))

        def start(group, seed, q):
            return SDCA(problem.labels(group), W[:, group], seed, q)

        self.engines = list(self.pool.map(start, groups, seeds, q or [None] * len(groups)))
        self.Z = self.engines[0].Z
        self.passes = 0

    @staticmethod
    def groups(problem):
        """Return the numbers of the labels of each group."""
        if not problem.sigmoid:
            return [np.arange(problem.k)]
        count = int(np.clip(problem.k // GROUP, 1, MOST_GROUPS))
        return np.array_split(np.arange(problem.k), count)

    @property
    def q(self):
        """`SDCA.q` of each group."""
        return [engine.q for engine in self.engines]

    def in_parts(self, parts):
        """Make one pass; yield after each of its parts, which `value` is an estimate from."""
        passes = [engine.in_parts(parts) for engine in self.engines]
        for _ in range(parts):
            list(self.pool.map(next, passes))
            self.passes = self.engines[0].passes
            self.value = sum(engine.value for engine in self.engines)
            self.estimated_gap = sum(engine.estimated_gap for engine in self.engines)
            yield

    @property
    def W(self):
        """The iterate."""
        return np.hstack([engine.W for engine in self.engines])

    def turn_back(self, times=1.0):
        """`SDCA.turn_back`."""
        for engine in self.engines:
            engine.turn_back(times)

    def evaluate(self):
        """Return the objective and the bound of the gap at W."""
        return tuple(np.sum([engine.evaluate() for engine in self.engines], axis=0).tolist())


def minimize(problem, start, rng, limits, near=None):
    """Minimise a Problem with alpha > 0 by passes over its rows.

    Parameters and result are those of `auto.minimize`; `near` tells `SDCA.q` to begin with. Where
    `limits` allow it to give up and L-BFGS is faster, the result has ended with GAVE_UP, and W is
    where to go on.
    """
    several = len(SplitSDCA.groups(problem)) > 1
    q = near.q if near is not None else None
    engine = (SplitSDCA if several else SDCA)(problem, start, rng, q)
    curve: list[float] = []
    gaps: list[float] = []
    least, risen = (np.inf, np.inf, engine.W), 0  # gap, value and W
    share = 1 / NEAR  # of the estimated gap, that the bound is

    def result(W, value, gap, ended, ran_out=False):
        W = W.astype(np.float64, copy=False)
        passes, q = engine.passes, engine.q
        return Result(W, value, gap, gap, curve, passes, ended, q=q, ran_out=ran_out)

    while engine.passes < limits.max_iter:
        for _ in engine.in_parts(limits.parts):
            curve.append(engine.value)
            gap = engine.estimated_gap
            limits.report("sdca", engine.passes, engine.value, lambda: engine.W, gap)
        gaps.append(engine.estimated_gap)
        goal = problem.goal(engine.value, limits.tol)
        if share * engine.estimated_gap <= goal:
            engine.turn_back()
            value, gap = engine.evaluate()
            if problem.is_within(gap, value, limits.tol):
                return result(engine.W, value, gap, None)
            engine.turn_back(-1.0)
            share = min(1.0, gap / engine.estimated_gap)
            gaps[-1] = max(gaps[-1], gap)
        left = limits.max_iter - engine.passes
        if limits.may_give_up and engine.Z is None and is_slow(gaps, goal, left):
            return result(engine.W, np.inf, np.inf, GAVE_UP)
        if engine.passes % MOST_PASSES == 0:  # rounding may hold the gap up
            value, gap = engine.evaluate()
            risen = 0 if gap < least[0] else risen + 1  # a pure L1's stands still and then falls
            least = (gap, value, engine.W.copy()) if risen == 0 else least
            if risen == 2:
                break
    value, gap = engine.evaluate()
    gap, value, W = (gap, value, engine.W) if gap <= least[0] else least
    if problem.is_within(gap, value, limits.tol):
        ended = None
    elif engine.passes == limits.max_iter and not is_slow(gaps, problem.goal(value, limits.tol)):
        return result(W, value, gap, f"max_iter={limits.max_iter} was reached", True)
    elif engine.Z is None:
        ended = GAVE_UP
    else:
        ended = (
            f"the gap of {gap:.1g} falls too slowly: "
            "give a larger tol or alpha, or scale the columns of X"
        )
    return result(W, value, gap, ended)
