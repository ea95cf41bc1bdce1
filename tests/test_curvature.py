"""The Hessians' diagonals of the losses, over the registry of losses, targets and options."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from registry import INSTANCES, strided

from skce import losses

every_instance = pytest.mark.parametrize("instance", INSTANCES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def hessian_diag(instance, *args, **kwargs):
    return getattr(losses, f"{instance.loss}_hessian_diag")(*args, **kwargs)


@every_instance
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_diagonal_is_the_derivative_of_the_gradient(instance, reduction):
    p = instance.problem()
    for sample_weight in (None, p.sample_weight):
        kwargs = {**p.options, "sample_weight": sample_weight, "reduction": reduction}
        actual = hessian_diag(instance, p.logits, p.targets, **kwargs)
        h = np.longdouble(1e-3)
        assert actual.shape == p.logits.shape
        for index in np.ndindex(*p.logits.shape):
            difference = 0.0
            for step, coefficient in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
                logits = p.logits.astype(np.longdouble)
                logits[index] += step * h
                gradient = instance.reference(logits, p.targets, **kwargs)[1]
                difference += coefficient * gradient[index]
            assert abs(difference / (12 * h) - actual[index]) <= 1e-10


@every_instance
def test_float32_is_near_float64_and_layout_does_not_matter(instance):
    p = instance.problem()
    kwargs = {**p.options, "sample_weight": p.sample_weight}
    expected = hessian_diag(instance, p.logits, p.targets, **kwargs)
    single = hessian_diag(instance, p.logits.astype(np.float32), p.targets, **kwargs)
    assert single.dtype == np.float32
    assert_allclose(single, expected, rtol=2e-5, atol=1e-7)
    again = hessian_diag(instance, strided(p.logits), strided(p.targets), **kwargs, n_threads=1)
    assert_array_equal(again, expected)


@every_dtype
def test_certain_rows_keep_their_digits(dtype):
    """1 − p of the certain class is the sum of the others, not a difference near rounding."""
    rtol = 1e-5 if dtype == np.float32 else 1e-13
    logits = np.array([[40.0, 0, -1], [-30, 0, 0.5], [0, 60, 60]], dtype)
    wide = logits.astype(np.longdouble)
    proba = np.exp(wide - wide.max(axis=1, keepdims=True))
    proba /= proba.sum(axis=1, keepdims=True)
    others = np.stack([np.delete(proba, c, axis=1).sum(axis=1) for c in range(3)], axis=1)
    actual = losses.softmax_cross_entropy_hessian_diag(logits, [0, 1, 1], reduction="none")
    assert_allclose(
        actual, (proba * others).astype(dtype), rtol=1e-5 if dtype == np.float32 else 1e-13
    )
    actual = losses.sigmoid_cross_entropy_hessian_diag(logits, np.eye(3), reduction="none")
    expected = np.exp(-np.abs(wide)) / (1 + np.exp(-np.abs(wide))) ** 2
    assert_allclose(actual, expected.astype(dtype), rtol=rtol)


@every_instance
def test_no_rows_and_wrong_arguments(instance):
    p = instance.problem()
    assert hessian_diag(instance, p.logits[:0], p.targets[:0]).shape == p.logits[:0].shape
    for name, wrong in (("reduction", "max"), ("label_smoothing", 2), ("sample_weight", [1])):
        with pytest.raises(ValueError, match=name):
            hessian_diag(instance, p.logits, p.targets, **{name: wrong})
    with pytest.raises(ValueError, match="targets"):
        hessian_diag(instance, p.logits, p.targets[1:])
    with pytest.raises(ValueError, match="targets"):
        hessian_diag(instance, p.logits, -1 - np.nan_to_num(p.targets))
