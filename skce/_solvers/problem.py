"""A problem as the solvers of the optimum see it.

Every loss is a sum over rows (softmax) or entries (sigmoid) of weight * cross-entropy with targets
tau in the simplex or [0, 1]; the weights of rows sum to at most 1, so sums are means.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse, special

from skce import _kernels
from skce._engine import passes, products
from skce._engine.data import EpochData
from skce._kernels.threads import check_threads
from skce._solvers.columns import (
    SAMPLE_BYTES,
    centre_of,
    centred_squares,
    divided,
    is_mapped,
    pieces,
    some_rows,
)
from skce._solvers.penalised import Penalised
from skce._solvers.seen import positives
from skce._solvers.sums import draw_rows, leverages

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem(Penalised):
    """Data, penalty, centre; targets are labels (n,) or CSR (n, k), NaN for a missing entry."""

    X: Any
    kind: int
    targets: Any
    k: int
    weights: np.ndarray
    pos_weight: np.ndarray | None
    smoothing: float
    alpha: float
    l1_ratio: float
    fit_intercept: bool
    centre: np.ndarray | None  # of the columns of a dense X
    entry_weight: np.ndarray | None = None  # (n, k), of a sigmoid
    in_span: bool = False

    @classmethod
    def of(cls, data, smoothing, alpha, l1_ratio, fit_intercept, rng, total=None, centre=None):
        """Return the problem of Encoded data; of a part, given the weight of all and the centre.

        The 1/M softmax becomes the softmax of targets divided by their sum, in rows that weigh that
        sum over M.
        """
        kind, targets = data.kind, data.targets
        weights = data.weights / (data.weights.sum() if total is None else total)
        if kind == _kernels.Loss.MULTILABEL_SOFTMAX:
            targets = sparse.csr_array(targets, copy=True)
            known = np.where(np.isnan(targets.data), 0, targets.data)
            marks = sparse.csr_array((known, targets.indices, targets.indptr), targets.shape)
            mass = marks.sum(axis=1, dtype=np.float64)
            count = np.add.reduceat(np.append(known != 0, 0), targets.indptr[:-1]) * (
                np.diff(targets.indptr) > 0
            )
            targets.data /= np.repeat(np.where(mass > 0, mass, 1), np.diff(targets.indptr)).astype(
                targets.dtype
            )
            kind, weights = _kernels.Loss.SOFTMAX, weights * mass / np.maximum(count, 1)
        if total is None and fit_intercept and not sparse.issparse(data.X):
            centre = centre_of(data.X, weights, rng)
        return cls(
            *(data.X, kind, targets, data.k, weights, data.pos_weight),
            *(smoothing, alpha, l1_ratio, fit_intercept, centre, data.entry_weight),
        )

    @cached_property
    def data(self):
        """What passes and epochs take of it."""
        return EpochData(
            *(self.kind, self.X, self.targets, self.k),
            *(self.weights, self.pos_weight, self.smoothing, self.entry_weight),
        )

    @cached_property
    def rows(self):
        """Rows with a weight."""
        return np.flatnonzero(self.weights != 0)

    @cached_property
    def n_weighted(self):
        """The number of rows with a weight."""
        return np.count_nonzero(self.weights)

    @cached_property
    def total_weight(self):
        """The sum of the weights, at most 1."""
        return self.weights.sum()

    @cached_property
    def is_sparse(self):
        """Whether X is CSR."""
        return sparse.issparse(self.X)

    @cached_property
    def has_missing(self):
        """Whether there is a missing entry."""
        return sparse.issparse(self.targets) and bool(np.isnan(self.targets.data).any())

    @property
    def weighs_entries(self):
        """Whether `entry_weights` are not all 1."""
        return not (self.pos_weight is self.entry_weight is None) or self.has_missing

    @property
    def some_rows(self):
        """Rows at equal distances, of about PIECE entries: they tell how long rows are."""
        return some_rows(self.X)

    def sum(self, function, *args):
        """Return the sum over the rows of a function of `sums`."""
        return function(self, *args)

    def new_table(self):
        """Return room for the curvature of each row."""
        return np.empty((self.X.shape[0], self.k), self.X.dtype)

    def change(self, function, table, *args):
        """Return the table that a function of `sums` makes of another one."""
        return function(self, table, *args)

    def draw(self, most, rng):
        """Draw about so many rows for second moments."""
        return draw_rows(self, most, rng)

    def samples(self, sizes, rng):
        """Yield the problems of so many rows with a weight, each with those of the one before.

        Of a memory map at most SAMPLE_BYTES are copied.
        """
        if sizes and is_mapped(self.X):
            most = SAMPLE_BYTES // (self.X.shape[1] * self.X.itemsize)
            sizes = sorted({min(size, most) for size in sizes})
        order = rng.permutation(self.rows) if sizes else None
        for size in sizes:
            yield self.subset(np.sort(order[:size]))

    def gathered(self):
        """Return the problem with its rows in arrays, which these are."""
        return self

    @property
    def plain(self):
        """Whether CSR targets are tau: no smoothing, weights or missing entries."""
        return not (self.smoothing or self.weighs_entries)

    @cached_property
    def plain_sums(self):
        """The weighted sums (k,) of tau over the rows, and the entropy of each row."""
        sums = positives(self.targets, self.weights, self.k)
        if (self.targets.data == 1).all():
            return sums, np.zeros(self.X.shape[0])
        of_rows = self.targets.copy()
        of_rows.data = self._entropy(of_rows.data.astype(np.float64))
        return sums, of_rows.sum(axis=1)

    def dense_targets(self):
        """Yield, for blocks of rows, tau and the weights of the entries within their row."""
        for rows in pieces(self.X.shape[0], self.k):
            t = self.targets[rows].toarray().astype(np.float64)
            observed = np.isfinite(t)
            if self.sigmoid:
                t = (1 - self.smoothing) * t + self.smoothing / 2
                positive = t if self.pos_weight is None else t * self.pos_weight.astype(np.float64)
                mass = np.where(observed, 1 - t + positive, 0.0)
                tau = np.divide(positive, mass, out=np.zeros_like(mass), where=mass > 0)
                if self.entry_weight is not None:
                    mass *= self.entry_weight[rows]
            else:
                known = np.maximum(observed.sum(axis=1, keepdims=True), 1)
                mass = observed.astype(np.float64)
                tau = np.where(observed, (1 - self.smoothing) * t + self.smoothing / known, 0.0)
            yield rows, tau, mass

    def _entropy(self, tau):
        return special.entr(tau) + (special.entr(1 - tau) if self.sigmoid else 0)

    def entropies(self, tau, mass):
        """Return the entropy (m,) of some rows of tau, of the weights of their entries."""
        return (mass * self._entropy(tau)).sum(axis=1)

    @cached_property
    def entry_weights(self):
        """Weights (n, k) of the entries within their row, 0 for missing ones; None for all 1."""
        if not self.weighs_entries:
            return None
        out = np.empty((self.X.shape[0], self.k), self.X.dtype)
        for rows, _, mass in self.dense_targets():
            out[rows] = mass
        return out

    @property
    def start_table(self):
        """The targets tau (n, k), where a dual solver begins, and their negentropies (n,)."""
        n, dtype = self.X.shape[0], self.X.dtype
        if not sparse.issparse(self.targets):
            off = self.smoothing / self.k
            table = np.full((n, self.k), off, dtype)
            table[np.arange(n), self.targets] = 1 - self.smoothing + off
            entropy = special.entr(table[:1].astype(np.float64)).sum()
            return table, np.full(n, -float(entropy))
        if self.plain:
            return self.targets.toarray(), -self.plain_sums[1]
        table, negentropy = np.empty((n, self.k), dtype), np.empty(n)
        for rows, tau, mass in self.dense_targets():
            table[rows], negentropy[rows] = tau, -self.entropies(tau, mass)
        return table, negentropy

    def pieces(self, rows=None, copies=1):
        """Yield parts of some rows, None for all, of each of which `copies` are made dense."""
        n = self.X.shape[0] if rows is None else len(rows)
        for part in pieces(n, copies * self.X.shape[1]):
            yield part if rows is None else rows[part]

    def squares(self):
        """Yield parts of the rows and the squares of their centred entries."""
        return centred_squares(self.X, self.centre_in_dtype, self.k)

    @cached_property
    def leverages(self):
        """Squared lengths (n,) of the rows with the constant, in columns of one scale."""
        return leverages(self, self.column_squares)

    @cached_property
    def sums_of_squares(self):
        """`products.squares` of CSR."""
        return products.squares(self.data.X, self.weights)

    def in_double(self):
        """The same with X, and what has its dtype, in double."""
        names = ["X", "pos_weight", "entry_weight"] + ["targets"] * sparse.issparse(self.targets)
        given = [(name, getattr(self, name)) for name in names]
        wide = {name: a.astype(np.float64, copy=False) for name, a in given if a is not None}
        return replace(self, **wide)

    def divided(self, power):
        """The same with X over 2**power."""
        centre = None if self.centre is None else divided(self.centre, power)
        return replace(self, X=divided(self.X, power), centre=centre)

    def subset(self, rows):
        """The problem of some rows, their weights raised to the same sum."""
        weights = self.weights[rows]
        weights = weights * (self.weights.sum() / max(weights.sum(), np.finfo(float).tiny))
        return self.of_rows(rows, weights)

    def of_rows(self, rows, weights):
        """The problem of some rows, with other weights."""
        w = None if self.entry_weight is None else self.entry_weight[rows]
        return replace(
            self, X=self.X[rows], targets=self.targets[rows], weights=weights, entry_weight=w
        )

    def labels(self, group, columns=None):
        """The problem of some labels of a sigmoid; their columns of the targets may be given."""
        pos_weight = None if self.pos_weight is None else self.pos_weight[group]
        targets = sparse.csr_array(self.targets[:, group] if columns is None else columns)
        targets.sort_indices()
        w = None if self.entry_weight is None else self.entry_weight[:, group]
        k = targets.shape[1]
        return replace(self, targets=targets, k=k, pos_weight=pos_weight, entry_weight=w)

    def full_pass(self, kind, W, out, table=None, scale=None, shift=None):
        """`passes.run` at W (p + 1, k) of any dtype."""
        dtype = self.X.dtype
        centre = None if self.centre is None else self.centre_in_dtype
        W = np.ascontiguousarray(W, dtype)
        threads = check_threads(None)
        return passes.run(kind, self.data, W, centre, out, table, scale, shift, threads)
