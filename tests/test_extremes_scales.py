"""Every solver of the optimum on entries and weights of extreme size."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plain import Plain
from scipy import optimize, sparse, special
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from test_extremes import RNG, SOLVERS, X, every_storage, fit

from skce import MultiLabelLogistic, MultinomialLogistic, losses


@every_storage
@pytest.mark.parametrize("scale", [1e155, 1e300])
def test_squares_that_overflow_are_named(scale, storage):
    A = RNG.standard_normal((40, 3)) * [1.0, scale, 1.0]
    X = A if storage == "dense" else sparse.csr_array(A)
    model = MultinomialLogistic(solver="lbfgs")
    with pytest.raises(ValueError, match="X must have finite squares, got entries up to [0-9]e"):
        model.fit(X, np.arange(40) % 3)
    assert not hasattr(model, "coef_")


@every_storage
@pytest.mark.parametrize("scale", [3e19, 1e20, 1e22])
def test_a_loss_that_overflows_is_no_certificate(scale, storage):
    A = np.random.default_rng(0).standard_normal((60, 4)) * [scale, 1, 1, 1]
    X = A.astype(np.float32)
    X = sparse.csr_array(X) if storage == "csr" else X
    model, y = MultinomialLogistic(solver="sdca", random_state=0), A[:, 0] > 0
    warned = fit(model, X, y)
    logits = A.astype(np.float32).astype(np.longdouble) @ model.coef_[0] + model.intercept_
    value = np.logaddexp(0, np.where(y, -logits, logits)).mean() + 5e-5 * (model.coef_**2).sum()
    assert warned or value <= 1e-3 * np.sqrt(np.finfo(np.float32).eps) * np.log(2)
    assert np.isfinite(model.dual_gap_)


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


@pytest.mark.parametrize(("seed", "storage"), [(1, "dense"), (4, "csr")])
def test_columns_with_heavy_tails_need_no_scaling(seed, storage):
    """A default fit ends without a warning, within tol of the lowest that Newton's method finds.

    Counts and sizes (bytes of a connection) have such columns: a few rows decide how far a step may
    go, and which these are changes on the way.
    """
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.standard_normal((300, 30)) * np.linspace(0.5, 8, 30))
    A = sizes * (rng.random(sizes.shape) < 0.3)
    logits = 3 * np.sign(A) @ rng.standard_normal((30, 6))
    y = (logits + np.log1p(A) @ rng.standard_normal((30, 6))).argmax(axis=1)
    X = sparse.csr_array(A) if storage == "csr" else A
    model = MultinomialLogistic(alpha=1 / 300).fit(X, y)
    plain = Plain("softmax", A, np.eye(6)[y], np.ones(300), alpha=1 / 300, centre=A.mean(axis=0))
    assert model.converged_
    assert model.objective_ <= (1 + model.tol) * plain.optimum()[1]


@pytest.mark.parametrize("K", [2, 5])
@pytest.mark.parametrize("draw", ["standard_cauchy", "lognormal"])
def test_outliers_do_not_end_a_fit_early(draw, K):
    """They rule the Hessian at the constants, where Newton's decrement is far too low."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        A = getattr(rng, draw)(size=(400, 1)) ** (3 if draw == "lognormal" else 1)
        y = (3 * np.arctan(A) @ np.linspace(-1, 1, K)[None] + rng.gumbel(size=(400, K))).argmax(1)
        model = MultinomialLogistic(alpha=1e-3).fit(A, y)
        exact = LogisticRegression(C=2.5, solver="newton-cholesky", tol=1e-10, max_iter=1000)
        exact.fit(A, y)
        least = log_loss(y, exact.predict_proba(A)) + 5e-4 * (exact.coef_**2).sum()
        assert model.objective_ - least <= model.tol * model.objective_


def _of_differences(first, d, Y, alpha, softmax):
    """Return the least objective of columns (first, first + d), found in columns (first, d)."""
    Z = np.column_stack([first / 1e7, d, np.ones(len(d))])

    def value(v):
        V = v.reshape(Z.shape[1], -1)
        logits, rest = Z @ V, V[0] / 1e7 - V[1:-1].sum(axis=0)
        if softmax:
            losses = special.logsumexp(logits, axis=1) - (Y * logits).sum(axis=1)
        else:
            losses = np.logaddexp(0, np.where(Y, -logits, logits)).sum(axis=1)
        return losses.mean() + alpha / 2 * ((V[1:-1] ** 2).sum() + (rest**2).sum())

    return optimize.minimize(value, np.zeros(Z.shape[1] * Y.shape[1]), tol=1e-6).fun


@every_storage
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("size", [1e7, 1e8])
def test_nearly_equal_columns_tell_classes_by_their_difference(size, softmax, solver, storage):
    """Their squares, of 1e14 and more beside 1, do not hold it."""
    rng = np.random.default_rng(0)
    first, d = size * rng.standard_normal(200), rng.standard_normal((200, 2))
    A = first[:, None] + np.column_stack([np.zeros(200), d])
    d = A[:, 1:] - A[:, :1]
    labels = np.column_stack([np.zeros(200), d]) + rng.gumbel(size=(200, 3))
    Y = np.eye(3)[labels.argmax(axis=1)]
    least = _of_differences(first, d, Y, 0.01, softmax)
    A = sparse.csr_array(A) if storage == "csr" else A
    estimator = MultinomialLogistic if softmax else MultiLabelLogistic
    model = estimator(solver=solver, alpha=0.01, random_state=0)
    model.fit(A, Y.argmax(axis=1) if softmax else Y)
    assert model.converged_
    assert_allclose(model.objective_, least, rtol=3e-4)


