"""Data sets of all benchmarks: real files, scikit-learn's small sets, seeded synthetic problems.

The folder of the real sets comes from a ``--data`` option or the variable ``SKCE_DATA``.
A set is one file NAME.npz: dense arrays under X_train, y_train, X_test, y_test; a sparse one as
KEY_data, KEY_indices, KEY_indptr, KEY_shape; ``meta`` is JSON in bytes and names the task.
"""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

__all__ = [
    "Problem",
    "add_data_option",
    "data_folder",
    "dense_labels",
    "few_rows",
    "load",
    "synthetic_dense",
    "synthetic_multilabel",
    "synthetic_sparse",
]

BUILT_IN = {
    "breast_cancer": load_breast_cancer,
    "digits": load_digits,
    "iris": load_iris,
    "wine": load_wine,
}
SCALED = "_scaled"
DENSE = "_dense"
FIRST = "_first"
PIXELS = {"mnist": 255}
COUNTS = {"20news", "citeulike_t", "clinc150", "goemotions", "hate_votes"}


@dataclass(frozen=True)
class Problem:
    """One data set. ``task`` is "multiclass" (y labels), "multilabel" or "soft" (y of (n, K))."""

    name: str
    X_train: Any
    y_train: Any
    X_test: Any
    y_test: Any
    task: str

    @property
    def n_classes(self):
        """Number of classes or labels."""
        if self.task == "multiclass":
            return int(self.y_train.max()) + 1
        return self.y_train.shape[1]

    @property
    def n_outputs(self):
        """Number of rows of a fit's coefficients."""
        return 1 if self.task == "multiclass" and self.n_classes == 2 else self.n_classes

    @property
    def shape_text(self):
        """Training shape, as in "60000 x 784, 10"."""
        n, p = self.X_train.shape
        return f"{n} x {p}, {self.n_classes}"

    def subset(self, n, seed=0):
        """Keep at most n training rows, drawn with ``seed``."""
        if n >= self.X_train.shape[0]:
            return self
        rows = np.random.default_rng(seed).permutation(self.X_train.shape[0])[:n]
        return replace(self, X_train=self.X_train[rows], y_train=self.y_train[rows])


def add_data_option(parser):
    """Add ``--data`` to an argument parser."""
    parser.add_argument("--data", help="folder of the .npz sets (default: $SKCE_DATA)")


def data_folder(data=None):
    """Folder of the real sets: the argument, else SKCE_DATA, else None; it must exist."""
    folder = data or os.environ.get("SKCE_DATA")
    if folder and not Path(folder).is_dir():
        raise SystemExit(f"--data or SKCE_DATA must be a folder, got {folder!r}")
    return Path(folder) if folder else None


def load(name, *, data=None, dtype=np.float64):
    """Load and prepare one set.

    Pixels are divided by 255, counts of words become tf-idf (sublinear, fitted on the training
    rows); all others are taken as they are. "NAME_scaled" is a dense NAME with its columns
    standardised by the training rows, in float64; "NAME_dense" is a sparse one as an array,
    "NAME_first1000" has the first training rows alone. X has dtype ``dtype``.
    """
    if name.endswith(SCALED):
        return _scaled(load(name.removesuffix(SCALED), data=data), dtype)
    if name.endswith(DENSE):
        problem = load(name.removesuffix(DENSE), data=data, dtype=dtype)
        X_train, X_test = problem.X_train.toarray(), problem.X_test.toarray()
        return replace(problem, name=name, X_train=X_train, X_test=X_test)
    if FIRST in name:
        whole, _, n = name.rpartition(FIRST)
        problem, rows = load(whole, data=data, dtype=dtype), slice(int(n))
        X_train, y_train = problem.X_train[rows], problem.y_train[rows]
        return replace(problem, name=name, X_train=X_train, y_train=y_train)
    if name in BUILT_IN:
        return _built_in(name, dtype)
    problem = _read(name, data_folder(data), dtype)
    if name in PIXELS:
        level = np.dtype(dtype).type(PIXELS[name])
        return replace(problem, X_train=problem.X_train / level, X_test=problem.X_test / level)
    if name in COUNTS:
        tfidf = TfidfTransformer(sublinear_tf=True).fit(problem.X_train)
        return replace(
            problem,
            X_train=tfidf.transform(problem.X_train),
            X_test=tfidf.transform(problem.X_test),
        )
    return problem


