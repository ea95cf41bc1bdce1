"""Models in files: pickles that tell their version, skops with public types, MLflow."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.exceptions import InconsistentVersionWarning as SklearnInconsistentVersionWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skce
from skce import MultiLabelLogistic, MultinomialLogistic

rng = np.random.default_rng(0)
X = rng.normal(size=(80, 4))
Y = (X @ rng.normal(size=(4, 3)) + rng.normal(size=(80, 3)) > 0).astype(int)
CODES = Y[:, 0] + Y[:, 1]
MODELS = {
    "labels": (MultinomialLogistic(), CODES),
    "names": (MultinomialLogistic(class_weight="balanced"), np.array(["a", "b", "c"])[CODES]),
    "sgd": (MultinomialLogistic(solver="sgd", tol=1e-2, random_state=0), CODES),
    "bce": (MultiLabelLogistic(threshold=[0.2, 0.3, 0.4], pos_weight=np.ones(3)), Y),
    "csr y": (MultiLabelLogistic(loss="softmax"), sparse.csr_array(Y)),
    "csr matrix y": (MultiLabelLogistic(), sparse.csr_matrix(Y.astype(np.float32))),
}
every_model = pytest.mark.parametrize("name", MODELS)


def assert_predicts_the_same(copy, model):
    assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    actual, expected = copy.predict(X), model.predict(X)
    assert type(actual) is type(expected)
    assert actual.dtype == expected.dtype
    if sparse.issparse(actual):
        actual, expected = actual.toarray(), expected.toarray()
    assert_array_equal(actual, expected)


@every_model
def test_pickle_tells_its_version(name):
    model, y = MODELS[name]
    model.fit(X, y)
    data = pickle.dumps(model)
    assert b"skce._estimators" not in data
    assert skce.__version__.encode() in data
    copy = pickle.loads(data)
    assert vars(copy).keys() == vars(model).keys()
    assert_predicts_the_same(copy, model)
    older = data.replace(skce.__version__.encode(), b"0.0.9")
    with pytest.warns(skce.InconsistentVersionWarning, match=r"by skce 0\.0\.9") as caught:
        copy = pickle.loads(older)
    warning = caught[0].message
    assert isinstance(warning, SklearnInconsistentVersionWarning)
    assert warning.estimator_name == type(model).__name__
    assert (warning.original_version, warning.current_version) == ("0.0.9", skce.__version__)
    assert_predicts_the_same(copy, model)


@every_model
def test_skops_needs_the_trust_in_the_public_class_alone(name):
    io = pytest.importorskip("skops.io")
    model, y = MODELS[name]
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    data = io.dumps(pipeline)
    public = f"skce.{type(model).__name__}"
    assert io.get_untrusted_types(data=data) == [public]
    copy = io.loads(data, trusted=[public])
    assert_predicts_the_same(copy, pipeline)
    assert copy[-1].get_params().keys() == model.get_params().keys()


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_takes_the_public_class(tmp_path, monkeypatch):
    pytest.importorskip("skops")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow.sklearn")
    model = MultinomialLogistic().fit(X, CODES)
    mlflow.save_model(
        model,
        tmp_path / "model",
        pip_requirements=["skce"],
        skops_trusted_types=["skce.MultinomialLogistic"],
    )
    assert_predicts_the_same(mlflow.load_model(str(tmp_path / "model")), model)
