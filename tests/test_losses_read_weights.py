"""One reading of weights: ratios alone matter in a fit."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from read_cases import CODES, SOFT, X, Y
from registry import then_long

from skce import MultiLabelLogistic, MultinomialLogistic

RELATIVE = np.where(CODES == 0, 1.0, 2.0)
SCALES = [5e-324, 2.0**-1070, 1e-200, 1e200, 0.5 * np.finfo(float).max]


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "sdca", "sgd", "adam"])
@pytest.mark.parametrize("scale", then_long(SCALES[::4] + SCALES[1:4], first=2))
@pytest.mark.parametrize("where", ["rows", "classes", "both", "balanced", "opposite"])
def test_only_ratios_of_weights_matter_in_fit(where, scale, solver):
    params = {"solver": solver, "random_state": 0}
    by_class = {0: scale, 1: 2 * scale, 2: 2 * scale}
    expected = MultinomialLogistic(**params)
    model, weights, plain = MultinomialLogistic(**params), RELATIVE * scale, RELATIVE
    if where in ("classes", "both"):
        model.set_params(class_weight=by_class)
        weights, plain = np.full(60, scale if where == "both" else 1.0), RELATIVE
    elif where == "balanced":
        model.set_params(class_weight="balanced")
        expected.set_params(class_weight="balanced")
    elif where == "opposite":  # products of 1, whose factors lie 1e200 apart
        model.set_params(class_weight={0: 1e100, 1: 1e-100, 2: 1e-100})
        weights, plain = np.where(CODES == 0, 1e-100, 1e100) * RELATIVE, RELATIVE
    expected.fit(X, CODES, sample_weight=plain)
    model.fit(X, CODES, sample_weight=weights)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-7, atol=1e-9)
    assert model.objective_ == pytest.approx(expected.objective_, rel=1e-12)
    weighted = model.score(X, CODES, sample_weight=weights)
    if where in ("rows", "balanced"):
        assert weighted == pytest.approx(expected.score(X, CODES, sample_weight=plain), rel=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_only_ratios_of_weights_matter_to_soft_and_multi_label_fits(scale):
    soft = MultinomialLogistic(class_weight={0: scale, 1: 2 * scale, 2: scale}).fit(X, SOFT)
    expected = MultinomialLogistic(class_weight={0: 1, 1: 2, 2: 1}).fit(X, SOFT)
    assert_allclose(soft.coef_, expected.coef_, rtol=1e-7)
    for loss in ("bce", "softmax"):
        weighted = MultiLabelLogistic(loss=loss).fit(X, Y, sample_weight=RELATIVE * scale)
        expected = MultiLabelLogistic(loss=loss).fit(X, Y, sample_weight=RELATIVE)
        assert_allclose(weighted.coef_, expected.coef_, rtol=1e-7, atol=1e-9)
        assert weighted.mean_labels_ == pytest.approx(expected.mean_labels_, rel=1e-12)


@pytest.mark.parametrize("name", ["sample_weight", "class_weight"])
@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e160, 1e308])
def test_absolute_weights_of_streams_lie_where_their_squares_do(scale, name):
    """Beyond, the model of "adam" was zero without a word."""
    by_class = dict.fromkeys(range(3), scale) if name == "class_weight" else None
    weights = np.full(60, scale if name == "sample_weight" else 1.0)
    model = MultinomialLogistic(class_weight=by_class)
    with pytest.raises(ValueError, match=rf"{name}.* finite sum"):
        model.partial_fit(X, CODES, sample_weight=weights)
    assert not hasattr(model, "coef_")
