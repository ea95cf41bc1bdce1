"""Predictions of Dask collections, which are made when they are computed."""

from typing import Any

import dask
import dask.array as da
import numpy as np
from sklearn.utils.validation import check_is_fitted

from skce._estimators.validation import check_rows, check_weights, read_y
from skce.dask._fitting import partitions_of

__all__ = ["LazyMixin"]


class LazyMixin:
    """Part of the estimators of `skce.dask`: what they say of a collection is a dask array."""

    to_local: Any
    n_features_in_: int

    def decision_function(self, X):
        """Return the logits, for a Dask collection lazily.

        Parameters
        ----------
        X : {dask array, dask dataframe, array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        logits : {dask array, ndarray} of shape (n_samples,) or (n_samples, n_classes)
            As of the plain estimator.
        """
        return self._mapped("decision_function", X)

    def predict(self, X):
        """Return the labels, for a Dask collection lazily.

        Parameters
        ----------
        X : {dask array, dask dataframe, array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        y : {dask array, ndarray, CSR matrix} of shape (n_samples,) or (n_samples, n_classes)
            As of the plain estimator.
        """
        return self._mapped("predict", X)

    def predict_proba(self, X):
        """Return the probabilities, for a Dask collection lazily.

        Parameters
        ----------
        X : {dask array, dask dataframe, array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        proba : {dask array, ndarray} of shape (n_samples, n_classes)
            As of the plain estimator.
        """
        return self._mapped("predict_proba", X)

    def predict_log_proba(self, X):
        """Return the logarithms of the probabilities, for a Dask collection lazily.

        Parameters
        ----------
        X : {dask array, dask dataframe, array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        log_proba : {dask array, ndarray} of shape (n_samples, n_classes)
            In nats.
        """
        return self._mapped("predict_log_proba", X)

    def predict_top_k(self, X, k):
        """Return the k best labels of each row and their probabilities, best first.

        Parameters
        ----------
        X : {dask array, dask dataframe, array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        k : int
            Number of labels, at most those of `classes_` that a training row shows.

        Returns
        -------
        labels : {dask array, ndarray} of shape (n_samples, k)
            Entries of `classes_`; for a Dask collection lazily.
        scores : {dask array, ndarray} of shape (n_samples, k)
            Their entries of `predict_proba`.
        """
        if not is_collection(X):
            return self.to_local().predict_top_k(X, k)
        both = self._mapped("predict_top_k", X, k)
        return both["label"], both["score"]

    def score(self, X, y, sample_weight=None):
        """Return the accuracy: the share of rows whose labels are all predicted.

        Parameters
        ----------
        X : {dask array, dask dataframe, array-like, sparse matrix} of shape (n_samples, n_features)
            Features; the score of a Dask collection is computed at once.
        y : {dask array, dask dataframe, array-like} of shape (n_samples,) or (n_samples, n_classes)
            Targets in one of the forms of `fit`.
        sample_weight : {dask array, array-like} of shape (n_samples,), default=None
            Row weights.

        Returns
        -------
        accuracy : float
            Weighted share of rows predicted right.
        """
        if not is_collection(X):
            return self.to_local().score(X, y, sample_weight)
        check_is_fitted(self)
        model = dask.delayed(self.to_local())
        rows = zip(*partitions_of(X, y=y, sample_weight=sample_weight), strict=True)
        found = dask.compute([dask.delayed(_right)(model, *each) for each in rows])[0]
        right, total = np.sum(found, axis=0)
        if not total:
            raise ValueError("sample_weight must leave a row with weight, got zeros alone.")
        return float(right / total)

    def _mapped(self, method, X, *args):
        """Return what a method of the plain estimator says of X."""
        model = self.to_local()
        if not is_collection(X):
            return getattr(model, method)(X, *args)
        check_is_fitted(self)
        dtype = X.dtype if isinstance(X, da.Array) else np.float64
        names = model.__dict__.pop("feature_names_in_", None)
        like = _call(np.zeros((1, self.n_features_in_), dtype), model, method, args, None)[:0]
        if names is not None:
            model.feature_names_in_ = names
        given: dict = {"model": dask.delayed(model), "method": method, "args": args, "like": like}
        if not isinstance(X, da.Array):
            return X.map_partitions(_call, **given, meta=like)
        if X.numblocks[1] > 1:
            X = X.rechunk({1: -1})
        shape = {"drop_axis": 1} if like.ndim == 1 else {"chunks": (X.chunks[0], like.shape[1:])}
        return X.map_blocks(_call, **given, **shape, meta=like, dtype=like.dtype)


def is_collection(X):
    """Return whether X is a Dask collection."""
    return dask.is_dask_collection(X)


def _call(X, model, method, args, like):
    """Return what a method says of a block, which may be empty."""
    if not X.shape[0]:
        return like
    found = getattr(model, method)(X, *args)
    if not isinstance(found, tuple):
        return found
    labels, scores = found
    both = np.empty(labels.shape, [("label", labels.dtype), ("score", scores.dtype)])
    both["label"], both["score"] = found
    return both


def _right(model, X, y, sample_weight):
    """Return the weight of the rows predicted right, and of all."""
    y = read_y(y)
    check_rows(X, y)
    if not y.shape[0]:
        return 0.0, 0.0
    weights = check_weights(sample_weight, y.shape[0], relative=False, allow_all_zero=True)
    return float(weights @ model._is_right(model.predict(X), y)), float(weights.sum())
