"""Metrics of probabilities and of rankings that scikit-learn has not, and their scorers."""

import numpy as np
from scipy import sparse

from skce._estimators.thresholds import best_thresholds
from skce._estimators.validation import _Scorer
from skce.losses import binary_cross_entropy, cross_entropy
from skce.losses._checks import FINITE, check_proba, check_targets, float_array, some_row_weight
from skce.losses._read import read_targets, shown

__all__ = [
    "best_thresholds",
    "multilabel_log_loss",
    "ndcg_at_k",
    "ndcg_at_k_scorer",
    "neg_multilabel_log_loss_scorer",
    "neg_soft_log_loss_scorer",
    "precision_at_k",
    "precision_at_k_scorer",
    "recall_at_k",
    "recall_at_k_scorer",
    "soft_log_loss",
]

BLOCK = 1 << 20  # scores that are ranked at once


def _prepared(y_true, y_proba, sample_weight):
    """Return dense targets and probabilities of one shape, clipped as log_loss does."""
    proba = check_proba(y_proba, "y_proba")
    targets = check_targets(y_true, proba.shape, proba.dtype, upper=1, name="y_true")
    some_row_weight(sample_weight, len(proba))
    eps = np.finfo(proba.dtype).eps
    return targets, np.clip(proba, eps, 1 - eps)


def multilabel_log_loss(y_true, y_proba, *, sample_weight=None) -> float:
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
    return float(binary_cross_entropy(proba, targets, sample_weight=sample_weight))


def soft_log_loss(y_true, y_proba, *, sample_weight=None) -> float:
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
    return float(cross_entropy(proba, targets, sample_weight=sample_weight))


def precision_at_k(y_true, y_score, *, k: int = 5, sample_weight=None) -> float:
    """Share of true labels among the k labels of a row that score best, averaged over rows.

    Parameters
    ----------
    y_true : {array-like, sparse matrix} of shape (n_samples, n_labels)
        Indicator, or values in [0, 1]; NaN marks a missing entry, which is not ranked: of fewer
        than k observed labels the share is that of those.
    y_score : array-like of shape (n_samples, n_labels)
        Finite scores of any scale: logits, probabilities, shares. Labels that tie share their
        places, so that their order does not matter.
    k : int, default=5
        Number of labels, from 1 to n_labels.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights.

    Returns
    -------
    precision : float
        In [0, 1]; 1 is best. A row without an observed entry is left out.

    Raises
    ------
    ValueError
        If shapes or values do not fit, or no row with weight has an observed entry.

    Examples
    --------
    >>> from skce.metrics import precision_at_k
    >>> precision_at_k([[1, 0, 1, 0]], [[0.9, 0.8, 0.3, 0.1]], k=2)
    0.5
    """
    return _mean_at_k(_precisions, y_true, y_score, k, sample_weight)


def recall_at_k(y_true, y_score, *, k: int = 5, sample_weight=None) -> float:
    """Share of a row's true labels that are among the k that score best, averaged over rows.

    Parameters
    ----------
    y_true : {array-like, sparse matrix} of shape (n_samples, n_labels)
        Indicator, or values in [0, 1]; NaN marks a missing entry, which is not ranked.
    y_score : array-like of shape (n_samples, n_labels)
        Finite scores of any scale: logits, probabilities, shares. Labels that tie share their
        places, so that their order does not matter.
    k : int, default=5
        Number of labels, from 1 to n_labels.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights.

    Returns
    -------
    recall : float
        In [0, 1]; 1 is best. A row without labels has recall 0, as in scikit-learn's
        ``recall_score(average="samples")``; one without an observed entry is left out.

    Raises
    ------
    ValueError
        If shapes or values do not fit, or no row with weight has an observed entry.

    Examples
    --------
    >>> from skce.metrics import recall_at_k
    >>> recall_at_k([[1, 0, 1, 0]], [[0.9, 0.3, 0.8, 0.1]], k=2)
    1.0
    """
    return _mean_at_k(_recalls, y_true, y_score, k, sample_weight)


def ndcg_at_k(y_true, y_score, *, k: int = 5, sample_weight=None) -> float:
    """Normalised discounted cumulative gain of the k labels of a row that score best.

    The gain of a label is its entry of y_true, the discount of place r is 1/log2(r + 1) [1]_, and
    the sum is divided by that of the best order: scikit-learn's ``ndcg_score(k=k)``, for CSR,
    missing entries and many labels.

    Parameters
    ----------
    y_true : {array-like, sparse matrix} of shape (n_samples, n_labels)
        Indicator, or gains of 0 and more; NaN marks a missing entry, which is not ranked.
    y_score : array-like of shape (n_samples, n_labels)
        Finite scores of any scale: logits, probabilities, shares. Labels that tie share their
        places, so that their order does not matter.
    k : int, default=5
        Number of labels, from 1 to n_labels.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights.

    Returns
    -------
    ndcg : float
        In [0, 1]. A row without labels has 0, as in scikit-learn; one without an observed entry
        is left out.

    Raises
    ------
    ValueError
        If shapes or values do not fit, or no row with weight has an observed entry.

    References
    ----------
    .. [1] K. Järvelin and J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM
       Transactions on Information Systems 20, 2002.

    Examples
    --------
    >>> from skce.metrics import ndcg_at_k
    >>> round(ndcg_at_k([[1, 0, 1, 0]], [[0.9, 0.8, 0.3, 0.1]], k=3), 4)
    0.9197
    """
    return _mean_at_k(_ndcgs, y_true, y_score, k, sample_weight, upper=FINITE)


