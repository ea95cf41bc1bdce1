"""Laws of the losses, over the registry of loss x targets x options, in float32 and float64."""

import itertools

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from registry import INSTANCES, TOLERANCE

from skce import losses
from skce.losses import (
    sigmoid_cross_entropy_value_and_grad,
    softmax_cross_entropy,
    softmax_cross_entropy_value_and_grad,
)

REDUCTIONS = ("mean", "sum", "none")
every_instance = pytest.mark.parametrize("instance", INSTANCES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
with_labels = pytest.mark.parametrize(
    "instance", [i for i in INSTANCES if i.kind == "labels"], ids=str
)
DENSE = [i for i in INSTANCES if i.kind not in ("labels", "single")]
with_dense_targets = pytest.mark.parametrize("instance", DENSE, ids=str)


def assert_same(actual, expected, dtype=np.float64):
    for a, e in zip(actual, expected, strict=True):
        assert_allclose(np.float64(a), np.float64(e), **TOLERANCE[dtype])


@every_instance
@every_dtype
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_value_and_gradient_are_the_reference(instance, dtype, reduction):
    p = instance.problem(dtype)
    for sample_weight in (None, p.sample_weight):
        kwargs = {**p.options, "sample_weight": sample_weight, "reduction": reduction}
        loss, grad = instance.value_and_grad(p.logits, p.targets, **kwargs)
        expected = instance.reference(p.logits, p.targets, **kwargs)
        assert_same((loss, grad), expected, dtype)
        assert_same([instance.value(p.logits, p.targets, **kwargs)], [loss], dtype)
        assert grad.dtype == dtype
        assert grad.shape == p.logits.shape
        if reduction == "none":
            assert loss.dtype == np.float64
            assert loss.shape == (len(p.logits),)
        else:
            assert type(loss) is float


@every_instance
@every_dtype
@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 33])
def test_value_and_gradient_are_the_reference_for_any_number_of_classes(instance, dtype, n):
    for k in {1: (1, 2, 1000), 2: (31, 64, 129), 3: (4, 8, 65, 1000), 7: (6, 9, 33)}.get(
        n, (3, 17)
    ):
        p = instance.problem(dtype, n, k, seed=k)
        expected = instance.reference(p.logits, p.targets, **p.options, reduction="none")
        actual = instance.value_and_grad(p.logits, p.targets, **p.options, reduction="none")
        assert_same(actual, expected, dtype)
        alone = instance.value(p.logits, p.targets, **p.options, reduction="none")
        assert_array_equal(alone, actual[0])


