"""The losses against extended precision, scipy, scikit-learn, torch and the numbers of DESIGN.

The objectives are the same row by row; the tolerances are a few roundings of the dtype.
"""

import mpmath
import numpy as np
import pytest
import scipy.special
from numpy.testing import assert_allclose, assert_array_equal
from registry import OBJECTS, TOLERANCE
from sklearn.metrics import log_loss

from skce.losses import (
    binary_cross_entropy,
    cross_entropy,
    log_sigmoid,
    log_softmax,
    multilabel_softmax_cross_entropy,
    multilabel_softmax_cross_entropy_value_and_grad,
    sigmoid,
    sigmoid_cross_entropy,
    sigmoid_cross_entropy_value_and_grad,
    softmax,
    softmax_cross_entropy,
    softmax_cross_entropy_value_and_grad,
)

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


class TestFacts:
    """The numbers of DESIGN section 2."""

    proba = np.array([[0.25, 0.25, 0.25, 0.25], [0.01, 0.01, 0.01, 0.97]])

    def test_two_rows(self):
        expected = 0.7083767843022996
        assert log_loss([0, 3], self.proba, labels=range(4)) == expected
        assert cross_entropy(self.proba, [0, 3]) == expected
        assert cross_entropy(self.proba, np.eye(4)[[0, 3]]) == expected
        assert_allclose(softmax_cross_entropy(np.log(self.proba), [0, 3]), expected, rtol=1e-15)

    @every_dtype
    def test_three_logits(self, dtype):
        logits = np.array([[2, 4, 0.5]] * 3, dtype=dtype)
        actual = softmax_cross_entropy(logits, [0, 1, 2], reduction="none")
        assert_allclose(actual, [2.1531782, 0.1531782, 3.6531782], rtol=0, atol=6e-7)
        assert_allclose(softmax(logits[0]), [0.11611453, 0.85797681, 0.02590865], atol=1e-7)

    @every_dtype
    def test_equal_logits_give_log_k(self, dtype):
        for k in (1, 2, 3, 10, 1000):
            actual = softmax_cross_entropy(np.full((1, k), 7, dtype=dtype), [0])
            assert_allclose(actual, np.log(k), rtol=1e-15 if dtype == np.float64 else 2e-7)

    def test_perfect_and_impossible_predictions(self):
        eye = np.eye(3)
        assert cross_entropy(eye, [0, 1, 2]) == 0
        assert cross_entropy(eye, [0, 1, 0]) == np.inf
        assert binary_cross_entropy(eye, eye) == 0
        assert binary_cross_entropy(eye, 1 - eye) == np.inf
        logits = np.where(eye == 1, 0.0, -np.inf)
        assert softmax_cross_entropy(logits, [0, 1, 2]) == 0
        assert softmax_cross_entropy(logits, [0, 1, 0]) == np.inf

    def test_row_without_a_label(self):
        logits = np.array([[1.0, -2.0, 3.0], [0.0, 0.0, 0.0]])
        targets = np.array([[0, 0, 0], [1, 0, 0]])
        assert_allclose(softmax_cross_entropy(logits, targets), np.log(3) / 2)
        assert_allclose(multilabel_softmax_cross_entropy(logits, targets), np.log(3) / 2)
        negatives = np.log1p(np.exp(logits[0])).sum()
        assert_allclose(sigmoid_cross_entropy(logits[:1], targets[:1]), negatives)


ROWS = [[1e30, -1e30], [1e30, 1e30, -1e30], [1e3, -1e3, 999.0], [37.5, -37.5, 0], [88, -88, 87]]
ROWS += [[88.8, 0], [-104, 0], [709.8, 0, 709], [-745.2, 0], [16.7, 0], [1e-45, -1e-45], [30, -9]]
ROWS += [[3e38, -3e38], [1.2e-38, 0, -3e-39]]
ROWS_FLOAT64 = [[5e-324, -5e-324], [2e-308, 0], [8e307, -8e307], [1e308, 1e308]]


