"""Cross-entropies of logits, fused with their gradients, and of probabilities.

Names, formulas and what other libraries call them: the page "Which cross-entropy is which".
In all of them rows are samples, a loss is summed over the classes or labels of a row, and
``reduction="mean"`` divides by the sum of the row weights.
"""

import numpy as np
from scipy import special

from skce import _kernels
from skce._arrays import (
    check_apart,
    check_class_weight,
    check_labels,
    check_logits,
    check_proba,
    check_row_weight,
    check_smoothing,
    check_targets,
    check_threads,
    reduction_divisor,
    workspace,
)

__all__ = [
    "binary_cross_entropy",
    "cross_entropy",
    "log_sigmoid",
    "log_softmax",
    "multilabel_softmax_cross_entropy",
    "multilabel_softmax_cross_entropy_value_and_grad",
    "sigmoid",
    "sigmoid_cross_entropy",
    "sigmoid_cross_entropy_value_and_grad",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_value_and_grad",
]


def class_weighted(targets, class_weight):
    """Return the targets times their class weights, and what that does to each row's mass."""
    mass = np.nansum(targets, axis=1)
    targets = targets * class_weight.astype(targets.dtype)
    share = np.ones(len(targets))
    np.divide(np.nansum(targets, axis=1), mass, out=share, where=mass > 0)
    return targets, share


def _evaluate(kind, inputs, options):
    """Run a kernel; effective are the weights of which "mean" takes the sum."""
    logits, labels, targets, pos_weight, weight, effective = inputs
    smoothing, reduction, threads, out = options
    divisor = reduction_divisor(reduction, effective)
    threads, smoothing = check_threads(threads), check_smoothing(smoothing)
    work = workspace(logits, out)
    if targets is not None:
        targets = np.ascontiguousarray(targets)
        targets = targets if targets.ndim == 2 else targets[:, None]
    losses = np.empty(len(work))
    _kernels.loss_and_residuals(
        kind,
        work if work.ndim == 2 else work[:, None],
        labels,
        targets,
        pos_weight,
        weight / divisor,
        smoothing,
        losses,
        threads,
    )
    return (losses if reduction == "none" else float(losses.sum())), work


def softmax_cross_entropy(
    logits,
    targets,
    *,
    sample_weight=None,
    class_weight=None,
    label_smoothing=0.0,
    reduction="mean",
    n_threads=None,
):
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
        Multiplies the loss of a row with a label, and the targets of a row otherwise; enters
        the divisor of the mean like the equivalent sample weight.
    label_smoothing : float, default=0.0
        ε in [0, 1]: targets become (1 − ε)·t + ε·T/K.
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

    See Also
    --------
    softmax_cross_entropy_value_and_grad : The same with the gradient.

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
        reduction=reduction,
        n_threads=n_threads,
    )[0]


