"""The estimators inside the tools of scikit-learn, pandas, polars, scipy and joblib."""

import pickle

import joblib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr, get_tags, shuffle

from skce import MultiLabelLogistic, MultinomialLogistic
from skce.metrics import (
    multilabel_log_loss,
    neg_multilabel_log_loss_scorer,
    neg_soft_log_loss_scorer,
    soft_log_loss,
)

IRIS, SPECIES = shuffle(*load_iris(return_X_y=True), random_state=0)
NAMES = ["sepal length", "sepal width", "petal length", "petal width"]
rng = np.random.default_rng(0)
INDICATOR = (IRIS @ rng.standard_normal((4, 3)) + 3 * rng.logistic(size=(150, 3)) > 0).astype(int)
SHARES = 0.7 * np.eye(3)[SPECIES] + 0.3 * rng.dirichlet(np.ones(3), size=150)
WEIGHT = rng.uniform(0.2, 2, size=150)
FOLDS = KFold(3, shuffle=True, random_state=0)

MODELS = {
    "labels": (MultinomialLogistic(random_state=0), SPECIES),
    "two labels": (MultinomialLogistic(random_state=0), SPECIES == 1),
    "shares": (MultinomialLogistic(random_state=0), SHARES),
    "sgd": (MultinomialLogistic(solver="sgd", tol=1e-2, random_state=0), SPECIES),
    "bce": (MultiLabelLogistic(random_state=0), INDICATOR),
    "1/M": (MultiLabelLogistic(loss="softmax", random_state=0), INDICATOR),
    "csr y": (MultiLabelLogistic(random_state=0), sparse.csr_array(INDICATOR)),
    "adam": (MultiLabelLogistic(solver="adam", tol=1e-2, random_state=0), INDICATOR),
}
every_model = pytest.mark.parametrize("name", MODELS)


def model_and_y(name):
    model, y = MODELS[name]
    return clone(model), y


def assert_same_bits(actual, expected):
    assert_array_equal(actual.coef_, expected.coef_)
    assert_array_equal(actual.intercept_, expected.intercept_)
    assert actual.coef_.dtype == expected.coef_.dtype


def frame(library, values=IRIS):
    return pytest.importorskip(library).DataFrame(dict(zip(NAMES, values.T, strict=True)))


every_library = pytest.mark.parametrize("library", ["pandas", "polars"])


@every_library
@every_model
def test_frame_is_its_array_with_names(name, library):
    model, y = model_and_y(name)
    expected = clone(model).fit(IRIS, y)
    X = frame(library)
    assert_same_bits(model.fit(X, y), expected)
    assert_array_equal(model.feature_names_in_, NAMES)
    assert not hasattr(expected, "feature_names_in_")
    assert_array_equal(model.predict_proba(X), expected.predict_proba(IRIS))
    assert_same_bits(clone(model).partial_fit(X, y), clone(model).partial_fit(IRIS, y))


@every_library
def test_targets_may_be_frames_and_series(library):
    module = pytest.importorskip(library)
    model, species = model_and_y("labels")
    names = np.array(["setosa", "versicolor", "virginica"])[species]
    series = module.Series(names)
    assert_same_bits(model.fit(IRIS, series), clone(model).fit(IRIS, names))
    assert model.score(IRIS, series) == model.score(IRIS, names)
    for name in ("shares", "bce"):
        model, y = model_and_y(name)
        columns = module.DataFrame({f"{c}": y[:, c] for c in range(3)})
        weight = module.Series(WEIGHT)
        model.fit(IRIS, columns, sample_weight=weight)
        assert_same_bits(model, clone(model).fit(IRIS, y, sample_weight=WEIGHT))


@every_library
@every_model
def test_pipeline_with_set_output(name, library):
    model, y = model_and_y(name)
    pipeline = make_pipeline(StandardScaler(), model).set_output(transform=library)
    pipeline.fit(frame(library), y)
    assert_array_equal(pipeline[-1].feature_names_in_, NAMES)
    plain = make_pipeline(StandardScaler(), clone(model)).fit(IRIS, y)
    assert_allclose(pipeline[-1].coef_, plain[-1].coef_, rtol=1e-9)  # the scaler rounds otherwise
    assert pipeline.score(frame(library), y) == plain.score(IRIS, y)


def test_pipeline_from_text():
    texts = ["a red apple", "a green pear", "red red wine", "green tea"] * 5
    pipeline = make_pipeline(TfidfVectorizer(), MultinomialLogistic(random_state=0))
    assert pipeline.fit(texts, ["red", "green"] * 10).score(texts, ["red", "green"] * 10) == 1


