"""Schedules against their formulas, and steps that follow them."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_wine
from sklearn.model_selection import StratifiedKFold, cross_val_score

from skce import MultinomialLogistic
from skce.optim import constant, cosine, inverse_scaling

SCHEDULES = {
    "constant": (constant(0.3), lambda t: 0.3),
    "inverse square root": (inverse_scaling(2.0), lambda t: 2 / (1 + t) ** 0.5),
    "inverse": (inverse_scaling(0.5, 1.0, 10.0), lambda t: 0.5 / (1 + t / 10)),
    "cosine": (cosine(2.0, 8), lambda t: 1 + np.cos(np.pi * min(t, 8) / 8)),
    "cosine to 1": (cosine(3.0, 5, end=1.0), lambda t: 1 + 2 * np.cos(np.pi * min(t, 5) / 10) ** 2),
}
WAYS = [("sgd", 0.0), ("sgd", 0.9), ("adagrad", 0.0), ("adam", 0.0)]  # solver, momentum


@pytest.mark.parametrize(("schedule", "formula"), SCHEDULES.values(), ids=SCHEDULES)
def test_schedule_is_its_formula(schedule, formula):
    steps = np.arange(12)
    expected = [formula(t) for t in steps]
    assert_allclose(schedule(steps), expected, rtol=1e-14, atol=1e-15)
    assert schedule(steps).dtype == np.float64
    assert_array_equal(pickle.loads(pickle.dumps(schedule))(steps), schedule(steps))
    for t in steps:
        assert_array_equal(schedule(t), schedule(steps)[t])


@pytest.mark.filterwarnings("ignore:Not converged. max_iter")
@pytest.mark.parametrize(("solver", "momentum"), WAYS)
def test_auto_steps_survive_unscaled_features(solver, momentum):
    # DESIGN 6 and the acceptance of issue 2: log loss of folds of raw wine.
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = MultinomialLogistic(random_state=0, solver=solver, momentum=momentum)
    loss = -cross_val_score(
        model, *load_wine(return_X_y=True), cv=folds, scoring="neg_log_loss", error_score="raise"
    )
    assert loss.mean() <= 0.10
    assert loss.max() <= 0.25


@pytest.mark.parametrize("rate", [0.1, constant(0.1), inverse_scaling(0.3), cosine(0.3, 400)])
@pytest.mark.parametrize(("solver", "momentum"), WAYS)
def test_schedule_is_followed_from_pass_to_pass(solver, momentum, rate):
    asked = []

    def schedule(step):
        asked.append(step)
        return rate(step) if callable(rate) else np.full(len(step), rate)

    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 5)) + 0.3
    y = (X @ rng.standard_normal((5, 3)) + rng.gumbel(size=(120, 3))).argmax(1)
    params = {"solver": solver, "momentum": momentum, "tol": 1e-2, "random_state": 0}
    model = MultinomialLogistic(learning_rate=schedule, **params).fit(X, y)
    bits = np.column_stack([model.coef_, model.intercept_])
    assert_array_equal(np.concatenate(asked), np.arange(sum(map(len, asked))))
    assert len(asked) == model.n_iter_
    other = MultinomialLogistic(learning_rate=rate, **params).fit(X, y)
    assert_array_equal(np.column_stack([other.coef_, other.intercept_]), bits)
    assert model.objective_ < 0.9 * np.log(3)
