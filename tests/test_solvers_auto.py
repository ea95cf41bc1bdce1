"""The way to the optimum: tol is honest, warnings are, and the optimum is LogisticRegression's."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plain import KINDS, random_case
from registry import then_long
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from threadpoolctl import threadpool_limits

from skce import MultiLabelLogistic, MultinomialLogistic, losses
from skce._solvers import auto
from skce._solvers.auto import find_optimum, minimize
from skce._solvers.result import Limits

SOLVERS = ["auto", "sdca", "lbfgs"]
TOLS = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
ROUNDING = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-12}

every_solver = pytest.mark.parametrize("solver", SOLVERS)


def solve(case, solver, tol, max_iter=100, W=None, certified=False):
    """find_optimum of a new copy: sdca writes to the cached start of its problem."""
    W = np.zeros(case.plain.shape) if W is None else W
    random = np.random.RandomState(0)
    return find_optimum(replace(case.problem), W, random, Limits(tol, max_iter, certified), solver)


@pytest.mark.filterwarnings("error")
@every_solver
def test_tol_is_honest(solver):
    check_tol(solver, range(56))


@pytest.mark.long
@pytest.mark.filterwarnings("error")
@every_solver
def test_tol_is_honest_in_a_thousand_fits(solver):
    check_tol(solver, range(56, 256))


def check_tol(solver, seeds):
    """F - F* <= tol * max(F - H, sqrt(eps) F0) of E5 wherever the fit says it converged."""
    ended = {tol: [] for tol in TOLS}
    for seed in seeds:
        n = 20 + seed % 56
        relative_alpha = 10.0 ** np.random.default_rng(seed).uniform(-4, 2)
        case = random_case(seed, scales=1, n=(n, n + 1), alpha=relative_alpha / n)
        plain, eps = case.plain, np.finfo(case.problem.X.dtype).eps
        _, least = plain.optimum()
        floor = np.sqrt(eps) * case.problem.at_best_intercept
        for tol in TOLS:
            found = solve(case, solver, tol)
            W = found.W.astype(float)
            value = plain.objective(W)
            tiny = ROUNDING[case.problem.X.dtype] * max(value, case.problem.at_zero)
            assert_allclose(found.objective, value, rtol=0, atol=tiny)
            assert value <= case.problem.at_zero + tiny
            if found.ended is None:
                goal = tol * max(value - plain.entropy(), floor)
                assert value - least <= goal + tiny
            if relative_alpha >= 0.01:
                ended[tol].append(found.ended)
    for tol, reasons in ended.items():
        converged = np.mean([reason is None for reason in reasons])
        print(f"{solver}, tol={tol}: {converged:.0%} of {len(reasons)} converged")
        assert converged >= 0.9


@pytest.mark.parametrize("solver", ["sdca", "lbfgs"])
def test_gap_is_not_far_above_the_true_one(solver):
    """For columns alike: that of lbfgs grows with curvature / alpha (65 for scales of 10)."""
    ratios = []
    for seed in range(200):
        case = random_case(seed, scales=0, n=(20, 90))
        found = solve(case, solver, 1e-3, certified=True)
        value, least = case.plain.objective(found.W.astype(float)), case.plain.optimum()[1]
        tiny = ROUNDING[case.problem.X.dtype] * case.problem.at_zero
        assert found.gap >= value - least - 10 * tiny
        if found.ended is None and value - least > 10 * tiny:
            ratios.append(found.gap / (value - least))
    print(f"{solver}: median of gap / true gap {np.median(ratios):.3g} of {len(ratios)} fits")
    assert len(ratios) >= 100
    assert np.median(ratios) <= 20


@every_solver
@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_warning_exactly_where_not_converged(solver, storage):
    rng = np.random.default_rng(0)
    seen = set()
    for seed in range(12):
        X = rng.standard_normal((60, 40)) * 10.0 ** rng.uniform(-1, 1, 40)
        X = sparse.csr_array(X * (rng.random(X.shape) < 0.5)) if storage == "csr" else X
        y = rng.integers(0, 3, 60)
        model = MultinomialLogistic(
            solver=solver, alpha=10.0 ** rng.uniform(-6, -1), random_state=seed,
            max_iter=[1, 3, 100][seed % 3], tol=[1e-1, 1e-14][seed % 2],
        )  # fmt: skip
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            model.fit(X, y)
        assert [w.category for w in record] == [ConvergenceWarning] * (not model.converged_)
        seen.add(model.converged_)
    assert seen == {False, True} or solver == "auto"


def features(storage, n=400, p=6):
    rng = np.random.default_rng(4)
    X = rng.standard_normal((n, p)) + 0.3 * rng.standard_normal((n, 1))
    if storage == "csr":
        return sparse.csr_array(X * (rng.random((n, p)) < 0.5)), rng
    return X + 0.5, rng


def logistic(C, **options):
    return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=1000, **options)


def assert_equal_to(model, expected):
    coef = np.asarray(expected.coef_)
    assert_allclose(model.coef_, coef, rtol=1e-3, atol=1e-3 * np.abs(coef).max())
    found, wanted = model.intercept_, np.ravel(expected.intercept_)
    assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * max(np.abs(wanted).max(), 0.1))


@every_solver
@pytest.mark.parametrize("storage", ["dense", "csr"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights"])
@pytest.mark.parametrize("class_weight", [None, "balanced", "dict"])
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["", "no intercept"])
@pytest.mark.parametrize("k", [2, 4])
def test_optimum_is_that_of_logistic_regression(
    solver, storage, weighted, class_weight, fit_intercept, k
):
    X, rng = features(storage)
    y = (X @ rng.standard_normal((6, k)) + rng.gumbel(size=(400, k))).argmax(axis=1)
    w = rng.uniform(0.2, 3, 400) if weighted else np.ones(400)
    by_class = np.ones(k)
    if class_weight == "dict":
        by_class = np.linspace(0.5, 2, k)
        class_weight = dict(enumerate(by_class))
    elif class_weight == "balanced":
        by_class = w.sum() / (k * np.bincount(y, w))
    options = {"class_weight": class_weight, "fit_intercept": fit_intercept}
    model = MultinomialLogistic(
        solver=solver, alpha=1e-3, tol=1e-9, max_iter=1000, random_state=0, **options
    ).fit(X, y, sample_weight=w if weighted else None)
    assert model.converged_
    C = 1 / (1e-3 * (w * by_class[y]).sum())
    assert_equal_to(model, logistic(C, **options).fit(X, y, sample_weight=w))


@every_solver
@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_optimum_of_labels_is_one_vs_rest(solver, storage):
    X, rng = features(storage)
    Y = (X @ rng.standard_normal((6, 5)) > rng.logistic(size=(400, 5))).astype(int)
    model = MultiLabelLogistic(
        solver=solver, alpha=1e-3, tol=1e-9, max_iter=1000, random_state=0
    ).fit(X, Y)
    assert model.converged_
    expected = OneVsRestClassifier(logistic(1 / (1e-3 * 400))).fit(X, Y)
    for label, column in enumerate(expected.estimators_):
        one = MultiLabelLogistic()
        one.coef_, one.intercept_ = model.coef_[[label]], model.intercept_[[label]]
        assert_equal_to(one, column)


@every_solver
@pytest.mark.parametrize("name", KINDS)
def test_optimum_is_that_of_plain_newton(solver, name):
    for seed in range(3):
        number = 8 * seed + list(KINDS).index(name)
        case = random_case(number, scales=0, n=(40, 80), alpha=1e-2, dtype=np.float64)
        best, least = case.plain.optimum()
        found = solve(case, solver, 1e-9, 1000)
        assert found.ended is None
        assert case.plain.objective(found.W.astype(float)) - least <= 1e-8 * least
        for W in (best, found.W):  # the logits of an observed entry are unique up to a shift
            s = case.plain.Z @ W
            s = s if case.plain.sigmoid else s - s.mean(axis=1, keepdims=True)
            if W is best:
                expected = s
        assert_allclose(s, expected, atol=2e-3 * (1 + np.abs(expected).max()))


@every_solver
@pytest.mark.parametrize("storage", ["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("alpha", then_long([1e-3, 1e-6]))
def test_many_rows_begin_on_samples_and_end_within_tol(solver, storage, dtype, alpha):
    X, rng = features(storage, 24_000, 24)
    y = (X @ rng.standard_normal((24, 8)) + 2 * rng.gumbel(size=(24_000, 8))).argmax(axis=1)
    model = MultinomialLogistic(solver=solver, alpha=alpha, tol=1e-4, random_state=0)
    model.fit(X.astype(dtype), y)
    assert model.converged_
    best = LogisticRegression(C=1 / (alpha * 24_000), tol=1e-6, max_iter=500).fit(X, y)

    def objective(fitted):
        penalty = alpha / 2 * np.sum(fitted.coef_.astype(float) ** 2)
        logits = X @ fitted.coef_.T.astype(float) + fitted.intercept_.astype(float)
        return losses.softmax_cross_entropy(logits, y) + penalty

    value, least = objective(model), objective(best)
    assert_allclose(model.objective_, value, rtol=1e-6)
    assert value - least <= 1.0001e-4 * value
    assert model.dual_gap_ >= value - least - 1e-6 * value
    assert model.gap_estimate_ <= 1.0001e-4 * value


@every_solver
@pytest.mark.parametrize("storage", ["dense", "csr"])
@pytest.mark.parametrize("estimator", [MultinomialLogistic, MultiLabelLogistic])
def test_bits_do_not_depend_on_the_number_of_threads(solver, storage, estimator):
    rng = np.random.default_rng(1)
    n, p, k = 20_000, 30, 8
    X = rng.standard_normal((n, p)) * (rng.random((n, p)) < 0.5)
    scores = X @ rng.standard_normal((p, k)) + rng.gumbel(size=(n, k))
    y = scores.argmax(axis=1) if estimator is MultinomialLogistic else (scores > 1).astype(int)
    X = sparse.csr_array(X) if storage == "csr" else X
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            model = estimator(solver=solver, alpha=1e-3, tol=1e-3, random_state=0).fit(X, y)
        found.append(np.r_[model.coef_.ravel(), model.intercept_, model.objective_])
    assert_array_equal(*found)


@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_no_row_with_a_target():
    Y = np.zeros((5, 3))
    model = MultiLabelLogistic(loss="softmax").fit(np.eye(5), Y)
    assert model.objective_ == model.dual_gap_ == 0
    assert not model.coef_.any()


@every_solver
def test_start_worse_than_zero_is_left(solver):
    case = random_case(0, scales=0, dtype=np.float64, alpha=1e-2)
    _, least = case.plain.optimum()
    for start in (1e6, 1.0):
        W = start * case.rng.standard_normal(case.plain.shape)
        found = solve(case, solver, 1e-6, 1000, W)
        assert found.ended is None
        assert case.plain.objective(found.W.astype(float)) - least <= 1e-6 * least


@pytest.mark.parametrize("seed", [1084, 1311, 1792])
def test_step_that_promises_little_is_no_certificate(seed):
    """Where a whole step of Newton's method promised less than 1 % of the goal."""
    rng = np.random.default_rng(seed)
    scales, alpha = float(rng.choice([0, 2, 4])), 10 ** rng.uniform(-7, 1) / 30
    case = random_case(seed, scales=scales, n=(10, 60), alpha=alpha)
    found = solve(case, "lbfgs", 1e-2)
    value = case.plain.objective(found.W.astype(float))
    floor = np.sqrt(np.finfo(case.problem.X.dtype).eps) * case.problem.at_best_intercept
    goal = 1e-2 * max(value - case.plain.entropy(), floor)
    assert found.ended is not None or value - case.plain.optimum()[1] <= goal


