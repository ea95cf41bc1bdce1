"""L-BFGS in the coordinates of a metric, with Newton's step near the end.

1. On many rows it begins on samples of them. Each step goes along the direction that the pairs of
   earlier steps and changes of the gradient tell, to where Wolfe's conditions hold: mostly one
   pass.
2. When as many passes were made as it costs, the metric is made anew of the curvature at the
   iterate, one matrix for each class; the pairs are taken along.
3. The pairs estimate how far the objective may still fall. Where that is near the goal, Newton's
   direction is sought by conjugate gradients that the pairs precondition, and each product with
   the Hessian becomes a pair too (Morales and Nocedal, 2002, "Enriched methods for large-scale
   unconstrained optimization").
4. The fit ends after a step along that direction, where SAFETY times the estimate is within the
   goal; or where the duality gap is, which alone counts for a certified one.
"""

import numpy as np

from skce._solvers.objective import Objective
from skce._solvers.pairs import Pairs
from skce._solvers.preconditioners import Metric
from skce._solvers.refresh import REFRESH, Refresh
from skce._solvers.stopping import Stop

__all__ = ["LBFGS", "minimize"]

PASSES = 10  # times max_iter, at most
NEAR = 3.0  # times the goal: an estimate from which Newton's direction is sought
LEFT = 0.5  # share of the goal that may be left of Newton's step
MOST_PRODUCTS = 10  # of one direction
ARMIJO, WOLFE = 1e-4, 0.9  # shares of the slope
SHORTEST = 1e-10  # of a step
MOST_STALLED = 3  # steps whose fall is below rounding
FIRST_ROWS = 1000  # of the first sample, at least, and ROWS_PER_WEIGHT for each weight
ROWS_PER_WEIGHT = 30
GROWTH = 4  # of the samples
SAMPLE_STEPS = 60  # most steps on one sample


class LBFGS:
    """Minimise by L-BFGS in the coordinates of a metric.

    Parameters
    ----------
    objective : Objective
        What to minimise.
    metric : Metric
        Coordinates.
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
    products : int
        Products with the Hessian of the last step, 0 for one of L-BFGS.
    """

    def __init__(self, objective, metric, W, remember=False):
        self.objective, self.metric, self.pairs = objective, metric, Pairs(W.size)
        self.known = remember  # whether the objective has the curvature at W
        self.products = 0
        self.g = np.zeros(W.size)
        self._arrive(W, *objective.value_and_gradient(W, remember))

    @property
    def passes(self):
        """Passes made."""
        return self.objective.passes

    def _arrive(self, W, value, gradient, step=None):
        """Take W for the iterate, and find the direction from there."""
        self.W, self.value, self.gradient = W, value, gradient
        g, pairs = self.metric.to_gradient(gradient).ravel(), self.pairs
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

    def renew(self, metric, keep=True):
        """Go on in the coordinates of another metric, with the pairs in these or without."""
        old, before, pairs = self.metric, self.pairs, Pairs(self.W.size)
        order, shape = before.order if keep else before.order[:0], (-1, *self.W.shape)
        if len(order):
            S = metric.to_coordinates(old.to_weights(before.S[order].reshape(shape)))
            Y = metric.to_gradient(old.from_gradient(before.Y[order].reshape(shape)))
            pairs.take(S.reshape(len(order), -1), Y.reshape(len(order), -1))
        self.metric, self.pairs = metric, pairs
        self._arrive(self.W, self.value, self.gradient)

    def step(self, remember):
        """Make one step of L-BFGS; return False where no step lowers the objective."""
        self.products = 0
        return self._move(self.direction, remember)

    def newton_step(self, goal):
        """Make one step along Newton's direction, known to a share of the goal."""
        self.know()
        x, r, q, rz = np.zeros_like(self.g), -self.g, self.direction, 2 * self.left
        found: list[tuple] = []
        estimate, flattest = self.estimate, 0.0
        least = max(LEFT * goal, 1e-3 * estimate)
        while not found or (estimate > least and len(found) < MOST_PRODUCTS):
            Q = self.metric.to_weights(q.reshape(self.W.shape))
            Hq = self.metric.to_gradient(self.objective.product(Q)).ravel()
            curvature = float(q @ Hq)
            if not 0 < curvature < np.inf:
                break
            found.append((q, Hq))
            x = x + rz / curvature * q
            r = r - rz / curvature * Hq
            z, unmet = self.pairs.divide(r)
            rz, before = float(r @ z), rz
            flattest = max(flattest, float(q @ q) / curvature)
            estimate = self.pairs.estimate(rz, unmet, flattest)
            q = z + rz / before * q
        for pair in found:
            self.pairs.add(*pair)
        self.products = len(found)
        return bool(found) and self._move(x, True)

    def _move(self, direction, remember):
        """Step to where Wolfe's conditions hold; return False if no step lowers the objective."""
        D = self.metric.to_weights(direction.reshape(self.W.shape))
        slope = float(np.sum(self.gradient * D))
        low, high, length, best, value = 0.0, np.inf, 1.0, None, np.nan
        while slope < 0 and length > SHORTEST and high - low > SHORTEST:
            W = self.W + length * D
            value, gradient = self.objective.value_and_gradient(W, remember=remember)
            here, fall = float(np.sum(gradient * D)), self.value - value
            flat = fall >= -self.objective.noise(value) and abs(here) <= -WOLFE * slope
            if not (flat or fall >= -ARMIJO * length * slope):
                high, bend = length, -fall - length * slope
                guess = -slope * length**2 / (2 * bend) if 0 < bend < np.inf else 0.0
            else:
                best = W, value, gradient, length * direction
                if flat or here >= WOLFE * slope:
                    break
                low, guess = length, length * slope / (slope - here) if here > slope else np.inf
            if high < np.inf:
                length = float(np.clip(guess, low + (high - low) / 10, (low + high) / 2))
            else:
                length = float(np.clip(guess, 2 * length, 10 * length))
        self.known = remember and best is not None and best[0] is W
        if best is None:
            return False
        self._arrive(*best)
        return True


