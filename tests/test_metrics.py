"""Metrics of probabilities: parity with scikit-learn's log_loss, and where that one misleads."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import xlog1py, xlogy
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer, log_loss
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier

from skce import MultiLabelLogistic, losses
from skce.metrics import (
    multilabel_log_loss,
    neg_multilabel_log_loss_scorer,
    neg_soft_log_loss_scorer,
    soft_log_loss,
)

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
RTOL = {np.float32: 1e-6, np.float64: 1e-14}


def indicator_problem(n=200, k=6, dtype=np.float64):
    rng = np.random.default_rng(0)
    y = (rng.random((n, k)) < 0.3).astype(int)
    return y, rng.uniform(0.01, 0.99, size=(n, k)).astype(dtype), rng.uniform(0.1, 3, size=n)


def rows_of_binary_cross_entropy(y, proba):
    y, proba = np.asarray(y, dtype=np.float64), np.asarray(proba, dtype=np.float64)
    return -np.nansum(xlogy(y, proba) + xlog1py(1 - y, -proba), axis=1)


class Constant(ClassifierMixin, BaseEstimator):
    """Predicts the rows of X."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.arange(np.shape(y)[1])
        return self

    def predict_proba(self, X):
        return X

    def predict(self, X):
        return np.asarray(X) >= 0.5


@every_dtype
@pytest.mark.parametrize("weighted", [False, True])
def test_multilabel_log_loss_is_the_sum_of_log_loss_over_labels(weighted, dtype):
    y, proba, weight = indicator_problem(dtype=dtype)
    weight = weight if weighted else None
    columns = list(zip(y.T, proba.T, strict=True))
    expected = sum(log_loss(t, p, sample_weight=weight, labels=[0, 1]) for t, p in columns)
    actual = multilabel_log_loss(y, proba, sample_weight=weight)
    assert isinstance(actual, float)
    assert_allclose(actual, expected, rtol=RTOL[dtype])


@every_dtype
def test_predictions_of_0_and_1_are_clipped_like_log_loss(dtype):
    y = np.array([[1, 0], [0, 1], [1, 1]])
    proba = np.array([[1, 0], [1, 1], [0, 1]], dtype=dtype)
    expected = sum(log_loss(y[:, j], proba[:, j], labels=[0, 1]) for j in (0, 1))
    assert_allclose(multilabel_log_loss(y, proba), expected, rtol=RTOL[dtype])
    expected = log_loss([0, 1, 0], np.eye(3, dtype=dtype)[[0, 1, 2]], labels=range(3))
    actual = soft_log_loss(np.eye(3)[[0, 1, 0]], np.eye(3, dtype=dtype)[[0, 1, 2]])
    assert_allclose(actual, expected, rtol=RTOL[dtype])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, bool, np.int64, np.float32, np.float64])
def test_container_of_the_indicator_does_not_matter(dtype):
    y, proba, weight = indicator_problem()
    expected = multilabel_log_loss(y, proba, sample_weight=weight)
    y = y.astype(dtype)
    kinds = [y, np.asfortranarray(y), sparse.csr_matrix(y), sparse.csr_array(y)]
    if dtype == np.int64:
        kinds.append(y.tolist())
    for kind in kinds:
        actual = multilabel_log_loss(kind, proba, sample_weight=weight)
        assert_allclose(actual, expected, rtol=1e-14)


def test_unsorted_duplicate_and_explicit_zeros_of_csr_are_their_canonical_form():
    y = sparse.csr_array(
        (np.array([0.5, 0.0, 0.5, 1.0]), np.array([2, 1, 2, 0]), np.array([0, 3, 4])), shape=(2, 3)
    )
    proba = np.array([[0.2, 0.3, 0.4], [0.5, 0.6, 0.7]])
    expected = multilabel_log_loss(y.toarray(), proba)
    assert_array_equal(y.toarray(), [[0, 0, 1], [1, 0, 0]])
    assert_allclose(multilabel_log_loss(y, proba), expected, rtol=1e-14)
    assert y.nnz == 4


def test_real_targets_and_missing_entries():
    y, proba, weight = indicator_problem()
    y = np.random.default_rng(1).random(y.shape)
    y[::3, 1] = np.nan
    y[5] = np.nan
    expected = np.average(rows_of_binary_cross_entropy(y, proba), weights=weight)
    assert_allclose(multilabel_log_loss(y, proba, sample_weight=weight), expected, rtol=1e-13)
    y, proba = np.full((3, 2), np.nan), np.full((3, 2), 0.3)
    assert multilabel_log_loss(y, proba) == 0
    y[0, 0] = 1  # rows without an observed entry count in the mean
    assert_allclose(multilabel_log_loss(y, proba), -np.log(0.3) / 3)


def test_multilabel_log_loss_of_a_model_is_its_training_loss():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(50, 4)), rng.integers(2, size=(50, 4))
    expected = losses.sigmoid_cross_entropy(logits, y)
    assert_allclose(multilabel_log_loss(y, losses.sigmoid(logits)), expected, rtol=1e-14)


