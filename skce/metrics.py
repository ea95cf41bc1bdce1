"""Log losses that scikit-learn has no metric for, and their scorers."""

import numpy as np

from skce._estimators.validation import _Scorer
from skce.losses import binary_cross_entropy, cross_entropy
from skce.losses._checks import check_proba, check_row_weight, check_targets, times
from skce.losses._read import read_targets

__all__ = [
    "multilabel_log_loss",
    "neg_multilabel_log_loss_scorer",
    "neg_soft_log_loss_scorer",
    "soft_log_loss",
]


def _prepared(y_true, y_proba, sample_weight):
    """Return dense targets and probabilities of one shape, clipped as log_loss does."""
    proba = check_proba(y_proba, "y_proba")
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
        Target probabilities (or one-hot rows), as `y_proba` with rows that sum to 1 within 1e-3.
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
    if np.isnan(targets).any():
        raise ValueError("y_true must not hold NaN: probabilities cannot lose a class.")
    for name, rows in (("y_true", targets), ("y_proba", proba)):
        wrong = np.flatnonzero(np.abs(rows.sum(axis=1, dtype=np.float64) - 1) > 1e-3)
        if len(wrong):
            raise ValueError(
                f"{name} must have rows that sum to 1 within 1e-3, got {rows[wrong[0]].sum():.6g} "
                f"in row {wrong[0]}; several labels a row are for multilabel_log_loss."
            )
    return cross_entropy(proba, targets, sample_weight=sample_weight)


class _ProbaScorer(_Scorer):
    """scikit-learn's scorer, but for its choice of one column where `classes_` has two entries."""

    def _score(self, method_caller, estimator, X, y_true, **kwargs):
        proba = estimator.predict_proba(X)
        if isinstance(proba, list):  # of forests: both classes of each label
            proba = np.column_stack([of_label[:, -1] for of_label in proba])
        y_true = read_targets("y_true", y_true)
        if y_true.ndim == 1:
            y_true = y_true[:, np.newaxis]
        if y_true.shape[1] == 1 and proba.shape[1] == 2:  # one label, read as classes by fit
            proba = proba[:, 1:]
        return self._sign * self._score_func(y_true, proba, **self._kwargs, **kwargs)


neg_multilabel_log_loss_scorer = _ProbaScorer(multilabel_log_loss, -1, {}, "predict_proba")
neg_soft_log_loss_scorer = _ProbaScorer(soft_log_loss, -1, {}, "predict_proba")
