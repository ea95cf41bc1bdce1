"""The best labels of each row, without the scores of all."""

from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skce.losses._read import shown

__all__ = ["TopKMixin", "best_places"]


class TopKMixin:
    """Part of the base of the estimators."""

    classes_: Any
    _map_logits: Any
    _proba: Any

    def predict_top_k(self, X: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best labels of each row and their probabilities, best first.

        Rows are taken in blocks, so that memory holds k numbers of a row and not one for each
        label.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        k : int
            Number of labels, at most those of `classes_` that a training row shows.

        Returns
        -------
        labels : ndarray of shape (n_samples, k)
            Entries of `classes_`, in the order of the logits: which of equal ones comes first is
            not specified. Labels that no training row shows, all NaN, are left out.
        scores : ndarray of shape (n_samples, k)
            Their entries of `predict_proba`.

        Raises
        ------
        ValueError
            If X does not fit, or k is out of range.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skce import MultinomialLogistic
        >>> X, y = load_iris(return_X_y=True)
        >>> labels, scores = MultinomialLogistic(alpha=0.01).fit(X, y).predict_top_k(X[:1], 2)
        >>> labels
        array([[0, 1]])
        >>> scores.shape
        (1, 2)
        """
        check_is_fitted(self)
        observed = np.asarray(getattr(self, "_observed", True))  # one for two classes
        known = np.flatnonzero(np.broadcast_to(observed, self.classes_.shape))
        if not (isinstance(k, (int, np.integer)) and 1 <= k <= len(known)):
            raise ValueError(f"k must be an integer in 1..{len(known)}, got {shown(k)}.")
        best = self._map_logits(X, partial(self._best, int(k), known))
        return self.classes_[best["label"]], np.ascontiguousarray(best["score"])

    def _best(self, k, known, logits):
        """Return numbers and scores (n, k) of the best of the known labels."""
        proba = self._proba(logits)
        if logits.shape[1] < len(self.classes_):  # one logit for two classes
            logits = np.hstack([-logits, logits])
        best = best_places(k, known, logits)
        result = np.empty(best.shape, [("label", np.intp), ("score", proba.dtype)])
        result["label"], result["score"] = best, np.take_along_axis(proba, best, axis=1)
        return result


def best_places(k, known, logits):
    """Return the columns (n, k) of the largest logits among the known columns, largest first."""
    if len(known) < logits.shape[1]:
        logits = logits[:, known]
    # from the largest on: the end of rows with many equal logits takes several times as long
    best = np.argpartition(-logits, k - 1, axis=1)[:, :k] if 0 < k < logits.shape[1] else None
    of_best = logits[:, :k] if best is None else np.take_along_axis(logits, best, axis=1)
    order = np.argsort(-of_best, axis=1, kind="stable")
    return known[order if best is None else np.take_along_axis(best, order, axis=1)]
