"""The classes of labels: which there are, the number of each label, the weights."""

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from skce.losses._checks import check_weight
from skce.losses._read import NUMBERS, first_missing, read_targets, shown

__all__ = [
    "class_numbers",
    "class_weights",
    "classes_of",
    "encode_labels",
    "read_classes",
    "same_classes",
    "union_of_classes",
]


def encode_labels(y, classes=None, least=2):
    """Return the classes of labels y (n,), at least so many, and the class number of each row."""
    known = classes is not None
    if known:
        labels_of(y)
    else:
        classes = classes_of(y)
    if len(classes) < least:
        got = f"one class, {shown(classes[0])}" if len(classes) else "none"
        raise ValueError(f"y must have at least 2 classes, got {got}.")
    if not known:
        two = len(classes) == 2
        return classes, (y == classes[1] if two else np.searchsorted(classes, y)).astype(np.int32)
    numbers = class_numbers(y, classes)
    if (numbers < 0).any():
        unseen = np.unique(y[numbers < 0])[:5].tolist()
        raise ValueError(
            f"y must hold classes that `classes` or the first call names, got {shown(unseen)}."
        )
    return classes, numbers


def labels_of(y, name="y"):
    """Return labels y (n,); raise unless it holds labels, none missing."""
    row = first_missing(y)
    if row is not None:
        raise ValueError(f"{name} must hold labels, got a missing value (NaN) in row {row}.")
    kinds = set(map(type, y)) if y.dtype == object else set()
    if not all(issubclass(kind, str) for kind in kinds):
        names = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"{name} must hold labels of one dtype, got objects of type {names}.")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(f"{name} must hold labels, got infinity.")
    return y


def classes_of(y, name="y", few=False):
    """Return the sorted classes of labels y (n,); raise unless it holds labels, none missing.

    That most differ is warned of, unless y is known to be `few`.
    """
    y = labels_of(y, name)
    classes, whole = _unique(y), y.dtype.kind in "biuUO"
    if y.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = (classes == classes.astype(np.int64)).all()
    if not whole or (2 * len(classes) > len(y) and not few):  # else it neither raises nor warns
        check_classification_targets(y)
    return classes


def _unique(y):
    """Return the sorted values of y; integers of a small range are counted, a sixth of the time."""
    if y.dtype.kind in "iu" and y.dtype.isnative and len(y):
        low, high = y.min(), y.max()
        if int(high) - int(low) <= len(y):  # differences may wrap around, and back
            above = np.subtract(y, low, dtype=np.intp, casting="unsafe")
            return np.flatnonzero(np.bincount(above)).astype(y.dtype) + low
    return np.unique(y)


def _alike(y, classes):
    return (y.dtype.kind in NUMBERS) == (classes.dtype.kind in NUMBERS)


def class_numbers(y, classes):
    """Return the number in the sorted classes of each label, −1 for others.

    Labels of another dtype are the same where their values are, compared without rounding.
    """
    same = np.ones(len(y), bool)
    if not _alike(y, classes):
        raise ValueError(
            f"y must hold labels like the classes, of dtype {classes.dtype}, got {y.dtype}."
        )
    if y.dtype.kind in NUMBERS and y.dtype != classes.dtype:
        with np.errstate(invalid="ignore"):
            cast = y.astype(classes.dtype)
            same = (cast.astype(y.dtype) == y) & ((cast < 0) == (y < 0))
        y = cast
    numbers = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    return np.where(same & (classes[numbers] == y), numbers, -1).astype(np.int32)


def union_of_classes(classes, others):
    """Return the sorted classes of both."""
    if not _alike(others, classes):
        class_numbers(others, classes)  # raises
    return np.union1d(classes, others)


def read_classes(classes):
    """Return the sorted classes that partial_fit is told of, None for none."""
    if classes is None:
        return None
    classes = read_targets("classes", classes)
    if classes.ndim != 1:
        raise ValueError(f"classes must have shape (n_classes,), got {classes.shape}.")
    return classes_of(classes, "classes", few=True)


def same_classes(classes, others):
    """Return whether two arrays of sorted classes are equal."""
    if len(classes) != len(others) or not _alike(classes, others):
        return False
    return np.array_equal(class_numbers(classes, others), np.arange(len(others)))


def class_weights(class_weight, classes, counts):
    """Return the weight of each class; unseen ones get 1 from "balanced"."""
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, str):
        seen = counts > 0
        with np.errstate(over="ignore"):
            balanced = counts.sum() / (seen.sum() * np.where(seen, counts, 1))
        if not np.isfinite(balanced).all():
            raise ValueError('sample_weight must not vanish in a class for "balanced", got ~0.')
        return np.where(seen, balanced, 1.0)
    names = classes.tolist()
    unknown = [c for c in class_weight if c not in names]
    if unknown and any(c not in class_weight for c in names):
        raise ValueError(f"class_weight must name classes of y, got {unknown}.")
    return check_weight("class_weight", [class_weight.get(c, 1.0) for c in names], len(names))
