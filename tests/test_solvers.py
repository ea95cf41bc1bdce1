"""The objective and its polish, and the state of the stochastic phase."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from registry import INSTANCES
from scipy import optimize, sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skce import MultinomialLogistic, _kernels, _polish, _problem, _sgd, _solvers
from skce.optim import cosine, inverse_scaling

KINDS = {
    "softmax_cross_entropy": _kernels.Loss.SOFTMAX,
    "multilabel_softmax_cross_entropy": _kernels.Loss.MULTILABEL_SOFTMAX,
    "sigmoid_cross_entropy": _kernels.Loss.SIGMOID,
}
MATRICES = [i for i in INSTANCES if i.kind != "single"]
STORAGE = {"dense": np.asarray, "csr": sparse.csr_array}
N, P, K, ALPHA = 40, 4, 3, 0.01

every_instance = pytest.mark.parametrize("instance", MATRICES, ids=str)
every_storage = pytest.mark.parametrize("stored", STORAGE.values(), ids=STORAGE)
with_and_without_intercept = pytest.mark.parametrize("fit_intercept", [True, False])
both_methods = pytest.mark.parametrize("newton_size", [1000, 0], ids=["newton", "lbfgs"])
# the line search of L-BFGS compares values, in which rounding hides the last steps
GOAL = {1000: 1e-10, 0: 5e-8}
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


class Case:
    """An Objective, and the same from the reference in plain coordinates."""

    def __init__(self, instance, stored=np.asarray, fit_intercept=True):
        rng = np.random.default_rng(2)
        X = rng.standard_normal((N, P)) * (rng.random((N, P)) < 0.7)
        self.X = X * [1, 1, 1, 100] + ([0, 0, 5, 0] if stored is np.asarray else 0)
        self.fit_intercept = fit_intercept
        problem = instance.problem(np.float64, N, K)
        self.targets, self.weights = problem.targets, problem.sample_weight
        self.options = {k: v for k, v in problem.options.items() if k != "class_weight"}
        self.loss = getattr(reference, instance.loss)
        self.softmax = "softmax" in instance.loss
        targets = self.targets
        targets = targets.astype(np.int32) if targets.ndim == 1 else sparse.csr_array(targets)
        self.objective = _polish.Objective(
            stored(self.X),
            KINDS[instance.loss],
            targets,
            self.weights,
            self.options.get("pos_weight"),
            self.options.get("label_smoothing", 0.0),
            ALPHA,
            fit_intercept,
        )

    def reference(self, coef, intercept):
        """Value, and gradients by coef and intercept."""
        losses, residuals, _ = self.loss(
            self.X @ coef.T + intercept, self.targets, sample_weight=self.weights, **self.options
        )
        residuals = residuals.astype(float) / self.weights.sum()
        value = losses.sum() / self.weights.sum() + ALPHA / 2 * (coef**2).sum()
        gradient = residuals.T @ self.X + ALPHA * coef
        return float(value), gradient, residuals.sum(axis=0) * self.fit_intercept

    def point(self, seed=0):
        """Coordinates V (p + 1, K) of the objective."""
        V = np.random.default_rng(seed).standard_normal((P + 1, K))
        V[-1] *= self.fit_intercept
        return V


def derivative(function, V, direction, h=1e-3):
    """Derivative along a direction, by differences of order 4."""
    near = function(V + h * direction) - function(V - h * direction)
    far = function(V + 2 * h * direction) - function(V - 2 * h * direction)
    return (8 * near - far) / (12 * h)


@with_and_without_intercept
@every_storage
@every_instance
def test_value_is_the_reference(instance, stored, fit_intercept):
    case = Case(instance, stored, fit_intercept)
    V = case.point()
    expected = case.reference(*case.objective.from_scaled(V))[0]
    assert_allclose(case.objective.value_and_grad(V)[0], expected, rtol=1e-13)
    assert_allclose(case.objective.to_scaled(*case.objective.from_scaled(V)), V)


@with_and_without_intercept
@every_storage
@every_instance
def test_gradient_is_the_derivative_of_the_value(instance, stored, fit_intercept):
    case = Case(instance, stored, fit_intercept)
    V = case.point()
    gradient = case.objective.value_and_grad(V)[1]
    for j, c in np.ndindex(P + fit_intercept, K):
        unit = np.zeros_like(V)
        unit[j, c] = 1
        slope = derivative(lambda W: case.objective.value_and_grad(W)[0], V, unit)
        assert_allclose(gradient[j, c], slope, rtol=1e-9, atol=1e-9)
    assert fit_intercept or not gradient[-1].any()


@with_and_without_intercept
@every_storage
@every_instance
def test_hessian_is_the_derivative_of_the_gradient(instance, stored, fit_intercept):
    """Along directions that can lower the objective; the others have a curvature of their own."""
    case = Case(instance, stored, fit_intercept)
    V = case.point()
    H = case.objective.hessian(V)
    assert_allclose(H, H.T, atol=1e-15)
    for seed in range(1, 6):
        direction = case.point(seed)
        if case.softmax:
            direction -= direction.mean(axis=1, keepdims=True)
        expected = derivative(lambda W: case.objective.value_and_grad(W)[1], V, direction)
        actual = (H @ direction.ravel()).reshape(V.shape)
        assert_allclose(actual, expected, rtol=1e-8, atol=1e-9)


@with_and_without_intercept
@every_storage
@every_instance
def test_hessian_is_positive_definite(instance, stored, fit_intercept):
    case = Case(instance, stored, fit_intercept)
    assert np.linalg.eigvalsh(case.objective.hessian(case.point()))[0] > 0


@with_and_without_intercept
@both_methods
@every_storage
@every_instance
def test_polish_ends_where_the_gradient_vanishes(
    instance, stored, newton_size, fit_intercept, monkeypatch
):
    monkeypatch.setattr(_polish, "NEWTON_SIZE", newton_size)
    case = Case(instance, stored, fit_intercept)
    start = np.zeros((K, P)), np.zeros(K)
    coef, intercept, curve, evaluations, ended = _polish.polish(case.objective, *start, 1000)
    assert ended is None
    assert len(curve) <= evaluations
    at_zero = np.abs(case.objective.value_and_grad(np.zeros((P + 1, K)))[1]).max()
    value, gradient = case.objective.value_and_grad(case.objective.to_scaled(coef, intercept))
    assert np.abs(gradient).max() <= 1.001 * GOAL[newton_size] * at_zero
    assert_allclose(curve[-1], value, rtol=1e-12)
    expected, *gradients = case.reference(coef, intercept)
    assert_allclose(value, expected, rtol=1e-13)
    for part, scale in zip(gradients, case.reference(*start)[1:], strict=True):
        assert np.abs(part).max() <= 100 * GOAL[newton_size] * np.abs(scale).max()
    if not fit_intercept:
        assert_array_equal(intercept, np.zeros(K))
    if case.softmax:
        assert_allclose(coef.sum(axis=0), 0, atol=1e-9)


@both_methods
@pytest.mark.parametrize("instance", [i for i in MATRICES if i.with_options], ids=str)
def test_polish_finds_what_scipy_finds(instance, newton_size, monkeypatch):
    monkeypatch.setattr(_polish, "NEWTON_SIZE", newton_size)
    case = Case(instance)
    coef, intercept, *_ = _polish.polish(case.objective, np.zeros((K, P)), np.zeros(K), 1000)

    def fun(theta):
        theta = theta.reshape(K, P + 1)
        value, by_coef, by_intercept = case.reference(theta[:, :-1] / case.X.std(0), theta[:, -1])
        return value, np.column_stack([by_coef / case.X.std(0), by_intercept]).ravel()

    found = optimize.minimize(fun, np.zeros(K * (P + 1)), jac=True, method="BFGS", tol=1e-7)
    assert_allclose(case.reference(coef, intercept)[0], found.fun, rtol=1e-10)
    by_scipy = found.x.reshape(K, P + 1)[:, :-1] / case.X.std(0)
    assert_allclose(coef, by_scipy, rtol=1e-4, atol=1e-4)


@both_methods
def test_polish_finds_logistic_regression(newton_size, monkeypatch):
    """The same objective for C = 1 / (alpha sum of weights)."""
    monkeypatch.setattr(_polish, "NEWTON_SIZE", newton_size)
    case = Case(next(i for i in MATRICES if i.kind == "labels"))
    coef, intercept, *_ = _polish.polish(case.objective, np.zeros((K, P)), np.zeros(K), 1000)
    C = 1 / (ALPHA * case.weights.sum())
    expected = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12)
    expected.fit(case.X, case.targets, sample_weight=case.weights)
    assert_allclose(coef, expected.coef_, rtol=1e-7, atol=1e-9)
    assert_allclose(intercept - intercept.mean(), expected.intercept_, rtol=1e-7, atol=1e-9)


@both_methods
def test_polish_stops_at_its_bound(newton_size, monkeypatch):
    monkeypatch.setattr(_polish, "NEWTON_SIZE", newton_size)
    case = Case(MATRICES[0])
    *_, evaluations, ended = _polish.polish(case.objective, np.ones((K, P)), np.zeros(K), 3)
    assert ended
    assert evaluations <= 4


@pytest.mark.parametrize("solver", ["auto", "sgd", "adagrad", "adam"])
def test_only_auto_polishes_and_only_small_problems(solver):
    assert _polish.polishes(solver, np.empty((1000, 1000)), 10) == (solver == "auto")
    assert not _polish.polishes(solver, np.empty((1000, 1000)), 11)


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
    sgd = _solvers.SGD({**PARAMS, **params, "fit_intercept": fit_intercept}, P, K, dtype)
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
    return _problem.Problem(_kernels.Loss.SOFTMAX, X, y, K, np.ones(len(y)), None, 0.0)


@every_learner
def test_pass_above_the_limit_is_kept_where_it_lowers_the_loss(params):
    X, y = data()
    sgd = _solvers.SGD({**PARAMS, "alpha": 0.0, **params}, P, K, X.dtype)
    sgd.prepare(X, np.ones(len(X)), 0.25, np.random.default_rng(0))
    sgd.start_from(np.ones((K, P)) * np.arange(K)[:, None], np.ones(K))
    start = sgd.loss(problem(X, y), np.arange(len(X)), sgd.W)
    assert 1e-3 < sgd.run_pass(problem(X, y), np.arange(len(X)), 1e-3) < start


@every_learner
def test_pass_from_a_hopeless_start_ends_at_zero(params):
    X, y = data()
    sgd = _solvers.SGD({**PARAMS, **params, "learning_rate": 1e308}, P, K, X.dtype)
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
    sgd = _solvers.SGD(params, P, K, X.dtype)
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
