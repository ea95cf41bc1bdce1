"""Metrics of probabilities: parity with scikit-learn's log_loss, and where that one misleads."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import xlog1py, xlogy
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, get_scorer, log_loss
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from small_labels import Constant

from skce import MultiLabelLogistic, losses, metrics
from skce.metrics import (
    best_thresholds,
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


def f1_of_threshold(y, proba, threshold, weight):
    seen = ~np.isnan(y)
    y, on, weight = y[seen], proba[seen] > threshold, weight[seen]
    hits = weight @ (y * on)
    return 2 * hits / (weight @ on + weight @ y) if y.any() else 0


@every_dtype
def test_best_thresholds_have_the_highest_f1_of_all(dtype):
    rng = np.random.default_rng(0)
    y = (rng.random((60, 8)) < 0.3).astype(float)
    proba = np.clip(0.5 * y + 0.7 * rng.random(y.shape), 0, 1).astype(dtype)
    proba[:, 1] = np.round(proba[:, 1], 1)  # ties
    proba[:, 2], proba[:, 3] = 0.25, 0
    weight = rng.uniform(0, 2, 60)
    y[::4, 4], y[:, 5], y[:, 6], y[:, 7] = np.nan, 0, 1, np.nan
    thresholds = best_thresholds(y, proba, sample_weight=weight)
    assert thresholds.dtype == dtype
    assert_array_equal(
        best_thresholds(sparse.csr_array(y), proba, sample_weight=weight), thresholds
    )
    for j, threshold in enumerate(thresholds):
        of_label = y[:, j], proba[:, j]
        every = [*proba[:, j], 0, *np.nextafter(proba[:, j], dtype(0))]
        best = max(f1_of_threshold(*of_label, other, weight) for other in every)
        assert_allclose(f1_of_threshold(*of_label, threshold, weight), best, rtol=1e-12)
    assert_array_equal(thresholds[[5, 7]], 1)


def test_best_threshold_lies_half_way_where_a_float_does():
    assert_array_equal(best_thresholds([[1], [0], [0]], [[0.75], [0.25], [0]]), [0.5])
    low, high = np.float32(0.3), np.nextafter(np.float32(0.3), np.float32(1))
    for pair in ((low, high), (high, np.nextafter(high, np.float32(1)))):
        y, proba = [[0], [1]], np.array(pair)[:, np.newaxis]
        assert_array_equal(best_thresholds(y, proba), [pair[0]])


def test_best_thresholds_serve_the_model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 6))
    y = (X @ rng.normal(size=(6, 5)) + 2 * rng.normal(size=(600, 5)) > 3).astype(int)
    for loss in ("bce", "softmax"):
        model = MultiLabelLogistic(loss=loss).fit(X[:200], y[:200])
        plain = f1_score(y[200:400], model.predict(X[200:400]), average="macro")
        model.threshold = best_thresholds(y[200:400], model.predict_proba(X[200:400]))
        assert f1_score(y[200:400], model.predict(X[200:400]), average="macro") > plain + 0.01
        assert f1_score(y[400:], model.predict(X[400:]), average="macro") > 0.4


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("y_true", np.eye(4, 3)),
        ("y_true", 2 * np.eye(3)),
        ("y_proba", 2 * np.eye(3)),
        ("y_proba", np.ones(3)),
        ("sample_weight", -np.ones(3)),
    ],
)
def test_wrong_argument_of_best_thresholds_is_named(name, wrong):
    with pytest.raises(ValueError, match=name):
        best_thresholds(**{"y_true": np.eye(3), "y_proba": np.eye(3), name: wrong})


FOR_LABELS = ["accuracy", "f1_micro", "f1_macro", "f1_samples", "precision_at_k", "ndcg_at_k"]
RANKINGS = ["roc_auc", "average_precision"]


@pytest.mark.parametrize("name", FOR_LABELS + RANKINGS + ["neg_multilabel_log_loss"])
@pytest.mark.filterwarnings("ignore:F-score is ill-defined")
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_scorers_take_the_indicators_that_the_guide_says(name):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(120, 5))
    Y = (X + generator.normal(size=X.shape) > 0).astype(int)
    ours = hasattr(metrics, f"{name}_scorer")
    scorer = getattr(metrics, f"{name}_scorer") if ours else get_scorer(name)
    dense = scorer(MultiLabelLogistic().fit(X, Y), X, Y)
    model = MultiLabelLogistic().fit(X, sparse.csr_array(Y))
    if name in RANKINGS:
        with pytest.raises(ValueError, match="y_true"):
            scorer(model, X, sparse.csr_array(Y))
    else:
        assert scorer(model, X, sparse.csr_array(Y)) == pytest.approx(dense)
    missing = np.where(generator.random(Y.shape) < 0.1, np.nan, Y)
    model = MultiLabelLogistic().fit(X, missing)
    if ours:
        assert np.isfinite(scorer(model, X, missing))
    else:
        with pytest.raises(ValueError, match="NaN"):
            scorer(model, X, missing)
