"""What a pass of a stream may change, so that it can be undone, and whether it has to be."""

import copy
from typing import Any

import numpy as np

from skce._solvers.lazy import columns_of

__all__ = ["is_finite", "restore", "save"]


def save(stream, X):
    """Return what a pass over X may change."""
    fields = stream.__dict__.copy()
    fields["seen"] = copy.copy(stream.seen)
    always = (stream.clock, stream.losses, stream.metric, stream.sure)
    small = [(a, slice(None), a.copy()) for a in always]
    if stream.watched is not None:
        small.append((stream.watched, slice(None), stream.watched.copy()))
    columns: Any = slice(None)
    rows: Any = columns
    if stream.stamps is not None:
        columns, rows = _touched(stream, X)
        small.append((stream.stamps, columns, stream.stamps[columns]))
        for array in stream.seen.columns:
            small.append((array, columns, array[columns]))
    for array in (*stream.iterates(), *stream.state):
        small.append((array, rows, array[rows].copy()))
    return fields, small


def restore(stream, saved):
    """Go back to what was saved."""
    fields, arrays = saved
    stream.__dict__ = dict(fields)
    for array, place, values in arrays:
        array[place] = values


def is_finite(stream, X):
    """Tell whether the weights that X touches, and on CSR the squares, are finite."""
    if stream.stamps is None:
        return all(np.isfinite(W).all() for W in stream.iterates())
    columns, rows = _touched(stream, X)
    found = [W[rows] for W in stream.iterates()] + [stream.seen.columns[0, columns], stream.clock]
    return all(np.isfinite(each).all() for each in found)


def _touched(stream, X):
    """Return the columns of CSR that have entries, and the rows of the weights they meet."""
    columns = columns_of(X)
    return columns, np.append(columns, len(stream.W) - 1)
