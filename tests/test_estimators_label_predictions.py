"""Predictions of MultiLabelLogistic: their form, thresholds, shares and mean numbers of labels."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from registry import then_long
from scipy import sparse
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from small_labels import (
    CONTAINERS,
    DTYPES,
    X,
    Y,
    dense,
    every_container,
    every_dtype,
    every_loss,
    fitted,
    fractional,
    with_missing,
)

from skce import MultiLabelLogistic


@every_loss
@every_container
@pytest.mark.parametrize("dtype", DTYPES)
def test_prediction_keeps_the_form_of_the_indicator(dtype, container, loss):
    y = CONTAINERS[container](Y.astype(dtype))
    model, plain = fitted(y, loss=loss), fitted(Y, loss=loss)
    assert_array_equal(model.coef_, plain.coef_)
    assert_array_equal(model.classes_, np.arange(3))
    predicted = model.predict(X)
    assert type(predicted) is type(y)
    assert predicted.dtype == np.dtype(dtype)
    assert_array_equal(dense(predicted), plain.predict(X))
    expected = (dense(predicted) == Y).all(axis=1).mean()
    assert model.score(X, y) == pytest.approx(expected, abs=1e-15)


@every_loss
@every_container
@pytest.mark.parametrize("change", [fractional, with_missing])
def test_prediction_is_int64_where_y_is_fractional_or_missing(change, container, loss):
    y = CONTAINERS[container](change(Y))
    predicted = fitted(y, loss=loss).predict(X)
    assert type(predicted) is type(y)
    assert predicted.dtype == np.int64


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@every_dtype
@every_loss
def test_predictions_follow_from_the_logits(loss, dtype, storage):
    A = storage(X.astype(dtype))
    model = MultiLabelLogistic(loss=loss, random_state=0).fit(A, Y)
    logits = X @ model.coef_.T.astype(float) + model.intercept_
    rtol = 1e-12 if dtype == np.float64 else 1e-4
    proba = expit(logits) if loss == "bce" else softmax(logits, axis=1)
    log_proba = log_expit(logits) if loss == "bce" else log_softmax(logits, axis=1)
    assert_allclose(model.decision_function(A), logits, rtol=rtol, atol=rtol)
    assert_allclose(model.predict_proba(A), proba, rtol=rtol)
    assert_allclose(model.predict_log_proba(A), log_proba, rtol=rtol)
    assert model.coef_.shape == (3, 4)
    assert model.intercept_.shape == (3,)
    for array in (model.coef_, model.intercept_, model.predict_proba(A)):
        assert array.dtype == dtype
    if loss == "bce":
        assert_array_equal(model.predict(A), model.predict_proba(A) > 0.5)
        assert_array_equal(model.predict(A), model.decision_function(A) > 0)


@pytest.mark.parametrize("threshold", [None, 0.2, 1, [0.1, 0.5, 0.9], np.array([0, 0.3, 2])])
@every_container
@every_loss
def test_label_is_on_above_its_threshold(loss, container, threshold):
    model = fitted(CONTAINERS[container](Y), loss=loss, threshold=threshold)
    shares = model.predict_proba(X)
    if threshold is not None:
        expected = shares > threshold
    elif loss == "bce":
        expected = shares > 0.5
    else:
        expected = shares > model.share_threshold_
    assert_array_equal(dense(model.predict(X)), expected)


@every_loss
def test_mean_labels_is_the_weighted_mean_number_of_labels_in_labelled_rows(loss):
    weight = np.random.default_rng(3).uniform(size=len(X))
    some = Y.any(axis=1)
    expected = np.average(Y[some].sum(axis=1), weights=weight[some])
    assert 0 < some.sum() < len(Y)
    model = MultiLabelLogistic(loss=loss, random_state=0)
    assert model.fit(X, Y, sample_weight=weight).mean_labels_ == pytest.approx(expected)
    model = MultiLabelLogistic(loss=loss, random_state=0)
    for rows in (slice(20), slice(20, 90)):
        model.partial_fit(X[rows], Y[rows], sample_weight=weight[rows])
    assert model.mean_labels_ == pytest.approx(expected)


@every_dtype
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@every_loss
def test_label_is_off_at_exactly_its_threshold(loss, storage, dtype):
    A = storage(X.astype(dtype))
    model = MultiLabelLogistic(loss=loss, random_state=0).fit(A, Y)
    for row in range(len(X)):
        share = model.predict_proba(A[row : row + 1])[0]
        model.set_params(threshold=share)
        assert not model.predict(A[row : row + 1]).any()
        model.set_params(threshold=share.astype(float).tolist())
        assert not model.predict(A[row : row + 1]).any()
        model.set_params(threshold=np.nextafter(share, dtype(0)))
        assert model.predict(A[row : row + 1]).all()


@every_dtype
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_row_without_features_has_no_label_without_an_intercept(threshold, dtype):
    A, empty = sparse.csr_array(X.astype(dtype)), sparse.csr_array((3, 4), dtype=dtype)
    model = MultiLabelLogistic(fit_intercept=False, threshold=threshold).fit(A, Y)
    assert_array_equal(model.decision_function(empty), 0)
    assert not model.predict(empty).any()
    labels = MultiLabelLogistic(fit_intercept=False).fit(A, Y[:, 0]).predict(empty)
    assert_array_equal(
        labels, LogisticRegression(fit_intercept=False).fit(X, Y[:, 0]).predict([[0] * 4] * 3)
    )


@every_dtype
@pytest.mark.parametrize("half", range(1, 60, 7))
def test_equal_shares_are_off_where_half_of_the_labels_are_on(half, dtype):
    generator = np.random.default_rng(half)
    y = np.zeros((40, 2 * half))
    y[:, :half] = 1
    y = generator.permuted(y, axis=1)
    A = generator.standard_normal((40, 2)).astype(dtype)
    model = MultiLabelLogistic(loss="softmax", fit_intercept=False).fit(A, y)
    assert model.mean_labels_ == half
    assert not model.predict(np.zeros((1, 2), dtype)).any()


@pytest.mark.parametrize("threshold", [None, 0.2])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@every_container
@every_loss
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_label_never_observed_is_off(loss, container, method, threshold):
    y = Y.copy()
    y[:, 1] = np.nan
    weight = np.ones(len(X))
    y[:5, 1], weight[:5] = 1, 0  # rows without weight do not count
    model = MultiLabelLogistic(loss=loss, threshold=threshold, random_state=0)
    getattr(model, method)(X, CONTAINERS[container](y), sample_weight=weight)
    on = dense(model.predict(X)).astype(bool)
    assert not on[:, 1].any()
    assert on[:, [0, 2]].any()
    if method == "partial_fit":
        assert dense(model.partial_fit(X, np.ones_like(Y)).predict(X))[:, 1].any()


def f1(y, on):
    return 2 * (y * on).sum() / max(y.sum() + on.sum(), 1)


def topics(generator):
    """One of four labels in rows of one topic, none in those of another."""
    A = generator.standard_normal((1500, 5))
    y = np.eye(4)[A[:, :4].argmax(axis=1)]
    other = generator.random(1500) < 0.7
    A[other] = np.abs(A[other]) * [1, 1, 1, 1, 0] - [0, 0, 0, 0, 3]
    y[other] = 0
    return A, y


def apart(generator):
    """Labels that know nothing of each other."""
    A = generator.standard_normal((1500, 5))
    return A, (A @ generator.standard_normal((5, 6)) * 2 > generator.logistic(1, size=6)) * 1.0


def rare(generator):
    """The same, most rows without any."""
    A = generator.standard_normal((1500, 5))
    level = A @ generator.standard_normal((5, 8)) - 4
    return A, (level + generator.logistic(size=level.shape) > 0) * 1.0


def one_of_many(generator):
    """One of 30 labels in a third of the rows, none in the others."""
    A = generator.standard_normal((1500, 5))
    level = 2 * A @ generator.standard_normal((5, 30)) + generator.gumbel(size=(1500, 30))
    y = np.eye(30)[level.argmax(axis=1)]
    y[generator.random(1500) > 0.3] = 0
    return A, y


@pytest.mark.parametrize("seed", then_long(range(6)))
@pytest.mark.parametrize("observed", [1, 0.5, 0.2])
@pytest.mark.parametrize("draw", [topics, apart, rare, one_of_many])
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_softmax_labels_are_nearly_those_of_the_best_threshold(draw, observed, seed):
    generator = np.random.default_rng(seed)
    A, y = draw(generator)
    seen = np.where(generator.random(y.shape) < observed, y, np.nan)
    model = MultiLabelLogistic(loss="softmax", random_state=0).fit(A, seen)
    labelled = y.any(axis=1)
    assert model.mean_labels_ == pytest.approx(
        y[labelled].sum(axis=1).mean(), rel=1e-9 if observed == 1 else 0.3
    )
    for rows, least in ((labelled, 0.92), (slice(None), 0.75)):
        shares = model.predict_proba(A[rows])
        best = max(f1(y[rows], shares > threshold) for threshold in np.geomspace(1e-3, 1, 100))
        assert f1(y[rows], model.predict(A[rows])) > least * best


def test_share_threshold_is_half_of_the_highest_f1_to_expect():
    generator = np.random.default_rng(0)
    A, y = rare(generator)
    weight = generator.integers(0, 3, len(A))
    y[:20, 0] = np.nan
    model = MultiLabelLogistic(loss="softmax").fit(A, y, sample_weight=weight)
    rows = np.flatnonzero((np.nansum(y, axis=1) > 0) & (weight > 0))
    proba = np.minimum(model.predict_proba(A[rows]) * model.mean_labels_, 1)
    of_entry = np.broadcast_to(weight[rows, np.newaxis], proba.shape)

    def expected(threshold):
        on = of_entry * (proba > threshold)
        return 2 * (on * proba).sum() / (on.sum() + (of_entry * proba).sum())

    best = max(map(expected, proba.ravel()))
    assert model.share_threshold_ * model.mean_labels_ == pytest.approx(best / 2, rel=1e-9)
    stream = MultiLabelLogistic(loss="softmax").partial_fit(A, y, sample_weight=weight)
    assert stream.share_threshold_ == 0.5 / stream.mean_labels_
    assert not hasattr(model.set_params(loss="bce").fit(A, y), "share_threshold_")


def test_scale_of_large_targets_does_not_move_the_threshold():
    model, larger = fitted(Y, loss="softmax"), fitted(7 * Y, loss="softmax", alpha=7e-4)
    assert larger.mean_labels_ == model.mean_labels_
    assert_array_equal(larger.predict(X), model.predict(X))


@every_loss
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_rows_without_labels_and_missing_rows_leave_mean_labels(loss):
    y = np.vstack([Y, np.zeros((200, 3)), np.full((200, 3), np.nan)])
    A = np.vstack([X, np.zeros((400, 4))])
    model = MultiLabelLogistic(loss=loss, random_state=0).fit(A, y)
    assert model.mean_labels_ == pytest.approx(fitted(Y, loss=loss).mean_labels_)
    assert fitted(np.zeros_like(Y)).mean_labels_ == 0


def test_share_of_a_single_label_is_1():
    model = fitted(sparse.csr_array(Y[:, :1]), loss="softmax")
    assert_array_equal(model.predict_proba(X), 1)
    assert_array_equal(model.predict_log_proba(X), 0)


@every_dtype
@every_loss
def test_huge_logits_stay_inside(loss, dtype):
    model = MultiLabelLogistic(loss=loss, random_state=0).fit(X.astype(dtype), Y)
    model.coef_ = model.coef_ * dtype(1e6)
    A = X.astype(dtype)
    assert abs(model.decision_function(A)).max() > 1e4
    proba, log_proba = model.predict_proba(A), model.predict_log_proba(A)
    assert proba.dtype == log_proba.dtype == dtype
    assert np.isfinite(log_proba).all()
    assert log_proba.max() <= 0
    if loss == "bce":
        assert proba.min() > 0
        assert proba.max() < 1
    else:
        assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
