"""What of a problem needs sums over its rows alone: the penalty, the goal, the constants."""

from functools import cached_property
from typing import Any

import numpy as np
from scipy import special

from skce import _kernels
from skce._engine.passes import Pass
from skce._solvers.columns import pieces
from skce._solvers.rounding import COARSE, SUMMING, TINY, rounding_of
from skce._solvers.sums import column_squares, target_sums

__all__ = ["Penalised", "elastic_net", "sum_of_squares"]


def elastic_net(W, l1_ratio):
    """Return (1 - rho) / 2 |W|^2 + rho |W|_1 of weights without intercepts, in double."""
    value = (1 - l1_ratio) / 2 * sum_of_squares(W)
    if l1_ratio:
        value += l1_ratio * float(np.abs(W).sum(dtype=np.float64))
    return value


def sum_of_squares(W):
    """Return |W|^2 in double, to which parts are converted that stay in the cache."""
    if W.dtype == np.float64:
        return float(W.ravel() @ W.ravel())
    parts = (W[rows].astype(np.float64).ravel() for rows in pieces(*W.shape))
    return float(sum(part @ part for part in parts))


class Penalised:
    """Part of the problems: rows in arrays, and in parts elsewhere, give the sums of `sums`."""

    in_span = False  # whether the columns of X are coordinates that the rows chose

    X: Any
    kind: int
    k: int
    alpha: float
    l1_ratio: float
    fit_intercept: bool
    centre: np.ndarray | None
    has_missing: Any
    full_pass: Any
    sum: Any

    @property
    def sigmoid(self):
        """Whether each output has its own probability."""
        return self.kind == _kernels.Loss.SIGMOID

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
        return self.sum(target_sums)

    @cached_property
    def column_squares(self):
        """Weighted sums of the squares of the centred columns (p,)."""
        return self.sum(column_squares)

    @property
    def constant_squares(self):
        """Mean squares (p,) of centred columns up to which these are constant but for rounding.

        They are 0 where a penalty holds the weights.
        """
        return np.square(SUMMING * self.centre_in_dtype.astype(np.float64)) * (self.alpha == 0)

    def beats_zero(self, value):
        """Tell whether zero coefficients have no lower objective, but for rounding."""
        slack = COARSE * rounding_of(self.X.dtype) * abs(self.at_zero)
        return value <= self.at_zero + slack

    def beats_constants(self, value):
        """Tell the same of the best constants, of zero coefficients where those are not known."""
        least = min(self.at_zero, self.at_best_intercept) if self.knows_constants else self.at_zero
        return self.beats_zero(value + self.at_zero - least)

    @property
    def knows_constants(self):
        """Whether the best intercepts of zero coefficients are those of the targets' shares."""
        return self.fit_intercept and (self.sigmoid or not self.has_missing)

    def constants(self):
        """Return weights (p + 1, k) of 0 with the intercepts that the targets' shares ask for.

        These are the best, but for a softmax with missing entries: there they are of the shares in
        the rows that tell of a label. From 0 rare labels took 4 times the passes, or 1000 too few.
        """
        W = np.zeros((self.X.shape[1] + 1, self.k))
        if self.fit_intercept:
            least = np.finfo(float).eps  # a label that is never there would run away
            sums, total = self.target_sums, self.label_weights
            told = np.maximum(total, TINY)
            on, off = np.maximum(sums / told, least), np.maximum((total - sums) / told, least)
            W[-1] = np.log(on / off) if self.sigmoid else np.log(on) - np.log(on).mean()
        return W

    @cached_property
    def at_zero(self):
        """The objective of zero coefficients."""
        sums, total = self.target_sums, self.label_weights
        if self.sigmoid:
            return np.log(2) * float(total.sum())
        if not self.has_missing:
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
        floor, least = self._least_goals
        return max(tol * max(value - self.entropy, floor), least)

    @cached_property
    def _least_goals(self):
        """What the goal is at least, of a tol of 1 and of any."""
        rounding = np.sqrt(rounding_of(self.X.dtype))
        return float(rounding * self.at_best_intercept), float(rounding_of(float) * self.at_zero)

    def is_within(self, gap, value, tol):
        """Tell whether the gap, if there is one, is within the goal."""
        return gap < np.inf and gap <= self.goal(value, tol)

    @cached_property
    def centre_in_dtype(self):
        """The centre in the dtype of X, zeros without one."""
        if self.centre is None:
            return np.zeros(self.X.shape[1], self.X.dtype)
        return self.centre.astype(self.X.dtype)

    def objective(self, W):
        """The objective at W (p + 1, k)."""
        loss, _ = self.full_pass(Pass.LOSS, W, np.empty(W.shape))
        return loss + self.penalty(W)

    def penalty(self, W):
        """The penalty at W (p + 1, k)."""
        return self.alpha * elastic_net(W[:-1], self.l1_ratio)

    def conjugate(self, V):
        """The conjugate of the penalty at V (p, k); of the pure L1, 0."""
        ridge = self.alpha * (1 - self.l1_ratio)
        if ridge == 0:
            return 0.0
        if self.l1_ratio:
            V = np.maximum(np.abs(V) - self.alpha * self.l1_ratio, 0)
        return sum_of_squares(V) / (2 * ridge)

    def to_centred(self, coef, intercept):
        """Return W (p + 1, k) in double of coef (k, p) and intercept (k,)."""
        shift = 0 if self.centre is None else coef.astype(np.float64) @ self.centre
        return np.vstack([coef.T, intercept + shift]).astype(np.float64)

    def from_centred(self, W):
        """Return coef, a view of W, and the intercept in double."""
        coef = W[:-1].T
        shift = 0 if self.centre is None else coef @ self.centre
        return coef, W[-1] - shift
