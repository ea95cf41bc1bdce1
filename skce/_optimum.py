"""The way to a certified optimum: which solver, when to change it, when to stop."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import linalg, sparse

from skce._dual import SDCA, SplitSDCA
from skce._metric import Metric
from skce._newton import NewtonCG, lbfgs
from skce._objective import CHEAP_PASSES, Objective

__all__ = ["Optimum", "find_optimum", "is_small", "judged"]

SMALL_SIZE = 4e6  # n * p * K up to which "auto" goes on to the last digits, in double
MOST_LEVERAGE = 30.0  # of the rows, from the penalty alone, up to which dense data suit sdca
SAMPLE = 1000  # rows from which their length is told
MATRIX_SIZE = 4000  # columns up to which Newton's method knows a matrix
PATIENCE = 100  # passes of sdca in which its gap falls, or in as many more: else rounding holds it
WIDE_ROWS = 2000  # up to which, and half the columns, weights are sought in the rows' span
LOOK_BACK = 6  # passes from which the rate of sdca is told
MOST_PASSES = 60  # that it may need at that rate
EXACT = 1e-10  # relative gradient of small problems
CERTAIN = 1e-6  # of the goal's scale, which such an end has to certify at least
ROUNDING = 1e-6  # what rounding may leave of the gradient
MOST_LOST = 3  # steps whose promise is below rounding
MOST_BEYOND = 60  # steps of small problems from EXACT on, for the certificate
SURE = 1e-2  # of the goal: a fall of L-BFGS from which Newton's method does better
NEWTON_PASSES = 10  # times max_iter
FIRST_ROWS = 1000  # of the first sample, at least, and ROWS_PER_WEIGHT for each weight
ROWS_PER_WEIGHT = 12
GROWTH = 4  # of the samples
SAMPLE_STEPS = 60  # most steps on one sample
REFRESH_FEATURES = 100  # from which another metric saves more than it costs
REFRESH = 20  # evaluations after which the metric is made anew at the present weights
RATE = 5  # steps from which the rate of L-BFGS is told
SLOW_STEPS = 30  # that L-BFGS may need, where a whole Hessian is at hand


@dataclass
class Optimum:
    """What was found: W in the centred columns, and how it ended."""

    W: np.ndarray
    objective: float
    gap: float
    curve: list
    passes: int
    ended: str | None


def is_small(X, k):
    """Tell whether a problem is solved to the last digits."""
    return X.shape[0] * X.shape[1] * k <= SMALL_SIZE


def find_optimum(problem, solver, W, rng, *, tol, max_iter, report):
    """Minimise a Canonical problem.

    Parameters
    ----------
    problem : Canonical
        In double where `is_small` and the solver is "auto".
    solver : {"auto", "sdca", "lbfgs"}
        What is allowed.
    W : ndarray of shape (p + 1, k)
        Where to begin; zero if that is better.
    rng : RandomState
        For samples and the order of rows.
    tol : float
        See `Canonical.goal`.
    max_iter : int
        Most passes of sdca; Newton's method may make ten times as many.
    report : callable
        Called with the engine after each step.

    Returns
    -------
    found : Optimum
        The best W seen.
    """
    if not problem.weights.any():  # no row has a target
        return Optimum(np.zeros_like(W), 0.0, 0.0, [0.0], 0, None)
    if W.any():
        value, _ = Objective(problem).value_and_gradient(W, remember=False)
        W = W if problem.beats_zero(value) else np.zeros_like(W)
    curve: list[float] = []
    if _suits_sdca(problem, solver):
        several = len(SplitSDCA.groups(problem)) > 1
        engine = SplitSDCA(problem, W, rng) if several else SDCA(problem, W, rng)
        must = solver == "sdca" or engine.sparse or engine.Z is not None
        if must or engine.alone() <= MOST_LEVERAGE:
            found = _ascend(engine, solver, tol, max_iter, report, curve)
            if found is not None:
                return found
            W = engine.best().astype(np.float64)
        del engine  # and its table
    exact = solver == "auto" and is_small(problem.X, problem.k)
    before = len(curve)  # passes of sdca
    way = (rng, tol, NEWTON_PASSES * max_iter)
    if not _is_wide(problem):
        return _descend(problem, W, *way, report, curve, exact, before)
    span = _Span(problem)

    def tell(engine):
        report(_Outside(engine, span))

    found = _descend(span.problem, span.inside(W), *way, tell, curve, exact, before)
    return judged(problem, replace(found, W=span.outside(found.W)), tol)


def _is_wide(problem):
    """Tell whether weights are found in the span of the rows: few dense rows of many columns."""
    n, p = len(problem.rows), problem.X.shape[1]
    return not sparse.issparse(problem.X) and n <= min(p // 2, WIDE_ROWS)


class _Span:
    """The problem in coordinates of an orthonormal basis of the rows, where the optimum is.

    Neither losses nor the squared norm change.
    """

    def __init__(self, problem):
        Z = problem.X - problem.centre_in_dtype
        Q, R = linalg.qr(Z[problem.rows].T, mode="economic", check_finite=False)
        turn, R, _ = linalg.qr(R, pivoting=True, check_finite=False)
        size = np.abs(R.diagonal())  # of rows that depend on others but for rounding, nothing
        rank = int((size > len(size) * np.finfo(R.dtype).eps * size[0]).sum())
        self.Q = Q @ turn[:, : max(rank, 1)]
        self.problem = replace(problem, X=np.ascontiguousarray(Z @ self.Q), centre=None)

    def inside(self, W):
        """Return the coordinates of W."""
        return np.vstack([self.Q.T @ W[:-1], W[-1:]])

    def outside(self, W):
        """Return W of its coordinates."""
        return np.vstack([self.Q @ W[:-1], W[-1:]])


@dataclass
class _Outside:
    """What a report is told of an engine that works in a span."""

    engine: Any
    span: _Span

    @property
    def W(self):
        return self.span.outside(self.engine.W)

    def __getattr__(self, name):
        return getattr(self.engine, name)


def judged(problem, found, tol):
    """Return what was found with its objective and gap told anew, in another dtype of X."""
    W, value, gap = Objective(problem).certified(found.W)
    ended, above = found.ended, not problem.beats_constants(value)
    if above:
        W, value, gap = _constants(problem)
        ended = ended or "the objective did not fall below that of the best constants"
    near = max(problem.goal(value, max(tol, CERTAIN)), np.finfo(float).eps * problem.at_zero)
    if above and gap <= near:
        ended = None
    elif problem.alpha and ended is None and not gap <= near:
        ended = f"rounding left a gap of {gap:.1g}"
    return replace(found, W=W, objective=value, gap=gap, ended=ended)


def _suits_sdca(problem, solver):
    if solver != "auto":
        return solver == "sdca"
    X = problem.X
    if problem.l1_ratio and problem.alpha:
        return True
    if problem.alpha == 0 or is_small(X, problem.k):
        return False
    if not sparse.issparse(X):
        rows = X[:: max(1, X.shape[0] // SAMPLE)] - problem.centre_in_dtype
        square = float(np.einsum("ij,ij->", rows, rows, dtype=np.float64)) / len(rows)
        return square <= MOST_LEVERAGE * X.shape[0] * problem.alpha
    if X.shape[1] > MATRIX_SIZE:
        return True
    return problem.nonzeros[2]


def _constants(problem):
    """Return the best constants, zero coefficients for all, and the bound of their gap.

    The intercepts are those that the targets' shares ask for, of which missing entries leave 0.
    """
    W = np.zeros((problem.X.shape[1] + 1, problem.k))
    value = problem.at_zero
    if problem.knows_constants:
        sums, total, _ = problem.masses
        least = np.finfo(problem.X.dtype).tiny
        on, off = np.maximum(sums, least * total), np.maximum(total - sums, least * total)
        if problem.sigmoid:
            W[-1] = np.where(total > 0, np.log(on / np.where(total > 0, off, 1)), 0)
        else:
            W[-1] = np.log(on / on.sum())
            W[-1] -= W[-1].mean()
        value = problem.objective(W)
    return W, value, value - problem.masses[2] if problem.alpha else np.nan


def _ascend(engine, solver, tol, max_iter, report, curve):
    """Run sdca; return the Optimum, or None where Newton's method should go on."""
    problem = engine.problem
    running, least, risen = [], (np.inf, np.inf, engine.W), 0
    while engine.passes < max_iter:
        engine.step()
        curve.append(engine.value)
        running.append(engine.running)
        report(engine)
        goal = problem.goal(engine.value, tol)
        engine.certify(goal)
        if problem.is_within(engine.gap, engine.value, tol):
            return _or_zero(problem, engine.W, engine.value, engine.gap, curve, engine.passes)
        if solver == "auto" and engine.Z is None and _is_slow(running, goal):
            return None
        if engine.passes % PATIENCE == 0:
            value, gap = engine.evaluate(engine.W)
            risen = 0 if gap < least[1] else risen + 1  # a pure L1's stands still and then falls
            least = min(least, (value, gap, engine.W.copy()), key=_by_gap)
            if risen == 2:
                break
    ends = [(*engine.evaluate(W), W) for W in (engine.best(), engine.W)]
    value, gap, W = min(least, *ends, key=_by_gap)
    if not problem.beats_constants(value):
        W, value, gap = _constants(problem)
    if problem.is_within(gap, value, tol):
        ended = None
    elif engine.passes < max_iter:
        ended = f"the gap of {gap:.1g} did not fall in {2 * PATIENCE} passes"
    else:
        ended = f"max_iter={max_iter} was reached"
    return Optimum(W, value, gap, curve, engine.passes, ended)