@every_instance
@every_dtype
def test_rows_of_a_large_array_are_those_of_a_small_one(instance, dtype):
    n = 100_000
    p = instance.problem(dtype, n=37, k=3)
    repeats = -(-n // 37)
    logits = np.concatenate([p.logits] * repeats)[:n]
    targets = np.concatenate([p.targets] * repeats)[:n]
    small = instance.reference(p.logits, p.targets, **p.options, reduction="none")
    large = instance.value_and_grad(logits, targets, **p.options, reduction="none")
    expected = [np.concatenate([a] * repeats)[:n] for a in small]
    assert_same(large, expected, dtype)
    total = instance.value(logits, targets, **p.options, reduction="sum")
    assert_allclose(total, large[0].sum(), rtol=1e-12 if dtype == np.float64 else 1e-7)


@every_instance
def test_gradient_is_the_derivative_of_the_loss(instance):
    p = instance.problem()
    kwargs = {**p.options, "sample_weight": p.sample_weight, "reduction": "sum"}
    _, grad = instance.value_and_grad(p.logits, p.targets, **kwargs)
    h = 1e-3
    for index in np.ndindex(*p.logits.shape):
        difference = 0.0
        for step, coefficient in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            logits = p.logits.copy()
            logits[index] += step * h
            difference += coefficient * instance.value(logits, p.targets, **kwargs)
        assert abs(difference / (12 * h) - grad[index]) <= 1e-7


@every_instance
def test_weights_mean_repetition(instance):
    p = instance.problem()
    weight = np.random.default_rng(1).integers(4, size=12)
    weighted = instance.value(p.logits, p.targets, **p.options, sample_weight=weight)
    logits, targets = (np.repeat(a, weight, axis=0) for a in (p.logits, p.targets))
    assert_allclose(weighted, instance.value(logits, targets, **p.options), rtol=1e-13)


@every_instance
@every_dtype
def test_nothing_to_average_is_zero(instance, dtype):
    p = instance.problem(dtype)
    zeros = np.zeros(12)
    loss, grad = instance.value_and_grad(p.logits, p.targets, **p.options, sample_weight=zeros)
    assert loss == 0.0
    assert_array_equal(grad, np.zeros_like(p.logits))
    for reduction in REDUCTIONS:
        loss, grad = instance.value_and_grad(
            p.logits[:0], p.targets[:0], **p.options, reduction=reduction
        )
        assert_array_equal(loss, np.zeros(0) if reduction == "none" else 0.0)
        assert grad.shape == p.logits[:0].shape
        assert grad.dtype == dtype


@with_labels
def test_class_weight_is_the_sample_weight_of_the_class(instance):
    p = instance.problem()
    c = np.array([0.0, 0.5, 1.0, 2.0, 7.0])
    smoothing = p.options.get("label_smoothing", 0.0)
    for reduction in REDUCTIONS:
        kwargs = {"label_smoothing": smoothing, "reduction": reduction}
        actual = instance.value_and_grad(
            p.logits, p.targets, class_weight=c, sample_weight=p.sample_weight, **kwargs
        )
        weight = p.sample_weight * c[p.targets]
        expected = instance.value_and_grad(p.logits, p.targets, sample_weight=weight, **kwargs)
        assert_same(actual, expected)


@with_labels
def test_labels_are_one_hot_targets(instance):
    p = instance.problem()
    one_hot = np.eye(5)[p.targets]
    for dtype in (np.float64, np.float32, bool, np.int8, np.uint8):
        actual = instance.value_and_grad(p.logits, one_hot.astype(dtype), **p.options)
        assert_same(actual, instance.value_and_grad(p.logits, p.targets, **p.options))


@pytest.mark.parametrize(
    "instance",  # without class weights, which come before the smoothing
    [i for i in DENSE if not (i.with_options and i.loss == "softmax_cross_entropy")],
    ids=str,
)
def test_label_smoothing_is_a_loss_of_the_smoothed_targets(instance):
    p = instance.problem()
    if instance.loss == "sigmoid_cross_entropy":
        smoothed = 0.8 * p.targets + 0.1
    else:
        mass, seen = np.nansum(p.targets, axis=1), np.sum(~np.isnan(p.targets), axis=1)
        smoothed = 0.8 * p.targets + 0.2 * (mass / np.maximum(seen, 1))[:, np.newaxis]
        if instance.loss == "multilabel_softmax_cross_entropy":  # more non-zeros, counted before
            positives = np.maximum(np.sum(p.targets > 0, axis=1), 1)
            smoothed *= (np.sum(smoothed > 0, axis=1) / positives)[:, np.newaxis]
    options = {**p.options, "label_smoothing": 0.2}
    actual = instance.value_and_grad(p.logits, p.targets, **options)
    options["label_smoothing"] = 0.0
    assert_same(actual, instance.value_and_grad(p.logits, smoothed, **options))


@with_dense_targets
def test_missing_entry_is_as_good_as_removed(instance):
    p = instance.problem(n=30)
    targets = p.targets.copy()
    targets[np.random.default_rng(1).random(targets.shape) < 0.2] = np.nan
    missing = np.isnan(targets)
    losses, grad = instance.value_and_grad(p.logits, targets, **p.options, reduction="none")
    assert_array_equal(grad[missing], 0)
    for i, seen in enumerate(~missing):
        options = {k: v if np.isscalar(v) else v[seen] for k, v in p.options.items()}
        if seen.any():
            loss, row = instance.value_and_grad(
                p.logits[i : i + 1, seen], targets[i : i + 1, seen], **options, reduction="none"
            )
            assert_same((losses[i], grad[i, seen]), (loss[0], row[0]))
        else:
            assert losses[i] == 0
    for anything in (np.nan, np.inf, -np.inf, 1e300):
        logits = np.where(missing, anything, p.logits)
        assert_same(
            instance.value_and_grad(logits, targets, **p.options, reduction="none"), (losses, grad)
        )
    nothing = np.full_like(targets, np.nan)
    loss, grad = instance.value_and_grad(p.logits, nothing, **p.options)
    assert loss == 0
    assert_array_equal(grad, 0)


@every_dtype
def test_two_class_softmax_is_the_sigmoid_of_the_difference(dtype):
    rng = np.random.default_rng(0)
    s = rng.normal(size=(50, 2)).astype(dtype)
    t = rng.random(50).astype(dtype)
    for smoothing in (0.0, 0.3):
        kwargs = {"label_smoothing": smoothing, "reduction": "none"}
        loss, grad = softmax_cross_entropy_value_and_grad(s, np.c_[1 - t, t], **kwargs)
        one = sigmoid_cross_entropy_value_and_grad(s[:, 1] - s[:, 0], t, **kwargs)
        assert_same((loss, grad[:, 1]), one, dtype)
        column = sigmoid_cross_entropy_value_and_grad(s[:, 1:] - s[:, :1], t[:, None], **kwargs)
        assert_same((column[0], column[1][:, 0]), one, dtype)


@every_dtype
@pytest.mark.parametrize("instance", [i for i in INSTANCES if "softmax" in i.loss], ids=str)
def test_shifting_the_logits_of_a_row_changes_nothing(instance, dtype):
    p = instance.problem(dtype)
    logits = np.round(p.logits * 16) / 16  # so that the shifts are exact
    shifts = 1024 * np.arange(-6, 6, dtype=dtype)[:, np.newaxis]
    actual = instance.value_and_grad(logits + shifts, p.targets, **p.options)
    assert_same(actual, instance.value_and_grad(logits, p.targets, **p.options), dtype)


@every_instance
@every_dtype
@pytest.mark.parametrize(("n", "k"), [(40_000, 3), (1500, 100), (100, 1500), (30, 5000)])
def test_number_of_threads_does_not_change_the_bits(instance, dtype, n, k):
    p = instance.problem(dtype, n, k)
    one, two, three, default = (
        instance.value_and_grad(p.logits, p.targets, **p.options, n_threads=n_threads)
        for n_threads in (1, 2, 3, None)
    )
    for other in (two, three, default):
        assert other[0] == one[0]
        assert_array_equal(other[1], one[1])


INF, NAN = np.inf, np.nan
SPECIAL = [[-INF, 1, 2], [1, -INF, -INF], [-INF, -INF, -INF], [NAN, 1, 2], [INF, 1, -INF]]
INFINITE = [[1, INF, 2], [INF, 1, INF], [NAN, 1, INF], [1, INF, NAN]]
SPECIAL_TARGETS = [[1, 0, 0], [0, 1, 0], [0, 0.5, 1], [0.2, 0.3, 0.5], [NAN, 1, 0], [NAN, 1, NAN]]
special_cases = [(row, target) for row in SPECIAL + INFINITE for target in SPECIAL_TARGETS]


@every_dtype
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("softmax_cross_entropy", {}),
        ("softmax_cross_entropy", {"class_weight": np.array([2.0, 1.0, 0.0])}),
        ("multilabel_softmax_cross_entropy", {}),
        ("sigmoid_cross_entropy", {}),
        ("sigmoid_cross_entropy", {"pos_weight": np.array([2.0, 1.0, 0.0])}),
    ],
)
def test_non_finite_logits(loss, options, smoothing, dtype):
    logits = np.array([r for row, _ in special_cases for r in (row, [0, 1, 2])], dtype=dtype)
    targets = np.array([t for _, target in special_cases for t in (target, [1, 0, 0])], dtype=dtype)
    function = getattr(losses, f"{loss}_value_and_grad")
    options = {**options, "label_smoothing": smoothing}
    actual = function(logits, targets, **options, reduction="none")
    expected = getattr(reference, loss)(logits, targets, **options)[:2]
    assert_same(actual, expected, dtype)


