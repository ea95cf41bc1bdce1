"""The metric of L-BFGS: the columns' second moments and the penalty, factored."""

import numpy as np
from scipy import linalg, sparse

from skce._canonical import in_threads, pieces

__all__ = ["GRAM_ROWS", "Metric", "cholesky", "mirror", "summable", "to_unit", "weighted_gram"]

GRAM_ROWS = 2000  # of a metric, at least
FEATURES_PER_CLASS = 10  # up to which more of them cost less than the passes
FEW_ROWS, MORE_ROWS = 10, 300  # for each feature
INTERCEPT = 0.5  # of its own curvature: mnist and MiniLM take 4/5 of the passes
SINGULAR = 1e-10  # square of a pivot, of a unit diagonal, from which directions are looked into
ROUNDING = 1e-15  # of a pivot, for each column
SUSPECT = 1e-5  # square of a pivot that float32 makes no better
HUGE = 1e15  # whose squares float32 does not sum


class Metric:
    """Second moments of the columns and the constant, times a curvature, plus the penalty.

    What a softmax's constant has of its own, which no column shares, counts INTERCEPT times.

    Parameters
    ----------
    problem : Canonical
        Gives columns and weights.
    rng : RandomState
        Draws the rows, where there are too many.
    curvature : ndarray of shape (n,), default=None
        Weight * mean curvature of each row; None is that of zero weights and the best intercept.
    """

    def __init__(self, problem, rng, curvature=None):
        X = problem.X
        if curvature is None:
            sums, total, _ = problem.masses
            share = np.divide(sums, total, out=np.zeros(problem.k), where=total > 0)
            curvature = problem.weights * float(np.mean(share * (1 - share)))
        p = X.shape[1]
        per_feature = MORE_ROWS if p <= FEATURES_PER_CLASS * problem.k else FEW_ROWS
        drawn = problem.sample(max(GRAM_ROWS, per_feature * p), rng)
        least = self._factor(problem, drawn, curvature, X.dtype)
        if least < SUSPECT and X.dtype == np.float32:
            del self.factor  # one at a time
            self._factor(problem, drawn, curvature, np.dtype(np.float64))
        if not problem.sigmoid:
            self.factor[p, p] *= np.sqrt(INTERCEPT)

    def _factor(self, problem, drawn, curvature, dtype):
        """Set `factor` and `scale`, of products in dtype; return the least square of a pivot."""
        p, (rows, size, grow) = problem.X.shape[1], drawn
        weights = curvature if rows is None else curvature[rows] * grow
        A, reach = _second_moments(problem, rows, curvature, grow, dtype)
        A[p, :p] *= problem.fit_intercept
        A[:p, p] = A[p, :p]
        total = max(float(weights.sum()), 1e-300)
        A[p, p] = total
        if grow > 1:
            _damp(A, size, np.append(total * reach.astype(np.float64) ** 2 / (9 * p), 0.0))
        A[np.arange(p), np.arange(p)] += problem.alpha
        if not np.isfinite(A.diagonal()).all():
            largest = abs(problem.X).max()
            raise ValueError(f"X must have finite squares, got entries up to {largest:.1g}.")
        self.scale = to_unit(A)
        (self.factor, _), self.flat, least = cholesky(A, 1.0)
        return least

    def to_weights(self, U):
        """Return W (p + 1, k) of the coordinates U."""
        V = linalg.solve_triangular(self.factor, U, trans="T", lower=True, check_finite=False)
        return V * self.scale[:, None]

    def divide(self, gradient):
        """Return the gradient divided by the metric."""
        scale = self.scale[:, None]
        scaled = without(self.flat, gradient * scale)
        return linalg.cho_solve((self.factor, True), scaled, check_finite=False) * scale

    def to_coordinates(self, W):
        """Return U of W."""
        return linalg.blas.dtrmm(1.0, self.factor, W / self.scale[:, None], lower=1, trans_a=1)

    def to_gradient(self, gradient):
        """Return the gradient in the coordinates U."""
        scaled = without(self.flat, gradient * self.scale[:, None])
        return linalg.solve_triangular(self.factor, scaled, lower=True, check_finite=False)


