"""Laws of the losses of probabilities."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_losses import REDUCTIONS, every_dtype

from skce import losses


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e150, 1e308])
def test_a_mean_of_losses_of_probabilities_depends_on_the_ratios_of_the_weights_only(scale):
    proba, weight = np.array([[0.25, 0.75], [0.001, 0.999], [0.5, 0.5]]), np.array([1.0, 1, 0])
    for function in (losses.cross_entropy, losses.binary_cross_entropy):
        targets = np.array([[0.0, 1], [1, 0], [1, 0]])
        expected = function(proba, targets, sample_weight=weight)
        assert_allclose(function(proba, targets, sample_weight=scale * weight), expected)
    assert_allclose(
        losses.cross_entropy(proba, [1, 0, 0], sample_weight=scale * weight), -np.log(0.00075) / 2
    )


@every_dtype
@pytest.mark.parametrize(
    ("n", "k"), [(1, 1), (7, 1), (40, 3), (33, 31), (9, 32), (5, 1030), (3, 5000)]
)
def test_losses_of_probabilities_are_their_formulas(n, k, dtype):
    rng = np.random.default_rng(k)
    proba = rng.dirichlet(np.ones(k), size=n).astype(dtype)
    proba[rng.random((n, k)) < 0.1] = np.finfo(dtype).smallest_subnormal
    soft, labels = rng.random((n, k)).astype(dtype), rng.integers(k, size=n)
    soft[rng.random((n, k)) < 0.3] = 0
    proba[0, 0], soft[0, 0], labels[0] = 0, 0, k - 1
    p, t = proba.astype(np.longdouble), soft.astype(np.longdouble)
    rtol = {np.float64: 1e-14, np.float32: 1e-6}[dtype]
    with np.errstate(all="ignore"):
        picked = -np.log(p[np.arange(n), labels])
        terms = np.where(t > 0, t * np.log(p), 0)
        both = terms + np.where(t < 1, (1 - t) * np.log1p(-p), 0)
    sums = [picked, -terms.sum(axis=1), -both.sum(axis=1)]
    for reduction in REDUCTIONS:
        options = {"reduction": reduction, "n_threads": 2}
        found = [
            losses.cross_entropy(proba, labels, **options),
            losses.cross_entropy(proba, soft, **options),
            losses.binary_cross_entropy(proba, soft, **options),
        ]
        for a, rows in zip(found, sums, strict=True):
            expected = {"none": rows, "sum": rows.sum(), "mean": rows.mean()}[reduction]
            assert_allclose(np.float64(a), expected.astype(float), rtol=rtol)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("targets", np.eye(5, 3)),
        ("targets", np.eye(4, 2)),
        ("targets", np.eye(4, 3) - 1),
        ("targets", np.eye(4, 3, dtype=complex)),
        ("proba", np.zeros((4, 3, 1))),
        ("proba", np.zeros((4, 3), dtype=complex)),
        ("sample_weight", np.ones(3)),
        ("sample_weight", -np.ones(4)),
        ("reduction", "average"),
    ],
)
def test_wrong_argument_of_a_loss_of_probabilities_is_named(loss, name, wrong):
    kwargs = {"proba": np.full((4, 3), 0.5), "targets": np.eye(4, 3), name: wrong}
    with pytest.raises(ValueError, match=name):
        getattr(losses, loss)(**kwargs)
