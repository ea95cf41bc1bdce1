"""One reading of y for fits, scores, metrics and losses."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from read_cases import CODES, SOFT, X, Y, both_estimators, objects, pandas, polars, rng
from scipy import sparse
from sklearn.model_selection import KFold, cross_val_score

from skce import MultiLabelLogistic, MultinomialLogistic, losses
from skce.losses._read import column_names, first_missing, read_array, read_targets
from skce.metrics import (
    multilabel_log_loss,
    neg_multilabel_log_loss_scorer,
    neg_soft_log_loss_scorer,
    soft_log_loss,
)

HOLES = np.where(rng.random((60, 3)) < 0.2, np.nan, Y)


def with_none(values):
    return np.where(np.isnan(values), None, values > 0)


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


def test_class_weight_is_looked_up_by_value():
    ids = 2**60 + np.arange(3)
    weights = {2**60: 1, 2**60 + 1: 3, np.uint64(2**60 + 2): 5}
    model = MultinomialLogistic(class_weight=weights).fit(X, ids.astype("u8")[CODES])
    expected = MultinomialLogistic(class_weight={0: 1, 1: 3, 2: 5}).fit(X, CODES)
    assert_array_equal(model.coef_, expected.coef_)


def test_mask_that_hides_nothing_is_no_mask():
    open_mask = np.ma.masked_array(Y, mask=False)
    assert_array_equal(
        MultiLabelLogistic().fit(X, open_mask).coef_, MultiLabelLogistic().fit(X, Y).coef_
    )


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