def _second_moments(problem, rows, curvature, grow, dtype):
    """Return the second moments of rows, with weighted sums for the last, and largest entries."""
    X, p = problem.X, problem.X.shape[1]
    A, reach = np.zeros((p + 1, p + 1)), np.zeros(p)
    if sparse.issparse(X):
        weights = curvature if rows is None else curvature[rows] * grow
        Z = sparse.csr_array(X if rows is None else X[rows]).astype(dtype, copy=False)
        by_row = sparse.diags_array(weights)
        for some in pieces(p, p):
            columns = Z[:, some]
            reach[some] = abs(columns).max(axis=0).toarray().ravel()
            A[some, :p] = ((by_row @ columns).T.tocsr() @ Z).toarray()
        A[p, :p] = weights @ Z
        return A, reach

    def moments(part):
        Z, weight = X[part] - problem.centre_in_dtype, curvature[part] * grow
        top = np.abs(Z).max(axis=0) if grow > 1 else reach
        return weighted_gram(summable(Z, dtype), weight), weight @ Z, top

    each = p * p * dtype.itemsize
    for gram, sums, top in in_threads(moments, problem.pieces(rows), each):
        A[:p, :p] += gram
        A[p, :p] += sums
        reach = np.maximum(reach, top)
        gram = None  # before the next one is made
    return A, reach


def summable(X, dtype):
    """Return X in dtype, in double where float32 does not hold sums of its squares."""
    scale = float(np.abs(X).max(initial=0)) if X.dtype == np.float32 else 0.0
    return X.astype(np.float64 if scale > HUGE else dtype, copy=False)


def weighted_gram(X, weight):
    """Return X.T @ diag(weight) @ X."""
    Z = X * np.sqrt(np.maximum(weight, 0))[:, None].astype(X.dtype)
    return Z.T @ Z


def _damp(A, rows, more):
    """Shrink a matrix of few rows to its diagonal, and raise that by `more`."""
    share = 0.5 * len(A) / (rows + len(A))
    diagonal = A.diagonal().copy()
    A *= 1 - share
    A[np.diag_indices_from(A)] = diagonal + more


def to_unit(A):
    """Scale A, in place, to a diagonal of 1; return the scale."""
    diagonal = A.diagonal()
    d = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    A *= d[:, None]
    A *= d
    return d


def cholesky(A, diagonal):
    """Return the Cholesky factor of A with another diagonal, in A but for its lower triangle.

    Directions that rounding cannot tell from singular ones get a curvature of 1: no step goes
    where it would be rounding divided by rounding. Also returned: a basis of them, or None, and
    the least square of a pivot.
    """
    ridge, N, least = 1e-14, None, 0.0
    while True:
        A[np.diag_indices_from(A)] = diagonal + ridge
        try:
            # LAPACK works in the lower triangle of the transpose, in place
            factor = linalg.cho_factor(A.T, lower=True, overwrite_a=True, check_finite=False)
        except linalg.LinAlgError:
            factor = None
        if N is None:
            least = 0.0 if factor is None else float(factor[0].diagonal().min()) ** 2
            if least > SINGULAR:
                return factor, None, least
            mirror(A)
            A[np.diag_indices_from(A)] = diagonal
            N = singular_directions(A)
            A += N @ N.T
            diagonal = A.diagonal().copy()
        elif factor is None:
            mirror(A)
            ridge *= 100
        else:
            A -= np.tril(N @ N.T, -1)  # the factor is above
            return factor, N, least


def without(N, gradient):
    """Return the gradient without what rounding left of it in the flat directions N."""
    return gradient if N is None else gradient - N @ (N.T @ gradient)


def singular_directions(A):
    """Return an orthonormal basis (p, m) of the null space of A, of unit diagonal, to rounding."""
    c, order, rank, _ = linalg.lapack.dpstrf(A, tol=ROUNDING * len(A), lower=1)
    if rank == len(A):
        return np.zeros((len(A), 0))
    rest = linalg.solve_triangular(
        c[:rank, :rank], c[rank:, :rank].T, lower=True, trans="T", check_finite=False
    )
    N = np.empty((len(A), len(A) - rank))
    N[order - 1] = np.vstack([-rest, np.eye(len(A) - rank)])
    return linalg.qr(N, mode="economic", check_finite=False)[0]


def mirror(A):
    """Copy the lower triangle of A to the upper one."""
    for j in range(len(A)):
        A[j, j + 1 :] = A[j + 1 :, j]
