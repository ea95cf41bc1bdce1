"""What a fitted multi-label model says: logits, probabilities or shares, labels."""

from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from skce._estimators.predict import best_class
from skce._estimators.targets import TargetsMixin
from skce._estimators.top_k import best_places
from skce._estimators.validation import multilabel_rows
from skce.losses import log_sigmoid, log_softmax, sigmoid, softmax

__all__ = ["LabelPredictionsMixin"]


class LabelPredictionsMixin(TargetsMixin):
    """Part of `MultiLabelLogistic`; `_form` is None where y had one dimension."""

    loss: str
    threshold: Any
    top_k: Any
    share_threshold_: float
    threshold_: Any
    _form: Any
    _observed: Any
    _map_logits: Any
    _vector: Any
    _validate_params: Any
    _check_threshold: Any

    def _shared(self, k, form):
        """Tell whether k outputs share one softmax; two labels of one dimension are a sigmoid."""
        return self.loss == "softmax" and (form is not None or k > 1)

    def _shares(self, logits):
        """Return the probabilities or shares (n, k)."""
        if self._shared(logits.shape[1], self._form):
            return softmax(logits)
        limits = np.finfo(logits.dtype)
        return np.clip(sigmoid(logits), limits.tiny, 1 - limits.epsneg)

    def _labels(self, logits):
        """Return the best label (n,), or for a fitted indicator that of the labels (n, k)."""
        if self._form is None:
            return best_class(logits) if len(self.classes_) > 1 else np.zeros(len(logits), int)
        threshold = self._thresholds(logits.dtype)
        on = logits > 0 if threshold is None else self._shares(logits) > threshold
        return on & self._observed

    def _check_rule(self, k, form, dtype):
        """Raise where threshold or top_k is not for k labels or, form being None, for classes."""
        for name in ("threshold", "top_k"):
            value = getattr(self, name)
            if form is None and value is not None:
                raise ValueError(f"{name} must be None where y has one dimension, got {value!r}.")
        if not isinstance(self.threshold, str):
            self._vector("threshold", k, dtype)
        if self.top_k is not None and self.top_k > k:
            raise ValueError(f"top_k must be at most the {k} labels of y, got {self.top_k}.")

    def _thresholds(self, dtype):
        """Return the thresholds of the labels, None for logits of 0."""
        if self.threshold is None and self.loss == "softmax":
            return np.full(1, self.share_threshold_, dtype)
        if not isinstance(self.threshold, str):
            return self._vector("threshold", len(self.classes_), dtype)
        if self.threshold != "f1" or not hasattr(self, "threshold_"):
            raise ValueError(
                f"threshold must be numbers, None or 'f1' before fit, got {self.threshold!r} after."
            )
        return self.threshold_.astype(dtype, copy=False)

    def _on(self, X):
        """Return the labels as CSR (n, K), of which no more than a block of rows is dense."""
        blocks = []

        def add(logits):
            blocks.append(sparse.csr_array(self._labels(logits)))
            return logits[:, :0]

        self._map_logits(X, add)
        return sparse.vstack(blocks, format="csr")

    def _top_labels(self, X, k):
        """Return an indicator (n, K) of the k best labels that are observed, in dtype bool."""
        known = np.flatnonzero(self._observed)
        best = self._map_logits(X, partial(best_places, min(k, len(known)), known))
        n, k = best.shape
        indptr = np.arange(0, n * k + 1, k) if k else np.zeros(n + 1, int)
        ones = np.ones(n * k, bool)
        return sparse.csr_array((ones, np.sort(best).ravel(), indptr), (n, len(self.classes_)))

    def _is_right(self, predicted, y):
        if self._form is None:
            return super()._is_right(predicted, y)
        if y.ndim != 2 or y.shape[1] != len(self.classes_):
            raise ValueError(
                f"y must be an indicator of {len(self.classes_)} labels, got shape {y.shape}."
            )
        rows = multilabel_rows(y, self.loss, np.float64)
        wrong = np.flatnonzero(rows.data != 1)
        if len(wrong):
            row = np.searchsorted(rows.indptr, wrong[0], "right") - 1
            raise ValueError(
                f"y must hold 0 and 1 alone in score, got {rows.data[wrong[0]]} in row {row}."
            )
        return (rows != sparse.csr_array(predicted, dtype=np.float64)).sum(axis=1) == 0

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        logits : ndarray of shape (n_samples, n_labels) or (n_samples,)
            (n_samples,) if fitted on two labels of one dimension.
        """
        logits = self._map_logits(X, np.asarray)
        return logits.ravel() if self._form is None and logits.shape[1] == 1 else logits

    def predict(self, X: Any) -> Any:
        """Return the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        y : {ndarray, CSR matrix} of shape (n_samples, n_labels), or ndarray of shape (n_samples,)
            Indicator in the form of the fitted y, or the best label.
        """
        check_is_fitted(self)
        if self._form is None:
            return self.classes_[self._map_logits(X, self._labels)]
        dtype, container = self._form
        if self.top_k is None:
            labels = self._map_logits(X, self._labels) if container is None else self._on(X)
            labels = labels if container is None else getattr(sparse, container)(labels)
        else:
            self._validate_params()  # it may have been set after fit
            self._check_threshold()
            self._check_rule(len(self.classes_), self._form, np.float64)
            labels = self._top_labels(X, self.top_k)
            labels = labels.toarray() if container is None else getattr(sparse, container)(labels)
        return labels.astype(dtype)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities ("bce") or shares ("softmax") of the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_labels)
            For "bce" strictly between 0 and 1 (clipped there), each label by itself; for "softmax"
            rows sum to 1, which makes them no probabilities of a label. Labels of one dimension:
            rows sum to 1.
        """
        return self._map_logits(X, self._proba)

    def _proba(self, logits):
        if self._form is None and len(self.classes_) == 1:
            return np.ones_like(logits)
        if self._form is None and logits.shape[1] == 1:
            return np.hstack([self._shares(-logits), self._shares(logits)])
        shares = self._shares(logits)
        if self._form is not None or self.loss == "softmax":
            return shares
        return shares / shares.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of `predict_proba`, from the logits: never −inf.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_labels)
            In nats.
        """
        return self._map_logits(X, self._log_proba)

    def _log_proba(self, logits):
        if self._form is None and len(self.classes_) == 1:
            return np.zeros_like(logits)
        if self._shared(logits.shape[1], self._form):
            return log_softmax(logits)
        if self._form is not None:
            return log_sigmoid(logits)
        if logits.shape[1] == 1:
            return log_sigmoid(logits * np.array([-1, 1], logits.dtype))
        return log_softmax(log_sigmoid(logits))
