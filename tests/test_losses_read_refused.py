"""What no reading of y, X and weights takes, in one sentence that names it."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from read_cases import CODES, SOFT, X, Y, both_estimators, objects, pandas, polars, rng
from scipy import sparse

from skce import MultiLabelLogistic, MultinomialLogistic, losses, metrics
from skce.metrics import multilabel_log_loss, neg_soft_log_loss_scorer, soft_log_loss


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([2.0**53] * 60, 2**53 + 1 + np.arange(3)),
        (np.full(60, -1), np.array([0, 1, 2**64 - 1], np.uint64)),
        (np.full(60, 2**64 - 1, np.uint64), [-1, 0, 1]),
        (np.full(60, 2**53 + 1), [2.0**53, 2.0**53 + 2]),
        (np.full(60, 2), [False, True]),
        (["1"] * 60, [0, 1]),
        (np.ones(60, int), ["0", "1"]),
    ],
)
def test_label_that_a_cast_makes_a_class_is_none(y, classes):
    with pytest.raises(ValueError, match=r"\by must hold"):
        MultinomialLogistic().partial_fit(X, y, classes=classes)


NO_LABELS = {
    "integers beside floats": [2**53 + 1, 0.5],
    "no one integer dtype": [2**64 - 1, -1],
    "numbers beside text": objects([1, "a"]),
    "an integer in a list of text": ["a", 1],
    "a number and text": [0.5, "a"],
    "a boolean and text": ["a", True],
    "bytes and text": ["a", b"b"],
}


@pytest.mark.parametrize("case", NO_LABELS)
def test_labels_that_no_dtype_holds_are_refused(case):
    y = list(NO_LABELS[case]) * 30
    with pytest.raises(ValueError, match=r"\by must hold labels of one dtype"):
        MultinomialLogistic().fit(X, objects(y) if case == "numbers beside text" else y)
    if isinstance(y[0], str):
        model = MultinomialLogistic().fit(X, np.array(["a", "b", "1"])[CODES])
        with pytest.raises(ValueError, match=r"\by must hold labels"):
            model.score(X, y)
        with pytest.raises(ValueError, match="classes must hold labels of one dtype"):
            MultinomialLogistic().partial_fit(X, np.array(["a", "b", "1"])[CODES], classes=y)


MISSING = {"NaN": np.nan, "None": None}
TEXT = {
    "list": list,
    "objects": objects,
    "StringDType": lambda y: np.array(
        [v if isinstance(v, str) else None for v in y], np.dtypes.StringDType(na_object=None)
    ),
    "Series": pandas(lambda pd, y: pd.Series(y)),
    "string": pandas(lambda pd, y: pd.Series(y, dtype="string")),
    "category": pandas(lambda pd, y: pd.Series(y, dtype="category")),
    "NA": pandas(lambda pd, y: objects([pd.NA if not isinstance(v, str) else v for v in y])),
    "polars": polars(lambda pl, y: pl.Series([v if isinstance(v, str) else None for v in y])),
    "Int64": pandas(lambda pd, y: pd.array([ord(v) if v == v and v else None for v in y], "Int64")),
}


@pytest.mark.parametrize("place", [0, 30])
@pytest.mark.parametrize("value", MISSING)
@pytest.mark.parametrize("form", TEXT)
def test_missing_label_is_named_with_its_row(form, value, place):
    labels = np.array(["a", "b", "c"])[CODES].tolist()
    labels[place] = MISSING[value]
    y = TEXT[form](labels)
    model = MultinomialLogistic().fit(X, CODES)
    for call in (
        model.fit,
        model.score,
        MultinomialLogistic().partial_fit,
        MultiLabelLogistic().fit,
    ):
        with pytest.raises(ValueError, match=rf"\by\b.*missing.*row {place}\."):
            call(X, y)


@both_estimators
@pytest.mark.parametrize("value", [1, "a", np.array(1), None])
def test_lone_label_is_refused(value, estimator):
    model = estimator().fit(X, CODES)
    for method in ("fit", "partial_fit", "score"):
        with pytest.raises(ValueError, match=r"\by\b"):
            getattr(model, method)(X[:1], value)


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
@pytest.mark.parametrize("container", ["list", "Series", "equal lengths"])
def test_lists_of_labels_want_a_binarizer(container, kind):
    y = [kind(["a", "b"][: 1 + i % 2]) for i in range(60)]
    if container == "equal lengths":
        y = [kind(["a", "bc"[i % 2]]) for i in range(60)]
    elif container == "Series":
        y = pytest.importorskip("pandas").Series(y)
    calls = [lambda: MultiLabelLogistic().fit(X, y)]
    if container != "equal lengths":
        calls.append(lambda: MultiLabelLogistic().fit(X, Y).score(X, y))
        calls.append(lambda: losses.sigmoid_cross_entropy(X, y))
    for call in calls:
        with pytest.raises(ValueError, match="MultiLabelBinarizer"):
            call()


def masked(values):
    return np.ma.masked_array(
        values, mask=np.arange(np.size(values)).reshape(np.shape(values)) == 1
    )


def masked_rows(values):
    return [np.ma.masked_array(row, mask=np.arange(len(row)) == 1) for row in values]


PROBA = np.full((60, 3), 1 / 3)
CALLS = {
    "X": [
        lambda v: MultinomialLogistic().fit(v, CODES),
        lambda v: MultinomialLogistic().fit(X, CODES).predict_proba(v),
    ],
    "y": [
        lambda v: MultiLabelLogistic().fit(X, v),
        lambda v: MultiLabelLogistic().partial_fit(X, v),
        lambda v: MultiLabelLogistic().fit(X, Y).score(X, v),
    ],
    "sample_weight": [
        lambda v: MultiLabelLogistic().fit(X, Y, sample_weight=v),
        lambda v: MultiLabelLogistic().partial_fit(X, Y, sample_weight=v),
        lambda v: MultiLabelLogistic().fit(X, Y).score(X, Y, sample_weight=v),
        lambda v: losses.sigmoid_cross_entropy(Y, Y, sample_weight=v),
        lambda v: multilabel_log_loss(Y, PROBA, sample_weight=v),
    ],
    "classes": [lambda v: MultinomialLogistic().partial_fit(X, CODES, classes=v)],
    "pos_weight": [
        lambda v: MultiLabelLogistic(pos_weight=v).fit(X, Y),
        lambda v: losses.sigmoid_cross_entropy(Y, Y, pos_weight=v),
    ],
    "threshold": [lambda v: MultiLabelLogistic(threshold=v).fit(X, Y)],
    "targets": [
        lambda v: losses.softmax_cross_entropy(Y, v),
        lambda v: losses.sigmoid_cross_entropy(Y, v),
        lambda v: losses.multilabel_softmax_cross_entropy(Y, v),
        lambda v: losses.cross_entropy(PROBA, v),
        lambda v: losses.binary_cross_entropy(PROBA, v),
    ],
    "logits": [
        losses.softmax,
        losses.log_sigmoid,
        lambda v: losses.softmax_cross_entropy(v, CODES),
    ],
    "proba": [lambda v: losses.cross_entropy(v, CODES)],
    "class_weight": [lambda v: losses.softmax_cross_entropy(Y, CODES, class_weight=v)],
    "y_true": [lambda v: multilabel_log_loss(v, PROBA), lambda v: soft_log_loss(v, PROBA)],
    "y_proba": [lambda v: multilabel_log_loss(Y, v), lambda v: soft_log_loss(SOFT, v)],
}
SHAPES = {
    "X": X,
    "sample_weight": np.ones(60),
    **dict.fromkeys(("classes", "pos_weight", "threshold", "class_weight"), np.arange(3)),
}


class NeedsGrad:
    """As torch's tensors with a gradient."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("wrong", ["masked", "masked rows", "ragged", "tensor with grad"])
