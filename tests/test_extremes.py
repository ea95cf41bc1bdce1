"""Every solver of the optimum on data that are hard in one way each.

The coefficients are finite and never worse than zero, by plain NumPy; the only warning is that the
fit did not converge.
"""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plain import Plain
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skce import MultiLabelLogistic, MultinomialLogistic, losses

SOLVERS = ["auto", "sdca", "lbfgs"]
RNG = np.random.default_rng(0)
N = 120
X = RNG.standard_normal((N, 4))
Y = (X @ RNG.standard_normal((4, 3)) + RNG.gumbel(size=(N, 3))).argmax(axis=1)
SCALES = np.array([1.0, 1e-8, 1e9, 1.0])
SPARSE = X * (RNG.random(X.shape) < 0.4)


def with_rows(rows, values, column=None):
    A = X.copy()
    A[rows, slice(None) if column is None else column] = values
    return A


def lit_in_two_rows():
    column = np.zeros((N, 1))
    column[[3, 77]] = [[1.0], [2.0]]
    return np.hstack([X, column])


def thousand_classes():
    y = np.arange(2100) % 1000
    return np.random.default_rng(1).standard_normal((2100, 3)), y


CASES = {  # X, y, options, weights
    "constant column": (np.hstack([X, np.full((N, 1), 0.1)]), Y),
    "large constant column": (np.hstack([X, np.full((N, 1), 1e6)]), Y),
    "duplicate columns": (np.hstack([X, X, X]), Y),
    "more columns than rows": (RNG.standard_normal((30, 50)), Y[:30]),
    "separable": (X * [1, 1, 1, 0] + 0, (X[:, 0] > 0) * 1, {"alpha": 1e-10}),
    "separable, no penalty": (X, (X[:, 0] > 0) * 1, {"alpha": 0.0}),
    "separable, three classes": (X, np.digitize(X[:, 0], [-0.5, 0.5]), {"alpha": 1e-10}),
    "three classes, no penalty": (X, np.digitize(X[:, 0], [-0.5, 0.5]), {"alpha": 0.0}),
    "not separable, no penalty": (X, Y, {"alpha": 0.0}),
    "small and large columns": (X * SCALES, Y),
    "small and large, little penalty": (X * SCALES, Y, {"alpha": 1e-9}),
    "column lit in two rows": (lit_in_two_rows(), Y),
    "one row a class": (RNG.standard_normal((9, 4)), np.arange(9)),
    "two classes": (X, Y > 0),
    "three rows": (X[:3], Y[:3] * 0 + [0, 1, 2]),
    "weights spanning 1e6": (X, Y, {}, 10.0 ** RNG.uniform(-3, 3, N)),
    "one row has all the weight": (X, Y, {}, np.where(np.arange(N) == 5, 1e12, 1e-3)),
    "outlier rows": (with_rows([1, 2], 1e5), Y),
    "far outlier": (with_rows([7], 1e9, 0), Y),
    "far outlier, little penalty": (with_rows([7], 1e9, 0), Y, {"alpha": 1e-9}),
    "all zero": (np.zeros((N, 4)), Y),
    "one column": (X[:, :1], Y),
    "empty rows": (SPARSE * (np.arange(N) % 3 == 0)[:, None], Y),
    "no intercept": (X + 5, Y, {"fit_intercept": False}),
    "large penalty": (X, Y, {"alpha": 1e6}),
    "smoothing 1": (X, Y, {"label_smoothing": 1.0}),
    "rare class": (X, np.where(np.arange(N) == 3, 2, Y > 0)),
    "far from zero": (X + 1e4, Y),
}
every_solver = pytest.mark.parametrize("solver", SOLVERS)
every_case = pytest.mark.parametrize("case", CASES)
every_storage = pytest.mark.parametrize("storage", ["dense", "csr"])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def fit(model, A, y, weights=None):
    """Fit; return whether it warned, only that it did not converge."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        model.fit(A, y, sample_weight=weights)
    record = [w for w in record if not str(w.message).startswith("y has labels of one value")]
    others = [str(w.message) for w in record if w.category is not ConvergenceWarning]
    assert others == []
    assert len(record) == (not model.converged_)
    return bool(record)


def assert_sane(model, A, T, loss, weights=None, rtol=1e-6):
    """Check the coefficients by plain NumPy."""
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    assert np.isfinite(model.objective_)
    assert np.isnan(model.dual_gap_) or model.dual_gap_ >= 0
    plain = Plain(
        *(loss, A, T, np.ones(len(T)) if weights is None else weights),
        smoothing=model.label_smoothing,
        alpha=model.alpha,
        fit_intercept=model.fit_intercept,
    )
    at_zero = plain.objective(np.zeros(plain.shape))
    W = np.vstack([model.coef_.T, model.intercept_]).astype(float)
    assert model.objective_ <= at_zero * (1 + rtol)
    value = plain.objective(W)
    assert value <= at_zero * (1 + rtol)
    # what was published is what was found, but for rounding of large columns less their mean
    size = np.abs(plain.Z).max() * np.finfo(model.coef_.dtype).eps * np.abs(W).max()
    assert abs(value - model.objective_) <= (rtol + 100 * size) * at_zero
    return plain


def as_targets(y):
    classes, labels = np.unique(y, return_inverse=True)
    T = np.eye(len(classes))[labels]
    return (T[:, 1:], "sigmoid") if len(classes) == 2 else (T, "softmax")


@every_dtype
@every_storage
@every_solver
@every_case
def test_hard_data(case, solver, storage, dtype):
    A, y, options, weights = (*CASES[case], *({}, None)[len(CASES[case]) - 2 :])
    if solver == "sdca" and options.get("alpha") == 0:
        return  # refused
    A = A.astype(dtype)
    A = sparse.csr_array(A) if storage == "csr" else A
    model = MultinomialLogistic(solver=solver, random_state=0, **options)
    fit(model, A, y, weights)
    assert model.coef_.dtype == dtype
    T, loss = as_targets(y)
    rtol = 1e-4 if dtype == np.float32 else 1e-6
    plain = assert_sane(model, A, T, loss, weights, rtol)
    if model.alpha and model.converged_:
        lower = model.objective_ - model.dual_gap_
        W, least = plain.optimum()
        assert lower <= least + rtol * plain.objective(0 * W)


@every_storage
@every_solver
def test_a_thousand_classes(solver, storage):
    A, y = thousand_classes()
    A = sparse.csr_array(A) if storage == "csr" else A
    model = MultinomialLogistic(solver=solver, alpha=1e-3, random_state=0)
    fit(model, A, y)
    assert model.converged_
    assert model.objective_ <= np.log(1000)
    assert_sane(model, A, np.eye(1000)[y], "softmax")


@every_solver
def test_one_class_is_refused_and_one_label_is_binary(solver):
    with pytest.raises(ValueError, match="class"):
        MultinomialLogistic(solver=solver).fit(X, np.zeros(N))
    y = (Y > 0) * 1.0
    for storage in (np.asarray, sparse.csr_array):
        found = []
        for target in (y, sparse.csr_array(y[:, None])):
            model = MultiLabelLogistic(solver=solver, tol=1e-8, max_iter=1000, random_state=0)
            fit(model, storage(X), target)
            assert_sane(model, storage(X), y[:, None], "sigmoid")
            found.append(model.objective_)
        assert abs(found[0] - found[1]) <= 1e-12


@every_storage
@every_solver
@pytest.mark.parametrize("labels", ["never and always", "half missing", "nothing observed"])
def test_labels_of_one_kind(labels, solver, storage):
    T = np.column_stack([np.zeros(N), np.ones(N), Y > 0, Y == 1]).astype(float)
    if labels != "never and always":
        T[::2] = np.nan
    if labels == "nothing observed":
        T[:, 2] = np.nan
    A = sparse.csr_array(SPARSE) if storage == "csr" else SPARSE
    model = MultiLabelLogistic(solver=solver, random_state=0)
    fit(model, A, T)
    assert_sane(model, A, T, "sigmoid")
    model = MultiLabelLogistic(loss="softmax", solver=solver, random_state=0)
    fit(model, A, T)
    assert_sane(model, A, T, "1/M")


@every_storage
@every_solver
@pytest.mark.parametrize("factor", [1.0, 1.001, 0.5, 3.0, 1e6, -1e6])
@pytest.mark.parametrize("k", [2, 3])
def test_warm_start_ends_at_the_same_optimum(k, factor, solver, storage):
    A = sparse.csr_array(SPARSE) if storage == "csr" else X
    y = np.minimum(Y, k - 1)
    options = {"alpha": 1e-3, "tol": 1e-6, "max_iter": 1000}
    model = MultinomialLogistic(solver=solver, random_state=0, **options)
    best = model.fit(A, y).objective_
    model.coef_, model.intercept_ = factor * model.coef_, factor * model.intercept_
    model.set_params(warm_start=True)
    assert not fit(model, A, y)
    assert abs(model.objective_ - best) <= 2e-6 * best


@every_solver
@pytest.mark.parametrize("shift", [0.01, 0.3])
def test_warm_start_need_not_sum_to_zero(solver, shift):
    options = {"alpha": 1e-2, "tol": 1e-6, "max_iter": 1000}
    model = MultinomialLogistic(solver=solver, random_state=0, warm_start=True, **options)
    best = model.fit(X, Y).objective_
    model.coef_ = model.coef_ + shift
    assert not fit(model, X, Y)
    assert model.objective_ - best <= 2e-6 * best


@every_solver
def test_result_is_never_worse_than_zero_whatever_tol(solver):
    """Where zero is nearly the optimum, coefficients that tol allows may be worse than it."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        A, y = rng.standard_normal((60, 4)), np.arange(60) % 3
        for alpha in (1.0, 10.0):
            model = MultinomialLogistic(solver=solver, alpha=alpha, tol=0.1, random_state=seed)
            fit(model, A, y)
            assert_sane(model, A, np.eye(3)[y], "softmax", rtol=1e-12)


