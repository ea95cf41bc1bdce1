"""Softmax, sigmoid and their logarithms, and the cross-entropies of probabilities."""

import numpy as np
from scipy import special

from skce import _parallel
from skce._arrays import (
    check_labels,
    check_logits,
    check_proba,
    check_reduction,
    check_row_weight,
    check_targets,
    check_threads,
    times,
)

__all__ = [
    "binary_cross_entropy",
    "cross_entropy",
    "log_sigmoid",
    "log_softmax",
    "sigmoid",
    "softmax",
]


def softmax(logits, *, n_threads=None):
    """Softmax over the last axis.

    Parameters
    ----------
    logits : array-like of shape (..., K)
        Real scores; float32 is kept, anything else becomes float64.
    n_threads : int, default=None
        Threads; None takes as many as OpenMP allows. Results do not depend on it.

    Returns
    -------
    proba : ndarray of shape (..., K)
        Non-negative, summing to 1 over the last axis.

    Examples
    --------
    >>> from skce.losses import softmax
    >>> softmax([2.0, 4.0, 0.5]).round(3)
    array([0.116, 0.858, 0.026])
    """
    work = np.array(check_logits(logits, 1, None), order="C")
    if work.size:
        _parallel.softmax_inplace(work.reshape(-1, work.shape[-1]), check_threads(n_threads))
    return work


def log_softmax(logits):
    """Logarithm of the softmax over the last axis; finite for finite logits.

    Parameters
    ----------
    logits : array-like of shape (..., K)
        Real scores; float32 is kept, anything else becomes float64.

    Returns
    -------
    log_proba : ndarray of shape (..., K)
        Not positive.

    Examples
    --------
    >>> from skce.losses import log_softmax
    >>> log_softmax([0.0, 1000.0])
    array([-1000.,     0.])
    """
    logits = check_logits(logits, 1, None)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shifted = logits - logits.max(axis=-1, keepdims=True, initial=-np.inf)
        total = np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)
        return shifted - np.log(total).astype(shifted.dtype)


def sigmoid(logits, *, n_threads=None):
    """Sigmoid of each logit, 1 / (1 + exp(−s)).

    Parameters
    ----------
    logits : array-like
        Real scores; float32 is kept, anything else becomes float64.
    n_threads : int, default=None
        Threads; None takes as many as OpenMP allows. Results do not depend on it.

    Returns
    -------
    proba : ndarray of the shape of logits
        In [0, 1]; exactly 1 from about s = 37 (float64) or 17 (float32) on.

    Examples
    --------
    >>> from skce.losses import sigmoid
    >>> sigmoid([-2.0, 0.0]).round(3)
    array([0.119, 0.5  ])
    """
    work = np.array(check_logits(logits, 0, None), order="C")
    _parallel.sigmoid_inplace(work.reshape(-1), check_threads(n_threads))
    return work


def log_sigmoid(logits):
    """Logarithm of the sigmoid of each logit, −softplus(−s); finite for finite logits.

    Parameters
    ----------
    logits : array-like
        Real scores; float32 is kept, anything else becomes float64.

    Returns
    -------
    log_proba : ndarray of the shape of logits
        Not positive.

    Examples
    --------
    >>> from skce.losses import log_sigmoid
    >>> log_sigmoid([-1000.0, 0.0]).round(2)
    array([-1.0e+03, -6.9e-01])
    """
    return special.log_expit(check_logits(logits, 0, None))


def _reduce(losses, sample_weight, reduction):
    weight = times(check_row_weight(sample_weight, len(losses)), np.ones(len(losses)))
    check_reduction(reduction)
    losses = np.where(weight > 0, losses, 0.0)
    if reduction == "mean":
        return float(np.average(losses, weights=weight)) if weight.any() else 0.0
    return weight * losses if reduction == "none" else float((weight * losses).sum())


def cross_entropy(proba, targets, *, sample_weight=None, reduction="mean"):
    """Cross-entropy of probabilities, −Σ t_c log p_c; no activation inside and no clipping.

    Parameters
    ----------
    proba : array-like of shape (n, K)
        Probabilities in [0, 1].
    targets : array-like of shape (n,) or (n, K)
        Integer labels in 0..K−1, or non-negative weights of the classes.
    sample_weight : array-like of shape (n,), default=None
        Non-negative row weights.
    reduction : {"mean", "sum", "none"}, default="mean"
        "mean" divides by the sum of the weights, "none" returns the weighted loss of each row.

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
    proba = check_proba(proba)
    targets = np.asarray(targets)
    if targets.ndim == 1:
        labels = check_labels(targets, *proba.shape)[:, None]
        with np.errstate(divide="ignore"):
            losses = -np.log(np.take_along_axis(proba, labels, axis=1)[:, 0])
        return _reduce(losses, sample_weight, reduction)
    targets = check_targets(targets, proba.shape, proba.dtype)
    if np.isnan(targets).any():
        raise ValueError("targets must not hold NaN: probabilities cannot lose a class.")
    return _reduce(-special.xlogy(targets, proba).sum(axis=1), sample_weight, reduction)


def binary_cross_entropy(proba, targets, *, sample_weight=None, reduction="mean"):
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
    proba = check_proba(proba)
    targets = check_targets(targets, proba.shape, proba.dtype, upper=1)
    losses = special.xlogy(targets, proba) + special.xlog1py(1 - targets, -proba)
    return _reduce(-np.nansum(losses, axis=1), sample_weight, reduction)