@pytest.mark.parametrize(
    ("name", "scoring", "folds", "metric"),
    [
        ("labels", "neg_log_loss", StratifiedKFold(3), None),
        ("labels", neg_soft_log_loss_scorer, FOLDS, None),
        ("shares", neg_soft_log_loss_scorer, FOLDS, soft_log_loss),
        ("bce", neg_multilabel_log_loss_scorer, FOLDS, multilabel_log_loss),
    ],
)
def test_grid_search_finds_the_penalty(name, scoring, folds, metric):
    model, y = model_and_y(name)
    if scoring is neg_soft_log_loss_scorer:
        y = np.eye(3)[y] if y.ndim == 1 else y
    grid = {"alpha": [1e-4, 1e-2, 100.0]}
    search = GridSearchCV(model, grid, scoring=scoring, cv=folds, error_score="raise")
    search.fit(IRIS, y)
    assert search.best_params_["alpha"] < 100
    assert_same_bits(
        search.best_estimator_, clone(model).set_params(**search.best_params_).fit(IRIS, y)
    )
    if metric:
        best = [
            -metric(
                y[test],
                clone(search.best_estimator_).fit(IRIS[train], y[train]).predict_proba(IRIS[test]),
            )
            for train, test in folds.split(IRIS)
        ]
        assert_allclose(search.best_score_, np.mean(best), rtol=1e-12)


@pytest.mark.parametrize("y", [SHARES, np.eye(3)[SPECIES], np.eye(3, dtype=int)[SPECIES]])
def test_cross_validation_of_rows_scores_the_largest_entry(y):
    model = MultinomialLogistic(random_state=0)
    scores = cross_val_score(model, IRIS, y, cv=FOLDS, error_score="raise")
    for score, (train, test) in zip(scores, FOLDS.split(IRIS), strict=True):
        predicted = clone(model).fit(IRIS[train], y[train]).predict(IRIS[test])
        assert score == pytest.approx((predicted == y[test].argmax(axis=1)).mean(), abs=1e-15)
    predicted = cross_val_predict(model, IRIS, y, cv=FOLDS, method="predict")
    assert np.mean(predicted == SPECIES) > 0.8


@pytest.mark.parametrize("kind", ["one-hot", "indicator"])
def test_cross_val_predict_takes_zeros_and_ones(kind):
    model, y = MultinomialLogistic(random_state=0), np.eye(3, dtype=int)[SPECIES]
    if kind == "indicator":
        model, y = MultiLabelLogistic(random_state=0), y + y[:, [1, 0, 2]] * (IRIS[:, :1] > 6)
    y = np.minimum(y, 1)
    proba = cross_val_predict(model, IRIS, y, cv=FOLDS, method="predict_proba")
    for train, test in FOLDS.split(IRIS):
        expected = clone(model).fit(IRIS[train], y[train]).predict_proba(IRIS[test])
        assert_array_equal(proba[test], expected)
    with pytest.raises(ValueError, match="one-hot"):  # it makes numbers of the values
        cross_val_predict(MultinomialLogistic(), IRIS, SHARES, cv=FOLDS, method="predict_proba")


def test_wrapped_estimator_has_partial_fit_where_ours_has():
    for model in (MultinomialLogistic, MultiLabelLogistic):
        assert hasattr(OneVsRestClassifier(model()), "partial_fit")
        assert hasattr(OneVsRestClassifier(model(l1_ratio=0.5)), "partial_fit")


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize("name", ["labels", "two labels"])
def test_calibration_of_labels(name, method):
    model, y = model_and_y(name)
    calibrated = CalibratedClassifierCV(model, method=method, cv=3).fit(IRIS, y)
    assert_allclose(calibrated.predict_proba(IRIS).sum(axis=1), 1)
    # The middle species lies between the others: no line tells it from both.
    assert calibrated.score(IRIS, y) > (0.9 if name == "labels" else 0.65)


@every_model
def test_sample_weight_is_routed(name):
    model, y = model_and_y(name)
    expected = clone(model).fit(StandardScaler().fit_transform(IRIS), y, sample_weight=WEIGHT)
    pipeline = make_pipeline(StandardScaler(), clone(model))
    step = f"{type(model).__name__.lower()}__sample_weight"
    assert_same_bits(pipeline.fit(IRIS, y, **{step: WEIGHT})[-1], expected)
    with sklearn.config_context(enable_metadata_routing=True):
        asks = clone(model).set_fit_request(sample_weight=True)
        asks.set_score_request(sample_weight=True).set_partial_fit_request(
            classes=True, sample_weight=True
        )
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), asks)
        assert_same_bits(pipeline.fit(IRIS, y, sample_weight=WEIGHT)[-1], expected)
        assert_allclose(
            pipeline.score(IRIS, y, sample_weight=WEIGHT),
            expected.score(StandardScaler().fit_transform(IRIS), y, sample_weight=WEIGHT),
        )
        search = GridSearchCV(pipeline, {}, cv=FOLDS, error_score="raise")
        search.fit(IRIS, y, sample_weight=WEIGHT)
        assert_same_bits(search.best_estimator_[-1], expected)
        if name == "labels":
            result = cross_validate(
                pipeline, IRIS, y, cv=FOLDS, params={"sample_weight": WEIGHT}, return_estimator=True
            )
            train = next(FOLDS.split(IRIS))[0]
            fold = clone(pipeline).fit(IRIS[train], y[train], sample_weight=WEIGHT[train])
            assert_same_bits(result["estimator"][0][-1], fold[-1])


