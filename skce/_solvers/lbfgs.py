"""L-BFGS in the coordinates of a preconditioner, with Newton's step near the end.

1. On many rows it begins on samples of them. Each step goes along the direction that the pairs of
   earlier steps and changes of the gradient tell, to where Wolfe's conditions hold: mostly one
   pass.
2. When as many passes were made as it costs, then twice as many and so on, until near the goal,
   the preconditioner is made anew of the curvature at the iterate, one matrix for each class. The
   pairs are forgotten, but for the least curvature that they met: estimates stay as cautious. Of
   few weights it is the whole Hessian, at each time that it costs: the steps after it are Newton's.
3. The pairs estimate how far the objective may still fall. Where that is near the goal, Newton's
   direction is sought by conjugate gradients that the pairs precondition, and each product with
   the Hessian becomes a pair too (Morales and Nocedal, 2002, "Enriched methods for large-scale
   unconstrained optimization").
4. The fit ends after a step along that direction, where SAFETY times the estimate is within the
   goal; or where a bound is, of which the penalty tells most: where that is not far above the
   estimate, steps go on to it. Of a certified fit the duality gap alone counts.
"""

import numpy as np

from skce._solvers import newton
from skce._solvers.columns import PIECE
from skce._solvers.objective import Objective
from skce._solvers.pairs import Pairs
from skce._solvers.refresh import REFRESH, Refresh
from skce._solvers.rounding import SUMMING
from skce._solvers.stopping import NEAR, SAFETY, Stop
from skce._solvers.whole import WholeHessian

__all__ = ["LBFGS", "minimize"]

# Most passes, for each of max_iter, as the estimators document. At 10 raw kddcup99 ends with a
PASSES = 20  # warning: 20,000 rows of it end after 985 passes, all, float32, 1,875
ARMIJO, WOLFE = 1e-4, 0.9  # shares of the slope in Wolfe's conditions; Nocedal and Wright, 3.1
# A trial length is at most so many times the last one, and as large a share within its bracket.
SAFEGUARD = 10
# Most steps in a row whose fall is below rounding. Without a penalty the gradient of float32 still
MOST_STALLED = 3  # falls there: with 1, tests/test_extremes.py misses tol=1e-8
# Least rows of a sample for each weight: fewer know too little of the weights.
ROWS_PER_WEIGHT = 30  # no samples, 250,000 rows: covtype 2.2, covtype_scaled at tol=1e-2 2.0
GROWTH = 4  # times as many rows as a sample has the next one; 8: covtype, all rows, 1.12