@pytest.mark.parametrize(
    ("row", "dtype"),
    [(row, np.float32) for row in ROWS] + [(row, np.float64) for row in ROWS + ROWS_FLOAT64],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_extreme_logits_against_extended_precision(row, dtype):
    s = np.array([row], dtype=dtype)
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    with mpmath.workdps(700):
        x = [mpmath.mpf(float(v)) for v in s[0]]
        lse = max(x) + mpmath.log(sum(mpmath.exp(v - max(x)) for v in x))
        expected = [float(lse - v) for v in x]
        proba = [float(mpmath.exp(v - lse)) for v in x]
        softplus = [float(max(v, 0) + mpmath.log1p(mpmath.exp(-abs(v)))) for v in x]
        softminus = [float(max(-v, 0) + mpmath.log1p(mpmath.exp(-abs(v)))) for v in x]
        shares = [float(mpmath.exp(min(v, 0)) / (1 + mpmath.exp(-abs(v)))) for v in x]
    for y, one_hot in enumerate(np.eye(len(row))):
        for targets in ([y], [one_hot]):
            loss, grad = softmax_cross_entropy_value_and_grad(s, targets)
            assert_allclose(loss, expected[y], rtol=4 * eps, atol=4 * eps)
            assert_allclose(grad[0], proba - one_hot, rtol=4 * eps, atol=4 * eps)
    for target, value in ((0, softplus), (1, softminus)):
        for j in range(len(row)):
            loss, grad = sigmoid_cross_entropy_value_and_grad(s[:, j], np.array([target]))
            assert_allclose(loss, value[j], rtol=4 * eps, atol=tiny)
            assert_allclose(grad, shares[j] - target, rtol=4 * eps, atol=4 * eps)


def ulps(actual, exact):
    """Error in units of the last place; below the normal range, of the smallest normal number."""
    units = np.spacing(np.maximum(np.abs(actual), np.finfo(actual.dtype).tiny))
    errors = [abs(mpmath.mpf(float(a)) - e) for a, e in zip(actual, exact, strict=True)]
    return max(float(e / mpmath.mpf(float(u))) for e, u in zip(errors, units, strict=True))


@every_dtype
def test_exp_and_log_err_by_a_few_ulp(dtype):
    """Where the argument of exp is exact, so that the error is that of exp, log and a division."""
    lowest = np.log(np.finfo(dtype).tiny)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(lowest, 0, 1500), -(10.0 ** rng.uniform(-40, 2, 1500))])
    x = np.maximum(x, lowest).astype(dtype)
    with mpmath.workdps(60):
        exact = [mpmath.mpf(float(v)) for v in x]
        exp = [mpmath.exp(v) for v in exact]
        log1p = [mpmath.log1p(e) for e in exp]
        pairs = np.c_[x, np.zeros_like(x)]
        errors = {
            "softmax": ulps(softmax(pairs)[:, 0], [e / (1 + e) for e in exp]),
            "sigmoid": ulps(sigmoid(x), [e / (1 + e) for e in exp]),
            "log_sigmoid": ulps(log_sigmoid(-x), [-v for v in log1p]),
            "log_sigmoid of negatives": ulps(
                log_sigmoid(x), [v - w for v, w in zip(exact, log1p, strict=True)]
            ),
        }
    print(np.dtype(dtype).name, {k: round(v, 2) for k, v in errors.items()})
    assert max(errors.values()) <= 4


