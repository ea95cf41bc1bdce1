"""What a caller gives, read as arrays: the one place where y, targets, weights and lists are.

Frames and columns of pandas, polars and Arrow are known by their methods; nothing is imported.
"""

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import sparse

__all__ = ["NUMBERS", "column_names", "first_missing", "read_array", "read_targets", "shown"]

NUMBERS = "biuf"  # kinds of dtypes
HINT = "; labels listed by row are for sklearn.preprocessing.MultiLabelBinarizer"
MISSING = ("NoneType", "NAType", "NaTType")


def read_array(name, values, labels=False):
    """Return values as an array or as the sparse matrix they are, never a copy with other values.

    Integers and booleans keep their kind, in objects and nullable columns too; numbers that are
    missing there become NaN. Lists that may hold labels keep integers that a float would round.
    """
    if (type(values) is np.ndarray and values.dtype.kind in NUMBERS) or sparse.issparse(values):
        return values
    if _masked(values):
        raise ValueError(
            f"{name} must not be a masked array, whose mask would be lost; got a mask that hides "
            "entries (where they may be missing, fill them with NaN)."
        )
    if hasattr(type(values), "collect"):  # polars
        kind = type(values).__name__
        raise ValueError(f"{name} must be in memory, got a {kind}: call its collect() before.")
    columns = _columns(values)
    try:
        if columns is not None:
            return _frame(values, columns)
        if isinstance(values, (list, tuple)):
            return _listed(values, labels)
        return _column(values)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        if "inhomogeneous" in str(error):
            hint = HINT if labels else ""
            raise ValueError(
                f"{name} must be an array, got rows of unequal length{hint}."
            ) from None
        kind = type(values).__name__
        hint = " (NumPy has no such type: tensor.float())" if "BFloat16" in str(error) else ""
        raise ValueError(f"{name} must convert to an array, got {kind}: {error}{hint}") from error


def read_targets(name, values):
    """Return the targets (n,) or (n, K, ...) of a fit, a score, a metric or a loss."""
    array = read_array(name, values, labels=True)
    if array.ndim == 0:
        raise ValueError(
            f"{name} must be labels (n,) or rows (n, K), got a single value, {shown(values)}."
        )
    if array.dtype.kind == "O":
        for kind in set(map(type, array.flat)):
            if issubclass(kind, (list, tuple, set, frozenset, dict, np.ndarray)):
                raise ValueError(
                    f"{name} must hold labels or numbers, got a {kind.__name__}{HINT}."
                )
    return array


def column_names(values):
    """Return the names of the columns of a frame; None where it has none but 0..K−1."""
    if _columns(values) is None:
        return None
    names = list(values.column_names if hasattr(values, "itercolumns") else values.columns)
    return None if names == list(range(len(names))) else np.fromiter(names, object, len(names))


def shown(value):
    """Return how a message shows a value or a list: plain numbers and texts, not NumPy's."""
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return repr(value.item() if isinstance(value, np.generic) else value)


def first_missing(array):
    """Return the number of the first entry (row of labels) that is missing, None for no such."""
    if array.dtype.kind == "f":
        gaps = np.isnan(array)
    elif array.dtype.kind in "mM":
        gaps = np.isnat(array)
    elif array.dtype == object:
        gaps = _gaps(array)
    else:
        return None
    return int(gaps.argmax()) if gaps.any() else None


def _masked(values):
    if isinstance(values, (list, tuple)):
        rows = any(issubclass(t, np.ma.MaskedArray) for t in set(map(type, values)))
        return rows and any(map(_masked, values))
    return isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values)


def _columns(values):
    """Return the columns of a frame or table, None for anything else."""
    if hasattr(values, "iloc") and values.ndim == 2:  # pandas, where a name may occur twice
        return [column for _, column in values.items()]
    for method in ("iter_columns", "itercolumns"):  # polars, Arrow
        if hasattr(values, method):
            return list(getattr(values, method)())
    return None


def _frame(values, columns):
    """Return a frame as an array (n, K), or CSR where pandas keeps all its columns sparse."""
    if not columns:
        return np.empty((len(values), 0))
    if not any(getattr(getattr(column, "dtype", None), "fill_value", True) for column in columns):
        return sparse.csr_array(values.sparse.to_coo())
    return np.column_stack([_column(column) for column in columns])


def _column(values):
    """Return an object with one dtype as an array."""
    array = np.asarray(values)
    if array.dtype.kind == "T":  # NumPy's strings, which scikit-learn does not know
        array = array.astype(object)
    if array.dtype != object:
        return array
    dtype: Any = getattr(values, "dtype", array.dtype)
    if getattr(dtype, "kind", "O") in NUMBERS and hasattr(values, "isna"):
        if values.isna().any():
            return values.to_numpy(dtype=np.float64, na_value=np.nan)
        return values.to_numpy(dtype=dtype.numpy_dtype)
    if array is not values and array.size and _gaps(array).all():
        return np.full(array.shape, np.nan)
    return _numbers(array)


def _listed(values, labels):
    """Return nested lists as an array; NumPy alone makes 2**53 + 1 a float and 1 or NaN a text."""
    array = np.asarray(values)
    if array.dtype == object:
        return _numbers(array)
    if not labels:
        return array
    if array.dtype.kind == "f":
        objects = np.array(values, dtype=object)
        return _numbers(objects) if _has(objects, Integral) else array
    if array.dtype.kind in "US":
        objects = np.array(values, dtype=object)
        kinds = set(map(type, objects.flat))
        alike = (all(issubclass(kind, text) for kind in kinds) for text in (str, bytes))
        return array if any(alike) else objects
    return array


def _has(objects, kind):
    return any(issubclass(t, kind) for t in set(map(type, objects.flat)))


def _gaps(objects):
    """Return which objects are missing: None, NaN, NaT, or pandas' NA."""
    if set(map(type, objects.flat)) <= {str, int, bool}:
        return np.zeros(objects.shape, bool)
    gaps = [
        type(value).__name__ in MISSING or (isinstance(value, Real) and value != value)
        for value in objects.flat
    ]
    return np.array(gaps, bool).reshape(objects.shape)


def _numbers(objects):
    """Return objects that are all booleans, integers or reals as numbers, NaN for missing ones.

    Objects of other kinds, or integers that no one dtype holds, stay as they are.
    """
    gaps = _gaps(objects)
    present = objects[~gaps]
    types = set(map(type, present))
    if not types or not all(issubclass(t, (Real, np.bool_)) for t in types):
        return objects
    if types <= {bool, np.bool_} and not gaps.any():
        return objects.astype(bool)
    if all(issubclass(t, (Integral, np.bool_)) for t in types) and not gaps.any():
        low, high = int(present.min()), int(present.max())
        for dtype in (np.int64, np.uint64):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return np.array([int(v) for v in present], dtype).reshape(objects.shape)
        return objects
    if any(isinstance(v, Integral) and int(float(v)) != v for v in present):
        return objects
    numbers = np.full(objects.shape, np.nan)
    numbers[~gaps] = present.astype(np.float64)
    return numbers
