"""Sums over the rows of a problem: all that L-BFGS, its start and its end ask of the rows.

The solvers of "lbfgs" (`lbfgs`, `newton`, `refresh`, `preconditioners`, `objective`, `certificate`,
and `auto` around them) see p, k and no rows but a bounded sample. They use of a problem:

full_pass(kind, W, out, table, scale, shift)
    Loss and gradient, product with the Hessian, or certificate: W (p + 1, k) goes out, `out` of
    that shape and two numbers come back.
sum(function, *args)
    The sum over the rows of function(problem, *args), one of this module's that return an array or
    a tuple of arrays and numbers.
new_table(), change(function, table, *args)
    Room for the curvature (n, k) of the rows, which stays with them: a pass fills it, functions of
    this module read it or make another one of it. Solvers pass it on and never look into it.
draw(most, rng)
    About so many rows for second moments, a `Drawn`, which is passed on likewise.
samples(sizes, rng)
    Problems of so many rows in arrays, each of which holds the rows before it.
some_rows
    Rows (m, p) of about `columns.PIECE` entries.
gathered()
    The problem in arrays, asked for where rows are few.
in_double(), divided(power)
    The same with X in double, or over 2**power.

Beside these there are numbers: ``X.shape``, ``X.dtype`` and, of CSR, ``X.nnz``; ``is_sparse``,
``n_weighted``, ``total_weight``, ``has_missing``, ``weighs_entries``. A `problem.Problem` has its
rows in arrays. A `parts.PartsProblem` sends the functions to its parts, whose rows are each a
`Problem` somewhere, and adds what comes back in their order.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse, special

from skce._engine.data import Matrix
from skce._engine.products import dense_grams, row_squares, weighted_grams
from skce._kernels.threads import in_threads
from skce._solvers.columns import pieces, summable, weighted_sums
from skce._solvers.rounding import TINY

__all__ = [
    "OF_TARGETS",
    "ConstantCurvature",
    "Curvature",
    "Drawn",
    "column_squares",
    "curvature_sums",
    "diagonal_moments",
    "draw_rows",
    "hessian",
    "intercept_matrix",
    "leverages",
    "row_weights",
    "second_moments",
    "squared_lengths",
    "squares_along",
    "table_sums",
    "target_sums",
    "with_classes",
    "with_intercepts",
]


class Drawn(NamedTuple):
    """Rows for second moments: their numbers, None for all, and what each row (n,) stands for."""

    rows: Any
    times: Any
    number: int


def leverages(problem, squares):
    """Return the squared lengths (n,) of the rows with the constant, in columns of one scale.

    `squares` are the sums (p,) of the columns, those of all parts for a part.
    """
    return 1 + squared_lengths(problem, 1 / np.where(squares > 0, squares, np.inf))


def squared_lengths(problem, scale):
    """Return the sums (n,) of the squares in the rows, times a scale (p,)."""
    if problem.is_sparse:
        if np.ptp(scale) == 0:
            return problem.sums_of_squares.rows * scale[0]
        return row_squares(problem.data.X, scale)
    lengths = np.empty(problem.X.shape[0])
    scale = np.fmin(scale, np.finfo(problem.X.dtype).max)
    for rows, squares in problem.squares():
        lengths[rows] = squares @ scale.astype(squares.dtype)
    return lengths


def draw_rows(problem, most, rng, known=None):
    """Draw about so many rows by their share of the second moments, in columns of one scale.

    Rows that hold much of what few rows know are certain. `known` are their leverages.
    """
    if problem.n_weighted <= most:
        return Drawn(None, None, problem.n_weighted)
    share = problem.weights * (problem.leverages if known is None else known)
    ordered = np.sort(share)[::-1]
    rest = np.maximum(np.cumsum(ordered[::-1])[::-1], TINY)  # of a row and those after it
    left = np.maximum(most - np.arange(len(share)), 1)
    certain = int(np.argmax(left * ordered <= rest))
    chance = np.minimum(left[certain] / rest[certain] * share, 1.0)
    times = np.zeros(len(share))
    rows = np.flatnonzero(rng.random_sample(len(share)) < chance)
    times[rows] = 1 / chance[rows]
    return Drawn(rows, times, len(rows))


def row_weights(problem, rows):
    """Return the weights (m, 1) of some rows."""
    return problem.weights[rows, None]


@dataclass(frozen=True)
class ConstantCurvature:
    """Weight * curvature (m, k) of some rows where it has a share of each entry's weight.

    Or, unless it is to be for each class, its mean (m, 1).
    """

    shares: np.ndarray
    each: bool

    def __call__(self, problem, rows):
        each = problem.weights[rows, None] * self.shares
        if problem.entry_weights is not None:  # other parts may have them
            each *= problem.entry_weights[rows]
        return each if self.each else each.mean(axis=1, keepdims=True)


@dataclass(frozen=True)
class Curvature:
    """Weight * curvature (m, k) of some rows, of a table, for each class at least the weight times.

    Or, unless it is to be for each class, its mean (m, 1).
    """

    table: Any
    least: np.ndarray
    each: bool

    def of_part(self, part, problem):
        """Return that of a part's own table."""
        return replace(self, table=self.table.of_part(part, problem))

    def __call__(self, problem, rows):
        known = _curvature(problem, self.table, rows)
        curvature = np.maximum(known, self.least * problem.weights[rows, None])
        return curvature if self.each else curvature.mean(axis=1, keepdims=True)


