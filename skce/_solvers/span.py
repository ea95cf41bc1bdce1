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
    """A problem in the coordinates of an orthonormal basis of its rows, by Householder's QR.

    Neither losses nor the squared norm change. The Gram matrix of the rows would take half of the
    time, and lose columns below 1e-5 of the scale of others, which a weak penalty lets matter.
    All is in double, whatever X is: n columns are few.
    """

    def __init__(self, problem):
        Z = problem.X[problem.rows]
        Z = (Z.toarray() if sparse.issparse(Z) else Z).astype(np.float64)
        Z -= 0 if problem.centre is None else problem.centre
        (self.basis, self.tau), R = linalg.qr(Z.T, mode="raw", check_finite=False)
        sizes = np.abs(R).max(axis=1)
        least = ROUNDING if problem.alpha else np.sqrt(SINGULAR)  # no penalty holds rounding back
        self.kept = sizes > least * sizes.max()
        self.kept[0] = True  # where all rows are 0
        coordinates = np.zeros((problem.X.shape[0], self.kept.sum()))
        coordinates[problem.rows] = R[self.kept].T
        self.problem = replace(problem, X=coordinates, centre=None).in_double()

    def _times_basis(self, turn, A):
        work = linalg.lapack.dormqr("L", turn, self.basis, self.tau, A, -1)[1][0]
        return linalg.lapack.dormqr("L", turn, self.basis, self.tau, A, int(work))[0]

    def inside(self, W):
        """Return the coordinates of W."""
        inner = self._times_basis("T", W[:-1])[: len(self.kept)]
        return np.vstack([inner[self.kept], W[-1:]])

    def outside(self, W):
        """Return W of its coordinates."""
        outer = np.zeros((len(self.basis), W.shape[1]))
        outer[: len(self.kept)][self.kept] = W[:-1]
        return np.vstack([self._times_basis("N", outer), W[-1:]])
