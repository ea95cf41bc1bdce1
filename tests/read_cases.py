"""Data of the tests of reading, and the libraries whose containers hold them."""

import numpy as np
import pytest

from skce import MultiLabelLogistic, MultinomialLogistic

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 4))
CODES = rng.integers(3, size=60)
Y = (rng.random((60, 3)) < 0.4).astype(float)
both_estimators = pytest.mark.parametrize("estimator", [MultinomialLogistic, MultiLabelLogistic])


def objects(values):
    return np.array(values, dtype=object)


def pandas(make):
    return lambda values: make(pytest.importorskip("pandas"), values)


def polars(make):
    return lambda values: make(pytest.importorskip("polars"), values)


SOFT = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1]])[CODES]
