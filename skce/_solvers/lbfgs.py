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

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from skce._solvers.objective import Objective
from skce._solvers.preconditioners import Metric, draw_rows, has_matrices

__all__ = ["LBFGS", "Found", "Pairs", "minimize"]

MEMORY = (10, 60)  # pairs of L-BFGS, as many as MEMORY_SIZE allows
MEMORY_SIZE = 1 << 21  # their numbers
MOST_SCALE = 1.5  # beyond 2 rounding grows where the curvature is that of the metric
NEAR = 3.0  # times the goal: an estimate from which Newton's direction is sought
LEFT = 0.5  # share of the goal that may be left of Newton's step
SAFETY = 2.0  # of the estimate at the end
OUTLIERS = 0.05  # share of the pairs, the flattest, that do not speak for what none has met
LOOSEST = 0.01  # tol to which estimates are held at least: farther away they are too low
MOST_PRODUCTS = 10  # of one direction
ARMIJO, WOLFE = 1e-4, 0.9  # shares of the slope
SHORTEST = 1e-10  # of a step
REFRESH = 10  # passes at least before another metric
LEAST_CURVATURE = 0.01  # of a row in a metric, of the mean of its class
ROWS_PER_COLUMN = 10  # of a metric, at least
LEAST_SIZE = 1 << 20  # numbers of the rows of a metric, at least
MOST_STALLED = 3  # steps whose fall is below rounding
FIRST_ROWS = 1000  # of the first sample, at least, and ROWS_PER_WEIGHT for each weight
ROWS_PER_WEIGHT = 30
GROWTH = 4  # of the samples
SAMPLE_STEPS = 60  # most steps on one sample
ROUNDING = 1e-6  # what rounding may leave of the relative gradient


