"""X, y, weights and classes as the solvers take them.

The one file that uses scikit-learn's private names.

Targets leave here as integer labels (n,) or a CSR matrix (n, K) of X's dtype, class weights as
part of the row weights.
"""

import os
from contextlib import contextmanager
from threading import Lock

import numpy as np
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.linear_model._base import SparseCoefMixin
from sklearn.utils import check_array, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import _get_threadpool_controller
from sklearn.utils.validation import _check_sample_weight, validate_data

__all__ = [
    "Interval",
    "SparseCoefMixin",
    "StrOptions",
    "_fit_context",
    "check_X",
    "check_rows",
    "check_weights",
    "class_weights",
    "encode_labels",
    "label_counts",
    "label_rows",
    "multilabel_rows",
    "one_blas_thread",
    "probability_rows",
    "read_y",
]


class _BlasLimit:
    """One BLAS thread for all fits under way in the process, whichever Python thread is last.

    threadpoolctl >= 3.8 lets only the thread that set a limit change it; the first fit to begin
    and the last to end take that right over.
    """

    def __init__(self):
        self.reset()

    def reset(self):
        """Forget all fits, as a forked child must."""
        self.lock = Lock()
        self.fits = 0
        self.limiter = None

    def enter(self):
        """Set the limit, for the first of the fits that overlap."""
        with self.lock:
            if self.fits == 0:
                self._release()
                self.limiter = _get_threadpool_controller().limit(limits=1, user_api="blas")
            self.fits += 1

    def leave(self):
        """Restore what was before, for the last of them."""
        with self.lock:
            self.fits -= 1
            if self.fits == 0:
                self._release()
                self.limiter.restore_original_limits()
                self._release()

    def _release(self):
        for library in _get_threadpool_controller().lib_controllers:
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)


_blas_limit = _BlasLimit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_blas_limit.reset)


@contextmanager
def one_blas_thread():
    """Keep BLAS on one thread, until the last of the fits that overlap has ended."""
    _blas_limit.enter()
    try:
        yield
    finally:
        _blas_limit.leave()


def check_X(estimator, X, reset):
    """Return X as a C-contiguous array or canonical CSR matrix of float32 or float64."""
    X = validate_data(
        estimator,
        X,
        reset=reset,
        accept_sparse="csr",
        accept_large_sparse=True,
        dtype=[np.float64, np.float32],
        order="C",
    )
    if sparse.issparse(X):
        X.check_format(full_check=True)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return X
    return np.require(X, requirements=("C", "A"))


def check_weights(sample_weight, X, allow_all_zero=False):
    """Return the row weights in float64."""
    return _check_sample_weight(
        sample_weight,
        X,
        dtype=np.float64,
        ensure_non_negative=True,
        allow_all_zero_weights=allow_all_zero,
    )


def read_y(y):
    """Return y as a 1-d array of labels, a 2-d array or a CSR matrix; a column becomes 1-d."""
    if y is None:
        raise ValueError("This estimator requires y to be passed, but the target y is None.")
    if sparse.issparse(y):
        y = sparse.csr_array(y, copy=True)  # encoding works in place
        y.check_format(full_check=True)
        y.sum_duplicates()
        return y
    y = check_array(
        y,
        ensure_2d=False,
        dtype=None,
        ensure_all_finite=False,
        ensure_min_samples=0,
        allow_nd=True,
        input_name="y",
    )
    if y.ndim > 2:
        raise ValueError(f"y must have one or two dimensions, got shape {y.shape}.")
    return column_or_1d(y, warn=True) if y.ndim == 1 or y.shape[1] == 1 else y


def check_rows(X, y):
    """Raise where X and y differ in length."""
    if X.shape[0] != y.shape[0]:
        raise ValueError(
            f"y must have as many rows as X: Found input variables with inconsistent numbers of "
            f"samples: [{X.shape[0]}, {y.shape[0]}]."
        )


def encode_labels(y, classes=None):
    """Return the classes of labels y (n,) and the class number of each row."""
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError("y must hold labels, got NaN or infinity.")
    check_classification_targets(y)
    if classes is None:
        classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"y must have at least 2 classes, got one class, {classes[0]!r}.")
    unseen = np.setdiff1d(y, classes)
    if len(unseen):
        raise ValueError(f"y must hold classes of the first call only, got {unseen[:5].tolist()}.")
    return classes, np.searchsorted(classes, y).astype(np.int32)


def _real(y):
    values = y.data if sparse.issparse(y) else y
    if values.dtype.kind not in "biuf":
        raise ValueError(f"y of two dimensions must hold numbers, got dtype {values.dtype}.")
    return values