@every_model
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_memory_map_is_its_array(method, name, tmp_path):
    model, y = model_and_y(name)
    inputs = {"X": IRIS, "y": y, "csr": sparse.csr_array(IRIS), "sample_weight": WEIGHT}
    joblib.dump(inputs, tmp_path / "inputs")
    mapped = joblib.load(tmp_path / "inputs", mmap_mode="r")
    assert isinstance(mapped["X"], np.memmap)
    for X in ("X", "csr"):
        expected = getattr(clone(model), method)(inputs[X], y, sample_weight=WEIGHT)
        actual = getattr(clone(model), method)(
            mapped[X], mapped["y"], sample_weight=mapped["sample_weight"]
        )
        assert_same_bits(actual, expected)
        assert_array_equal(actual.predict_proba(mapped[X]), expected.predict_proba(inputs[X]))


@every_model
def test_saved_model_goes_on_like_the_original(name, tmp_path):
    model, y = model_and_y(name)
    model.fit(IRIS, y).partial_fit(IRIS[:70], y[:70])
    joblib.dump(model, tmp_path / "model")
    copies = pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model")
    model.partial_fit(IRIS[70:], y[70:])
    for copy in copies:
        copy.partial_fit(IRIS[70:], y[70:])
        assert_same_bits(copy, model)
        assert_array_equal(copy.predict_proba(IRIS), model.predict_proba(IRIS))
        assert copy.loss_curve_ == model.loss_curve_


@every_model
def test_clone_has_the_parameters_and_is_not_fitted(name):
    model, y = model_and_y(name)
    model.set_params(alpha=0.01, learning_rate=0.1).fit(IRIS, y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not [a for a in vars(copy) if a.endswith("_") or a.startswith("_")]


@every_model
def test_html_repr_shows_the_parameters(name):
    model, y = model_and_y(name)
    for html in (estimator_html_repr(model), estimator_html_repr(model.fit(IRIS, y))):
        assert type(model).__name__ in html
        assert "label_smoothing" in html


@pytest.mark.parametrize("estimator", [MultinomialLogistic, MultiLabelLogistic])
def test_tags(estimator):
    tags = get_tags(estimator())
    assert tags.estimator_type == "classifier"
    assert tags.input_tags.sparse
    assert tags.target_tags.required
    assert tags.classifier_tags.multi_class
    assert tags.classifier_tags.multi_label == (estimator is MultiLabelLogistic)
    assert not tags.non_deterministic
    assert not tags.no_validation


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["labels", "two labels", "bce"])
def test_features_are_selected_as_from_logistic_regression(name, l1_ratio):
    model, y = model_and_y(name)
    noise = np.random.default_rng(0).normal(size=(150, 8))
    X = np.hstack([StandardScaler().fit_transform(IRIS), noise])
    model.set_params(alpha=0.05, l1_ratio=l1_ratio)
    selector = SelectFromModel(model).fit(X, y)
    importance = np.abs(selector.estimator_.coef_).sum(axis=0)
    assert_allclose(selector.threshold_, 1e-5 if l1_ratio == 1 else importance.mean())
    theirs = SelectFromModel(LogisticRegression(l1_ratio=l1_ratio, solver="saga", max_iter=9999))
    assert (theirs.fit(X, SPECIES).threshold_ == 1e-5) == (l1_ratio == 1)
    assert 0 < selector.get_support().sum() < 12
    assert clone(model).get_params() == model.get_params()


@pytest.mark.parametrize("estimator", [MultinomialLogistic, MultiLabelLogistic])
def test_lazy_frame_is_to_be_collected(estimator):
    polars = pytest.importorskip("polars")
    X, Y = polars.DataFrame(IRIS), polars.DataFrame(INDICATOR)
    y = Y if estimator is MultiLabelLogistic else SPECIES
    model = estimator().fit(X, y)
    for call in (lambda: estimator().fit(X.lazy(), y), lambda: model.predict(X.lazy())):
        with pytest.raises(ValueError, match=r"^X must be in memory, got a LazyFrame: .*collect"):
            call()
    with pytest.raises(ValueError, match=r"^y must be in memory, got a LazyFrame: .*collect"):
        estimator().fit(X, Y.lazy())
