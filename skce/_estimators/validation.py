"""X, y and weights as the solvers take them.

The one file that uses scikit-learn's private names.

Targets leave here as integer labels (n,) or a CSR matrix (n, K) of X's dtype, class weights as
part of the row weights.
"""

from copy import copy
from inspect import signature
from numbers import Number

import numpy as np
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.linear_model._base import SparseCoefMixin
from sklearn.metrics._scorer import _Scorer
from sklearn.utils import Bunch, _safe_indexing, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import _raise_for_params, _routing_enabled, process_routing
from sklearn.utils.validation import _num_samples, validate_data

from skce._estimators.parts import Parts
from skce.losses._checks import check_weight, contiguous, float_array
from skce.losses._read import HINT, NUMBERS, column_names, read_array, read_targets

__all__ = [
    "Interval",
    "SparseCoefMixin",
    "StrOptions",
    "_Scorer",
    "_fit_context",
    "check_X",
    "check_coefficients",
    "check_rows",
    "check_sum",
    "check_weights",
    "column_names",
    "in_model_dtype",
    "is_label_column",
    "label_column",
    "label_rows",
    "multilabel_rows",
    "probability_rows",
    "read_y",
    "relative_weights",
    "routed_params",
    "rows_of",
    "scaled_weights",
    "told_labels",
]


def check_X(estimator, X, reset):
    """Return X as a C-contiguous array or canonical CSR matrix of float32 or float64."""
    if isinstance(X, Parts):
        raise ValueError("X must be an array here: fit and predictions alone take Parts.")
    if sparse.issparse(X):
        X = _detached(X)
    elif hasattr(type(X), "collect") or not hasattr(X, "columns"):  # frames are scikit-learn's
        X = read_array("X", X)
    if (X.__class__ is np.ndarray or sparse.issparse(X)) and not X.dtype.isnative:
        X = X.astype(X.dtype.newbyteorder("="), copy=False)
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
    return contiguous(X)


def check_coefficients(name, values, shape):
    """Return coefficients to begin with, zeros for None, in double."""
    if values is None:
        return np.zeros(shape)
    values = float_array(name, values)
    if shape[0] == 1 and values.shape == shape[1:]:  # of two classes, as SGDClassifier takes them
        values = values[np.newaxis]
    if values.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity.")
    return values.astype(np.float64)


def _detached(X):
    """Return CSR as another object on the same arrays: SciPy's checks set attributes."""
    if X.format != "csr":
        return X
    return type(X)((X.data, X.indices, X.indptr), shape=X.shape)


def check_weights(sample_weight, n, relative=True, allow_all_zero=False):
    """Return the row weights in float64, where they are relative by a power of two below 1."""
    if relative:
        return relative_weights(sample_weight, n)[0]
    weights = _read_weights(sample_weight, n, allow_all_zero)
    check_sum("sample_weight", weights)
    return weights


def relative_weights(sample_weight, n):
    """Return the row weights over a power of two, below 1, and its exponent."""
    weights = _read_weights(sample_weight, n)
    if sample_weight is None:
        return weights, 0
    power = int(np.frexp(weights.max())[1])
    return np.ldexp(weights, -power), power


def _read_weights(sample_weight, n, allow_all_zero=False):
    if sample_weight is None:
        return np.ones(n)
    if isinstance(sample_weight, Number):
        sample_weight = np.full(n, sample_weight)
    weights = check_weight("sample_weight", sample_weight, n)
    if not (allow_all_zero or weights.any()):
        raise ValueError("sample_weight must leave a row with weight, got zeros alone.")
    return weights


def check_sum(name, weights):
    """Raise unless the square of the sum of absolute weights is finite and, but for 0, normal."""
    with np.errstate(over="ignore", under="ignore"):
        total = weights.sum()
        if weights.any() and not np.finfo(float).tiny <= total * total < np.inf:
            raise ValueError(
                f"{name} must have a finite sum, from 1.5e-154 to 1.3e154, got {total:.3g}."
            )


def scaled_weights(weights, factors):
    """Return weights · factors / 2**exponent, below 1, and the exponent: nothing overflows."""
    (m, e), (f, g) = np.frexp(weights), np.frexp(factors)
    product, exponents = m * f, e + g
    top = exponents[product > 0].max() if product.any() else 0
    return np.ldexp(product, exponents - top), top


def read_y(y):
    """Return y as a 1-d array of labels, a 2-d array or a canonical CSR matrix, all our own."""
    if y is None:
        raise ValueError("This estimator requires y to be passed, but the target y is None.")
    y = read_targets("y", y)
    if y.dtype.kind == "c" or y.ndim > 2:
        raise ValueError(
            f"y must be real and have one or two dimensions, got dtype {y.dtype} and shape "
            f"{y.shape}."
        )
    if y.ndim == 2 and y.shape[1] == 0:
        raise ValueError(f"y must have at least one column, got shape {y.shape}.")
    if sparse.issparse(y):
        y = sparse.csr_array(y, copy=True)  # encoding works in place
        y.check_format(full_check=True)
        y.sum_duplicates()
    return y