def test_non_finite_logits_with_labels():
    first, second = (softmax_cross_entropy(SPECIAL, [y] * 5, reduction="none") for y in (0, 1))
    assert_allclose(first, [INF, 0, NAN, NAN, 0], atol=0)
    assert_allclose(second, [np.log1p(np.e), INF, NAN, NAN, INF])


@every_dtype
@pytest.mark.parametrize("k", [2, 3, 31, 32, 100, 1500])
def test_a_logit_of_infinity_is_certain(k, dtype):
    rng = np.random.default_rng(k)
    logits, certain = rng.standard_normal((40, k)).astype(dtype), rng.integers(k, size=40)
    logits[np.arange(40), certain] = INF
    labels, one_hot = np.where(rng.random(40) < 0.5, certain, 0), np.eye(k)
    for targets in (labels, one_hot[labels]):
        expected = np.where(labels == certain, 0.0, INF)
        gradient = one_hot[certain] - one_hot[labels]
        kwargs = {"reduction": "none"}
        for out in (None, logits.copy()):
            given = logits if out is None else out
            found = softmax_cross_entropy_value_and_grad(given, targets, **kwargs, out=out)
            assert_same(found, (expected, gradient))
        assert_array_equal(softmax_cross_entropy(logits, targets, **kwargs), expected)
    assert_array_equal(losses.softmax(logits), one_hot[certain])
    with np.errstate(divide="ignore"):
        assert_array_equal(losses.log_softmax(logits), np.log(one_hot[certain]))
    two, nan = logits.copy(), logits.copy()
    two[np.arange(40), (certain + 1) % k] = INF
    nan[np.arange(40), (certain + 1) % k] = NAN
    for undefined in (two, nan):
        assert np.isnan(softmax_cross_entropy(undefined, certain, reduction="none")).all()
        assert np.isnan(losses.softmax(undefined)).all()


