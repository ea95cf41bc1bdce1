"""The way to a certified optimum: which solver, when to change it, when to stop."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skce._dual import SDCA
from skce._newton import NewtonCG

__all__ = ["Optimum", "find_optimum", "is_small"]

SMALL_SIZE = 1e6  # n * p * K up to which "auto" goes on to the last digits, in double
MOST_LEVERAGE = 30.0  # of the rows, from the penalty alone, up to which dense data suit sdca
UNLIKE = 100.0  # ratio of the columns' scales from which CSR does not
MATRIX_SIZE = 4000  # columns up to which Newton's method knows a matrix
LOOK_BACK = 6  # passes from which the rate of sdca is told
MOST_PASSES = 60  # that it may need at that rate
EXACT = 1e-10  # relative gradient of small problems
ROUNDING = 1e-6  # what rounding may leave of it
SURE = 1e-2  # of the goal: a Newton decrement that needs no certificate
NEWTON_PASSES = 10  # times max_iter


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
    solver : {"auto", "sdca", "newton-cg"}
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
    warm = bool(W.any())
    if warm and not _value(problem, W) <= problem.at_zero:
        W, warm = np.zeros_like(W), False
    curve = []
    if _suits_sdca(problem, solver):
        engine = SDCA(problem, W, rng)
        if solver == "sdca" or engine.sparse or engine.alone() <= MOST_LEVERAGE:
            found = _ascend(engine, solver, tol, max_iter, report, curve)
            if found is not None:
                return found
            W, warm = engine.best().astype(np.float64), True
            rng = engine.rng
    exact = solver == "auto" and is_small(problem.X, problem.k)
    engine = NewtonCG(problem, W, rng, warm=warm, exact=exact)
    return _descend(engine, tol, NEWTON_PASSES * max_iter, report, curve)


def _suits_sdca(problem, solver):
    if solver != "auto":
        return solver == "sdca"
    X = problem.X
    if problem.alpha == 0 or is_small(X, problem.k):
        return False
    if not sparse.issparse(X) or X.shape[1] > MATRIX_SIZE:
        return True
    squares = np.square(X.data, dtype=np.float64)
    scale = np.bincount(X.indices, squares, X.shape[1])
    scale = scale[scale > 0] / np.bincount(X.indices, X.data != 0, X.shape[1])[scale > 0]
    return len(scale) > 0 and scale.max() <= UNLIKE * scale.min()


def _value(problem, W):
    loss, _ = problem.full_pass(0, W, np.empty(W.shape))
    return loss + problem.penalty(W)


def _ascend(engine, solver, tol, max_iter, report, curve):
    """Run sdca; return the Optimum, or None where Newton's method should go on."""
    problem = engine.problem
    running = []
    while engine.passes < max_iter:
        engine.step()
        curve.append(engine.value)
        running.append(engine.running)
        report(engine)
        goal = problem.goal(engine.value, tol)
        engine.certify(goal)
        if engine.gap <= problem.goal(engine.value, tol):
            return Optimum(engine.W, engine.value, engine.gap, curve, engine.passes, None)
        if solver == "auto" and _is_slow(running, goal):
            return None
    W = engine.best()
    value, gap = engine.evaluate(W)
    if not value <= problem.at_zero:
        W, value, gap = np.zeros_like(W), problem.at_zero, np.inf
    ended = None if gap <= problem.goal(value, tol) else f"max_iter={max_iter} was reached"
    return Optimum(W, value, gap, curve, engine.passes, ended)


def _is_slow(running, goal):
    """Tell whether the goal is too many passes away at the rate of the last ones."""
    if len(running) <= LOOK_BACK:
        return False
    rate = np.log(running[-1 - LOOK_BACK] / max(running[-1], 1e-300)) / LOOK_BACK
    return np.log(max(running[-1], 1e-300) / max(goal, 1e-300)) > MOST_PASSES * max(rate, 1e-3)


def _descend(engine, tol, most_passes, report, curve):
    """Run Newton's method."""
    problem, ended = engine.problem, None
    while True:
        moved = engine.step()
        curve.append(engine.value)
        report(engine)
        goal = problem.goal(engine.value, tol)
        if engine.whole:
            if engine.exact:
                if engine.relative_gradient() <= EXACT:
                    break
            elif problem.alpha == 0:
                if engine.relative_gradient() <= tol:
                    break
            else:
                engine.certify(goal)
                if engine.gap <= goal or engine.decrement_before <= SURE * goal:
                    break
        if not moved:
            if not engine.converged_by_rounding(goal, ROUNDING):
                ended = f"rounding left a relative gradient of {engine.relative_gradient():.1g}"
            break
        if engine.passes >= most_passes:
            ended = f"{most_passes} passes (10 * max_iter) were made"
            break
    W = engine.W.astype(problem.X.dtype)
    value, gap = engine.evaluate()
    if not value <= problem.at_zero:
        W, value, gap = np.zeros_like(W), problem.at_zero, np.inf
        ended = ended or "the objective did not fall below that of zero coefficients"
    return Optimum(W, value, gap, curve, int(np.ceil(engine.passes)), ended)
