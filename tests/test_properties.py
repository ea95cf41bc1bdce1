"""Properties of the losses for arbitrary input, by hypothesis, over the registry."""

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose
from registry import INSTANCES

from skce.losses import log_sigmoid, log_softmax, sigmoid, softmax

every_instance = pytest.mark.parametrize("instance", INSTANCES, ids=str)
every_softmax = pytest.mark.parametrize(
    "instance", [i for i in INSTANCES if "softmax" in i.loss], ids=str
)
plain = pytest.mark.parametrize("instance", [i for i in INSTANCES if not i.with_options], ids=str)
quick = settings(max_examples=50, deadline=None, derandomize=True, database=None)

shapes = st.tuples(st.integers(1, 6), st.integers(1, 9))
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.float32, np.float64])


def floats(dtype, bound):
    """Numbers of any magnitude up to the bound, which is rounded to the dtype."""
    bound = float(np.dtype(dtype).type(bound))
    width = 8 * np.dtype(dtype).itemsize
    return st.floats(-bound, bound, width=width, allow_nan=False, allow_infinity=False)


@st.composite
def problems(draw, instance, bound=None, **kwargs):
    """A problem of the registry with logits chosen by hypothesis."""
    dtype = draw(dtypes)
    n, k = draw(shapes)
    problem = instance.problem(dtype, n, k, seed=draw(seeds))
    anything = st.floats(width=8 * np.dtype(dtype).itemsize)
    elements = anything if bound is None else floats(dtype, bound)
    logits = draw(hnp.arrays(dtype, problem.logits.shape, elements=elements))
    return logits, problem.targets, problem.options


def tolerances(logits):
    eps = np.finfo(logits.dtype).eps
    return {"rtol": 32 * eps, "atol": 32 * eps}


@every_instance
@quick
@given(st.data())
def test_value_and_gradient_are_the_reference_for_any_finite_logits(instance, data):
    bound = data.draw(st.sampled_from([1, 100, 1e4, 3e37]))
    logits, targets, options = data.draw(problems(instance, bound))
    actual = instance.value_and_grad(logits, targets, **options, reduction="none")
    expected = instance.reference(logits, targets, **options, reduction="none")
    for a, e in zip(actual, expected, strict=True):
        assert_allclose(a, np.float64(e), **tolerances(logits))


@every_instance
@quick
@given(st.data())
def test_any_logits_give_a_number_infinity_or_nan(instance, data):
    logits, targets, options = data.draw(problems(instance))
    for reduction in ("mean", "sum", "none"):
        kwargs = {**options, "reduction": reduction}
        with np.errstate(over="ignore"):  # of the sum over rows
            loss, grad = instance.value_and_grad(logits, targets, **kwargs)
        assert np.all(np.isnan(loss) | (np.asarray(loss) >= 0))
        assert np.shape(loss) == (logits.shape[:1] if reduction == "none" else ())
        assert grad.shape == logits.shape
    finite = np.isfinite(logits.reshape(len(logits), -1)).all(axis=1)
    assert np.isfinite(loss[finite & (np.abs(logits).reshape(len(logits), -1).max(1) < 1e30)]).all()


@quick
@given(st.data())
def test_activations_of_any_logits(data):
    dtype = data.draw(dtypes)
    elements = st.floats(width=8 * np.dtype(dtype).itemsize)
    logits = data.draw(hnp.arrays(dtype, hnp.array_shapes(max_dims=3), elements=elements))
    for function in (softmax, sigmoid):
        proba = function(logits)
        assert np.all(np.isnan(proba) | ((proba >= 0) & (proba <= 1)))
    for function in (log_softmax, log_sigmoid):
        log_proba = function(logits)
        assert np.all(np.isnan(log_proba) | (log_proba <= 0))
    legal = np.all(logits < np.inf, axis=-1) & np.any(logits > -np.inf, axis=-1)
    sums = softmax(logits)[legal].sum(axis=-1)
    assert_allclose(sums, 1, rtol=8 * np.finfo(dtype).eps)
    assert_allclose(sigmoid(logits), 1 - sigmoid(-logits), atol=2 * np.finfo(dtype).eps)


