"""Diagonals of the Hessians of the cross-entropies of logits, for boosting and Newton's method."""

import numpy as np

from skce.losses._checks import (
    Reduction,
    check_entry_weight,
    check_labels,
    check_logits,
    check_reduction,
    check_row_weight,
    check_smoothing,
    check_targets,
    check_weight,
    class_weighted,
    float_array,
    read_weight,
    times,
    without_ignored,
)
from skce.losses._proba import sigmoid, softmax
from skce.losses._read import read_targets

__all__ = [
    "multilabel_softmax_cross_entropy_hessian_diag",
    "sigmoid_cross_entropy_hessian_diag",
    "softmax_cross_entropy_hessian_diag",
]


def softmax_cross_entropy_hessian_diag(
    logits,
    targets,
    *,
    sample_weight=None,
    class_weight=None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    n_threads: int | None = None,
) -> np.ndarray:
    """Diagonal of the Hessian of the softmax cross-entropy with respect to the logits.

    The second derivative of a row with targets t is T·p (1 − p), with p = softmax(s) and
    T = Σ t_c; of a row with a label p (1 − p).

    Parameters
    ----------
    logits, targets, sample_weight, class_weight
        As in :func:`softmax_cross_entropy`.
    label_smoothing, ignore_index, reduction, n_threads
        As in :func:`softmax_cross_entropy`; label smoothing changes nothing here.

    Returns
    -------
    hessian_diag : ndarray of shape (n, K)
        Second derivatives of the reduced loss; with "none", row i is that of its own loss.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import softmax_cross_entropy_hessian_diag
    >>> softmax_cross_entropy_hessian_diag([[2.0, 4.0, 0.5]], [1]).round(3)
    array([[0.103, 0.122, 0.025]])
    """
    logits = check_logits(logits)
    n, k = logits.shape
    check_reduction(reduction)
    check_smoothing(label_smoothing)
    weight = check_row_weight(sample_weight, n, reduction)
    balance, unit = read_weight("class_weight", class_weight, k, reduction)
    targets = read_targets("targets", targets)
    targets, weight = without_ignored(targets, weight, ignore_index)
    effective = weight
    missing, mass = None, np.ones(n)
    if targets.ndim == 1:
        labels = check_labels(targets, n, k, n_threads)
        if balance is not None:
            weight = effective = times(weight, balance[labels])
    else:
        targets = check_targets(targets, logits.shape, logits.dtype, n_threads=n_threads)
        missing = np.isnan(targets)
        if balance is not None:
            targets, share = class_weighted(targets, balance, unit)
            effective = times(weight, share)
        mass = np.asarray(np.nansum(targets, axis=1, dtype=np.float64))
    factor = _row_factor(mass, weight, effective, reduction)
    return _softmax_variance(logits, missing, factor, n_threads)


def multilabel_softmax_cross_entropy_hessian_diag(
    logits,
    targets,
    *,
    sample_weight=None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    n_threads: int | None = None,
) -> np.ndarray:
    """Diagonal of the Hessian of the 1/M multi-label softmax cross-entropy.

    With M the observed non-zero targets of a row and T = Σ t_c, the second derivative of the row is
    (T/M)·p (1 − p), p = softmax(s).

    Parameters
    ----------
    logits, targets, sample_weight, label_smoothing, reduction, n_threads
        As in :func:`multilabel_softmax_cross_entropy`; label smoothing changes nothing here.

    Returns
    -------
    hessian_diag : ndarray of shape (n, K)
        Second derivatives of the reduced loss; with "none", row i is that of its own loss.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import multilabel_softmax_cross_entropy_hessian_diag
    >>> multilabel_softmax_cross_entropy_hessian_diag([[2.0, 4.0, 0.5]], [[1, 1, 0]]).round(3)
    array([[0.103, 0.122, 0.025]])
    """
    logits = check_logits(logits)
    check_reduction(reduction)
    check_smoothing(label_smoothing)
    weight = check_row_weight(sample_weight, len(logits), reduction)
    targets = check_targets(targets, logits.shape, logits.dtype, n_threads=n_threads)
    missing = np.isnan(targets)
    number = np.sum((targets != 0) & ~missing, axis=1)
    mass = np.nansum(targets, axis=1, dtype=np.float64) / np.maximum(number, 1)
    factor = _row_factor(mass, weight, weight, reduction)
    return _softmax_variance(logits, missing, factor, n_threads)