class LBFGS:
    """Minimise by L-BFGS in the coordinates of a preconditioner.

    Parameters
    ----------
    objective : Objective
        What to minimise.
    preconditioner : Preconditioner or None
        Coordinates; None is the Hessian at W.
    W : ndarray of shape (p + 1, k)
        Where to begin.

    Attributes
    ----------
    W : ndarray of shape (p + 1, k)
        The iterate, in double.
    value : float
        Objective at W.
    gradient : ndarray of shape (p + 1, k)
        Gradient at W.
    left : float
        Half the slope along the next direction: what is left to fall if the pairs are right.
    estimate : float
        The same, with the least curvature that any pair has met where none has been.
    exact : bool
        Whether the preconditioner is the Hessian at W.
    by_newton : bool
        Whether the last step went along Newton's direction.
    bend : float
        Curvature that the last step met, over what its direction told.
    """

    def __init__(self, objective, preconditioner, W, remember=False):
        self.exact, self.by_newton, self.bend = preconditioner is None, False, 1.0
        self.known = remember or self.exact  # whether the objective has the curvature at W
        found = objective.value_and_gradient(W, self.known)
        self.objective, self.pairs, self.g = objective, Pairs(W.size), np.zeros(W.size)
        self.preconditioner = WholeHessian(objective) if self.exact else preconditioner
        if not self.exact and preconditioner.is_diagonal:
            # columns that correlate add up: a step of length 1 begins, and pairs tell the next ones
            self.pairs = Pairs(W.size, 1.0, np.inf)
            size = float(np.linalg.norm(preconditioner.to_gradient(found[1])))
            self.pairs.scale = 1 / max(size, 1.0)
        self._arrive(W, *found)

    @property
    def passes(self):
        """Passes made."""
        return self.objective.passes

    def _arrive(self, W, value, gradient, step=None):
        """Take W for the iterate, and find the direction from there."""
        self.W, self.value, self.gradient = W, value, gradient
        g, pairs = self.preconditioner.to_gradient(gradient).ravel(), self.pairs
        if step is not None:
            pairs.add(step, g - self.g)
        direction, unmet = pairs.divide(g)
        self.g, self.direction = g, -direction
        self.left = float(g @ direction) / 2
        self.estimate = pairs.estimate(2 * self.left, unmet)

    def know(self):
        """Let the objective remember the curvature at W."""
        if not self.known:
            self.objective.value_and_gradient(self.W)
            self.known = True

    def renew(self, preconditioner, exact=False):
        """Take another preconditioner, and no pairs, of which it keeps the least curvature."""
        self.pairs = Pairs(self.W.size, 1.0 if exact else self.pairs.cautious_scale)
        self.preconditioner, self.exact = preconditioner, exact
        self._arrive(self.W, self.value, self.gradient)

    def step(self, remember):
        """Make one step of L-BFGS; return False where no step lowers the objective."""
        self.by_newton, self.exact = self.exact, False
        return self._move(self.direction, remember)

    def ahead(self):
        """Return where a whole step along the direction leads, which is not looked at."""
        return self.W + self.preconditioner.to_weights(self.direction.reshape(self.W.shape))

    def newton_step(self, goal):
        """Make one step along Newton's direction, known to a share of the goal."""
        self.know()
        direction, pairs = newton.direction(self, goal)
        for pair in pairs:
            self.pairs.add(*pair)
        self.by_newton, self.exact = bool(pairs), False
        return bool(pairs) and self._move(direction, True)

    def _move(self, direction, remember):
        """Step to where Wolfe's conditions hold; return False if no step lowers the objective.

        Nocedal and Wright (2006), "Numerical optimization", section 3.5, with quadratic guesses;
        where rounding hides the fall, a flat slope is enough.
        """
        D = self.preconditioner.to_weights(direction.reshape(self.W.shape))
        slope = float(np.vdot(self.gradient, D))
        low, high, length, best, value = 0.0, np.inf, 1.0, None, np.nan
        while slope < 0 and min(length, high - low) > SUMMING:
            W = self.W + length * D
            value, gradient = self.objective.value_and_gradient(W, remember=remember)
            here, fall = float(np.vdot(gradient, D)), self.value - value
            flat = fall >= -self.objective.noise(value) and abs(here) <= -WOLFE * slope
            if not (flat or fall >= -ARMIJO * length * slope):
                high, bend = length, -fall - length * slope
                guess = -slope * length**2 / (2 * bend) if 0 < bend < np.inf else 0.0
            else:
                best = W, value, gradient, length * direction
                self.bend = (slope - here) / (slope * length)
                if flat or here >= WOLFE * slope:
                    break
                low, guess = length, length * slope / (slope - here) if here > slope else np.inf
            if high < np.inf:
                least, most = low + (high - low) / SAFEGUARD, (low + high) / 2
            else:
                least, most = 2 * length, SAFEGUARD * length
            length = min(max(guess, least), most)
        self.known = remember and best is not None and best[0] is W
        if best is None:
            return False
        self._arrive(*best)
        return True


