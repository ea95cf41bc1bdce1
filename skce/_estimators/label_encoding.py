"""How y of the multi-label model becomes targets and counts."""

from typing import Any

import numpy as np
from scipy import sparse

from skce import _kernels
from skce._estimators.classes import encode_labels, same_classes
from skce._estimators.encoded import Encoded
from skce._estimators.targets import (
    TargetsMixin,
    balanced_pos_weight,
    constant_labels,
    label_values,
)
from skce._estimators.validation import (
    check_rows,
    is_label_column,
    label_column,
    label_rows,
    multilabel_rows,
    read_y,
)
from skce.losses._checks import check_entry_weight, float_array

__all__ = ["LabelEncodingMixin", "form_of"]


class LabelEncodingMixin(TargetsMixin):
    """Part of `MultiLabelLogistic`; `_form` is None where y had one dimension."""

    loss: str
    pos_weight: Any
    _form: Any
    _check_rule: Any
    _shared: Any

    def _encode(self, X, y, weights, known, seen, entry_weight=None):
        container = None
        if sparse.issparse(y):  # by name: these attributes are saved
            matrix = isinstance(y, sparse.spmatrix) and y.format == "csr"
            container = "csr_matrix" if matrix else "csr_array"
        names = self._column_names(y, reset=known is None)
        y = read_y(y)
        check_rows(X, y)
        form = None if known is None else getattr(self, "_form", None)
        if form is None and is_label_column(y):
            y = label_column(y)
        if entry_weight is not None and (y.ndim == 1 or self.loss == "softmax"):
            raise ValueError('entry_weight must be None for loss="softmax" and y of one dimension.')
        if y.ndim == 1:
            names = None
            classes, labels = encode_labels(
                y, known, 1 if known is not None and self.allow_new_classes else 2
            )
            k = 1 if len(classes) <= 2 else len(classes)
            targets, form = label_rows(labels, k, X.dtype), None
        else:
            targets = multilabel_rows(y, self.loss, X.dtype)
            entry_weight = check_entry_weight(entry_weight, targets.shape, X.dtype)
            targets = without_entries(targets, entry_weight)
            k = targets.shape[1]
            classes = np.arange(k)
            if known is not None and not same_classes(known, classes):
                raise ValueError(f"y must have a column for each label {known}, got {k}.")
            form = form_of(y, container)
        if known is not None and hasattr(self, "_form") and (self._form is None) != (form is None):
            raise ValueError("y must have the form of the first call, labels or an indicator.")
        kind = _kernels.Loss.MULTILABEL_SOFTMAX if self._shared(k, form) else _kernels.Loss.SIGMOID
        counts = label_counts(targets, weights, seen, entry_weight)
        attributes = {"classes_": classes, "label_names_": names, "_form": form}
        attributes |= self._told_by(counts, k)
        if self.pos_weight is not None and self.loss == "softmax":
            raise ValueError('pos_weight must be None for loss="softmax".')
        if isinstance(self.pos_weight, str):
            pos_weight = balanced_pos_weight(counts[4 + k :], X.dtype)
        else:
            pos_weight = self._vector("pos_weight", k, X.dtype)
        self._check_rule(k, form, X.dtype)
        notice = None
        if form is not None:
            names = classes if names is None else names
            values = label_values(targets, weights)
            notice = constant_labels(values, counts[4 : 4 + k], names, self.loss)
        return Encoded(
            *(X, kind, targets, k, weights, counts, attributes, pos_weight, notice),
            entry_weight=entry_weight,
        )

    def _told_by(self, counts, k):
        """Return the attributes that the counts of all rows tell."""
        mean_labels = float(counts[2] / (counts[3] or 1.0))
        told = {"mean_labels_": mean_labels, "_observed": counts[4 : 4 + k] > 0}
        if self.loss == "softmax":
            told["share_threshold_"] = 0.5 / mean_labels if mean_labels else 1.0
        return told

    def _grown_counts(self, counts, places, k):
        rows, positives, entries = counts[4:].reshape(3, -1)
        if self._form is not None:
            grown = np.zeros((3, k))
            grown[:, places] = rows, positives, entries
            return np.append(counts[:4], grown)
        if len(positives) < len(places):  # one output for two classes
            positives = np.append(entries - positives, positives)
        elif len(places) == 1:  # all rows were of this class
            positives = entries
        of_each = np.zeros(k)
        of_each[places] = positives
        grown = np.empty((3, 1 if k == 2 else k))  # every row tells of every class
        grown[0], grown[1], grown[2] = rows[0], of_each[-grown.shape[1] :], entries[0]
        return np.append(counts[:4], grown)

    def _scaled_counts(self, counts, power):
        scaled, k = np.ldexp(counts, power), (len(counts) - 4) // 3
        scaled[4 : 4 + k] = counts[4 : 4 + k]  # of rows, whatever they weigh
        return scaled

    def _vector(self, name, k, dtype):
        """Return a parameter that is None, a number or one number for each label, as an array."""
        value = getattr(self, name)
        if value is None:
            return None
        value = float_array(name, value)
        if value.shape not in ((), (k,)):
            raise ValueError(f"{name} must be a number or {k} of them, got {value}.")
        with np.errstate(over="ignore"):
            value = value.astype(dtype)
        if not np.isfinite(value).all():
            raise ValueError(f"{name} must be finite, got {value}.")
        if name == "pos_weight" and (value < 0).any():
            raise ValueError(f"pos_weight must not be negative, got {value.min()}.")
        return np.array(np.broadcast_to(value, (k,)))


