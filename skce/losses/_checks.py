"""Checks of the arrays that public functions are given, and their way through a kernel."""

from numbers import Integral, Real
from typing import Literal

import numpy as np
from scipy import sparse

from skce._kernels import arrays
from skce._kernels.threads import check_threads
from skce.losses._read import read_array, read_targets, shown

__all__ = [
    "FINITE",
    "LOSS_ONLY",
    "Reduction",
    "check_apart",
    "check_entry_weight",
    "check_labels",
    "check_logits",
    "check_out",
    "check_proba",
    "check_reduction",
    "check_row_weight",
    "check_smoothing",
    "check_targets",
    "check_weight",
    "class_weighted",
    "contiguous",
    "dense_targets",
    "evaluate",
    "float_array",
    "in_dtype",
    "raise_labels",
    "read_weight",
    "some_row_weight",
    "times",
    "wide_labels",
    "without_ignored",
]

Reduction = Literal["mean", "sum", "none"]


def float_array(name, values, dtype=None):
    """Return values as an array of dtype, or float32 if it is that already, else float64."""
    values = read_array(name, values)
    if sparse.issparse(values):
        raise ValueError(f"{name} must be a dense array, got a sparse one.")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be real numbers, got dtype {values.dtype}.")
    if dtype is None:
        dtype = np.float32 if values.dtype.char == "f" else np.float64
    with np.errstate(over="ignore"):  # inf is told of by the checks of values
        return values.astype(dtype, copy=False)


def check_logits(logits, least=2, most=2):
    """Return logits as floats, with between least and most axes."""
    logits = float_array("logits", logits)
    if logits.ndim < least or (most is not None and logits.ndim > most):
        wanted = {(2, 2): "(n, K)", (1, 2): "(n,) or (n, K)"}.get((least, most), "(..., K)")
        raise ValueError(f"logits must have shape {wanted}, got {logits.shape}.")
    return logits


def check_weight(name, values, length):
    """Return weights (length,) in float64."""
    values = float_array(name, values, np.float64)
    if values.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), got {values.shape}.")
    fits = (values >= 0) & (values < np.inf)
    if not fits.all():
        wrong = int(fits.argmin())
        raise ValueError(
            f"{name} must be finite and not negative, got {values[wrong]} in entry {wrong}."
        )
    return values


def check_row_weight(sample_weight, n, reduction="mean"):
    """Return the row weights, None for none."""
    return read_weight("sample_weight", sample_weight, n, reduction)[0]


def some_row_weight(sample_weight, n):
    """Return row weights of our own, ones for None; raise where all are zero."""
    weight = times(check_row_weight(sample_weight, n), np.ones(n))
    if not weight.any():
        raise ValueError("sample_weight must not be zero for every row, or y_true empty.")
    return weight


def read_weight(name, values, length, reduction):
    """Return weights (length,), None for None, and what a weight of 1 became.

    In a mean only their ratios matter: where their sum overflows or may lose digits, a power of two
    brings the largest to 1/2 or more, below 1. Elsewhere their sum must be finite.
    """
    if values is None:
        return None, 1.0
    values = check_weight(name, values, length)
    largest = values.max(initial=0.0)
    if reduction != "mean":
        check_sum(name, values)
    elif not (1e-30 < largest <= FINITE / max(length, 1)):
        power = -np.frexp(largest)[1]
        with np.errstate(over="ignore"):
            return np.ldexp(values, power), np.ldexp(1.0, power)
    return values, 1.0


def times(weight, factor):
    """Return factor times the row weights, which are ones for None."""
    with np.errstate(over="ignore"):
        product = factor if weight is None else weight * factor
    check_sum("sample_weight times class_weight", product)
    return product


def check_entry_weight(entry_weight, shape, dtype, name="entry_weight"):
    """Return weights of entries, None for None, in dtype: finite and not negative, as their sum."""
    if entry_weight is None:
        return None
    weight = float_array(name, entry_weight)
    if weight.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {weight.shape}.")
    if weight.size and not (weight.min() >= 0 and weight.max() < np.inf):
        raise ValueError(
            f"{name} must be finite and not negative, got values from {weight.min()} to "
            f"{weight.max()}."
        )
    with np.errstate(over="ignore"):
        weight = contiguous(weight.astype(dtype, copy=False))
        check_sum(name, weight)
    return weight


def check_sum(name, weight):
    """Raise unless the sum of the weights is finite."""
    with np.errstate(over="ignore"):
        if not np.isfinite(weight.sum()):
            raise ValueError(f"{name} must have a finite sum, got an overflow.")


def dense_targets(targets, shape, dtype, name="targets"):
    """Return dense targets (n, K), of which the kernels check the values."""
    targets = read_targets(name, targets)
    targets = float_array(name, targets.toarray() if sparse.issparse(targets) else targets, dtype)
    if targets.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {targets.shape}.")
    return contiguous(targets)


FINITE = np.finfo(np.float64).max


def check_targets(targets, shape, dtype, upper=FINITE, name="targets", n_threads=None):
    """Check dense targets (n, K): not negative, at most upper; NaN marks a missing entry."""
    targets = dense_targets(targets, shape, dtype, name)
    low, high = arrays.extent(targets.reshape(-1), check_threads(n_threads))
    arrays.check_extent(name, low, high, upper)
    arrays.check_mass(name, targets, high)
    return targets


def check_labels(targets, n, k, n_threads=None):
    """Return integer labels (n,) as int32."""
    wide, labels = wide_labels(targets, n, k), np.empty(n, np.int32)
    if not arrays.narrow(wide, labels, k, check_threads(n_threads)):
        raise_labels(targets, k)
    return labels