@every_dtype
@pytest.mark.parametrize("shape", [(5,), (1, 1), (0, 3), (7, 3), (2, 3, 40), (3, 1000)])
def test_activations_are_those_of_scipy(shape, dtype):
    logits = (5 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    if logits.size > 5:
        logits.flat[[0, 4]] = -np.inf, 300
    peers = {
        softmax: lambda s: scipy.special.softmax(s, axis=-1),
        log_softmax: lambda s: scipy.special.log_softmax(s, axis=-1),
        sigmoid: scipy.special.expit,
        log_sigmoid: scipy.special.log_expit,
    }
    for function, peer in peers.items():  # SciPy's log_softmax is 0 where ours is -1e-130
        if logits.size == 0:
            assert function(logits).shape == shape
            continue
        before = logits.copy()
        actual = function(logits)
        assert actual.dtype == dtype
        assert_allclose(actual, peer(logits.astype(np.float64)), **TOLERANCE[dtype])
        assert_allclose(function(logits.T[::-1].T), peer(logits.T[::-1].T), **TOLERANCE[dtype])
        assert_array_equal(logits, before)
        rounded = np.nan_to_num(logits, neginf=-9).astype(int)
        assert function(rounded).dtype == np.float64
        expected = peer(rounded.astype(np.float64))
        assert_allclose(function(rounded), expected, rtol=1e-13, atol=1e-99)


def test_activations_at_infinity():
    inf, nan = np.inf, np.nan
    logits = [-inf, inf, nan]
    assert_array_equal(sigmoid(logits), [0, 1, nan])
    assert_array_equal(log_sigmoid(logits), [-inf, 0, nan])
    rows = [[-inf, -inf, 1], [-inf, -inf, -inf], [inf, 0, 0], [nan, 0, 0]]
    assert_array_equal(softmax(rows), [[0, 0, 1], [nan] * 3, [1, 0, 0], [nan] * 3])
    expected = [[-inf, -inf, 0], [nan] * 3, [0, -inf, -inf], [nan] * 3]
    assert_array_equal(log_softmax(rows), expected)


@pytest.mark.parametrize("function", [softmax, log_softmax, sigmoid, log_sigmoid])
def test_wrong_logits_of_an_activation_are_named(function):
    for logits in (np.zeros(3, dtype=complex), OBJECTS, np.array(["a"])):
        with pytest.raises(ValueError, match="logits"):
            function(logits)
    if function in (softmax, log_softmax):
        with pytest.raises(ValueError, match="logits"):
            function(0.0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [2, 3, 40])
def test_cross_entropy_is_log_loss(k, weighted):
    rng = np.random.default_rng(0)
    y, logits = rng.integers(k, size=200), rng.normal(size=(200, k))
    weight = rng.random(200) if weighted else None
    proba = softmax(logits)
    expected = log_loss(y, proba, labels=range(k), sample_weight=weight)
    for targets in (y, np.eye(k)[y]):
        assert_allclose(cross_entropy(proba, targets, sample_weight=weight), expected, rtol=1e-15)
        actual = softmax_cross_entropy(logits, targets, sample_weight=weight)
        assert_allclose(actual, expected, rtol=1e-14)
    rows = cross_entropy(proba, y, sample_weight=weight, reduction="none")
    total = cross_entropy(proba, y, sample_weight=weight, reduction="sum")
    assert_allclose(rows.sum(), total, rtol=1e-14)
    assert_allclose(total, expected * (200 if weight is None else weight.sum()), rtol=1e-14)


def test_binary_cross_entropy_is_the_sum_of_log_loss_over_labels():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(90, 4)), rng.integers(2, size=(90, 4))
    weight = rng.random(90)
    columns = zip(targets.T, sigmoid(logits).T, strict=True)
    expected = sum(log_loss(t, p, sample_weight=weight) for t, p in columns)
    actual = binary_cross_entropy(sigmoid(logits), targets, sample_weight=weight)
    assert_allclose(actual, expected, rtol=1e-14)
    actual = sigmoid_cross_entropy(logits, targets, sample_weight=weight)
    assert_allclose(actual, expected, rtol=1e-14)


def test_losses_of_probabilities_are_entropies_and_divergences_of_scipy():
    rng = np.random.default_rng(0)
    t, p = rng.dirichlet(np.ones(5), size=(2, 50))
    expected = (scipy.special.entr(t) + scipy.special.rel_entr(t, p)).sum(axis=1)
    assert_allclose(cross_entropy(p, t, reduction="none"), expected, rtol=1e-13)
    expected = -(scipy.special.xlogy(t, p) + scipy.special.xlog1py(1 - t, -p)).sum(axis=1)
    assert_allclose(binary_cross_entropy(p, t, reduction="none"), expected, rtol=1e-13)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def assert_is_torch(torch, ours, theirs, logits, dtype, **kwargs):
    """Compare loss and gradient, per row and reduced; `theirs` maps logits to losses of rows."""
    tensor = torch.tensor(logits, requires_grad=True)
    rows = theirs(tensor)
    rows.sum().backward()
    loss, grad = ours(logits, reduction="none", **kwargs)
    tolerance = TOLERANCE[dtype]
    assert_allclose(loss, rows.detach().numpy(), **tolerance)
    assert_allclose(grad, tensor.grad.numpy(), **tolerance)