@pytest.mark.parametrize("seed", [544, 1040, 1101, 1184, 1496, 1589])
def test_separable_rows_end_within_tol_of_a_tiny_objective(seed):
    """Their gradient is small long before the gap is."""
    alpha = 10 ** np.random.default_rng(seed).uniform(-12, -9)
    case = random_case(seed, n=(5, 15), p=(4, 8), alpha=alpha, dtype=np.float64)
    found = solve(case, "auto", 1e-3)
    value, least = case.plain.objective(found.W), case.plain.optimum()[1]
    assert found.ended is None
    assert value < 1e-6
    assert value - least <= 3 * case.problem.goal(value, 1e-3) + 1e-14


@pytest.mark.parametrize("solver", ["auto", "lbfgs"])
@pytest.mark.parametrize("alpha", [0.0, 1e-3])
@pytest.mark.parametrize("k", [2, 4])
def test_few_rows_of_many_columns_are_solved_in_their_span(solver, alpha, k):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 400)) + 3, np.arange(30) % k
    y[:6] = np.arange(6) // 3 % k
    weights = rng.uniform(0.5, 2, 30)
    weights[[5, 20]] = 0
    shapes = []

    class Observed(MultinomialLogistic):
        def _observe(self, coef, intercept):
            shapes.append((coef.shape, intercept.shape))

    options = {"solver": solver, "alpha": alpha, "tol": 1e-6, "random_state": 0}
    X[15:] = X[:15]  # not separable
    y[15:] = (y[:15] + 1) % k
    model = Observed(**options).fit(X, y, sample_weight=weights)
    assert model.converged_
    outputs = 1 if k == 2 else k
    assert set(shapes) == {((outputs, 400), (outputs,))}
    used = weights > 0
    rows = X[used] - X[used].mean(axis=0)
    left = model.coef_.T - np.linalg.lstsq(rows, rows @ model.coef_.T, rcond=1e-10)[0]
    assert np.abs(left).max() <= 1e-8 * np.abs(model.coef_).max() + 1e-12
    if alpha:
        expected = logistic(1 / (alpha * weights.sum())).fit(X, y, sample_weight=weights)
        assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=5e-3)


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
def test_a_span_keeps_columns_of_small_scale(storage, monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 24)), rng.integers(0, 3, 20)
    X = storage(X * np.where(np.arange(24) < 4, 1e3, 1e-3))
    model = MultinomialLogistic(solver="lbfgs", alpha=1e-8, tol=1e-5, random_state=0)
    few = model.fit(X, y).objective_
    monkeypatch.setattr(auto, "is_wide", lambda problem: False)
    assert_allclose(few, model.fit(X, y).objective_, rtol=3e-5)