def wide_labels(targets, n, k):
    """Return integer labels (n,) as int64, of which the kernels check the values."""
    if targets.shape != (n,):
        raise ValueError(f"targets must have shape ({n},) or ({n}, {k}), got {targets.shape}.")
    if targets.dtype.kind not in "iu":
        raise ValueError(f"targets of shape ({n},) must be integers, got dtype {targets.dtype}.")
    if targets.dtype == np.uint64 and targets.max(initial=0) >= 2**63:
        raise_labels(targets, k)
    return contiguous(targets.astype(np.int64, copy=False))


def without_ignored(targets, weight, ignore_index):
    """Return targets and row weights where rows of the label ignore_index weigh 0 and are 0."""
    if ignore_index is None:
        return targets, weight
    if not isinstance(ignore_index, Integral) or targets.ndim != 1:
        raise ValueError(
            "ignore_index must be None or an integer, for integer labels (n,) alone, got "
            f"{shown(ignore_index)} for targets of shape {targets.shape}."
        )
    ignored = targets == ignore_index
    weight = np.ones(len(targets)) if weight is None else weight
    return np.where(ignored, targets.dtype.type(0), targets), np.where(ignored, 0.0, weight)


def raise_labels(targets, k):
    """Raise for labels outside 0..k-1."""
    raise ValueError(
        f"targets must be labels in 0..{k - 1}, got {targets.min()} to {targets.max()}."
    )


def check_smoothing(label_smoothing):
    if not (isinstance(label_smoothing, Real) and 0 <= float(label_smoothing) <= 1):
        raise ValueError(f"label_smoothing must lie in [0, 1], got {shown(label_smoothing)}.")
    return float(label_smoothing)


def check_reduction(reduction):
    """Raise unless it is one of the three."""
    if not (isinstance(reduction, str) and reduction in ("mean", "sum", "none")):
        raise ValueError(f'reduction must be "mean", "sum" or "none", got {shown(reduction)}.')


def check_out(logits, out):
    """Return out, where the gradient goes: a new array if it is None."""
    if out is None:
        return np.empty(logits.shape, logits.dtype)
    if not isinstance(out, np.ndarray) or out.shape != logits.shape or out.dtype != logits.dtype:
        got = f"{type(out).__name__}, {getattr(out, 'dtype', None)}, {np.shape(out)}"
        raise ValueError(f"out must be a {logits.dtype} array of shape {logits.shape}, got {got}.")
    if not out.flags.carray:
        raise ValueError("out must be C-contiguous, aligned and writeable, got another layout.")
    return out


def check_apart(out, **inputs):
    """Raise where the gradient would overwrite an input."""
    for name, values in inputs.items():
        given = isinstance(out, np.ndarray) and values is not None
        if given and np.shares_memory(out, np.asarray(values)):
            raise ValueError(f"out must not share memory with {name}.")


def check_proba(proba, name="proba"):
    """Return probabilities (n, K) as floats."""
    proba = float_array(name, proba)
    if proba.ndim != 2:
        raise ValueError(f"{name} must have shape (n, K), got {proba.shape}.")
    if proba.size and not (proba.min() >= 0 and proba.max() <= 1):
        raise ValueError(
            f"{name} must lie in [0, 1], got values from {proba.min()} to {proba.max()}."
        )
    return proba


def class_weighted(targets, class_weight, unit):
    """Return the targets times their class weights, and what that does to each row's mass.

    A row without mass weighs 1, which is `unit` in the scale of the class weights.
    """
    mass = np.nansum(targets, axis=1)
    targets = targets * in_dtype("class_weight", class_weight, targets.dtype)
    share = np.nansum(targets, axis=1) / np.where(mass > 0, mass, 1)
    return targets, np.where(mass > 0, share, np.float64(unit))


def check_fits(name, values, dtype):
    """Raise unless the weights are finite in the dtype of the logits."""
    if values.size and values.max() > np.finfo(dtype).max:
        raise ValueError(f"{name} must be finite in {dtype}, got {values.max()}.")


def in_dtype(name, values, dtype):
    """Return weights in the dtype of the logits, in which they must be finite."""
    check_fits(name, values, dtype)
    return values.astype(dtype)


LOSS_ONLY = object()  # given for out: no gradient


def evaluate(kind, inputs, options, upper=FINITE, entry_weight=None):
    """Run a kernel; targets lie in [0, upper].

    weight and effective, of which "mean" takes the sum, are None for ones.
    """
    logits, labels, targets, pos_weight, weight, effective = inputs
    smoothing, reduction, threads, out = options
    threads, smoothing = check_threads(threads), check_smoothing(smoothing)
    gradient = None if out is LOSS_ONLY else check_out(logits, out)
    if gradient is not None and np.may_share_memory(gradient, logits):
        np.copyto(gradient, logits)  # they may overlap in part
        logits = gradient
    divisor = 1.0
    if reduction == "mean":
        divisor = (len(logits) if effective is None else effective.sum()) or 1.0
    if weight is not None:
        weight = weight / divisor
        check_fits("sample_weight", weight, logits.dtype)
    losses = np.empty(len(logits)) if reduction == "none" else None
    loss = arrays.loss_and_residuals(
        kind,
        _rows(logits),
        labels,
        _rows(targets),
        upper,
        pos_weight,
        _rows(entry_weight),
        weight,
        1.0 if weight is not None else 1 / divisor,
        smoothing,
        _rows(gradient),
        losses,
        threads,
    )
    return (loss if losses is None else losses), gradient


def _rows(array):
    """Return a C-contiguous array (n, K) of one of shape (n,) or (n, K), None for None."""
    if array is None:
        return None
    array = contiguous(array)
    return array if array.ndim == 2 else array[:, None]


def contiguous(array):
    """Return a C-contiguous, aligned array; a copy only where it is not one."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    return np.require(array, requirements=("C", "A"))
