"""The metric, L-BFGS in it and Newton's method, against plain NumPy."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from plain import KINDS, random_case
from registry import then_long

from skce import _objective
from skce._metric import Metric
from skce._newton import NewtonCG, lbfgs
from skce._objective import Objective

every_kind = pytest.mark.parametrize("name", KINDS)
many_seeds = pytest.mark.parametrize("seed", then_long(range(3)))
preconditioners = pytest.mark.parametrize("how", ["whole", "metric", "diagonal"])


def case_of(name, seed, **options):
    defaults = {"dtype": np.float64, "scales": 1, "n": (40, 80)}
    return random_case(8 * seed + list(KINDS).index(name), **{**defaults, **options})


def choose(monkeypatch, how):
    if how == "diagonal":
        monkeypatch.setattr(_objective, "GRAM_SIZE", 0)
    monkeypatch.setattr(_objective, "FULL_SIZE", 1000 if how == "whole" else 0)


def direction_of(case):
    """One that can lower the objective."""
    D = case.rng.standard_normal(case.plain.shape)
    D[-1] *= case.plain.fit_intercept
    return D if case.plain.sigmoid else D - D.mean(axis=1, keepdims=True)


@many_seeds
@every_kind
def test_objective_is_plain_numpy(name, seed):
    case = case_of(name, seed)
    plain, objective = case.plain, Objective(case.problem)
    W, D = case.near(np.zeros(plain.shape), 30.0), direction_of(case)
    value, gradient = objective.value_and_gradient(W)
    expected = plain.gradient(W)
    assert_allclose(value, plain.objective(W), rtol=1e-12)
    assert_allclose(gradient, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())
    product = plain.product(W, D) + plain.decay * D
    product[-1] *= plain.fit_intercept
    assert_allclose(objective.product(D), product, rtol=1e-9, atol=1e-11 * np.abs(product).max())
    assert objective.passes == 2
    if plain.fit_intercept:
        assert_allclose(objective.sums(gradient), plain.sums(plain.proba(W)), atol=1e-9)
    assert_allclose(
        objective.bound(gradient), np.sum(expected[:-1] ** 2) / (2 * plain.alpha), rtol=1e-8
    )
    curvature = plain.proba(W) * (1 - plain.proba(W)) * plain.omega
    assert_allclose(objective.mean_curvature(W), curvature.mean(axis=1), rtol=1e-9, atol=1e-14)


@many_seeds
@every_kind
def test_steepest_does_not_depend_on_the_scale_of_columns(name, seed):
    case = case_of(name, seed)
    weights = case.problem.weights / case.problem.weights.sum()
    squares = weights @ case.plain.Z[:, :-1] ** 2 + 4 * case.plain.alpha
    unit = np.append(1 / np.sqrt(squares), 1.0)
    gradient = case.rng.standard_normal(case.plain.shape)
    expected = np.abs(gradient * unit[:, None]).max()
    assert_allclose(Objective(case.problem).steepest(gradient), expected, rtol=1e-9)


@many_seeds
@every_kind
def test_metric_is_the_weighted_second_moments_and_the_penalty(name, seed):
    case = case_of(name, seed)
    plain, rng = case.plain, np.random.RandomState(0)
    curvature = np.abs(case.rng.standard_normal(len(plain.Z))) * (case.problem.weights > 0)
    metric = Metric(case.problem, rng, curvature)
    A = plain.Z.T @ (curvature[:, None] * plain.Z) + np.diag(plain.decay[:, 0])
    if not plain.fit_intercept:
        A[-1, :-1] = A[:-1, -1] = 0
    if not case.problem.sigmoid:  # half of the curvature that no column shares
        A[-1, -1] -= 0.5 / np.linalg.inv(A)[-1, -1]
    W, V = case.rng.standard_normal((2, *plain.shape))
    assert_allclose(metric.divide(A @ W), W, rtol=1e-6, atol=1e-8)
    assert_allclose(metric.to_weights(metric.to_coordinates(W)), W, rtol=1e-8, atol=1e-9)
    U = metric.to_coordinates(W)
    assert_allclose(np.sum(U**2), np.sum(W * (A @ W)), rtol=1e-6)
    # a gradient belongs to coordinates as <g, W> does
    assert_allclose(np.sum(metric.to_gradient(V) * U), np.sum(V * W), rtol=1e-6, atol=1e-9)


@preconditioners
@every_kind
def test_preconditioner_is_symmetric_and_positive(name, how, monkeypatch):
    choose(monkeypatch, how)
    case = case_of(name, 1)
    objective = Objective(case.problem)
    objective.value_and_gradient(case.near(np.zeros(case.plain.shape), 1.0))
    objective.full = how == "whole"
    divide = objective.preconditioner(np.random.RandomState(0), 0)
    for _ in range(5):
        a, b = direction_of(case), direction_of(case)
        assert np.sum(a * divide(a)) > 0
        assert_allclose(np.sum(a * divide(b)), np.sum(b * divide(a)), rtol=1e-7, atol=1e-9)


@every_kind
def test_whole_preconditioner_is_the_inverse_of_the_damped_hessian(name):
    case = case_of(name, 2, scales=0, alpha=1e-2)
    objective = Objective(case.problem)
    W = case.near(np.zeros(case.plain.shape), 1.0)
    objective.value_and_gradient(W)
    objective.full = True
    directions = [direction_of(case) for _ in range(3)]
    plain = [objective.product(D) for D in directions]
    for damping, fresh in ((0.0, True), (0.5, False), (0.0, False), (2.0, True)):
        objective.damping = damping
        divide = objective.preconditioner(np.random.RandomState(0), 0, fresh)
        for D, undamped in zip(directions, plain, strict=True):
            product = objective.product(D)
            if case.plain.sigmoid or not damping:  # else it mixes the equal shift of all classes
                assert_allclose(divide(product), D, rtol=1e-6, atol=1e-7)
            least = (1 + 0.1 * damping) * np.sum(D * undamped)
            assert np.sum(D * product) >= least * (1 - 1e-12)
    diagonal = [np.sum(E * _product(case, W, E)) for E in _units(case.plain.shape)]
    expected = 2.0 * np.reshape(diagonal, case.plain.shape)
    expected[-1] *= case.plain.fit_intercept
    assert_allclose(objective.raised, expected, rtol=1e-9, atol=1e-12)


def _units(shape):
    return np.eye(shape[0] * shape[1]).reshape(-1, *shape)


def _product(case, W, D):
    return case.plain.product(W, D) + case.plain.decay * D


def test_heavy_rows_are_certain_and_the_others_stand_for_all():
    options = {"k": (3, 4), "scales": 0, "storage": "dense", "zeros": False}
    case = case_of("labels", 0, n=(5000, 5001), p=(6, 7), **options)
    heavy, X = np.arange(0, 5000, 500), case.problem.X.copy()
    X[heavy] *= 1000
    objective = Objective(replace(case.problem, X=X))
    objective.value_and_gradient(1e-6 * direction_of(case))
    numbers, others = [], []
    for seed in range(20):
        rows, times = objective.heavy_rows(1000, np.random.RandomState(seed))
        certain = np.isin(rows, heavy)
        assert certain.sum() == 10
        assert_allclose(times[certain], 1)
        numbers.append(len(rows))
        others.append(times[~certain].sum())
    assert abs(np.mean(numbers) - 1000) <= 40
    assert abs(np.mean(others) - 4990) <= 200


@every_kind
def test_newton_is_damped_far_from_the_optimum_and_ends_there(name):
    case = case_of(name, 3, scales=0, alpha=1e-4)
    _, least = case.plain.optimum()
    start = 30 * direction_of(case)
    engine = NewtonCG(case.problem, start, np.random.RandomState(0), exact=True)
    damped = False
    for _ in range(200):
        moved = engine.step()
        damped |= engine.damped
        if not moved or engine.relative_gradient() <= 1e-10:
            break
    assert damped
    assert case.plain.objective(engine.W) - least <= 1e-11 * case.problem.at_zero


@preconditioners
@many_seeds
@every_kind
def test_newton_ends_at_the_optimum(name, seed, how, monkeypatch):
    choose(monkeypatch, how)
    case = case_of(name, seed)
    plain = case.plain
    best, least = plain.optimum()
    engine = NewtonCG(case.problem, np.zeros(plain.shape), np.random.RandomState(0), exact=True)
    for _ in range(200):
        before = engine.value
        moved = engine.step()
        assert engine.value <= before + 1e-14 * abs(before)
        if not moved or engine.relative_gradient() <= 1e-10:
            break
    else:
        pytest.fail("200 steps")
    assert_allclose(engine.value, plain.objective(engine.W), rtol=1e-12)
    assert plain.objective(engine.W) - least <= 1e-11 * case.problem.at_zero
    gradient = plain.gradient(engine.W)
    at_zero = plain.gradient(0 * best)
    unit = engine.objective.unit
    largest = np.abs(gradient * unit).max() / max(np.abs(at_zero * unit).max(), 1e-6)
    assert_allclose(engine.relative_gradient(), largest, rtol=0.5, atol=1e-10)
    W, value, gap = engine.objective.certified(engine.W)
    assert_allclose(value, plain.objective(W.astype(float)), rtol=1e-12)
    assert_allclose(value, engine.value, rtol=1e-11)
    # of rows with missing entries the probabilities cannot always be mapped
    assert 0 <= gap <= 1e-7 * value or (gap == np.inf and name == "1/M missing")
    assert gap >= value - least - 1e-12
    engine.gap = -1.0
    engine.certify(0.0)
    assert engine.gap == -1  # not tried
    engine.certify(np.inf)
    assert engine.gap in (np.inf, pytest.approx(gap, abs=1e-7 * value))


@many_seeds
@every_kind
def test_decrement_is_the_fall_that_a_step_promises(name, seed):
    case = case_of(name, seed, scales=0, alpha=1e-1)
    best, least = case.plain.optimum()
    W = best + 1e-3 * direction_of(case)
    engine = NewtonCG(case.problem, W, np.random.RandomState(0), exact=True)
    before = engine.value
    assert engine.step()
    assert_allclose(engine.decrement, before - least, rtol=0.05)


@many_seeds
@every_kind
def test_lbfgs_comes_near_the_optimum_and_keeps_its_bound(name, seed):
    case = case_of(name, seed, scales=2)
    plain, problem = case.plain, case.problem
    _, least = plain.optimum()
    values = []

    def on_step(W, value, gradient):
        assert_allclose(value, plain.objective(W), rtol=1e-10)
        expected = plain.gradient(W)
        assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8 * (1 + np.abs(expected).max()))
        values.append(value)
        return len(values) == stop

    metric, zero = Metric(problem, np.random.RandomState(0)), np.zeros(plain.shape)
    stop = -1
    W = lbfgs(Objective(problem), metric, zero, 300, on_step)
    assert plain.objective(W) - least <= 1e-6 * problem.at_zero
    assert sorted(values, reverse=True) == values
    total = len(values)
    values, stop = [], min(3, total)
    lbfgs(Objective(problem), metric, zero, 300, on_step)
    assert len(values) == stop
    objective, values, stop = Objective(problem), [], -1
    lbfgs(objective, metric, zero, 4, on_step)
    assert objective.passes <= 4 + 20  # a line search is finished


@every_kind
def test_newton_ends_at_the_optimum_from_anywhere(name):
    """Also where the weights of a softmax do not sum to 0, as those of its optimum do."""
    case = case_of(name, 1, scales=0, alpha=1e-1)
    _, least = case.plain.optimum()
    W = np.full(case.plain.shape, 0.3)
    W[-1] *= case.plain.fit_intercept
    engine = NewtonCG(case.problem, W, np.random.RandomState(0), exact=True)
    for _ in range(50):
        if not engine.step():
            break
    assert case.plain.objective(engine.W) - least <= 1e-9


def test_gram_of_a_sample_is_near_that_of_all_rows():
    case = case_of("labels", 0, n=(30_000, 30_001), p=(45, 46), k=(3, 4), scales=0, storage="dense")
    weights = case.problem.weights
    metric = Metric(case.problem, np.random.RandomState(0), weights)
    A = case.plain.Z.T @ (weights[:, None] * case.plain.Z) + np.diag(case.plain.decay[:, 0])
    V = case.rng.standard_normal((46, 3))
    ratio = np.sum(V * metric.divide(A @ V)) / np.sum(V * V)
    assert 0.7 < ratio < 1.3