def test_argument_that_is_no_array_is_named(wrong, name):
    values = SHAPES.get(name, Y)
    if wrong == "masked rows" and values.ndim == 1:
        pytest.skip("has no rows")
    value = {
        "masked": lambda: masked(values),
        "masked rows": lambda: masked_rows(values),
        "ragged": lambda: [[1.0], [1.0, 2.0]] + [[1.0]] * 58,
        "tensor with grad": NeedsGrad,
    }[wrong]()
    message = "mask" if "masked" in wrong else {"ragged": "unequal"}.get(wrong, "grad")
    for call in CALLS[name]:
        with pytest.raises(ValueError, match=rf"^{name} .*{message}"):
            call(value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: MultinomialLogistic().fit(np.eye(4), np.full(4, 3)),
        lambda: MultinomialLogistic().fit(np.eye(4), np.full(4, np.str_("q"), object)),
        lambda: MultinomialLogistic().fit(np.eye(4), np.int64(3)),
        lambda: MultinomialLogistic().fit(np.eye(4), list("abab")).score(np.eye(4), np.str_("a")),
        lambda: losses.softmax(np.eye(4), n_threads=np.int64(-1)),
        lambda: losses.softmax_cross_entropy(np.eye(4), range(4), label_smoothing=np.float64(2)),
        lambda: losses.softmax_cross_entropy(np.eye(4), range(4), ignore_index=np.float64(2)),
        lambda: losses.softmax_cross_entropy(np.eye(4), range(4), reduction=np.str_("x")),
        lambda: metrics.precision_at_k(np.eye(4), np.eye(4), k=np.int64(9)),
    ],
)
def test_messages_show_plain_values(call):
    with pytest.raises(ValueError, match="got ") as raised:
        call()
    assert "np." not in str(raised.value)


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("pointer", [np.int32, np.int64])
def test_csr_of_the_caller_keeps_its_arrays(pointer, index, container):
    """Values, dtypes and the very arrays, whatever the types of indices and indptr."""

    def csr(dense):
        matrix = container(dense)
        matrix.indices, matrix.indptr = matrix.indices.astype(index), matrix.indptr.astype(pointer)
        return matrix

    A, B = csr(X * (X > 0)), csr(Y)
    before = [(m, dict(m.__dict__), [m.data.copy(), m.indices.copy()]) for m in (A, B)]
    weights = rng.random(60)
    kept = weights.copy()
    for model in (MultiLabelLogistic(), MultiLabelLogistic(loss="softmax", solver="sgd")):
        model.fit(A, B, sample_weight=weights).partial_fit(A, B)
        model.score(A, B, sample_weight=weights)
        for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
            getattr(model, method)(A)
    MultinomialLogistic().fit(A, csr(np.eye(3)[CODES])).score(A, CODES)
    multilabel_log_loss(B, PROBA, sample_weight=weights)
    losses.sigmoid_cross_entropy(X[:, :3], B, sample_weight=weights)
    assert_array_equal(weights, kept)
    for matrix, attributes, arrays in before:
        for name in ("data", "indices", "indptr"):
            assert getattr(matrix, name) is attributes.get(name, getattr(matrix, name))
        assert matrix.indices.dtype == index
        assert matrix.indptr.dtype == pointer
        assert_array_equal(matrix.data, arrays[0])
        assert_array_equal(matrix.indices, arrays[1])