def minimize(problem, start, rng, limits, near=None):
    """Minimise a Problem; parameters and result are those of `auto.minimize`.

    `near` is the `LBFGS` at the end of nearly the same problem: this one begins with its
    preconditioner.
    """
    curve: list[float] = []
    refresh = Refresh(problem, rng)
    engine, before = _begin(problem, start, rng, refresh, curve, limits, near)
    stop = Stop(problem, engine, limits)
    most_passes, stalled, ran_out = PASSES * limits.max_iter, 0, False
    # near an optimum the first pairs meet none of the directions along which most is left: fits of
    # 3,000 rows, 50 classes, ended 3.7 tol off after SDCA
    least = REFRESH if start.any() and near is None else 0
    while True:
        _tell(engine, before + engine.passes, curve, limits)
        if stop():  # step 4
            break
        if before + engine.passes + refresh.spent >= most_passes:
            stop.ended = f"max_iter={limits.max_iter} was reached, after {most_passes} passes"
            ran_out = True
            break
        # near the goal fewer passes are left than one costs, but for the whole Hessian, with which
        # steps are Newton's: segment, 500 rows, 1.3
        worth = refresh.whole or engine.estimate > NEAR * stop.aim
        if worth and refresh.is_due(engine.passes) and not engine.exact:  # step 2
            refresh.renew(engine)
        value = engine.value
        # an estimate that stays far too high must not keep Newton's direction from mending it
        # (kddcup99); what the pairs tell may be ten times too low: NEAR, mnist 47 passes for 40
        left = min(engine.estimate, NEAR**2 * engine.left)
        near_by = left <= NEAR * stop.aim and NEAR * stop.estimate < stop.bound
        if near_by and (engine.exact or engine.passes >= least):  # step 3
            refresh.for_newton(engine)
            moved = engine.step(True) if engine.exact else engine.newton_step(stop.aim)
        else:
            moved = engine.step(left <= NEAR**2 * stop.aim or refresh.is_due(engine.passes + 1))
        stalled = 0 if moved and stop.is_progress(value) else stalled + 1
        if not moved and refresh.last < engine.passes and stalled <= MOST_STALLED:
            refresh.renew(engine, stuck=True)  # once more without the pairs
        elif not moved or stalled > MOST_STALLED:
            stop.ended = stop.stalled()
            break
    return stop.result(curve, before + engine.passes, ran_out)


def _begin(problem, start, rng, refresh, curve, limits, near):
    """Return the engine at the start, and the passes made before it."""
    W, begins, before = start, not start.any(), 0.0
    if begins:
        W = problem.constants()
    elif not problem.sigmoid:  # the equal shift of all classes changes the penalty alone
        W = W - W.mean(axis=1, keepdims=True)
    if near is not None:
        return LBFGS(Objective(problem), near.preconditioner, W, True), before
    preconditioner = refresh.first(not begins)
    if begins:  # step 1
        W, preconditioner, before = _on_samples(problem, W, preconditioner, rng, curve, limits)
    known = before > 0 or not begins
    engine = LBFGS(Objective(problem), preconditioner, W, known)
    if known and not engine.exact:
        refresh.renew(engine, 1)
    return engine, before


def _tell(engine, passes, curve, limits):
    curve.append(engine.value)
    limits.report("lbfgs", passes, engine.value, lambda: engine.W, SAFETY * engine.estimate)


def _on_samples(problem, W, preconditioner, rng, curve, limits):
    """Run on samples of many rows; return the last W, its preconditioner and the passes made."""
    n, p = problem.X.shape
    passes, size = 0.0, problem.n_weighted
    sizes: list[int] = []
    while size >= GROWTH * max(PIECE // p, ROWS_PER_WEIGHT * p * problem.k):
        size //= GROWTH
        sizes.insert(0, size)
    for part in problem.samples(sizes, rng):
        size = part.X.shape[0]
        engine, refresh = LBFGS(Objective(part), preconditioner, W), Refresh(part, rng)
        # half of what more rows will change anyway, half a unit of the likelihood for each weight
        sampling = p * max(1, problem.k - 1) / (4 * size)
        for _ in range(limits.max_iter):
            if engine.estimate <= min(sampling, 0.05 * abs(engine.value)):
                break
            if refresh.is_due(engine.passes):
                refresh.renew(engine)
            _tell(engine, passes + engine.passes * size / n, curve, limits)
            if not engine.step(refresh.is_due(engine.passes + 1)):
                break
        passes += engine.passes * size / n
        W, preconditioner = engine.W, engine.preconditioner
    return W, preconditioner, passes
