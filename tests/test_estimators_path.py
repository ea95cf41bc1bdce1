"""A path of penalties is made of fits."""

import numpy as np
import pytest
from cv_cases import random_x, with_missing
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from skce import MultiLabelLogistic, MultinomialLogistic, MultinomialLogisticCV, path


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_path_is_made_of_fits(ratio):
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X).astype(np.float32)
    model = MultinomialLogistic(tol=1e-4, l1_ratio=ratio, random_state=0, max_iter=1000)
    found = path(X, y, [0.01, 0.1], estimator=model)
    assert_array_equal(found.alphas, [0.1, 0.01])
    assert found.coefs.dtype == np.float32
    assert found.coefs.shape == (2, 3, 4)
    for a, alpha in enumerate(found.alphas):
        fitted = clone(model).set_params(alpha=alpha).fit(X, y)
        assert_allclose(found.objectives[a], fitted.objective_, rtol=2e-4)
        assert_allclose(found.intercepts[a], fitted.intercept_, atol=0.05)
        assert found.objectives[a] - found.dual_gaps[a] <= fitted.objective_ * (1 + 1e-6)
    assert not hasattr(model, "coef_")


def test_path_takes_multilabel_models_and_weights():
    rng = np.random.default_rng(0)
    X = random_x(rng)
    Y, weight = with_missing(rng, X), rng.uniform(0, 1, len(X))
    model = MultiLabelLogistic(tol=1e-8)
    found = path(X, Y, [0.01], estimator=model, sample_weight=weight)
    fitted = MultiLabelLogistic(alpha=0.01, tol=1e-8).fit(X, Y, weight)
    assert_allclose(found.coefs[0], fitted.coef_, atol=1e-4)
    assert_array_equal(found.classes, fitted.classes_)


def test_path_refuses_stochastic_solvers():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="solver must be 'auto', 'sdca' or 'lbfgs', got 'sgd'"):
        path(X, y, estimator=MultinomialLogistic(solver="sgd"))
    with pytest.raises(TypeError, match="estimator must be .*, got MultinomialLogisticCV"):
        path(X, y, estimator=MultinomialLogisticCV())
