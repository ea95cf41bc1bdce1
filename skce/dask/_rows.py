"""The rows of a partition, where they are: read and checked, encoded, and made a part of a problem.

Functions here run on the workers and return what lies there, or facts for the driver.
"""

import pickle
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone

from skce._estimators.classes import classes_of
from skce._estimators.encoded import Encoded
from skce._estimators.label_encoding import form_of
from skce._estimators.parts_fitting import TABLE_BYTES, itself
from skce._estimators.targets import label_values
from skce._estimators.thresholds import labelled
from skce._estimators.validation import check_rows, check_X, column_names, label_rows, read_y
from skce._solvers.columns import draw_entries
from skce._solvers.part import Part
from skce._solvers.problem import Problem
from skce._solvers.seen import positives
from skce.dask._rounds import packed
from skce.losses._checks import check_weight
from skce.losses._read import NUMBERS

__all__ = [
    "Plan",
    "Rows",
    "count",
    "count_labelled",
    "encode",
    "labelled_proba",
    "look",
    "part_of",
    "read",
    "tell",
]


class Kept:
    """What lies on a worker; another one gets it with arrays that begin where NumPy's begin."""

    def __reduce__(self):
        return _unpacked, (type(self), packed(self.state()))

    rows: Any  # a method that returns X

    def state(self):
        """Return what is sent."""
        return vars(self)

    def __sizeof__(self):
        X = self.rows()  # the scheduler asks
        if X is None:
            return 0
        return X.data.nbytes + X.indices.nbytes if sparse.issparse(X) else X.nbytes


def _unpacked(kind, state):
    kept = kind.__new__(kind)
    vars(kept).update(pickle.loads(state))
    return kept


@dataclass
class Rows(Kept):
    """Checked rows of a partition, and what the driver is told of them."""

    X: Any
    y: Any
    weights: np.ndarray
    entry_weight: Any
    facts: dict

    def rows(self):
        """Return X."""
        return self.X


@dataclass
class Coded(Kept):
    """Encoded rows, and what was counted before theirs."""

    data: Encoded
    seen: Any

    def rows(self):
        """Return X."""
        return self.data.X


class Held(Kept, Part):
    """A part on its worker; tables do not go to another one, which makes them anew."""

    def state(self):
        """Return what is sent."""
        load = partial(itself, replace(self.load()))  # without what it has computed
        return {**vars(self), "load": load, "tables": {}, "leverages": {}}

    def rows(self):
        """Return X."""
        return self.load().X


@dataclass(frozen=True)
class Plan:
    """How y is encoded, the same in all partitions.

    `model` is not fitted; `known` are the classes, `form` that of an indicator; `labels` tells
    whether a column is labels (n,), `as_rows` whether one-hot rows are a matrix since others are
    no labels; sample weights are over 2**power.
    """

    model: Any
    known: np.ndarray
    form: Any
    labels: bool
    power: int
    as_rows: bool = False


def read(X, y, weights, entry_weight, model, classes):
    """Return the Rows of a partition."""
    names, container = column_names(y), _container(y)
    y = read_y(y)
    check_rows(X, y)
    n = y.shape[0]
    if not n:
        return Rows(None, None, np.zeros(0), None, {"n": 0})
    model = clone(model)
    X = _aligned(check_X(model, X, reset=True))
    largest = None
    if weights is not None:
        weights = _aligned(check_weight("sample_weight", weights, n))
        largest = float(weights.max())
    is_column = y.ndim == 2 and y.shape[1] == 1 and not sparse.issparse(y)
    features = getattr(model, "feature_names_in_", None)
    alike = {
        "columns of X": X.shape[1],
        "dtype of X": str(X.dtype),
        "format of X": "CSR" if sparse.issparse(X) else "dense",
        "features": None if features is None else [*features],
        "columns of y": y.shape[1:],
        "values of y": "numbers" if y.dtype.kind in NUMBERS else "objects",
        "label names": None if names is None else [*names],
    }
    facts = {
        "n": n,
        "alike": alike,
        "X": (X.shape[1], X.dtype),
        "features": features,
        "largest": largest,
        "names": names,
        "is_column": is_column,
        "classes": _classes_of(y, is_column, hasattr(model, "loss")) if classes is None else None,
        "form": None if y.ndim == 1 else form_of(y, container),
    }
    return Rows(X, y, np.ones(n) if weights is None else weights, entry_weight, facts)


def _container(y):
    if not sparse.issparse(y):
        return None
    return "csr_matrix" if isinstance(y, sparse.spmatrix) and y.format == "csr" else "csr_array"


def _classes_of(y, is_column, may_be_indicator):
    """Return the classes of labels; None of what is none."""
    if y.ndim == 2 and not is_column:
        return None
    if is_column and may_be_indicator and y.dtype.kind == "f" and not (y == np.floor(y)).all():
        return None
    return classes_of(y.ravel(), few=True)


def look(rows):
    """Return the facts of the rows."""
    return rows.facts


def encode(rows, plan, seen):
    """Return the Coded rows."""
    model, given = clone(plan.model), {}
    if hasattr(model, "loss"):
        model._form, given = plan.form, {"entry_weight": rows.entry_weight}
    y = rows.y.ravel() if plan.labels else rows.y
    weights = np.ldexp(rows.weights, -plan.power)
    data = model._encode(rows.X, y, weights, plan.known, seen, **given)
    if plan.as_rows and not sparse.issparse(data.targets):
        data.targets = label_rows(data.targets, data.k, rows.X.dtype)
    return Coded(data, seen)


def count(coded):
    """Return the counts of the rows, and whether their targets are labels."""
    return coded.data.counts - coded.seen, not sparse.issparse(coded.data.targets)


def tell(coded, most, seed):
    """Return facts of the encoded rows, and some of them, of about so many entries."""
    data = coded.data
    some = draw_entries(data.X, data.weights, most, np.random.RandomState(seed))
    values = None
    if sparse.issparse(data.targets):
        values = label_values(data.targets, data.weights)
    return {
        "counts": data.counts - coded.seen,
        "rows": int(np.count_nonzero(data.weights)),
        "weight": float(data.weights.sum()),
        "exponent": int(data.exponent),
        "positives": positives(data.targets, data.weights, data.k),
        "values": values,
        "some": data.rows(some),
    }


def part_of(coded, number, power, *of_all):
    """Return the part of the encoded rows, whose weights are over 2**power."""
    data = replace(coded.data, weights=np.ldexp(coded.data.weights, -power))
    problem = Problem.of(data, *of_all)
    room = len(data.weights) * data.k * data.X.dtype.itemsize
    return Held(number, partial(itself, problem), keeps=room <= TABLE_BYTES)


def count_labelled(rows):
    """Return the number of rows with a label."""
    return len(labelled(sparse.csr_array(rows.y), rows.weights))


def labelled_proba(rows, model, before, step, power):
    """Return the probabilities of every so manieth row with a label, and weights over 2**power."""
    chosen = labelled(sparse.csr_array(rows.y), rows.weights)[-before % step :: step]
    if not len(chosen):
        return np.empty((0, len(model.classes_))), np.empty(0)
    return model._labelled_proba(rows.X[chosen]), np.ldexp(rows.weights[chosen], -power)


def _aligned(values):
    """Return an array or CSR that begins at a multiple of its entries' size."""
    if values is None:
        return None
    if sparse.issparse(values):
        arrays = map(_aligned, (values.data, values.indices, values.indptr))
        return type(values)(tuple(arrays), shape=values.shape)
    return np.require(values, requirements=["C", "A"])
