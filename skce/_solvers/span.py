"""No more rows than columns: weights are sought in the span of the rows, where the optimum is.

Equal rows count once, so that repetition of rows does not lead elsewhere than their weights.
"""

from dataclasses import replace

import numpy as np
from scipy import linalg, sparse

from skce._solvers.preconditioners import MOST_COLUMNS
from skce._solvers.rounding import ROUNDING, SINGULAR

__all__ = ["Span", "is_wide"]

REPEATED = 8  # times the columns: of more rows, equal ones are not looked for; memory bounds it


def is_wide(problem):
    """Tell whether weights are found in the span of the rows: no more rows than columns.

    1,000 x 4,000, 3 classes: a ninth of the time; 700 x 1,000: two thirds; 60 x 60: the same.
    """
    n, p, X = problem.n_weighted, problem.X.shape[1], problem.X
    most = min(p, MOST_COLUMNS)
    if n > REPEATED * most or (problem.is_sparse and p > MOST_COLUMNS):
        return False
    if n <= most or not (isinstance(X, np.ndarray) or sparse.issparse(X)):
        return n <= most
    looked_at = [X] if sparse.issparse(X) else [X[:, :: p // 16 + 1], X]  # few columns tell mostly
    return all(_distinct(part, problem.rows, most) is not None for part in looked_at)


def _distinct(X, rows, most):
    """Return the number of each row among the distinct ones, None where these are more than most.

    These are in the order of their bytes. It stops at the first row too many, which is early where
    rows do not repeat.
    """
    seen: dict[bytes, bytes] = {}
    contents = []
    for row in rows:
        if sparse.issparse(X):
            part = slice(X.indptr[row], X.indptr[row + 1])
            content = X.indices[part].tobytes() + X.data[part].tobytes()
        else:
            content = X[row].tobytes()
        contents.append(seen.setdefault(content, content))
        if len(seen) > most:
            return None
    numbers = {content: i for i, content in enumerate(sorted(seen))}
    return np.array([numbers[content] for content in contents])


class Span:
    """A problem in the coordinates of an orthonormal basis of its rows.

    Neither losses nor the squared norm change. The rows Z have the Gram matrix D L L^T D, whose
    Cholesky factor, pivoted, leaves out rows that depend on those before: Q = Z^T D^-1 L^-T.
    Squares lose columns below 1e-5 of the scale of others, which a weak penalty lets matter: where
    rank is missing, QR of Z^T looks for it, which takes 3 times as long and more. All is in double,
    whatever X is: n columns are few.
    """

    def __init__(self, problem):
        # in an order of their own: another basis has other diagonals
        numbers = _distinct(problem.X, problem.rows, len(problem.rows))
        distinct = problem.rows[np.unique(numbers, return_index=True)[1]]
        Z = problem.X[distinct].astype(np.float64)
        if sparse.issparse(Z):
            gram = (Z @ Z.T).toarray()
        else:
            Z -= 0 if problem.centre is None else problem.centre
            gram = Z @ Z.T
        size = np.sqrt(np.where(gram.diagonal() > 0, gram.diagonal(), 1))
        gram = gram / size / size[:, None]
        np.fill_diagonal(gram, gram.diagonal().round())  # or rounding would choose the first pivot
        factor, order, rank, _ = linalg.lapack.dpstrf(gram, SINGULAR, lower=1)
        if problem.alpha and rank < len(size) - (problem.centre is not None):
            order, found = self._by_qr(Z.toarray() if sparse.issparse(Z) else Z)
        else:
            order, rank = order - 1, max(rank, 1)
            found = np.tril(factor)[:, :rank] * size[order, None]
            self.rows, self.factor = Z[order[:rank]], found[:rank].copy()
            self.factor[0, 0] = self.factor[0, 0] or 1.0  # where all rows are 0
        coordinates = np.zeros((problem.X.shape[0], found.shape[1]))
        coordinates[problem.rows] = found[np.argsort(order)[numbers]]
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
