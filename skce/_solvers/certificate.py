"""The bound of how far an objective is above its minimum."""

import numpy as np
from scipy import linalg

from skce._engine.passes import Pass
from skce._solvers.cholesky import cholesky, to_unit
from skce._solvers.columns import pieces
from skce._solvers.rounding import NOISE, TINY, rounding_of
from skce._solvers.sums import intercept_matrix, table_sums, with_classes, with_intercepts

__all__ = ["certificate"]

MOST_STEPS = 20  # of the intercepts, after which the sums that are wanted are given up


def certificate(problem, W, table=None, sums=None):
    """Return the objective at W (p + 1, k), and a bound of how far above its minimum that is.

    Parameters
    ----------
    problem : Problem
        With alpha > 0.
    W : ndarray of shape (p + 1, k)
        Weights and intercept of the centred columns.
    table : ndarray of shape (n, k), default=None
        The dual point, any probabilities; None takes those at W.
    sums : ndarray of shape (k,), default=None
        Their weighted sums over the rows, for a fitted intercept; those of a softmax with missing
        entries are not used.

    Notes
    -----
    The table is first mapped to one whose sums are those of the targets, as the intercept asks; the
    bound is the sum of Fenchel-Young losses and of the distance of the weights from those that
    belong to the table: every term is positive, so nothing cancels. Where no table of rows with
    missing entries is found, the bound is that of the targets, the objective less their entropy.
    """
    k, left = problem.k, 0.0
    scale, shift = np.ones(k), np.zeros(k)
    wanted, total = problem.target_sums, problem.label_weights
    if problem.fit_intercept:
        if not problem.sigmoid and problem.has_missing:
            table, left = _balanced(problem, W, table)
            if table is None:
                value = problem.objective(W)
                return value, max(value - problem.entropy, 0.0)
        elif problem.sigmoid:
            # labels that rounding lets exceed their total stay below it
            sums = np.maximum(np.minimum(sums, total), 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                lower = np.fmin(wanted / sums, 1)
                raised = np.fmin((total - wanted) / (total - sums), 1)
            scale, shift = lower * raised, 1 - raised
        else:
            excess, lack = np.maximum(sums - wanted, 0.0), np.maximum(wanted - sums, 0.0)
            scale = 1 - np.divide(excess, sums, out=np.zeros(k), where=sums > 0)
            if lack.sum() > 0:
                shift = lack / lack.sum()
            else:
                scale = np.ones(k)
    V = np.empty(W.shape)
    young, loss = problem.full_pass(Pass.DUAL, W, V, table, scale, shift)
    # Sums that are off count by the way to the best intercepts, for which 1 and what they span now
    # stand.
    left *= 1 + float(np.ptp(W[-1]))
    penalty = problem.penalty(W)
    return loss + penalty, _smallest_bound(problem, W, V[:-1], young, loss, penalty) + left


def _smallest_bound(problem, W, V, young, loss, penalty):
    """Return the least bound of dual points between the targets (theta = 0) and the table (1).

    The Fenchel-Young losses are convex in the dual point, so theta * young + (1 - theta) * (loss -
    entropy) bounds them; theta * V belongs to the point.
    """
    excess = loss - problem.entropy
    product = float(np.einsum("ij,ij->i", V, W[:-1], dtype=np.float64).sum())
    conjugate = problem.conjugate(V)
    theta = 1.0
    if problem.l1_ratio == 1:
        theta = min(1.0, problem.alpha / max(float(np.abs(V).max(initial=0)), TINY))
    elif problem.l1_ratio == 0 and conjugate > 0:
        theta = float(np.clip((excess - young - product) / (2 * conjugate), 0, 1))
    if theta == 1 and problem.l1_ratio == 0:  # one sum of squares, where nothing cancels
        for rows in pieces(*V.shape):
            V[rows] += problem.alpha * W[rows]
        rest = problem.conjugate(V)
    else:
        rest = penalty + theta * product + theta**2 * conjugate
    bound = theta * young + (1 - theta) * excess + rest
    rounding = rounding_of(problem.X.dtype) * (loss + penalty)
    return max(float(np.fmin(bound, excess + penalty)), rounding)  # nan where squares overflow


def _balanced(problem, W, table):
    """Return probabilities whose sums are those of the targets but for what is returned with them.

    They are near those of the table, else near those at W with better intercepts; None where
    neither is near enough. Steps of the intercepts are damped as self-concordance asks: where they
    move logits by at most r, log(1 + r) / r of one lowers the loss (Bach, 2010, "Self-concordant
    analysis for logistic regression").
    """
    if table is not None:
        balanced, _, left = _balance(problem, table)
        if balanced is not None:
            return balanced, left
    W = np.array(W, dtype=np.float64)
    table = problem.new_table()
    for _ in range(MOST_STEPS):
        problem.full_pass(Pass.LOSS, W, np.empty(W.shape), table)
        balanced, step, left = _balance(problem, table)
        if balanced is not None or not np.isfinite(step).all():
            return balanced, left
        reach = max(float(np.ptp(step)), TINY)
        W[-1] -= step * np.log1p(reach) / reach
    return None, 0.0


def _balance(problem, table):
    """Return the table moved to the sums of the targets, or None; their step; what is left.

    The step of Newton's method for the intercepts changes the probabilities to first order by just
    what their sums lack; that is a table as long as none gets below 0. Classes without targets are
    left first, as a step of any length would leave something of them.
    """
    wanted = problem.target_sums
    table = problem.change(with_classes, table, wanted)
    near = NOISE * rounding_of(problem.X.dtype) * wanted.sum()
    total, shown = np.zeros(problem.k), wanted > 0
    for _ in range(MOST_STEPS):
        excess = problem.sum(table_sums, table) - wanted
        excess[shown] -= excess[shown].mean()  # targets of float32 do not sum to 1 in double
        if np.abs(excess).max(initial=0) <= near:
            return table, total, float(np.abs(excess).sum())
        step = _intercept_step(problem, table, excess)
        total = total + step
        if not np.ptp(step[shown]) < 1:
            break
        table = problem.change(with_intercepts, table, step)
    return None, total, 0.0


def _intercept_step(problem, table, gradient):
    """Return Newton's step of the intercepts of a softmax, from their gradient and the table."""
    H = problem.sum(intercept_matrix, table)
    np.fill_diagonal(H, 0)
    H[H > -TINY] = 0
    np.fill_diagonal(H, -H.sum(axis=1))
    scale = to_unit(H)
    L, _, _ = cholesky(H)
    return scale * linalg.cho_solve((L, True), scale * gradient)
