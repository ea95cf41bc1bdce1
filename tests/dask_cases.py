"""Rows in Dask partitions, and their fits."""

import numpy as np
import pytest
from scipy import sparse

import skce

pytest.importorskip("distributed")
import dask
import dask.array as da

from skce import dask as skce_dask
from skce.dask import _rounds

HANGS = 120  # seconds after which a fit is said to hang
MARKS = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def rows_of(name, n=300, p=8):
    """X, y, other arguments of fit, the plain estimator, of a case."""
    rng = np.random.default_rng(len(name))
    X = rng.standard_normal((n, p)) * rng.uniform(0.2, 5, p) + rng.uniform(-3, 3, p)
    X = X.astype(np.float32 if "float32" in name else np.float64)
    if "CSR" in name:
        X = sparse.csr_array(np.where(rng.random((n, p)) < 0.6, 0, X))
    logits, given = X @ rng.standard_normal((p, 4)) + 2 * rng.gumbel(size=(n, 4)), {}
    options: dict = {"alpha": 1e-3, "random_state": 0, "tol": 1e-6, "certified": True}
    options |= {"solver": "lbfgs", "max_iter": 1000}
    if "weights" in name:
        given["sample_weight"] = np.where(rng.random(n) < 0.2, 0, rng.uniform(1e3, 3e3, n))
    if "smoothing" in name:
        options["label_smoothing"] = 0.1
    if "labels" in name:
        y, options["loss"] = labels_of(name, logits, given, rng), "softmax"
        if "1/M" not in name:
            options |= {"loss": "bce", "pos_weight": "balanced" if "balanced" in name else None}
        return X, y, given, skce.MultiLabelLogistic(**options)
    if "balanced" in name:
        options["class_weight"] = "balanced"
    if "named" in name:
        options["class_weight"] = {0: 2.0, 3: 0.5}
    return X, classes_of(name, logits, rng), given, skce.MultinomialLogistic(**options)


def labels_of(name, logits, given, rng):
    """An indicator of labels."""
    y = (logits > 1).astype(float)
    if "missing" in name:
        y[rng.random(y.shape) < 0.2] = np.nan
    if "entries" in name:
        given["entry_weight"] = rng.uniform(0, 2, y.shape)
    return y * rng.random(y.shape) if "shares" in name else y


def classes_of(name, logits, rng):
    """Labels, or rows of probabilities, of which whole partitions are one-hot."""
    y, n = logits.argmax(axis=1), len(logits)
    if "two" in name:
        return y > 1
    if "words" in name:
        return np.array(["red", "green", "blue", "yellowish"])[y]
    if "soft" in name:
        soft = rng.dirichlet(np.full(4, 0.3), size=n)
        return np.where(np.arange(n)[:, None] < n // 2, np.eye(4)[y], soft)
    return y


CASES = (
    *("float64", "float32 words", "CSR", "CSR float32 weights", "two", "two balanced weights"),
    *("weights smoothing", "balanced words weights", "soft", "soft balanced CSR", "soft float32"),
    *("named CSR", "labels", "labels missing float32", "labels balanced weights CSR"),
    *(
        "labels shares entries",
        "labels missing entries",
        "labels 1/M",
        "labels 1/M missing weights",
    ),
)


def in_partitions(array, number, n):
    """A Dask array of so many partitions, not all of one size."""
    edges = np.unique(np.linspace(0, n, number + 1).astype(int) // 7 * 7)
    edges[-1] = n
    sizes = tuple(np.diff(edges).tolist())
    return da.from_array(array, chunks=(sizes, *((-1,) * (array.ndim - 1))), asarray=False)


def dask_of(plain):
    """The estimator of collections with the parameters of a plain one."""
    return getattr(skce_dask, type(plain).__name__)(**plain.get_params())


def fitted(plain, X, y, given, number=3, **more):
    n = X.shape[0]
    X, y = (in_partitions(a, number, n) for a in (X, y))
    return dask_of(plain).fit(
        X, y, **{k: in_partitions(v, number, n) for k, v in given.items()}, **more
    )


def delayed_array(blocks, p=None):
    """A Dask array of blocks whose sizes are not known."""
    shape = (np.nan,) if p is None else (np.nan, p)
    parts = [dask.delayed(block) for block in blocks]
    return da.concatenate([da.from_delayed(part, shape, dtype=float) for part in parts])


def here(plain, X, y, given, number):
    """The fit without a client."""

    def none():
        raise ValueError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rounds, "default_client", none)
        return fitted(plain, X, y, given, number)


def watch(monkeypatch, at=None, act=None):
    """A list of the rounds made; act() is called before round `at`."""
    made, each = [], _rounds.Source.each

    def watched(self, view, function, args):
        made.append(function.__name__)
        if len(made) - 1 == at:
            act()
        return each(self, view, function, args)

    monkeypatch.setattr(_rounds.Source, "each", watched)
    return made


def assert_same_bits(model, other):
    for name in ("coef_", "intercept_", "objective_", "dual_gap_", "n_iter_"):
        assert np.array_equal(getattr(model, name), getattr(other, name)), name
