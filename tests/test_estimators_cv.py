"""The cross-validation scores as refits do, chooses by its scores and costs a few fits."""

import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from registry import then_long
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_iris,
    load_wine,
    make_multilabel_classification,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, get_scorer, log_loss, make_scorer
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import skce
from skce import (
    MultiLabelLogistic,
    MultiLabelLogisticCV,
    MultinomialLogistic,
    MultinomialLogisticCV,
    path,
)
from skce._solvers import path as path_module
from skce.losses import (
    multilabel_softmax_cross_entropy,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)

ALPHAS = [0.1, 0.01, 0.001]
EXACT = {"tol": 1e-10, "max_iter": 2000, "random_state": 0}


def two_logits(logits):
    return np.column_stack([np.zeros(len(logits)), logits])


def random_x(rng, n=80, p=5):
    return rng.standard_normal((n, p))


def labels(rng, X, k=3):
    return (X[:, :k] + rng.gumbel(size=(len(X), k))).argmax(axis=1)


def indicator(rng, X):
    return (X[:, :4] + rng.logistic(size=(len(X), 4)) > 0.5).astype(float)


def with_missing(rng, X):
    Y = indicator(rng, X)
    Y[rng.random(Y.shape) < 0.2] = np.nan
    return Y


def shares(rng, X):
    return np.exp(X[:, :3]) / np.exp(X[:, :3]).sum(axis=1, keepdims=True)


# model with its CV, targets, loss of logits
KINDS = {
    "labels": (MultinomialLogistic, {}, labels, softmax_cross_entropy),
    "two classes": (
        MultinomialLogistic,
        {},
        lambda rng, X: labels(rng, X, 2),
        lambda logits, y, **options: softmax_cross_entropy(two_logits(logits), y, **options),
    ),
    "shares, smoothed": (
        MultinomialLogistic,
        {"label_smoothing": 0.1},
        shares,
        softmax_cross_entropy,
    ),
    "missing labels": (MultiLabelLogistic, {}, with_missing, sigmoid_cross_entropy),
    "pos_weight": (
        MultiLabelLogistic,
        {"pos_weight": 2.0},
        indicator,
        lambda *arrays, **options: sigmoid_cross_entropy(
            *arrays, pos_weight=np.full(4, 2.0), **options
        ),
    ),
    "1/M": (MultiLabelLogistic, {"loss": "softmax"}, indicator, multilabel_softmax_cross_entropy),
}


def cv_of(model, **params):
    return {MultinomialLogistic: MultinomialLogisticCV, MultiLabelLogistic: MultiLabelLogisticCV}[
        model
    ](**params)


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


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_path_is_made_of_fits(ratio):
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X).astype(np.float32)
    model = MultinomialLogistic(tol=1e-4, l1_ratio=ratio, random_state=0, max_iter=1000)
    found = path(X, y, [0.01, 0.1], estimator=model)
    assert_array_equal(found.alphas, [0.1, 0.01])
    assert found.coefs.dtype == np.float32
    assert found.coefs.shape == (2, 3, 4)
    for a, alpha in enumerate(found.alphas):
        fitted = clone(model).set_params(alpha=alpha).fit(X, y)
        assert_allclose(found.objectives[a], fitted.objective_, rtol=2e-4)
        assert_allclose(found.intercepts[a], fitted.intercept_, atol=0.05)
        assert found.objectives[a] - found.dual_gaps[a] <= fitted.objective_ * (1 + 1e-6)
    assert not hasattr(model, "coef_")


def test_path_takes_multilabel_models_and_weights():
    rng = np.random.default_rng(0)
    X = random_x(rng)
    Y, weight = with_missing(rng, X), rng.uniform(0, 1, len(X))
    model = MultiLabelLogistic(tol=1e-8)
    found = path(X, Y, [0.01], estimator=model, sample_weight=weight)
    fitted = MultiLabelLogistic(alpha=0.01, tol=1e-8).fit(X, Y, weight)
    assert_allclose(found.coefs[0], fitted.coef_, atol=1e-4)
    assert_array_equal(found.classes, fitted.classes_)


