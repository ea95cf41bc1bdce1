"""Temperatures of labels: calibration that scikit-learn has for classes alone."""

from typing import Any, Self

import numpy as np
from scipy import optimize
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.model_selection import KFold, check_cv
from sklearn.utils.validation import check_is_fitted

from skce._estimators.validation import check_rows, check_weights, multilabel_rows, read_y, rows_of
from skce.losses import sigmoid, sigmoid_cross_entropy

__all__ = ["LabelTemperature"]

RANGE = 10.0  # of the logarithm of a temperature, as in scikit-learn's temperature scaling


class LabelTemperature(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Calibrated probabilities of labels: the logits of each label divided by a temperature.

    A temperature is the one of the least binary cross-entropy on rows held out, whose logits come
    from fits of the others [1]_. The order of rows within a label and ``predict`` stay as they are.
    It is ``CalibratedClassifierCV(method="temperature", ensemble=False)``, which takes no
    indicators.

    Parameters
    ----------
    estimator : object
        A classifier of indicators (n, K) with ``decision_function``, such as
        `skce.MultiLabelLogistic`; a fitted one in ``sklearn.frozen.FrozenEstimator`` stays as it
        is, and the rows of `fit` should then be others than its own.
    cv : int or splitter, default=3
        Folds, which hold each row out once; an integer is that number of them, of shuffled rows
        with a random_state of 0.

    Attributes
    ----------
    estimator_ : object
        The estimator fitted to all rows.
    temperature_ : ndarray of shape (n_labels,)
        Above 1 where the logits are too large; 1 for a label without both values.
    classes_ : ndarray of shape (n_labels,)
        Those of the estimator.
    n_features_in_, feature_names_in_
        Those of the estimator, where it has them.

    See Also
    --------
    MultiLabelLogistic : The model; ``loss="softmax"`` has shares and no probabilities to calibrate.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural
       networks", ICML, 2017.

    Examples
    --------
    >>> from sklearn.datasets import make_multilabel_classification
    >>> from skce import LabelTemperature, MultiLabelLogistic
    >>> X, Y = make_multilabel_classification(random_state=0)
    >>> LabelTemperature(MultiLabelLogistic(alpha=1e-6)).fit(X, Y).predict_proba(X).shape
    (100, 5)
    """

    def __init__(self, estimator, *, cv=3):
        self.estimator = estimator
        self.cv = cv

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the estimator and the temperatures.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        y : {array-like, sparse matrix} of shape (n_samples, n_labels)
            Indicator, or values in [0, 1]; NaN marks a missing entry.
        sample_weight : array-like of shape (n_samples,), default=None
            Row weights, of the fits and of the temperatures.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If y is no indicator or does not fit X, or cv does not hold each row out once.
        """
        rows = read_y(y)
        check_rows(X, rows)
        if rows.ndim != 2:
            raise ValueError(
                f"y must be an indicator (n, K), got shape {rows.shape}; for classes scikit-learn "
                'has CalibratedClassifierCV(method="temperature").'
            )
        targets = multilabel_rows(rows, "bce", np.float64)
        weights = check_weights(sample_weight, targets.shape[0])
        logits = np.empty(targets.shape)
        for fitted, held in self._folds(targets.shape[0]):
            twin = clone(self.estimator)
            twin.fit(rows_of(X, fitted), rows[fitted], **_given(sample_weight, weights[fitted]))
            logits[held] = _logits(twin, rows_of(X, held), targets.shape[1])
        model = clone(self.estimator).fit(X, y, **_given(sample_weight, weights))
        self.temperature_ = np.array(
            [
                _temperature(logits[:, j], targets[:, [j]].toarray()[:, 0], weights)
                for j in range(targets.shape[1])
            ]
        )
        self.estimator_, self.classes_ = model, model.classes_
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))
        return self

    def _folds(self, n):
        cv = self.cv
        if isinstance(cv, (int, np.integer)):
            cv = KFold(cv, shuffle=True, random_state=0)
        folds = list(check_cv(cv).split(np.empty((n, 1))))
        times = np.bincount(np.concatenate([held for _, held in folds]), minlength=n)
        if (times != 1).any():
            raise ValueError(
                f"cv must hold each row out once, got row {np.argmax(times != 1)} "
                f"{times[times != 1][0]} times."
            )
        return folds

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the calibrated probabilities of the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_labels)
            The sigmoids of the logits divided by `temperature_`.
        """
        return sigmoid(self.decision_function(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits divided by `temperature_`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        logits : ndarray of shape (n_samples, n_labels)
            Calibrated logits.
        """
        check_is_fitted(self)
        return _logits(self.estimator_, X, len(self.temperature_)) / self.temperature_

    def predict(self, X):
        """Return the labels that the estimator gives.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        y : {ndarray, CSR matrix} of shape (n_samples, n_labels)
            Indicator, by the thresholds of the estimator.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.input_tags.sparse = True
        return tags


def _given(sample_weight, weights):
    return {} if sample_weight is None else {"sample_weight": weights}


def _logits(model, X, k):
    logits = np.asarray(model.decision_function(X))
    if logits.ndim != 2 or logits.shape[1] != k:
        raise ValueError(f"estimator must give logits (n, {k}), got shape {logits.shape}.")
    return logits


def _temperature(logits, y, weights):
    """Return the temperature of the least loss, 1 for a label of one value."""
    here = ~np.isnan(y) & (weights > 0)
    if not here.any() or y[here].min() == 1 or y[here].max() == 0:
        return 1.0

    def loss(log_temperature):
        scaled = logits[here] * np.exp(-log_temperature)
        return sigmoid_cross_entropy(scaled, y[here], sample_weight=weights[here])

    found = optimize.minimize_scalar(loss, bounds=(-RANGE, RANGE), method="bounded")
    return float(np.exp(found.x))
