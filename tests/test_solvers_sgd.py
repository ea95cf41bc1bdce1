"""The state of stochastic gradient descent."""

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skce import MultinomialLogistic, _kernels
from skce._engine.data import EpochData
from skce._estimators.encoded import Encoded
from skce._solvers.seen import Seen
from skce._solvers.stream import Stream
from skce._solvers.undo import restore, save
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
    "l1_ratio": 0.0,
}
LEARNERS = {
    "sgd": {},
    "auto": {"solver": "auto"},
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


def encoded(X, y):
    weights = np.ones(X.shape[0])
    return Encoded(X, _kernels.Loss.SOFTMAX, y, K, weights, weights, {})


def problem(data):
    return EpochData(data.kind, data.X, data.targets, K, data.weights, None, 0.0)


def passed(stream, X, y):
    """The stream after a pass over the rows in order."""
    data = encoded(X, y)
    stream.run(problem(data), data, data.weights, np.arange(X.shape[0]))
    return stream


def make(params, dtype=np.float64, is_sparse=False):
    return Stream({**PARAMS, **params}, P, K, np.dtype(dtype), is_sparse)


@every_learner
@with_and_without_intercept
@every_storage
@every_dtype
def test_start_is_the_result_whatever_the_centre(dtype, stored, fit_intercept, params):
    X, y = data(dtype)
    A = stored(X)
    rng = np.random.default_rng(0)
    coef, intercept = rng.standard_normal((K, P)), rng.standard_normal(K) * fit_intercept
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-10}
    for seen in (None, Seen.of_rows(A, y, np.ones(len(X)), K, fit_intercept)):
        stream = make({**params, "fit_intercept": fit_intercept}, dtype, sparse.issparse(A))
        stream.start_from(coef, intercept, seen)
        for factor in (1, 2):
            for actual, expected in zip(stream.result(), (factor * coef, intercept), strict=True):
                assert actual.dtype == dtype
                assert_allclose(actual, expected, **tolerance)
            passed(stream, A, y)  # moves the centre
            stream.start_from(2 * coef, intercept)


@every_learner
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_columns_that_wait_have_what_they_missed(l1_ratio, average, params):
    # rows whose only column is the first: the others wait, and are settled by being read or met
    X, y = data()
    params = {**params, "average": average, "l1_ratio": l1_ratio, "alpha": 0.1}
    stream = passed(make(params, is_sparse=True), sparse.csr_array(X), y)
    before = stream.weights().copy()
    passed(stream, sparse.csr_array(X * (np.arange(P) == 0)), y)
    W = stream.weights()
    assert abs(W[1:-1]).sum() < abs(before[1:-1]).sum()
    some = np.array([0, 2])
    assert_allclose(stream.weights(some)[:-1], W[some])
    stream.settle()
    assert_allclose(stream.weights(), W, rtol=1e-12)


@every_learner
@every_storage
def test_saved_stream_is_restored_in_bits(stored, params):
    X, y = data()
    A = stored(X)
    stream = passed(make(params, is_sparse=sparse.issparse(A)), A, y)
    state = joblib.hash(stream.__dict__)
    saved = save(stream, A)
    passed(stream, 3 * A, y)
    assert joblib.hash(stream.__dict__) != state
    restore(stream, saved)
    assert joblib.hash(stream.__dict__) == state


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
            v = momentum * v - step * gradient
            W = (W + momentum * v - step * gradient) / (1 + step / (1 - momentum) * decay)
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
