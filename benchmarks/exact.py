"""Optima by Newton's method in NumPy, which shares nothing with skce: the truth of estimates.py.

Every loss is a mean over rows of cross-entropies with targets tau, of a softmax or of sigmoids.
"""

import numpy as np
from scipy import linalg, sparse, special

__all__ = ["Exact"]

STEPS = 200  # most of them


class Exact:
    """The objective of one fit, and its optimum.

    Parameters
    ----------
    X : {ndarray, csr_array} of shape (n, p)
        Features.
    tau : ndarray of shape (n, k)
        Targets; NaN for a missing entry.
    weights : ndarray of shape (n,)
        Row weights that sum to 1 or, of rows that count less, to less.
    sigmoid : bool
        Whether each output has its own probability.
    alpha : float
        Penalty, above 0.
    """

    def __init__(self, X, tau, weights, sigmoid, alpha):
        X = X.toarray() if sparse.issparse(X) else X
        rows = weights > 0
        self.X, self.weights = X[rows].astype(np.float64), weights[rows]
        self.seen = ~np.isnan(tau[rows])
        self.tau = np.where(self.seen, tau[rows], 0.0)
        self.sigmoid, self.alpha = sigmoid, alpha
        self.centre = np.average(self.X, axis=0, weights=self.weights)
        Z = self.X - self.centre
        scale = np.sqrt(np.average(Z**2, axis=0, weights=self.weights) + alpha)
        self.Z = np.column_stack([Z / scale, np.ones(len(Z))])
        self.ridge = np.append(alpha / scale**2, 0.0)  # of the weights of Z
        self.scale = np.append(scale, 1.0)

    @property
    def entropy(self):
        """The weighted entropy of the targets: no loss is lower."""
        of_entries = special.entr(self.tau)
        if self.sigmoid:
            of_entries = (of_entries + special.entr(1 - self.tau)) * self.seen
        return float(self.weights @ of_entries.sum(axis=1))

    def losses(self, S):
        """Return the losses (n,) of logits, with nothing that cancels."""
        if self.sigmoid:
            entries = self.tau * np.logaddexp(0, -S) + (1 - self.tau) * np.logaddexp(0, S)
            return np.where(self.seen, entries, 0).sum(axis=1)
        S, out = np.where(self.seen, S, -np.inf), np.zeros(len(S), S.dtype)
        for c in range(S.shape[1]):
            some = self.tau[:, c] > 0
            if some.any():
                others = np.delete(S[some], c, axis=1) - S[some, c, None]
                log_odds = np.logaddexp.reduce(others, axis=1)
                out[some] += self.tau[some, c] * np.logaddexp(0, log_odds)
        return out

    def proba(self, S):
        """Return the probabilities, 0 for missing entries."""
        if self.sigmoid:
            return np.where(self.seen, special.expit(S), 0)
        S = np.where(self.seen, S, -np.inf)
        return special.softmax(S - S.max(axis=1, keepdims=True), axis=1)

    def published(self, coef, intercept):
        """Return the objective of coefficients, in extended precision."""
        coef, intercept = coef.astype(np.longdouble), intercept.astype(np.longdouble)
        losses = self.losses(self.X.astype(np.longdouble) @ coef.T + intercept)
        return float(self.weights @ losses + self.alpha / 2 * (coef**2).sum())

    def inner(self, coef, intercept):
        """Return the weights (p + 1, k) of Z for coefficients."""
        coef = coef.astype(np.float64)
        return np.vstack([coef.T, intercept + coef @ self.centre]) * self.scale[:, None]

    def value(self, V):
        """Return the objective."""
        return float(self.weights @ self.losses(self.Z @ V) + self.ridge @ (V**2).sum(axis=1) / 2)

    def newton(self, V):
        """Return Newton's step, and its decrement: what a quadratic would still fall."""
        p, k = V.shape
        q = self.proba(self.Z @ V)
        mass = self.tau.sum(axis=1, keepdims=True)
        residuals = q - self.tau if self.sigmoid else mass * q - self.tau
        g = self.Z.T @ (self.weights[:, None] * residuals) + self.ridge[:, None] * V
        H = np.zeros((k, p, k, p))
        for c in range(k):
            for d in range(c + 1):
                if self.sigmoid:
                    bend = q[:, c] * (1 - q[:, c]) * (c == d)
                else:
                    bend = mass[:, 0] * q[:, c] * ((c == d) - q[:, d])
                if bend.any():
                    H[c, :, d] = self.Z.T @ ((self.weights * bend)[:, None] * self.Z)
                    H[d, :, c] = H[c, :, d].T
            H[c, :, c] += np.diag(self.ridge)
        if not self.sigmoid:  # the equal shift of all classes, along which gradients are 0
            g -= g.mean(axis=1, keepdims=True)
            shift = np.einsum("cjcj->j", H) / k**2
            for c in range(k):
                H[c, :, :, :] += np.einsum("jk,d->jdk", np.diag(shift), np.ones(k))
        H = H.reshape(k * p, k * p)
        unit = 1 / np.sqrt(np.maximum(H.diagonal(), 1e-300))
        right = unit * g.T.ravel()
        try:
            step = linalg.cho_solve(linalg.cho_factor(H * unit[:, None] * unit), right)
        except linalg.LinAlgError:
            step = linalg.lstsq(H * unit[:, None] * unit, right)[0]
        return (unit * step).reshape(k, p).T, float(right @ step) / 2

    def minimum(self, V, near):
        """Return the least objective found from V, and what it may still fall.

        That is to be at most `near`, where rounding lets it.
        """
        value, left = self.value(V), np.inf
        for _ in range(STEPS):
            step, left = self.newton(V)
            if left <= near:
                break
            length = 1.0
            while length > 1e-12 and not self.value(V - length * step) < value:
                length /= 2
            if length <= 1e-12:
                break
            V = V - length * step
            value = self.value(V)
        return value, left
