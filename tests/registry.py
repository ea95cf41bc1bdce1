"""The losses under test: every instance is a loss, a kind of targets and its options.

The laws of `test_losses` and `test_properties` run over `INSTANCES`: adding a line adds it to all.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import reference

from skce import losses

__all__ = [
    "INSTANCES",
    "LAYOUTS",
    "OBJECTS",
    "TOLERANCE",
    "WRONG",
    "WRONG_ONLY",
    "Instance",
    "Problem",
    "strided",
    "then_long",
]

TOLERANCE = {np.float32: {"rtol": 2e-6, "atol": 2e-6}, np.float64: {"rtol": 1e-13, "atol": 1e-13}}


def then_long(values, first=1):
    """The values of a parameter, those after the first ones in the long ring of tests."""
    values = list(values)
    return values[:first] + [pytest.param(v, marks=pytest.mark.long) for v in values[first:]]


def labels(rng, n, k):
    return rng.integers(k, size=n)


def one_hot(rng, n, k):
    return (labels(rng, n, k)[:, np.newaxis] == np.arange(k)).astype(float)


def shares(rng, n, k):
    return rng.dirichlet(np.ones(k), size=n)


def indicator(rng, n, k):
    targets = (rng.random((n, k)) < 0.4).astype(float)
    targets[:1] = 0
    return targets


def masses(rng, n, k):
    return 3 * rng.random((n, k)) * indicator(rng, n, k)


def fractions(rng, n, k):
    return np.clip(1.5 * rng.random((n, k)) - 0.25, 0, 1)


def single(rng, n, k):
    return fractions(rng, n, 1)[:, 0]


def with_missing(kind):
    def missing(rng, n, k):
        targets = kind(rng, n, k)
        targets[rng.random((n, k)) < 0.3] = np.nan
        targets[1:2] = np.nan
        return targets

    return missing


TARGETS = {
    "softmax_cross_entropy": {
        "labels": labels,
        "one-hot": one_hot,
        "shares": shares,
        "masses": masses,
        "missing": with_missing(masses),
    },
    "multilabel_softmax_cross_entropy": {
        "indicator": indicator,
        "masses": masses,
        "missing": with_missing(masses),
    },
    "sigmoid_cross_entropy": {
        "indicator": indicator,
        "fractions": fractions,
        "missing": with_missing(fractions),
        "single": single,
    },
}


@dataclass(frozen=True)
class Problem:
    """Arguments of one call."""

    logits: np.ndarray
    targets: np.ndarray
    options: dict
    sample_weight: np.ndarray


@dataclass(frozen=True)
class Instance:
    """A loss with one kind of targets, plain or with all its options."""

    loss: str
    kind: str
    with_options: bool

    def __str__(self):
        return f"{self.loss}-{self.kind}" + "-options" * self.with_options

    def value(self, *args, **kwargs):
        return getattr(losses, self.loss)(*args, **kwargs)

    def value_and_grad(self, *args, **kwargs):
        return getattr(losses, f"{self.loss}_value_and_grad")(*args, **kwargs)

    def reference(self, *args, reduction="mean", **kwargs):
        return reference.reduced(*getattr(reference, self.loss)(*args, **kwargs), reduction)

    def problem(self, dtype=np.float64, n=12, k=5, seed=0):
        rng = np.random.default_rng(seed)
        targets = TARGETS[self.loss][self.kind](rng, n, k)
        shape = (n,) if self.kind == "single" else (n, k)
        logits = (3 * rng.standard_normal(shape)).astype(dtype)
        options = {}
        if self.with_options:
            options["label_smoothing"] = 0.1
            if self.loss == "softmax_cross_entropy":
                options["class_weight"] = rng.uniform(0.5, 3, size=k)
            if self.loss == "sigmoid_cross_entropy":
                per_label = rng.uniform(0.5, 3, size=k)
                options["pos_weight"] = 2.5 if self.kind == "single" else per_label
        if targets.dtype.kind == "f":
            targets = targets.astype(dtype)
        return Problem(logits, targets, options, rng.uniform(0.2, 2, size=n))


INSTANCES = [
    Instance(loss, kind, with_options)
    for loss, kinds in TARGETS.items()
    for kind in kinds
    for with_options in (False, True)
]


def strided(a):
    wide = np.full(tuple(2 * m for m in a.shape), 99, dtype=a.dtype)
    view = wide[(slice(1, None, 2),) * a.ndim]
    view[...] = a
    return view


def unaligned(a):
    return np.frombuffer(b"?" + a.tobytes(), dtype=a.dtype, offset=1).reshape(a.shape)


LAYOUTS = {
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "mirrored": lambda a: a[..., ::-1].copy()[..., ::-1],
    "strided": strided,
    "unaligned": unaligned,
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
}


# Arguments which must raise, for logits (4, 3): (name, value).
OBJECTS = np.array([[None] * 3] * 4, dtype=object)
WRONG = [
    ("logits", 0.0),
    ("logits", np.zeros((4, 3, 1))),
    ("logits", np.zeros((4, 3), dtype=complex)),
    ("logits", OBJECTS),
    ("logits", np.full((4, 3), "a")),
    ("targets", np.eye(5, 3)),
    ("targets", np.eye(4, 2)),
    ("targets", np.eye(4, 3)[:, :, np.newaxis]),
    ("targets", np.array(1)),
    ("targets", np.eye(4, 3) - 0.1),
    ("targets", np.eye(4, 3, dtype=int) - 1),
    ("targets", np.where(np.eye(4, 3) == 1, np.inf, 0)),
    ("targets", np.where(np.eye(4, 3) == 1, -np.inf, 0)),
    ("targets", np.eye(4, 3, dtype=complex)),
    ("targets", OBJECTS),
    ("targets", np.full((4, 3), "a")),
    ("label_smoothing", -0.1),
    ("label_smoothing", 1.1),
    ("label_smoothing", np.nan),
    ("label_smoothing", np.inf),
    ("reduction", "average"),
    ("reduction", None),
    ("sample_weight", np.ones(3)),
    ("sample_weight", np.ones((4, 1))),
    ("sample_weight", np.array([1, 1, 1, -1e-9])),
    ("sample_weight", np.array([1, 1, 1, -1])),
    ("sample_weight", np.array([1, 1, 1, np.nan])),
    ("sample_weight", np.array([1, 1, 1, np.inf])),
    ("sample_weight", np.array([1j] * 4)),
    ("sample_weight", np.array(["a"] * 4)),
    ("out", np.zeros((4, 4))),
    ("out", np.zeros(12)),
    ("out", np.zeros((4, 3), dtype=np.float32)),
    ("out", np.zeros((4, 3), dtype=int)),
    ("out", np.zeros((4, 3), dtype=">f8")),
    ("out", np.zeros((4, 3), order="F")),
    ("out", np.zeros((4, 6))[:, ::2]),
    ("out", np.broadcast_to(0.0, (4, 3))),
    ("out", [[0.0] * 3] * 4),
]
WRONG_WEIGHTS = [np.ones(2), np.ones((1, 3)), [1, 1, -1], [1, 1, np.nan], [1, np.inf, 1], ["a"] * 3]
WRONG_ONLY = {
    "softmax_cross_entropy": [
        ("logits", np.zeros(4)),
        *(("targets", np.array([0, 1, 2, y])) for y in (3, -1, 2**62, 0.5, np.nan)),
        ("targets", np.array([0, 1, 2, 2**63 + 1], dtype=np.uint64)),
        ("targets", np.array([0, 1, 2])),
        ("targets", np.array([[0], [1], [2], [0]])),
        *(("class_weight", w) for w in [*WRONG_WEIGHTS, 1.0, -1.0]),
    ],
    "multilabel_softmax_cross_entropy": [("logits", np.zeros(4)), ("targets", np.zeros(4))],
    "sigmoid_cross_entropy": [
        ("targets", np.eye(4, 3) * 1.001),
        ("targets", np.eye(4, 3, dtype=int) * 2),
        ("targets", np.zeros(4)),
        *(("pos_weight", w) for w in [*WRONG_WEIGHTS, -1.0, np.nan, np.inf]),
    ],
}
