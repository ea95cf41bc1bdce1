"""Log losses that scikit-learn has no metric for, and their scorers."""

import numpy as np
from scipy import sparse
from sklearn.metrics import make_scorer

from skce._arrays import check_proba, check_row_weight, check_targets, times
from skce.losses import binary_cross_entropy, cross_entropy

__all__ = [
    "multilabel_log_loss",
    "neg_multilabel_log_loss_scorer",
    "neg_soft_log_loss_scorer",
    "soft_log_loss",
]


def _prepared(y_true, y_proba, sample_weight):
    """Return dense targets and probabilities of one shape, clipped as log_loss does."""
    proba = check_proba(y_proba, "y_proba")
    if sparse.issparse(y_true):
        y_true = y_true.toarray()
    targets = check_targets(y_true, proba.shape, proba.dtype, upper=1, name="y_true")
    weight = times(check_row_weight(sample_weight, len(proba)), np.ones(len(proba)))
    if not weight.any():
        raise ValueError("sample_weight must not be zero for every row, or y_true empty.")
    eps = np.finfo(proba.dtype).eps
    return targets, np.clip(proba, eps, 1 - eps)


def multilabel_log_loss(y_true, y_proba, *, sample_weight=None):
    """Binary log loss summed over labels and averaged over rows.

    scikit-learn's log_loss takes an indicator too, and then ignores the negative labels: a model
    that predicts 1 everywhere gets a perfect score there.

    Parameters
    ----------
    y_true : {array-like, sparse matrix} of shape (n_samples, n_labels)
        Indicator, or values in [0, 1]; NaN marks a missing entry, which has loss 0.
    y_proba : array-like of shape (n_samples, n_labels)
        Probability of each label, clipped to [eps, 1 − eps] of its dtype as log_loss does.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights.

    Returns
    -------
    loss : float
        In nats; 0 is best.

    Raises
    ------
    ValueError
        If shapes or values do not fit.

    Examples
    --------
    >>> from skce.metrics import multilabel_log_loss
    >>> round(multilabel_log_loss([[1, 0]], [[0.9, 0.2]]), 7)
    0.3285041
    """
    targets, proba = _prepared(y_true, y_proba, sample_weight)
    return binary_cross_entropy(proba, targets, sample_weight=sample_weight)


def soft_log_loss(y_true, y_proba, *, sample_weight=None):
    """Cross-entropy of probabilities with respect to target probabilities, averaged over rows.

    Parameters
    ----------
    y_true : {array-like, sparse matrix} of shape (n_samples, n_classes)
        Target probabilities (or one-hot rows).
    y_proba : array-like of shape (n_samples, n_classes)
        Predicted probabilities, clipped to [eps, 1 − eps] of their dtype as log_loss does.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights.

    Returns
    -------
    loss : float
        In nats; the entropy of the targets is best.

    Raises
    ------
    ValueError
        If shapes or values do not fit.

    Examples
    --------
    >>> from skce.metrics import soft_log_loss
    >>> round(soft_log_loss([[0.5, 0.5]], [[0.9, 0.1]]), 7)
    1.2039728
    """
    targets, proba = _prepared(y_true, y_proba, sample_weight)
    return cross_entropy(proba, targets, sample_weight=sample_weight)


neg_multilabel_log_loss_scorer = make_scorer(
    multilabel_log_loss, greater_is_better=False, response_method="predict_proba"
)
neg_soft_log_loss_scorer = make_scorer(
    soft_log_loss, greater_is_better=False, response_method="predict_proba"
)
