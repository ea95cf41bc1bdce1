"""Centre, scale and samples of the columns of X, and parts of its rows."""

import numpy as np
from scipy import sparse

from skce._engine import products
from skce._engine.data import Matrix

__all__ = [
    "Moments",
    "centre_of",
    "centred_squares",
    "draw",
    "logit_sizes",
    "pieces",
    "sample_rows",
    "smoothness",
    "some_rows",
    "summable",
    "weighted_sums",
]

CENTRE_ROWS = 4096  # most rows from which the centre is estimated
CENTRE_SIZE = 1 << 21  # most entries of these rows
HUGE = 1e15  # float32 overflows in sums of squares of larger numbers
PIECE = 1 << 19  # entries of the rows made dense, or copied, together
BLOCK = 4096  # rows whose extremes are found at a time
SOME_ROWS = 1000  # rows from which the length of rows and the size of logits are estimated
SHORT = 50.0  # a bound of that size up to here is good enough
SAMPLE = 2000  # least rows from which variances and smoothness are estimated, 10 for a column


def draw(rows, most, rng):
    """Return at most so many of the rows, in order."""
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def pieces(n, columns):
    """Yield slices that cover n rows, of at most PIECE entries each."""
    size = max(1, PIECE // columns)
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


def summable(X, dtype):
    """Return X in dtype, in double where float32 does not hold sums of its squares."""
    scale = float(np.abs(X).max(initial=0)) if X.dtype == np.float32 else 0.0
    return X.astype(np.float64 if scale > HUGE else dtype, copy=False)


def weighted_sums(weights, table):
    """Return the weighted sums (k,) over the rows of a table (n, k), in double."""
    sums = np.zeros(table.shape[1])
    for rows in pieces(*table.shape):
        sums += weights[rows] @ table[rows].astype(np.float64)
    return sums


def centre_of(X, weights, rng):
    """Return the mean of each column of a dense X on a sample of rows, None without a weight.

    It has the values of X's dtype, which passes subtract, in double.
    """
    most = max(min(CENTRE_ROWS, CENTRE_SIZE // X.shape[1]), 2)
    rows = draw(np.flatnonzero(weights), most, rng)
    if not len(rows):
        return None
    sample = X[rows].astype(np.float64)
    low = sample.min(axis=0)  # a constant column has no rounding to be centred with
    mean = np.average(sample, axis=0, weights=weights[rows])
    centre = np.where(low == sample.max(axis=0), low, mean)
    return centre.astype(X.dtype).astype(np.float64)


def centred_squares(X, centre, k):
    """Yield parts of the rows and the squares of their entries, of a dense X less a centre (p,).

    For each row of CSR there is room for k numbers more.
    """
    if not sparse.issparse(X):
        for rows in pieces(X.shape[0], X.shape[1]):
            Z = summable(X[rows] - centre, X.dtype)
            yield rows, np.square(Z, out=Z)
        return
    for rows in pieces(X.shape[0], X.nnz // X.shape[0] + k):
        Z = X[rows]
        squares = np.square(Z.data, dtype=np.float64)
        yield rows, sparse.csr_array((squares, Z.indices, Z.indptr), Z.shape)


def some_rows(X):
    """Return rows at equal distances, enough to tell how long rows are."""
    return X[:: max(1, X.shape[0] // SOME_ROWS)]


def logit_sizes(X, centre, W):
    """Return how large the terms are that a logit at W (p + 1, k) is summed of.

    It is the sum of their absolute values, a mean over some rows, largest of the k outputs; or a
    simple bound of it, where that is small.
    """
    X = some_rows(X)
    terms = abs(X) if sparse.issparse(X) else np.abs(X - centre)
    squares = terms.power(2) if sparse.issparse(X) else np.square(terms)
    length = np.sqrt(squares.sum(axis=1, dtype=np.float64)).mean()
    bound = float(length * np.sqrt(np.einsum("ij,ij->j", W[:-1], W[:-1]).max(initial=0)))
    if bound < SHORT:
        return bound
    return float((terms @ np.abs(W[:-1])).mean(axis=0).max(initial=0))


class Moments:
    """Running centre and scale of the columns, over one array or a stream of batches.

    Dense columns are centred: mean and variance of a row sample, and the largest distance from
    the mean over all rows, which bounds the scale of columns lit in a handful of rows. CSR is
    not centred: the mean square of a column's non-zeros. Rows without weight do not count.
    """

    def __init__(self, n_features):
        self.weight = np.zeros(n_features)
        self.mean = np.zeros(n_features)
        self.scatter = np.zeros(n_features)
        self.low = np.full(n_features, np.inf)
        self.high = np.full(n_features, -np.inf)

    def update(self, X, weights, rng):
        """Take in the rows of X that have weight."""
        if sparse.issparse(X):
            squares, count, _ = products.squares(Matrix(X), weights)
            self.scatter += squares
            self.weight += count
            return
        rows = np.flatnonzero(weights)
        for first in range(0, len(rows), BLOCK):
            block = rows[first : first + BLOCK]
            block = X[block] if len(rows) < X.shape[0] else X[first : first + BLOCK]
            np.minimum(self.low, block.min(axis=0), out=self.low)
            np.maximum(self.high, block.max(axis=0), out=self.high)
        sample = X[sample_rows(X, rows, rng)].astype(np.float64)
        n_new, n_old = len(sample), self.weight
        delta = sample.mean(axis=0) - self.mean
        self.scatter += sample.var(axis=0) * n_new + delta**2 * n_old * n_new / (n_old + n_new)
        self.mean += delta * n_new / (n_old + n_new)
        self.weight = n_old + n_new

    def scale(self):
        """Return the squared scale of each column, 1 where it has shown nothing but one value."""
        reach = np.maximum(np.maximum(self.high - self.mean, self.mean - self.low), 0)
        square = self.scatter / np.maximum(self.weight, 1) + reach**2 / (9 * len(reach))
        # a constant column has the variance of its rounding
        return np.where(square > (1e-13 * self.mean) ** 2, square, 1.0)


def sample_rows(X, rows, rng):
    """Return at most max(SAMPLE, 10 p), for CSR SAMPLE, of the row numbers."""
    size = SAMPLE if sparse.issparse(X) else max(SAMPLE, 10 * X.shape[1])
    return rows if len(rows) <= size else np.sort(rng.choice(rows, size, replace=False))


def smoothness(X, weights, mean, metric, rng):
    """Second moments of (x - mean) * sqrt(metric) and 1, on a sample of the rows.

    Returns the largest eigenvalue of their weighted matrix, by power iteration, and what the
    squared norm of a weighted row has beyond it, on average.
    """
    rows = sample_rows(X, np.flatnonzero(weights), rng)
    weights = weights[rows]
    scale = np.sqrt(metric)
    if sparse.issparse(X):
        Z = X[rows] @ sparse.diags(scale)
        squares = np.asarray(Z.multiply(Z).sum(axis=1)).ravel() + 1
    else:
        Z = (X[rows] - mean) * scale
        squares = np.einsum("ij,ij->i", Z, Z) + 1
    norm = (weights**2) @ squares / weights.sum()
    direction = rng.standard_normal(len(scale) + 1)
    for _ in range(20):
        direction /= np.linalg.norm(direction)
        response = weights * (Z @ direction[:-1] + direction[-1])
        direction = np.append(Z.T @ response, response.sum()) / len(rows)
    largest = float(np.linalg.norm(direction))
    return largest, max(float(norm) - largest, 0.0)
