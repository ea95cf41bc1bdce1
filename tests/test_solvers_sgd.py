"""The state of stochastic gradient descent."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skce import MultinomialLogistic, _kernels
from skce._engine.data import EpochData
from skce._solvers.sgd import SGD
from skce.optim import cosine, inverse_scaling

STORAGE = {"dense": np.asarray, "csr": sparse.csr_array}
P, K, ALPHA = 4, 3, 0.01

every_storage = pytest.mark.parametrize("stored", STORAGE.values(), ids=STORAGE)
with_and_without_intercept = pytest.mark.parametrize("fit_intercept", [True, False])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


PARAMS = {
    "solver": "sgd",
    "alpha": 0.01,
    "fit_intercept": True,
    "learning_rate": "auto",
    "momentum": 0.0,
    "average": "auto",
    "batch_size": 8,
}
LEARNERS = {
    "sgd": {},
    "averaged": {"average": True},
    "momentum": {"momentum": 0.9},
    "adagrad": {"solver": "adagrad"},
    "adam": {"solver": "adam"},
}
every_learner = pytest.mark.parametrize("params", LEARNERS.values(), ids=LEARNERS)


def data(dtype=np.float64, n=56):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((n, P))
    y = (X @ rng.standard_normal((P, K)) + rng.gumbel(size=(n, K))).argmax(axis=1)
    return (X + np.arange(P)).astype(dtype), y.astype(np.int32)


@every_learner
@with_and_without_intercept
@every_storage
@every_dtype
def test_start_is_the_result_whatever_the_centre(dtype, stored, fit_intercept, params):
    X, _ = data(dtype)
    sgd = SGD({**PARAMS, **params, "fit_intercept": fit_intercept}, P, K, dtype)
    rng = np.random.default_rng(0)
    coef, intercept = rng.standard_normal((K, P)), rng.standard_normal(K) * fit_intercept
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-10}
    sgd.start_from(coef, intercept)
    for shift in (0, 3):  # a batch that moves the centre leaves the function alone
        sgd.prepare(stored(X + dtype(shift)), np.ones(len(X)), 0.25, rng)
        for actual, expected in zip(sgd.result(), (coef, intercept), strict=True):
            assert actual.dtype == dtype
            assert_allclose(actual, expected, **tolerance)
    sgd.start_from(2 * coef, intercept)
    assert_allclose(sgd.result()[0], 2 * coef, **tolerance)
    assert_allclose(sgd.result()[1], intercept, **tolerance)


def problem(X, y):
    return EpochData(_kernels.Loss.SOFTMAX, X, y, K, np.ones(len(y)), None, 0.0)


@every_learner
def test_pass_above_the_limit_is_kept_where_it_lowers_the_loss(params):
    X, y = data()
    sgd = SGD({**PARAMS, "alpha": 0.0, **params}, P, K, X.dtype)
    sgd.prepare(X, np.ones(len(X)), 0.25, np.random.default_rng(0))
    sgd.start_from(np.ones((K, P)) * np.arange(K)[:, None], np.ones(K))
    start = sgd.loss(problem(X, y), sgd.W)
    assert 1e-3 < sgd.run_pass(problem(X, y), np.arange(len(X)), 1e-3) < start


@every_learner
def test_pass_from_a_hopeless_start_ends_at_zero(params):
    X, y = data()
    sgd = SGD({**PARAMS, **params, "learning_rate": 1e308}, P, K, X.dtype)
    sgd.start_from(np.ones((K, P)) * np.arange(K)[:, None], np.ones(K))
    with np.errstate(all="ignore"):
        assert sgd.run_pass(problem(X, y), np.arange(len(X)), 1e-3) == np.inf
    assert not sgd.W.any()
    assert not sgd.result()[0].any()


@every_learner
@pytest.mark.parametrize(("learning_rate", "limit"), [(1e308, np.inf), (1e308, 1e3)])
def test_pass_that_diverges_is_undone(params, learning_rate, limit):
    X, y = data()
    params = {**PARAMS, "alpha": 0.0, **params, "learning_rate": learning_rate}
    sgd = SGD(params, P, K, X.dtype)
    sgd.prepare(X, np.ones(len(X)), 0.25, np.random.default_rng(0))
    sgd.start_from(np.ones((K, P)), np.ones(K))
    W, order = sgd.W.copy(), np.arange(len(X))
    with np.errstate(all="ignore"):
        assert sgd.run_pass(problem(X, y), order, limit) == np.inf
    assert_array_equal(sgd.W, W)
    assert_allclose(sgd.result()[0], np.ones((K, P)))
    assert sgd.steps == 0
    assert np.isfinite(sgd.state).all()
    sgd.params["learning_rate"] = 1e-3
    assert np.isfinite(sgd.run_pass(problem(data()[0], y), order))
    assert np.isfinite(sgd.result()[0]).all()


def test_fit_that_diverges_warns_and_is_undone():
    X, y = data()
    model = MultinomialLogistic(solver="sgd", alpha=0, learning_rate=1e308, random_state=0)
    with pytest.warns(ConvergenceWarning, match="diverged"), np.errstate(all="ignore"):
        model.fit(X, y)
    assert not model.converged_
    assert np.isfinite(model.coef_).all()
    with pytest.warns(ConvergenceWarning, match="diverged"), np.errstate(all="ignore"):
        model.partial_fit(X, y)
    assert np.isfinite(model.coef_).all()


SCHEDULES = {
    "number": (0.05, lambda t: 0.05),
    "inverse": (inverse_scaling(0.1, 1.0, 5.0), lambda t: 0.1 / (1 + t / 5)),
    "cosine": (cosine(0.1, 20), lambda t: 0.05 * (1 + np.cos(np.pi * min(t / 20, 1)))),
}


@with_and_without_intercept
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("learning_rate", "formula"), SCHEDULES.values(), ids=SCHEDULES)
def test_learning_rate_is_the_textbook_step(learning_rate, formula, momentum, fit_intercept):
    X, y = data()
    model = MultinomialLogistic(
        solver="sgd", alpha=ALPHA, learning_rate=learning_rate, momentum=momentum, batch_size=10,
        fit_intercept=fit_intercept,
    )  # fmt: skip
    Z = np.column_stack([X, np.full(len(X), float(fit_intercept))])
    W, v, decay, t = np.zeros((P + 1, K)), np.zeros((P + 1, K)), ALPHA * np.ones((P + 1, 1)), 0
    decay[-1] = 0
    for _ in range(3):  # the schedule goes on from call to call
        model.partial_fit(X, y)
        for rows in np.split(np.arange(len(X)), range(10, len(X), 10)):
            proba = np.exp(Z[rows] @ W)
            proba /= proba.sum(axis=1, keepdims=True)
            gradient, step = Z[rows].T @ (proba - np.eye(K)[y[rows]]) / len(rows), formula(t)
            if momentum:
                gradient = gradient + decay * W
                v = momentum * v - step * gradient
                W = W + momentum * v - step * gradient
            else:
                W = (W - step * gradient) / (1 + step * decay)
            t += 1
    assert_allclose(model.coef_, W[:-1].T, rtol=1e-10, atol=1e-12)
    assert_allclose(model.intercept_, W[-1] - W[-1].mean(), rtol=1e-10, atol=1e-12)


@every_learner
@every_dtype
def test_two_calls_with_halves_are_one_with_the_whole(dtype, params):
    X, y = data(dtype, 64)
    X, rates = X - X.mean(axis=0), {"learning_rate": 0.05, "batch_size": 8}
    whole = MultinomialLogistic(**params, **rates).partial_fit(X, y)
    halves = MultinomialLogistic(**params, **rates).partial_fit(X[:32], y[:32], [0, 1, 2])
    halves.partial_fit(X[32:], y[32:])
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    assert_allclose(halves.coef_, whole.coef_, rtol=tolerance, atol=tolerance)
    assert_allclose(halves.intercept_, whole.intercept_, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, [0.1, 0.2], "fast"])
def test_schedule_that_returns_no_step_sizes_raises(value):
    model = MultinomialLogistic(solver="sgd", learning_rate=lambda t: value)
    with pytest.raises(ValueError, match=r"learning_rate|convert"):
        model.fit(*data())
    assert not hasattr(model, "coef_")
