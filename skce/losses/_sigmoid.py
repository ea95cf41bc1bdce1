"""The sigmoid cross-entropy of logits, fused with its gradient."""

import numpy as np

from skce import _kernels
from skce.losses._checks import (
    LOSS_ONLY,
    Reduction,
    check_apart,
    check_entry_weight,
    check_logits,
    check_reduction,
    check_row_weight,
    check_weight,
    dense_targets,
    evaluate,
    float_array,
    in_dtype,
)
from skce.losses._read import read_targets

__all__ = ["sigmoid_cross_entropy", "sigmoid_cross_entropy_value_and_grad"]


def sigmoid_cross_entropy(
    logits,
    targets,
    *,
    sample_weight=None,
    entry_weight=None,
    pos_weight=None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    n_threads: int | None = None,
) -> float | np.ndarray:
    """Sigmoid (binary) cross-entropy of logits, summed over labels.

    The loss of an entry is (1 − t)·softplus(s) + q·t·softplus(−s) with the positive weight q,
    1 by default.

    Parameters
    ----------
    logits : array-like of shape (n, K) or (n,)
        Real scores; float32 is kept, anything else becomes float64.
    targets : array-like of the shape of logits
        In [0, 1]: an indicator or probabilities. NaN marks a missing entry, which has loss 0.
    sample_weight : array-like of shape (n,), default=None
        Non-negative row weights.
    entry_weight : array-like of the shape of logits, default=None
        Non-negative weights of the entries, as many as there are: they multiply the losses of the
        entries and, as `pos_weight`, do not enter the divisor. 0 is a missing entry.
    pos_weight : float or array-like of shape (K,), default=None
        Positive weight q of each label.
    label_smoothing : float, default=0.0
        ε in [0, 1]: targets become (1 − ε)·t + ε/2.
    reduction : {"mean", "sum", "none"}, default="mean"
        "mean" divides by the sum of the weights, "none" returns the weighted loss of each row.
    n_threads : int, default=None
        Threads; None takes as many as OpenMP allows. Results do not depend on it.

    Returns
    -------
    loss : float or ndarray of shape (n,)
        The reduced loss in nats, summed in double precision; infinite where a logit is infinite and
        its target is not the class that this makes certain.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import sigmoid_cross_entropy
    >>> round(sigmoid_cross_entropy([[2.0, 4.0, 0.5]], [[1, 1, 0]]), 7)
    1.1191549
    """
    return sigmoid_cross_entropy_value_and_grad(
        logits,
        targets,
        sample_weight=sample_weight,
        entry_weight=entry_weight,
        pos_weight=pos_weight,
        label_smoothing=label_smoothing,
        reduction=reduction,
        n_threads=n_threads,
        out=LOSS_ONLY,
    )[0]


def sigmoid_cross_entropy_value_and_grad(
    logits,
    targets,
    *,
    sample_weight=None,
    entry_weight=None,
    pos_weight=None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    n_threads: int | None = None,
    out=None,
) -> tuple[float | np.ndarray, np.ndarray]:
    """Sigmoid (binary) cross-entropy and its gradient with respect to the logits.

    The gradient of an entry is (1 − t)·σ(s) − q·t·(1 − σ(s)), that is σ(s) − t without
    positive weight q.

    Parameters
    ----------
    logits, targets, sample_weight, entry_weight, pos_weight
        As in :func:`sigmoid_cross_entropy`.
    label_smoothing, reduction, n_threads
        As in :func:`sigmoid_cross_entropy`.
    out : ndarray of shape (n, K) or (n,), default=None
        Where the gradient goes: C-contiguous, of the dtype of logits; may be logits.
        Where targets are out of range, another array may have been filled in part.

    Returns
    -------
    loss : float or ndarray of shape (n,)
        The reduced loss in nats, summed in double precision.
    gradient : ndarray of shape (n, K) or (n,)
        Gradient of the reduced loss; with "none", row i is that of its own loss.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import sigmoid_cross_entropy_value_and_grad
    >>> loss, gradient = sigmoid_cross_entropy_value_and_grad([[2.0, 4.0, 0.5]], [[1, 1, 0]])
    >>> round(loss, 7)
    1.1191549
    >>> gradient.round(3)
    array([[-0.119, -0.018,  0.622]])
    """
    logits = check_logits(logits, 1, 2)
    check_reduction(reduction)
    weight = check_row_weight(sample_weight, len(logits), reduction)
    targets = read_targets("targets", targets)
    pos_weight = None if pos_weight is None else float_array("pos_weight", pos_weight)
    entry_weight = check_entry_weight(entry_weight, logits.shape, logits.dtype)
    check_apart(out, targets=targets, sample_weight=sample_weight, pos_weight=pos_weight)
    check_apart(out, entry_weight=entry_weight)
    targets = dense_targets(targets, logits.shape, logits.dtype)
    if pos_weight is not None:
        k = logits.shape[1] if logits.ndim == 2 else 1
        pos_weight = np.full(k, pos_weight) if np.ndim(pos_weight) == 0 else pos_weight
        pos_weight = in_dtype("pos_weight", check_weight("pos_weight", pos_weight, k), logits.dtype)
    return evaluate(
        _kernels.Loss.SIGMOID,
        (logits, None, targets, pos_weight, weight, weight),
        (label_smoothing, reduction, n_threads, out),
        upper=1.0,
        entry_weight=entry_weight,
    )
