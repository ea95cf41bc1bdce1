"""Softmax cross-entropies of logits, fused with their gradients."""

import numpy as np

from skce import _kernels
from skce.losses._checks import (
    LOSS_ONLY,
    Reduction,
    check_apart,
    check_labels,
    check_logits,
    check_reduction,
    check_row_weight,
    check_targets,
    class_weighted,
    dense_targets,
    evaluate,
    read_weight,
    times,
    without_ignored,
)
from skce.losses._read import read_targets

__all__ = [
    "multilabel_softmax_cross_entropy",
    "multilabel_softmax_cross_entropy_value_and_grad",
    "softmax_cross_entropy",
    "softmax_cross_entropy_value_and_grad",
]


def softmax_cross_entropy(
    logits,
    targets,
    *,
    sample_weight=None,
    class_weight=None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    n_threads: int | None = None,
) -> float | np.ndarray:
    """Softmax cross-entropy of logits.

    The loss of a row with targets t is T·lse(s) − Σ t_c s_c with T = Σ t_c; a label y stands
    for the one-hot row, so that its loss is lse(s) − s_y.

    Parameters
    ----------
    logits : array-like of shape (n, K)
        Real scores; float32 is kept, anything else becomes float64.
    targets : array-like of shape (n,) or (n, K)
        Integer labels in 0..K−1, or non-negative weights of the classes, usually
        probabilities. NaN marks a missing entry: its class leaves the softmax of that row.
        A row without target has loss 0.
    sample_weight : array-like of shape (n,), default=None
        Non-negative row weights.
    class_weight : array-like of shape (K,), default=None
        Multiplies the loss of a row with a label, and the targets of a row otherwise, before
        they are smoothed; enters the divisor of the mean like the equivalent sample weight.
    label_smoothing : float, default=0.0
        ε in [0, 1]: targets become (1 − ε)·t + ε·T/K, K counting the observed classes.
    ignore_index : int, default=None
        Integer label, in 0..K−1 or not, of rows that count as rows of weight 0.
    reduction : {"mean", "sum", "none"}, default="mean"
        "mean" divides by the sum of the weights, "none" returns the weighted loss of each row.
    n_threads : int, default=None
        Threads; None takes as many as OpenMP allows. Results do not depend on it.

    Returns
    -------
    loss : float or ndarray of shape (n,)
        The reduced loss in nats, summed in double precision. A logit of +inf is certain: the loss
        of its row is 0 or +inf. Several of them in a row leave no limit: NaN.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import softmax_cross_entropy
    >>> round(softmax_cross_entropy([[2.0, 4.0, 0.5]], [1]), 7)
    0.1531782
    """
    return softmax_cross_entropy_value_and_grad(
        logits,
        targets,
        sample_weight=sample_weight,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        reduction=reduction,
        n_threads=n_threads,
        out=LOSS_ONLY,
    )[0]


def softmax_cross_entropy_value_and_grad(
    logits,
    targets,
    *,
    sample_weight=None,
    class_weight=None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    n_threads: int | None = None,
    out=None,
) -> tuple[float | np.ndarray, np.ndarray]:
    """Softmax cross-entropy and its gradient with respect to the logits.

    The gradient of a row with targets t is T·softmax(s) − t with T = Σ t_c; a label y stands
    for the one-hot row.

    Parameters
    ----------
    logits, targets, sample_weight, class_weight
        As in :func:`softmax_cross_entropy`.
    label_smoothing, ignore_index, reduction, n_threads
        As in :func:`softmax_cross_entropy`.
    out : ndarray of shape (n, K), default=None
        Where the gradient goes: C-contiguous, of the dtype of logits; may be logits.
        Where targets are out of range, another array may have been filled in part.

    Returns
    -------
    loss : float or ndarray of shape (n,)
        The reduced loss in nats, summed in double precision.
    gradient : ndarray of shape (n, K)
        Gradient of the reduced loss; with "none", row i is that of its own loss.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import softmax_cross_entropy_value_and_grad
    >>> loss, gradient = softmax_cross_entropy_value_and_grad([[2.0, 4.0, 0.5]], [1])
    >>> round(loss, 7)
    0.1531782
    >>> gradient.round(3)
    array([[ 0.116, -0.142,  0.026]])
    """
    logits = check_logits(logits, 2)
    n, k = logits.shape
    targets = read_targets("targets", targets)
    check_apart(out, targets=targets, sample_weight=sample_weight)
    check_reduction(reduction)
    weight = check_row_weight(sample_weight, n, reduction)
    balance, unit = read_weight("class_weight", class_weight, k, reduction)
    targets, weight = without_ignored(targets, weight, ignore_index)
    labels = None
    effective = weight
    if targets.ndim == 1:
        labels, targets = check_labels(targets, n, k, n_threads), None
        if balance is not None:
            weight = effective = times(weight, balance[labels])
    else:
        check = dense_targets if balance is None else check_targets
        targets = check(targets, logits.shape, logits.dtype)
        if balance is not None:
            targets, share = class_weighted(targets, balance, unit)
            effective = times(weight, share)
    return evaluate(
        _kernels.Loss.SOFTMAX,
        (logits, labels, targets, None, weight, effective),
        (label_smoothing, reduction, n_threads, out),
    )


