"""What the losses make of their arguments: layouts, dtypes, out, and what is refused."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from registry import LAYOUTS, WRONG, WRONG_ONLY, strided
from test_losses import assert_same, every_dtype, every_instance, with_dense_targets

from skce import losses
from skce.losses import sigmoid_cross_entropy, softmax_cross_entropy


def memory_map(a, path):
    stored = np.memmap(path, dtype=a.dtype, mode="w+", shape=a.shape)
    stored[...] = a
    stored.flush()
    return np.memmap(path, dtype=a.dtype, mode="r", shape=a.shape)


@every_instance
def test_layout_of_the_inputs_does_not_matter(instance, tmp_path):
    p = instance.problem()
    arrays = {"logits": p.logits, "targets": p.targets, "sample_weight": p.sample_weight}
    arrays |= {k: v for k, v in p.options.items() if not np.isscalar(v)}
    scalars = {k: v for k, v in p.options.items() if np.isscalar(v)}
    expected = instance.value_and_grad(**arrays, **scalars)
    for layout in LAYOUTS.values():
        changed = {name: layout(a) for name, a in arrays.items()}
        assert_same(instance.value_and_grad(**changed, **scalars), expected)
    mapped = {name: memory_map(a, tmp_path / name) for name, a in arrays.items()}
    assert_same(instance.value_and_grad(**mapped, **scalars), expected)
    lists = {name: a.tolist() for name, a in arrays.items()}
    assert_same(instance.value_and_grad(**lists, **scalars), expected)
    constant = {name: np.broadcast_to(a[:1], a.shape) for name, a in arrays.items()}
    copies = {name: a.copy() for name, a in constant.items()}
    assert_same(
        instance.value_and_grad(**constant, **scalars), instance.value_and_grad(**copies, **scalars)
    )


@every_instance
@pytest.mark.parametrize("dtype", ["i1", "u1", "?", "i4", "i8", "u8", "f2", "longdouble"])
def test_other_dtypes_are_converted(instance, dtype):
    p = instance.problem()
    logits = np.abs(np.round(p.logits)).astype(dtype)
    targets = p.targets
    convertible = ["indicator", "one-hot"] + ["labels"] * (dtype[0] in "iu")
    if instance.kind in convertible:
        targets = targets.astype(dtype)
    loss, grad = instance.value_and_grad(logits, targets, **p.options)
    assert grad.dtype == np.float64
    expected = instance.value_and_grad(logits.astype(np.float64), p.targets, **p.options)
    assert_same((loss, grad), expected)


@with_dense_targets
@every_dtype
def test_targets_may_have_the_other_dtype(instance, dtype):
    p = instance.problem(dtype)
    targets = p.targets.astype({np.float32: np.float64, np.float64: np.float32}[dtype])
    actual = instance.value_and_grad(p.logits, targets, **p.options)
    assert actual[1].dtype == dtype
    expected = instance.reference(p.logits, p.targets, **p.options)
    assert_same(actual, expected, np.float32)


@every_instance
@every_dtype
def test_out_receives_the_gradient_and_nothing_else_is_written(instance, dtype):
    p = instance.problem(dtype)
    arrays = [p.logits, p.targets, p.sample_weight]
    arrays += [v for v in p.options.values() if not np.isscalar(v)]
    before = [a.copy() for a in arrays]
    kwargs = {**p.options, "sample_weight": p.sample_weight}
    loss, grad = instance.value_and_grad(p.logits, p.targets, **kwargs)
    out = np.full_like(p.logits, np.nan)
    again, result = instance.value_and_grad(p.logits, p.targets, **kwargs, out=out)
    assert result is out
    assert again == loss
    assert_array_equal(out, grad)
    instance.value_and_grad(strided(p.logits), p.targets, **kwargs, out=out)
    assert_array_equal(out, grad)
    for a, b in zip(arrays, before, strict=True):
        assert_array_equal(a, b)
    again, result = instance.value_and_grad(p.logits, p.targets, **kwargs, out=p.logits)
    assert result is p.logits
    assert again == loss
    assert_array_equal(p.logits, grad)


@with_dense_targets
def test_inputs_other_than_the_logits_are_no_out(instance):
    p = instance.problem()
    with pytest.raises(ValueError, match="out"):
        instance.value_and_grad(p.logits, p.targets, **p.options, out=p.targets)


@with_dense_targets
@pytest.mark.parametrize("wrong", [-0.25, np.inf])
def test_targets_out_of_range_leave_logits_alone(instance, wrong):
    p = instance.problem()
    targets, before = np.array(p.targets), p.logits.copy()
    targets[-1, -1] = wrong
    for out in (None, p.logits):
        with pytest.raises(ValueError, match=rf"targets must lie in \[0, .*{wrong}"):
            instance.value_and_grad(p.logits, targets, **p.options, out=out)
        assert_array_equal(p.logits, before)


@every_dtype
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "sigmoid", "log_sigmoid"])
def test_out_receives_probabilities_whatever_it_overlaps(name, dtype):
    function = getattr(losses, name)
    for shape in ((40, 3), (3, 2, 1500), (100_000,), (0, 3), (3, 0)):
        logits = (5 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
        before, expected = logits.copy(), function(logits)
        assert_array_equal(logits, before)
        out = np.empty_like(logits)
        assert function(logits, out=out) is out
        assert_array_equal(out, expected)
        assert_array_equal(function(strided(logits), n_threads=2), expected)
        assert_array_equal(function(logits, out=logits), expected)
        wide = np.r_[before.ravel(), np.zeros(1, dtype)]
        given, moved = wide[:-1].reshape(shape), wide[1:].reshape(shape)
        assert_array_equal(function(given, out=moved), expected)
    for wrong in (np.empty((4, 2)), np.empty((4, 3), int), np.empty((3, 4)).T, [[0.0] * 3] * 4):
        with pytest.raises(ValueError, match="out"):
            function(np.zeros((4, 3)), out=wrong)
    with pytest.raises(ValueError, match="n_threads"):
        function(np.zeros((0, 3)), n_threads=-1)
    with pytest.raises(ValueError, match="n_threads must be .* got '2'"):
        function(np.zeros((1, 3)), n_threads="2")


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "multilabel_softmax_cross_entropy"])
@pytest.mark.parametrize(("dtype", "value"), [(np.float64, 1e308), (np.float32, 2e38)])
def test_row_sums_of_targets_that_overflow_are_named(name, dtype, value):
    logits, targets = np.zeros((3, 3), dtype), np.zeros((3, 3))
    targets[1, :2] = value
    for out in (None, logits):
        with pytest.raises(ValueError, match="targets must have finite row sums.*row 1"):
            getattr(losses, name + "_value_and_grad")(logits, targets, out=out)
    assert not logits.any()
    targets[1, 1] = 0
    assert np.isfinite(getattr(losses, name)(logits, targets))


@pytest.mark.parametrize("wrong", [np.array(["mean", "sum"]), np.array("mean"), ["mean"], None, 1])
def test_reduction_is_a_string(wrong):
    for function in (softmax_cross_entropy, losses.cross_entropy, losses.binary_cross_entropy):
        with pytest.raises(ValueError, match="reduction must be"):
            function(np.ones((2, 2)), np.eye(2), reduction=wrong)


@pytest.mark.parametrize(
    ("loss", "name", "wrong"),
    [(loss, *case) for loss in WRONG_ONLY for case in WRONG + WRONG_ONLY[loss]],
    ids=lambda v: None if isinstance(v, np.ndarray) else str(v),
)
def test_wrong_argument_is_named(loss, name, wrong):
    targets = [0, 1, 2, 0] if loss == "softmax_cross_entropy" else np.eye(4, 3)
    kwargs = {"logits": np.zeros((4, 3)), "targets": targets, name: wrong}
    for function in (loss, f"{loss}_value_and_grad"):
        if name != "out" or "grad" in function:
            with pytest.raises(ValueError, match=name):
                getattr(losses, function)(**kwargs)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("targets", {"logits": np.zeros(4), "targets": np.zeros(3)}),
        ("targets", {"logits": np.zeros(4), "targets": np.zeros((4, 1))}),
        ("targets", {"logits": np.zeros(4), "targets": np.full(4, 2.0)}),
        ("pos_weight", {"logits": np.zeros(4), "targets": np.zeros(4), "pos_weight": np.ones(4)}),
    ],
)
def test_wrong_argument_of_single_logits_is_named(name, kwargs):
    with pytest.raises(ValueError, match=name):
        sigmoid_cross_entropy(**kwargs)


@pytest.mark.parametrize(
    ("targets", "ignored"), [([0, 1], 1.0), ([0, 1], "1"), (np.eye(2), 1), ([0, -1], -100)]
)
def test_wrong_ignore_index_is_named(targets, ignored):
    name = "ignore_index" if ignored != -100 else "targets"
    with pytest.raises(ValueError, match=name):
        softmax_cross_entropy(np.eye(2), targets, ignore_index=ignored)


def test_tensors_that_numpy_cannot_read_are_named():
    torch = pytest.importorskip("torch")
    logits = torch.zeros(2, 3)
    assert softmax_cross_entropy(logits, [0, 1]) == pytest.approx(np.log(3))
    with pytest.raises(ValueError, match=r"^logits must .*Tensor.*detach"):
        softmax_cross_entropy(torch.zeros(2, 3, requires_grad=True), [0, 1])
    with pytest.raises(ValueError, match=r"^logits must .*Tensor.*float\(\)"):
        softmax_cross_entropy(logits.bfloat16(), [0, 1])
    with pytest.raises(ValueError, match=r"^targets must .*Tensor.*detach"):
        softmax_cross_entropy(logits, torch.zeros(2, 3, requires_grad=True))