@plain
@quick
@given(st.data())
def test_loss_is_at_least_the_entropy_of_the_targets(instance, data):
    logits, targets, _ = data.draw(problems(instance, 50))
    losses = instance.value(logits, targets, reduction="none")
    t = targets.astype(np.float64)
    if instance.kind == "labels":
        t = np.zeros_like(losses)
    elif instance.loss == "sigmoid_cross_entropy":
        t = scipy.special.entr(t) + scipy.special.entr(1 - t)
    else:
        if instance.loss == "multilabel_softmax_cross_entropy":
            t = t / np.maximum(np.sum(t > 0, axis=1, keepdims=True), 1)
        mass = np.nansum(t, axis=1, keepdims=True)
        t = scipy.special.entr(t / np.where(mass > 0, mass, 1)) * mass
    entropy = t if t.ndim == 1 else np.nansum(t, axis=1)
    assert np.all(losses >= entropy - tolerances(logits)["atol"] * (1 + entropy))


@every_softmax
@quick
@given(st.data())
def test_gradient_rows_of_a_softmax_sum_to_zero(instance, data):
    logits, targets, options = data.draw(problems(instance, 1e4))
    _, grad = instance.value_and_grad(logits, targets, **options, reduction="none")
    scale = 1 + np.abs(grad).sum(axis=1)
    assert np.all(np.abs(grad.sum(axis=1, dtype=float)) <= tolerances(logits)["atol"] * scale)


@every_instance
@quick
@given(st.data())
def test_loss_is_convex_along_a_segment(instance, data):
    start, targets, options = data.draw(problems(instance, 100))
    start = start.astype(np.float64)
    end = data.draw(hnp.arrays(np.float64, start.shape, elements=floats(np.float64, 100)))
    share = data.draw(st.floats(0, 1))

    def loss(logits):
        return instance.value(logits, targets, **options, reduction="none")

    chord = share * loss(start) + (1 - share) * loss(end)
    assert np.all(loss(share * start + (1 - share) * end) <= chord + 1e-12 * (1 + chord))


@every_softmax
@quick
@given(st.data())
def test_shifting_the_logits_of_a_row_changes_nothing(instance, data):
    dtype = data.draw(dtypes)
    n, k = data.draw(shapes)
    p = instance.problem(dtype, n, k, seed=data.draw(seeds))
    logits = np.round(p.logits * 8) / 8  # eighths and whole shifts add exactly
    shifts = data.draw(hnp.arrays(dtype, (n, 1), elements=st.integers(-(2**16), 2**16)))
    actual = instance.value_and_grad(logits + shifts, p.targets, **p.options, reduction="none")
    expected = instance.value_and_grad(logits, p.targets, **p.options, reduction="none")
    for a, e in zip(actual, expected, strict=True):
        assert_allclose(a, e, **tolerances(logits))


@every_instance
@quick
@given(st.data())
def test_sample_weight_multiplies(instance, data):
    logits, targets, options = data.draw(problems(instance, 20))
    weight = data.draw(
        hnp.arrays(np.float64, len(logits), elements=st.floats(1e-3, 1e3) | st.just(0))
    )
    rows, grads = instance.value_and_grad(logits, targets, **options, reduction="none")
    loss, grad = instance.value_and_grad(
        logits, targets, **options, reduction="none", sample_weight=weight
    )
    atol = 100 * np.finfo(logits.dtype).eps
    scale = np.where(weight > 0, weight, 1)
    assert_allclose(loss / scale, rows * (weight > 0), rtol=atol, atol=atol)
    assert_allclose(grad.T / scale, grads.T * (weight > 0), rtol=atol, atol=atol)


@pytest.mark.parametrize(
    "instance", [i for i in INSTANCES if "softmax" in i.loss and i.kind != "labels"], ids=str
)
@quick
@given(st.data())
def test_loss_of_a_softmax_is_proportional_to_the_targets(instance, data):
    logits, targets, options = data.draw(problems(instance, 20))
    factor = 2.0 ** data.draw(st.integers(-40, 40))
    for reduction in ("mean", "none"):
        kwargs = {**options, "reduction": reduction}
        loss, grad = instance.value_and_grad(logits, targets, **kwargs)
        scaled = instance.value_and_grad(logits, targets * factor, **kwargs)
        assert_allclose(scaled[0] / factor, loss, **tolerances(logits))
        assert_allclose(scaled[1] / factor, grad, **tolerances(logits))
