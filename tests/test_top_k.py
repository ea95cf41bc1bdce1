"""predict_top_k is the head of the sorted probabilities, and holds no more than that."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.exceptions import NotFittedError

from skce import MultiLabelLogistic, MultinomialLogistic
from skce._estimators import predict

rng = np.random.default_rng(0)
X = rng.normal(size=(90, 4))
Y = (X @ rng.normal(size=(4, 6)) + rng.normal(size=(90, 6)) > 0).astype(int)
NAMES = np.array(["red", "green", "blue", "black", "white"])
CODES = (X @ rng.normal(size=(4, 5)) + rng.normal(size=(90, 5))).argmax(axis=1)
CASES = {
    "labels": (MultinomialLogistic(), NAMES[CODES]),
    "two labels": (MultinomialLogistic(), NAMES[CODES // 3]),
    "shares": (MultinomialLogistic(), np.eye(5)[CODES] * 0.9 + 0.02),
    "two shares": (MultinomialLogistic(), np.column_stack([Y[:, 0], 1 - Y[:, 0]])),
    "bce": (MultiLabelLogistic(), Y),
    "1/M": (MultiLabelLogistic(loss="softmax"), sparse.csr_array(Y)),
    "one label": (MultiLabelLogistic(), sparse.csr_array(Y[:, :1])),
    "one-vs-rest": (MultiLabelLogistic(), NAMES[CODES]),
    "one-vs-rest of two": (MultiLabelLogistic(), NAMES[CODES // 3]),
}


@pytest.mark.parametrize("blocks", [1, 7])
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_labels_and_scores_are_the_best_of_predict_proba(case, dtype, storage, blocks, monkeypatch):
    model, y = CASES[case]
    model = model.fit(storage(X.astype(dtype)), y)
    rows = storage(X.astype(dtype))
    proba, classes = model.predict_proba(rows), model.classes_
    if blocks > 1:
        monkeypatch.setattr(predict, "BLOCK", 13 * len(classes))
    for k in (1, 2, len(classes)):
        if k > len(classes):
            continue
        labels, scores = model.predict_top_k(rows, k)
        assert labels.shape == scores.shape == (90, k)
        assert labels.dtype == classes.dtype
        assert scores.dtype == proba.dtype
        assert scores.flags.c_contiguous
        best = np.argsort(-proba, axis=1)[:, :k]
        assert_array_equal(labels, classes[best])
        np.testing.assert_allclose(scores, np.take_along_axis(proba, best, axis=1), rtol=1e-5)


def test_order_is_that_of_the_logits_where_probabilities_are_0_or_1():
    model = MultiLabelLogistic().fit(X, Y)
    huge = 1e6 * X
    assert (model.predict_proba(huge).max(axis=1) == model.predict_proba(huge).max()).sum() > 50
    labels, _ = model.predict_top_k(huge, 6)
    assert_array_equal(labels, np.argsort(-model.decision_function(huge), axis=1))


@pytest.mark.filterwarnings("ignore:y has labels of one value")
@pytest.mark.parametrize("loss", ["bce", "softmax"])
def test_label_that_no_row_shows_is_left_out(loss):
    y = Y.astype(float)
    y[:, 2] = np.nan
    model = MultiLabelLogistic(loss=loss).fit(X, y)
    labels, _ = model.predict_top_k(X, 5)
    assert_array_equal(np.sort(labels, axis=1), np.tile([0, 1, 3, 4, 5], (90, 1)))
    with pytest.raises(ValueError, match=r"\bk must be an integer in 1\.\.5, got 6"):
        model.predict_top_k(X, 6)


@pytest.mark.parametrize("k", [0, 7, -1, 2.0, "3", None])
def test_wrong_k_is_named(k):
    with pytest.raises(ValueError, match=r"\bk must be an integer in 1\.\.6, got"):
        MultiLabelLogistic().fit(X, Y).predict_top_k(X, k)


def test_model_must_be_fitted():
    with pytest.raises(NotFittedError):
        MultiLabelLogistic().predict_top_k(X, 1)


def test_no_array_of_all_scores_is_held(monkeypatch):
    monkeypatch.setattr(predict, "BLOCK", 1 << 16)
    model = MultiLabelLogistic().fit(X, Y)
    n, k = 4000, 500
    model.coef_, model.intercept_ = np.ones((k, 4)), np.arange(float(k))
    model.classes_, model._observed = np.arange(k), np.ones(k, bool)
    tracemalloc.start()
    labels, _ = model.predict_top_k(np.zeros((n, 4)), 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_array_equal(labels, np.tile([k - 1, k - 2], (n, 1)))
    assert peak < 8 * n * k / 3
