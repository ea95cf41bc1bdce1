"""Fits and predictions of the estimators."""

import os

import numpy as np
from problems import load, synthetic_dense, synthetic_multilabel, synthetic_sparse

from skce import MultiLabelLogistic, MultinomialLogistic

__all__ = ["Fit", "PartialFit", "Predict"]

SYNTHETIC = {
    "dense": (synthetic_dense, (20_000, 100, 10), (100, 5, 3)),
    "sparse": (synthetic_sparse, (10_000, 50_000, 20), (100, 50, 3)),
    "multilabel": (synthetic_multilabel, (5_000, 100, 100), (100, 5, 3)),
}
TINY = bool(os.environ.get("SKCE_BENCH_TINY"))
REAL = ("mnist", "20news", "bibtex") if os.environ.get("SKCE_DATA") and not TINY else ()
PROBLEMS = ("digits", *SYNTHETIC, *REAL)
DTYPES = ("float32", "float64")


def _problem(name, dtype):
    if name not in SYNTHETIC:
        return load(name, dtype=np.dtype(dtype)).subset(200 if TINY else 10**9)
    make, shape, tiny = SYNTHETIC[name]
    return make(*(tiny if TINY else shape), dtype=np.dtype(dtype))


def _model(problem, **params):
    cls = MultiLabelLogistic if problem.task == "multilabel" else MultinomialLogistic
    return cls(random_state=0, **params)


class Fit:
    """Default fits: time and peak memory."""

    params = (PROBLEMS, DTYPES)
    param_names = ("problem", "dtype")
    timeout = 600

    def setup(self, name, dtype):
        """Load the problem."""
        self.problem = _problem(name, dtype)

    def time_fit(self, name, dtype):
        """Fit with the defaults."""
        _model(self.problem).fit(self.problem.X_train, self.problem.y_train)

    def peakmem_fit(self, name, dtype):
        """Fit with the defaults."""
        _model(self.problem).fit(self.problem.X_train, self.problem.y_train)


class PartialFit:
    """One pass of SGD."""

    params = (PROBLEMS, DTYPES)
    param_names = ("problem", "dtype")
    timeout = 600

    def setup(self, name, dtype):
        """Load the problem and the classes."""
        self.problem = _problem(name, dtype)
        self.classes = np.arange(self.problem.n_classes)

    def time_partial_fit(self, name, dtype):
        """Make one pass over all rows from a new model."""
        X, y = self.problem.X_train, self.problem.y_train
        _model(self.problem).partial_fit(X, y, classes=self.classes)


class Predict:
    """Predictions of a model after one pass."""

    params = (PROBLEMS, DTYPES)
    param_names = ("problem", "dtype")
    timeout = 600

    def setup(self, name, dtype):
        """Train for one pass."""
        problem = self.problem = _problem(name, dtype)
        self.model = _model(problem).partial_fit(
            problem.X_train, problem.y_train, classes=np.arange(problem.n_classes)
        )

    def time_predict_proba(self, name, dtype):
        """Probabilities of the training rows."""
        self.model.predict_proba(self.problem.X_train)

    def time_predict(self, name, dtype):
        """Labels of the training rows."""
        self.model.predict(self.problem.X_train)