def _mean_at_k(measure, y_true, y_score, k, sample_weight, upper=1.0):
    """Return the weighted mean over the rows that have an observed entry, a block at a time."""
    scores = float_array("y_score", y_score)
    if scores.ndim != 2:
        raise ValueError(f"y_score must have shape (n_samples, n_labels), got {scores.shape}.")
    n, n_labels = scores.shape
    if not (isinstance(k, (int, np.integer)) and 1 <= k <= n_labels):
        raise ValueError(f"k must be an integer in 1..{n_labels}, got {shown(k)}.")
    targets = read_targets("y_true", y_true)
    if targets.shape != scores.shape:
        raise ValueError(f"y_true must have shape {scores.shape}, got {targets.shape}.")
    targets = targets.tocsr() if sparse.issparse(targets) else targets
    weight = some_row_weight(sample_weight, n)
    values, size = np.zeros(n), max(1, BLOCK // n_labels)
    for rows in (slice(first, first + size) for first in range(0, n, size)):
        ranked = np.array(scores[rows], np.float64)
        if not np.isfinite(ranked).all():
            raise ValueError("y_score must be finite, got NaN or infinity.")
        gains = check_targets(targets[rows], ranked.shape, np.float64, upper=upper, name="y_true")
        missing = np.isnan(gains)
        ranked[missing], gains = -np.inf, np.where(missing, 0, gains)
        observed = n_labels - missing.sum(axis=1)
        weight[rows][observed == 0] = 0
        values[rows] = measure(_gains_by_place(gains, ranked, k), gains, observed)
    if not weight.any():
        raise ValueError("y_true must have an observed entry in a row with weight, got none.")
    return float(np.average(values, weights=weight))


def _gains_by_place(gains, scores, k):
    """Return the gains (n, k) of the places 1 to k, labels of equal score sharing theirs."""
    n, n_labels = scores.shape
    best = np.argpartition(scores, n_labels - k, axis=1)[:, n_labels - k :]
    best = np.take_along_axis(
        best, np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1), axis=1
    )
    values, result = (np.take_along_axis(array, best, axis=1) for array in (scores, gains))
    tied = scores == values[:, -1:]  # with the last place, beyond it too
    last = np.divide(np.sum(gains * tied, axis=1), tied.sum(axis=1))
    result = np.where(values == values[:, -1:], last[:, np.newaxis], result)
    group = np.ones((n, k), bool)
    group[:, 1:] = values[:, 1:] != values[:, :-1]
    group = np.cumsum(group).reshape(n, k) - 1
    mean = np.bincount(group.ravel(), result.ravel()) / np.bincount(group.ravel())
    return mean[group]


def _precisions(placed, gains, observed):
    return placed.sum(axis=1) / np.maximum(np.minimum(placed.shape[1], observed), 1)


def _recalls(placed, gains, observed):
    return _ratio(placed.sum(axis=1), gains.sum(axis=1))


def _ndcgs(placed, gains, observed):
    k = placed.shape[1]
    discount = 1 / np.log2(np.arange(k) + 2)
    ideal = -np.sort(-np.partition(gains, gains.shape[1] - k, axis=1)[:, -k:], axis=1)
    return _ratio(placed @ discount, ideal @ discount)


def _ratio(part, whole):
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


class _ProbaScorer(_Scorer):
    """scikit-learn's scorer, but for its choice of one column where `classes_` has two entries."""

    def _score(self, method_caller, estimator, X, y_true, **kwargs):
        proba = self._scores(estimator, X)
        if isinstance(proba, list):  # of forests: both classes of each label
            proba = np.column_stack([of_label[:, -1] for of_label in proba])
        y_true = read_targets("y_true", y_true)
        if y_true.ndim == 1:
            y_true = y_true[:, np.newaxis]
        if y_true.shape[1] == 1 and proba.shape[1] == 2:  # one label, read as classes by fit
            proba = proba[:, 1:]
        return self._sign * self._score_func(y_true, proba, **{**self._kwargs, **kwargs})

    def _scores(self, estimator, X):
        return estimator.predict_proba(X)


class _RankScorer(_ProbaScorer):
    """The same for rankings, which logits tell apart where probabilities are all but 0 or 1."""

    def _scores(self, estimator, X):
        if not hasattr(estimator, "decision_function"):
            return super()._scores(estimator, X)
        scores = np.asarray(estimator.decision_function(X))
        return scores[:, np.newaxis] if scores.ndim == 1 else scores


neg_multilabel_log_loss_scorer = _ProbaScorer(multilabel_log_loss, -1, {}, "predict_proba")
neg_soft_log_loss_scorer = _ProbaScorer(soft_log_loss, -1, {}, "predict_proba")
precision_at_k_scorer = _RankScorer(precision_at_k, 1, {}, "decision_function")
recall_at_k_scorer = _RankScorer(recall_at_k, 1, {}, "decision_function")
ndcg_at_k_scorer = _RankScorer(ndcg_at_k, 1, {}, "decision_function")