def form_of(y, container):
    """Return the dtype and the container of predictions, of an indicator y: "int64" for shares."""
    values = y.data if sparse.issparse(y) else y
    whole = values.dtype.kind != "f" or (values == np.floor(values)).all()
    return (str(values.dtype) if whole else "int64", container)


def without_entries(targets, entry_weight):
    """Return CSR targets (n, k) in which entries of weight 0 are missing: NaN."""
    if entry_weight is None or entry_weight.all():
        return targets
    gaps = sparse.csr_array((entry_weight == 0).astype(targets.dtype))
    gaps.data[:] = np.nan
    return targets + gaps


def label_counts(targets, weights, seen, entry_weight=None):
    """Return weighted sums over the rows of CSR targets and those `seen` before.

    Of a row with a labels in o observed entries: pairs of labels, a (a − 1), and pairs of a label
    and an entry, a (o − 1), whose ratio is the rate at which entries beside a label are on; then a,
    and a / M, M being a and that rate of the missing entries. A target above 1 counts as 1. Then,
    for each label, the rows with a weight in which it was observed, and with the weights of entries
    its positives and its observed entries.
    """
    n, k = targets.shape
    rows, live = np.repeat(np.arange(n), np.diff(targets.indptr)), weights > 0
    on, gone = np.minimum(np.nan_to_num(targets.data), 1), np.isnan(targets.data)
    labels, squares, holes = (np.bincount(rows, entry, n) for entry in (on, on**2, gone))
    sums = np.zeros(4 + 3 * k) + seen
    sums[0] += weights @ (labels**2 - squares)
    sums[1] += weights @ (labels * (k - 1 - holes))
    total = labels + holes * (sums[0] / (sums[1] or 1))
    sums[2] += weights @ labels
    sums[3] += weights @ np.divide(labels, total, out=np.zeros(n), where=labels > 0)
    sums[4 : 4 + k] += live.sum() - np.bincount(targets.indices, gone & live[rows], k)
    of_each, total = weights[rows], weights.sum()
    if entry_weight is not None:
        of_each, total = of_each * entry_weight[rows, targets.indices], weights @ entry_weight
    sums[4 + k : 4 + 2 * k] += np.bincount(targets.indices, on * of_each, k)
    sums[4 + 2 * k :] += total - np.bincount(targets.indices, gone * of_each, k)
    return sums