@every_dtype
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("kind", ["labels", "shares"])
def test_softmax_cross_entropy_is_that_of_torch(torch, kind, smoothing, dtype):
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(60, 7))).astype(dtype)
    soft = rng.dirichlet(np.ones(7), 60).astype(dtype)
    y = rng.integers(7, size=60) if kind == "labels" else soft
    cross_entropy = torch.nn.functional.cross_entropy

    def ours(s, **kwargs):
        return softmax_cross_entropy_value_and_grad(s, y, label_smoothing=smoothing, **kwargs)

    def theirs(s):
        return cross_entropy(s, torch.tensor(y), label_smoothing=smoothing, reduction="none")

    assert_is_torch(torch, ours, theirs, logits, dtype)
    if smoothing == 0:  # with smoothing torch weights the classes after it, skce before
        weight = rng.uniform(0.2, 3, size=7).astype(dtype)

        def weighted(s, reduction="none"):
            tensors = torch.tensor(y), torch.tensor(weight)
            return cross_entropy(s, *tensors, reduction=reduction)

        assert_is_torch(torch, ours, weighted, logits, dtype, class_weight=weight)
        if kind == "labels":  # of soft targets torch divides by the number of rows
            actual = softmax_cross_entropy(logits, y, class_weight=weight)
            expected = weighted(torch.tensor(logits), "mean").item()
            assert_allclose(actual, expected, rtol=TOLERANCE[dtype]["rtol"])


@every_dtype
@pytest.mark.parametrize("kind", ["labels", "shares"])
def test_torch_weights_the_classes_of_smoothed_targets(torch, kind, dtype):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(60, 7)).astype(dtype)
    weight = rng.uniform(0.2, 3, size=7).astype(dtype)
    y = rng.integers(7, size=60) if kind == "labels" else rng.dirichlet(np.ones(7), 60)
    targets = np.eye(7)[y] if kind == "labels" else y
    smoothed = (weight * (0.9 * targets + 0.1 / 7)).astype(dtype)
    y = y if kind == "labels" else y.astype(dtype)

    def ours(s, **kwargs):
        return softmax_cross_entropy_value_and_grad(s, smoothed, **kwargs)

    def theirs(s, reduction="none"):
        options = {"weight": torch.tensor(weight), "label_smoothing": 0.1, "reduction": reduction}
        return torch.nn.functional.cross_entropy(s, torch.tensor(y), **options)

    assert_is_torch(torch, ours, theirs, logits, dtype)
    divisor = weight[y].sum(dtype=float) if kind == "labels" else len(y)
    total = ours(logits, reduction="sum")[0] / divisor
    mean = theirs(torch.tensor(logits), "mean").item()
    assert_allclose(total, mean, rtol=TOLERANCE[dtype]["rtol"])


@every_dtype
def test_multilabel_softmax_cross_entropy_is_that_of_torch_with_shared_targets(torch, dtype):
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(60, 7))).astype(dtype)
    targets = (rng.random((60, 7)) * (rng.random((60, 7)) < 0.3)).astype(dtype)
    shared = torch.tensor(targets / np.maximum(1, np.count_nonzero(targets, axis=1))[:, np.newaxis])

    def ours(s, **kwargs):
        return multilabel_softmax_cross_entropy_value_and_grad(s, targets.astype(dtype), **kwargs)

    def theirs(s):
        cross_entropy = torch.nn.functional.cross_entropy
        return cross_entropy(s, shared.to(s.dtype), reduction="none")

    assert_is_torch(torch, ours, theirs, logits, dtype)
    assert_allclose(
        multilabel_softmax_cross_entropy(logits, targets),
        theirs(torch.tensor(logits)).mean().item(),
        rtol=TOLERANCE[dtype]["rtol"],
    )


@every_dtype
@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoid_cross_entropy_is_that_of_torch(torch, weighted, dtype):
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(60, 7))).astype(dtype)
    targets = np.clip(1.5 * rng.random((60, 7)) - 0.25, 0, 1).astype(dtype)
    pos_weight = rng.uniform(0.2, 9, size=7).astype(dtype) if weighted else None

    def ours(s, **kwargs):
        return sigmoid_cross_entropy_value_and_grad(s, targets, pos_weight=pos_weight, **kwargs)

    def theirs(s):
        weight = torch.tensor(pos_weight) if weighted else None
        loss = torch.nn.BCEWithLogitsLoss(pos_weight=weight, reduction="none")
        return loss(s, torch.tensor(targets)).sum(dim=1)

    assert_is_torch(torch, ours, theirs, logits, dtype)
