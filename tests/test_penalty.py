"""alpha_from_C gives the fit of scikit-learn's C."""

import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import skce
from skce import MultinomialLogistic, alpha_from_C

X, y = load_iris(return_X_y=True)


@pytest.mark.parametrize("C", [0.01, 1, 30.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_that_of_logistic_regression(C, weighted):
    weight = np.random.default_rng(0).uniform(0.5, 2, 150) if weighted else None
    alpha = alpha_from_C(C, weight.sum() if weighted else len(X))
    ours = MultinomialLogistic(alpha=alpha, tol=1e-10).fit(X, y, weight)
    theirs = LogisticRegression(C=C, tol=1e-9, max_iter=10_000).fit(X, y, weight)
    assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)


def test_no_penalty_is_zero():
    assert alpha_from_C(np.inf, 150) == 0


@pytest.mark.parametrize(
    ("C", "n", "name"), [(0, 5, "C"), (-1, 5, "C"), ("1", 5, "C"), (np.nan, 5, "C"), (1, 0, "n_s")]
)
def test_wrong_argument_is_named(C, n, name):
    with pytest.raises(ValueError, match=f"^{name}.* must be a number above 0"):
        alpha_from_C(C, n)


@pytest.mark.parametrize("model", [skce.MultinomialLogistic, skce.MultiLabelLogistic])
def test_C_is_answered_with_alpha(model):
    with pytest.raises(TypeError, match=r"alpha in place of C, got C=1\.0: .*alpha_from_C"):
        model(C=1.0)
    with pytest.raises(TypeError, match="beta"):
        model(beta=1.0)
    assert "alpha" in inspect.signature(model).parameters
    assert "C" not in model().get_params()
