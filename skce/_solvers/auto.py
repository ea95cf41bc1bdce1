"""The way to the optimum: which solver, and what is published of what it found."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import linalg, sparse

from skce._solvers.lbfgs import Found, minimize
from skce._solvers.objective import Objective
from skce._solvers.problem import pieces
from skce._solvers.sdca import SDCA, SplitSDCA

__all__ = ["find_optimum", "in_double"]

FEW_COLUMNS = 256  # of which L-BFGS makes matrices sooner than sdca its passes
MOST_LEVERAGE = 30.0  # of the rows, from the penalty alone, up to which dense data suit sdca
SAMPLE = 1000  # rows from which their length is told
MATRIX_SIZE = 4000  # columns of CSR beyond which sdca is faster in any case; most rows of a span
PATIENCE = 100  # passes of sdca in which its gap falls, or in as many more: else rounding holds it
SAME = 1e-10  # of the square of a row beyond those before, where it counts as their sum
LOOK_BACK = 6  # passes from which the rate of sdca is told
MOST_PASSES = 60  # that it may need at that rate
LBFGS_PASSES = 10  # times max_iter


def find_optimum(problem, solver, W, rng, *, tol, max_iter, report, certified=False):
    """Minimise a Canonical problem.

    Parameters
    ----------
    problem : Canonical
        In the dtype of X.
    solver : {"auto", "sdca", "lbfgs"}
        What is allowed.
    W : ndarray of shape (p + 1, k)
        Where to begin; zero if that is better.
    rng : RandomState
        For samples and the order of rows.
    tol : float
        See `Canonical.goal`.
    max_iter : int
        Most passes of sdca; L-BFGS may make ten times as many.
    report : callable
        Called with the engine after each step.
    certified : bool, default=False
        Whether the duality gap alone ends L-BFGS, and not the estimate.

    Returns
    -------
    found : Found
        The best W seen.
    """
    if not problem.weights.any():  # no row has a target
        return Found(np.zeros_like(W), 0.0, 0.0, 0.0, [0.0], 0, None)
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
                return _settled(problem, found, tol)
            W = engine.best().astype(np.float64)
        del engine  # and its table
    limits = {"tol": tol, "certified": certified, "curve": curve, "report": report}
    return _settled(problem, _minimised(problem, W, rng, max_iter, **limits), tol)


def _minimised(problem, W, rng, max_iter, *, report, curve, **limits):
    """Run L-BFGS, in the span of the rows where they are few."""
    before = len(curve)  # passes of sdca
    limits |= {"most_passes": LBFGS_PASSES * max_iter, "curve": curve}
    if _is_wide(problem):
        span = _Span(problem)

        def tell(engine):
            report(_Outside(engine, span))

        found = minimize(span.problem, span.inside(W), rng, report=tell, **limits)
        W, value, gap = Objective(problem).certified(span.outside(found.W))
        found = replace(found, W=W, objective=value, gap=gap)
    else:
        found = minimize(problem, W, rng, report=report, **limits)
    return replace(found, passes=int(np.ceil(found.passes + before)))


def in_double(problem, found, solver, rng, **limits):
    """Judge what was found in double, and go on from there if the solver is not sdca.

    Return it with its coefficients, but for the intercept, as they round.
    """
    dtype, problem = problem.X.dtype, problem.in_double()
    if solver != "sdca" and not problem.l1_ratio:
        found = _minimised(problem, found.W, rng, curve=found.curve, **limits)
    proven = solver == "sdca" or problem.l1_ratio > 0 or limits["certified"]
    W, estimate, ended = found.W.astype(np.float64), found.estimate, found.ended
    W[:-1] = W[:-1].astype(dtype)
    objective = Objective(problem)
    W, value, gap = objective.certified(W)
    estimate = gap if proven else estimate + max(value - found.objective, 0.0)
    near = max(problem.goal(value, limits["tol"]), objective.noise(value))
    if problem.alpha and not estimate <= near:
        ended = ended or f"rounding of the coefficients left a gap of about {estimate:.1g}"
    found = replace(found, W=W, objective=value, gap=gap, estimate=estimate, ended=ended)
    return _settled(problem, found, limits["tol"])


def _is_wide(problem):
    """Tell whether weights are found in the span of the rows: no more rows than columns.

    1,000 x 4,000, 3 classes: a ninth of the time; 700 x 1,000: two thirds; 60 x 60: the same.
    """
    n, p = len(problem.rows), problem.X.shape[1]
    return n <= min(p, MATRIX_SIZE) and not (sparse.issparse(problem.X) and p > MATRIX_SIZE)


class _Span:
    """The problem in coordinates of an orthonormal basis of the rows, where the optimum is.

    Neither losses nor the squared norm change. The rows Z have the Gram matrix D L L^T D, whose
    Cholesky factor, pivoted, leaves out rows that depend on those before: Q = Z^T D^-1 L^-T.
    """

    def __init__(self, problem):
        X = problem.X if len(problem.rows) == problem.X.shape[0] else problem.X[problem.rows]
        Z = X if sparse.issparse(X) else X - problem.centre_in_dtype
        gram = np.zeros((len(problem.rows),) * 2)
        for columns in pieces(X.shape[1], len(problem.rows)):
            part = Z[:, columns].astype(np.float64)
            product = part @ part.T
            gram += product.toarray() if sparse.issparse(X) else product
        size = np.sqrt(np.where(gram.diagonal() > 0, gram.diagonal(), 1))
        factor, order, rank, _ = linalg.lapack.dpstrf(gram / size / size[:, None], SAME, lower=1)
        order, rank = order - 1, max(rank, 1)
        factor = np.tril(factor)[:, :rank]
        coordinates = np.zeros((problem.X.shape[0], rank), X.dtype)
        coordinates[problem.rows[order]] = factor * size[order, None]
        self.rows = Z[order[:rank]]
        self.factor = factor[:rank] * size[order[:rank], None]
        self.factor[0, 0] = self.factor[0, 0] or 1.0  # where all rows are 0
        self.problem = replace(problem, X=coordinates, centre=None)

    def inside(self, W):
        """Return the coordinates of W."""
        inner = linalg.solve_triangular(self.factor, self.rows @ W[:-1], lower=True)
        return np.vstack([inner, W[-1:]])

    def outside(self, W):
        """Return W of its coordinates."""
        inner = linalg.solve_triangular(self.factor, W[:-1], lower=True, trans=1)
        return np.vstack([self.rows.T @ inner, W[-1:]])


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


def _settled(problem, found, tol):
    """Return what was found, or the constants that are as good; a certificate is convergence."""
    if not problem.beats_zero(found.objective):
        above = found.objective - problem.at_zero
        zero = {"W": np.zeros_like(found.W), "objective": problem.at_zero}
        gap, estimate = max(found.gap - above, 0.0), max(found.estimate - above, 0.0)
        found = replace(found, gap=gap, estimate=estimate, **zero)
    if not problem.beats_constants(found.objective):
        W, value, gap = _constants(problem)
        ended = found.ended or "the objective did not fall below that of the best constants"
        found = replace(found, W=W, objective=value, gap=gap, estimate=gap, ended=ended)
    if found.gap <= problem.goal(found.objective, tol):
        return replace(found, ended=None)
    return found


def _suits_sdca(problem, solver):
    if solver != "auto":
        return solver == "sdca"
    X = problem.X
    if problem.l1_ratio and problem.alpha:
        return True
    if problem.alpha == 0 or X.shape[1] <= FEW_COLUMNS:
        return False
    if not sparse.issparse(X):
        rows = X[:: max(1, X.shape[0] // SAMPLE)] - problem.centre_in_dtype
        square = float(np.einsum("ij,ij->", rows, rows, dtype=np.float64)) / len(rows)
        return square <= MOST_LEVERAGE * X.shape[0] * problem.alpha
    if X.shape[1] > MATRIX_SIZE:
        return True
    return problem.nonzeros[2]


def _constants(problem):
    """Return the best constants as weights, their objective and the bound of its gap."""
    W = problem.constants()
    value = problem.objective(W) if W.any() else problem.at_zero
    return W, value, value - problem.masses[2] if problem.alpha else np.nan


def _ascend(engine, solver, tol, max_iter, report, curve):
    """Run sdca; return what it found, or None where L-BFGS should go on."""
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
            return Found(engine.W, engine.value, engine.gap, engine.gap, curve, engine.passes, None)
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
    if problem.is_within(gap, value, tol):
        ended = None
    elif engine.passes < max_iter:
        ended = f"the gap of {gap:.1g} did not fall in {2 * PATIENCE} passes"
    else:
        ended = f"max_iter={max_iter} was reached"
    return Found(W, value, gap, gap, curve, engine.passes, ended)


def _by_gap(end):
    value, gap, _ = end
    return gap, value


def _is_slow(running, goal):
    """Tell whether the goal is too many passes away at the rate of the last ones."""
    if len(running) <= LOOK_BACK:
        return False
    rate = np.log(running[-1 - LOOK_BACK] / max(running[-1], 1e-300)) / LOOK_BACK
    return np.log(max(running[-1], 1e-300) / max(goal, 1e-300)) > MOST_PASSES * max(rate, 1e-3)
