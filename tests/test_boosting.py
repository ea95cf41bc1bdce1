"""The custom objectives of the examples grow the trees of the built-in ones."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer, load_digits

from skce import losses

EXAMPLES = Path(__file__).parents[1] / "examples"
BUILT_IN = {
    "xgboost": {"many": "multi:softprob", "two": "binary:logistic"},
    "lightgbm": {"many": "multiclass", "two": "binary"},
}


def example(library):
    pytest.importorskip(library)
    path = EXAMPLES / f"{library}_objective.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("number", ["many", "two"])
@pytest.mark.parametrize("library", BUILT_IN)
def test_trees_are_those_of_the_built_in_objective(library, number, weighted):
    module = example(library)
    X, y = load_digits(return_X_y=True) if number == "many" else load_breast_cancer(return_X_y=True)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    theirs, ours = {"weight": weight}, {"weight": weight}
    if number == "many":
        theirs["num_class"] = ours["num_class"] = 10
        objective = module.softmax_objective()
    else:
        objective = module.sigmoid_objective
    if library == "xgboost":  # that of "binary:logistic" is a probability, ours a logit
        theirs["base_score"], ours["base_score"] = 0.5, 0.5 if number == "many" else 0.0
    expected = module.train(X, y, BUILT_IN[library][number], **theirs)
    actual = module.train(X, y, objective, **ours)
    activation = losses.softmax if number == "many" else losses.sigmoid
    assert expected.std() > 0.1
    assert_allclose(activation(actual), activation(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("library", BUILT_IN)
def test_trees_are_fitted_to_soft_targets(library):
    module = example(library)
    X, y = load_digits(return_X_y=True)
    soft = 0.8 * np.eye(10)[y] + 0.02
    start = {"base_score": 0.5} if library == "xgboost" else {}
    scores = module.train(X, y, module.softmax_objective(soft), num_class=10, **start)
    entropy = losses.cross_entropy(soft, soft)
    assert entropy < losses.softmax_cross_entropy(scores, soft) < entropy + 0.05
    hard = module.train(X, y, module.softmax_objective(), num_class=10, **start)
    assert losses.softmax_cross_entropy(hard, soft) > entropy + 0.05
