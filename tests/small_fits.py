"""Small problems of both estimators, with rows to hold out."""

import numpy as np
import pytest

from skce import MultiLabelLogistic, MultinomialLogistic, losses

__all__ = [
    *("ESTIMATORS", "INDICATOR", "INDICATOR_VAL", "LABELS", "LABELS_VAL", "SOLVERS"),
    *("X", "X_VAL", "every_problem", "every_solver", "model_and_y"),
]

rng = np.random.default_rng(0)
X = rng.standard_normal((300, 6)) + 0.3
SCORES = X @ rng.standard_normal((6, 3)) + rng.gumbel(size=(300, 3))
LABELS, INDICATOR = SCORES.argmax(1), (SCORES > 1).astype(int)
X_VAL, LABELS_VAL, INDICATOR_VAL = X[250:], LABELS[250:], INDICATOR[250:]
SOLVERS = ["auto", "sdca", "lbfgs", "sgd", "adagrad", "adam"]
ESTIMATORS = {
    "labels": (MultinomialLogistic, {}, LABELS, losses.softmax_cross_entropy),
    "two labels": (MultinomialLogistic, {}, LABELS > 0, None),
    "bce": (MultiLabelLogistic, {}, INDICATOR, losses.sigmoid_cross_entropy),
    "1/M": (
        MultiLabelLogistic,
        {"loss": "softmax"},
        INDICATOR,
        losses.multilabel_softmax_cross_entropy,
    ),
}
every_solver = pytest.mark.parametrize("solver", SOLVERS)
every_problem = pytest.mark.parametrize("problem", ESTIMATORS)


def model_and_y(problem, **params):
    estimator, options, y, _ = ESTIMATORS[problem]
    return estimator(**{"random_state": 0, "tol": 1e-2, **options, **params}), y
