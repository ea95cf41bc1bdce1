"""Precision, recall and normalised gain of the first k labels."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.metrics import make_scorer, ndcg_score, recall_score
from sklearn.model_selection import GridSearchCV, KFold
from small_labels import Constant

from skce import MultiLabelLogistic
from skce.metrics import (
    ndcg_at_k,
    ndcg_at_k_scorer,
    precision_at_k,
    precision_at_k_scorer,
    recall_at_k,
    recall_at_k_scorer,
)

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
AT_K = {"precision": precision_at_k, "recall": recall_at_k, "ndcg": ndcg_at_k}
every_ranking = pytest.mark.parametrize("name", AT_K)


def at_k_of_a_row(name, y, score, k):
    """Mean over all orders of the observed labels that the scores allow; None without any."""
    seen = np.flatnonzero(~np.isnan(y))
    y, score = y[seen], score[seen]
    values, k_seen = [], min(k, len(seen))
    if not k_seen:
        return None
    discount = 1 / np.log2(np.arange(k_seen) + 2)
    for order in itertools.permutations(range(len(seen))):
        if (np.diff(score[list(order)]) > 0).any():
            continue
        gains = y[list(order)][:k_seen]
        if name == "precision":
            values.append(gains.sum() / k_seen)
        elif name == "recall":
            values.append(gains.sum() / y.sum() if y.any() else 0)
        else:
            best = np.sort(y)[::-1][:k_seen] @ discount
            values.append(gains @ discount / best if best else 0)
    return np.mean(values)


def at_k(name, y, score, k, weight):
    rows = [at_k_of_a_row(name, *row, k) for row in zip(y, score, strict=True)]
    known = [row is not None for row in rows]
    return np.average(np.array(rows, object)[known].astype(float), weights=weight[known])


def ranking_problem(dtype=np.float64, missing=True):
    """Rows of five labels: ties, rows without labels, rows with few or no observed entries."""
    rng = np.random.default_rng(0)
    y = (rng.random((40, 5)) < 0.4).astype(float)
    y[:3] = 0
    if missing:
        y[rng.random(y.shape) < 0.2] = np.nan
        y[5], y[6, 1:] = np.nan, np.nan
    score = rng.integers(-2, 3, size=y.shape).astype(dtype) / 4
    return y, score, rng.uniform(0.1, 3, size=40)


@every_dtype
@pytest.mark.parametrize("k", [1, 2, 3, 5])
@every_ranking
def test_ranking_is_the_mean_over_all_orders_of_labels_that_tie(name, k, dtype, monkeypatch):
    monkeypatch.setattr("skce.metrics.BLOCK", 35)
    y, score, weight = ranking_problem(dtype)
    expected = at_k(name, y, score, k, weight)
    for kind in (y, sparse.csr_array(y), sparse.csr_matrix(y), sparse.csc_array(y)):
        actual = AT_K[name](kind, score, k=k, sample_weight=weight)
        assert isinstance(actual, float)
        assert_allclose(actual, expected, rtol=1e-12)
    plain = at_k(name, y, score, k, np.ones(len(y)))
    assert_allclose(AT_K[name](y, score, k=k), plain, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_ndcg_and_recall_are_scikit_learns(k):
    rng = np.random.default_rng(0)
    gains, score = rng.integers(0, 4, (60, 7)), rng.integers(0, 5, (60, 7)).astype(float)
    weight = rng.random(60)
    gains[4] = 0
    expected = ndcg_score(gains, score, k=k, sample_weight=weight)
    assert_allclose(ndcg_at_k(gains, score, k=k, sample_weight=weight), expected, rtol=1e-12)
    score, y = rng.normal(size=(60, 7)), gains > 1
    top = (-score).argsort(axis=1).argsort(axis=1) < k
    expected = recall_score(y, top, average="samples", zero_division=0)
    assert_allclose(recall_at_k(y, score, k=k), expected, rtol=1e-12)


@every_ranking
def test_ranking_depends_on_the_order_of_scores_alone(name):
    y, score, weight = ranking_problem()
    expected = AT_K[name](y, score, k=3, sample_weight=weight)
    for other in (np.exp(9 * score), score * 1e300, score.tolist(), np.asfortranarray(score)):
        assert AT_K[name](y, other, k=3, sample_weight=weight * 1e-200) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("y_true", np.eye(4, 3)),
        ("y_true", np.arange(3)),
        ("y_true", -np.eye(3)),
        ("y_true", np.full((3, 3), np.nan)),
        ("y_score", np.full((3, 3), np.nan)),
        ("y_score", np.full((3, 3), -np.inf)),
        ("y_score", np.arange(3.0)),
        ("k", 0),
        ("k", 4),
        ("k", 1.5),
        ("sample_weight", np.zeros(3)),
        ("sample_weight", -np.ones(3)),
        ("sample_weight", np.ones(2)),
    ],
)
@every_ranking
def test_wrong_argument_of_a_ranking_is_named(name, argument, wrong):
    given = {"y_true": np.eye(3), "y_score": np.eye(3), "k": 2, argument: wrong}
    with pytest.raises(ValueError, match=rf"^{argument}\b"):
        AT_K[name](**given)


@every_ranking
def test_scorers_of_rankings_rank_the_logits(name):
    scorers = {
        "precision": precision_at_k_scorer,
        "recall": recall_at_k_scorer,
        "ndcg": ndcg_at_k_scorer,
    }
    rng = np.random.default_rng(0)
    X = 1e4 * rng.normal(size=(80, 4))  # probabilities are 0 or 1
    y = (X @ rng.normal(size=(4, 6)) + 1e4 * rng.normal(size=(80, 6)) > 0).astype(int)
    model = MultiLabelLogistic().fit(X, y)
    expected = AT_K[name](y, model.decision_function(X), k=5)
    assert scorers[name](model, X, sparse.csr_array(y)) == expected
    weight = rng.random(80)
    expected = AT_K[name](y, model.decision_function(X), k=5, sample_weight=weight)
    assert scorers[name](model, X, y, sample_weight=weight) == expected
    other = make_scorer(AT_K[name], response_method="decision_function", k=2)
    search = GridSearchCV(MultiLabelLogistic(), {"alpha": [1e-3, 1e6]}, scoring=other, cv=KFold(3))
    assert search.fit(X, y).best_index_ == 0
    proba = Constant().fit(np.eye(6), np.eye(6))  # has no logits
    assert scorers[name](proba, np.eye(6), np.eye(6)) == AT_K[name](np.eye(6), np.eye(6), k=5)
