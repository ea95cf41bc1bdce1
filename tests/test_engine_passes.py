"""Passes over all rows, against plain NumPy in float64 (`plain`), differences and themselves."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plain import KINDS, NUMBERS, Plain, draw_targets, stored_targets
from registry import then_long
from scipy import sparse

from skce._engine.data import EpochData
from skce._engine.passes import Pass, run

N, P, K = 137, 7, 5
SIZES = {  # n, p, k: below a block, one block, two flushes, more than 8 parts, p * k above 2 ** 18
    "tiny": (3, 2, 2),
    "one row": (1, 1, 1),
    "block": (256, 6, 3),
    "uneven": (2049, 9, 4),
    "parts": (8 * 2048 + 300, 4, 3),
    "wide": (70, 530, 500),
    "wide and long": (2100, 530, 500),
}
DTYPES = {"float32": np.float32, "float64": np.float64}
RTOL = {np.float32: 2e-5, np.float64: 1e-11}
STORAGE = ["dense", "centred", "csr", "csr int64"]
every_kind = pytest.mark.parametrize("name", KINDS)
softmax_or_sigmoid = pytest.mark.parametrize("name", [n for n in KINDS if "1/M" not in n])
every_storage = pytest.mark.parametrize("storage", STORAGE)
every_dtype = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
with_options = pytest.mark.parametrize("options", [False, True], ids=["", "options"])


class Data:
    """A problem for full_pass, and in plain float64."""

    def __init__(self, name, storage="dense", dtype=np.float64, options=True, size=(N, P, K)):
        n, p, k = size
        rng = self.rng = np.random.default_rng(n + p + k)
        loss, kind = KINDS[name]
        X = (rng.standard_normal((n, p)) + 1).astype(dtype)
        self.mean = X.mean(axis=0) if storage == "centred" else None
        if "csr" in storage:
            X = sparse.csr_array(X * (rng.random((n, p)) < 0.3))
            integer = np.int64 if "64" in storage else np.int32
            X.indices, X.indptr = X.indices.astype(integer), X.indptr.astype(integer)
            assert X.indices.dtype == integer
        T = draw_targets(rng, kind, n, k).astype(dtype)
        weights = rng.uniform(0.1, 2, n) / n
        weights[2:-1:7] = 0
        pos_weight = None
        if options and loss == "sigmoid":
            pos_weight = rng.uniform(0.3, 4, k).astype(dtype)
        smoothing = 0.1 * options
        targets = stored_targets(loss, kind, T, dtype)
        self.problem = EpochData(NUMBERS[loss], X, targets, k, weights, pos_weight, smoothing)
        self.plain = Plain(
            *(loss, X, T, weights),
            **{"pos_weight": pos_weight, "smoothing": smoothing, "centre": self.mean, "divisor": 1},
        )
        self.X, self.weights, self.dtype, self.shape = X, weights, np.dtype(dtype), (p + 1, k)

    def point(self, spread=0.5):
        return (spread * self.rng.standard_normal(self.shape) / np.sqrt(self.shape[0])).astype(
            self.dtype
        )

    def table(self):
        return np.empty((self.X.shape[0], self.shape[1]), self.dtype)

    def run(self, kind, W, table=None, scale=None, shift=None, threads=1):
        out = np.full(self.shape, np.nan)
        found = run(kind, self.problem, W, self.mean, out, table, scale, shift, threads)
        return found, out

    def assert_close(self, actual, expected):
        rtol = RTOL[self.dtype.type]
        assert_allclose(actual, expected, rtol=rtol, atol=rtol * (np.abs(expected).max() + 0.01))


@with_options
@every_dtype
@every_storage
@every_kind
def test_loss_and_gradient_are_those_of_plain_numpy(name, storage, dtype, options):
    data = Data(name, storage, dtype, options)
    W = data.point(3.0)
    (loss, _), gradient = data.run(Pass.LOSS, W)
    data.assert_close(loss, data.plain.loss(W.astype(float)))
    data.assert_close(gradient, data.plain.loss_gradient(W.astype(float)))


@every_dtype
@every_storage
@pytest.mark.parametrize("size", then_long(SIZES, len(SIZES) - 1))
@pytest.mark.parametrize("name", ["labels", "bce missing"])
def test_any_number_of_rows_and_weights(name, size, storage, dtype):
    data = Data(name, storage, dtype, size=SIZES[size])
    W, table = data.point(), data.table()
    W64 = W.astype(float)
    (loss, _), gradient = data.run(Pass.LOSS, W, table)
    data.assert_close(loss, data.plain.loss(W64))
    data.assert_close(gradient, data.plain.loss_gradient(W64))
    D = data.point()
    _, product = data.run(Pass.PRODUCT, D, table)
    expected = data.plain.product(W64, D.astype(float))
    data.assert_close(product, expected)
    ones, zeros = np.ones(data.shape[1]), np.zeros(data.shape[1])
    (young, loss), V = data.run(Pass.DUAL, W, None, ones, zeros)
    assert_allclose(young, 0, atol=RTOL[dtype])  # the table is that of the logits
    data.assert_close(loss, data.plain.loss(W64))
    data.assert_close(V, data.plain.loss_gradient(W64))


@softmax_or_sigmoid
@pytest.mark.parametrize("storage", ["centred", "csr"])
def test_gradient_is_the_derivative_of_the_loss(name, storage):
    data = Data(name, storage)
    W, h = data.point(), 1e-4
    _, gradient = data.run(Pass.LOSS, W)
    for _ in range(10):
        D = data.rng.standard_normal(data.shape)

        def at(step, D=D):
            return data.run(Pass.LOSS, W + step * D)[0][0]

        slope = (8 * (at(h) - at(-h)) - at(2 * h) + at(-2 * h)) / (12 * h)
        assert_allclose(np.sum(gradient * D), slope, rtol=1e-8, atol=1e-10)


@with_options
@softmax_or_sigmoid
@every_storage
def test_product_is_the_derivative_of_the_gradient(name, storage, options):
    data = Data(name, storage, options=options)
    W, table, h = data.point(), data.table(), 1e-3
    data.run(Pass.LOSS, W, table)
    for _ in range(5):
        D = data.rng.standard_normal(data.shape)

        def at(step, D=D):
            return data.run(Pass.LOSS, W + step * D)[1]

        slope = (8 * (at(h) - at(-h)) - at(2 * h) + at(-2 * h)) / (12 * h)
        _, product = data.run(Pass.PRODUCT, D, table)
        assert_allclose(product, slope, rtol=1e-7, atol=1e-9)


@with_options
@every_dtype
@softmax_or_sigmoid
@pytest.mark.parametrize("storage", ["centred", "csr"])
@pytest.mark.parametrize("own", [True, False], ids=["of the logits", "table"])
def test_dual_point_is_that_of_the_equations(name, storage, dtype, options, own):
    """pi' = scale pi + shift * (the mass given up), Fenchel-Young losses and V' of E4."""
    data = Data(name, storage, dtype, options)
    plain, rng, k = data.plain, data.rng, data.shape[1]
    W = data.point(2.0)
    W64 = W.astype(float)
    if plain.sigmoid:
        pi = plain.proba(W64) if own else rng.random(plain.omega.shape).astype(dtype).astype(float)
        scale = rng.uniform(0.5, 0.9, k)
        shift = rng.uniform(0, 0.1, k)
        expected = scale * pi + shift
    else:
        pi = plain.proba(W64)
        if not own:
            pi = rng.dirichlet(np.full(k, 0.5), size=len(pi)).astype(dtype).astype(float)
            pi = np.where(plain.seen, pi, 0)
            pi[plain.seen.any(1)] /= pi[plain.seen.any(1)].sum(axis=1, keepdims=True)
        scale, shift = rng.uniform(0.5, 1, k), rng.dirichlet(np.ones(k))
        given = ((1 - scale) * pi).sum(axis=1, keepdims=True)
        full = plain.seen.all(axis=1, keepdims=True)
        expected = np.where(full, scale * pi + shift * given, pi)
        if not own:
            pi = pi * rng.uniform(0.5, 2, (len(pi), 1))  # rows are normalised
    table = None if own else pi.astype(dtype)
    (young, loss), V = data.run(Pass.DUAL, W, table, scale, shift)
    data.assert_close(young, plain.young(W64, expected))
    data.assert_close(loss, plain.loss(W64))
    data.assert_close(V, plain.dual_vector(np.where(plain.omega > 0, expected, 0)))
    assert young > 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fenchel_young_losses_do_not_cancel(dtype):
    """Certain rows, |s| from 20 to 80: terms of 2e-9 and less, where rounding of s is 1e-14."""
    X = (np.linspace(20, 80, 40) * np.resize([1, -1], 40)).astype(dtype)[:, None]
    T = (X > 0).astype(dtype)
    ones = np.ones(40)
    problem = EpochData(NUMBERS["sigmoid"], X, sparse.csr_array(T), 1, ones, None, 0.0)
    W = np.array([[1], [0]], dtype)
    table, out = T.copy(), np.empty((2, 1))
    young, loss = run(Pass.DUAL, problem, W, None, out, table, np.ones(1), np.zeros(1), 1)
    expected = np.log1p(np.exp(-np.abs(X.astype(float)))).sum()
    assert_allclose(loss, expected, rtol=0, atol=1e-14)
    assert_allclose(young, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", Pass)
@every_dtype
@every_storage
@pytest.mark.parametrize("name", ["labels", "bce"])
def test_bits_do_not_depend_on_the_number_of_threads(name, storage, dtype, kind):
    data = Data(name, storage, dtype, size=(30_000, 20, 6))
    W, table, k = data.point(), data.table(), data.shape[1]
    data.run(Pass.LOSS, W, table)
    scale = shift = None
    if kind == Pass.DUAL:
        table, scale, shift = None, np.full(k, 0.9), np.full(k, 0.1 if name == "bce" else 1 / k)
    elif kind == Pass.LOSS:
        table = data.table()
    found = []
    for threads in (1, 2, 3):
        total, gradient = data.run(kind, W, table, scale, shift, threads)
        found.append(np.r_[total, gradient.ravel(), table.ravel() if table is not None else []])
        assert_array_equal(found[0], found[-1])
    assert np.isfinite(found[0]).all()


def test_curvature_table():
    for name in ("labels", "bce missing"):
        data = Data(name, size=(300, 4, 3))
        W, table = data.point(), data.table()
        data.run(Pass.LOSS, W, table)
        proba = data.plain.proba(W)
        if data.plain.sigmoid:
            assert_allclose(table, data.plain.omega * proba * (1 - proba), rtol=1e-10, atol=1e-15)
        else:
            assert_allclose(table[data.weights > 0], proba[data.weights > 0], rtol=1e-10)
            assert not table[data.weights == 0].any()


def test_no_rows():
    problem = EpochData(0, np.zeros((0, 3)), np.zeros(0, np.intc), 2, np.zeros(0), None, 0.0)
    out = np.ones((4, 2))
    assert run(Pass.LOSS, problem, np.ones((4, 2)), None, out, None, None, None, 1) == (0, 0)
    assert not out.any()


ONES = np.ones(K)
WRONG = {
    "W must have the dtype": {"W": np.zeros((P + 1, K), np.float32)},
    "W and gradient": {"W": np.zeros((P, K))},
    "W and gradient must": {"W": np.zeros((P + 1, K + 1))},
    "gradient must have": {"gradient": np.zeros((P, K))},
    "mean must": {"mean": np.zeros(P + 1)},
    "n_threads": {"n_threads": -1},
    "kind must": {"kind": 3},
    "table must be given": {"kind": Pass.PRODUCT},
    "table must be given for": {"kind": Pass.DUAL},
    "scale and shift for a dual": {"scale": ONES, "shift": ONES},
    "scale and shift must": {"kind": Pass.DUAL, "scale": ONES[:-1], "shift": ONES},
    "shift must have": {"kind": Pass.DUAL, "scale": ONES, "shift": ONES[:-1]},
    "table must have shape": {"table": np.zeros((N - 1, K))},
    "table must have": {"table": np.zeros((N, K + 1))},
}


@pytest.mark.parametrize("message", WRONG)
def test_arguments_are_checked(message):
    arguments = {
        "kind": Pass.LOSS,
        "data": Data("labels").problem,
        "W": np.zeros((P + 1, K)),
        "mean": None,
        "gradient": np.zeros((P + 1, K)),
        "table": None,
        "scale": None,
        "shift": None,
        "n_threads": 1,
    }
    run(*arguments.values())
    with pytest.raises(ValueError, match=message):
        run(*(arguments | WRONG[message]).values())


@pytest.mark.parametrize("kind", [Pass.PRODUCT, Pass.DUAL])
def test_other_errors(kind):
    data = Data("1/M")
    table = data.table()
    arguments = (ONES, 0 * ONES) if kind == Pass.DUAL else (None, None)
    with pytest.raises(ValueError, match="fit the loss"):
        data.run(kind, data.point(), table, *arguments)
    data = Data("labels", "csr")
    data.mean = np.zeros(P)
    with pytest.raises(ValueError, match="dense X"):
        data.run(Pass.LOSS, data.point())
    with pytest.raises(TypeError):
        run(Pass.LOSS, None, data.point(), None, data.point(), None, None, None, 1)