@pytest.mark.parametrize("solver", ["lbfgs", "auto"])
def test_few_weighted_rows_among_many_are_the_fit(solver):
    n, p, k = 20_000, 15, 6
    Z = RNG.standard_normal((n, p))
    y = (Z[:, :k] * 0.5 + RNG.gumbel(size=(n, k))).argmax(axis=1)
    weight = np.zeros(n)
    weight[RNG.choice(n, 1000, replace=False)] = 1
    few = weight > 0
    expected = MultinomialLogistic(solver=solver, random_state=0).fit(Z[few], y[few])
    for seed in range(3):
        found = MultinomialLogistic(solver=solver, random_state=seed).fit(Z, y, weight)
        assert found.converged_
        assert abs(found.objective_ - expected.objective_) <= 2e-3 * expected.objective_


@every_storage
@pytest.mark.parametrize("scale", [1e155, 1e300])
def test_squares_that_overflow_are_named(scale, storage):
    A = RNG.standard_normal((40, 3)) * [1.0, scale, 1.0]
    X = A if storage == "dense" else sparse.csr_array(A)
    model = MultinomialLogistic(solver="lbfgs")
    with pytest.raises(ValueError, match="X must have finite squares, got entries up to [0-9]e"):
        model.fit(X, np.arange(40) % 3)
    assert not hasattr(model, "coef_")