def probability_rows(y):
    """Return y (n, K), one-hot or probabilities, as CSR in float64 with rows summing to 1."""
    values = _real(y)
    if y.shape[1] < 2:
        raise ValueError("y must have at least 2 columns, one for each class, got one.")
    rows = sparse.csr_array(y, dtype=np.float64)
    if not np.isfinite(rows.data).all():
        raise ValueError("y must hold finite probabilities, got NaN or infinity.")
    if (rows.data < 0).any():
        raise ValueError(f"y must hold probabilities, got the negative value {rows.data.min()}.")
    total = rows.sum(axis=1)
    if values.dtype.kind in "biu" and (values.max(initial=0) > 1 or (total > 1).any()):
        raise ValueError(
            "y of integers must be one-hot, got rows with several ones or other values; "
            "for several labels a row use MultiLabelLogistic."
        )
    if (np.abs(total - 1) > 1e-3).any():
        wrong = int(np.argmax(np.abs(total - 1) > 1e-3))
        raise ValueError(
            f"y must have rows that sum to 1 within 1e-3, got {total[wrong]:.6g} in row {wrong}."
        )
    rows.data /= np.repeat(total, np.diff(rows.indptr))
    rows.eliminate_zeros()
    return rows


def multilabel_rows(y, loss, dtype):
    """Return y (n, K), an indicator, weights or NaN for missing, as a CSR matrix of dtype."""
    _real(y)
    rows = sparse.csr_array(y, dtype=dtype)
    rows.eliminate_zeros()
    low, high = np.nanmin(rows.data, initial=0), np.nanmax(rows.data, initial=0)
    if low < 0 or not np.isfinite(high):
        raise ValueError(f"y must hold finite values >= 0 or NaN, got values from {low} to {high}.")
    if loss == "bce" and high > 1:
        raise ValueError(f'y must lie in [0, 1] for loss="bce", got the value {high}.')
    return rows


def label_counts(targets, weights, seen):
    """Return weighted sums over the rows of CSR targets and those `seen` before.

    Of a row with a labels in o observed entries: pairs of labels, a (a − 1), and pairs of a label
    and an entry, a (o − 1), whose ratio is the rate at which entries beside a label are on; then a,
    and a / M, M being a and that rate of the missing entries. A target above 1 counts as 1. Then,
    for each label, the rows with a weight in which it was observed.
    """
    n, k = targets.shape
    rows, live = np.repeat(np.arange(n), np.diff(targets.indptr)), weights > 0
    on, gone = np.minimum(np.nan_to_num(targets.data), 1), np.isnan(targets.data)
    labels, squares, holes = (np.bincount(rows, entry, n) for entry in (on, on**2, gone))
    sums = np.zeros(4 + k) + seen
    sums[0] += weights @ (labels**2 - squares)
    sums[1] += weights @ (labels * (k - 1 - holes))
    total = labels + holes * (sums[0] / (sums[1] or 1))
    sums[2] += weights @ labels
    sums[3] += weights @ np.divide(labels, total, out=np.zeros(n), where=labels > 0)
    sums[4:] += live.sum() - np.bincount(targets.indices, gone & live[rows], k)
    return sums


def label_rows(labels, k, dtype):
    """Return labels (n,) as a one-hot CSR matrix (n, K); k = 1 marks the rows of class 1."""
    if k == 1:
        rows = np.flatnonzero(labels)
        columns = np.zeros(len(rows), np.int32)
    else:
        rows, columns = np.arange(len(labels)), labels
    ones = np.ones(len(rows), dtype)
    return sparse.csr_array((ones, (rows, columns)), shape=(len(labels), k))


def class_weights(class_weight, classes, counts):
    """Return the weight of each class; unseen ones get 1 from "balanced"."""
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, str):
        seen = counts > 0
        balanced = counts.sum() / (seen.sum() * np.where(seen, counts, 1))
        return np.where(seen, balanced, 1.0)
    names = classes.tolist()
    unknown = [c for c in class_weight if c not in names]
    if unknown and any(c not in class_weight for c in names):
        raise ValueError(f"class_weight must name classes of y, got {unknown}.")
    weights = np.array([class_weight.get(c, 1.0) for c in names])
    if weights.dtype.kind not in "biuf":
        raise ValueError(f"class_weight must hold numbers, got {class_weight}.")
    weights = weights.astype(np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"class_weight must be finite and not negative, got {class_weight}.")
    return weights
