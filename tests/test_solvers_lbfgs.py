"""The objective, the preconditioner, L-BFGS in it and its rule of the end, against plain NumPy."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from plain import KINDS, random_case
from registry import then_long

from skce import MultinomialLogistic
from skce._solvers import lbfgs, preconditioners
from skce._solvers.lbfgs import LBFGS, minimize
from skce._solvers.objective import Objective
from skce._solvers.preconditioners import Preconditioner
from skce._solvers.result import Limits
from skce._solvers.stopping import Stop
from skce._solvers.sums import Drawn, draw_rows, hessian
from skce._solvers.whole import WholeHessian, is_small

every_kind = pytest.mark.parametrize("name", KINDS)
many_seeds = pytest.mark.parametrize("seed", then_long(range(3)))
WAYS = {
    "matrices": {},
    "one matrix": {"MATRICES_SIZE": 0, "CACHED_SIZE": 0},
    "diagonal": {"MOST_COLUMNS": 0},
}
every_way = pytest.mark.parametrize("way", WAYS)


def case_of(name, seed, **options):
    defaults = {"dtype": np.float64, "scales": 1, "n": (40, 80)}
    return random_case(8 * seed + list(KINDS).index(name), **{**defaults, **options})


def choose(monkeypatch, way):
    for name, value in WAYS[way].items():
        monkeypatch.setattr(preconditioners, name, value)


ALL_ROWS = Drawn(None, None, 0)


def start(problem, W=None):
    """L-BFGS in the preconditioner of the constants."""
    W = problem.constants() if W is None else W
    return LBFGS(Objective(problem), Preconditioner(problem, ALL_ROWS), W)


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
    weights = case.problem.weights[:, None]
    rows = np.arange(len(plain.Z))[::-2]
    for share in 0.0, 0.01:
        least = share * curvature.sum(axis=0) / weights.sum()
        expected = np.maximum(curvature, least * weights)[rows]
        found = objective.curvature(True, share)(case.problem, rows)
        assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
        mean = objective.curvature(False, share)(case.problem, rows)
        assert_allclose(mean, found.mean(axis=1, keepdims=True))
        assert (found[case.problem.weights[rows] > 0] > 0).all()


@many_seeds
@every_kind
def test_largest_scaled_gradient_does_not_depend_on_the_scale_of_columns(name, seed):
    case = case_of(name, seed)
    weights = case.problem.weights / case.problem.weights.sum()
    squares = weights @ case.plain.Z[:, :-1] ** 2 + 4 * case.plain.alpha
    unit = np.append(1 / np.sqrt(squares), 1.0)
    gradient = case.rng.standard_normal(case.plain.shape)
    expected = np.abs(gradient * unit[:, None]).max()
    assert_allclose(Objective(case.problem).largest_scaled_gradient(gradient), expected, rtol=1e-9)


@many_seeds
@every_kind
@every_way
def test_preconditioner_is_the_second_moments_of_each_curvature_and_the_penalty(
    name, seed, way, monkeypatch
):
    choose(monkeypatch, way)
    case = case_of(name, seed)
    plain, problem = case.plain, case.problem
    columns = problem.k if way == "matrices" else 1
    each = np.abs(case.rng.standard_normal((len(plain.Z), columns)))
    each *= problem.weights[:, None] > 0
    preconditioner = Preconditioner(problem, ALL_ROWS, lambda _, rows: each[rows])
    W, V = direction_of(case), direction_of(case)
    product = np.empty_like(W)
    for c in range(problem.k):
        A = plain.Z.T @ (each[:, [min(c, columns - 1)]] * plain.Z) + np.diag(plain.decay[:, 0])
        if not plain.fit_intercept:
            A[-1, :-1] = A[:-1, -1] = 0
        A = np.diag(A.diagonal()) if way == "diagonal" else A
        product[:, c] = A @ W[:, c]
    if plain.sigmoid:
        assert_allclose(
            preconditioner.to_weights(preconditioner.to_gradient(product)), W, rtol=1e-6, atol=1e-8
        )
    # a gradient belongs to coordinates as <g, W> does
    in_weights = np.sum(V * preconditioner.to_weights(W))
    assert_allclose(np.sum(preconditioner.to_gradient(V) * W), in_weights, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("alpha", "near"), [(1e-9, 1e-5), (1e-2, 0.2)])
@every_kind
def test_preconditioner_of_the_constants_is_the_hessian_there(name, alpha, near):
    """Of a sigmoid all of it, of a softmax its diagonal blocks: nearly, where the penalty counts.

    One matrix serves all labels, whose shares differ.
    """
    case = case_of(name, 0, scales=0, alpha=alpha)
    plain, problem = case.plain, case.problem
    W = problem.constants()
    preconditioner, objective = Preconditioner(problem, ALL_ROWS), Objective(problem)
    objective.value_and_gradient(W)
    for c in range(problem.k):
        if plain.sigmoid and problem.label_weights[c] > 0:
            V = np.zeros(plain.shape)
            V[:, c] = case.rng.standard_normal(len(V))
            V[-1] *= plain.fit_intercept
            back = preconditioner.to_weights(preconditioner.to_gradient(objective.product(V)))
            if problem.knows_constants:
                assert_allclose(back, V, rtol=near, atol=near)
            assert np.sum(back * V) > 0


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_hessian_of_many_columns_is_that_of_plain_numpy(storage):
    # BLAS makes its products; so it does of all sizes where a compiler has no vectors
    case = random_case(1, n=(40, 41), p=(400, 401), dtype=np.float64, scales=1, storage=storage)
    W, V, objective = direction_of(case), direction_of(case), Objective(case.problem)
    objective.value_and_gradient(W)
    H = hessian(case.problem, objective.table)
    expected = case.plain.product(W, V)
    assert_allclose((H @ V.ravel()).reshape(V.shape), expected, rtol=1e-9, atol=1e-9)


@many_seeds
@every_kind
def test_whole_hessian_is_that_of_plain_numpy(name, seed):
    case = case_of(name, seed)
    plain, problem = case.plain, case.problem
    if not is_small(problem):
        assert plain.sigmoid
        assert problem.k > 1
        return
    W, V = direction_of(case), direction_of(case)
    objective = Objective(problem)
    _, gradient = objective.value_and_gradient(W)
    preconditioner = WholeHessian(objective)
    product = plain.product(W, V) + plain.decay * V
    product[-1] *= plain.fit_intercept
    back = preconditioner.to_weights(preconditioner.to_gradient(product))
    assert_allclose(back, V, rtol=1e-6, atol=1e-6 * np.abs(V).max())
    in_weights = np.sum(gradient * preconditioner.to_weights(V))
    turned = preconditioner.to_gradient(gradient)
    assert_allclose(np.sum(turned * V), in_weights, rtol=1e-6, atol=1e-8)
    engine = LBFGS(objective, None, W)
    assert engine.exact
    assert engine.step(True)
    assert engine.by_newton


@many_seeds
@every_kind
@every_way
def test_steps_fall_and_end_at_the_optimum(name, seed, way, monkeypatch):
    choose(monkeypatch, way)
    case = case_of(name, seed)
    plain = case.plain
    _, least = plain.optimum()
    engine = start(case.problem)
    noise = 1e-12 * case.problem.at_zero
    for step in range(400):
        before = engine.value
        newton = step % 3 == 2
        moved = engine.newton_step(noise) if newton else engine.step(step % 2)
        assert engine.value <= before + engine.objective.noise(before)
        assert_allclose(engine.value, plain.objective(engine.W), rtol=1e-10)
        if not moved or engine.value - least <= noise:
            break
    assert engine.value - least <= 1e-8 * case.problem.at_zero
    expected = plain.gradient(engine.W)
    assert_allclose(engine.gradient, expected, rtol=1e-6, atol=1e-8 * (1 + abs(expected).max()))


@many_seeds
@every_kind
def test_newton_step_falls_by_its_decrement_near_the_optimum(name, seed):
    case = case_of(name, seed, scales=0, alpha=1e-1)
    best, least = case.plain.optimum()
    engine = start(case.problem, best + 1e-3 * direction_of(case))
    before = engine.value - least
    assert engine.newton_step(0.0)
    assert engine.by_newton
    assert engine.value - least <= 0.1 * before
    assert engine.estimate >= 0.2 * (engine.value - least) - 1e-14


@every_kind
def test_another_preconditioner_begins_without_pairs_where_the_last_one_ended(name):
    case = case_of(name, 2, scales=0, alpha=1e-2)
    engine = start(case.problem)
    for _ in range(4):
        engine.step(remember=True)
    W, value, gradient = engine.W, engine.value, engine.gradient
    assert engine.pairs.used
    engine.renew(Preconditioner(case.problem, ALL_ROWS, engine.objective.curvature(True, 0.0)))
    assert engine.W is W
    assert engine.value == value
    assert engine.pairs.used == 0
    assert_allclose(engine.g, engine.preconditioner.to_gradient(gradient).ravel())
    assert_allclose(engine.left, engine.g @ engine.g / 2)


def run(case, tol, certified=False, max_iter=200, W=None):
    reported = []
    limits = Limits(tol, max_iter, certified, lambda *told: reported.append(told[2]))
    W = np.zeros(case.plain.shape) if W is None else W
    found = minimize(case.problem, W, np.random.RandomState(0), limits)
    assert found.curve == reported
    return found


@many_seeds
@every_kind
def test_an_end_is_within_tol_and_a_certified_one_has_the_proof(name, seed):
    case = case_of(name, seed, alpha=1e-3)
    _, least = case.plain.optimum()
    for tol in (1e-1, 1e-3, 1e-6):
        for certified in (False, True):
            found = run(case, tol, certified)
            value = case.plain.objective(found.W)
            assert_allclose(found.objective, value, rtol=1e-11)
            goal = case.problem.goal(value, tol)
            assert found.ended is None
            assert value - least <= goal
            assert found.gap >= value - least - 1e-12
            assert not certified or found.gap <= goal
            assert certified or min(found.estimate, found.gap) <= goal


@many_seeds
@every_kind
def test_the_bound_of_the_end_is_above_what_is_left_to_fall(name, seed):
    case = case_of(name, seed, alpha=1e-2)
    _, least = case.plain.optimum()
    engine = start(case.problem)
    stop = Stop(case.problem, engine, Limits(1e-3, 100))
    for _ in range(30):
        ended = stop()
        assert stop.bound >= engine.value - least - engine.objective.noise(engine.value)
        assert ended or stop.bound > case.problem.goal(engine.value, 1e-3)
        if not engine.step(False):
            break


@every_kind
def test_a_bound_of_passes_ends_with_its_reason(name, monkeypatch):
    monkeypatch.setattr(lbfgs, "PASSES", 2)
    case = case_of(name, 0, alpha=1e-6)
    found = run(case, 1e-12, max_iter=1)
    assert "2 passes" in found.ended
    assert 1 <= found.passes <= 40  # a step is finished


@every_kind
def test_ends_at_the_optimum_from_anywhere(name):
    """Also where the weights of a softmax do not sum to 0, as those of its optimum do."""
    case = case_of(name, 1, scales=0, alpha=1e-1)
    _, least = case.plain.optimum()
    W = np.full(case.plain.shape, 0.3)
    W[-1] *= case.plain.fit_intercept
    found = run(case, 1e-9, W=W)
    assert case.plain.objective(found.W) - least <= 1e-9


def test_preconditioner_of_a_sample_is_near_that_of_all_rows():
    case = case_of("labels", 0, n=(30_000, 30_001), p=(45, 46), k=(3, 4), scales=0, storage="dense")
    weights = case.problem.weights[:, None]
    drawn = draw_rows(case.problem, 5000, np.random.RandomState(0))
    preconditioner = Preconditioner(case.problem, drawn, lambda _, rows: weights[rows])
    A = case.plain.Z.T @ (weights * case.plain.Z) + np.diag(case.plain.decay[:, 0])
    V = case.rng.standard_normal((46, 3))
    ratio = np.sum(V * preconditioner.to_weights(preconditioner.to_gradient(A @ V))) / np.sum(V * V)
    assert 0.7 < ratio < 1.3


def test_rows_that_alone_know_a_column_are_drawn_and_the_others_stand_for_all():
    rng = np.random.default_rng(0)
    options = {"k": (3, 4), "scales": 0, "storage": "dense", "zeros": False}
    case = case_of("labels", 0, n=(5000, 5001), p=(6, 7), **options)
    X = case.problem.X.copy()
    rare = rng.choice(5000, 3, replace=False)
    X[:, 5], X[rare, 5] = 0, 1
    problem = replace(case.problem, X=X, centre=None)
    assert draw_rows(problem, 5000, rng) == (None, None, problem.n_weighted)
    numbers, others = [], []
    for seed in range(20):
        rows, times, number = draw_rows(problem, 1000, np.random.RandomState(seed))
        assert number == len(rows)
        assert_allclose(times[rare], 1)
        assert (np.flatnonzero(times) == rows).all()
        numbers.append(len(rows))
        others.append(times.sum())
    assert abs(np.mean(numbers) - 1000) <= 40
    assert abs(np.mean(others) - 5000) <= 250


@pytest.mark.parametrize("alpha", [1e-7, 1e-8])
def test_estimates_after_sdca_know_flat_directions(alpha):
    """Where SDCA gave up near the optimum; these two ended 1.8 and 2.6 tol off."""
    rng = np.random.default_rng(3)
    Z = rng.standard_normal((1000, 80))
    X = Z @ rng.standard_normal((80, 300))
    X /= X.std(axis=0)
    y = (Z @ rng.standard_normal((80, 30)) + 0.5 * rng.standard_normal((1000, 30))).argmax(axis=1)
    options = {"alpha": alpha, "max_iter": 1000, "random_state": 0}
    best = MultinomialLogistic(**options, tol=1e-6).fit(X, y)
    model = MultinomialLogistic(alpha=alpha, random_state=0).fit(X, y)
    assert best.converged_
    assert model.converged_
    assert model.objective_ <= best.objective_ * (1 + model.tol)


@pytest.mark.parametrize("seed", [7, 8, 11, 22, 36, 47])
def test_a_warm_start_that_is_proven_stays_as_it_is(seed):
    X, y = np.random.default_rng(seed).uniform(size=(30, 3)), np.arange(30) % 3
    model = MultinomialLogistic(alpha=0.01, warm_start=True).fit(X, y)
    coef = model.coef_
    assert model.certified_
    assert_allclose(model.fit(X, y).coef_, coef, rtol=1e-12)
    assert model.n_iter_ == 1
