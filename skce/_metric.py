"""The metric of L-BFGS: the columns' second moments and the penalty, factored."""

import numpy as np
from scipy import linalg, sparse

from skce._canonical import in_threads, pieces

__all__ = ["GRAM_ROWS", "Metric", "cholesky", "mirror", "summable", "to_unit", "weighted_gram"]

GRAM_ROWS = 2000  # of a metric, at least
FEATURES_PER_CLASS = 10  # up to which more of them cost less than the passes
FEW_ROWS, MORE_ROWS = 10, 300  # for each feature
INTERCEPT = 0.5  # of its own curvature: mnist and MiniLM take 4/5 of the passes
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
        p = X.shape[1]
        if curvature is None:
            sums, total, _ = problem.masses
            share = np.divide(sums, total, out=np.zeros(problem.k), where=total > 0)
            curvature = problem.weights * float(np.mean(share * (1 - share)))
        per_feature = MORE_ROWS if p <= FEATURES_PER_CLASS * problem.k else FEW_ROWS
        rows, size, grow = problem.sample(max(GRAM_ROWS, per_feature * p), rng)
        weights = curvature if rows is None else curvature[rows] * grow
        A, reach = np.zeros((p + 1, p + 1)), np.zeros(p)
        if sparse.issparse(X):
            Z = sparse.csr_array(X if rows is None else X[rows])
            by_row = sparse.diags_array(weights)
            for some in pieces(p, p):
                columns = Z[:, some]
                reach[some] = abs(columns).max(axis=0).toarray().ravel()
                A[some, :p] = ((by_row @ columns).T.tocsr() @ Z).toarray()
            A[p, :p] = weights @ Z
        else:

            def moments(part):
                Z, weight = X[part] - problem.centre_in_dtype, curvature[part] * grow
                top = np.abs(Z).max(axis=0) if grow > 1 else reach
                return weighted_gram(summable(Z), weight), weight @ Z, top

            each = p * p * X.dtype.itemsize
            for gram, sums, top in in_threads(moments, problem.pieces(rows), each):
                A[:p, :p] += gram
                A[p, :p] += sums
                reach = np.maximum(reach, top)
                gram = None  # before the next one is made
        A[p, :p] *= problem.fit_intercept
        A[:p, p] = A[p, :p]
        total = max(float(weights.sum()), 1e-300)
        A[p, p] = total
        if grow > 1:
            _damp(A, size, np.append(total * reach.astype(np.float64) ** 2 / (9 * p), 0.0))
        A[np.arange(p), np.arange(p)] += problem.alpha
        if not np.isfinite(A.diagonal()).all():
            raise ValueError(f"X must have finite squares, got entries up to {abs(X).max():.1g}.")
        self.scale = to_unit(A)
        self.factor, _ = cholesky(A, 1.0)
        if not problem.sigmoid:
            self.factor[p, p] *= np.sqrt(INTERCEPT)

    def to_weights(self, U):
        """Return W (p + 1, k) of the coordinates U."""
        V = linalg.solve_triangular(self.factor, U, trans="T", lower=True, check_finite=False)
        return V * self.scale[:, None]

    def divide(self, gradient):
        """Return the gradient divided by the metric."""
        scale = self.scale[:, None]
        return linalg.cho_solve((self.factor, True), gradient * scale, check_finite=False) * scale

    def to_coordinates(self, W):
        """Return U of W."""
        return linalg.blas.dtrmm(1.0, self.factor, W / self.scale[:, None], lower=1, trans_a=1)

    def to_gradient(self, gradient):
        """Return the gradient in the coordinates U."""
        scaled = gradient * self.scale[:, None]
        return linalg.solve_triangular(self.factor, scaled, lower=True, check_finite=False)


def summable(X):
    """Return X, in double where float32 does not hold sums of its squares."""
    scale = float(np.abs(X).max(initial=0)) if X.dtype == np.float32 else 0.0
    return X.astype(np.float64) if scale > HUGE else X


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
    """Return the Cholesky factor of A with another diagonal, in A but for its lower triangle."""
    ridge = 1e-14
    while True:
        A[np.diag_indices_from(A)] = diagonal + ridge
        try:
            # LAPACK works in the lower triangle of the transpose, in place
            return linalg.cho_factor(A.T, lower=True, overwrite_a=True, check_finite=False)
        except linalg.LinAlgError:
            mirror(A)
            ridge *= 100


def mirror(A):
    """Copy the lower triangle of A to the upper one."""
    for j in range(len(A)):
        A[j, j + 1 :] = A[j + 1 :, j]
