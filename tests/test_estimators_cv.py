"""The cross-validation scores as refits do."""

import numpy as np
import pytest
from cv_cases import ALPHAS, EXACT, KINDS, cv_of, labels, random_x, text
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_digits, load_iris, load_wine, make_multilabel_classification
from sklearn.metrics import accuracy_score, get_scorer, log_loss
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score

from skce import (
    MultiLabelLogistic,
    MultiLabelLogisticCV,
    MultinomialLogistic,
    MultinomialLogisticCV,
    path,
)
from skce._solvers.preconditioners import Preconditioner


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_refitting_every_fold(kind, storage):
    model, params, targets, loss = KINDS[kind]
    rng = np.random.default_rng(0)
    X = random_x(rng)
    y, weight = targets(rng, X), rng.uniform(0.5, 2, len(X))
    X = storage(X)
    cv = KFold(3, shuffle=True, random_state=0)
    chosen = cv_of(model, alphas=ALPHAS, cv=cv, **params, **EXACT).fit(X, y, weight)
    expected = np.full(chosen.scores_.shape, np.nan)
    for f, (train, test) in enumerate(cv.split(X)):
        for a, alpha in enumerate(ALPHAS):
            fitted = model(alpha=alpha, **params, **EXACT).fit(X[train], y[train], weight[train])
            logits = fitted.decision_function(X[test])
            expected[f, 0, a] = -loss(logits, y[test], sample_weight=weight[test])
    made = ~np.isnan(chosen.scores_)
    assert made[:, 0, 0].all()
    assert_allclose(chosen.scores_[made], expected[made], rtol=1e-5)
    best = np.nanargmax(expected.mean(axis=0)[0])
    assert chosen.alpha_ == ALPHAS[best]
    assert_allclose(chosen.best_score_, expected[:, 0, best].mean(), rtol=1e-5)
    assert_allclose(chosen.scores_std_, chosen.scores_.std(axis=0, ddof=1))
    whole = model(alpha=chosen.alpha_, **params, **EXACT).fit(X, y, weight)
    assert_allclose(chosen.coef_, whole.coef_, atol=1e-4)
    assert_allclose(chosen.objective_, whole.objective_, rtol=1e-9)
    assert chosen.objective_ - chosen.dual_gap_ <= whole.objective_ * (1 + 1e-12)
    assert chosen.converged_


@pytest.mark.parametrize("ratio", [0.5, 1.0])
def test_l1_scores_are_those_of_refitting_every_fold(ratio):
    rng = np.random.default_rng(1)
    X = random_x(rng, 90, 12)
    y, cv = labels(rng, X), KFold(3)
    params = {"tol": 1e-6, "max_iter": 1000, "random_state": 0}
    chosen = MultinomialLogisticCV(ALPHAS, cv=cv, l1_ratios=[0, ratio], **params).fit(X, y)
    for f, (train, test) in enumerate(cv.split(X)):
        for a in np.flatnonzero(~np.isnan(chosen.scores_[f, 1])):
            model = MultinomialLogistic(alpha=ALPHAS[a], l1_ratio=ratio, **params)
            proba = model.fit(X[train], y[train]).predict_proba(X[test])
            assert_allclose(chosen.scores_[f, 1, a], -log_loss(y[test], proba), rtol=1e-3)
    best = np.unravel_index(np.nanargmax(chosen.scores_.mean(axis=0)), (2, 3))
    assert (chosen.l1_ratio_, chosen.alpha_) == ([0, ratio][best[0]], ALPHAS[best[1]])
    assert chosen.penalty == {0: "l2", 0.5: "elasticnet", 1.0: "l1"}[chosen.l1_ratio_]


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss"])
def test_any_scorer_scores_as_in_scikit_learn(scoring):
    X, y = load_wine(return_X_y=True, as_frame=True)  # with names of the features
    cv = StratifiedKFold(3, shuffle=True, random_state=1)
    chosen = MultinomialLogisticCV([1.0, 0.1], cv=cv, scoring=scoring, **EXACT).fit(X, y)
    for a, alpha in enumerate(chosen.alphas_):
        model = MultinomialLogistic(alpha=alpha, **EXACT)
        expected = cross_val_score(model, X, y, cv=cv, scoring=scoring)
        assert_allclose(chosen.scores_[:, 0, a], expected, rtol=1e-5)
    if scoring == "accuracy":
        assert chosen.score(X, y) == accuracy_score(y, chosen.predict(X))
    else:
        assert_allclose(chosen.score(X, y), -log_loss(y, chosen.predict_proba(X)))


def test_without_refit_coefficients_are_the_mean_of_the_folds():
    X, y = load_iris(return_X_y=True)
    cv = StratifiedKFold(3)
    chosen = MultinomialLogisticCV([0.01], cv=cv, refit=False, **EXACT).fit(X, y)
    folds = [
        MultinomialLogistic(alpha=0.01, **EXACT).fit(X[train], y[train])
        for train, _ in cv.split(X, y)
    ]
    assert_allclose(chosen.coef_, np.mean([fold.coef_ for fold in folds], axis=0), atol=1e-5)
    whole = MultinomialLogistic(alpha=0.01, **EXACT).fit(X, y)
    gap = chosen.objective_ - whole.objective_
    assert 0 < gap <= chosen.dual_gap_