@pytest.mark.filterwarnings("ignore:y has labels of one value")
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("rows", ["zero", "alike", "one"])
def test_rows_that_span_nothing_are_fitted_by_constants(rows, storage):
    X = np.zeros((4, 6)) if rows == "zero" else np.full((4, 6), 3.0)
    Y = np.array([[1, 0, 1], [0, 1, 1], [1, 0, 0], [1, 1, 1]])
    if rows == "one":
        X, Y = X[:1], Y[:1]
    model = MultiLabelLogistic(loss="softmax", solver="lbfgs", alpha=1e-6, tol=1e-6)
    model.fit(storage(X), Y)
    shares = (Y / Y.sum(axis=1, keepdims=True)).mean(axis=0)
    assert_allclose(model.predict_proba(storage(X))[0], shares, atol=2e-2)


@pytest.mark.filterwarnings("ignore:y has labels of one value")  # others are errors
@every_solver
def test_best_constants_that_are_the_optimum_are_converged(solver):
    """One row with two of three labels: equal shares of both, to which L-BFGS comes from above."""
    X = np.random.default_rng(0).standard_normal((1, 4))
    model = MultiLabelLogistic(loss="softmax", solver=solver).fit(X, [[1, 0, 1]])
    assert model.converged_
    assert_allclose(model.objective_, np.log(2), rtol=1e-2)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_passes_in_the_dtype_of_X_and_in_double_are_all_counted():
    case = random_case(0, dtype=np.float32, scales=1, n=(300, 301), alpha=1e-4)
    told = []
    limits = Limits(1e-9, 100, report=lambda name, passes, value, W, gap: told.append(passes))
    start, rng = np.zeros(case.plain.shape), np.random.RandomState(0)
    found = minimize(case.problem, start, rng, limits, "lbfgs")
    ends = [here for here, later in zip(told, [*told[1:], 0], strict=True) if later < here]
    assert len(ends) == 2  # of float32 and of float64
    assert sum(ends) <= found.passes <= sum(ends) + 1


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("p", [256, 257])
@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_sdca_begins_where_it_is_faster(storage, p, k):
    X, y = np.random.default_rng(0).standard_normal((60, p)), np.arange(60) % k
    X, named = sparse.csr_array(X) if storage == "csr" else X, {}
    for solver in ("auto", "sdca", "lbfgs"):
        model = MultinomialLogistic(solver=solver, random_state=0).fit(X, y)
        named[solver] = model.coef_.tobytes()
    assert named["sdca"] != named["lbfgs"]
    expected = "sdca" if p > 256 and (storage == "csr" or k > 2) else "lbfgs"
    assert named["auto"] == named[expected]


@pytest.mark.parametrize("solver", ["auto", "lbfgs"])
def test_classes_without_rows_do_not_spoil_fits_in_float32(solver):
    # their intercepts ran to 1e7, where float32 tells no logit: the objective was below the optimum
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((26, 10)).astype(np.float32), rng.integers(0, 10, 26)
    for alpha in (1e-4, 1e-2, 1.0):
        least = MultinomialLogistic(alpha=alpha, tol=1e-8).fit(X.astype(float), y).objective_
        model = MultinomialLogistic(alpha=alpha, solver=solver).fit(X, np.eye(30)[y])
        coef, T = model.coef_.astype(float), np.eye(30)[y]
        Z = X.astype(float) @ coef.T + model.intercept_
        there = (np.logaddexp.reduce(Z, axis=1) - (T * Z).sum(axis=1)).mean()
        there += alpha / 2 * np.sum(coef**2)
        assert model.converged_
        assert_allclose(model.objective_, there, rtol=1e-6)
        assert least * (1 - 1e-6) < there < least * (1 + 1e-2)
