"""The cross-validation as others call it: routing, callbacks, threads, messages."""

import threading

import numpy as np
import pytest
from cv_cases import KINDS, cv_of, random_x
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, make_scorer
from sklearn.model_selection import GroupKFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import skce
from skce import MultiLabelLogisticCV, MultinomialLogisticCV
from skce._solvers import path as path_module


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
    X, alphas = StandardScaler().fit_transform(X), [1e6, 1e-3, 1e-6]
    model = MultinomialLogisticCV(alphas, cv=3, solver="sdca", max_iter=2, random_state=0)
    told = r"8 of 12 fits, .* far off, at alpha=0.001, 1e-06; the first: max_iter=2 was reached\."
    with pytest.warns(ConvergenceWarning, match=told) as caught:
        model.fit(X, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__


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