class Pairs:
    """Pairs of steps s and changes y of the gradient, and the inverse Hessian that they tell.

    In the compact form of Byrd, Nocedal and Schnabel (1994), "Representations of quasi-Newton
    matrices and their use in limited memory methods", theorem 2.2: with the columns S and Y,
    R the upper triangle of S'Y, D its diagonal, u = R^-1 S'g and the rest r = g - Y u, it is

        H g = scale * r + S R^-T (D u - scale * Y'r),     g'H g = u'D u + scale * |r|^2.

    The rest is what no pair has met; `scale` is the curvature of the last pair there, and
    `cautious_scale` the least curvature of all pairs (both inverted).
    """

    def __init__(self, size):
        self.most = min(size, int(np.clip(MEMORY_SIZE // size, *MEMORY)))
        self.S, self.Y = np.empty((2, self.most, size))
        self.SY, self.inverse = np.zeros((self.most, self.most)), np.ones(self.most)
        self.order = np.zeros(0, np.intp)  # places of the pairs, the oldest first
        self.scale = self.cautious_scale = 1.0

    def add(self, s, y):
        """Take a pair for the oldest one, unless rounding hides its curvature."""
        sy, ss, yy = float(s @ y), float(s @ s), float(y @ y)
        if not 1e-14 * np.sqrt(ss * yy) < sy < np.inf:
            return
        used = len(self.order)
        if used < self.most:
            self.order, used = np.arange(used + 1), used + 1
        else:
            self.order = np.concatenate([self.order[1:], self.order[:1]])
        place = self.order[-1]
        self.S[place], self.Y[place] = s, y
        self.SY[:used, place] = self.S[:used] @ y
        self.inverse[place] = ss / sy
        self._tell_scales()

    def take(self, S, Y):
        """Take these pairs (m, size) for all, the oldest first, but for such ones."""
        sy, ss, yy = (np.einsum("ij,ij->i", A, B) for A, B in ((S, Y), (S, S), (Y, Y)))
        good = (1e-14 * np.sqrt(ss * yy) < sy) & (sy < np.inf)
        used = np.count_nonzero(good)
        self.order = np.arange(used)
        self.S[:used], self.Y[:used] = S[good], Y[good]
        self.SY[:used, :used] = self.S[:used] @ self.Y[:used].T
        self.inverse[:used] = ss[good] / sy[good]
        if used:
            self._tell_scales()

    def _tell_scales(self):
        last, used = self.order[-1], len(self.order)
        y = self.Y[last]
        self.scale = min(self.SY[last, last] / float(y @ y), MOST_SCALE)
        flattest = np.sort(self.inverse[:used])[-1 - int(OUTLIERS * used)]
        self.cautious_scale = max(1.0, float(flattest))

    def divide(self, g):
        """Return H g, and the square of what no pair has met of g."""
        order, used = self.order, len(self.order)
        if not used:
            return g * self.scale, float(g @ g)
        S, Y, R = self.S[:used], self.Y[:used], self.SY[order[:, None], order]
        both = np.empty((2, used))
        both[0, order] = u = linalg.blas.dtrsv(R, (S @ g)[order])
        rest = g - both[0] @ Y
        v = R.diagonal() * u - self.scale * (Y @ rest)[order]
        both[1, order] = linalg.blas.dtrsv(R, v, trans=1)
        return self.scale * rest + both[1] @ S, float(rest @ rest)

    def estimate(self, product, unmet, scale=0.0):
        """Return Newton's decrement of g'H g and |r|^2, with `cautious_scale` for the rest."""
        return (product + max(self.cautious_scale - self.scale, scale - self.scale, 0) * unmet) / 2


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

    name = "lbfgs"

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


@dataclass
class Found:
    """What a solver found: W in the centred columns, and how it ended."""

    W: np.ndarray
    objective: float
    gap: float  # bound, NaN without a penalty
    estimate: float
    curve: list
    passes: float
    ended: str | None  # why it did not converge


class _Refresh:
    """When a metric is made anew, and of which rows: for as many passes as were made since."""

    def __init__(self, problem, rng):
        X, self.problem, self.rng = problem.X, problem, rng
        self.n, p = len(problem.rows), X.shape[1]
        self.for_each = has_matrices(problem)
        width = min(p, 12 * X.nnz / X.shape[0]) if sparse.issparse(X) else p
        self.cost = width / (4 if self.for_each else 4 * problem.k)  # passes, of all rows
        self.least = min(self.n, max(LEAST_SIZE // p, ROWS_PER_COLUMN * p))
        self.wait = max(REFRESH, self.cost * self.least / max(self.n, 1))
        self.last = self.spent = self.least_curvature = 0.0

    def rows(self, passes):
        """Draw the rows of a metric that may cost so many passes."""
        most = max(self.least, int(passes / max(self.cost, 1e-300) * self.n))
        return draw_rows(self.problem, most, self.rng)

    def is_due(self, passes):
        """Tell whether so many passes are enough."""
        return passes - self.last >= self.wait

    def renew(self, engine, passes=None, keep=True):
        """Give the engine a metric of the curvature where it is, for so many passes.

        None is as many as were made since the last one. Where steps bend far more than the last
        metric told, rows that are flat here are not taken for flat there.
        """
        if not keep or engine.pairs.scale < LEAST_CURVATURE:
            self.least_curvature = LEAST_CURVATURE
        passes = engine.passes - self.last if passes is None else passes
        engine.know()
        curvature = engine.objective.curvature(self.for_each, self.least_curvature)
        drawn = self.rows(passes)
        exact = self.problem.sigmoid and self.for_each and drawn[0] is None
        metric = Metric(self.problem, drawn, curvature, engine.metric.flat)
        exact = exact and not self.least_curvature  # the Hessian itself
        engine.renew(metric, keep and not exact)
        rows = self.n if drawn[0] is None else len(drawn[0])
        self.spent += self.cost * rows / max(self.n, 1)
        self.last = engine.passes

    def make_exact(self, engine):
        """Give the engine a metric of the curvature alone, which estimates need."""
        if self.least_curvature:
            self.least_curvature = 0.0
            self.renew(engine)


def minimize(problem, W, rng, *, tol, certified, most_passes, report, curve):
    """Minimise a Canonical problem.

    Parameters
    ----------
    problem : Canonical
        What to minimise.
    W : ndarray of shape (p + 1, k)
        Where to begin, in the centred columns.
    rng : RandomState
        Draws rows, where there are many.
    tol : float
        See `Canonical.goal`; with alpha=0, of the gradient.
    certified : bool
        Whether the duality gap alone ends it.
    most_passes : float
        Most passes.
    report : callable
        Called with the engine after each step on all rows.
    curve : list
        Gets the objective of each iterate.

    Returns
    -------
    found : Found
        The last iterate.
    """
    begins = not W.any()
    if begins:
        W = problem.constants()
    elif not problem.sigmoid:  # the equal shift of all classes changes the penalty alone
        W = W - W.mean(axis=1, keepdims=True)
    refresh = _Refresh(problem, rng)
    metric = Metric(problem, refresh.rows(REFRESH))
    before = 0.0
    if begins:
        W, metric, before = _on_samples(problem, W, metric, rng, curve)
    known = before > 0 or not begins
    engine = LBFGS(Objective(problem), metric, W, known)
    if known:
        refresh.renew(engine, 1)
    stop = _Stop(problem, engine, tol, certified)
    stalled = 0
    while True:
        curve.append(engine.value)
        report(engine)
        if stop():
            break
        if before + engine.passes + refresh.spent >= most_passes:
            stop.ended = f"{most_passes} passes (10 * max_iter) were made"
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
    return stop.found(curve, before + engine.passes)


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
        engine, refresh = LBFGS(Objective(part), metric, W), _Refresh(part, rng)
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


class _Stop:
    """The rule that ends a fit.

    Attributes
    ----------
    aim : float
        What is to be left to fall, for that rule to hold.
    ended : str or None
        Why it ended without the rule.
    """

    def __init__(self, problem, engine, tol, certified):
        self.problem, self.engine, self.tol, self.certified = problem, engine, tol, certified
        self.ended, self.proof, self.tried, self.at_zero = None, None, np.inf, None

    def __call__(self):
        problem, engine = self.problem, self.engine
        goal = problem.goal(engine.value, self.tol)
        self.aim = goal * (LOOSEST / max(self.tol, LOOSEST))
        if problem.alpha == 0:
            share = self._relative_gradient()
            self.aim = engine.left * min(1.0, self.tol / max(share, 1e-300)) ** 2 / 2
            return share <= (self.tol if engine.products else min(self.tol, ROUNDING))
        bound = engine.objective.bound(engine.gradient)
        if bound <= min(goal, self.tried):
            self.tried = bound / 2
            self.proof = engine.objective.certified(engine.W, engine.gradient)
            if problem.is_within(self.proof[2], self.proof[1], self.tol):
                return True
            self.proof = None
        if self.certified:
            self.aim = engine.left * goal / max(2 * bound, goal)
            return False
        return engine.products > 0 and SAFETY * engine.estimate <= self.aim

    def _relative_gradient(self):
        """Return the largest entry of the gradient in standardised columns, over that at zero."""
        objective = self.engine.objective
        if self.at_zero is None:
            gradient = self.engine.gradient
            if self.engine.W.any():
                zero = np.zeros_like(self.engine.W)
                _, gradient = objective.value_and_gradient(zero, remember=False)
            self.at_zero = max(objective.steepest(gradient), 1e-6)
        return objective.steepest(self.engine.gradient) / self.at_zero

    def is_progress(self, before):
        """Tell whether the objective fell from `before` by more than rounding makes."""
        return before - self.engine.value > self.engine.objective.noise(before)

    def stalled(self):
        """Return why an end where nothing falls is not the optimum, None where it is."""
        engine, problem = self.engine, self.problem
        if problem.alpha == 0:
            left = self._relative_gradient()
            return None if left <= ROUNDING else f"rounding left a relative gradient of {left:.1g}"
        near = max(self.aim, engine.objective.noise(engine.value))
        if not self.certified and SAFETY * engine.estimate <= near:
            return None
        return f"rounding in {problem.X.dtype} left a gap of about {engine.estimate:.1g}"

    def found(self, curve, passes):
        """Return the Found."""
        engine = self.engine
        proof = self.proof or engine.objective.certified(engine.W, engine.gradient)
        W, value, gap = proof
        return Found(W, value, gap, SAFETY * engine.estimate, curve, passes, self.ended)