def multilabel_softmax_cross_entropy(
    logits,
    targets,
    *,
    sample_weight=None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    n_threads: int | None = None,
) -> float | np.ndarray:
    """Softmax cross-entropy of multi-label targets, each row divided by its number of labels.

    With M the observed non-zero targets of a row, the loss is that of
    :func:`softmax_cross_entropy` for the targets t/M: (1/M) Σ t_c (lse(s) − s_c).

    Parameters
    ----------
    logits : array-like of shape (n, K)
        Real scores; float32 is kept, anything else becomes float64.
    targets : array-like of shape (n, K)
        Non-negative: an indicator, or weights of the positive labels. NaN marks a missing
        entry: its label leaves the softmax of that row. A row without label has loss 0.
    sample_weight : array-like of shape (n,), default=None
        Non-negative row weights.
    label_smoothing : float, default=0.0
        ε in [0, 1]: after the division, t becomes (1 − ε)·t + ε·T/K, K counting the observed
        labels.
    reduction : {"mean", "sum", "none"}, default="mean"
        "mean" divides by the sum of the weights, "none" returns the weighted loss of each row.
    n_threads : int, default=None
        Threads; None takes as many as OpenMP allows. Results do not depend on it.

    Returns
    -------
    loss : float or ndarray of shape (n,)
        The reduced loss in nats, summed in double precision.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import multilabel_softmax_cross_entropy
    >>> round(multilabel_softmax_cross_entropy([[2.0, 4.0, 0.5]], [[1, 1, 0]]), 7)
    1.1531782
    """
    return multilabel_softmax_cross_entropy_value_and_grad(
        logits,
        targets,
        sample_weight=sample_weight,
        label_smoothing=label_smoothing,
        reduction=reduction,
        n_threads=n_threads,
        out=LOSS_ONLY,
    )[0]


def multilabel_softmax_cross_entropy_value_and_grad(
    logits,
    targets,
    *,
    sample_weight=None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    n_threads: int | None = None,
    out=None,
) -> tuple[float | np.ndarray, np.ndarray]:
    """The 1/M multi-label softmax cross-entropy and its gradient with respect to the logits.

    With M the observed non-zero targets of a row and T = Σ t_c, the gradient of the row is
    (T/M)·softmax(s) − t/M.

    Parameters
    ----------
    logits, targets, sample_weight, label_smoothing, reduction, n_threads
        As in :func:`multilabel_softmax_cross_entropy`.
    out : ndarray of shape (n, K), default=None
        Where the gradient goes: C-contiguous, of the dtype of logits; may be logits.
        Where targets are out of range, another array may have been filled in part.

    Returns
    -------
    loss : float or ndarray of shape (n,)
        The reduced loss in nats, summed in double precision.
    gradient : ndarray of shape (n, K)
        Gradient of the reduced loss; with "none", row i is that of its own loss.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    Examples
    --------
    >>> from skce.losses import multilabel_softmax_cross_entropy_value_and_grad as evaluate
    >>> loss, gradient = evaluate([[2.0, 4.0, 0.5]], [[1, 1, 0]])
    >>> round(loss, 7)
    1.1531782
    >>> gradient.round(3)
    array([[-0.384,  0.358,  0.026]])
    """
    logits = check_logits(logits, 2)
    check_reduction(reduction)
    weight = check_row_weight(sample_weight, len(logits), reduction)
    targets = read_targets("targets", targets)
    check_apart(out, targets=targets, sample_weight=sample_weight)
    targets = dense_targets(targets, logits.shape, logits.dtype)
    return evaluate(
        _kernels.Loss.MULTILABEL_SOFTMAX,
        (logits, None, targets, None, weight, weight),
        (label_smoothing, reduction, n_threads, out),
    )