def _curvature(problem, table, rows):
    table = table[rows].astype(np.float64)
    return table if problem.sigmoid else problem.weights[rows, None] * table * (1 - table)


def curvature_sums(problem, table):
    """Return the sums (k,) of the weight * curvature of the rows."""
    return sum(_curvature(problem, table, rows).sum(axis=0) for rows in pieces(*table.shape))


def target_sums(problem):
    """Return the weighted sums (k,) of tau, those of what it may be at most, and its entropy."""
    weights, k, smoothing = problem.weights, problem.k, problem.smoothing
    if not sparse.issparse(problem.targets):
        counts = np.bincount(problem.targets, weights, k)
        total, off = counts.sum(), smoothing / k
        row = [1 - smoothing + off, *[off] * (k - 1)]
        entropy = total * float(special.entr(row).sum())
        return (1 - smoothing) * counts + off * total, np.full(k, total), entropy
    if problem.plain:
        sums, entropies = problem.plain_sums
        total = np.full(k, weights.sum())
        return np.minimum(sums, total), total, float(weights @ entropies)
    sums, total, entropy = np.zeros(k), np.zeros(k), 0.0
    for rows, tau, mass in problem.dense_targets():
        sums += weights[rows] @ (mass * tau)
        total += weights[rows] @ (mass if problem.sigmoid else np.ones_like(mass))
        entropy += float(weights[rows] @ problem.entropies(tau, mass))
    return np.minimum(sums, total), total, entropy  # rounding may exceed it


def column_squares(problem):
    """Return the weighted sums of the squares of the centred columns (p,)."""
    if problem.is_sparse:
        return problem.sums_of_squares.weighted
    total = np.zeros(problem.X.shape[1])
    for rows, squares in problem.squares():
        total += problem.weights[rows].astype(squares.dtype) @ squares
    return total


def diagonal_moments(problem, curvature, shares):
    """Return weighted sums of squares (p + 1, k) of the centred columns and the constant."""
    columns = len(shares) * curvature(problem, slice(0, 1)).shape[1]
    D = np.zeros((problem.X.shape[1] + 1, columns))
    for rows, squares in problem.squares():
        each = curvature(problem, rows) * shares
        D[:-1] += squares.T @ each
        D[-1] += each.sum(axis=0)
    return D


