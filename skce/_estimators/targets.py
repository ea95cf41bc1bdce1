"""What an estimator does with y beside fitting it: its classes, its label names, the score."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skce._estimators.classes import (
    class_numbers,
    classes_of,
    read_classes,
    same_classes,
    union_of_classes,
)
from skce._estimators.validation import (
    check_rows,
    check_weights,
    column_names,
    is_label_column,
    label_column,
    read_y,
)
from skce.losses._read import shown

__all__ = ["TargetsMixin", "balanced_pos_weight", "constant_labels", "label_values", "listed"]

MOST_NAMED = 5  # labels in a warning


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
                "y must have the label columns of the first call in their order, "
                f"{shown(list(before))}, got {shown(list(names))}."
            )
        return names if before is None else before

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
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


def balanced_pos_weight(counts, dtype):
    """Return negatives over positives of each label; counts are positives, then all observed."""
    positives, observed = np.split(counts, 2)
    negatives = observed - positives
    mixed = np.minimum(positives, negatives) > 1e-12 * observed  # above rounding
    with np.errstate(over="ignore"):
        ratio = np.divide(negatives, positives, out=np.ones(len(mixed)), where=mixed).astype(dtype)
    if not np.isfinite(ratio).all():
        raise ValueError('sample_weight must not vanish in a label for "balanced", got ~0.')
    return ratio


def label_values(targets, weights):
    """Return how many rows with a weight have CSR targets (n, K) on, and at 1: (2, K)."""
    n, k = targets.shape
    live = (weights > 0)[np.repeat(np.arange(n), np.diff(targets.indptr))]
    on, full = targets.data > 0, targets.data == 1
    return np.array([np.bincount(targets.indices, live & each, k) for each in (on, full)])


def constant_labels(values, observed, names, loss):
    """Return a sentence that names the labels of one value in all rows, None for none.

    `values` are their `label_values`; observed counts their observed rows with a weight.
    """
    on, full = values
    kinds = {
        "never on": (on == 0) & (observed > 0),
        "always on": (full == observed) & (observed > 0) & (loss == "bce"),
        "never observed": observed == 0,
    }
    parts = [f"{kind}: {listed(names[chosen])}" for kind, chosen in kinds.items() if chosen.any()]
    return f"y has labels of one value in all rows, {'; '.join(parts)}." if parts else None


def listed(names):
    """Return the first names of some, and how many more there are."""
    listed = ", ".join(map(repr, names[:MOST_NAMED].tolist()))
    return listed + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