@pytest.mark.parametrize("wrong", ["indicator", "shares of 1.4", "all zero", "proba"])
def test_soft_log_loss_wants_rows_that_sum_to_1(wrong):
    targets, proba = SOFT, PROBA
    if wrong == "proba":
        proba = np.ones((60, 3))
    else:
        targets = {"indicator": Y, "shares of 1.4": SOFT * 1.4, "all zero": SOFT * 0}[wrong]
        targets = np.minimum(targets, 1)
    name = "y_proba" if wrong == "proba" else "y_true"
    with pytest.raises(ValueError, match=rf"^{name} .*sum to 1.*row \d"):
        soft_log_loss(targets, proba)
    model = MultiLabelLogistic().fit(X, Y)
    with pytest.raises(ValueError, match="sum to 1"):
        neg_soft_log_loss_scorer(model, X, targets)


@both_estimators
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_no_columns_are_named(container, estimator):
    with pytest.raises(ValueError, match=r"\by must have at least one column"):
        estimator().fit(X, container(np.zeros((60, 0))))


def test_sum_of_a_row_that_overflows_is_named():
    for loss in ("softmax", "bce"):
        with pytest.raises(ValueError, match=r"\by\b"):
            MultiLabelLogistic(loss=loss).fit(X, np.full((60, 3), 1e308))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"\by\b"):
            MultinomialLogistic().fit(X, np.full((60, 3), 1e308))