def test_groups_and_weights_are_routed():
    X, y = load_iris(return_X_y=True)
    groups, weight = np.arange(150) % 5, np.arange(150) % 3 + 1.0
    cv = GroupKFold(5)
    alphas = [0.01]
    plain = MultinomialLogisticCV(alphas, cv=cv).fit(X, y, weight, groups=groups)
    given = MultinomialLogisticCV(alphas, cv=list(cv.split(X, y, groups))).fit(X, y, weight)
    assert_array_equal(plain.scores_, given.scores_)
    with pytest.raises(ValueError, match="colour"):
        MultinomialLogisticCV(alphas).fit(X, y, colour=groups)
    scorer = make_scorer(log_loss, greater_is_better=False, response_method="predict_proba")
    weighted = MultinomialLogisticCV(alphas, cv=cv, scoring=scorer)
    scores = weighted.fit(X, y, weight, groups=groups).scores_
    assert_allclose(scores, plain.scores_)  # without routing weights go to the scorer too
    with skce_routing():
        scorer = scorer.set_score_request(sample_weight=True)
        model = MultinomialLogisticCV(alphas, cv=cv, scoring=scorer)
        model.set_fit_request(sample_weight=True)
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        pipe.fit(X, y, sample_weight=weight, groups=groups)
        scaled = StandardScaler().fit_transform(X)
        again = MultinomialLogisticCV(alphas, cv=cv).fit(scaled, y, weight, groups=groups)
        assert_allclose(pipe[-1].scores_, again.scores_)


def skce_routing():
    import sklearn

    return sklearn.config_context(enable_metadata_routing=True)


def test_one_warning_tells_of_fits_that_did_not_converge():
    X, y = load_wine(return_X_y=True)
    model = MultinomialLogisticCV([1e-3, 1e-6], cv=3, solver="sdca", max_iter=2, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"\d of 8 fits; the first: max_iter=2") as caught:
        model.fit(X, y)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alphas": [0.1, -1]}, r"alphas must be numbers above 0, got"),
        ({"alphas": [0.1, np.nan]}, "alphas must be numbers above 0"),
        ({"alphas": []}, "alphas must be numbers above 0"),
        ({"alphas": 0}, "'alphas' parameter"),
        ({"l1_ratios": [0, 1.5]}, "l1_ratios must be numbers at least 0 and at most 1"),
        ({"l1_ratios": [0.5], "solver": "lbfgs"}, "l1_ratios must be 0 for solver='lbfgs'"),
        ({"solver": "sgd"}, "'solver' parameter"),
        ({"cv": []}, "cv must give a split, got none"),
        ({"cv": [([0, 1, 2, 60], [])]}, "cv must leave training and test rows with weight"),
        ({"scoring": lambda *args: np.nan}, "scoring must give numbers, got NaN"),
    ],
)
def test_bad_parameters_are_told_of(params, message):
    X, y = load_iris(return_X_y=True)
    model = MultinomialLogisticCV(**{"alphas": [0.1], **params})
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert set(vars(model)) == set(model.get_params())


def test_there_is_no_partial_fit():
    assert not hasattr(MultinomialLogisticCV(), "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        _ = MultiLabelLogisticCV().partial_fit


def test_path_refuses_stochastic_solvers():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="solver must be 'auto', 'sdca' or 'lbfgs', got 'sgd'"):
        path(X, y, estimator=MultinomialLogistic(solver="sgd"))
    with pytest.raises(TypeError, match="estimator must be .*, got MultinomialLogisticCV"):
        path(X, y, estimator=MultinomialLogisticCV())


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


def test_few_rows_of_a_class_make_fewer_folds():
    X, y = load_iris(return_X_y=True)
    rows = [0, 1, 2, 50, 51, 52, 100, 101, 102]
    assert len(MultinomialLogisticCV([0.1]).fit(X[rows], y[rows]).scores_) == 3


