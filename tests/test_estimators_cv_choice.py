"""The cross-validation chooses by its scores, among penalties that suit the data."""

import numpy as np
import pytest
from cv_cases import EXACT, indicator, labels, random_x
from numpy.testing import assert_allclose, assert_array_equal
from registry import then_long
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import KFold, LeaveOneOut, StratifiedKFold, cross_val_score
from sklearn.preprocessing import StandardScaler

from skce import (
    CVDisplay,
    MultiLabelLogistic,
    MultiLabelLogisticCV,
    MultinomialLogistic,
    MultinomialLogisticCV,
    path,
)
from skce._estimators import cv
from skce._solvers.path import Sweep


@pytest.mark.parametrize("seed", then_long(range(4)))
def test_penalties_that_have_lost_are_given_up(seed):
    rng = np.random.default_rng(seed)
    X = random_x(rng, 60, 20)
    y = labels(rng, X, 2)
    chosen = MultinomialLogisticCV(12, random_state=0).fit(X, y)
    scores = chosen.scores_[:, 0]
    made = ~np.isnan(scores).any(axis=0)
    last = np.flatnonzero(made)[-1]
    assert made[: last + 1].all()
    assert np.isnan(scores[:, ~made]).all()

    def is_worse(a):
        top = scores[:, np.argmax(scores[:, : a + 1].mean(axis=0))]
        lower = top - scores[:, a]
        return lower.mean() > lower.std(ddof=1) / np.sqrt(5)

    lost = [is_worse(a) for a in range(last + 1)]
    two = [a for a in range(1, last + 1) if lost[a] and lost[a - 1]]
    assert two == ([last] if last < 11 else two[-1:])
    if seed == 0:
        assert last < 11


def test_one_standard_error_takes_the_strongest_penalty_that_is_as_good():
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    params = {"alphas": np.logspace(1, -3, 9), "tol": 1e-8}
    best = MultinomialLogisticCV(**params).fit(X, y)
    simple = MultinomialLogisticCV(**params, one_standard_error=True).fit(X, y)
    assert_array_equal(simple.scores_, best.scores_)
    means = best.scores_.mean(axis=0)[0]
    a = np.nanargmax(means)
    error = best.scores_std_[0, a] / np.sqrt(5)
    within = simple.alphas_[means >= means[a] - error]
    assert simple.alpha_ == within.max() > best.alpha_ == best.alphas_[a]
    model = MultinomialLogistic(alpha=simple.alpha_, tol=1e-8).fit(X, y)
    assert_allclose(simple.predict_proba(X), model.predict_proba(X), atol=1e-3)


def test_choice_is_that_of_scikit_learn_for_the_same_grid():
    X, y = load_breast_cancer(return_X_y=True)
    X, cv = StandardScaler().fit_transform(X), StratifiedKFold(4)
    ours = MultinomialLogisticCV(np.logspace(0, -4, 5), cv=cv, scoring="neg_log_loss", **EXACT)
    ours.fit(X, y)
    n = len(y) * 3 / 4  # its C is of the sum over the training rows
    for a in np.flatnonzero(~np.isnan(ours.scores_[0, 0])):
        theirs = LogisticRegression(C=1 / (ours.alphas_[a] * n), tol=1e-10, max_iter=10_000)
        expected = cross_val_score(theirs, X, y, cv=cv, scoring="neg_log_loss")
        assert_allclose(ours.scores_[:, 0, a], expected, rtol=2e-3)  # 426 or 427 rows
        assert np.nanargmax(ours.scores_.mean(axis=0)) < 4


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
def test_default_alphas_begin_near_zero_and_scale_with_the_columns(storage):
    rng = np.random.default_rng(0)
    X = random_x(rng, 200, 6)
    y = labels(rng, X)
    first = MultinomialLogisticCV().fit(storage(X), y).alphas_
    assert first.shape == (10,)
    assert_allclose(first[:-1] / first[1:], np.sqrt(10))
    found = path(storage(X), y, first, estimator=MultinomialLogistic(tol=1e-8))
    constants = MultinomialLogistic(alpha=1e9).fit(X, y).objective_
    assert 0.85 * constants < found.objectives[0] < constants
    double = path(storage(4 * X), y)
    assert_allclose(double.alphas, 16 * first, rtol=1e-6)
    if storage is np.asarray:  # centred, one column of another scale changes little
        X[:, 0] *= 1e4
        uneven = path(X, y, 1).alphas[0]
        assert first[0] < uneven < 1e4 * first[0]  # its square is 1e8