@every_dtype
@pytest.mark.parametrize("n", [1, 40])
@pytest.mark.parametrize("k", [3, 4, 17, 20, 70])
def test_rows_with_infinities_and_nan_have_their_limits(k, n, dtype):
    """NaN where a logit is, where several are +inf or all are -inf; each row by itself."""
    for values in itertools.product([-INF, -5.0, 0.0, INF, NAN], repeat=3):
        logits = np.zeros((n, k), dtype)
        logits[n // 2, [0, k // 2, k - 1]] = values
        with np.errstate(invalid="ignore"):
            lse = np.logaddexp.reduce(logits.astype(float), axis=1, keepdims=True)
            expected = logits - lse
        row, (certain,) = logits[n // 2], np.nonzero(logits[n // 2] == INF)
        if np.isnan(row).any() or len(certain) > 1 or (row == -INF).all():
            expected[n // 2] = NAN
        elif len(certain):
            expected[n // 2] = np.where(np.arange(k) == certain, 0, -INF)
        out = logits.copy()
        losses.log_softmax(out, out=out)
        for found in (losses.log_softmax(logits), out):
            assert_same([found], [expected], dtype)
        assert_same([losses.softmax(logits)], [np.exp(expected)], dtype)
        labels = np.arange(n) % k
        loss = softmax_cross_entropy(logits, labels, reduction="none")
        assert_same([loss], [-expected[np.arange(n), labels]], dtype)


@every_dtype
@pytest.mark.parametrize("k", [2, 3, 16, 31, 32, 100, 1500])
def test_tiny_losses_keep_their_digits(k, dtype):
    lead = np.array([1, 5, 20, 36, 37, 40, 60, 80], dtype)
    logits = np.zeros((len(lead), k), dtype)
    logits[:, 1] = lead
    exact = np.log1p((k - 1) * np.exp(-lead.astype(np.longdouble))).astype(float)
    rtol = (8 + k / 20) * 1e-15 if dtype == np.float64 else 4e-7  # k terms are added one by one
    one_hot = np.eye(k)[[1] * len(lead)]
    for targets in ([1] * len(lead), one_hot):
        found = softmax_cross_entropy(logits, targets, reduction="none")
        assert_allclose(found, exact, rtol=rtol, atol=0)
        found = softmax_cross_entropy(logits - 1000, targets, reduction="none")
        assert_allclose(found, exact, rtol=rtol, atol=0)
    found = losses.multilabel_softmax_cross_entropy(logits, one_hot, reduction="none")
    assert_allclose(found, exact, rtol=rtol, atol=0)
    log_proba = losses.log_softmax(logits)[:, 1]
    assert_allclose(-log_proba, exact.astype(dtype), rtol=rtol, atol=0)


@every_instance
@every_dtype
@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e150, 1e305])
def test_a_mean_depends_on_the_ratios_of_the_weights_only(instance, dtype, scale):
    p = instance.problem(dtype, n=40)
    weight = np.random.default_rng(0).integers(1, 5, size=40) * 1.0
    expected = instance.value_and_grad(p.logits, p.targets, **p.options, sample_weight=weight)
    scaled = weight * scale * (64 if scale > 1 else 1)  # a sum that overflows
    found = instance.value_and_grad(p.logits, p.targets, **p.options, sample_weight=scaled)
    assert_same(found, expected, dtype)
    soft = instance.kind in ("one-hot", "shares") and (scale < 1 or dtype == np.float64)
    if "class_weight" in p.options and (instance.kind == "labels" or soft):
        options = {**p.options, "class_weight": np.array([1.0, 2, 1, 2, 1])}
        expected = instance.value_and_grad(p.logits, p.targets, **options, sample_weight=weight)
        options["class_weight"] = options["class_weight"] * scale
        found = instance.value_and_grad(p.logits, p.targets, **options, sample_weight=scaled)
        assert_same(found, expected, dtype)


@every_dtype
@pytest.mark.parametrize("ignored", [-100, -1, 2, 10**9])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_rows_of_ignore_index_are_rows_of_no_weight(ignored, reduction, dtype):
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(30, 4)).astype(dtype), rng.integers(4, size=30)
    weight, balance = rng.random(30), rng.uniform(0.5, 2, 4)
    marked = np.where(rng.random(30) < 0.3, ignored, y)
    left = marked != ignored
    logits[~left] *= np.nan
    options = {"class_weight": balance, "label_smoothing": 0.1, "reduction": reduction}
    for w in (None, weight):
        loss, gradient = softmax_cross_entropy_value_and_grad(
            logits, marked, sample_weight=w, ignore_index=ignored, **options
        )
        expected = softmax_cross_entropy_value_and_grad(
            logits[left], marked[left], sample_weight=None if w is None else w[left], **options
        )
        if reduction == "none":
            assert_array_equal(loss[~left], 0)
            loss = loss[left]
        assert_same((loss, gradient[left]), expected, dtype)
        assert_array_equal(gradient[~left], 0)
        hessian = losses.softmax_cross_entropy_hessian_diag(
            np.nan_to_num(logits), marked, sample_weight=w, ignore_index=ignored, **options
        )
        assert_array_equal(hessian[~left], 0)
        assert (hessian[left] > 0).all()
    assert softmax_cross_entropy(logits, np.full(30, ignored), ignore_index=ignored) == 0