class Counter:
    """A callback that notes tasks, and stops after so many models."""

    def __init__(self, most=np.inf):
        self.models, self.most = [], most

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, **given):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, **given):
        if context.task_name == "model":
            self.models.append(fitted_estimator)
            return len(self.models) >= self.most
        return None


def test_callbacks_are_told_of_each_model_and_may_stop_the_search():
    X, y = load_iris(return_X_y=True)
    counter = Counter()
    MultinomialLogisticCV([1.0, 0.1], cv=3).set_callbacks(counter).fit(X, y)
    assert len(counter.models) == 2 * (1 + 3)
    for threaded in (path_module.THREADED, 0):  # a model's callbacks are called by the main thread
        counter = Counter(5)
        model = MultinomialLogisticCV([1.0, 0.1, 0.01], cv=3).set_callbacks(counter)
        with threadpool_limits(2), pytest.MonkeyPatch.context() as patch:
            patch.setattr(path_module, "THREADED", threaded)
            model.fit(X, y)
        assert len(counter.models) == 8
    assert_array_equal(np.isnan(model.scores_[0, 0]), [False, False, True])


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("kind", ["labels", "missing labels"])
def test_folds_in_threads_change_no_bits(kind, storage):
    model, params, targets, _ = KINDS[kind]
    rng = np.random.default_rng(0)
    X = random_x(rng, 400, 12)
    X, y = storage(X), targets(rng, X)
    found = []
    for threads in (1, 2, 5):
        with threadpool_limits(threads), pytest.MonkeyPatch.context() as patch:
            patch.setattr(path_module, "THREADED", 0)
            fits = cv_of(model, l1_ratios=[0, 0.5], cv=3, random_state=0, **params)
            found.append(fits.fit(X, y))
    for other in found[1:]:
        assert_array_equal(other.scores_, found[0].scores_)
        assert_array_equal(other.coef_, found[0].coef_)
    assert np.isnan(found[0].scores_).any()  # the fit of all rows goes ahead of those given up


def test_an_interrupt_ends_the_threads():
    X, y = load_iris(return_X_y=True)

    def interrupt(model, X, y):
        raise KeyboardInterrupt

    model = MultinomialLogisticCV([0.1, 0.01, 0.001], scoring=interrupt)
    with threadpool_limits(2), pytest.MonkeyPatch.context() as patch:
        patch.setattr(path_module, "THREADED", 0)
        before = threading.active_count()
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
        assert threading.active_count() == before
    assert not hasattr(model, "coef_")


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


def test_verbose_prints_each_penalty(capsys):
    X, y = load_iris(return_X_y=True)
    MultinomialLogisticCV([0.1, 0.01], cv=ShuffleSplit(2, random_state=0), verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "l1_ratio 0, alpha 0.1",
        "l1_ratio 0, alpha 0.01",
    ]


def test_names_are_public():
    for name in ("MultinomialLogisticCV", "MultiLabelLogisticCV"):
        assert getattr(skce, name).__module__ == "skce"


def text(n=150, p=1000, k=10, seed=0):
    """Rows of few words, of classes that share most of them."""
    rng = np.random.default_rng(seed)
    topics, y = rng.dirichlet(np.full(p, 0.05), k), np.arange(n) % k
    common = rng.dirichlet(np.full(p, 0.3))
    words = rng.poisson(15 * (0.3 * topics[y] + 0.7 * common))
    return sparse.csr_array(np.log1p(words.astype(float))), y


def test_scores_of_text_are_those_of_exact_fits():
    X, y = text()
    alphas = [1e-3, 1e-4, 1e-5]
    loose, exact = (
        MultinomialLogisticCV(alphas, tol=tol, max_iter=2000, random_state=0).fit(X, y).scores_
        for tol in (1e-4, 1e-8)
    )
    error = exact.std(axis=0, ddof=1) / np.sqrt(len(exact))
    assert (np.abs((loose - exact).mean(axis=0)) < 0.1 * error).all()


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
