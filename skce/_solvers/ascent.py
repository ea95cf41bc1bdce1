"""Proximal stochastic dual coordinate ascent: passes, metric and certificate.

A table of probabilities is the dual point. A pass takes each row (CSR) or batch of rows (dense) to
the exact minimum of its part, near the centre of the pass in the metric of the columns; then the
centre moves. How near, one number q tells, the mean of leverage * weight over the rows: it grows
where passes are too timid and falls where the rows' steps do not fit together. The intercept, which
every row has, is held by as much; were it held by more, rows of large weights would move it least.
"""

import numpy as np
from scipy import special

from skce._engine.passes import Pass
from skce._engine.sdca import sdca_epoch
from skce._solvers.certificate import certificate
from skce._solvers.columns import pieces, weighted_sums
from skce._solvers.sums import squared_lengths
from skce.losses import sigmoid

__all__ = ["SDCA"]

# Of the first pass, for CSR and dense data. 3 for CSR: 20news 1.5, bibtex 1.2; 10 for dense, by
FIRST_Q = {True: 10.0, False: 3.0}  # "sdca", tol=1e-2, 4,000 rows: letter_scaled 1.4, magic 1.3
# Ratio of gap and move below which q grows, above which it falls. It never grows: bibtex 1.8; it
TIMID, BOLD = 3.0, 50.0  # never falls: 69 passes, not 42, of columns that 8 rows hold, with L1
# Ratio of a gap to the one before from which q falls too. Without it, pure L1 fits may stand still:
SLOW = 0.9  # test_gap_that_rounding_holds_ends_the_passes
# Share of the way of the last pass that its end is taken back: rows step before the others have
# moved, so that a pass goes too far and the next one comes back. By "sdca", alpha=1/n, tol=1e-3, in
# float32, the loss of test rows is above that of tol=1e-6 by .15 % (clinc150), .18 % (20news) and
BACK = 0.2  # .23 % (clinc150_minilm); 0: .79, .39, .48 %; 0.4: -.46, .15, -.02 %
# Share of the leverages that may lie on other columns than when they were summed, before they are
CHANGED = 0.25  # summed anew; their mean is always that of q. 0: mnist in float32 1.14 s
BATCH = 32  # rows of a dense step; more rows overlap more; 1: clinc150_minilm 5.7 s


