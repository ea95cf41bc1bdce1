"""Fits by L-BFGS are functions of the weighted rows: repeated, permuted, few or many."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from registry import then_long
from scipy import sparse
from sklearn.base import clone

from skce import MultiLabelLogistic, MultinomialLogistic
from skce._solvers import refresh
from skce._solvers.preconditioners import Preconditioner

MODELS = {
    "labels": (MultinomialLogistic, {}, lambda s: s.argmax(axis=1)),
    "two labels": (MultinomialLogistic, {}, lambda s: (s[:, 0] > 0).astype(int)),
    "shares": (MultinomialLogistic, {}, lambda s: np.exp(s) / np.exp(s).sum(axis=1)[:, None]),
    "bce": (MultiLabelLogistic, {}, lambda s: (s > 0.5).astype(int)),
    "1/M": (MultiLabelLogistic, {"loss": "softmax"}, lambda s: (s > 0).astype(int)),
}


def difference(seed, name, storage, solver, alpha):
    """Of the coefficients of weighted rows and of repeated ones in another order."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(20, 200)), int(rng.integers(2, 12))
    X = rng.standard_normal((n, p)) * 10.0 ** rng.uniform(-1, 1, p)
    X = storage(X * (rng.random((n, p)) < 0.7))
    estimator, options, targets = MODELS[name]
    y = targets(X @ rng.standard_normal((p, 3)) / np.sqrt(p) + rng.gumbel(size=(n, 3)))
    times = rng.integers(0, 4, n)
    times[np.unique(y.reshape(n, -1)[:, 0], return_index=True)[1]] = 1
    rows = rng.permutation(np.repeat(np.arange(n), times))
    model = estimator(solver=solver, alpha=alpha, random_state=0, **options)
    one = model.fit(X, y, sample_weight=7.0 * times)
    found = np.column_stack([one.coef_, one.intercept_]), one.n_iter_
    two = model.fit(X[rows], y[rows])
    other = np.column_stack([two.coef_, two.intercept_])
    return np.abs(found[0] - other).max() / np.abs(other).max(), found[1] - two.n_iter_


@pytest.mark.parametrize("block", then_long(range(6)))
@pytest.mark.parametrize("solver", ["auto", "lbfgs"])
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("name", MODELS)
def test_fit_is_a_function_of_the_weighted_rows(name, storage, solver, block):
    nearly_separable = []
    for seed in range(8 * block, 8 * block + 8):
        for alpha in (1.0, 1e-2):
            most, more_passes = difference(seed, name, storage, solver, alpha)
            assert most <= 1e-7
            assert more_passes == 0
        nearly_separable.append(difference(seed, name, storage, solver, 1e-4)[0])
    assert np.mean(np.array(nearly_separable) <= 1e-7) >= 0.8  # 98 % of all


@pytest.mark.parametrize("name", MODELS)
def test_order_of_few_rows_changes_nothing(name):
    """Though the coordinates of their span, in which they are fitted, do change."""
    estimator, options, targets = MODELS[name]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((40, 90)) * 10.0 ** rng.uniform(-1, 1, 90)
        y = targets(X @ rng.standard_normal((90, 3)) / 9 + rng.gumbel(size=(40, 3)))
        order = rng.permutation(40)
        model = estimator(solver="lbfgs", alpha=1e-2, **options)
        one = model.fit(X, y).coef_
        two = model.fit(X[order], y[order]).coef_
        assert_allclose(two, one, rtol=0, atol=1e-7 * np.abs(one).max())


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("n", "p", "seed"), [(40, 60, 0), (40, 60, 1), (300, 450, 4)])
def test_weights_mean_repetition_where_distinct_rows_are_few(n, p, seed, name, storage):
    """Repeated, they are more than the columns; of 300, rounding once chose the coordinates."""
    estimator, options, targets = MODELS[name]
    rng = np.random.default_rng(seed)
    X, times = rng.standard_normal((n, p)), rng.integers(1, 5, n)
    scores = X @ rng.standard_normal((p, 3)) / p**0.5 * 4
    y = np.asarray(targets(scores + rng.gumbel(size=(n, 3))))
    rows, X = np.repeat(np.arange(n), times), storage(X)
    model = estimator(solver="lbfgs", alpha=1e-2, **options)
    weighted = model.fit(X, y, sample_weight=times).coef_
    repeated = model.fit(X[rows], y[rows]).coef_
    assert len(rows) > p
    assert_allclose(repeated, weighted, rtol=0, atol=1e-7 * np.abs(weighted).max())


def test_weights_mean_repetition_where_the_first_metric_is_a_diagonal(monkeypatch):
    made = []

    class Spy(Preconditioner):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self.is_diagonal)

    monkeypatch.setattr(refresh, "Preconditioner", Spy)
    rng = np.random.default_rng(0)
    X, times = rng.standard_normal((240, 200)), rng.integers(1, 4, 240)
    y = X[:, 0] + X[:, 1] > rng.standard_normal(240)
    model = MultinomialLogistic(alpha=0.01, solver="lbfgs")
    weighted = model.fit(X, y, sample_weight=times).coef_
    repeated = model.fit(np.repeat(X, times, axis=0), np.repeat(y, times)).coef_
    assert made[0]
    assert made.count(True) == 2
    assert_allclose(repeated, weighted, rtol=0, atol=1e-7 * np.abs(weighted).max())


@pytest.mark.parametrize("storage", ["dense", "csr"])
@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_rows_does_not_choose_the_basis_of_their_span(seed, storage):
    """The diagonals that such fits begin with are others in another basis."""
    rng = np.random.default_rng(seed)
    n, k = 150 + 50 * seed, 2 + seed % 3
    A = rng.standard_normal((n, n + 50)) * 10.0 ** rng.uniform(-1, 1, n + 50)
    y = (A @ rng.standard_normal((n + 50, k)) / 30 + rng.gumbel(size=(n, k))).argmax(axis=1)
    A = sparse.csr_array(A) if storage == "csr" else A
    order = rng.permutation(n)
    model = MultinomialLogistic(alpha=0.01, solver="lbfgs")
    one, other = (clone(model).fit(A[o], y[o]) for o in (np.arange(n), order))
    assert_allclose(one.coef_, other.coef_, rtol=0, atol=1e-7 * abs(one.coef_).max())