def softmax_cross_entropy_value_and_grad(
    logits,
    targets,
    *,
    sample_weight=None,
    class_weight=None,
    label_smoothing=0.0,
    reduction="mean",
    n_threads=None,
    out=None,
):
    """Softmax cross-entropy and its gradient with respect to the logits.

    The gradient of a row with targets t is T·softmax(s) − t with T = Σ t_c; a label y stands
    for the one-hot row.

    Parameters
    ----------
    logits, targets, sample_weight, class_weight, label_smoothing, reduction, n_threads
        As in :func:`softmax_cross_entropy`.
    out : ndarray of shape (n, K), default=None
        Where the gradient goes: C-contiguous, of the dtype of logits; may be logits.

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

    See Also
    --------
    softmax_cross_entropy : The loss alone.

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
    targets = np.asarray(targets)
    check_apart(out, targets)
    weight = check_row_weight(sample_weight, n)
    balance = None if class_weight is None else check_class_weight("class_weight", class_weight, k)
    labels = None
    effective = weight
    if targets.ndim == 1:
        labels, targets = check_labels(targets, n, k), None
        if balance is not None:
            weight = effective = weight * balance[labels]
    else:
        targets = check_targets(targets, logits.shape, logits.dtype)
        if balance is not None:
            targets, share = class_weighted(targets, balance)
            effective = weight * share
    return _evaluate(
        _kernels.Loss.SOFTMAX,
        (logits, labels, targets, None, weight, effective),
        (label_smoothing, reduction, n_threads, out),
    )


def multilabel_softmax_cross_entropy(
    logits, targets, *, sample_weight=None, label_smoothing=0.0, reduction="mean", n_threads=None
):
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
        ε in [0, 1]: after the division, t becomes (1 − ε)·t + ε·T/K.
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

    See Also
    --------
    multilabel_softmax_cross_entropy_value_and_grad : The same with the gradient.

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
    )[0]


def multilabel_softmax_cross_entropy_value_and_grad(
    logits,
    targets,
    *,
    sample_weight=None,
    label_smoothing=0.0,
    reduction="mean",
    n_threads=None,
    out=None,
):
    """The 1/M multi-label softmax cross-entropy and its gradient with respect to the logits.

    With M the observed non-zero targets of a row and T = Σ t_c, the gradient of the row is
    (T/M)·softmax(s) − t/M.

    Parameters
    ----------
    logits, targets, sample_weight, label_smoothing, reduction, n_threads
        As in :func:`multilabel_softmax_cross_entropy`.
    out : ndarray of shape (n, K), default=None
        Where the gradient goes: C-contiguous, of the dtype of logits; may be logits.

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

    See Also
    --------
    multilabel_softmax_cross_entropy : The loss alone.

    Examples
    --------
    >>> from skce.losses import multilabel_softmax_cross_entropy_value_and_grad
    >>> loss, gradient = multilabel_softmax_cross_entropy_value_and_grad([[2.0, 4.0, 0.5]], [[1, 1, 0]])
    >>> round(loss, 7)
    1.1531782
    >>> gradient.round(3)
    array([[-0.384,  0.358,  0.026]])
    """
    logits = check_logits(logits, 2)
    weight = check_row_weight(sample_weight, len(logits))
    check_apart(out, targets)
    targets = check_targets(targets, logits.shape, logits.dtype)
    return _evaluate(
        _kernels.Loss.MULTILABEL_SOFTMAX,
        (logits, None, targets, None, weight, weight),
        (label_smoothing, reduction, n_threads, out),
    )


def sigmoid_cross_entropy(
    logits,
    targets,
    *,
    sample_weight=None,
    pos_weight=None,
    label_smoothing=0.0,
    reduction="mean",
    n_threads=None,
):
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
        The reduced loss in nats, summed in double precision.

    Raises
    ------
    ValueError
        If a shape, dtype or value does not fit.

    See Also
    --------
    sigmoid_cross_entropy_value_and_grad : The same with the gradient.

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
        pos_weight=pos_weight,
        label_smoothing=label_smoothing,
        reduction=reduction,
        n_threads=n_threads,
    )[0]


def sigmoid_cross_entropy_value_and_grad(
    logits,
    targets,
    *,
    sample_weight=None,
    pos_weight=None,
    label_smoothing=0.0,
    reduction="mean",
    n_threads=None,
    out=None,
):
    """Sigmoid (binary) cross-entropy and its gradient with respect to the logits.

    The gradient of an entry is (1 − t)·σ(s) − q·t·(1 − σ(s)), that is σ(s) − t without
    positive weight q.

    Parameters
    ----------
    logits, targets, sample_weight, pos_weight, label_smoothing, reduction, n_threads
        As in :func:`sigmoid_cross_entropy`.
    out : ndarray of shape (n, K) or (n,), default=None
        Where the gradient goes: C-contiguous, of the dtype of logits; may be logits.

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

    See Also
    --------
    sigmoid_cross_entropy : The loss alone.

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
    weight = check_row_weight(sample_weight, len(logits))
    check_apart(out, targets)
    targets = check_targets(targets, logits.shape, logits.dtype, upper=1)
    if pos_weight is not None:
        k = logits.shape[1] if logits.ndim == 2 else 1
        pos_weight = np.full(k, pos_weight) if np.ndim(pos_weight) == 0 else pos_weight
        pos_weight = check_class_weight("pos_weight", pos_weight, k).astype(logits.dtype)
    return _evaluate(
        _kernels.Loss.SIGMOID,
        (logits, None, targets, pos_weight, weight, weight),
        (label_smoothing, reduction, n_threads, out),
    )


def softmax(logits):
    """Softmax over the last axis.

    Parameters
    ----------
    logits : array-like of shape (..., K)
        Real scores; float32 is kept, anything else becomes float64.

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
    work = workspace(check_logits(logits, 1, None), None)
    if work.size:
        _kernels.softmax_inplace(work.reshape(-1, work.shape[-1]))
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
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = logits - logits.max(axis=-1, keepdims=True, initial=-np.inf)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def sigmoid(logits):
    """Sigmoid of each logit, 1 / (1 + exp(−s)).

    Parameters
    ----------
    logits : array-like
        Real scores; float32 is kept, anything else becomes float64.

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
    work = workspace(check_logits(logits, 0, None), None)
    _kernels.sigmoid_inplace(work.reshape(-1))
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
    weight = check_row_weight(sample_weight, len(losses))
    divisor = reduction_divisor(reduction, weight)
    if reduction == "mean":
        return float(np.average(losses, weights=weight)) if weight.any() else 0.0
    losses = weight * losses / divisor
    return losses if reduction == "none" else float(losses.sum())


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
        targets = np.eye(proba.shape[1], dtype=proba.dtype)[check_labels(targets, *proba.shape)]
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