def test_repeated_training_rows_count_as_often():
    X, y = load_iris(return_X_y=True)
    rng = np.random.default_rng(0)
    train = rng.integers(150, size=150)
    test = np.setdiff1d(np.arange(150), train)
    chosen = MultinomialLogisticCV([0.01], cv=[(train, test)], **EXACT).fit(X, y)
    model = MultinomialLogistic(alpha=0.01, **EXACT).fit(X[train], y[train])
    expected = -log_loss(y[test], model.predict_proba(X[test]))
    assert_allclose(chosen.scores_, [[[expected]]], rtol=1e-5)
    assert_array_equal(chosen.scores_std_, [[0]])
    mask = np.isin(np.arange(150), test)
    masked = MultinomialLogisticCV([0.01], cv=[(train, mask)], **EXACT).fit(X, y)
    assert_array_equal(masked.scores_, chosen.scores_)


def test_labels_are_scored_by_the_threshold_of_shares_that_a_fold_learns():
    X, y = make_multilabel_classification(400, 20, n_classes=6, random_state=0)
    cv, scorer = KFold(3), get_scorer("f1_macro")
    params = {"loss": "softmax", "tol": 1e-8, "max_iter": 3000}
    model = MultiLabelLogisticCV([0.01], cv=cv, scoring=scorer, **params).fit(X, y)
    by_hand = [
        scorer(MultiLabelLogistic(alpha=0.01, **params).fit(X[a], y[a]), X[b], y[b])
        for a, b in cv.split(X)
    ]
    assert_allclose(model.scores_.ravel(), by_hand, atol=5e-3)  # mean_labels_ is that of all rows


def test_scores_are_those_of_exact_fits_however_far_apart_the_penalties_are():
    rng = np.random.default_rng(0)
    X = random_x(rng)
    y = labels(rng, X)
    alphas = [1e9, 1.0, 0.9, 1e-3]
    chosen = MultinomialLogisticCV(alphas, cv=KFold(3), random_state=0).fit(X, y)
    exact = MultinomialLogisticCV(alphas, cv=KFold(3), **EXACT).fit(X, y)
    assert_allclose(chosen.scores_, exact.scores_, rtol=2e-3)


@pytest.mark.parametrize(
    "alphas", [[1e-2, 1e-2 * (1 - 1e-15), 1e-2 * (1 - 2e-15), 1e-3], [1e300, 1e-300, 1e-301]]
)
def test_penalties_nearly_alike_or_ages_apart_lead_no_fit_astray(alphas):
    rng = np.random.default_rng(0)
    X = random_x(rng)
    y = labels(rng, X)
    chosen = MultinomialLogisticCV(alphas, cv=KFold(3), random_state=0).fit(X, y)
    exact = MultinomialLogisticCV(alphas, cv=KFold(3), **EXACT).fit(X, y)
    made = ~np.isnan(chosen.scores_ + exact.scores_)  # alike, rounding may tell which is given up
    assert made[..., :3].all()
    assert_allclose(chosen.scores_[made], exact.scores_[made], rtol=2e-3)
    found = path(X, y, alphas)
    assert np.isfinite(found.coefs).all()
    single = MultinomialLogistic(alpha=alphas[-1], tol=1e-8).fit(X, y)
    assert found.objectives[-1] <= single.objective_ * (1 + 1e-3)


def test_scores_of_text_are_those_of_exact_fits():
    X, y = text()
    alphas = [1e-3, 1e-4, 1e-5]
    loose, exact = (
        MultinomialLogisticCV(alphas, tol=tol, max_iter=2000, random_state=0).fit(X, y).scores_
        for tol in (1e-4, 1e-8)
    )
    error = exact.std(axis=0, ddof=1) / np.sqrt(len(exact))
    assert (np.abs((loose - exact).mean(axis=0)) < 0.15 * error).all()


def test_columns_without_entries_change_no_score():
    X, y = text(p=200)
    wide = sparse.csr_array((X.data, 3 * X.indices, X.indptr), (X.shape[0], 600))
    few, many = (
        MultinomialLogisticCV([1e-3, 1e-4], cv=3, tol=1e-6, random_state=0).fit(Z, y)
        for Z in (X, wide)
    )
    assert_allclose(few.scores_, many.scores_, rtol=1e-6)
    assert_allclose(few.coef_, many.coef_[:, ::3], rtol=1e-3, atol=1e-6)
    assert not many.coef_[:, 1::3].any()
    assert many.predict(wide).shape == y.shape
    assert path(wide, y, [1e-3]).coefs.shape == (1, 10, 600)


def test_folds_are_scored_a_step_beyond_their_last_pass():
    X, y = load_digits(return_X_y=True)
    loose, exact = (
        MultinomialLogisticCV(8, tol=tol, max_iter=1000, random_state=0).fit(X, y).scores_
        for tol in (1e-4, 1e-8)
    )
    error = exact.std(axis=0, ddof=1) / np.sqrt(len(exact))
    assert (np.abs((loose - exact).mean(axis=0)) < 0.03 * error).all()


def test_a_path_makes_no_preconditioner_while_the_last_is_worth_its_cost(monkeypatch):
    made = []

    def init(self, *args, **params):
        made.append(self)
        given(self, *args, **params)

    given = Preconditioner.__init__
    monkeypatch.setattr(Preconditioner, "__init__", init)
    rng = np.random.default_rng(0)
    X = random_x(rng, 300, 100)
    y, alphas = labels(rng, X, 4), np.logspace(1, -0.5, 6)
    for folds, least, most in ((3, 1, 4), (16, 6, 12)):  # one costs 25 passes
        made.clear()
        MultinomialLogisticCV(alphas, cv=folds, random_state=0).fit(X, y)
        assert least <= len(made) <= most
