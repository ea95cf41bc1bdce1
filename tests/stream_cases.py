"""Rows, rules and calls of the tests of streams."""

import numpy as np
import pytest
from scipy import sparse

from skce import losses

STORAGE = {"dense": np.asarray, "csr": sparse.csr_array}
every_storage = pytest.mark.parametrize("stored", STORAGE.values(), ids=STORAGE)
RULES = {
    "auto": {},
    "sgd": {"solver": "sgd"},
    "momentum": {"momentum": 0.9},
    "adagrad": {"solver": "adagrad"},
    "adam": {"solver": "adam"},
}
every_rule = pytest.mark.parametrize("params", RULES.values(), ids=RULES)


def drawn(n=3000, p=8, k=3, seed=0, density=1.0):
    """Rows, labels, then 1,000 more to test on."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + 1000, p)) * (rng.random((n + 1000, p)) < density)
    y = (X @ rng.normal(size=(p, k)) + rng.gumbel(size=(n + 1000, k))).argmax(1)
    return X[:n], y[:n], X[n:], y[n:]


def log_loss(model, X, y):
    return losses.softmax_cross_entropy(model.decision_function(X), y)


def streamed(model, X, y, rows, classes=range(3)):
    for i in range(0, len(y), rows):
        model.partial_fit(X[i : i + rows], y[i : i + rows], classes=classes)
    return model