def minimize(problem, start, rng, limits):
    """Minimise a Problem; parameters and result are those of `auto.minimize`."""
    W, begins, curve = start, not start.any(), []
    if begins:
        W = problem.constants()
    elif not problem.sigmoid:  # the equal shift of all classes changes the penalty alone
        W = W - W.mean(axis=1, keepdims=True)
    refresh = Refresh(problem, rng)
    metric = Metric(problem, refresh.rows(REFRESH))
    before = 0.0
    if begins:
        W, metric, before = _on_samples(problem, W, metric, rng, curve)
    known = before > 0 or not begins
    engine = LBFGS(Objective(problem), metric, W, known)
    if known:
        refresh.renew(engine, 1)
    stop = Stop(problem, engine, limits)
    most_passes, stalled = PASSES * limits.max_iter, 0
    while True:
        curve.append(engine.value)
        limits.report("lbfgs", engine.passes, engine.value, lambda: engine.W)
        if stop():
            break
        if before + engine.passes + refresh.spent >= most_passes:
            stop.ended = f"{most_passes} passes ({PASSES} * max_iter) were made"
            break
        if refresh.is_due(engine.passes):
            refresh.renew(engine)
        value = engine.value
        if engine.left <= NEAR * stop.aim:
            refresh.make_exact(engine)
            moved = engine.newton_step(stop.aim)
        else:
            near = engine.left <= NEAR**2 * stop.aim
            moved = engine.step(near or refresh.is_due(engine.passes + 1))
        stalled = 0 if moved and stop.is_progress(value) else stalled + 1
        if not moved and refresh.last < engine.passes and stalled <= MOST_STALLED:
            refresh.renew(engine, keep=False)
        elif not moved or stalled > MOST_STALLED:
            stop.ended = stop.stalled()
            break
    return stop.result(curve, before + engine.passes)


def _on_samples(problem, W, metric, rng, curve):
    """Run on samples of many rows; return the last W and metric, and the passes it cost."""
    n, p = problem.X.shape
    passes, size = 0.0, len(problem.rows)
    sizes: list[int] = []
    while size >= GROWTH * max(FIRST_ROWS, ROWS_PER_WEIGHT * p * problem.k):
        size //= GROWTH
        sizes.insert(0, size)
    order = rng.permutation(problem.rows) if sizes else None
    for size in sizes:
        part = problem.subset(np.sort(order[:size]))
        engine, refresh = LBFGS(Objective(part), metric, W), Refresh(part, rng)
        sampling = p * max(1, problem.k - 1) / (4 * size)  # what more rows will change anyway
        for _ in range(SAMPLE_STEPS):
            if engine.estimate <= min(sampling, 0.05 * abs(engine.value)):
                break
            if refresh.is_due(engine.passes):
                refresh.renew(engine)
            curve.append(engine.value)
            if not engine.step(refresh.is_due(engine.passes + 1)):
                break
        passes += engine.passes * size / n
        W, metric = engine.W, engine.metric
    return W, metric, passes
