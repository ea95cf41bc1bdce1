"""No more rows than columns: weights are sought in the span of the rows, where the optimum is."""

from dataclasses import replace

import numpy as np
from scipy import linalg, sparse

from skce._solvers.preconditioners import MOST_COLUMNS
from skce._solvers.rounding import ROUNDING, SINGULAR

__all__ = ["Span", "is_wide"]


def is_wide(problem):
    """Tell whether weights are found in the span of the rows: no more rows than columns.

    1,000 x 4,000, 3 classes: a ninth of the time; 700 x 1,000: two thirds; 60 x 60: the same.
    """
    n, p = problem.n_weighted, problem.X.shape[1]
    return n <= min(p, MOST_COLUMNS) and not (problem.is_sparse and p > MOST_COLUMNS)


class Span:
    """A problem in the coordinates of an orthonormal basis of its rows.

    Neither losses nor the squared norm change. The rows Z have the Gram matrix D L L^T D, whose
    Cholesky factor, pivoted, leaves out rows that depend on those before: Q = Z^T D^-1 L^-T.
    Squares lose columns below 1e-5 of the scale of others, which a weak penalty lets matter: where
    rank is missing, QR of Z^T looks for it, which takes 3 times as long and more. All is in double,
    whatever X is: n columns are few.
    """

    def __init__(self, problem):
        Z = problem.X[problem.rows].astype(np.float64)
        if sparse.issparse(Z):
            gram = (Z @ Z.T).toarray()
        else:
            Z -= 0 if problem.centre is None else problem.centre
            gram = Z @ Z.T
        size = np.sqrt(np.where(gram.diagonal() > 0, gram.diagonal(), 1))
        factor, order, rank, _ = linalg.lapack.dpstrf(
            gram / size / size[:, None], SINGULAR, lower=1
        )
        if problem.alpha and rank < len(size) - (problem.centre is not None):
            order, found = self._by_qr(Z.toarray() if sparse.issparse(Z) else Z)
        else:
            order, rank = order - 1, max(rank, 1)
            found = np.tril(factor)[:, :rank] * size[order, None]
            self.rows, self.factor = Z[order[:rank]], found[:rank].copy()
            self.factor[0, 0] = self.factor[0, 0] or 1.0  # where all rows are 0
        coordinates = np.zeros((problem.X.shape[0], found.shape[1]))
        coordinates[problem.rows[order]] = found
        self.problem = replace(problem, X=coordinates, centre=None, in_span=True).in_double()

    def _by_qr(self, Z):
        """Set the basis; return the rows in the order that QR took them, and their coordinates."""
        Q, R, order = linalg.qr(Z.T, mode="economic", pivoting=True, check_finite=False)
        sizes = np.abs(R.diagonal())
        rank = max(int((sizes > ROUNDING * sizes[0]).sum()), 1)
        self.rows, self.factor = Q.T[:rank], np.eye(rank)
        return order, R[:rank].T

    def inside(self, W):
        """Return the coordinates of W."""
        inner = linalg.solve_triangular(self.factor, self.rows @ W[:-1], lower=True)
        return np.vstack([inner, W[-1:]])

    def outside(self, W):
        """Return W of its coordinates."""
        inner = linalg.solve_triangular(self.factor, W[:-1], lower=True, trans=1)
        return np.vstack([self.rows.T @ inner, W[-1:]])
