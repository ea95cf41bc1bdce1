"""The bound of how far an objective is above its minimum."""

import numpy as np
from scipy import linalg

from skce._canonical import pieces
from skce._gradient import Kind

__all__ = ["certificate", "intercept_step", "with_movable"]

MOST_STEP = 5.0  # of an intercept


def certificate(problem, W, table=None, sums=None):
    """Return the objective at W (p + 1, k), and a bound of how far above its minimum that is.

    Parameters
    ----------
    problem : Canonical
        With alpha > 0.
    W : ndarray of shape (p + 1, k)
        Weights and intercept of the centred columns.
    table : ndarray of shape (n, k), default=None
        The dual point, any probabilities; None takes those at W.
    sums : ndarray of shape (k,) or (2, k), default=None
        Their weighted sums over the rows, for a fitted intercept; of a softmax with missing entries
        also those over the rows without one.

    Notes
    -----
    The table is first mapped to one whose sums are those of the targets, as the intercept asks; the
    bound is the sum of Fenchel-Young losses and of the distance of the weights from those that
    belong to the table: every term is positive, so nothing cancels. Where the table of rows with
    missing entries cannot be mapped, the bound is that of the gradient at the best intercept.
    """
    k = problem.k
    scale, shift = np.ones(k), np.zeros(k)
    wanted, total, _ = problem.masses
    if problem.fit_intercept:
        if problem.sigmoid:
            # labels that rounding lets exceed their total stay below it
            sums = np.clip(sums, 0, total)
            with np.errstate(divide="ignore", invalid="ignore"):
                lower = np.where(sums > wanted, wanted / sums, 1.0)
                raised = np.where(sums < wanted, (total - wanted) / (total - sums), 1.0)
            scale, shift = lower * raised, 1 - raised
        else:
            excess = np.maximum(sums - wanted, 0.0)
            if problem.missing.any():
                movable, excess = sums[1], np.maximum(sums[0] - wanted, 0.0)
                lack = np.maximum(wanted - sums[0], 0.0)
                if (excess > movable + 1e-6 * wanted).any():
                    return _gradient_bound(problem, W)
            else:
                movable, lack = sums, np.maximum(wanted - sums, 0.0)
            scale = 1 - np.divide(excess, movable, out=np.zeros(k), where=movable > 0)
            scale = np.maximum(scale, 0.0)
            if lack.sum() > 0:
                shift = lack / lack.sum()
            else:
                scale = np.ones(k)
    V = np.empty(W.shape)
    young, loss = problem.full_pass(Kind.DUAL, W, V, table, scale, shift)
    return loss + problem.penalty(W), _smallest_bound(problem, W, V[:-1], young, loss)


def with_movable(problem, sums, table):
    """Return the sums of a table as `certificate` takes them."""
    if problem.sigmoid or not problem.missing.any():
        return sums
    return np.vstack([sums, problem.weigh(np.where(problem.missing, 0.0, problem.weights), table)])


def _smallest_bound(problem, W, V, young, loss):
    """Return the least bound of dual points between the targets (theta = 0) and the table (1).

    The Fenchel-Young losses are convex in the dual point, so theta * young + (1 - theta) * (loss -
    entropy) bounds them; theta * V belongs to the point.
    """
    excess = loss - problem.masses[2]
    product = float(np.einsum("ij,ij->i", V, W[:-1], dtype=np.float64).sum())
    penalty, conjugate = problem.penalty(W), problem.conjugate(V)
    theta = 1.0
    if problem.l1_ratio == 1:
        theta = min(1.0, problem.alpha / max(float(np.abs(V).max(initial=0)), 1e-300))
    elif problem.l1_ratio == 0 and conjugate > 0:
        theta = float(np.clip((excess - young - product) / (2 * conjugate), 0, 1))
    if theta == 1 and problem.l1_ratio == 0:  # one sum of squares, where nothing cancels
        V += problem.alpha * W[:-1]
        rest = problem.conjugate(V)
    else:
        rest = penalty + theta * product + theta**2 * conjugate
    bound = theta * young + (1 - theta) * excess + rest
    return max(min(bound, excess + penalty), 0.0)


def _gradient_bound(problem, W):
    """Return the objective at W and |gradient|^2 / (2 alpha) where the intercepts are best."""
    W = np.array(W, dtype=np.float64)
    table = np.empty((problem.X.shape[0], problem.k), problem.X.dtype)
    gradient = np.empty(W.shape)
    values = []
    for _ in range(20):
        loss, _ = problem.full_pass(Kind.LOSS, W, gradient, table)
        values.append(loss + problem.penalty(W))
        step = intercept_step(problem, table, gradient[-1])
        left = 2 * float(gradient[-1] @ step)  # four times what the intercept may still gain
        if abs(left) <= 1e-9 * abs(values[-1]):
            break
        W[-1] -= step
    else:
        return values[0], np.inf
    if problem.l1_ratio or problem.alpha == 0:
        return values[0], np.inf
    gradient[:-1] += problem.alpha * W[:-1]
    bound = float(np.sum(gradient[:-1] ** 2)) / (2 * problem.alpha)
    bound += max(values[0] - values[-1], 0.0) + abs(left)
    return values[0], max(min(bound, values[0] - problem.masses[2]), 0.0)


def intercept_step(problem, table, gradient):
    """Return the Newton step of the intercepts, from their gradient and the curvature table."""
    if problem.sigmoid:  # bounded, as the curvature of a label that is always there vanishes
        step = gradient / np.maximum(table.sum(axis=0, dtype=np.float64), 1e-300)
        return np.clip(step, -MOST_STEP, MOST_STEP)
    H = np.zeros((problem.k, problem.k))
    for rows in pieces(len(table), problem.k):
        proba = table[rows].astype(np.float64)
        H -= proba.T @ (problem.weights[rows, None] * proba)
    H[np.diag_indices_from(H)] -= H.sum(axis=1)
    return linalg.lstsq(H, gradient, cond=1e-10)[0]
