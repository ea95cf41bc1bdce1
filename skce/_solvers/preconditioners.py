"""The preconditioner of L-BFGS: what stands in for the Hessian, and the rows it is made of."""

from functools import partial

import numpy as np
from numpy.linalg import norm
from scipy import linalg

from skce._solvers.cholesky import cholesky, to_unit
from skce._solvers.columns import rows_enough
from skce._solvers.rounding import COARSE, SUMMING, TINY, rounding_of
from skce._solvers.sums import (
    ConstantCurvature,
    diagonal_moments,
    row_weights,
    second_moments,
    squares_along,
)

__all__ = ["Preconditioner", "Unscaled", "has_matrices", "inverse_root", "told_apart"]

MOST_COLUMNS = 4000  # for a p x p matrix; 0: segment 4.5, satimage 3.7, covtype 3.7
# Most numbers in one matrix for each class; beyond, one serves all.
MATRICES_SIZE = 1 << 23  # 0: covtype 5.2, covtype_scaled 2.9, letter_scaled 2.3
# The same of few rows, of which a pass is faster than products with more. As above: mnist, 1,000
CACHED_SIZE = 1 << 18  # rows, 3.5, 3,000 rows 1.8; 2**20: 3,000 x 400 drawn, 4 classes, 1.5
LEAST_SQUARE = (COARSE * rounding_of(float)) ** 2  # of differences of columns of unit size


class Preconditioner:
    """Second moments of the columns and the constant times a curvature, plus the penalty, factored.

    Coordinates U are those where it is the identity. With a curvature for each class it is a
    matrix for each, the diagonal blocks of the Hessian; at the best constants, where these differ
    by a number and the penalty, it is one, and scales of its columns for each class. Where it is
    asked for, and beyond MOST_COLUMNS columns, it is their diagonals.

    Parameters
    ----------
    problem : Problem
        Gives columns, weights and the penalty.
    drawn : Drawn
        The rows it is made of.
    curvature : callable, default=None
        Returns the weight * curvature (m, k) or (m, 1) of some rows of a problem; None is that of
        the best constants.
    flat : list, default=None
        The flat directions of another preconditioner of these columns; None looks for them.
    diagonal : bool, default=False
        Whether only the diagonals are made, of all rows.
    """

    scales, is_diagonal = 1.0, False

    def __init__(self, problem, drawn, curvature=None, flat=None, diagonal=False):
        shares = np.ones(1)
        if curvature is None:
            curvature, shares = _at_constants(problem)
        self.flat, self.gains, self.is_diagonal = [] if flat is None else flat, [], diagonal
        dtype = np.float64 if problem.is_sparse else problem.X.dtype
        if diagonal or problem.X.shape[1] > MOST_COLUMNS:
            D = problem.sum(diagonal_moments, curvature, shares)
            D[:-1] += problem.alpha
            self.shifts = D.shape[1] > 1 and not problem.sigmoid
            self.C = 1 / np.sqrt(np.maximum(D, max(SUMMING * D.max(), TINY)))
            return
        made = problem, drawn, curvature, shares
        if self._factor(*made, dtype, flat is None) and dtype == np.float32:
            del self.C  # one at a time
            self._factor(*made, np.float64, flat is None)
        self.shifts = max(len(self.C), len(shares)) > 1 and not problem.sigmoid

    def _factor(self, problem, drawn, curvature, shares, dtype, at_constants):
        """Set C and flat, from products in dtype; tell whether these are too coarse."""
        moments, suspect, found = _moments(problem, drawn, curvature, dtype), False, []
        scales = []
        moments *= shares.mean()
        if len(shares) > 1:
            self.scales = _scales(moments[0].diagonal(), shares, problem.alpha)
        for c, A in enumerate(moments):  # in place
            A[-1, -1] = max(A[-1, -1], TINY)
            scale, flat, least = inverse_root(A, problem)
            if flat is not None and at_constants:
                classes = slice(c, c + 1) if len(moments) > 1 else slice(None)
                told = partial(_along, problem, scale[-1])
                found.append((classes, *told_apart(flat, scale, problem, told)))
            scales.append(scale)
            suspect |= least < COARSE * rounding_of(dtype)
        self.C = moments
        if at_constants:
            self.flat = found
        self.gains = self._gains(None if at_constants else scales)
        return suspect

    def _gains(self, scales):
        """Return the gains along the flat directions, for each class or one for all.

        Directions of another preconditioner need not be flat here: where the matrix itself is long
        along one, it is not made longer.
        """
        own = [np.ones((len(gains), 1)) for *_, gains in self.flat]
        for f, (classes, N, _, _) in enumerate(self.flat if scales else []):
            here = [
                norm(N.T * scale, axis=1) / np.maximum(norm(N.T @ C, axis=1), TINY)
                for C, scale in zip(self.C, scales, strict=True)
            ]
            own[f] = np.minimum(np.column_stack(here), 1)[:, classes if len(here) > 1 else slice(1)]
        return [gains[:, None] * share for (*_, gains), share in zip(self.flat, own, strict=True)]

    def _times(self, U, turned):
        """Return each matrix, or its transpose, times its columns of U, or one times all."""
        if self.C.ndim == 2:
            return U * self.C
        C = self.C.transpose(0, 2, 1) if turned else self.C
        if len(C) == 1:
            U = U * self.scales if turned else U
            if U.shape[1] > 1:  # half a product, if not of one column
                U = linalg.blas.dtrmm(1, self.C[0].T, U.T, side=1, lower=1, trans_a=turned).T
            else:
                U = C[0] @ U
            return U if turned else U * self.scales
        return (C @ U.T[:, :, None])[:, :, 0].T

    def to_weights(self, U):
        """Return W (p + 1, k) of its coordinates, without what shifts all classes alike."""
        columns = self._times(self._columns(U), False)
        for (classes, N, scaled, _), gains in zip(self.flat, self.gains, strict=True):
            if gains.any():
                column = columns[:, classes]
                column += scaled @ ((gains - 1) * (N.T @ column))
        return self._centred(columns.reshape(U.shape))

    def to_gradient(self, gradient):
        """Return the gradient in the coordinates U."""
        columns = self._columns(self._centred(gradient))
        if self.flat:
            columns = columns.copy()
        for (classes, N, scaled, _), gains in zip(self.flat, self.gains, strict=True):
            column = columns[:, classes]  # where only rounding is left of it
            column += N @ ((gains - 1) * (scaled.T @ column))
        return self._times(columns, True).reshape(gradient.shape)

    def _columns(self, W):
        """Return W with the columns that the matrices multiply."""
        return W

    def _centred(self, W):
        return W - W.sum(axis=1, keepdims=True) / W.shape[1] if self.shifts else W


