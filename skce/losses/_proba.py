"""Softmax, sigmoid and their logarithms, and the cross-entropies of probabilities."""

import numpy as np

from skce._kernels import arrays
from skce._kernels.threads import check_threads
from skce.losses._checks import (
    FINITE,
    Reduction,
    check_logits,
    check_out,
    check_proba,
    check_reduction,
    check_row_weight,
    check_targets,
    contiguous,
    dense_targets,
    float_array,
    raise_labels,
    wide_labels,
)
from skce.losses._read import read_targets

__all__ = [
    "binary_cross_entropy",
    "cross_entropy",
    "log_sigmoid",
    "log_softmax",
    "sigmoid",
    "softmax",
]


def softmax(logits, *, n_threads: int | None = None, out=None) -> np.ndarray:
    """Softmax over the last axis.

    Parameters
    ----------
    logits : array-like of shape (..., K)
        Real scores; float32 is kept, anything else becomes float64.
    n_threads : int, default=None
        Threads; None takes as many as OpenMP allows. Results do not depend on it.
    out : ndarray of the shape of logits, default=None
        Where the result goes: C-contiguous, of the dtype of logits; may be logits.

    Returns
    -------
    proba : ndarray of shape (..., K)
        Non-negative, summing to 1 over the last axis; 1 for a logit of +inf and 0 for the others
        of its row. NaN where a row has several of them, NaN, or −inf only.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import softmax
    >>> softmax([2.0, 4.0, 0.5]).round(3)
    array([0.116, 0.858, 0.026])
    """
    return _of_rows(logits, False, n_threads, out)


def log_softmax(logits, *, n_threads: int | None = None, out=None) -> np.ndarray:
    """Logarithm of the softmax over the last axis; finite for finite logits.

    Parameters
    ----------
    logits : array-like of shape (..., K)
        Real scores; float32 is kept, anything else becomes float64.
    n_threads : int, default=None
        Threads; None takes as many as OpenMP allows. Results do not depend on it.
    out : ndarray of the shape of logits, default=None
        Where the result goes: C-contiguous, of the dtype of logits; may be logits.

    Returns
    -------
    log_proba : ndarray of shape (..., K)
        Not positive; exact to rounding where the probability rounds to 1.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import log_softmax
    >>> log_softmax([0.0, 1000.0])
    array([-1000.,     0.])
    """
    return _of_rows(logits, True, n_threads, out)


def _of_rows(logits, logarithm, n_threads, out):
    """Fill out with the softmax over the last axis or its logarithm."""
    logits, out, threads = _prepared(check_logits(logits, 1, None), n_threads, out)
    if logits.size:
        k = logits.shape[-1]
        arrays.softmax_into(logits.reshape(-1, k), out.reshape(-1, k), logarithm, threads)
    return out


def _of_entries(logits, logarithm, n_threads, out):
    """Fill out with the sigmoid or its logarithm."""
    logits, out, threads = _prepared(check_logits(logits, 0, None), n_threads, out)
    arrays.sigmoid_into(logits.reshape(-1), out.reshape(-1), logarithm, threads)
    return out


def _prepared(logits, n_threads, out):
    """Return contiguous logits that do not overlap out, out, and the threads."""
    given, out, threads = out, check_out(logits, out), check_threads(n_threads)
    if given is not None and np.may_share_memory(logits, out):
        logits = logits.copy()
    return contiguous(logits), out, threads


def sigmoid(logits, *, n_threads: int | None = None, out=None) -> np.ndarray:
    """Sigmoid of each logit, 1 / (1 + exp(−s)).

    Parameters
    ----------
    logits : array-like
        Real scores; float32 is kept, anything else becomes float64.
    n_threads : int, default=None
        Threads; None takes as many as OpenMP allows. Results do not depend on it.
    out : ndarray of the shape of logits, default=None
        Where the result goes: C-contiguous, of the dtype of logits; may be logits.

    Returns
    -------
    proba : ndarray of the shape of logits
        In [0, 1]; exactly 1 from about s = 37 (float64) or 17 (float32) on.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import sigmoid
    >>> sigmoid([-2.0, 0.0]).round(3)
    array([0.119, 0.5  ])
    """
    return _of_entries(logits, False, n_threads, out)


