"""What an estimator does with y beside fitting it: its classes, its label names, the score."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skce._estimators.validation import (
    check_rows,
    check_weights,
    class_numbers,
    classes_of,
    column_names,
    is_label_column,
    label_column,
    read_classes,
    read_y,
    same_classes,
    union_of_classes,
)

__all__ = ["TargetsMixin"]


class TargetsMixin:
    """Part of the base of the estimators."""

    allow_new_classes: bool
    classes_: Any
    predict: Any

    def _known(self, classes, first):
        """Return the classes of partial_fit, None if y is to tell."""
        given = read_classes(classes)
        if first:
            return given
        if given is not None and self.allow_new_classes:
            return union_of_classes(self.classes_, given)
        if given is not None and not same_classes(given, self.classes_):
            raise ValueError(
                f"classes must be those of the first call, {self.classes_}, got {given}."
            )
        return self.classes_

    def _widened(self, known, y):
        """Return the classes known so far and those of y; None where a first y is to tell."""
        if y.ndim == 1 or (known is None and is_label_column(y)):
            found = classes_of(y.ravel(), few=True)
            return found if known is None else union_of_classes(known, found)
        if known is None or getattr(self, "_form", True) is None or y.shape[1] <= len(known):
            return known
        return np.arange(y.shape[1])

    def _column_names(self, y, reset):
        """Return the names of the label columns, None for none; raise unless those of fit."""
        names = column_names(y)
        before = None if reset else getattr(self, "label_names_", None)
        if names is not None and before is not None and self.allow_new_classes:
            before = [*before, *names[len(before) :]]
        if names is not None and before is not None and list(names) != list(before):
            raise ValueError(
                f"y must have the label columns of the first call in their order, {list(before)}, "
                f"got {list(names)}."
            )
        return names if before is None else before

    def score(self, X, y, sample_weight=None):
        """Return the accuracy: the share of rows whose labels are all predicted.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_classes)
            Targets in one of the forms of `fit`; of a row of probabilities the largest counts, and
            an indicator has no missing or fractional entries.
        sample_weight : array-like of shape (n_samples,), default=None
            Row weights.

        Returns
        -------
        accuracy : float
            Weighted share of rows predicted right.
        """
        check_is_fitted(self)
        self._column_names(y, reset=False)
        y = read_y(y)
        predicted = self.predict(X)
        check_rows(predicted, y)
        right = self._is_right(predicted, y)
        return float(np.average(right, weights=check_weights(sample_weight, len(right))))

    def _is_right(self, predicted, y):
        """Return which rows are predicted right; here for labels."""
        if y.ndim == 2:
            y = label_column(y)
        classes_of(y, few=True)
        numbers = class_numbers(y, self.classes_)
        return (numbers >= 0) & (self.classes_[numbers] == predicted)