class Unscaled:
    """The place of a preconditioner that is yet to be made, without pairs in its coordinates."""

    flat, is_diagonal = None, False

    def to_gradient(self, gradient):
        """Return the gradient."""
        return gradient


def told_apart(flat, scale, problem, told, k=1):
    """Return a basis of flat directions over and times the scale of columns, with their gains.

    The squares of two large columns tell nothing of a small difference of them: its own do. `told`
    returns the curvature (m, m) of the data along directions, whose last k rows are of intercepts.
    A gain is 1 over the root of that and the penalty; 0 without one, and where both are rounding,
    as for the intercept of a class without rows.
    """
    penalised = flat * scale[:, None]
    penalised[-k:] = 0
    penalty = problem.alpha * penalised.T @ penalised
    curvature, turn = np.linalg.eigh(told(flat * scale[:, None]) + penalty)
    flat = flat @ turn
    known = (curvature > LEAST_SQUARE) & (problem.alpha > 0)
    gains = known / np.sqrt(np.maximum(curvature, LEAST_SQUARE))
    return flat / scale[:, None], flat * scale[:, None], gains


def _along(problem, scale, V):
    """Return the curvature (m, m) along V (p + 1, m); scale**-2 is that of the constant."""
    return problem.sum(squares_along, V) / (scale**2 * problem.total_weight)


def has_matrices(problem):
    """Tell whether each class may have a matrix of its own."""
    p, k = problem.X.shape[1], problem.k
    many = k == 1 or problem.n_weighted > rows_enough(p)
    return k * p**2 <= (MATRICES_SIZE if many else CACHED_SIZE)


def _at_constants(problem):
    """Return the curvature of each row at the best constants, and shares to multiply it by."""
    sums, total = problem.target_sums, problem.label_weights
    shares = np.divide(sums, total, out=np.zeros(problem.k), where=total > 0)
    if not problem.fit_intercept:  # the constants are 0, whatever the shares
        shares[:] = 0.5 if problem.sigmoid else 1 / problem.k
    shares = np.maximum(shares * (1 - shares), np.finfo(float).eps)  # as the constants are bounded
    each = has_matrices(problem) and not problem.in_span  # scales differ in other coordinates
    if problem.weighs_entries:
        return ConstantCurvature(shares, each), np.ones(1)
    return row_weights, shares if each else shares.mean(keepdims=True)


def _scales(diagonal, shares, alpha):
    """Return the scales (p + 1, k) by which the diagonal of each class differs from their mean."""
    mean = diagonal[:, None] + TINY
    penalty = np.append(np.full(len(diagonal) - 1, alpha), 0.0)[:, None]
    return np.sqrt((mean + penalty) / (mean * (shares / shares.mean()) + penalty))


def inverse_root(A, problem, k=1):
    """Replace A plus the penalty by C with C C' its inverse, but for flat directions.

    Its last k rows are of intercepts. Return the scale of its diagonal, a basis of those
    directions or None, and the least pivot.
    """
    p = len(A) - k
    np.einsum("ii->i", A)[:p] += problem.alpha
    if not np.isfinite(A.diagonal()).all():
        largest = abs(problem.some_rows).max()
        raise ValueError(f"X must have finite squares, got entries up to {largest:.1g}.")
    scale = to_unit(A)
    L, flat, least = cholesky(A)
    linalg.lapack.dtrtri(L, lower=1, overwrite_c=1)
    np.copyto(A, 0, where=np.tri(len(A), k=-1, dtype=bool))
    A *= scale[:, None]
    return scale, flat, least


def _moments(problem, drawn, curvature, dtype):
    """Return the matrix of each curvature (k, p + 1, p + 1), of dense X from products in dtype."""
    A, p = problem.sum(second_moments, drawn, curvature, dtype), problem.X.shape[1]
    for c in range(len(A)):
        constant = A[c].diagonal()[:p] <= problem.constant_squares * A[c, p, p]
        A[c, :p][constant], A[c, :, :p][:, constant] = 0, 0
        A[c, p, :p] *= problem.fit_intercept
        A[c, :p, p] = A[c, p, :p]
    return A
