"""Centre, scale and samples of the columns of X, and parts of its rows."""

import mmap

import numpy as np
from scipy import sparse

__all__ = [
    "MOST_MOVED",
    "MOST_SQUARED",
    "PIECE",
    "SAMPLE_BYTES",
    "centre_of",
    "centred_squares",
    "divided",
    "draw",
    "draw_entries",
    "is_mapped",
    "logit_sizes",
    "peaks",
    "pieces",
    "rounded_intercept",
    "rows_enough",
    "some_rows",
    "stacked",
    "summable",
    "weighted_sums",
]

MOST_SQUARED = 1e15  # of the squares of larger numbers float32 holds no sums, or no inverses
MOST_MOVED = 1e-5  # of a logit, by rounding: intercepts are then kept, and fits end, in double
PIECE = 1 << 19  # entries of the rows that are made dense, copied or looked at together
PIECE_ROWS = 2048  # which few columns keep in the cache; no bound: letter_scaled 1.12, a9a 1.11
# Times PIECE: fewer entries are all read for the centre, sooner than PIECE of them are drawn.
READ = 4  # 1: a fit of 49,990 x 22, two classes, 1.10
ROWS_PER_COLUMN = 10  # from which second moments are told, at least; 0: ldl_movie 1.82


# of a sample that is copied from a memory map, or from parts of rows
SAMPLE_BYTES = 1 << 28  # a share of memory that any machine has; all of it holds few weights' rows


def rows_enough(p):
    """Return how many rows tell second moments of p columns."""
    return max(PIECE // p, ROWS_PER_COLUMN * p)


def is_mapped(X):
    """Tell whether an array is a memory map, or a part of one."""
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap):
            return True
        X = X.base
    return isinstance(X, mmap.mmap)


def draw(rows, most, rng):
    """Return at most so many of the rows, in order."""
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def draw_entries(X, weights, most, rng):
    """Draw rows with a weight, in order, which have about so many entries at most."""
    width = X.nnz / X.shape[0] + 1 if sparse.issparse(X) else X.shape[1]
    return draw(np.flatnonzero(weights), int(np.ceil(most / width)), rng)


def stacked(arrays):
    """Return arrays, or CSR, one below another."""
    if sparse.issparse(arrays[0]):
        return sparse.csr_array(sparse.vstack(arrays, format="csr"))
    return np.concatenate(arrays)


def divided(X, power):
    """Return X over 2**power."""
    if sparse.issparse(X):
        return sparse.csr_array((np.ldexp(X.data, -power), X.indices, X.indptr), X.shape)
    return np.ldexp(X, -power)


def pieces(n, columns):
    """Yield slices that cover n rows, of at most PIECE_ROWS rows and PIECE entries each."""
    size = max(1, min(PIECE_ROWS, PIECE // columns))
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


def summable(X, dtype):
    """Return X in dtype, in double where float32 does not hold sums of its squares."""
    scale = max(X.max(initial=0), -X.min(initial=0)) if X.dtype == np.float32 else 0.0
    return X.astype(np.float64 if scale > MOST_SQUARED else dtype, copy=False)


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
    rows = np.flatnonzero(weights != 0)
    if not len(rows):
        return None
    most = max(PIECE // X.shape[1], 2)
    if len(rows) > READ * most:
        rows = draw(rows, most, rng)
    sample = X if len(rows) == len(X) else X[rows]
    sample = sample.astype(np.float64, copy=False)
    centre = weights[rows] @ sample / weights[rows].sum()
    # a constant column has no rounding to be centred with; most vary in a few rows
    columns = np.flatnonzero((sample[:PIECE_ROWS] == sample[0]).all(axis=0))
    columns = columns[(sample[:, columns] == sample[0, columns]).all(axis=0)]
    centre[columns] = sample[0, columns]
    return centre.astype(X.dtype).astype(np.float64)


def centred_squares(X, centre, k):
    """Yield parts of the rows and the squares of their entries, of a dense X less a centre (p,).

    The next part may take the place of its squares. For each row of CSR there is room for k numbers
    more.
    """
    if not sparse.issparse(X):
        # a new array costs more than its entries where malloc gives memory back at once, as it does
        # in Dask's workers
        room = None
        for rows in pieces(X.shape[0], X.shape[1]):
            room = np.empty_like(X[rows]) if room is None else room[: X[rows].shape[0]]
            Z = summable(np.subtract(X[rows], centre, out=room), X.dtype)
            yield rows, np.square(Z, out=Z)
        return
    for rows in pieces(X.shape[0], X.nnz // X.shape[0] + k):
        Z = X[rows]
        squares = np.square(Z.data, dtype=np.float64)
        yield rows, sparse.csr_array((squares, Z.indices, Z.indptr), Z.shape)


def some_rows(X, most=PIECE):
    """Return rows at equal distances, of about so many entries: they tell how long rows are."""
    size = X.nnz if sparse.issparse(X) else X.size
    return X[:: max(1, size // most)]


def peaks(X, centre):
    """Return the largest absolute value (p,) of each centred column, over some rows X."""
    if sparse.issparse(X):
        largest = np.zeros(X.shape[1], X.dtype)
        np.maximum.at(largest, X.indices, np.abs(X.data))
        return largest
    low, high = _extremes(X)
    return np.maximum(high - centre, centre - low).clip(0)


def _extremes(X):
    """Return the least and the largest entry (p,) of each column, of short rows side by side."""
    n, p = X.shape
    size = max(1, PIECE_ROWS // p)
    if n > size > 1:
        parts = X[: n - n % size].reshape(-1, size * p)
        folded = [extreme(parts, axis=0).reshape(size, p) for extreme in (np.min, np.max)]
        X = np.concatenate([*folded, X[n - n % size :]])
    return X.min(axis=0, initial=np.inf), X.max(axis=0, initial=-np.inf)


def logit_sizes(X, centre, W):
    """Return how large the terms are that a logit at W (p + 1, k) is summed of.

    It is the sum of their absolute values, a mean over some rows X, largest of the k outputs.
    """
    terms = abs(X if sparse.issparse(X) else X - centre)
    mean = np.asarray(terms.mean(axis=0, dtype=np.float64)).ravel()
    sizes = np.abs(W[-1])
    for part in pieces(len(mean), len(sizes)):
        sizes += mean[part] @ np.abs(W[part])
    return float(sizes.max(initial=0))


def rounded_intercept(intercept, dtype):
    """Return intercepts in dtype, in double where columns far from 0 make that move logits."""
    intercept = np.asarray(intercept, np.float64)
    rounded = intercept.astype(dtype)
    return rounded if np.abs(rounded - intercept).max(initial=0) <= MOST_MOVED else intercept
