"""The step of a row in dual coordinate ascent, which `prox.inc` computes, and the exact one."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from prox import assert_solves_prox, exact_sigmoid_prox, exact_softmax_prox, sums_p_log_p
from registry import then_long
from scipy import sparse, special

from skce._engine.data import Matrix
from skce._engine.sdca import sdca_epoch

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_loss = pytest.mark.parametrize("sigmoid", [False, True], ids=["softmax", "sigmoid"])


def rows_of_logits(k, sigmoid, largest):
    """Logits s, q and corners, edges and insides of the simplex for old; all their combinations."""
    rng = np.random.default_rng(k)
    scales = [s for s in (0, 0.1, 3, 30, 1e4) if s <= largest]
    s = np.concatenate([scale * rng.standard_normal((4, k)) for scale in scales])
    old = rng.random((3, k)) if sigmoid else rng.dirichlet(np.ones(k), 3)
    corner = np.array([rng.random(k) < 0.5 for _ in range(2)]) if sigmoid else np.eye(k)[[0, -1]]
    worst = np.eye(k)[s[-1].argmin()]
    old = np.concatenate([old, corner, worst[np.newaxis], 1e-12 + corner[:1] * (1 - k * 1e-12)])
    q = [0, 1e-8, 1e-3, 0.3, 3, 10, 100, 1e4, 1e6]
    i, j, l = (v.ravel() for v in np.meshgrid(range(len(s)), range(len(old)), range(len(q))))
    return s[i], old[j], np.array(q)[l]


def step_of_rows(s, old, q, sigmoid, dtype):
    """New table, negentropy and gap of rows with logits s: the features of X are its rows."""
    n, k = s.shape
    W = np.concatenate([s, np.zeros((1, k))]).astype(dtype)
    table, X = old.astype(dtype), sparse.eye_array(n, format="csr", dtype=dtype)
    negentropy = sums_p_log_p(table.astype(float), 1, sigmoid)
    gap = sdca_epoch(
        Matrix(X), np.arange(n), 1, np.ones(n), q, W, None, np.zeros(n + 1, dtype), table,
        negentropy, None, sigmoid,
    )  # fmt: skip
    return table, negentropy, gap


@every_dtype
@pytest.mark.parametrize("k", then_long([3, 150, 1, 2, 17], 2))
@every_loss
def test_prox_at_any_strength_and_logits(sigmoid, k, dtype):
    if k == 1 and not sigmoid:
        pytest.skip("one class")
    s, old, q = rows_of_logits(k, sigmoid, 1e4)
    s, old = s.astype(dtype), old.astype(dtype)
    table, negentropy, _ = step_of_rows(s, old, q, sigmoid, dtype)
    for i in range(len(s)):
        assert_solves_prox(table[i], s[i], q[i], old[i], np.ones(k), sigmoid, dtype)
    expected = sums_p_log_p(table.astype(float), 1, sigmoid)
    assert_allclose(negentropy, expected, rtol=1e-4, atol=2e-5 if dtype == np.float32 else 1e-12)


@every_dtype
@pytest.mark.parametrize("k", then_long([3, 17, 1, 2, 150], 2))
@every_loss
def test_step_gains_nearly_what_the_exact_one_does(sigmoid, k, dtype):
    """Of p log p + q / 2 |p - old|^2 - <s, p>, however large q is and near old its minimum."""
    if k == 1 and not sigmoid:
        pytest.skip("one class")
    s, old, q = rows_of_logits(k, sigmoid, 30)
    rng = np.random.default_rng(0)
    nudged = 0.1 * rng.standard_normal(s.shape)
    s = np.concatenate([s, np.log(np.maximum(old, 1e-9)) + nudged]).astype(dtype)
    old, q = np.concatenate([old, old]).astype(dtype), np.concatenate([q, 30 * q])

    def objective(p):
        move = np.square(p - old) * q[:, np.newaxis] / 2 - s * p.astype(float)
        return sums_p_log_p(p.astype(float), 1, sigmoid) + move.sum(axis=1)

    exact = [
        exact_sigmoid_prox(*row) if sigmoid else exact_softmax_prox(*row)
        for row in zip(s.astype(float), q, old.astype(float), strict=True)
    ]
    table, _, _ = step_of_rows(s, old, q, sigmoid, dtype)
    least, before, after = objective(np.array(exact)), objective(old), objective(table)
    rounding = 40 * np.finfo(dtype).eps * (1 + np.abs(s).sum(axis=1) + q)
    strong = q > 0.2  # below, softmax(s) is near enough
    assert (after - least <= 0.01 * (before - least) + rounding)[strong].all()


@every_dtype
@every_loss
def test_no_step_without_an_end_or_off_the_simplex(sigmoid, dtype):
    s, old, _ = rows_of_logits(7, sigmoid, 1e4)
    for q in (1e12, 1e30, 1e300, np.inf):
        table, negentropy, gap = step_of_rows(s, old, np.full(len(s), q), sigmoid, dtype)
        assert np.isfinite(gap)
        assert np.isfinite(negentropy).all()
        assert ((table >= 0) & (table <= 1)).all()
        if not sigmoid:
            assert_allclose(table.sum(axis=1), 1, atol=1e-6)


@every_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@every_loss
def test_infinite_logits_end(sigmoid, value, dtype):
    s, old, q = rows_of_logits(7, sigmoid, 30)
    s[:, 3] = value
    table, _, _ = step_of_rows(s, old, q, sigmoid, dtype)
    assert ((table >= 0) & (table <= 1)).all()


@every_loss
def test_step_at_the_optimum_is_none(sigmoid):
    s = np.random.default_rng(0).standard_normal((20, 5))
    old = special.expit(s) if sigmoid else special.softmax(s, axis=1)
    for q in (0.1, 10.0, 1e6):
        table, _, gap = step_of_rows(s, old, np.full(20, q), sigmoid, np.float64)
        assert_allclose(table, old, rtol=1e-9)
        assert abs(gap) < 1e-13
