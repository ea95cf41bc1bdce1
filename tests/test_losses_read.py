"""One reading of y and of weights for fits, scores, metrics and losses, and what it refuses."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from registry import then_long
from scipy import sparse
from sklearn.model_selection import KFold, cross_val_score

from skce import MultiLabelLogistic, MultinomialLogistic, losses, metrics
from skce.losses._read import column_names, first_missing, read_array, read_targets
from skce.metrics import (
    multilabel_log_loss,
    neg_multilabel_log_loss_scorer,
    neg_soft_log_loss_scorer,
    soft_log_loss,
)

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 4))
CODES = rng.integers(3, size=60)
Y = (rng.random((60, 3)) < 0.4).astype(float)
HOLES = np.where(rng.random((60, 3)) < 0.2, np.nan, Y)
both_estimators = pytest.mark.parametrize("estimator", [MultinomialLogistic, MultiLabelLogistic])


def objects(values):
    return np.array(values, dtype=object)


def with_none(values):
    return np.where(np.isnan(values), None, values > 0)


def pandas(make):
    return lambda values: make(pytest.importorskip("pandas"), values)


def polars(make):
    return lambda values: make(pytest.importorskip("polars"), values)


def pyarrow(make):
    return lambda values: make(pytest.importorskip("pyarrow"), values)


def nullable(dtype):
    def make(pd, values):
        if "pyarrow" in dtype:
            pytest.importorskip("pyarrow")
        return pd.DataFrame(values).astype(dtype)

    return pandas(make)


def sparse_columns(fill):
    def make(pd, values):
        columns = [pd.arrays.SparseArray(column, fill_value=fill) for column in values.T]
        return pd.DataFrame(dict(enumerate(columns)))

    return pandas(make)


FRAMES = {
    **{dtype: nullable(dtype) for dtype in ("boolean", "Int64", "UInt8", "Float64", "Float32")},
    **{dtype: nullable(dtype) for dtype in ("bool[pyarrow]", "int64[pyarrow]", "double[pyarrow]")},
    "sparse, 0": sparse_columns(0.0),
    "sparse, nan": sparse_columns(np.nan),
    "objects": pandas(lambda pd, values: pd.DataFrame(with_none(values))),
    "blanks": pandas(lambda pd, values: pd.DataFrame(with_none(values)).fillna(np.nan)),
    "array of objects": with_none,
    "lists": lambda values: with_none(values).tolist(),
    "polars": polars(lambda pl, values: pl.DataFrame(with_none(values).tolist(), orient="row")),
    "arrow": pyarrow(
        lambda pa, v: pa.table(dict(zip("abc", with_none(v).T.tolist(), strict=True)))
    ),
}
OF_WHOLE_ONLY = {
    "bool and int": pandas(
        lambda pd, v: pd.DataFrame({"a": v[:, 0] > 0, "b": v[:, 1].astype(int), "c": v[:, 2]})
    ),
    "dummies": pandas(lambda pd, v: pd.DataFrame(v.astype(bool)).astype(pd.SparseDtype(bool))),
    "part sparse": pandas(
        lambda pd, v: pd.DataFrame({0: pd.arrays.SparseArray(v[:, 0]), 1: v[:, 1], 2: v[:, 2] > 0})
    ),
    "csr": sparse.csr_array,
    "csc": sparse.csc_matrix,
}


@pytest.mark.parametrize("loss", ["bce", "softmax"])
@pytest.mark.parametrize(
    ("frame", "values"),
    [(frame, values) for frame in FRAMES for values in ("whole", "missing")]
    + [(frame, "whole") for frame in OF_WHOLE_ONLY],
)
def test_every_function_reads_a_frame_like_its_numbers(frame, values, loss):
    plain = Y if values == "whole" else HOLES
    y = {**FRAMES, **OF_WHOLE_ONLY}[frame](plain)
    model = MultiLabelLogistic(loss=loss, random_state=0)
    expected = model.fit(X, plain).coef_
    assert_array_equal(model.fit(X, y).coef_, expected)
    stream = [
        MultiLabelLogistic(loss=loss, random_state=0).partial_fit(X, t).coef_ for t in (plain, y)
    ]
    assert_array_equal(*stream)
    proba, logits = model.predict_proba(X), model.decision_function(X)
    if loss == "bce":
        assert multilabel_log_loss(y, proba) == multilabel_log_loss(plain, proba)
        scores = [neg_multilabel_log_loss_scorer(model, X, t) for t in (plain, y)]
        assert scores[0] == scores[1]
        function = losses.sigmoid_cross_entropy_value_and_grad
        assert_array_equal(function(logits, y)[1], function(logits, plain)[1])
        assert losses.binary_cross_entropy(proba, y) == losses.binary_cross_entropy(proba, plain)
    function = losses.multilabel_softmax_cross_entropy
    assert function(logits, y) == function(logits, plain)
    assert losses.softmax_cross_entropy(logits, y) == losses.softmax_cross_entropy(logits, plain)
    if values == "whole":
        assert model.score(X, y) == model.score(X, plain)


SOFT = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1]])[CODES]


@pytest.mark.parametrize("frame", ["Float64", "sparse, 0", "double[pyarrow]"])
def test_soft_targets_are_read_alike(frame):
    y = FRAMES[frame](SOFT)
    model = MultinomialLogistic(random_state=0).fit(X, y)
    assert_array_equal(model.coef_, MultinomialLogistic(random_state=0).fit(X, SOFT).coef_)
    assert model.score(X, y) == model.score(X, SOFT)
    proba = model.predict_proba(X)
    assert soft_log_loss(y, proba) == soft_log_loss(SOFT, proba)
    assert neg_soft_log_loss_scorer(model, X, y) == -soft_log_loss(SOFT, proba)


def test_frames_are_scored_in_cross_validation():
    y = FRAMES["boolean"](HOLES)
    cv = KFold(3)
    scores = [
        cross_val_score(
            MultiLabelLogistic(random_state=0), X, t, cv=cv, scoring=neg_multilabel_log_loss_scorer
        )
        for t in (y, HOLES)
    ]
    assert_array_equal(*scores)


IDS = {
    "int64": 2**60 + np.arange(3),
    "uint64": 2**63 + np.arange(3).astype("u8"),
    "negative": -(2**60) + np.arange(3),
}
COLUMNS = {
    "array": lambda y: y,
    "list": lambda y: y.tolist(),
    "list of scalars": list,
    "objects": lambda y: objects(y.tolist()),
    "nullable": pandas(lambda pd, y: pd.Series(y).astype("UInt64" if y.dtype == "u8" else "Int64")),
    "arrow": pandas(lambda pd, y: pd.Series(y).astype(f"{y.dtype}[pyarrow]")),
    "category": pandas(lambda pd, y: pd.Series(y).astype("category")),
    "frame": pandas(lambda pd, y: pd.DataFrame({"id": pd.array(y, dtype=str(y.dtype))})),
    "polars": polars(lambda pl, y: pl.Series(y)),
    "pyarrow": pyarrow(lambda pa, y: pa.array(y)),
}


@pytest.mark.filterwarnings("ignore:A column-vector y")
@both_estimators
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("ids", IDS)
def test_neighbouring_ids_stay_apart_and_integers(ids, column, estimator):
    if column == "arrow":
        pytest.importorskip("pyarrow")
    y = COLUMNS[column](IDS[ids][CODES])
    plain = estimator(random_state=0).fit(X, CODES)
    model = estimator(random_state=0).fit(X, y)
    assert_array_equal(model.classes_, IDS[ids])
    assert model.classes_.dtype.kind in "iu"
    assert_array_equal(model.coef_, plain.coef_)
    assert model.score(X, y) == plain.score(X, CODES)
    assert model.score(X, IDS[ids][(CODES + 1) % 3]) == plain.score(X, (CODES + 1) % 3)


@both_estimators
@pytest.mark.parametrize("form", ["objects", "nullable", "arrow", "polars", "category"])
def test_booleans_stay_booleans(form, estimator):
    y = CODES > 0
    column = {
        "objects": lambda: objects(y.tolist()),
        "nullable": lambda: pytest.importorskip("pandas").Series(y, dtype="boolean"),
        "category": lambda: pytest.importorskip("pandas").Series(y, dtype="category"),
        "arrow": lambda: pytest.importorskip("pyarrow").array(y),
        "polars": lambda: pytest.importorskip("polars").Series(y),
    }[form]()
    assert estimator().fit(X, column).classes_.dtype == bool


DTYPES = ["int64", "uint64", "longdouble"]


@both_estimators
@pytest.mark.parametrize("of_y", DTYPES)
@pytest.mark.parametrize("of_classes", [*DTYPES, "Int64"])
def test_labels_are_found_among_classes_of_another_dtype(of_classes, of_y, estimator):
    if "longdouble" in (of_classes, of_y) and np.finfo(np.longdouble).nmant < 60:
        pytest.skip("long double is no wider than double")
    ids = 2**60 + np.arange(3)
    classes = ids.astype(of_classes.lower())
    if of_classes == "Int64":
        classes = pytest.importorskip("pandas").array(classes, dtype="Int64")
    model, plain = estimator(random_state=0), estimator(random_state=0)
    model.partial_fit(X, ids.astype(of_y)[CODES], classes=classes)
    assert_array_equal(model.coef_, plain.partial_fit(X, CODES, classes=range(3)).coef_)
    model.partial_fit(X, ids.astype(of_y)[CODES], classes=ids.astype(of_y))


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


def test_class_weight_is_looked_up_by_value():
    ids = 2**60 + np.arange(3)
    weights = {2**60: 1, 2**60 + 1: 3, np.uint64(2**60 + 2): 5}
    model = MultinomialLogistic(class_weight=weights).fit(X, ids.astype("u8")[CODES])
    expected = MultinomialLogistic(class_weight={0: 1, 1: 3, 2: 5}).fit(X, CODES)
    assert_array_equal(model.coef_, expected.coef_)


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


def test_mask_that_hides_nothing_is_no_mask():
    open_mask = np.ma.masked_array(Y, mask=False)
    assert_array_equal(
        MultiLabelLogistic().fit(X, open_mask).coef_, MultiLabelLogistic().fit(X, Y).coef_
    )


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


@pytest.mark.parametrize("loss", ["bce", "softmax"])
@pytest.mark.parametrize("values", ["missing", "soft", "all on", "all off", "all missing"])
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_dense_column_that_cannot_be_classes_is_an_indicator(values, loss):
    column = {
        "missing": HOLES[:, :1],
        "soft": 0.8 * Y[:, :1] + 0.1,
        "all on": np.ones((60, 1), int),
        "all off": np.zeros((60, 1), bool),
        "all missing": np.full((60, 1), np.nan),
    }[values]
    dense, csr = (
        MultiLabelLogistic(loss=loss).fit(X, t) for t in (column, sparse.csr_array(column))
    )
    assert_array_equal(dense.coef_, csr.coef_)
    assert_array_equal(dense.predict_proba(X), csr.predict_proba(X))
    assert dense.predict(X).shape == (60, 1)
    if values in ("all on", "all off"):
        assert (
            dense.score(X, column)
            == csr.score(X, column)
            == float(dense.predict(X).all() == column.all())
        )
    stream = MultiLabelLogistic(loss=loss).partial_fit(X, column).partial_fit(X, Y[:, :1])
    assert stream.predict(X).shape == (60, 1)


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("form", ["column", "csr", "labels", "soft", "constant", "two"])
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_scorer_takes_one_label_or_two(form):
    y = {
        "column": Y[:, :1],
        "csr": sparse.csr_array(Y[:, :1]),
        "labels": Y[:, 0],
        "soft": 0.8 * Y[:, :1] + 0.1,
        "constant": np.ones((60, 1)),
        "two": Y[:, :2],
    }[form]
    model = MultiLabelLogistic().fit(X, y)
    dense = (y.toarray() if sparse.issparse(y) else y).reshape(60, -1)
    proba = model.predict_proba(X)[:, -dense.shape[1] :]
    expected = -multilabel_log_loss(dense, proba)
    assert neg_multilabel_log_loss_scorer(model, X, y) == expected
    if form != "csr":  # which scikit-learn takes in fits only
        scores = cross_val_score(
            MultiLabelLogistic(), X, y, cv=KFold(3), scoring=neg_multilabel_log_loss_scorer
        )
        assert np.isfinite(scores).all()


def test_soft_scorer_takes_two_classes():
    P = np.column_stack([SOFT[:, 0], 1 - SOFT[:, 0]])
    model = MultinomialLogistic().fit(X, P)
    assert neg_soft_log_loss_scorer(model, X, P) == -soft_log_loss(P, model.predict_proba(X))


@both_estimators
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_no_columns_are_named(container, estimator):
    with pytest.raises(ValueError, match=r"\by must have at least one column"):
        estimator().fit(X, container(np.zeros((60, 0))))


NAMES = ["dog", "ant", "cat"]
NAMED = {
    "pandas": pandas(lambda pd, values, names=NAMES: pd.DataFrame(values, columns=names)),
    "polars": polars(lambda pl, values: pl.DataFrame(values, schema=NAMES)),
    "pyarrow": pyarrow(lambda pa, v: pa.table(dict(zip(NAMES, v.T.tolist(), strict=True)))),
}


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize(
    ("estimator", "values"), [(MultiLabelLogistic, Y), (MultinomialLogistic, np.eye(3)[CODES])]
)
def test_label_names_are_kept_and_their_order_asked_for(estimator, values, kind):
    frame = NAMED[kind](values)
    turned = frame[NAMES[::-1]] if kind != "pyarrow" else frame.select(NAMES[::-1])
    model = estimator().fit(X, frame)
    assert model.label_names_.tolist() == NAMES
    model.partial_fit(X, frame)
    model.partial_fit(X, values)
    assert model.score(X, frame) == model.score(X, values)
    before = model.coef_.copy()
    for method in ("score", "partial_fit"):
        with pytest.raises(ValueError, match=r"\by\b.*order.*dog.*cat"):
            getattr(model, method)(X, turned)
    assert_array_equal(model.coef_, before)
    model.fit(X, turned)
    assert model.label_names_.tolist() == NAMES[::-1]
    assert not hasattr(model.fit(X, values), "label_names_")
    stream = estimator().partial_fit(X, frame)
    with pytest.raises(ValueError, match=r"\by\b.*order"):
        stream.partial_fit(X, turned)


def test_names_that_are_numbers_are_names_too():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(Y, columns=[7, 5, 9])
    model = MultiLabelLogistic().fit(X, frame)
    with pytest.raises(ValueError, match=r"\by\b.*order"):
        model.score(X, frame[[5, 7, 9]])
    assert not hasattr(MultiLabelLogistic().fit(X, pd.DataFrame(Y)), "label_names_")
    assert column_names(pd.DataFrame(Y, columns=["columns", "sparse", "column_names"])).shape == (
        3,
    )


RELATIVE = np.where(CODES == 0, 1.0, 2.0)
SCALES = [5e-324, 2.0**-1070, 1e-200, 1e200, 0.5 * np.finfo(float).max]


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "sdca", "sgd", "adam"])
@pytest.mark.parametrize("scale", then_long(SCALES[::4] + SCALES[1:4], first=2))
@pytest.mark.parametrize("where", ["rows", "classes", "both", "balanced", "opposite"])
def test_only_ratios_of_weights_matter_in_fit(where, scale, solver):
    params = {"solver": solver, "random_state": 0}
    by_class = {0: scale, 1: 2 * scale, 2: 2 * scale}
    expected = MultinomialLogistic(**params)
    model, weights, plain = MultinomialLogistic(**params), RELATIVE * scale, RELATIVE
    if where in ("classes", "both"):
        model.set_params(class_weight=by_class)
        weights, plain = np.full(60, scale if where == "both" else 1.0), RELATIVE
    elif where == "balanced":
        model.set_params(class_weight="balanced")
        expected.set_params(class_weight="balanced")
    elif where == "opposite":  # products of 1, whose factors lie 1e200 apart
        model.set_params(class_weight={0: 1e100, 1: 1e-100, 2: 1e-100})
        weights, plain = np.where(CODES == 0, 1e-100, 1e100) * RELATIVE, RELATIVE
    expected.fit(X, CODES, sample_weight=plain)
    model.fit(X, CODES, sample_weight=weights)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-7, atol=1e-9)
    assert model.objective_ == pytest.approx(expected.objective_, rel=1e-12)
    weighted = model.score(X, CODES, sample_weight=weights)
    if where in ("rows", "balanced"):
        assert weighted == pytest.approx(expected.score(X, CODES, sample_weight=plain), rel=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_only_ratios_of_weights_matter_to_soft_and_multi_label_fits(scale):
    soft = MultinomialLogistic(class_weight={0: scale, 1: 2 * scale, 2: scale}).fit(X, SOFT)
    expected = MultinomialLogistic(class_weight={0: 1, 1: 2, 2: 1}).fit(X, SOFT)
    assert_allclose(soft.coef_, expected.coef_, rtol=1e-7)
    for loss in ("bce", "softmax"):
        weighted = MultiLabelLogistic(loss=loss).fit(X, Y, sample_weight=RELATIVE * scale)
        expected = MultiLabelLogistic(loss=loss).fit(X, Y, sample_weight=RELATIVE)
        assert_allclose(weighted.coef_, expected.coef_, rtol=1e-7, atol=1e-9)
        assert weighted.mean_labels_ == pytest.approx(expected.mean_labels_, rel=1e-12)


@pytest.mark.parametrize("name", ["sample_weight", "class_weight"])
@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e160, 1e308])
def test_absolute_weights_of_streams_lie_where_their_squares_do(scale, name):
    """Beyond, the model of "adam" was zero without a word."""
    by_class = dict.fromkeys(range(3), scale) if name == "class_weight" else None
    weights = np.full(60, scale if name == "sample_weight" else 1.0)
    model = MultinomialLogistic(class_weight=by_class)
    with pytest.raises(ValueError, match=rf"{name}.* finite sum"):
        model.partial_fit(X, CODES, sample_weight=weights)
    assert not hasattr(model, "coef_")


def test_sum_of_a_row_that_overflows_is_named():
    for loss in ("softmax", "bce"):
        with pytest.raises(ValueError, match=r"\by\b"):
            MultiLabelLogistic(loss=loss).fit(X, np.full((60, 3), 1e308))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"\by\b"):
            MultinomialLogistic().fit(X, np.full((60, 3), 1e308))


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
def test_float32_of_the_other_byte_order_stays_float32(storage):
    swapped = X.astype(np.dtype(np.float32).newbyteorder())
    A = storage(swapped) if storage is np.asarray else storage(X.astype(np.float32))
    if storage is not np.asarray:
        A.data = A.data.astype(swapped.dtype)
    plain = MultinomialLogistic().fit(X.astype(np.float32), CODES)
    model = MultinomialLogistic().fit(A, CODES)
    assert model.coef_.dtype == np.float32
    assert_allclose(model.coef_, plain.coef_, rtol=1e-4, atol=1e-6)
    assert model.predict_proba(A).dtype == np.float32
    assert losses.softmax(swapped).dtype == np.float32
    assert losses.softmax_cross_entropy_value_and_grad(swapped, CODES)[1].dtype == np.float32


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, None, False], [1, np.nan, 0]),
        ([1, None], [1, np.nan]),
        ([0.5, None, 2], [0.5, np.nan, 2]),
        ([[True, np.nan], [False, 1]], [[1, np.nan], [0, 1]]),
    ],
)
def test_numbers_among_objects_are_read_with_their_gaps(values, expected):
    for given in (values, objects(values)):
        assert_array_equal(read_targets("y", given), np.array(expected, float))


def test_arrays_and_sparse_matrices_are_not_copied():
    for values in (X, CODES, sparse.csr_array(Y), np.asfortranarray(X)):
        assert read_array("X", values) is values
    assert first_missing(np.array(["a", "b"])) is None
    assert first_missing(np.array(["2020-01-01", "NaT"], "M8[D]")) == 1