def _by_gap(end):
    value, gap, _ = end
    return gap, value


def _or_zero(problem, W, value, gap, curve, passes):
    """Return a certified Optimum, of zero coefficients where they are as good."""
    if not problem.beats_zero(value):
        gap = max(gap - (value - problem.at_zero), 0.0)
        W, value = np.zeros_like(W), problem.at_zero
    return Optimum(W, value, gap, curve, passes, None)


def _is_slow(running, goal):
    """Tell whether the goal is too many passes away at the rate of the last ones."""
    if len(running) <= LOOK_BACK:
        return False
    rate = np.log(running[-1 - LOOK_BACK] / max(running[-1], 1e-300)) / LOOK_BACK
    return np.log(max(running[-1], 1e-300) / max(goal, 1e-300)) > MOST_PASSES * max(rate, 1e-3)


def _approach(problem, W, rng, tol, most, report, curve):
    """Run L-BFGS, on samples of the rows first; return W, the passes, and what was certified."""
    n, p = problem.X.shape
    sizes, passes = [len(problem.rows)], 0.0
    while sizes[0] >= GROWTH * max(FIRST_ROWS, ROWS_PER_WEIGHT * p * problem.k) and not W.any():
        sizes.insert(0, sizes[0] // GROWTH)
    sizes[-1] = n  # all
    order = rng.permutation(problem.rows) if len(sizes) > 1 else None
    metric = Metric(problem, rng)
    for size in sizes:
        part = problem if size == n else problem.subset(np.sort(order[:size]))
        search = _Search(part, size == n, tol, report, curve)
        refresh = size == n and p >= REFRESH_FEATURES
        first = REFRESH if refresh else most if size == n else SAMPLE_STEPS
        W = lbfgs(search.objective, metric, W, first, search)
        if refresh and search.objective.passes >= first and search.found is None:
            del metric  # one at a time
            metric = Metric(problem, rng, search.objective.mean_curvature(W))
            W = lbfgs(search.objective, metric, W, most - first, search)
        passes += search.objective.passes * size / n
    return W, passes, search.found


class _Search:
    """Tells L-BFGS when to stop."""

    name = "lbfgs"

    def __init__(self, problem, whole, tol, report, curve):
        self.problem, self.whole, self.tol = problem, whole, tol
        self.report, self.curve = report, curve
        self.objective = Objective(problem)
        self.values, self.found = [], None
        self.loose = 1.0  # the certified gap over the simple bound, a running mean

    @property
    def passes(self):
        """Evaluations made."""
        return self.objective.passes

    def __call__(self, W, value, gradient):
        problem, values = self.problem, self.values
        self.W, self.value = W, value
        values.append(value)
        self.curve.append(value)
        if not self.whole:
            n, p = problem.X.shape
            sampling = p * max(1, problem.k - 1) / (4 * n)
            return len(values) > RATE and values[-RATE] - value < min(sampling, 0.05 * abs(value))
        self.report(self)
        goal = problem.goal(value, self.tol)
        bound = self.objective.bound(gradient)
        if bound * self.loose <= goal:
            W, value, gap = self.objective.certified(W, gradient)
            self.loose = (self.loose + max(1.0, gap / max(bound, 1e-300))) / 2
            if problem.is_within(gap, value, self.tol):
                self.found = W, value, gap
                return True
        return self._is_slow(goal)

    def _is_slow(self, goal):
        """Tell whether Newton's method would be faster."""
        values = self.values
        if len(values) <= 2 * RATE:
            return False
        late, early = values[-1 - RATE] - values[-1], values[-1 - 2 * RATE] - values[-1 - RATE]
        near = max(SURE * goal, 1e-15 * abs(values[-1]))
        if late <= SURE * near:
            return True
        rate = np.log(max(early, 1e-300) / late) / RATE
        if self.objective.knows_hessian:
            return np.log(late / near) > SLOW_STEPS * max(rate, 1e-3)
        return self.objective.can_know_hessian and self.passes > CHEAP_PASSES


def _descend(problem, W, rng, tol, most_passes, report, curve, exact, before):
    """Run L-BFGS and then Newton's method."""
    passes = float(before)
    if not exact and problem.X.shape[1] <= MATRIX_SIZE:
        W, made, found = _approach(problem, W, rng, tol, most_passes, report, curve)
        passes += made
        if found is not None:
            W, value, gap = found
            return _or_zero(problem, W, value, gap, curve, int(np.ceil(passes)))
    ended, found, lost, beyond = None, None, 0, 0
    least = max(tol, CERTAIN) if exact else tol

    def goal(value, tol):
        rounding = np.finfo(float).eps * problem.at_zero if exact else 0.0
        return max(problem.goal(value, tol), rounding)

    engine = NewtonCG(problem, W, rng, exact=exact)
    while engine.passes + passes < most_passes:
        moved = engine.step()
        curve.append(engine.value)
        report(engine)
        near = exact and engine.relative_gradient() <= EXACT
        beyond += near
        done = not exact or (near and not engine.damped)
        if problem.alpha == 0:
            done = done and (exact or engine.relative_gradient() <= tol)
        elif done:
            engine.certify(np.inf if exact else goal(engine.value, tol))
            done = engine.gap < np.inf and engine.gap <= goal(engine.found[1], least)
        if done:
            found = engine.found  # None but for a certificate
            break
        small = engine.decrement <= engine.objective.rounding * abs(engine.value)
        lost = lost + 1 if small and not engine.damped else 0
        if not moved or lost > MOST_LOST or beyond > MOST_BEYOND:
            left = engine.relative_gradient()
            _, value, gap = found = engine.objective.certified(engine.W)
            near = exact and not engine.damped and engine.decrement <= goal(value, least)
            near = near or problem.alpha == 0
            if not (gap <= goal(value, least) or (near and left <= ROUNDING)):
                ended = f"rounding left a relative gradient of {left:.1g}"
            break
    else:
        ended = f"{most_passes} passes (10 * max_iter) were made"
    W, value, gap = found or engine.objective.certified(engine.W)
    ended = None if gap <= goal(value, tol) else ended
    if not problem.beats_constants(value):
        W, value, gap = _constants(problem)
        above = ended or "the objective did not fall below that of the best constants"
        ended = None if gap <= goal(value, tol) else above
    return Optimum(W, value, gap, curve, int(np.ceil(engine.passes + passes)), ended)
