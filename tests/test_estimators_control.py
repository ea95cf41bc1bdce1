"""Callbacks, early stopping and what is told of a fit while it runs."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from small_fits import (
    INDICATOR,
    LABELS,
    LABELS_VAL,
    SOLVERS,
    X_VAL,
    X,
    every_problem,
    every_solver,
    model_and_y,
)

from skce import MultiLabelLogistic, MultinomialLogistic
from skce._estimators import control

pytestmark = pytest.mark.filterwarnings("ignore:Not converged. max_iter")


class Recorder:
    """A callback that keeps the fitted estimators of the passes, and may say stop after some."""

    def __init__(self, stop_after=np.inf):
        self.stop_after, self.begun, self.ended, self.hooks, self.torn_down = (
            stop_after,
            0,
            [],
            [],
            0,
        )

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        self.torn_down += 1

    def on_fit_task_begin(self, estimator, context):
        self.begun += 1

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self.hooks.append((X, y, metadata))
        if context.parent is None or context.source_task_name is not None:
            self.final = fitted_estimator
            return False
        if fitted_estimator is not None:
            self.ended.append(fitted_estimator)
        return len(self.ended) >= self.stop_after


@pytest.fixture
def told_at_once(monkeypatch):
    monkeypatch.setattr(control, "SUBTASK_SECONDS", 0.0)


@pytest.mark.usefixtures("told_at_once")
@every_solver
@every_problem
def test_each_pass_is_a_subtask_with_the_model_so_far(problem, solver):
    model, y = model_and_y(problem, solver=solver, max_iter=20)
    plain = clone(model).fit(X, y)
    recorder = Recorder()
    assert model.set_callbacks(recorder).fit(X, y) is model
    assert_array_equal(model.coef_, plain.coef_)
    passes = len(model.loss_curve_)
    assert len(recorder.ended) == passes
    assert recorder.begun == len(recorder.hooks) == passes + 2  # and the fit, and one not made
    assert [len(m.loss_curve_) for m in recorder.ended] == list(range(1, passes + 1))
    assert [m.objective_ for m in recorder.ended] == model.loss_curve_
    has_gap = solver in ("auto", "sdca", "lbfgs")
    assert np.isfinite([m.gap_estimate_ for m in recorder.ended]).all() == has_gap
    assert recorder.ended[-1].n_iter_ <= model.n_iter_
    for fitted in (recorder.ended[0], recorder.final):
        assert np.isfinite(fitted.predict_proba(X)).all()
        assert fitted.score(X, y) > 0.2
    assert_array_equal(recorder.final.coef_, model.coef_)
    assert not hasattr(model, "_callback_fit_ctx")


@pytest.mark.usefixtures("told_at_once")
@every_solver
def test_callback_that_says_stop_ends_the_fit_with_the_model_so_far(solver, capsys):
    model, y = model_and_y("labels", solver=solver, tol=1e-8, verbose=1)
    recorder = Recorder(stop_after=2)
    model.set_callbacks(recorder).fit(X, y)  # without a warning
    assert (model.stop_reason_, model.converged_) == ("callback", False)
    assert capsys.readouterr().out.splitlines()[-1] == "stopped by the callback"
    assert len(model.loss_curve_) == 2
    assert_array_equal(model.coef_, recorder.ended[-1].coef_)
    penalty = model.alpha / 2 * np.sum(model.coef_**2)
    assert_allclose(model.objective_, log_loss(y, model.predict_proba(X)) + penalty, rtol=1e-9)
    assert np.isnan([model.dual_gap_, model.gap_estimate_]).all()
    model.set_callbacks().set_params(max_iter=3).fit(X, y)
    assert model.stop_reason_ != "callback"


def test_stop_reason_tells_how_a_fit_ended():
    assert MultinomialLogistic().fit(X, LABELS).stop_reason_ == "tol"
    with pytest.warns(ConvergenceWarning) as caught:
        model = MultinomialLogistic(solver="adam", max_iter=2, tol=0).fit(X, LABELS)
    assert str(caught[0].message) == f"Not converged: {model.stop_reason_}."
    assert caught[0].filename == __file__
    assert model.partial_fit(X, LABELS).stop_reason_ == "partial_fit"


def test_short_fits_tell_callbacks_of_the_end_alone(monkeypatch):
    monkeypatch.setattr(control, "SUBTASK_SECONDS", 1e9)
    recorder = Recorder()
    model = MultinomialLogistic(tol=1e-6).set_callbacks(recorder).fit(X, LABELS)
    assert recorder.begun == 2
    assert_array_equal(recorder.ended[0].coef_, model.coef_)


def test_callbacks_are_told_of_the_rows_trained_on():
    weights = np.random.default_rng(1).uniform(1, 2, len(X))
    recorder = Recorder()
    model = MultinomialLogistic(early_stopping=True, random_state=0, validation_fraction=0.2)
    model.set_callbacks(recorder).fit(X, LABELS, sample_weight=weights)
    for rows, y, metadata in recorder.hooks:
        assert len(rows) == len(y) == len(metadata["sample_weight"]) == 240
    recorder = Recorder()
    model.set_params(early_stopping=False).set_callbacks(recorder).fit(X, LABELS)
    assert recorder.hooks[0][0].shape == X.shape
    assert recorder.hooks[0][2] is None


def test_failed_fit_ends_callbacks_and_leaves_the_model():
    recorder = Recorder()
    model = MultinomialLogistic().fit(X, LABELS).set_callbacks(recorder)
    before = model.coef_
    with pytest.raises(ValueError, match="y must have as many rows"):
        model.fit(X, LABELS[:5])
    assert recorder.torn_down == 1
    assert model.coef_ is before
    assert not hasattr(model, "_callback_fit_ctx")


@pytest.mark.usefixtures("told_at_once")
@pytest.mark.parametrize("place", ["alone", "pipeline", "search"])
@every_problem
def test_scoring_monitor_scores_each_pass(place, problem):
    model, y = model_and_y(problem)
    monitor = ScoringMonitor(scoring="neg_log_loss" if y.ndim == 1 else "f1_macro")
    model.set_callbacks(monitor)
    name = "neg_log_loss" if y.ndim == 1 else "f1_macro"
    if place == "alone":
        scores = [row[name] for row in monitor_rows(model, monitor, X, y)]
        assert len(scores) == len(model.loss_curve_) + 1  # and the fit
        if y.ndim == 1:
            assert_allclose(scores[0], -log_loss(y, model.predict_proba(X)), rtol=1e-9)
            assert_allclose(-np.array(scores[1:]), model.loss_curve_, rtol=0.1)
        return
    pipeline = make_pipeline(StandardScaler(), model)
    if place == "search":
        pipeline = GridSearchCV(pipeline, {f"{pipeline.steps[-1][0]}__alpha": [1e-3, 1e-1]}, cv=2)
    assert len(monitor_rows(pipeline, monitor, X, y)) > 2


@pytest.mark.usefixtures("told_at_once")
def test_search_of_pipelines_with_callbacks_and_X_val_is_the_one_without():
    recorder, scores = Recorder(), []
    with sklearn.config_context(enable_metadata_routing=True):
        models = [
            estimator(early_stopping=True, random_state=0, tol=1e-2)
            for estimator in (MultinomialLogistic, MultiLabelLogistic)
        ]
        for model in models:
            model.set_fit_request(X_val=True, y_val=True)
        steps = [("scale", StandardScaler()), ("model", models[0])]
        grid = {"model": models, "model__alpha": np.logspace(-6, 1, 8)}
        for callbacks in ([], [recorder]):
            pipeline = Pipeline(steps, transform_input=["X_val"])
            for model in models:
                model.set_callbacks(*callbacks)
            search = GridSearchCV(pipeline, grid, cv=5, refit=False)
            search.fit(X[:250], LABELS[:250], X_val=X_VAL, y_val=LABELS_VAL)
            scores.append(search.cv_results_["mean_test_score"])
    assert_array_equal(*scores)
    assert len(scores[0]) == 16
    assert len(recorder.ended) > 80  # each of the fits has told of its passes
    assert all(model.validation_loss_curve_ for model in recorder.ended[:80:9])


def monitor_rows(model, monitor, A, y):
    model.fit(A, y)
    return [row for log in monitor.get_logs(select="all") for row in log.data]


def test_progress_bar_shows_each_fit(capsys):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    model = MultinomialLogistic(tol=1e-6).set_callbacks(ProgressBar())
    model.fit(X, LABELS)
    assert "MultinomialLogistic - fit" in capsys.readouterr().out
    search = GridSearchCV(clone(model).set_callbacks(), {"alpha": [1e-3, 1e-1]}, cv=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, LABELS)
    assert capsys.readouterr().out.count("MultinomialLogistic - fit") == 5


def test_no_intercept_is_started_at_where_none_is_fitted():
    for solver in SOLVERS:
        model = MultinomialLogistic(solver=solver, warm_start=True, random_state=0).fit(X, LABELS)
        assert model.intercept_.any()
        assert not model.set_params(fit_intercept=False).fit(X, LABELS).intercept_.any()
    with pytest.raises(ValueError, match="intercept_init must be 0 for fit_intercept=False"):
        model.fit(X, LABELS, intercept_init=[1, 0, -1])


@pytest.mark.usefixtures("told_at_once")
def test_models_of_the_passes_predict_before_thresholds_are_learnt():
    recorder = Recorder()
    model = MultiLabelLogistic(threshold="f1", tol=0.1).set_callbacks(recorder).fit(X, INDICATOR)
    assert_array_equal(recorder.ended[0].threshold_, [0.5] * 3)
    assert_array_equal(recorder.final.threshold_, model.threshold_)
    assert recorder.begun == len(model.loss_curve_) + 2  # nothing of the fits of the folds


@every_solver
@every_problem
def test_fit_begins_at_coef_init(problem, solver):
    """At the optimum there is nothing left to do; nowhere else does it begin there."""
    model, y = model_and_y(problem, solver=solver, tol=1e-3, max_iter=300)
    optimum, _ = model_and_y(problem, tol=1e-8)
    optimum.fit(X, y)
    told = []
    model._observe = lambda coef, intercept: told.append(np.array(coef))
    model.fit(X, y)
    distance = np.abs(told[0] - optimum.coef_).max()
    told.clear()
    model.fit(X, y, coef_init=optimum.coef_, intercept_init=optimum.intercept_)
    assert model.objective_ <= optimum.objective_ * (1 + 1e-2)
    assert np.abs(told[0] - optimum.coef_).max() < max(0.5 * distance, 1e-2)
    if solver in ("auto", "sdca", "lbfgs"):
        assert model.n_iter_ <= 4


@pytest.mark.filterwarnings("ignore:Not converged. the loss diverged")  # the start is far away
def test_either_of_the_starts_may_be_left_out():
    start = np.full((3, 6), 2.0)
    model = MultinomialLogistic(solver="sgd", learning_rate=1e-12, max_iter=1, tol=0)
    model.fit(X, LABELS, coef_init=start)
    assert_allclose(model.coef_, 2, atol=1e-6)
    assert_allclose(model.intercept_, 0, atol=1e-6)
    model.fit(X, LABELS, intercept_init=[1.0, 0.0, -1.0])
    assert_allclose(model.coef_, 0, atol=1e-6)
    assert_allclose(model.intercept_, [1, 0, -1], atol=1e-6)
    for wrong, said in ((start.T, r"shape \(3, 6\), got \(6, 3\)"), (start * np.nan, "finite")):
        with pytest.raises(ValueError, match=f"coef_init must .*{said}"):
            model.fit(X, LABELS, coef_init=wrong)
    with pytest.raises(ValueError, match=r"intercept_init must have the shape \(3,\), got \(2,\)"):
        model.fit(X, LABELS, intercept_init=[0.0, 1.0])
    with pytest.raises(ValueError, match=r"coef_init must have the shape \(3, 6\), got \(6,\)"):
        model.fit(X, LABELS, coef_init=start[0])
    model.fit(X, LABELS > 0, coef_init=start[0], intercept_init=1.0)  # as of SGDClassifier
    assert_allclose(model.coef_, start[:1], atol=1e-6)
    assert_allclose(model.intercept_, [1.0], atol=1e-6)


@every_solver
def test_warm_start_from_a_nearby_alpha_takes_few_passes(solver):
    model, y = model_and_y("labels", solver=solver, tol=1e-3, max_iter=300, warm_start=True)
    model.set_params(alpha=1e-3).fit(X, y)
    passes = model.set_params(alpha=1.2e-3).fit(X, y).n_iter_
    assert passes <= (4 if solver in ("auto", "sdca", "lbfgs") else 1 + 2 * model.n_iter_no_change)
    cold = clone(model).fit(X, y)
    assert_allclose(model.objective_, cold.objective_, rtol=5e-3)
