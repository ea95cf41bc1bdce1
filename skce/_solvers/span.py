"""Few rows of many columns: weights are sought in the span of the rows, where the optimum is."""

from dataclasses import replace

import numpy as np
from scipy import linalg, sparse

from skce._solvers.preconditioners import MOST_COLUMNS

__all__ = ["Span", "is_wide"]

FEW_ROWS = 300  # most rows, if there are no fewer columns
WIDE_ROWS = 2000  # most rows, if there are twice as many columns


def is_wide(problem):
    """Tell whether weights are found in the span of the rows."""
    n, p = len(problem.rows), problem.X.shape[1]
    few = n <= min(p, FEW_ROWS) or n <= min(p // 2, WIDE_ROWS)
    return few and not (sparse.issparse(problem.X) and p > MOST_COLUMNS)


class Span:
    """A problem in the coordinates of an orthonormal basis of its rows.

    Neither losses nor the squared norm change.
    """

    def __init__(self, problem):
        X = problem.X
        Z = X.toarray() if sparse.issparse(X) else X - problem.centre_in_dtype
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