def sigmoid_cross_entropy_hessian_diag(
    logits,
    targets,
    *,
    sample_weight=None,
    entry_weight=None,
    pos_weight=None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    n_threads: int | None = None,
) -> np.ndarray:
    """Diagonal of the Hessian of the sigmoid (binary) cross-entropy: there is nothing beside it.

    The second derivative of an entry is (1 − t + q·t) σ(s) σ(−s), q being the positive weight.

    Parameters
    ----------
    logits, targets, sample_weight, entry_weight, pos_weight
        As in :func:`sigmoid_cross_entropy`.
    label_smoothing, reduction, n_threads
        As in :func:`sigmoid_cross_entropy`.

    Returns
    -------
    hessian_diag : ndarray of shape (n, K) or (n,)
        Second derivatives of the reduced loss; with "none", row i is that of its own loss.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import sigmoid_cross_entropy_hessian_diag
    >>> sigmoid_cross_entropy_hessian_diag([[2.0, 4.0, 0.5]], [[1, 1, 0]]).round(3)
    array([[0.105, 0.018, 0.235]])
    """
    logits = check_logits(logits, 1, 2)
    check_reduction(reduction)
    epsilon = check_smoothing(label_smoothing)
    weight = check_row_weight(sample_weight, len(logits), reduction)
    targets = check_targets(targets, logits.shape, logits.dtype, upper=1, n_threads=n_threads)
    half = sigmoid(-np.abs(logits), n_threads=n_threads)  # at most 1/2: 1 less it has its digits
    result, factor = half - half * half, np.float64(1)
    if pos_weight is not None:
        k = logits.shape[1] if logits.ndim == 2 else 1
        pos_weight = np.broadcast_to(float_array("pos_weight", pos_weight), (k,))
        pos_weight = check_weight("pos_weight", pos_weight, k)
        smoothed = (1 - epsilon) * targets + epsilon / 2
        factor = 1 + (pos_weight - 1) * smoothed
    entry_weight = check_entry_weight(entry_weight, logits.shape, np.float64)
    if entry_weight is not None:
        factor = factor * entry_weight
    if weight is not None or reduction == "mean":
        rows = _row_factor(np.ones(len(logits)), weight, weight, reduction)
        factor = factor * rows.reshape(-1, *[1] * (logits.ndim - 1))
    if np.ndim(factor):
        result = (result * factor).astype(logits.dtype, copy=False)
    missing = np.isnan(targets)
    if missing.any():
        result[missing] = 0
    return result


def _row_factor(mass, weight, effective, reduction):
    """Return what multiplies the curvature of each row (n,): weights over their divisor."""
    divisor = 1.0
    if reduction == "mean":
        divisor = (len(mass) if effective is None else effective.sum()) or 1.0
    return mass / divisor if weight is None else mass * (weight / divisor)


def _softmax_variance(logits, missing, factor, n_threads):
    """Return factor · p (1 − p) by rows; the largest p may be so near 1 that 1 − p cancels."""
    if missing is not None and missing.any():
        logits = np.where(missing, -np.inf, logits)
        factor = np.where(missing.all(axis=1), 0, factor)
        logits[missing.all(axis=1)] = 0
    if not logits.size:
        return np.zeros_like(logits)
    proba = softmax(logits, n_threads=n_threads)
    others = 1 - proba
    flat, k = proba.reshape(-1), logits.shape[1]
    top = np.flatnonzero(flat > 0.5)  # at most one of a row
    probable = flat[top]
    flat[top] = 0
    others.reshape(-1)[top] = np.einsum("ij->i", proba)[top // k]
    flat[top] = probable
    proba *= others
    proba *= factor[:, np.newaxis].astype(logits.dtype)
    return proba
