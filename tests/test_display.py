"""LossCurveDisplay shows the loss curve of a model, with or without matplotlib."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skce import LossCurveDisplay, MultiLabelLogistic, MultinomialLogistic

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
    assert list(frame) == ["iteration", "loss"]
    assert_array_equal(frame["iteration"], np.arange(1, len(model.loss_curve_) + 1))
    assert_array_equal(frame["loss"], model.loss_curve_)
    pandas = pytest.importorskip("pandas")
    assert pandas.DataFrame(frame).shape == (len(model.loss_curve_), 2)


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
