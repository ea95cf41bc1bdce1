"""Step-size schedules, and the step sizes and feature scales that need no tuning.

A schedule is a plain function of the step number: it takes an integer array of steps
(0, 1, 2, ...) and returns their step sizes.
"""

from functools import partial

import numpy as np
from scipy import sparse

from skce._engine import products

__all__ = ["constant", "cosine", "inverse_scaling"]

BLOCK = 4096  # rows looked at together
SAMPLE = 2000  # rows from which variances and smoothness are estimated, at least


def _constant(step, value):
    return np.full(np.shape(step), value, dtype=np.float64)


def _inverse_scaling(step, value, power, scale):
    return value / (1 + np.asarray(step) / scale) ** power


def _cosine(step, value, decay_steps, end):
    progress = np.minimum(np.asarray(step) / decay_steps, 1)
    return end + (value - end) * (1 + np.cos(np.pi * progress)) / 2


def constant(value):
    """Return a schedule that is the same at every step.

    Parameters
    ----------
    value : float
        Step size.

    Returns
    -------
    schedule : callable
        Function of an array of step numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skce.optim import constant
    >>> constant(0.1)(np.arange(3))
    array([0.1, 0.1, 0.1])
    """
    return partial(_constant, value=value)


def inverse_scaling(value, power=0.5, scale=1.0):
    """Return the schedule value / (1 + step / scale)**power.

    Parameters
    ----------
    value : float
        First step size.
    power : float, default=0.5
        Exponent of the decay.
    scale : float, default=1.0
        Steps after which the decay sets in.

    Returns
    -------
    schedule : callable
        Function of an array of step numbers.

    Raises
    ------
    ValueError
        If scale is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from skce.optim import inverse_scaling
    >>> inverse_scaling(1.0)(np.arange(4)).round(3)
    array([1.   , 0.707, 0.577, 0.5  ])
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}.")
    return partial(_inverse_scaling, value=value, power=power, scale=scale)


def cosine(value, decay_steps, end=0.0):
    """Return the schedule that falls from value to end along half a cosine.

    Parameters
    ----------
    value : float
        First step size.
    decay_steps : int
        Steps until `end`; it stays there.
    end : float, default=0.0
        Last step size.

    Returns
    -------
    schedule : callable
        Function of an array of step numbers.

    Raises
    ------
    ValueError
        If decay_steps is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from skce.optim import cosine
    >>> cosine(1.0, 2)(np.arange(4)).round(3)
    array([1. , 0.5, 0. , 0. ])
    """
    if not decay_steps > 0:
        raise ValueError(f"decay_steps must be positive, got {decay_steps}.")
    return partial(_cosine, value=value, decay_steps=decay_steps, end=end)


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
            squares, count, _ = products.squares(products.Matrix(X), weights)
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
