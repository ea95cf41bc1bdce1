"""Temperatures of labels calibrate what scikit-learn's CalibratedClassifierCV refuses."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold, ShuffleSplit

from skce import LabelTemperature, MultiLabelLogistic, losses
from skce.metrics import multilabel_log_loss

rng = np.random.default_rng(0)
X = rng.normal(size=(900, 40))
P = 1 / (1 + np.exp(-X[:, :3] * 1.5))
Y = (rng.random(P.shape) < P).astype(int)
TRAIN, HELD, TEST = slice(150), slice(150, 500), slice(500, None)


def steep():
    return MultiLabelLogistic(alpha=1e-5)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_overfitted_labels_are_calibrated(container):
    plain = steep().fit(X[TRAIN], Y[TRAIN])
    model = LabelTemperature(steep()).fit(container(X[TRAIN]), container(Y[TRAIN]))
    assert (model.temperature_ > 1.5).all()
    before = multilabel_log_loss(Y[TEST], plain.predict_proba(X[TEST]))
    after = multilabel_log_loss(Y[TEST], model.predict_proba(container(X[TEST])))
    assert after < 0.7 * before
    predicted = model.predict(X[TEST])
    predicted = predicted.toarray() if sparse.issparse(predicted) else predicted
    assert_array_equal(predicted, plain.predict(X[TEST]))


@pytest.mark.parametrize("weight", [None, rng.uniform(0.2, 3, 350)])
def test_temperature_of_a_frozen_model_is_the_minimum(weight):
    frozen = steep().fit(X[TRAIN], Y[TRAIN])
    y = np.where(rng.random((350, 3)) < 0.2, np.nan, Y[HELD])
    model = LabelTemperature(FrozenEstimator(frozen)).fit(X[HELD], y, sample_weight=weight)
    logits = frozen.decision_function(X[HELD])
    for j in range(3):

        def slope(temperature, j=j):
            _, gradient = losses.sigmoid_cross_entropy_value_and_grad(
                logits[:, j] / temperature, y[:, j], sample_weight=weight
            )
            return gradient @ logits[:, j]

        expected = optimize.brentq(slope, 0.5, 50)
        assert_allclose(model.temperature_[j], expected, rtol=1e-3)
    assert_array_equal(model.estimator_.coef_, frozen.coef_)


@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_labels_of_one_value_keep_their_logits():
    y = Y[TRAIN].astype(float)
    y[:, 0], y[:, 1], y[:, 2] = 0, 1, np.nan
    model = LabelTemperature(steep(), cv=2).fit(X[TRAIN], y)
    assert_array_equal(model.temperature_, 1)


def test_frames_and_splitters_are_taken():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X[TRAIN], columns=[f"x{j}" for j in range(40)])
    model = LabelTemperature(steep(), cv=KFold(3)).fit(frame, Y[TRAIN])
    expected = LabelTemperature(steep(), cv=KFold(3)).fit(X[TRAIN], Y[TRAIN])
    assert_array_equal(model.temperature_, expected.temperature_)
    assert model.n_features_in_ == 40
    assert_array_equal(model.feature_names_in_, frame.columns)
    listed = model.fit(X[TRAIN].tolist(), Y[TRAIN].tolist())
    assert_allclose(listed.temperature_, expected.temperature_, rtol=1e-9)
    assert not hasattr(listed, "feature_names_in_")
    assert listed.predict_proba(X[:2].tolist()).shape == (2, 3)


@pytest.mark.parametrize("cv", [ShuffleSplit(2), [([0, 1], [2, 3]), ([2, 3], [1, 2])]])
def test_folds_that_leave_rows_out_or_hold_them_out_twice_are_refused(cv):
    with pytest.raises(ValueError, match="cv must hold each row out once, got row"):
        LabelTemperature(steep(), cv=cv).fit(X[:4], Y[:4])


@pytest.mark.parametrize("cv", [1, 5])
def test_wrong_number_of_folds_is_named(cv):
    with pytest.raises(ValueError, match=f"n_splits={cv}"):
        LabelTemperature(steep(), cv=cv).fit(X[:4], Y[:4])


def test_what_is_no_indicator_is_named():
    with pytest.raises(ValueError, match=r"y must be an indicator .* CalibratedClassifierCV"):
        LabelTemperature(steep()).fit(X, Y[:, 0])
    with pytest.raises(
        ValueError, match="y should be a 1d array"
    ):  # the day it takes one, this class can go
        CalibratedClassifierCV(steep(), method="temperature").fit(X, Y)
