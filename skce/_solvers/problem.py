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
from skce._solvers.columns import centre_of, centred_squares, draw, pieces

__all__ = ["Problem", "elastic_net"]


def elastic_net(W, l1_ratio):
    """Return (1 - rho) / 2 |W|^2 + rho |W|_1 of weights without intercepts, in double."""
    with np.errstate(over="ignore"):
        squares = float(np.sum(np.square(W, dtype=np.float64)))
        return (1 - l1_ratio) / 2 * squares + l1_ratio * float(np.abs(W).sum(dtype=np.float64))


@dataclass(frozen=True)
class Problem:
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

    @classmethod
    def of(cls, data, smoothing, alpha, l1_ratio, fit_intercept, rng):
        """Return the problem of Encoded data.

        The 1/M softmax becomes the softmax of targets divided by their sum, in rows that weigh that
        sum over M.
        """
        kind, targets, weights = data.kind, data.targets, data.weights / data.weights.sum()
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
        centre = None
        if fit_intercept and not sparse.issparse(data.X):
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

    @property
    def sigmoid(self):
        """Whether each output has its own probability."""
        return self.kind == _kernels.Loss.SIGMOID

    @cached_property
    def rows(self):
        """Rows with a weight."""
        return np.flatnonzero(self.weights).astype(np.intp)

    def sample(self, size, rng):
        """Draw at most `size` rows with a weight: return them and their number.

        None means all rows, which are then not copied.
        """
        rows = draw(self.rows, size, rng)
        return rows if len(rows) < self.X.shape[0] else None, len(rows)

    @cached_property
    def missing(self):
        """Rows with a missing entry."""
        rows = np.zeros(self.X.shape[0], bool)
        if sparse.issparse(self.targets):
            gaps = np.flatnonzero(np.isnan(self.targets.data))
            rows[np.searchsorted(self.targets.indptr, gaps, "right") - 1] = True
        return rows

    @property
    def target_sums(self):
        """Weighted sums (k,) over the rows of tau."""
        return self._sums[0]

    @property
    def label_weights(self):
        """Weighted sums (k,) over the rows of what tau may be at most."""
        return self._sums[1]

    @property
    def entropy(self):
        """The weighted entropy of the targets: no loss is lower."""
        return self._sums[2]

    @cached_property
    def _sums(self):
        if not sparse.issparse(self.targets):
            counts = np.bincount(self.targets, self.weights, self.k)
            total, off = counts.sum(), self.smoothing / self.k
            row = [1 - self.smoothing + off, *[off] * (self.k - 1)]
            entropy = total * float(special.entr(row).sum())
            return (1 - self.smoothing) * counts + off * total, np.full(self.k, total), entropy
        if self.plain:
            sums, entropies = self._plain_sums
            total = np.full(self.k, self.weights.sum())
            return np.minimum(sums, total), total, float(self.weights @ entropies)
        sums, total, entropy = np.zeros(self.k), np.zeros(self.k), 0.0
        for rows, tau, mass in self.dense_targets():
            sums += self.weights[rows] @ (mass * tau)
            total += self.weights[rows] @ (mass if self.sigmoid else np.ones_like(mass))
            entropy += float(self.weights[rows] @ self._entropies(tau, mass))
        return np.minimum(sums, total), total, entropy  # rounding may exceed it

    @cached_property
    def plain(self):
        """Whether CSR targets are tau: no smoothing, weights or missing entries."""
        unweighted = self.pos_weight is self.entry_weight is None
        return unweighted and not (self.smoothing or self.missing.any())

    @cached_property
    def _plain_sums(self):
        """The weighted sums (k,) of tau over the rows, and the entropy of each row."""
        n, ends, sums = self.X.shape[0], self.targets.indptr, np.zeros(self.k)
        entropies = np.empty(n)
        for rows in pieces(n, self.targets.nnz // n + 1):
            part = slice(ends[rows.start], ends[rows.stop])
            numbers = np.repeat(
                np.arange(rows.start, rows.stop), np.diff(ends[rows.start : rows.stop + 1])
            )
            tau = self.targets.data[part].astype(np.float64)
            sums += np.bincount(self.targets.indices[part], self.weights[numbers] * tau, self.k)
            numbers -= rows.start
            entropies[rows] = np.bincount(numbers, self._entropy(tau), rows.stop - rows.start)
        return sums, entropies

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

    def _entropies(self, tau, mass):
        return (mass * self._entropy(tau)).sum(axis=1)

    @cached_property
    def entry_weights(self):
        """Weights (n, k) of the entries within their row, 0 for missing ones; None for all 1."""
        if self.pos_weight is self.entry_weight is None and not self.missing.any():
            return None
        out = np.empty((self.X.shape[0], self.k), self.X.dtype)
        for rows, _, mass in self.dense_targets():
            out[rows] = mass
        return out

    @property
    def largest_mean_weight(self):
        """The largest of the outputs' mean weights of an entry, weighted by itself."""
        sums, squares = np.zeros(self.k), np.zeros(self.k)
        for rows in pieces(self.X.shape[0], self.k):
            weights = self.weights[rows, None]
            if self.sigmoid and self.entry_weights is not None:
                weights = weights * self.entry_weights[rows]
            sums += weights.sum(axis=0)
            squares += np.square(weights).sum(axis=0)
        return float((squares / np.maximum(sums, 1e-300)).max())

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
            return self.targets.toarray(), -self._plain_sums[1]
        table, negentropy = np.empty((n, self.k), dtype), np.empty(n)
        for rows, tau, mass in self.dense_targets():
            table[rows], negentropy[rows] = tau, -self._entropies(tau, mass)
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
    def column_squares(self):
        """Weighted sums of the squares of the centred columns (p,)."""
        total = np.zeros(self.X.shape[1])
        for rows, squares in self.squares():
            total += self.weights[rows].astype(squares.dtype) @ squares
        return total

    @cached_property
    def leverages(self):
        """Squared lengths (n,) of the rows with the constant, in columns of one scale."""
        inverse = 1 / np.where(self.column_squares > 0, self.column_squares, np.inf)
        if sparse.issparse(self.X):
            return 1 + products.row_squares(self.data.X, inverse)
        lengths = np.empty(self.X.shape[0])
        for rows, squares in self.squares():
            lengths[rows] = 1 + squares @ inverse.astype(squares.dtype)
        return lengths

    @cached_property
    def sums_of_squares(self):
        """Of CSR: in its columns, the numbers of the non-zeros there, and in its rows."""
        return products.squares(self.data.X, self.weights)

    def beats_zero(self, value):
        """Tell whether zero coefficients have no lower objective, but for rounding."""
        slack = 64 * float(np.finfo(self.X.dtype).eps) * abs(self.at_zero)
        return value <= self.at_zero + slack

    def beats_constants(self, value):
        """Tell the same of the best constants, of zero coefficients where those are not known."""
        least = min(self.at_zero, self.at_best_intercept) if self.knows_constants else self.at_zero
        return self.beats_zero(value + self.at_zero - least)

    @property
    def knows_constants(self):
        """Whether the best intercepts of zero coefficients are those of the targets' shares."""
        return self.fit_intercept and (self.sigmoid or not self.missing.any())

    def constants(self):
        """Return weights (p + 1, k) of 0 with the intercepts that the targets' shares ask for.

        These are the best, but where missing entries of a softmax leave 0.
        """
        W = np.zeros((self.X.shape[1] + 1, self.k))
        if self.knows_constants:
            sums, total = self.target_sums, self.label_weights
            least = np.finfo(float).eps  # a label that is never there
            on, off = np.maximum(sums, least * total), np.maximum(total - sums, least * total)
            if self.sigmoid:
                W[-1] = np.where(total > 0, np.log(on / np.where(total > 0, off, 1)), 0)
            else:
                W[-1] = np.log(on / on.sum())
                W[-1] -= W[-1].mean()
        return W

    @cached_property
    def at_zero(self):
        """The objective of zero coefficients."""
        sums, total = self.target_sums, self.label_weights
        if self.sigmoid:
            return np.log(2) * float(total.sum())
        if not self.missing.any():
            return np.log(self.k) * float(sums.sum())
        return self.objective(np.zeros((self.X.shape[1] + 1, self.k)))

    @cached_property
    def at_best_intercept(self):
        """The objective of zero weights with the best intercept, or without one."""
        sums, total = self.target_sums, self.label_weights
        if not self.fit_intercept:
            return self.at_zero
        if self.sigmoid:
            share = np.divide(sums, total, out=np.zeros(self.k), where=total > 0)
            return float(total @ (special.entr(share) + special.entr(1 - share)))
        share = sums / max(sums.sum(), np.finfo(float).tiny)
        return float(sums.sum() * special.entr(share).sum())

    def goal(self, value, tol):
        """The gap within which `value` of the objective counts as the optimum."""
        floor = np.sqrt(np.finfo(self.X.dtype).eps) * self.at_best_intercept
        least = np.finfo(float).eps * self.at_zero
        return max(tol * max(value - self.entropy, floor), least)

    def is_within(self, gap, value, tol):
        """Tell whether the gap, if there is one, is within the goal."""
        return gap < np.inf and gap <= self.goal(value, tol)

    def in_double(self):
        """The same with X, and what has its dtype, in double."""
        names = ["X", "pos_weight", "entry_weight"] + ["targets"] * sparse.issparse(self.targets)
        given = [(name, getattr(self, name)) for name in names]
        wide = {name: a.astype(np.float64, copy=False) for name, a in given if a is not None}
        return replace(self, **wide)

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

    def labels(self, group):
        """The problem of some labels of a sigmoid."""
        pos_weight = None if self.pos_weight is None else self.pos_weight[group]
        targets = sparse.csr_array(self.targets[:, group])
        targets.sort_indices()
        w = None if self.entry_weight is None else self.entry_weight[:, group]
        return replace(self, targets=targets, k=len(group), pos_weight=pos_weight, entry_weight=w)

    @cached_property
    def centre_in_dtype(self):
        """The centre in the dtype of X, zeros without one."""
        if self.centre is None:
            return np.zeros(self.X.shape[1], self.X.dtype)
        return self.centre.astype(self.X.dtype)

    def full_pass(self, kind, W, out, table=None, scale=None, shift=None):
        """`passes.run` at W (p + 1, k) of any dtype."""
        dtype = self.X.dtype
        centre = None if self.centre is None else self.centre_in_dtype
        W = np.ascontiguousarray(W, dtype)
        threads = check_threads(None)
        return passes.run(kind, self.data, W, centre, out, table, scale, shift, threads)

    def objective(self, W):
        """The objective at W (p + 1, k)."""
        loss, _ = self.full_pass(passes.Pass.LOSS, W, np.empty(W.shape))
        return loss + self.penalty(W)

    def penalty(self, W):
        """The penalty at W (p + 1, k)."""
        squares = np.einsum("ij,ij->i", W[:-1], W[:-1]).sum(dtype=np.float64)
        value = (1 - self.l1_ratio) / 2 * float(squares)
        if self.l1_ratio:
            value += self.l1_ratio * float(np.abs(W[:-1]).sum(dtype=np.float64))
        return self.alpha * value

    def conjugate(self, V):
        """The conjugate of the penalty at V (p, k); of the pure L1, 0."""
        ridge = self.alpha * (1 - self.l1_ratio)
        if ridge == 0:
            return 0.0
        if self.l1_ratio:
            V = np.maximum(np.abs(V) - self.alpha * self.l1_ratio, 0)
        return float(np.einsum("ij,ij->i", V, V).sum(dtype=np.float64)) / (2 * ridge)

    def to_centred(self, coef, intercept):
        """Return W (p + 1, k) in double of coef (k, p) and intercept (k,)."""
        shift = 0 if self.centre is None else coef.astype(np.float64) @ self.centre
        return np.vstack([coef.T, intercept + shift]).astype(np.float64)

    def from_centred(self, W):
        """Return coef, a view of W, and the intercept in double."""
        coef = W[:-1].T
        shift = 0 if self.centre is None else coef @ self.centre
        return coef, W[-1] - shift
