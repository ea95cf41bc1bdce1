"""Small problems of several labels, in the forms that y may have."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin

from skce import MultiLabelLogistic

__all__ = [
    *("CONTAINERS", "Constant", "DTYPES", "LABELS", "X", "Y", "dense", "every_container"),
    *("every_dtype", "every_loss", "fitted", "fractional", "with_missing"),
]

rng = np.random.default_rng(0)
X = rng.standard_normal((90, 4))
Y = (X @ rng.standard_normal((4, 3)) + rng.logistic(size=(90, 3)) > 0).astype(float)
LABELS = np.arange(90) * 7 % 3
DTYPES = ["int8", "uint8", "int16", "int64", "bool", "float32", "float64"]
CONTAINERS = {
    "array": np.asarray,
    "fortran": np.asfortranarray,
    "csr_array": sparse.csr_array,
    "csr_matrix": sparse.csr_matrix,
}
every_loss = pytest.mark.parametrize("loss", ["bce", "softmax"])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_container = pytest.mark.parametrize("container", CONTAINERS)


def fitted(y, **params):
    return MultiLabelLogistic(random_state=0, **params).fit(X, y)


def dense(y):
    return y.toarray() if sparse.issparse(y) else np.asarray(y)


def fractional(y):
    return 0.9 * y


def with_missing(y):
    y = y.copy()
    y[::7, 1] = np.nan
    return y


class Constant(ClassifierMixin, BaseEstimator):
    """Predicts the rows of X."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.arange(np.shape(y)[1])
        return self

    def predict_proba(self, X):
        return X

    def predict(self, X):
        return np.asarray(X) >= 0.5