@every_dtype
@pytest.mark.parametrize("weighted", [False, True])
def test_soft_log_loss_of_one_hot_targets_is_log_loss(weighted, dtype):
    rng = np.random.default_rng(0)
    y = rng.integers(5, size=100)
    proba = losses.softmax(rng.normal(size=(100, 5)).astype(dtype))
    weight = rng.random(100) if weighted else None
    expected = log_loss(y, proba, labels=range(5), sample_weight=weight)
    for one_hot in (np.eye(5)[y], np.eye(5, dtype=int)[y], np.eye(5, dtype=bool)[y]):
        actual = soft_log_loss(one_hot, proba, sample_weight=weight)
        assert isinstance(actual, float)
        assert_allclose(actual, expected, rtol=RTOL[dtype])


def test_soft_log_loss_is_entropy_and_divergence():
    rng = np.random.default_rng(0)
    y, proba = rng.dirichlet(np.ones(4), size=(2, 60))
    weight = rng.random(60)
    expected = np.average(-np.sum(y * np.log(proba), axis=1), weights=weight)
    assert_allclose(soft_log_loss(y, proba, sample_weight=weight), expected, rtol=1e-14)
    assert soft_log_loss(y, y) < soft_log_loss(y, proba)


@pytest.mark.parametrize("metric", [multilabel_log_loss, soft_log_loss])
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y_true", np.eye(4, 3)),
        ("y_true", np.eye(3, 2)),
        ("y_true", np.eye(3) - 0.5),
        ("y_true", np.eye(3) * 2),
        ("y_true", np.full((3, 3), np.inf)),
        ("y_proba", np.full((3, 3), 1.5)),
        ("y_proba", np.full((3, 3), -0.5)),
        ("y_proba", np.full((3, 3), np.nan)),
        ("y_proba", np.full(3, 0.5)),
        ("sample_weight", np.ones(2)),
        ("sample_weight", -np.ones(3)),
        ("sample_weight", np.full(3, np.nan)),
    ],
)
def test_wrong_argument_is_named(metric, name, wrong):
    proba = np.full((3, 3), 1 / 3)
    kwargs = {"y_true": np.eye(3), "y_proba": proba, "sample_weight": None, name: wrong}
    with pytest.raises(ValueError, match=name):
        metric(**kwargs)


def test_scorers_are_the_negative_metrics():
    y, proba, weight = indicator_problem()
    model = Constant().fit(proba, y)
    expected = -multilabel_log_loss(y, proba)
    assert_allclose(neg_multilabel_log_loss_scorer(model, proba, y), expected, rtol=1e-15)
    expected = -multilabel_log_loss(y, proba, sample_weight=weight)
    actual = neg_multilabel_log_loss_scorer(model, proba, y, sample_weight=weight)
    assert_allclose(actual, expected, rtol=1e-15)
    y = np.random.default_rng(0).dirichlet(np.ones(6), size=200)
    proba = proba / proba.sum(axis=1, keepdims=True)
    model = Constant().fit(proba, y)
    expected = -soft_log_loss(y, proba)
    assert_allclose(neg_soft_log_loss_scorer(model, proba, y), expected, rtol=1e-15)


@pytest.mark.filterwarnings("ignore:The y_prob values do not sum to one:UserWarning")
def test_neg_log_loss_rewards_predicting_one_everywhere_and_ours_does_not():
    y, _, _ = indicator_problem()
    y[:, 0] |= y.sum(axis=1) == 0  # log_loss is meant for rows with a label
    good, ones = 0.8 * y + 0.1, np.ones(y.shape)
    model = Constant().fit(good, y)
    theirs, ours = get_scorer("neg_log_loss"), neg_multilabel_log_loss_scorer
    assert theirs(model, ones, y) > theirs(model, good, y)
    assert theirs(model, ones, y) > -1e-12
    assert ours(model, ones, y) < -10 < ours(model, good, y)
    assert_allclose(ours(model, good, y), 6 * np.log(0.9))


@pytest.mark.parametrize(
    ("model", "grid"),
    [
        (OneVsRestClassifier(LogisticRegression()), {"estimator__C": [1e-6, 1.0]}),
        (MultiLabelLogistic(), {"alpha": [1e4, 1e-2]}),
    ],
)
def test_scorer_chooses_the_penalty_of_a_multi_label_model(model, grid):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 5))
    y = (X @ rng.normal(size=(5, 3)) + rng.normal(size=(120, 3)) > 0).astype(int)
    search = GridSearchCV(model, grid, scoring=neg_multilabel_log_loss_scorer, cv=3).fit(X, y)
    assert search.best_index_ == 1
    assert_allclose(search.cv_results_["mean_test_score"][0], -3 * np.log(2), rtol=0.1)


def test_scorer_of_probabilities_in_cross_validation():
    rng = np.random.default_rng(0)
    y = rng.dirichlet(np.ones(3), size=60)
    X = np.full((60, 3), 1 / 3)
    cv = KFold(3, shuffle=True, random_state=0)
    scores = cross_val_score(Constant(), X, y, scoring=neg_soft_log_loss_scorer, cv=cv)
    assert_allclose(scores, -np.log(3))


def test_scorer_takes_hard_labels_of_the_model():
    """`neg_soft_log_loss_scorer` on one-hot rows is scikit-learn's neg_log_loss on the labels."""
    y = np.random.default_rng(0).integers(3, size=60)
    model = DummyClassifier(strategy="prior").fit(np.zeros((60, 1)), y)
    expected = get_scorer("neg_log_loss")(model, np.zeros((60, 1)), y)
    actual = neg_soft_log_loss_scorer(model, np.zeros((60, 1)), np.eye(3)[y])
    assert_allclose(actual, expected, rtol=1e-14)
