"""What columns of CSR have missed since a row last held them: penalty and average."""

from typing import Any

import numpy as np
from scipy import sparse

from skce._engine.sgd import SPREAD, Rule

__all__ = ["columns_of", "made_good", "on_columns", "scale_squares"]

AVERAGE_POWER = 2  # the average weighs rows by their time to this power, as sgd.pxd does


def columns_of(X):
    """Return the columns of CSR that have entries."""
    if 16 * X.nnz < X.shape[1]:
        return np.unique(X.indices)
    there = np.zeros(X.shape[1], bool)
    there[X.indices] = True
    return np.flatnonzero(there)


def on_columns(X, columns):
    """Return CSR on these columns alone, outside of which it has no entries."""
    places = np.searchsorted(columns, X.indices).astype(X.indices.dtype)
    return sparse.csr_array((X.data, places, X.indptr), shape=(X.shape[0], len(columns)))


def made_good(stream, columns):
    """Return the result (c + 1, K) at some columns of a stream of CSR, without changing it."""
    W, last = stream.iterates()[-1], stream.W[:-1][columns]
    alpha, l1_ratio = stream.params["alpha"], stream.params["l1_ratio"]
    lag = stream.clock[0] - stream.stamps[columns, :1]
    if alpha > 0 and lag.any():
        if stream.auto:
            squares = scale_squares(stream, columns)[:, np.newaxis]
            lag = lag / (np.sqrt(squares) if stream.rooted else squares)
        divisor: Any = 1.0
        if stream.rooted:
            square = stream.state[-1][:-1][columns]
            if stream.rule == Rule.ADAM:
                square = square / (1 - 0.999 ** max(stream.steps, 1))
            divisor = np.sqrt(square)
            if stream.by_rows:  # AdaGrad's
                norm = stream.clock[1] / (stream.clock[2] or 1)
                step = stream.step_sizes(np.ones(1)) / np.sqrt(norm or 1)
                divisor = divisor + step / stream.positive * square
            lag = np.where(square > 0, lag, 0)
        elif stream.rule == Rule.MOMENTUM:
            divisor = 1 - stream.params["momentum"]
        lag = lag / np.where(divisor > 0, divisor, 1)
        kept = np.maximum(np.abs(last) - alpha * l1_ratio * lag, 0)
        last = (np.copysign(kept, last) / (1 + alpha * (1 - l1_ratio) * lag)).astype(W.dtype)
    if stream.average is not None and stream.seen.weight > 0:
        before = (stream.stamps[columns, 1:] / stream.seen.weight) ** (AVERAGE_POWER + 1)
        last = last + (W[:-1][columns] - last) * before.astype(W.dtype)
    return np.vstack([last, W[-1:]])


def scale_squares(stream, columns):
    """Return the squares by which columns of CSR are scaled, as sgd.pxd has them."""
    square = stream.seen.columns[0, columns]
    typical = stream.clock[3] / (stream.clock[4] or 1)
    away = np.log(np.where(square > 0, square, 1)) - typical
    return np.where(square > 0, np.exp(typical + away**3 / (away**2 + SPREAD)), 1)