@every_dtype
@pytest.mark.parametrize("tol", [0.0, 1e-3])
@pytest.mark.parametrize("alpha", [1e-10, 1e-3])
@pytest.mark.parametrize("others", [0, 1])
def test_labels_of_one_value_keep_intercept_and_gap_finite(others, alpha, tol, dtype):
    A = np.random.default_rng(0).standard_normal((50, 5)).astype(dtype)
    y = np.column_stack([np.ones(50, int), np.zeros(50, int), A[:, 0] > 0])[:, : 2 + others]
    model = MultiLabelLogistic(alpha=alpha, tol=tol)
    assert not fit(model, A, y)
    assert np.abs(model.intercept_[:2]).max() < 50
    floor = np.sqrt(np.finfo(dtype).eps) * np.log(2) * others  # tol is of no less than this
    assert model.gap_estimate_ <= max(1e-6, tol) * max(model.objective_, floor) + 1e-14
    assert np.isfinite(model.dual_gap_)
    assert model.n_iter_ < 500  # those in float32 and those in double


def test_label_that_is_certain_at_the_start_leaves_the_others():
    """Its curvature is below what the reciprocal of a double holds."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((200, 3))
    A[:, 0] = np.sign(A[:, 0])
    y = np.column_stack([A[:, 0] > 0, A[:, 1] + rng.standard_normal(200) > 0])
    model = MultiLabelLogistic(alpha=0.0, tol=1e-8, warm_start=True).fit(A, y)
    expected = model.coef_[1].copy()
    model.coef_, model.intercept_ = np.array([[720.0, 0, 0], [0, 0, 0]]), np.zeros(2)
    assert not fit(model, A, y)
    np.testing.assert_allclose(model.coef_[1], expected, rtol=1e-4)


@every_storage
@pytest.mark.parametrize("scale", [3e19, 1e20, 1e22])
def test_a_loss_that_overflows_is_no_certificate(scale, storage):
    A = np.random.default_rng(0).standard_normal((60, 4)) * [scale, 1, 1, 1]
    X = A.astype(np.float32)
    X = sparse.csr_array(X) if storage == "csr" else X
    model = MultinomialLogistic(solver="sdca", random_state=0)
    assert fit(model, X, A[:, 0] > 0)
    assert np.isfinite(model.dual_gap_)


@every_dtype
@every_solver
@pytest.mark.parametrize("kind", ["one-hot", "shares", "copies"])
def test_collinear_columns_without_a_penalty_have_modest_coefficients(solver, dtype, kind):
    """No step goes where the objective is flat: coefficients do not drift there."""
    if solver == "sdca":
        pytest.skip("needs a penalty")
    rng = np.random.default_rng(0)
    n = 2000
    Z = rng.standard_normal((n, 3))
    more = {
        "one-hot": np.hstack([np.eye(4)[rng.integers(4, size=n)] for _ in range(2)]),
        "shares": rng.dirichlet(np.ones(4), size=n),
        "copies": np.hstack([Z, 2 * Z[:, :1]]),
    }[kind]
    y = (Z @ rng.standard_normal((3, 3)) + rng.gumbel(size=(n, 3))).argmax(axis=1)
    A = np.hstack([Z, more]).astype(dtype)
    tol = 1e-3 if dtype == np.float32 else 1e-6
    model = MultinomialLogistic(solver=solver, alpha=0.0, tol=tol, random_state=0).fit(A, y)
    assert np.abs(model.coef_).max() < 10
    kept = A[:, :-1] if kind != "one-hot" else np.delete(A, [3, 7], axis=1)
    kept = A[:, :3] if kind == "copies" else kept
    best = MultinomialLogistic(alpha=0.0, tol=1e-8, random_state=0).fit(kept.astype(float), y)
    assert_allclose(model.objective_, best.objective_, rtol=1e-5 if dtype == np.float32 else 1e-7)
    unseen = np.zeros((3, A.shape[1]), dtype)
    assert model.predict_proba(unseen).max() < 0.99


@every_storage
@pytest.mark.parametrize("solver", [*SOLVERS, "sgd", "adagrad", "adam"])
@pytest.mark.parametrize(("dtype", "size"), [(np.float64, 1e200), (np.float32, 1e38)])
def test_entries_whose_squares_overflow_give_a_finite_result(solver, dtype, size, storage):
    A = (X[:, :3] * size).clip(-3e38 if size == 1e38 else -np.inf, 3e38 if size == 1e38 else np.inf)
    A = A.astype(dtype)
    A = sparse.csr_array(A) if storage == "csr" else A
    y = X[:, :3].argmax(axis=1)
    model = MultinomialLogistic(solver=solver, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(A, y)
    assert model.objective_ <= np.log(3) * (1 + 1e-6)
    assert np.isfinite(model.coef_).all()
    if solver in SOLVERS:
        assert model.dual_gap_ >= 0
    if solver in ("auto", "lbfgs"):
        assert model.objective_ < 0.1


@every_storage
@pytest.mark.parametrize("solver", ["auto", "lbfgs"])
@pytest.mark.parametrize(
    ("dtype", "size", "alpha"),
    [
        *((np.float64, 2.0**power, 0.0) for power in (-1000, -665, -520, 520, 665, 1000)),
        *((np.float64, 2.0**power, 1e-4) for power in (520, 665)),
        *((np.float32, 2.0**power, 0.0) for power in (-100, -70, 70, 120)),
    ],
)
def test_powers_of_two_of_X_change_nothing_but_the_penalty(dtype, size, alpha, solver, storage):
    generator = np.random.default_rng(0)
    A = generator.standard_normal((60, 3)).astype(dtype)
    y = (A + generator.gumbel(size=A.shape) / 2).argmax(axis=1)
    B = A * dtype(size)
    A, B = (sparse.csr_array(part) if storage == "csr" else part for part in (A, B))
    options = {"solver": solver, "tol": 1e-8, "random_state": 0}
    plain = MultinomialLogistic(alpha=0, **options).fit(A, y)
    model = MultinomialLogistic(alpha=alpha, **options).fit(B, y)
    assert model.converged_
    assert_allclose(model.objective_, plain.objective_, rtol=1e-7)
    assert_allclose(model.coef_ * np.float64(size), plain.coef_, rtol=1e-2)
    assert alpha == 0 or 0 <= model.dual_gap_ < np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_whose_squares_vanish_are_not_told_converged_without_a_penalty(dtype):
    generator = np.random.default_rng(0)
    A = generator.standard_normal((60, 3))
    y = (A + generator.gumbel(size=A.shape) / 2).argmax(axis=1)
    A[:, 1] *= 1e-200 if dtype is np.float64 else 1e-43
    A = A.astype(dtype)
    with pytest.warns(ConvergenceWarning, match="Not converged"):
        model = MultinomialLogistic(alpha=0).fit(A, y)
    assert not model.converged_
    assert np.isfinite(model.objective_)
    assert model.objective_ <= np.log(3)


@every_storage
@pytest.mark.parametrize("solver", ["sgd", "adagrad", "adam"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_streams_learn_from_the_largest_entries_they_take(solver, dtype, storage):
    A = (X[:, :3] * (1e15 / np.abs(X[:, :3]).max())).astype(dtype)
    A = sparse.csr_array(A) if storage == "csr" else A
    y = X[:, :3].argmax(axis=1)
    model = MultinomialLogistic(solver=solver, alpha=0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert model.fit(A, y).score(A, y) > 0.8


@pytest.mark.parametrize("estimator", [MultinomialLogistic, MultiLabelLogistic])
@pytest.mark.parametrize("offset", [1e5, 1e6])
@pytest.mark.parametrize("solver", [*SOLVERS, "sgd"])
def test_float32_far_from_zero_publishes_what_was_judged(solver, offset, estimator):
    rng = np.random.default_rng(1)
    A = (offset + rng.standard_normal((60, 5))).astype(np.float32)
    T = (A[:, :2] - np.float32(offset) + 0.2 * rng.standard_normal((60, 2)) > 0).astype(int)
    y = T if estimator is MultiLabelLogistic else T[:, 0]
    model = estimator(solver=solver, alpha=1e-4, random_state=0, max_iter=1000).fit(A, y)
    plain = Plain("sigmoid", A, T if y.ndim == 2 else T[:, :1], np.ones(60), alpha=1e-4)
    W = np.vstack([model.coef_.T, model.intercept_]).astype(float)
    assert_allclose(model.objective_, plain.objective(W), rtol=1e-5)
    agree = (model.decision_function(A).reshape(60, -1) > 0) == (plain.logits(W) > 0)
    assert agree.all()


def test_numbers_beyond_float32_are_named_without_a_warning_of_numpy():
    X, Y = np.ones((2, 2), np.float32), np.eye(2)
    for targets in (1e300 * Y, sparse.csr_array(1e300 * Y)):
        with pytest.raises(ValueError, match="y must hold finite values"):
            MultiLabelLogistic(loss="bce").fit(X, targets)
        with pytest.raises(ValueError, match="targets must lie in"):
            losses.softmax_cross_entropy(X, targets)
    with pytest.raises(ValueError, match="pos_weight must be finite"):
        MultiLabelLogistic(loss="bce", pos_weight=[1e300, 1.0]).fit(X, Y)
    huge, y = np.full((2, 2), 1e300), [0, 1]
    model = MultinomialLogistic().partial_fit(X, y, classes=y)
    before = model.coef_.copy()
    for rows in (huge, sparse.csr_array(huge)):
        with pytest.raises(ValueError, match="X must be finite in float32"):
            model.partial_fit(rows, y)
        assert_array_equal(model.coef_, before)
        with pytest.raises(ValueError, match="X must be finite in float32"):
            MultinomialLogistic(early_stopping=True).fit(X, y, X_val=rows, y_val=y)


def test_labels_of_light_rows_with_missing_entries_are_reached():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((200, 30)), (rng.random((200, 310)) < 0.05) * 1.0
    Y[rng.random(Y.shape) < 0.5] = np.nan
    Y[np.arange(310) % 200, np.arange(310)] = 1  # each label is on somewhere
    weight = 10.0 ** rng.uniform(-3, 3, 200)
    model = MultiLabelLogistic(alpha=0.1, loss="softmax").fit(X, Y, weight)
    assert model.converged_  # after 60 passes; from intercepts of 0 not in 1000
    exact = MultiLabelLogistic(alpha=0.1, loss="softmax", solver="sdca", max_iter=500, tol=1e-4)
    assert model.objective_ <= exact.fit(X, Y, weight).objective_ * (1 + 1e-3)
