"""Every solver of the optimum on data that are hard in one way each.

The coefficients are finite and never worse than zero, by plain NumPy; the only warning is that the
fit did not converge.
"""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from plain import Plain
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skce import MultiLabelLogistic, MultinomialLogistic

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