def second_moments(problem, drawn, curvature, dtype):
    """Return those of the centred columns and the constant with each curvature (k, p + 1, p + 1).

    Of CSR the last column is not set, the last row is. Products of a dense X are made in dtype.
    """
    X, p, rows, times = problem.X, problem.X.shape[1], drawn.rows, drawn.times
    k = curvature(problem, slice(0, 1)).shape[1]

    def weigh(part):
        weights = curvature(problem, part)
        return weights if times is None else weights * times[part, None]

    if sparse.issparse(X):
        Z = X if rows is None else sparse.csr_array(X[rows])
        weights = weigh(slice(None) if rows is None else rows)
        A = weighted_grams(Matrix(Z), np.ascontiguousarray(weights))
        A[:, p, :p], A[:, p, p] = weights.T @ Z, weights.sum(axis=0)
        return A
    A = np.zeros((k, p + 1, p + 1))

    def moments(part):
        return _grams(problem, summable(X[part], dtype), weigh(part))

    each = k * p * p * np.dtype(dtype).itemsize
    for grams in in_threads(moments, problem.pieces(rows, 1 + 4 * k // p), each):
        A += grams
        grams = None  # before the next ones are made
    return A


def squares_along(problem, V):
    """Return the weighted products (m, m) of the centred rows times directions V (p + 1, m)."""
    total = np.zeros((V.shape[1], V.shape[1]))
    at_zero = V[-1] - problem.centre_in_dtype.astype(np.float64) @ V[:-1]
    for rows in pieces(problem.X.shape[0], sum(V.shape)):
        Z = problem.X[rows].astype(np.float64) @ V[:-1] + at_zero
        total += Z.T @ (problem.weights[rows, None] * Z)
    return total


def _grams(problem, X, weights):
    return dense_grams(X, problem.centre_in_dtype.astype(X.dtype), weights)


def hessian(problem, table):
    """Return the Hessian of the losses, of a table of `Objective` (n, k).

    The block of two outputs is made of the products of the columns with their curvature.
    """
    X, k, p = problem.X, problem.k, problem.X.shape[1]
    if X.dtype == np.float64 and k == 1 and not problem.is_sparse:  # no part of which is copied
        return _grams(problem, X, table)[0]
    a, b = _pairs(k)
    A, H = np.zeros((len(a), p + 1, p + 1)), np.empty((p + 1, k, p + 1, k))
    for rows in problem.pieces(None, 1 + len(a) // p):
        part = X[rows].toarray() if sparse.issparse(X) else X[rows]
        each = table[rows].astype(np.float64)
        if not problem.sigmoid:
            each = problem.weights[rows, None] * each[:, a] * abs((a == b) - each[:, b])
        A += _grams(problem, part.astype(np.float64, copy=False), each)
    A[a != b] *= -1  # the curvature of two outputs is below 0, which BLAS takes no root of
    H[:, a, :, b] = H[:, b, :, a] = A
    return H.reshape(2 * ((p + 1) * k,))


@cache
def _pairs(k):
    """Return the numbers of each two of k outputs."""
    return np.triu_indices(k)


def table_sums(problem, table):
    """Return the weighted sums (k,) of a table."""
    return weighted_sums(problem.weights, table)


def with_classes(problem, table, wanted):
    """Return probabilities without the classes that no target has."""
    table = np.where(wanted > 0, table, 0)
    table /= np.maximum(table.sum(axis=1, keepdims=True), np.finfo(table.dtype).tiny)
    return table


def with_intercepts(problem, table, step):
    """Change probabilities to first order by a step of the intercepts; return them."""
    for rows in pieces(len(table), problem.k):
        part = table[rows].astype(np.float64)
        table[rows] = part * (1 + part @ step[:, None] - step)
    return table


def intercept_matrix(problem, table):
    """Return what stands beside the diagonal of the Hessian of a softmax in its intercepts (k, k).

    `table` has the probabilities.
    """
    H = np.zeros((problem.k, problem.k))
    for rows in pieces(len(table), problem.k):
        proba = table[rows].astype(np.float64)
        H -= proba.T @ (problem.weights[rows, None] * proba)
    return H


OF_TARGETS = {  # these need no X
    *(target_sums, curvature_sums, table_sums, with_classes, with_intercepts, intercept_matrix)
}