@every_storage
def test_intercepts_of_classes_without_rows_stay_where_they_lower_nothing(storage):
    """Beside collinear columns they are flat directions, which no penalty bounds."""
    A = np.array([[0.25], [0.5], [-1.0]]) * [1.0, 2.0]
    Y = np.eye(3)[[2, 0, 2]]
    model = MultinomialLogistic(random_state=0)
    model.fit(sparse.csr_array(A) if storage == "csr" else A, Y)
    assert np.abs(model.intercept_).max() < 1e3
    value = losses.softmax_cross_entropy(A @ model.coef_.T + model.intercept_, Y)
    value += 5e-5 * (model.coef_**2).sum()
    assert_allclose(model.objective_, value, rtol=1e-9)


@every_storage
@pytest.mark.parametrize("size", [1.0, 1e3])
def test_without_an_intercept_the_first_step_meets_the_curvature_of_zero_weights(size, storage):
    """Where a row weighs nearly all, that of the labels' shares is nearly 0."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        z, weights = rng.standard_normal((14, 1)), 10 ** rng.uniform(-8, 8, 14)
        A, Y = size * (150 + z), (z > 0) ^ (rng.random((14, 3)) < 0.3)

        def value(w, y, a=A[:, 0], weights=weights):
            losses = np.logaddexp(0, np.where(y, -a * w, a * w))
            return weights @ losses / weights.sum() + 1e-6 / 2 * w**2

        least = sum(optimize.minimize_scalar(value, args=(y,), tol=1e-9).fun for y in Y.T)
        model = MultiLabelLogistic(alpha=1e-6, fit_intercept=False, random_state=0)
        model.fit(sparse.csr_array(A) if storage == "csr" else A, Y, sample_weight=weights)
        assert model.converged_
        assert model.objective_ - least <= 1e-3 * least


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_proof_that_rounding_prevents_is_told_by_its_bound(dtype):
    """With heavy tails the bound of the optimum itself is that of zero weights."""
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((1000, 10))
    A, y = np.exp(8 * Z).astype(dtype), (Z[:, :3] + rng.gumbel(size=(1000, 3))).argmax(axis=1)
    plain, proven = (MultinomialLogistic(certified=c, random_state=0) for c in (False, True))
    assert not fit(plain, A, y)
    assert fit(proven, A, y)
    assert proven.objective_ <= plain.objective_ * (1 + 1e-6)
    assert proven.gap_estimate_ <= 1e-6 * proven.objective_ < 1e-3 * proven.dual_gap_
    assert f"bound of the gap of {proven.dual_gap_:.1g}: " in proven.stop_reason_.replace(
        "about ", ""
    )


@every_storage
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("seed", "k"), [(0, 2), (1, 3)])
def test_columns_far_from_zero_are_learnt_by_their_deviations(seed, k, dtype, storage):
    """CSR is not centred: of squares of its columns nothing is left of these."""
    rng = np.random.default_rng(seed)
    Z, far = rng.standard_normal((200, 4)), rng.uniform(0.25, 1, 4)
    A = 1e-3 * (Z + far / (1000 * np.finfo(dtype).eps)).astype(dtype)
    y = (2 * Z[:, :k] + rng.gumbel(size=(200, k))).argmax(axis=1)
    D = A.astype(float) - A.mean(axis=0, dtype=float)
    unit = D.std(axis=0)

    def value(v):
        V = v.reshape(5, k)
        logits = D / unit @ V[1:] + V[0]
        losses = special.logsumexp(logits, axis=1) - logits[np.arange(200), y]
        return losses.mean() + 1e-8 / 2 * ((V[1:] / unit[:, None]) ** 2).sum()

    least = optimize.minimize(value, np.zeros(5 * k), tol=1e-7).fun
    model = MultinomialLogistic(alpha=5e-9 if k == 2 else 1e-8, random_state=0)
    assert not fit(model, sparse.csr_array(A) if storage == "csr" else A, y)
    assert model.objective_ - least <= 1e-3 * least


@pytest.mark.parametrize("seed", [5, 10, 15, 29, 35])
def test_flat_directions_that_a_label_does_not_take_for_flat_end_no_fit(seed):
    """Of a collinear column of large scale they lie next to those: fits left gaps of 1e6."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((150, 8)) * 10.0 ** rng.uniform(-4, 4, 8)
    A[:, -1] = A[:, :-1] @ rng.standard_normal(7)
    Z = (A - A.mean(axis=0)) / A.std(axis=0)
    Y = Z @ rng.standard_normal((8, 3)) + rng.logistic(size=(150, 3)) > 0
    for alpha in (1e-7, 1e-8):
        assert MultiLabelLogistic(alpha=alpha, tol=1e-2).fit(A, Y).converged_


@pytest.mark.parametrize("seed", range(5))
def test_gap_tells_what_rounding_the_coefficients_of_a_span_adds(seed):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((60, 4))
    X = Z @ rng.standard_normal((4, 90)) + 1e-4 * rng.standard_normal((60, 90))
    X = (X * 10 ** rng.uniform(-5, 5, 90)).astype(np.float32)
    y = (Z.sum(axis=1) + rng.standard_normal(60) > 0).astype(int)
    found = MultinomialLogistic(alpha=1e-3, tol=1e-6).fit(X, y)
    least = MultinomialLogistic(alpha=1e-3, tol=1e-8).fit(X.astype(float), y)
    gap = found.objective_ - least.objective_
    assert gap - 1e-8 * least.objective_ <= found.gap_estimate_ <= gap + 1e-6 * found.objective_
    assert found.converged_