def test_default_alphas_of_l1_begin_where_all_coefficients_are_zero():
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    found = path(X, y, 3, l1_ratio=1.0)
    assert not found.coefs[0].any()
    assert found.coefs[1].any()


def test_default_alphas_follow_the_size_of_x_or_say_that_they_cannot():
    X, y = load_iris(return_X_y=True)
    usual = path(X, y, 3).alphas
    for power in (-506, 505):  # their squares are no normal numbers, or barely
        found = path(np.ldexp(X, power), y, 3).alphas
        assert_allclose(found, np.ldexp(usual, 2 * power), rtol=1e-12)
    for size in (1e200, 1e154, 1e-160, 1e-300, [1e200, 1, 1, 1]):
        with pytest.raises(ValueError, match="X must be nearer to 1 in size, or alphas given"):
            MultinomialLogisticCV(cv=3).fit(X * np.asarray(size), y)
    with pytest.raises(ValueError, match="alphas must be at least 1"):
        path(X, y, 0)


def test_penalties_without_a_score_are_not_chosen():
    X, y = load_iris(return_X_y=True)

    def score(model, X, y):
        return model.score(X, y) if np.abs(model.coef_).max() > 0.1 else np.nan

    params = {"cv": 3, "scoring": score, "one_standard_error": True}
    for ratios in (None, [0.0, 1.0]):
        model = MultinomialLogisticCV([1e3, 100, 0.1], l1_ratios=ratios, **params).fit(X, y)
        assert np.isnan(model.scores_[:, 0, :2]).all()
        assert model.alpha_ == 0.1
        assert model.best_score_ > 0.7
        assert model.score(X, y) == accuracy_score(y, model.predict(X))


def test_few_rows_of_a_class_make_fewer_folds():
    X, y = load_iris(return_X_y=True)
    rows = [0, 1, 2, 50, 51, 52, 100, 101, 102]
    assert len(MultinomialLogisticCV([0.1]).fit(X[rows], y[rows]).scores_) == 3


def _rare(kind, n=60):
    rng = np.random.default_rng(0)
    X, y = random_x(rng, n, 4), rng.integers(0, 2, n)
    y[0] = 2
    if kind == "labels":
        return MultinomialLogisticCV, {}, X, np.array(["a", "b", "rare"])[y], "'rare'"
    if kind == "shares":
        return MultinomialLogisticCV, {}, X, 0.9 * np.eye(3)[y] + 0.1 * np.eye(3)[y % 2], "2"
    Y = np.column_stack([y % 2, rng.integers(0, 2, n), y == 2]).astype(float)
    return MultiLabelLogisticCV, {"loss": kind}, X, Y, "2"


@pytest.mark.parametrize("kind", ["labels", "shares", "bce", "softmax"])
def test_a_class_without_training_rows_is_named_and_left_out_of_the_score(kind):
    """Its best intercept is infinite, and so are losses of rows held out."""
    estimator, params, X, y, name = _rare(kind)
    folds = [(np.arange(20, 60), np.arange(20)), (np.arange(40), np.arange(40, 60))]
    alphas = [1.0, 0.1]
    search = estimator(alphas, cv=folds, **params, **EXACT)
    with pytest.warns(UserWarning, match=f"tell nothing of {name} in fold 0, which its score"):
        scores = search.fit(X, y).scores_[:, 0]
    if kind == "bce":  # the other labels alone
        expected = estimator(alphas, cv=folds[:1], **params, **EXACT).fit(X, y[:, :2])
    else:
        rest = [(folds[0][0], np.arange(1, 20))]
        expected = estimator(alphas, cv=rest, **params, **EXACT).fit(X, y)
    assert_allclose(scores[0], expected.scores_[0, 0], rtol=1e-4)
    smooth = estimator(alphas, cv=folds, label_smoothing=0.1, **params).fit(X, y)
    assert np.isfinite(smooth.scores_).all()