def is_label_column(y):
    """Return whether y (n, 1) can be class labels: none missing, no fraction, not all the same."""
    if sparse.issparse(y) or y.shape[1:] != (1,):
        return False
    if y.dtype.kind not in NUMBERS:
        return True
    whole = y.dtype.kind != "f" or (y == np.floor(y)).all()
    return bool(whole and (y != y[:1]).any())


def label_column(y):
    """Return y (n, 1) as labels (n,), with scikit-learn's warning."""
    if sparse.issparse(y) or y.shape[1] > 1:
        kind = "a sparse matrix" if sparse.issparse(y) else "an array"
        raise ValueError(f"y must be labels (n,), got {kind} of shape {y.shape}.")
    return column_or_1d(y, warn=True)


def check_rows(X, y):
    """Raise where X and y differ in length."""
    n = _num_samples(X)  # of a list too
    if n != y.shape[0]:
        raise ValueError(
            f"y must have as many rows as X: Found input variables with inconsistent numbers of "
            f"samples: [{n}, {y.shape[0]}]."
        )


def _real(y):
    values = y.data if sparse.issparse(y) else y
    if values.dtype.kind not in "biuf":
        raise ValueError(f"y of two dimensions must hold numbers, got dtype {values.dtype}{HINT}.")
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
    with np.errstate(over="ignore"):
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


def in_model_dtype(X, dtype):
    """Return a checked X in the dtype of the model, which must hold its entries."""
    if X.dtype == dtype:
        return X
    with np.errstate(over="ignore"):
        X = X.astype(dtype)
    if not np.isfinite(X.data if sparse.issparse(X) else X).all():
        raise ValueError(f"X must be finite in {dtype}, that of the model, got larger entries.")
    return X


def multilabel_rows(y, loss, dtype):
    """Return y (n, K), an indicator, weights or NaN for missing, as a CSR matrix of dtype."""
    _real(y)
    with np.errstate(over="ignore"):
        rows = sparse.csr_array(y, dtype=dtype)
    rows.eliminate_zeros()
    low, high = np.nanmin(rows.data, initial=0), np.nanmax(rows.data, initial=0)
    if low < 0 or not np.isfinite(high):
        raise ValueError(f"y must hold finite values >= 0 or NaN, got values from {low} to {high}.")
    with np.errstate(over="ignore"):
        if not np.isfinite(np.nansum(rows.data, dtype=np.float64)):
            raise ValueError(f"y must have a finite sum, got an overflow of values up to {high}.")
    if loss == "bce" and high > 1:
        raise ValueError(f'y must lie in [0, 1] for loss="bce", got the value {high}.')
    return rows


def label_rows(labels, k, dtype):
    """Return labels (n,) as a one-hot CSR matrix (n, K); k = 1 marks the rows of class 1."""
    n = len(labels)
    indptr = np.arange(n + 1) if k > 1 else np.append(0, np.cumsum(labels))
    columns = labels if k > 1 else np.zeros(indptr[-1], np.int32)
    return sparse.csr_array((np.ones(indptr[-1], dtype), columns, indptr), shape=(n, k))


def rows_of(values, rows):
    """Return some rows of an array, a frame, a list; anything else as it is."""
    return _safe_indexing(values, rows) if hasattr(values, "__len__") else values


def told_labels(scorer, labels):
    """Return a scorer of probabilities that knows all labels, as in LogisticRegressionCV.

    Rows held out may lack some; others know theirs, or need none.
    """
    function = getattr(scorer, "_score_func", None)
    if function is None or "labels" not in signature(function).parameters:
        return scorer
    if "labels" in scorer._kwargs or "predict_proba" not in scorer._response_method:
        return scorer
    scorer = copy(scorer)
    scorer._kwargs = {**scorer._kwargs, "labels": labels}
    return scorer


def routed_params(estimator, sample_weight, params):
    """Return what `fit` passes to the splitter and to the scorer of a cross-validation."""
    if _routing_enabled():
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        routed = process_routing(estimator, "fit", **weights, **params)
        return Bunch(splitter=routed["splitter"], scorer=routed.get("scorer", Bunch(score={})))
    _raise_for_params(params, estimator, "fit", allow=["groups"])
    score = {} if sample_weight is None else {"sample_weight": sample_weight}
    return Bunch(splitter=Bunch(split=params), scorer=Bunch(score=score))
