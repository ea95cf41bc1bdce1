"""One epoch of dual coordinate ascent, replayed row by row in NumPy.

The prox of a row is solved to 5 % of its move only, so the replay takes the new table as it is,
checks that each row of it solves its equation that well at the weights the row met, and computes
the rest.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from prox import assert_solves_prox, sums_p_log_p
from scipy import optimize, sparse, special

from skce._engine.data import Matrix
from skce._engine.sdca import sdca_epoch

N, P = 41, 13

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_loss = pytest.mark.parametrize("sigmoid", [False, True], ids=["softmax", "sigmoid"])


@dataclass
class Ascent:
    """Arguments of an epoch over all rows but two, some of weight 0."""

    sigmoid: bool
    dtype: type
    k: int = 3
    storage: str = "dense"
    batch_size: int = 1
    missing: bool = False
    l1: bool = False
    n: int = N
    p: int = P

    def __post_init__(self):
        rng = np.random.default_rng(self.k)
        n, p, k, dtype = self.n, self.p, self.k, self.dtype
        self.X = (rng.standard_normal((n, p)) * (rng.random((n, p)) < 0.5)).astype(dtype)
        self.X[3] = 0
        self.order = rng.permutation(n)[:-2]
        self.weights = rng.uniform(0.5, 2, n) * (rng.random(n) < 0.9)
        self.leverage = 10 ** rng.uniform(-2, 3, n)
        self.W = rng.standard_normal((p + 1, k)).astype(dtype)
        self.mean = None
        if self.storage == "dense":
            self.mean = self.X.mean(axis=0)
        self.inverse = (0.1 * rng.uniform(0.5, 2, p + 1)).astype(dtype)
        self.entry_weights = None
        if self.missing:
            self.entry_weights = rng.uniform(0.5, 2, (n, k)) if self.sigmoid else np.ones((n, k))
            self.entry_weights[rng.random((n, k)) < 0.3] = 0
            self.entry_weights[:, 0] = 1
            self.entry_weights = self.entry_weights.astype(dtype)
        present = np.ones((n, k), bool) if self.entry_weights is None else self.entry_weights > 0
        if self.sigmoid:
            self.table = np.where(rng.random((n, k)) < 0.5, rng.random((n, k)) < 0.5, rng.random())
        else:
            self.table = rng.dirichlet(np.ones(k), n)
            self.table[::2] = np.eye(k)[rng.integers(k, size=len(self.table[::2]))]
            self.table = np.where(present, self.table, 0) + 1e-30 * (np.arange(k) == 0)
            self.table /= self.table.sum(axis=1, keepdims=True)
        self.table = self.table.astype(dtype)
        masses = 1 if self.entry_weights is None else self.entry_weights
        self.negentropy = sums_p_log_p(self.table.astype(float), masses, self.sigmoid)
        self.Z = self.threshold = None
        if self.l1:
            self.threshold = np.append(rng.uniform(0, 1, p), 0).astype(dtype)
            self.Z = self.W
            self.W = soften(self.Z, self.threshold)

    def changed(self, **changes):
        for name, value in changes.items():
            setattr(self, name, value)
        return self

    def stored(self):
        if self.storage == "dense":
            return self.X
        X = sparse.csr_array(self.X)
        index = np.dtype(f"int{self.storage[-2:]}")
        X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
        return X

    def run(self):
        """The gap; W, table, negentropy and Z are updated."""
        return sdca_epoch(
            Matrix(self.stored()), self.order, self.batch_size, self.weights, self.leverage,
            self.W, self.mean, self.inverse, self.table, self.negentropy, self.entry_weights,
            self.sigmoid, self.Z, self.threshold,
        )  # fmt: skip

    def assert_epoch_is_replayed(self):
        dtype, sigmoid = self.dtype, self.sigmoid
        X = self.X.astype(float) - (0 if self.mean is None else self.mean.astype(float))
        W, old, negentropy = self.W.astype(float), self.table.astype(float), self.negentropy.copy()
        Z = None if self.Z is None else self.Z.astype(float)
        gap = self.run()
        new, expected, changes = self.table.astype(float), 0, 0
        for first in range(0, len(self.order), self.batch_size):
            delta = np.zeros_like(W)
            for i in self.order[first : first + self.batch_size]:
                weight, row = self.weights[i], np.append(X[i], 1)
                if weight == 0:
                    assert_array_equal(new[i], old[i])
                    continue
                s, q = row @ W, weight * self.leverage[i]
                masses = (
                    np.ones(self.k)
                    if self.entry_weights is None
                    else self.entry_weights[i].astype(float)
                )
                assert_solves_prox(new[i], s, q, old[i], masses, sigmoid, dtype)
                if sigmoid:
                    loss = masses * (np.logaddexp(0, s) - old[i] * s)
                else:
                    loss = special.logsumexp(s[masses > 0]) - old[i] @ s
                    assert (new[i, masses == 0] == 0).all()
                    masses = np.ones(self.k)
                expected += weight * (np.sum(loss) + negentropy[i])
                negentropy[i] = sums_p_log_p(new[i], masses, sigmoid)
                delta += weight * row[:, np.newaxis] * masses * (new[i] - old[i])
            delta *= self.inverse[:, np.newaxis]
            changes += np.abs(delta).max()
            if Z is None:
                W -= delta
            else:
                Z -= delta
                W = soften(Z, self.threshold.astype(float))
        rtol = 3e-5 if dtype == np.float32 else 1e-12
        assert_allclose(gap, expected, rtol=rtol)
        assert_allclose(self.W, W, rtol=rtol, atol=rtol * (1 + changes))
        assert_allclose(self.negentropy, negentropy, rtol=rtol, atol=rtol)
        if Z is not None:
            assert_allclose(self.Z, Z, rtol=rtol, atol=rtol * (1 + changes))
            assert (self.W[:-1] == 0).any()


def soften(Z, threshold):
    return np.sign(Z) * np.maximum(np.abs(Z) - threshold[:, np.newaxis], 0)


@every_dtype
@pytest.mark.parametrize("batch_size", [1, 7, 40, 99])
@pytest.mark.parametrize("storage", ["dense", "csr-32", "csr-64"])
@pytest.mark.parametrize("k", [1, 2, 3, 17, 150])
@every_loss
def test_epoch_is_its_replay(sigmoid, k, storage, batch_size, dtype):
    if k == 1 and not sigmoid:
        pytest.skip("one class")
    Ascent(sigmoid, dtype, k, storage, batch_size).assert_epoch_is_replayed()


@every_dtype
@pytest.mark.parametrize("storage", ["dense", "csr-32"])
@pytest.mark.parametrize("k", [2, 17])
@every_loss
def test_missing_entries_take_no_part(sigmoid, k, storage, dtype):
    Ascent(sigmoid, dtype, k, storage, missing=True).assert_epoch_is_replayed()


@every_dtype
@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("storage", ["dense", "csr-32", "csr-64"])
@every_loss
def test_l1_reads_soft_thresholds(sigmoid, storage, batch_size, dtype):
    Ascent(sigmoid, dtype, 5, storage, batch_size, l1=True).assert_epoch_is_replayed()


@every_dtype
@pytest.mark.parametrize("p", [P, 5000])
@every_loss
def test_dense_products_by_blas(sigmoid, p, dtype):
    Ascent(sigmoid, dtype, 40, "dense", 7, p=p).assert_epoch_is_replayed()


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("storage", ["dense", "csr-32"])
@every_loss
def test_epochs_find_the_minimum(sigmoid, storage, batch_size):
    """Without a prox term, B = alpha I and W = -V / alpha from the start on."""
    k, alpha, dtype = 4, 0.02, np.float64
    a = Ascent(sigmoid, dtype, k, storage, batch_size, missing=sigmoid)
    rng = np.random.default_rng(5)
    masses = np.ones((N, k)) if a.entry_weights is None else a.entry_weights
    target = rng.integers(2, size=(N, k)) if sigmoid else np.eye(k)[rng.integers(k, size=N)]
    weights = a.weights / a.weights.sum()
    X = a.X if a.mean is None else a.X - a.mean

    def objective(W):
        W = W.reshape(P, k)
        s = X @ W
        if sigmoid:
            loss = masses * (np.logaddexp(0, s) - target * s)
            slope = masses * (special.expit(s) - target)
        else:
            loss = (special.logsumexp(s, axis=1) - (target * s).sum(axis=1))[:, np.newaxis]
            slope = special.softmax(s, axis=1) - target
        value = (weights[:, np.newaxis] * loss).sum() + alpha / 2 * np.sum(W * W)
        return value, (X.T @ (weights[:, np.newaxis] * slope) + alpha * W).ravel()

    best = optimize.minimize(objective, np.zeros(P * k), jac=True, options={"gtol": 1e-11})
    a.changed(
        weights=weights, table=target.astype(dtype), negentropy=np.zeros(N),
        W=np.zeros((P + 1, k)), inverse=np.append(np.full(P, 1 / alpha), 0),
        leverage=np.sum(X * X, axis=1) / alpha * min(batch_size, 3),
    )  # fmt: skip
    for _ in range(300):
        a.order = rng.permutation(N)
        gap = a.run()
    assert abs(gap) < 1e-8
    assert_allclose(objective(a.W[:-1].ravel())[0], best.fun, rtol=0, atol=1e-8)
    assert_allclose(a.W[:-1].ravel(), best.x, atol=1e-4)


@pytest.mark.parametrize("storage", ["dense", "csr-32"])
@every_loss
def test_epochs_find_the_minimum_of_l1(sigmoid, storage):
    k, alpha, ratio, dtype = 3, 0.05, 0.5, np.float64
    a = Ascent(sigmoid, dtype, k, storage, 1)
    rng = np.random.default_rng(5)
    target = rng.integers(2, size=(N, k)) if sigmoid else np.eye(k)[rng.integers(k, size=N)]
    X = a.X if a.mean is None else a.X - a.mean
    a.changed(
        weights=np.full(N, 1 / N), table=target.astype(dtype), negentropy=np.zeros(N),
        W=np.zeros((P + 1, k)), Z=np.zeros((P + 1, k)),
        inverse=np.append(np.full(P, 1 / (alpha * (1 - ratio))), 0),
        threshold=np.append(np.full(P, ratio / (1 - ratio)), 0),
        leverage=np.sum(X * X, axis=1) / (alpha * (1 - ratio)),
    )  # fmt: skip
    for _ in range(300):
        a.order = rng.permutation(N)
        a.run()
    W = a.W[:-1]
    p = special.expit(X @ W) if sigmoid else special.softmax(X @ W, axis=1)
    slope = X.T @ (p - target) / N + alpha * (1 - ratio) * W
    zero = W == 0
    assert 0 < zero.sum() < W.size
    assert (np.abs(slope[zero]) <= alpha * ratio).all()
    assert_allclose(slope[~zero], -alpha * ratio * np.sign(W[~zero]), atol=1e-8)


def test_no_rows_are_no_step():
    a = Ascent(False, np.float64).changed(order=np.zeros(0, np.intp))
    before = a.W.copy()
    assert a.run() == 0
    assert_array_equal(a.W, before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": np.ones((N, P), np.float32)}, "W must have the dtype of X"),
        ({"W": np.ones((P, 3))}, r"W must have shape \(14, K\)"),
        ({"inverse": np.ones(P)}, "inverse must have 14 entries"),
        ({"mean": np.ones(P + 1)}, "inverse must have 14 entries"),
        ({"storage": "csr-32"}, "for a dense X only"),
        ({"batch_size": 0}, "batch_size must be positive"),
        ({"weights": np.ones(N - 1)}, "weights, leverage and negentropy"),
        ({"leverage": np.ones(N - 1)}, "weights, leverage and negentropy"),
        ({"negentropy": np.ones(N - 1)}, "weights, leverage and negentropy"),
        ({"table": np.ones((N, 2))}, "table and entry_weights"),
        ({"entry_weights": np.ones((N + 1, 3))}, "table and entry_weights"),
        ({"Z": np.ones((P + 1, 3))}, "or both be None"),
        ({"threshold": np.ones(P + 1)}, "or both be None"),
        ({"Z": np.ones((P + 1, 3)), "threshold": np.ones(P)}, "or both be None"),
        ({"order": np.array([0, N])}, "order must hold rows in 0..40"),
        ({"order": np.array([-1])}, "order must hold rows in 0..40"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(changes, message):
    a = Ascent(False, np.float64).changed(**changes)
    with pytest.raises(ValueError, match=message) as caught:
        a.run()
    assert str(caught.value).count(". ") == 0
