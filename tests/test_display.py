"""The displays show what the model holds, with or without matplotlib."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer, StandardScaler

from skce import (
    CoefficientDisplay,
    CVDisplay,
    LossCurveDisplay,
    MultiLabelLogistic,
    MultinomialLogistic,
    MultinomialLogisticCV,
    PathDisplay,
    ThresholdDisplay,
    path,
)
from skce.metrics import best_thresholds

X, y = load_iris(return_X_y=True)
MODELS = {
    "auto": MultinomialLogistic(random_state=0),
    "sgd": MultinomialLogistic(solver="sgd", random_state=0),
    "one pass": MultiLabelLogistic(random_state=0),
}


@pytest.fixture
def pyplot(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    module = pytest.importorskip("matplotlib.pyplot")
    module.switch_backend("agg")
    yield module
    module.close("all")


@pytest.fixture(params=MODELS)
def model(request):
    fit = MODELS[request.param].partial_fit if request.param == "one pass" else None
    return (fit or MODELS[request.param].fit)(X, y)


def assert_is_plot(display, model, name):
    x, loss = display.line_.get_data()
    assert_array_equal(x, np.arange(1, len(model.loss_curve_) + 1))
    assert_array_equal(loss, model.loss_curve_)
    assert display.ax_.figure is display.figure_
    assert display.ax_.get_xlabel()
    assert display.ax_.get_ylabel()
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == [name]


def test_plot_is_the_loss_curve(pyplot, model):
    assert_is_plot(LossCurveDisplay.from_estimator(model), model, type(model).__name__)


def test_frame_is_the_loss_curve(pyplot, model):
    frame = LossCurveDisplay.from_estimator(model).frame()
    known = bool(np.isfinite(model.gap_estimate_))
    assert list(frame) == ["iteration", "loss", *["gap"] * known]
    assert_array_equal(frame["iteration"], np.arange(1, len(model.loss_curve_) + 1))
    assert_array_equal(frame["loss"], model.loss_curve_)
    pandas = pytest.importorskip("pandas")
    assert pandas.DataFrame(frame).shape == (len(model.loss_curve_), 2 + known)


def test_axes_and_name_are_taken(pyplot):
    model = MODELS["sgd"].fit(X, y)
    _, ax = pyplot.subplots()
    display = LossCurveDisplay.from_estimator(model, name="mine", ax=ax)
    assert display.ax_ is ax
    assert_is_plot(display, model, "mine")
    display.plot(ax=ax)
    assert len(ax.lines) == 2


def test_pipeline_is_its_last_step(pyplot):
    pipeline = make_pipeline(StandardScaler(), MultinomialLogistic(random_state=0)).fit(X, y)
    display = LossCurveDisplay.from_estimator(pipeline)
    assert_is_plot(display, pipeline[-1], "MultinomialLogistic")


def test_plot_without_a_name_has_no_legend(pyplot):
    assert LossCurveDisplay(loss_curve=[2.0, 1.0]).plot().ax_.get_legend() is None


def test_model_must_be_fitted(pyplot):
    for unfitted in (MultinomialLogistic(), make_pipeline(MultinomialLogistic())):
        with pytest.raises(NotFittedError):
            LossCurveDisplay.from_estimator(unfitted)


def test_frame_needs_no_matplotlib_and_plot_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    display = LossCurveDisplay(loss_curve=[3, 2])
    assert_array_equal(display.frame()["loss"], [3.0, 2.0])
    with pytest.raises(ImportError, match="matplotlib"):
        display.plot()
    for other in (
        CoefficientDisplay(coef=[[1.0, -2.0]], class_names=["a"], feature_names=["x", "y"]),
        ThresholdDisplay(thresholds=[0.0], precision=[1.0], recall=[1.0], f1=[1.0]),
        CVDisplay(alphas=[1.0], scores=[[[0.5]]]),
        PathDisplay(alphas=[1.0], coefs=[[1.0, 2.0]]),
    ):
        assert len(other.frame()) >= 3
        with pytest.raises(ImportError, match=r"Display\.plot needs matplotlib"):
            other.plot()


def test_gap_is_the_objective_above_its_bound(pyplot):
    best = MultinomialLogistic(alpha=1e-2, tol=1e-10).fit(X, y)
    model = MultinomialLogistic(alpha=1e-2).fit(X, y)
    display = LossCurveDisplay.from_estimator(
        model, kind="gap", lower_bound=best.objective_, name="lbfgs"
    )
    gap = np.array(model.loss_curve_) - best.objective_
    assert_array_equal(display.line_.get_ydata(), np.where(gap > 0, gap, np.nan))
    assert display.ax_.get_yscale() == "log"
    other = MODELS["sgd"].fit(X, y)
    LossCurveDisplay.from_estimator(
        other, kind="gap", lower_bound=best.objective_, name="sgd", ax=display.ax_
    )
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["lbfgs", "sgd"]
    own = LossCurveDisplay.from_estimator(model, kind="gap")
    assert own.lower_bound == model.objective_ - model.gap_estimate_
    with pytest.raises(ValueError, match=r"lower_bound must be a number"):
        LossCurveDisplay.from_estimator(other, kind="gap")
    with pytest.raises(ValueError, match=r'kind must be "loss" or "gap", got \'time\''):
        own.plot(kind="time")


def test_validation_loss_is_a_second_curve(pyplot):
    display = LossCurveDisplay(
        loss_curve=[3.0, 2.0, 1.0], validation_loss_curve=[4.0, 3.0, 3.5], name="mine"
    ).plot(yscale="log")
    assert_array_equal(display.validation_line_.get_ydata(), [4.0, 3.0, 3.5])
    assert display.validation_line_.get_color() == display.line_.get_color()
    assert display.ax_.get_yscale() == "log"
    assert list(display.frame()) == ["iteration", "loss", "validation_loss"]
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["mine", "mine, validation"]
    model = MODELS["sgd"].fit(X, y)
    model.validation_loss_curve_ = 2 * np.array(model.loss_curve_)
    display = LossCurveDisplay.from_estimator(model)
    assert_array_equal(display.validation_line_.get_ydata(), model.validation_loss_curve_)
    del model.validation_loss_curve_


def assert_shows_the_largest(display, coef, classes, features, n):
    frame = display.frame()
    for c, row in enumerate(coef):
        part = slice(c * n, (c + 1) * n)
        best = np.argsort(-np.abs(row), kind="stable")[:n]
        assert_array_equal(frame["class"][part], [classes[c]] * n)
        assert_array_equal(frame["feature"][part], np.asarray(features)[best])
        assert_array_equal(frame["coefficient"][part], row[best])
        axes = display.axes_[c]
        assert axes.get_title() == str(classes[c])
        assert [text.get_text() for text in axes.get_yticklabels()] == list(frame["feature"][part])
        assert_array_equal([bar.get_width() for bar in axes.patches], frame["coefficient"][part])
        assert axes.yaxis_inverted()


def test_coefficients_are_the_largest_of_each_class(pyplot):
    frame, target = load_iris(return_X_y=True, as_frame=True)
    species = load_iris().target_names[target]
    model = MultinomialLogistic(alpha=1e-2).fit(frame, species)
    display = CoefficientDisplay.from_estimator(model, n_features=2)
    assert_shows_the_largest(display, model.coef_, model.classes_, frame.columns, 2)
    display = CoefficientDisplay.from_estimator(model, n_features=9, classes=["virginica"])
    assert_shows_the_largest(display, model.coef_[2:], ["virginica"], frame.columns, 4)
    sparse_model = MultinomialLogistic(alpha=1e-2, l1_ratio=1.0, max_iter=300).fit(X, y).sparsify()
    display = CoefficientDisplay.from_estimator(sparse_model, n_features=3)
    coef = sparse_model.coef_.toarray()
    assert_shows_the_largest(display, coef, [0, 1, 2], ["x0", "x1", "x2", "x3"], 3)
    theirs = LogisticRegression().fit(X, y == 1)
    _, ax = pyplot.subplots()
    display = CoefficientDisplay.from_estimator(theirs, ax=ax)
    assert display.axes_[0] is ax
    assert_shows_the_largest(display, theirs.coef_, [True], ["x0", "x1", "x2", "x3"], 4)


def test_coefficients_take_names_of_texts_and_labels(pyplot):
    pd = pytest.importorskip("pandas")
    texts = ["red apple", "green apple", "red car", "green car", "blue car"] * 4
    tags = [{"red", "fruit"}, {"fruit"}, {"red"}, set(), {"blue"}] * 4
    binarizer = MultiLabelBinarizer()
    Y = binarizer.fit_transform(tags)
    words = CountVectorizer()
    plain = make_pipeline(words, MultiLabelLogistic(alpha=1e-2)).fit(texts, Y)
    shown = CoefficientDisplay.from_estimator(
        plain, n_features=1, class_names=binarizer.classes_
    ).frame()
    assert_array_equal(shown["class"], ["blue", "fruit", "red"])
    assert_array_equal(shown["feature"][[0, 2]], ["blue", "red"])
    named = make_pipeline(words, MultiLabelLogistic(alpha=1e-2))
    named.fit(texts, pd.DataFrame(Y, columns=binarizer.classes_))
    assert_array_equal(named[-1].label_names_, binarizer.classes_)
    again = CoefficientDisplay.from_estimator(named, n_features=1).frame()
    for column in shown:
        assert_array_equal(again[column], shown[column])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("classes", [7]),
        ("classes", []),
        ("class_names", ["a"]),
        ("feature_names", ["a"]),
        ("ax", "two"),
    ],
)
def test_wrong_argument_of_coefficients_is_named(name, wrong, pyplot):
    model = MODELS["auto"].fit(X, y)
    wrong = pyplot.subplots(1, 2)[1] if wrong == "two" else wrong
    with pytest.raises(ValueError, match=rf"^{name} must"):
        CoefficientDisplay.from_estimator(model, **{name: wrong})


def test_more_classes_than_can_be_seen_are_refused(pyplot):
    model = MODELS["auto"].fit(X, y)
    model.coef_, model.classes_ = np.zeros((26, 4)), np.arange(26)
    with pytest.raises(ValueError, match=r"classes must name 1 to 25 classes, got 26"):
        CoefficientDisplay.from_estimator(model)
    assert len(CoefficientDisplay.from_estimator(model, classes=[3, 5]).axes_) == 2


rng = np.random.default_rng(0)
TAGS = (X @ rng.normal(size=(4, 3)) + 2 * rng.normal(size=(150, 3)) > 1).astype(float)
WEIGHT = rng.uniform(0.5, 2, 150)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("missing", [False, True])
def test_threshold_curves_are_scikit_learns_metrics(missing, container, pyplot):
    tags = TAGS.copy()
    tags[::5, 1] = np.nan if missing else tags[::5, 1]
    model = MultiLabelLogistic(threshold=[0.1, 0.3, 0.2]).fit(X, tags)
    display = ThresholdDisplay.from_estimator(model, X, container(tags), 1, sample_weight=WEIGHT)
    frame, here = display.frame(), ~np.isnan(tags[:, 1])
    truth, proba, weight = tags[here, 1], model.predict_proba(X)[here, 1], WEIGHT[here]
    assert_array_equal(frame["threshold"], np.unique([0, *proba]))
    options = {"sample_weight": weight, "zero_division": 1}
    for threshold, *values in zip(*frame.values(), strict=True):
        on = proba > threshold
        scores = (precision_score, recall_score, f1_score)
        expected = [score(truth, on, **options) for score in scores]
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12)
    best = best_thresholds(truth[:, None], proba[:, None], sample_weight=weight)[0]
    at = np.searchsorted(frame["threshold"], best, "right") - 1
    assert frame["f1"][at] == pytest.approx(frame["f1"].max())
    assert display.threshold == 0.3
    assert display.ax_.get_title() == "Label 1"
    assert_array_equal(display.lines_["f1"].get_ydata(), frame["f1"])


def test_threshold_of_a_name_of_shares_and_of_a_class(pyplot):
    pd = pytest.importorskip("pandas")
    names = ["ant", "bee", "cat"]
    frame = pd.DataFrame(TAGS, columns=names)
    model = MultiLabelLogistic(loss="softmax").fit(X, frame)
    display = ThresholdDisplay.from_estimator(model, X, frame, "bee")
    by_number = ThresholdDisplay.from_estimator(model, X, TAGS, 1)
    assert_array_equal(display.frame()["f1"], by_number.frame()["f1"])
    assert display.ax_.get_title() == "Label bee"
    assert display.threshold == pytest.approx(model.share_threshold_)
    gaps = np.where(TAGS[::-1] > 0, np.nan, TAGS)
    nullable = pd.DataFrame(gaps, columns=names).astype("Int64")
    displays = [ThresholdDisplay.from_estimator(model, X, rows, "bee") for rows in (gaps, nullable)]
    assert_array_equal(displays[0].frame()["f1"], displays[1].frame()["f1"])
    for rows in (TAGS[:, 1], TAGS[:, :2]):
        with pytest.raises(ValueError, match=r"y must have a column for each of \['ant', 'bee'"):
            ThresholdDisplay.from_estimator(model, X, rows, "bee")
    labels = np.array(names)[y]
    single = make_pipeline(StandardScaler(), MultinomialLogistic()).fit(X, labels)
    display = ThresholdDisplay.from_estimator(single, X, labels, "cat")
    assert display.threshold is None  # the largest of three wins
    assert display.frame()["recall"][0] == 1
    assert display.frame()["precision"][0] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match=r"label must be one of .*'ant'.*, got 'dog'"):
        ThresholdDisplay.from_estimator(model, X, frame, "dog")


def test_wrong_predictions_of_a_label_are_named(pyplot):
    with pytest.raises(ValueError, match=r"y_true, y_proba .* one shape"):
        ThresholdDisplay.from_predictions([1, 0], [0.5])
    with pytest.raises(ValueError, match=r"y_true must have an observed entry"):
        ThresholdDisplay.from_predictions([np.nan], [0.5])
    with pytest.raises(ValueError, match=r"y_proba must lie in \[0, 1\]"):
        ThresholdDisplay.from_predictions([0, 1], [np.nan, 0.5])
    with pytest.raises(ValueError, match=r"y_true must lie in \[0, 1\]"):
        ThresholdDisplay.from_predictions([0, 5], [0.5, 0.5])
    with pytest.raises(ValueError, match=r"sample_weight must be finite and not negative"):
        ThresholdDisplay.from_predictions([0, 1], [0.5, 0.5], sample_weight=[1, -1])
    nothing = ThresholdDisplay.from_predictions([0, 0], [0.5, 0.2])
    assert_array_equal(nothing.frame()["f1"], 0)


@pytest.mark.parametrize("ratios", [None, [0.0, 0.5]])
def test_scores_of_a_cross_validation_are_drawn_with_their_standard_errors(pyplot, ratios):
    model = MultinomialLogisticCV([0.1, 0.03, 0.01], cv=3, l1_ratios=ratios, random_state=0)
    pipe = make_pipeline(StandardScaler(), model).fit(X, y)
    model.set_params(l1_ratios=None)  # which the scores do not follow
    display = CVDisplay.from_estimator(pipe)
    data, scores = display.frame(), model.scores_.reshape(3, -1)
    made = ~np.isnan(scores[0])
    assert_array_equal(data["score"], scores.mean(axis=0)[made])
    assert_array_equal(data["error"], (scores.std(axis=0, ddof=1) / np.sqrt(3))[made])
    assert_array_equal(data["alpha"], np.tile(model.alphas_, len(ratios or [0]))[made])
    assert_array_equal(data["l1_ratio"], np.repeat(ratios or [0], 3)[made])
    assert len(display.lines_) == len(ratios or [0])
    x, score = display.lines_[0].lines[0].get_data()
    assert_array_equal(x, data["alpha"][: len(x)])
    assert_array_equal(score, data["score"][: len(x)])
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert f"Chosen, {model.alpha_:.3g}" in labels
    assert display.ax_.get_xscale() == "log"
    assert display.figure_ is display.ax_.figure


def test_path_of_an_output_is_drawn_for_its_largest_features(pyplot):
    found = path(X, y, [0.1, 0.01, 0.001])
    names = ["a", "b", "c", "d"]
    display = PathDisplay.from_path(found, output=2, feature_names=names, n_features=2)
    largest = np.argsort(-np.abs(found.coefs[:, 2]).max(axis=0))[:2]
    assert [line.get_label() for line in display.lines_] == [names[j] for j in largest]
    for line, j in zip(display.lines_, largest, strict=True):
        alphas, coef = line.get_data()
        assert_array_equal(alphas, found.alphas)
        assert_array_equal(coef, found.coefs[:, 2, j])
    assert display.ax_.get_title() == "Output 2"
    assert list(display.frame()) == ["alpha", *(names[j] for j in largest)]
    two = PathDisplay.from_path(path(X[y > 0], y[y > 0], [0.1]))
    assert two.ax_.get_title() == "Output 2"  # the class of the one row of coefficients
    assert two.lines_[0].get_label().startswith("x")
    with pytest.raises(ValueError, match=r"output must be in 0..2, got 3"):
        PathDisplay.from_path(found, output=3)


@pytest.mark.parametrize("names", [["a", "alpha"], ["a", "a"], ["a"], ["a", "b", "c"]])
def test_names_that_make_no_columns_of_a_path_are_refused(names):
    display = PathDisplay(alphas=[1.0], coefs=[[1.0, 2.0]], feature_names=names)
    with pytest.raises(ValueError, match="feature_names must be 2 distinct names"):
        display.frame()


def test_a_function_that_scores_is_named(pyplot):
    def own_score(model, X, y):
        return model.score(X, y)

    model = MultinomialLogisticCV([0.1, 0.01], cv=3, scoring=own_score).fit(X, y)
    assert "Score, own_score (" in CVDisplay.from_estimator(model).ax_.get_ylabel()
