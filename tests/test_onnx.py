"""The ONNX graphs say in onnxruntime what the estimators say."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skce import (
    MultiLabelLogistic,
    MultiLabelLogisticCV,
    MultinomialLogistic,
    MultinomialLogisticCV,
)

pytest.importorskip("skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("skce.onnx")
from skl2onnx import to_onnx  # noqa: E402

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 5))
Y = (X @ rng.normal(size=(5, 4)) + rng.normal(size=(120, 4)) > 0.5).astype(int)
CODES = (X @ rng.normal(size=(5, 3)) + rng.normal(size=(120, 3))).argmax(axis=1)
NAMES = np.array(["red", "green", "blue"])[CODES]
MISSING = np.where(rng.random(Y.shape) < 0.2, np.nan, Y)
MISSING[:, 2] = np.nan
CASES = {
    "numbers": (MultinomialLogistic(), 10 * CODES - 10),
    "chosen penalty": (MultinomialLogisticCV([1e-2, 1e-3], cv=2), CODES),
    "chosen penalty, top k": (MultiLabelLogisticCV([1e-2, 1e-3], cv=2, top_k=2), Y),
    "names": (MultinomialLogistic(), NAMES),
    "objects": (MultinomialLogistic(), NAMES.astype(object)),
    "two names": (MultinomialLogistic(), np.where(CODES, "yes", "no")),
    "two booleans": (MultinomialLogistic(), CODES > 0),
    "shares": (MultinomialLogistic(), 0.7 * np.eye(3)[CODES] + 0.1),
    "no intercept": (MultinomialLogistic(fit_intercept=False), CODES),
    "sparse coefficients": (MultinomialLogistic(alpha=1e-2, l1_ratio=1.0), CODES),
    "bce": (MultiLabelLogistic(), Y),
    "bce, csr y": (MultiLabelLogistic(), sparse.csr_array(Y)),
    "bce, thresholds": (MultiLabelLogistic(threshold=[0.1, 0.4, 0.5, 0.8]), Y),
    "bce, one threshold": (MultiLabelLogistic(threshold=0.3), Y),
    "bce, learnt thresholds": (MultiLabelLogistic(threshold="f1", random_state=0), Y),
    "1/M, learnt thresholds": (
        MultiLabelLogistic(loss="softmax", threshold="f1", random_state=0),
        Y,
    ),
    "top k": (MultiLabelLogistic(top_k=2), Y),
    "top k, missing": (MultiLabelLogistic(loss="softmax", top_k=4), MISSING),
    "1/M": (MultiLabelLogistic(loss="softmax"), Y),
    "1/M, threshold": (MultiLabelLogistic(loss="softmax", threshold=0.3), Y),
    "missing": (MultiLabelLogistic(), MISSING),
    "one label": (MultiLabelLogistic(), sparse.csr_array(Y[:, :1])),
    "one-vs-rest": (MultiLabelLogistic(), NAMES),
    "one-vs-rest of two": (MultiLabelLogistic(), NAMES == "red"),
    "softmax of labels": (MultiLabelLogistic(loss="softmax"), NAMES),
    "softmax of two labels": (MultiLabelLogistic(loss="softmax"), NAMES == "red"),
}
every_case = pytest.mark.parametrize("case", CASES)


def outputs(graph, rows):
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert [output.name for output in session.get_outputs()] == ["label", "probabilities"]
    return session.run(None, {session.get_inputs()[0].name: rows})


def assert_says_the_same(model, graph, rows, dtype):
    label, proba = outputs(graph, rows)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert proba.dtype == dtype
    assert_allclose(proba, model.predict_proba(rows), rtol=tolerance, atol=tolerance)
    expected = model.predict(rows)
    expected = expected.toarray() if sparse.issparse(expected) else expected
    assert_array_equal(label, expected)


@every_case
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_graph_says_what_the_model_says(case, dtype, storage):
    model, y = CASES[case]
    model.fit(storage(X.astype(dtype)), y)
    if case == "sparse coefficients":
        model.sparsify()
    rows = X.astype(dtype)
    assert_says_the_same(model, to_onnx(model, rows[:1]), rows, dtype)


@every_case
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_model_in_double_takes_rows_of_float32(case):
    model, y = CASES[case]
    model.fit(X, y)
    rows = X.astype(np.float32)
    assert_says_the_same(model, to_onnx(model, rows[:1]), rows, np.float32)


@pytest.mark.parametrize("case", ["names", "bce", "1/M"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pipeline_is_converted(case, dtype):
    model, y = CASES[case]
    rows = (100 + 3 * X).astype(dtype)
    pipeline = make_pipeline(StandardScaler(), model).fit(rows, y)
    graph = to_onnx(pipeline, rows[:1], options={id(model): {"zipmap": False}})
    label, proba = outputs(graph, rows)
    assert_allclose(proba, pipeline.predict_proba(rows), rtol=1e-4, atol=1e-5)
    assert (label == pipeline.predict(rows)).mean() > 0.99


def test_columns_far_from_zero_are_taken_in_double():
    rows = (1e4 + X).astype(np.float32)
    model = MultinomialLogistic().fit(rows, CODES)
    assert model.intercept_.dtype == np.float64
    assert_says_the_same(model, to_onnx(model, rows[:1]), rows, np.float32)


def test_labels_beyond_int64_are_refused():
    model = MultinomialLogistic().fit(X, CODES.astype(np.uint64) + np.uint64(2**63))
    with pytest.raises(ValueError, match="classes must fit int64 in ONNX, got 922337203685477581"):
        to_onnx(model, X[:1])