class SDCA:
    """Minimise a Problem with alpha > 0.

    Parameters
    ----------
    problem : Problem
        What to minimise.
    W : ndarray of shape (p + 1, k)
        Where to begin, in the centred columns.
    rng : RandomState
        Order of the rows.
    q : float, default=None
        That of another such problem at its end.

    Attributes
    ----------
    W : ndarray of shape (p + 1, k)
        The iterate, in the dtype of X.
    passes : float
        Passes made.
    value : float
        Estimate of the objective at W, from the pass.
    estimated_gap : float
        The same of how far it is above its minimum.
    """

    def __init__(self, problem, W, rng, q=None):
        self.problem, self.rng = problem, rng
        self.sparse = problem.is_sparse
        self.rows = problem.rows
        self.matrix = problem.data.X
        self.entry_weights = problem.entry_weights
        self.metric = self._metric()
        squares = problem.column_squares / self.metric  # of leverages, summed the other way
        self.dimension = float(squares.sum()) / problem.total_weight or 1.0
        self.mean_weight = problem.label_weights.mean() / len(self.rows) or 1.0
        self.batch = 1 if self.sparse else int(np.clip(len(self.rows) // BATCH, 1, BATCH))
        self.q = q or FIRST_Q[self.sparse]
        self.W = np.ascontiguousarray(W, problem.X.dtype)
        self.centre_W = self.W.copy()
        self.ridge = problem.alpha * (1 - problem.l1_ratio)
        self.prox_weight, self.intercept_prox_weight = self._prox_weights()
        # in means, and those of the squares of columns
        self.leverage, self.scale = np.zeros(problem.X.shape[0]), np.zeros(len(self.metric))
        self.Z = self.W.copy() if problem.l1_ratio else None
        self.table, self.negentropy = problem.start_table
        if self.W.any():
            self._start_at_proba()
        self.passes = 0
        self.last_gap = self.value = self.estimated_gap = np.inf

    def _metric(self):
        """Return the squared scale of each column."""
        if self.sparse:
            squares = self.problem.sums_of_squares
            scale = squares.columns / np.maximum(squares.entries, 1)
        else:  # of all rows: a sample misses rare columns, in which steps then are far too short
            scale = self.problem.column_squares / self.problem.weights.sum()
        seen = scale > 0
        return np.where(seen, scale, scale[seen].mean() if seen.any() else 1.0)

    def _start_at_proba(self):
        """Take the probabilities at W for the table, and then what W belongs to it."""
        problem, near = self.problem, self.prox_weight * self.metric[:, None]
        coef, intercept = problem.from_centred(self.W)
        V, table = np.empty(self.W.shape), None if problem.sigmoid else self.table
        problem.full_pass(Pass.LOSS, self.W, V, table)
        for rows in pieces(len(self.table), problem.k):
            if problem.sigmoid:
                logits = problem.X[rows] @ coef.T + intercept
                if self.entry_weights is not None:
                    logits = np.where(self.entry_weights[rows] == 0, 0, logits)
                self.table[rows] = sigmoid(logits)
            q = self.table[rows].astype(np.float64)
            entropy = special.entr(q)
            if problem.sigmoid:
                entropy += special.entr(1 - q)
                entropy *= 1 if self.entry_weights is None else self.entry_weights[rows]
            self.negentropy[rows] = -entropy.sum(axis=1)
        V[:-1] -= near * self.W[:-1]
        V[:-1] /= -(near + self.ridge)
        V[-1] = (self.W[-1] - V[-1] / self.intercept_prox_weight) * problem.fit_intercept
        if self.Z is None:
            self.W = V.astype(self.W.dtype)
        else:
            self.Z = V.astype(self.W.dtype)
            self.W = self._read_out()

    def _prox_weights(self):
        """Return the weights of the proximal term for q.

        And that of the intercept, which all rows of a batch share.
        """
        near = self.mean_weight * self.dimension / self.q
        return near, self.batch * self.mean_weight * FIRST_Q[self.sparse] / self.q

    def _column_curvature(self):
        """Return B, the curvature that holds each column (p,)."""
        return self.prox_weight * self.metric + self.ridge

    def _threshold(self):
        threshold = self.problem.alpha * self.problem.l1_ratio / self._column_curvature()
        return np.append(threshold, 0.0).astype(self.W.dtype)

    def _read_out(self):
        """Return the soft threshold of Z."""
        excess = np.maximum(np.abs(self.Z) - self._threshold()[:, None], 0)
        return np.copysign(excess, self.Z)

    def in_parts(self, parts):
        """Make one pass; yield after each of its parts, which `value` is an estimate from."""
        problem, dtype = self.problem, self.W.dtype
        if self.passes:
            self._recentre()
        B = self._column_curvature()
        inverse = np.append(1 / B, 0.0)
        if problem.fit_intercept:
            inverse[-1] = 1 / self.intercept_prox_weight
        mean = float(problem.column_squares @ inverse[:-1]) or 1.0
        scale = inverse[:-1] / mean
        if problem.column_squares @ abs(scale - self.scale) > CHANGED:
            self.leverage, self.scale = squared_lengths(problem, scale), scale
        leverage = mean * self.leverage + self.batch * inverse[-1]
        centre = None if problem.centre is None else problem.centre_in_dtype
        inverse = inverse.astype(dtype)
        threshold = None if self.Z is None else self._threshold()
        order, begun, gap, at = self.rng.permutation(self.rows), self.passes, 0.0, 0
        for part in range(1, parts + 1):
            end = -(-part * len(order) // (parts * self.batch)) * self.batch
            gap += sdca_epoch(
                *(self.matrix, order[at:end], self.batch, problem.weights, leverage),
                *(self.W, centre, inverse, self.table, self.negentropy),
                *(self.entry_weights, problem.sigmoid, self.Z, threshold),
            )
            at, self.passes = min(end, len(order)), begun + part / parts
            if part < parts:
                self._estimate_gap(gap * len(order) / max(at, 1), self.W - self.centre_W)
            else:
                np.subtract(self.W, self.centre_W, out=self.centre_W)
                self.change = self.centre_W
                self._adapt_q(gap, self._estimate_gap(gap, self.change))
            yield

    def _estimate_gap(self, gap, change):
        """Set `value` and `estimated_gap`; return half the squared distance from the centre."""
        problem, W = self.problem, self.W
        near, metric = self.prox_weight, self.metric.astype(change.dtype)
        squares = np.einsum("ij,ij->i", change, change)
        moved = near * float(metric @ squares[:-1])
        drift = self.intercept_prox_weight * float(squares[-1])
        if self.Z is None:
            cross = near * float(metric @ np.einsum("ij,ij->i", change[:-1], W[:-1]))
            residual = near**2 * float((metric**2) @ squares[:-1]) / (2 * problem.alpha)
            dual = -cross - problem.penalty(W)
        else:
            B = self._column_curvature().astype(change.dtype)[:, None]
            V = (near * metric)[:, None] * (W[:-1] - change[:-1]) - B * self.Z[:-1]
            product = float(np.einsum("ij,ij->i", V, W[:-1]).sum(dtype=np.float64))
            residual = problem.penalty(W) + product + problem.conjugate(V)
            dual = problem.penalty(W) + product
        self.estimated_gap = (
            gap + residual + self.intercept_prox_weight * float(np.abs(change[-1] @ W[-1]))
        )
        self.value = gap - float(problem.weights @ self.negentropy) + dual
        return (moved + drift) / 2

    def _adapt_q(self, gap, move):
        """Set q for the next pass."""
        if self.passes > 1:
            if gap < TIMID * move:
                self.q *= 2
            elif gap > min(BOLD * move, SLOW * self.last_gap):
                self.q /= 2
        self.last_gap = gap

    def turn_back(self, times=1.0):
        """Take W back a little from where a pass led, which keeps no zeros of an L1 penalty."""
        if self.Z is None:
            for rows in pieces(*self.W.shape):
                self.W[rows] -= self.W.dtype.type(times * BACK) * self.change[rows]

    def _recentre(self):
        """Move the centre to W, and W to where the table puts it from there."""
        change, before, B = self.change, self.prox_weight, self._column_curvature()
        change[-1] *= self.intercept_prox_weight
        self.prox_weight, self.intercept_prox_weight = self._prox_weights()
        change[-1] /= self.intercept_prox_weight
        new = self._column_curvature()
        if self.Z is None:
            factor = np.append(before * self.metric / new, 1.0).astype(change.dtype)[:, None]
            for rows in pieces(*change.shape):
                change[rows] *= factor[rows]
                change[rows] += self.W[rows]
            self.W, self.centre_W = change, self.W
            return
        Z, dtype = self.Z, change.dtype
        Z[:-1] *= (B / new).astype(dtype)[:, None]
        Z[:-1] += (before * self.metric / new).astype(dtype)[:, None] * change[:-1]
        Z[:-1] += ((self.prox_weight - before) * self.metric / new).astype(dtype)[:, None] * self.W[
            :-1
        ]
        Z[-1] += change[-1]
        self.centre_W = self.W
        self.W = self._read_out()

    def _sums(self):
        """Return the weighted sums of the table, as `certificate` takes them."""
        problem, weights = self.problem, self.problem.weights
        if problem.sigmoid and self.entry_weights is not None:
            sums = np.zeros(problem.k)
            for rows, _, mass in problem.dense_targets():
                sums += weights[rows] @ (mass * self.table[rows])
            return sums
        return weighted_sums(weights, self.table)

    def evaluate(self):
        """Return the objective and the bound of the gap at W."""
        return certificate(self.problem, self.W, self.table, self._sums())
