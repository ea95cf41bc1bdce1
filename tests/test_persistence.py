"""Models in files: pickles that tell their version, skops with public types, MLflow."""

import pickle
from pathlib import Path

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
def test_mlflow_logs_a_model_that_is_told_to_trust_the_public_class(tmp_path, monkeypatch):
    pytest.importorskip("skops")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    flavor = pytest.importorskip("mlflow.sklearn")
    model = MultinomialLogistic().fit(X, CODES)
    mlflow.set_tracking_uri(f"file:{tmp_path}")
    named = {"name": "model", "pip_requirements": ["skce"]}
    with mlflow.start_run(experiment_id=mlflow.create_experiment("skce")):
        # its default trusts the classes of scikit-learn and of no other package
        message = r"set the 'skops_trusted_types'.*\['skce.MultinomialLogistic'\]"
        with pytest.raises(mlflow.MlflowException, match=message):
            flavor.log_model(model, **named)
        info = flavor.log_model(model, skops_trusted_types=["skce.MultinomialLogistic"], **named)
    assert_predicts_the_same(flavor.load_model(info.model_uri), model)
    assert_array_equal(mlflow.pyfunc.load_model(info.model_uri).predict(X), model.predict(X))


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("solver", ["auto", "sgd", "adagrad", "adam"])
def test_stream_goes_on_from_a_file_with_the_same_bits(solver, storage):
    half = slice(40), slice(40, None)
    model = MultinomialLogistic(solver=solver).partial_fit(storage(X[half[0]]), CODES[half[0]])
    data = pickle.dumps(model)
    assert b"skce._solvers" not in data
    copies = [pickle.loads(data)]
    io = pytest.importorskip("skops.io")
    data = io.dumps(model)
    assert io.get_untrusted_types(data=data) == ["skce.MultinomialLogistic"]
    copies.append(io.loads(data, trusted=["skce.MultinomialLogistic"]))
    model.partial_fit(storage(X[half[1]]), CODES[half[1]])
    for copy in copies:
        copy.partial_fit(storage(X[half[1]]), CODES[half[1]])
        assert_array_equal(copy.coef_, model.coef_)
        assert_array_equal(copy.intercept_, model.intercept_)


FILES = Path(__file__).parent / "models"


def kept_models():
    """The models whose pickle is kept for each version, with their probabilities."""
    fitted = [model.fit(X, y) for model, y in MODELS.values()]
    fitted.append(MultinomialLogistic().partial_fit(X, CODES))
    fitted.append(MultiLabelLogistic().partial_fit(sparse.csr_array(X), Y))
    return [(model, model.predict_proba(X)) for model in fitted]


@pytest.mark.parametrize("file", sorted(FILES.glob("*.pickle")), ids=lambda file: file.stem)
@pytest.mark.filterwarnings("ignore::skce.InconsistentVersionWarning")
def test_pickle_of_each_version_is_loaded(file):
    models = pickle.loads(file.read_bytes())
    for model, proba in models:
        # what columns of CSR have missed is made good by the steps of this version
        np.testing.assert_allclose(model.predict_proba(X), proba, rtol=1e-3)
        assert model.predict(X).shape[0] == len(X)
        form = getattr(model, "_form", None)
        model.partial_fit(X, model.predict(X) if form is None else Y)


def test_pickle_of_this_version_is_kept():
    assert (FILES / f"{skce.__version__}.pickle").is_file()


if __name__ == "__main__":  # keeps the pickle of a version that is released
    FILES.mkdir(exist_ok=True)
    (FILES / f"{skce.__version__}.pickle").write_bytes(pickle.dumps(kept_models()))