def few_rows(problem, n=300):
    """A few rows, and of these the classes or labels that a fit can tell apart."""
    part = problem.subset(n)
    y, y_test = part.y_train, part.y_test
    if part.task == "multilabel":
        mean = np.asarray(y.mean(axis=0)).ravel()
        kept = np.flatnonzero((mean > 0) & (mean < 1))
        return replace(part, y_train=y[:, kept], y_test=y_test[:, kept])
    if part.task == "soft":
        return part
    classes, y = np.unique(y, return_inverse=True)
    rows = np.isin(y_test, classes)
    y_test = np.searchsorted(classes, y_test[rows])
    return replace(part, y_train=y, X_test=part.X_test[rows], y_test=y_test)


def dense_labels(y):
    """Labels as a dense array; OneVsRestClassifier mispredicts with those of 8 bits."""
    return (y.toarray() if sparse.issparse(y) else np.asarray(y)).astype(np.int64)


def synthetic_dense(n=2000, p=50, n_classes=10, *, dtype=np.float64, seed=0):
    """Draw a dense multiclass problem from a linear softmax model; a quarter of n is the test."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + n // 4, p)).astype(dtype)
    logits = X @ rng.standard_normal((p, n_classes)) * (2 / np.sqrt(p))
    y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return Problem("synthetic_dense", X[:n], y[:n], X[n:], y[n:], "multiclass")


def synthetic_sparse(n=2000, p=5000, n_classes=10, *, density=0.01, dtype=np.float64, seed=0):
    """Draw a CSR multiclass problem of unit-length rows; a quarter of n is the test."""
    rng = np.random.default_rng(seed)
    X = sparse.random(n + n // 4, p, density=density, format="csr", rng=rng)
    X = sparse.csr_matrix(X)
    norms = np.sqrt(np.maximum(X.multiply(X).sum(axis=1).A1, 1e-12))
    X = sparse.csr_matrix(sparse.diags_array(1 / norms) @ X).astype(dtype)
    logits = 5 * (X @ rng.standard_normal((p, n_classes)))
    y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return Problem("synthetic_sparse", X[:n], y[:n], X[n:], y[n:], "multiclass")


def synthetic_multilabel(n=2000, p=50, n_labels=20, *, dtype=np.float64, seed=0):
    """Draw a dense multi-label problem of about one label in eight; a quarter of n is the test."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + n // 4, p)).astype(dtype)
    logits = X @ rng.standard_normal((p, n_labels)) * (2 / np.sqrt(p)) - 3
    y = (logits + rng.logistic(size=logits.shape) > 0).astype(np.int64)
    return Problem("synthetic_multilabel", X[:n], y[:n], X[n:], y[n:], "multilabel")


def _scaled(problem, dtype):
    scaler = StandardScaler().fit(problem.X_train)
    X_train, X_test = (scaler.transform(X).astype(dtype) for X in (problem.X_train, problem.X_test))
    return replace(problem, name=problem.name + SCALED, X_train=X_train, X_test=X_test)


def _built_in(name, dtype):
    X, y = BUILT_IN[name](return_X_y=True)
    parts = train_test_split(X.astype(dtype), y, test_size=0.25, stratify=y, random_state=0)
    X_train, X_test, y_train, y_test = parts
    return Problem(name, X_train, y_train, X_test, y_test, "multiclass")


def _read(name, folder, dtype):
    if folder is None:
        raise SystemExit(f"{name} needs the data folder: pass --data or set SKCE_DATA")
    path = folder / f"{name}.npz"
    if not path.is_file():
        known = sorted(BUILT_IN) + sorted(file.stem for file in folder.glob("*.npz"))
        raise SystemExit(f"no data set {name!r}; there are {', '.join(known)}")
    with np.load(path) as file:
        X_train, y_train, X_test, y_test = (
            _array(file, key) for key in ("X_train", "y_train", "X_test", "y_test")
        )
        task = json.loads(bytes(file["meta"]))["task"]
    return Problem(name, X_train.astype(dtype), y_train, X_test.astype(dtype), y_test, task)


def _array(file, key):
    if key in file.files:
        return file[key]
    parts = tuple(file[f"{key}_{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_matrix(parts, shape=tuple(file[f"{key}_shape"]))