def test_search_raises_where_no_fold_has_anything_to_score():
    X, y = random_x(np.random.default_rng(0), 60, 4), np.repeat([0, 1, 2], 20)
    told = "of 0 in fold 0, 1 in fold 1, 2 in fold 2, which"
    with (
        pytest.warns(UserWarning, match=told),
        pytest.raises(ValueError, match="scoring must give numbers, got NaN of scoring=None"),
    ):
        MultinomialLogisticCV(3, cv=KFold(3)).fit(X, y)


@pytest.mark.parametrize("kind", ["labels", "shares", "bce", "softmax"])
def test_a_fold_without_anything_to_score_is_neither_fitted_nor_counted(kind, monkeypatch):
    """LeaveOneOut has such folds where a class has one row."""
    estimator, params, X, y, _ = _rare(kind, 20)
    if kind == "bce":  # of other labels there would be a score
        y = y[:, [2, 2]]
    folds, alphas = list(LeaveOneOut().split(X)), [1.0, 0.1]
    search = estimator(alphas, cv=folds, one_standard_error=True, **params, **EXACT)
    masks = []
    monkeypatch.setattr(cv, "Sweep", lambda *args: masks.append(args[1]) or Sweep(*args))
    message = "tell nothing of .* in fold 0, which .* in fold 0: the means .* of the 19 other folds"
    with pytest.warns(UserWarning, match=message) as record:
        search.fit(X, y)
    assert len(record) == 1
    assert len(masks[0]) == 19
    assert np.isnan(search.scores_[0]).all()
    expected = estimator(alphas, cv=folds[1:], one_standard_error=True, **params, **EXACT)
    expected.fit(X, y)
    assert_allclose(search.scores_[1:], expected.scores_, rtol=1e-6)
    assert_allclose(search.best_score_, expected.best_score_, rtol=1e-6)
    assert_allclose(search.scores_std_, expected.scores_std_, rtol=1e-4)
    assert search.alpha_ == expected.alpha_
    shown = [CVDisplay.from_estimator(model).frame()["score"] for model in (search, expected)]
    assert_allclose(*shown, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_a_fold_that_a_scorer_is_not_defined_for_is_left_out_of_the_means():
    """GridSearchCV and LogisticRegressionCV take the first penalty there, whatever its score."""
    rng = np.random.default_rng(0)
    X, y = random_x(rng, 60, 20), rng.integers(0, 2, 60)
    folds = [(np.arange(20, 60), np.flatnonzero(y[:20]))]
    folds += [(np.arange(40), np.arange(40, 60)), (np.arange(20, 60), np.arange(20))]
    search = MultinomialLogisticCV([10.0, 0.1, 1e-3], cv=folds, scoring="roc_auc")
    with pytest.warns(UserWarning, match="scoring='roc_auc' gives no number .* in fold 0: "):
        search.fit(X, y)
    expected = clone(search).set_params(cv=folds[1:]).fit(X, y)
    assert_allclose(search.scores_[1:], expected.scores_)
    assert search.alpha_ == expected.alpha_
    assert search.best_score_ == expected.best_score_


def test_log_losses_know_classes_that_no_row_held_out_has():
    _, _, X, y, _ = _rare("labels")
    folds = [(np.arange(40), np.arange(40, 60))]
    search = MultinomialLogisticCV([1.0], cv=folds, scoring="neg_log_loss", **EXACT).fit(X, y)
    own = MultinomialLogisticCV([1.0], cv=folds, **EXACT).fit(X, y)
    assert_allclose(search.scores_, own.scores_, rtol=1e-6)


def test_thresholds_are_learnt_at_the_chosen_penalty():
    rng = np.random.default_rng(0)
    X = random_x(rng)
    Y = indicator(rng, X)
    model = MultiLabelLogisticCV([0.1, 0.01], threshold="f1", random_state=0).fit(X, Y)
    plain = MultiLabelLogistic(alpha=model.alpha_, threshold="f1", tol=1e-4, random_state=0)
    plain.fit(X, Y)
    assert_array_equal(model.threshold_, plain.threshold_)
    with pytest.raises(ValueError, match="top_k must be None with a threshold"):
        MultiLabelLogisticCV(threshold=0.5, top_k=2).fit(X, Y)