def log_sigmoid(logits, *, n_threads: int | None = None, out=None) -> np.ndarray:
    """Logarithm of the sigmoid of each logit, −softplus(−s); finite for finite logits.

    Parameters
    ----------
    logits : array-like
        Real scores; float32 is kept, anything else becomes float64.
    n_threads : int, default=None
        Threads; None takes as many as OpenMP allows. Results do not depend on it.
    out : ndarray of the shape of logits, default=None
        Where the result goes: C-contiguous, of the dtype of logits; may be logits.

    Returns
    -------
    log_proba : ndarray of the shape of logits
        Not positive.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import log_sigmoid
    >>> log_sigmoid([-1000.0, 0.0]).round(2)
    array([-1.0e+03, -6.9e-01])
    """
    return _of_entries(logits, True, n_threads, out)


def _loss(proba, targets, binary, sample_weight, reduction, n_threads):
    """Return the reduced cross-entropy of probabilities with labels or dense targets."""
    check_reduction(reduction)
    threads, proba = check_threads(n_threads), float_array("proba", proba)
    if proba.ndim != 2:
        raise ValueError(f"proba must have shape (n, K), got {proba.shape}.")
    proba, n, upper = contiguous(proba), len(proba), 1.0 if binary else FINITE
    labels = wide_labels(targets, *proba.shape) if not binary and targets.ndim == 1 else None
    dense = None if labels is not None else dense_targets(targets, proba.shape, proba.dtype)
    weight = check_row_weight(sample_weight, n, reduction)
    losses = np.empty(n) if reduction == "none" else None
    total = arrays.proba_losses(binary, proba, labels, dense, upper, weight, losses, threads)
    if total != total:
        if labels is None:
            check_targets(targets, proba.shape, proba.dtype, upper)
        elif not (labels.min() >= 0 and labels.max() < proba.shape[1]):
            raise_labels(targets, proba.shape[1])
        check_proba(proba)
        raise ValueError("targets must not hold NaN: probabilities cannot lose a class.")
    if losses is not None:
        return losses
    if reduction == "mean":
        total /= (n if weight is None else float(weight.sum())) or 1.0
    return total


def cross_entropy(
    proba,
    targets,
    *,
    sample_weight=None,
    reduction: Reduction = "mean",
    n_threads: int | None = None,
) -> float | np.ndarray:
    """Cross-entropy of probabilities, −Σ t_c log p_c; no activation inside and no clipping.

    Parameters
    ----------
    proba : array-like of shape (n, K)
        Probabilities in [0, 1]; with labels only those of the labels are read.
    targets : array-like of shape (n,) or (n, K)
        Integer labels in 0..K−1, or non-negative weights of the classes.
    sample_weight : array-like of shape (n,), default=None
        Non-negative row weights.
    reduction : {"mean", "sum", "none"}, default="mean"
        "mean" divides by the sum of the weights, "none" returns the weighted loss of each row.
    n_threads : int, default=None
        Threads; None takes as many as OpenMP allows. Results do not depend on it.

    Returns
    -------
    loss : float or ndarray of shape (n,)
        The reduced loss in nats; inf where a target meets the probability 0 (0·log 0 is 0).

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import cross_entropy
    >>> cross_entropy([[0.25, 0.25, 0.25, 0.25], [0.01, 0.01, 0.01, 0.97]], [0, 3])
    0.7083767843022996
    """
    targets = read_targets("targets", targets)
    return _loss(proba, targets, False, sample_weight, reduction, n_threads)


def binary_cross_entropy(
    proba,
    targets,
    *,
    sample_weight=None,
    reduction: Reduction = "mean",
    n_threads: int | None = None,
) -> float | np.ndarray:
    """Binary cross-entropy of probabilities, summed over labels; no activation, no clipping.

    Parameters
    ----------
    proba : array-like of shape (n, K)
        Probabilities in [0, 1], one for each label.
    targets : array-like of shape (n, K)
        In [0, 1]; NaN marks a missing entry, which has loss 0.
    sample_weight : array-like of shape (n,), default=None
        Non-negative row weights.
    reduction : {"mean", "sum", "none"}, default="mean"
        "mean" divides by the sum of the weights, "none" returns the weighted loss of each row.
    n_threads : int, default=None
        Threads; None takes as many as OpenMP allows. Results do not depend on it.

    Returns
    -------
    loss : float or ndarray of shape (n,)
        The reduced loss in nats of −Σ [t_c log p_c + (1 − t_c) log(1 − p_c)].

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import binary_cross_entropy
    >>> round(binary_cross_entropy([[0.9, 0.2]], [[1, 0]]), 7)
    0.3285041
    """
    return _loss(proba, targets, True, sample_weight, reduction, n_threads)
