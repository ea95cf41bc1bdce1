"""Seconds of a fit, and how good its coefficients are, in float64."""

import time
import warnings

import numpy as np
from scipy import sparse, special

__all__ = ["Judge", "mean_loss", "timed"]


class Judge:
    """F, its gap and the held-out loss of coefficients, in float64."""

    def __init__(self, problem, alpha, best):
        self.problem, self.alpha, self.best = problem, alpha, best
        parts = problem.X_train, problem.X_test
        self.X, self.X_test = (X.astype(np.float64, copy=False) for X in parts)

    def gap(self, coef, intercept):
        """(F - F*) / F*, inf for what is not finite."""
        with np.errstate(all="ignore"):
            coef = coef.astype(np.float64)
            loss = mean_loss(self.X @ coef.T + intercept, self.problem.y_train, self.problem.task)
            gap = (loss + self.alpha / 2 * np.sum(coef**2)) / self.best - 1
        return float(gap) if np.isfinite(gap) else np.inf

    def test_loss(self, coef, intercept):
        """Mean cross-entropy of the test rows."""
        logits = self.X_test @ coef.astype(np.float64).T + intercept
        return mean_loss(logits, self.problem.y_test, self.problem.task)


def mean_loss(logits, y, task):
    """Mean cross-entropy of logits (n, K); one column of a multi-class task is the sigmoid's."""
    s = np.asarray(logits, dtype=np.float64)
    if task == "multilabel":
        y = y.toarray() if sparse.issparse(y) else np.asarray(y)
        return float((np.logaddexp(0, s) - y * s).sum(axis=1).mean())
    if s.shape[1] == 1:
        s = np.column_stack([np.zeros_like(s), s])
    total = special.logsumexp(s, axis=1)
    if task == "soft":
        return float((total - (y * s).sum(axis=1)).mean())
    return float((total - s[np.arange(len(y)), y]).mean())


def timed(fit, **params):
    """Seconds, coefficients and intercepts of a fit that may warn."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        coef, intercept = fit(**params)
        return time.perf_counter() - start, coef, intercept
