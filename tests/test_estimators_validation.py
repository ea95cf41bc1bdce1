"""What both estimators check and convert before a kernel sees it; y is in the tests of each."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from skce import MultiLabelLogistic, MultinomialLogistic
from skce._estimators.classes import class_weights, classes_of, encode_labels
from skce._estimators.validation import label_rows, probability_rows

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 4))
LABELS = rng.integers(3, size=60)
SHARES = rng.dirichlet(np.ones(3), size=60)
INDICATOR = (rng.random((60, 3)) < 0.4).astype(float)

ESTIMATORS = {
    "softmax": (MultinomialLogistic, {}, LABELS),
    "sigmoid": (MultinomialLogistic, {}, LABELS % 2),
    "bce": (MultiLabelLogistic, {}, INDICATOR),
    "1/M": (MultiLabelLogistic, {"loss": "softmax"}, INDICATOR),
}
every_estimator = pytest.mark.parametrize("name", ESTIMATORS)
every_method = pytest.mark.parametrize("method", ["fit", "partial_fit"])
both_classes = pytest.mark.parametrize("estimator", [MultinomialLogistic, MultiLabelLogistic])


def model_and_y(name, **params):
    estimator, options, y = ESTIMATORS[name]
    return estimator(random_state=0, **options, **params), y


def shuffled_csr(a):
    """Return a as CSR with unsorted indices, explicit zeros and duplicates."""
    n, k = a.shape
    columns = np.tile(np.r_[np.arange(k)[::-1], 0], n)
    values = np.hstack([a[:, ::-1], 0 * a[:, :1]]).ravel()
    return sparse.csr_array((values, columns, (k + 1) * np.arange(n + 1)), shape=a.shape)


def arrays_of(a):
    return (a.data, a.indices, a.indptr) if sparse.issparse(a) else (a,)


STORAGE = {
    "dense": lambda a: a.copy(),
    "fortran": lambda a: a.copy(order="F"),
    "csr": sparse.csr_array,
    "csc": sparse.csc_array,
    "shuffled csr": shuffled_csr,
}
TARGETS = {
    "softmax": [LABELS, np.eye(3)[LABELS], SHARES, SHARES * 1.0009],
    "sigmoid": [LABELS % 2, np.eye(2)[LABELS % 2], SHARES[:, :2] / SHARES[:, :2].sum(1)[:, None]],
    "bce": [INDICATOR, SHARES, np.where(SHARES > 0.5, np.nan, INDICATOR)],
    "1/M": [INDICATOR, 3 * SHARES, np.where(SHARES > 0.5, np.nan, INDICATOR)],
}


@every_method
@every_estimator
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("storage", STORAGE)
def test_inputs_may_be_read_only_and_are_never_written(storage, dtype, name, method):
    options = {"class_weight": {0: 2.0, 1: 3.0}} if name in ("softmax", "sigmoid") else {}
    for target in TARGETS[name]:
        target = target.astype(dtype)
        inputs = [STORAGE[storage](X.astype(dtype)), target.copy(), rng.uniform(size=len(X))]
        if target.ndim == 2:
            inputs[1] = STORAGE[storage](target)
        arrays = [a for i in inputs for a in arrays_of(i)]
        before = [a.copy() for a in arrays]
        model = model_and_y(name, **options)[0]
        getattr(model, method)(inputs[0], inputs[1], sample_weight=inputs[2])
        model.predict_proba(inputs[0])
        for a, b in zip(arrays, before, strict=True):
            assert_array_equal(a, b)
            a.flags.writeable = False
        again = model_and_y(name, **options)[0]
        getattr(again, method)(inputs[0], inputs[1], sample_weight=inputs[2])
        assert_array_equal(again.coef_, model.coef_)


DTYPES = ["f4", "f8", "i1", "u1", "i8", "?", "longdouble"]  # scipy's sparse arrays have no other


@every_estimator
@pytest.mark.parametrize(
    ("storage", "dtype"),
    [(s, d) for s in (np.asarray, sparse.csr_array) for d in DTYPES]
    + [(np.asarray, "f2"), (np.asarray, ">f8")],
)
def test_float32_is_kept_and_other_dtypes_become_float64(storage, dtype, name):
    model, y = model_and_y(name)
    A = np.round(2 * abs(X)).astype(dtype)
    model.fit(storage(A), y)
    expected = np.float32 if dtype == "f4" else np.float64
    assert model.coef_.dtype == model.intercept_.dtype == expected
    other = model_and_y(name)[0].fit(A.astype(expected), y)
    assert_allclose(model.coef_, other.coef_, rtol=1e-4, atol=1e-5)


WRONG_X = {
    "nan": (np.where(X > 2, np.nan, X), r"\bX\b.*NaN"),
    "inf": (np.where(X > 2, np.inf, X), r"\bX\b.*infinity"),
    "csr inf": (sparse.csr_array(np.where(X > 2, np.inf, X)), r"\bX\b.*infinity"),
    "complex": (X * 1j, "Complex"),
    "strings": (np.full((60, 4), "a"), "string"),
    "one row flat": (X[0], "2D array"),
    "three dimensions": (X[:, :, np.newaxis], "dim 3"),
    "no rows": (X[:0], "0 sample"),
    "no columns": (X[:, :0], "0 feature"),
    "too few rows": (X[:-1], r"\bX\b"),
}


@every_method
@every_estimator
@pytest.mark.parametrize("case", WRONG_X)
def test_wrong_x_raises(case, name, method):
    model, y = model_and_y(name)
    wrong, message = WRONG_X[case]
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(wrong, y)


@every_estimator
@pytest.mark.parametrize(
    "method",
    ["predict", "predict_proba", "predict_log_proba", "decision_function", "score", "partial_fit"],
)
def test_number_of_features_is_that_of_fit(method, name):
    model, y = model_and_y(name)
    args = (y,) if method in ("score", "partial_fit") else ()
    if method != "partial_fit":
        with pytest.raises(NotFittedError):
            getattr(model, method)(X, *args)
    model.fit(X, y)
    with pytest.raises(ValueError, match=r"X has 3 features, but .* is expecting 4"):
        getattr(model, method)(X[:, :3], *args)


@every_method
@every_estimator
@pytest.mark.parametrize(
    "weight",
    [
        np.r_[-1e-9, np.ones(59)],
        np.r_[np.nan, np.ones(59)],
        np.r_[np.inf, np.ones(59)],
        np.ones(59),
        np.ones((60, 1)),
        np.full(60, 1j),
        np.full(60, "a"),
    ],
    ids=["negative", "nan", "inf", "short", "column", "complex", "strings"],
)
def test_wrong_weights_are_named(weight, name, method):
    model, y = model_and_y(name)
    with pytest.raises(ValueError, match=r"[Ss]ample.weight|[Cc]omplex|string"):
        getattr(model, method)(X, y, sample_weight=weight)


@every_estimator
def test_a_row_must_have_weight(name):
    model, y = model_and_y(name)
    with pytest.raises(ValueError, match=r"[Ss]ample.weight"):
        model.fit(X, y, sample_weight=np.zeros(60))
    if name == "softmax":
        with pytest.raises(ValueError, match=r"class_weight.*zero"):
            model.set_params(class_weight=dict.fromkeys(range(3), 0)).fit(X, y)


@pytest.mark.parametrize(
    "value", [{7: 1}, {"a": 1}, {0: -1}, {0: np.nan}, {0: np.inf}, {0: "a"}, "even", [1, 1, 1], 2]
)
@pytest.mark.parametrize("y", [LABELS, SHARES], ids=["labels", "shares"])
def test_wrong_class_weight_is_named(y, value):
    with pytest.raises(ValueError, match="class_weight"):
        MultinomialLogistic(class_weight=value).fit(X, y)


@pytest.mark.parametrize("values", [np.arange(3), np.array(["a", "b", "c"])], ids=["int", "str"])
def test_class_that_class_weight_leaves_out_weighs_1(values):
    y = values[LABELS]
    some, every = {values[1]: 3}, {values[0]: 1, values[1]: 3, values[2]: 1}
    coef = [
        MultinomialLogistic(class_weight=c, random_state=0).fit(X, y).coef_ for c in (some, every)
    ]
    assert_array_equal(*coef)


def test_balanced_class_weights_are_scikit_learns():
    counts = np.bincount(LABELS)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    assert_allclose(class_weights("balanced", np.arange(3), counts), expected, rtol=1e-15)
    assert class_weights("balanced", np.arange(3), np.array([4, 0, 2]))[1] == 1
    assert_array_equal(class_weights(None, np.arange(3), counts), 1)


WRONG_PARAMETERS = {
    "alpha": [-1, np.inf, np.nan, "a", None],
    "fit_intercept": ["yes", None],
    "label_smoothing": [-0.1, 1.1, np.nan, None],
    "solver": ["newton-cg", "saga", None],
    "l1_ratio": [-0.1, 1.1, np.nan, None],
    "learning_rate": [0, -1, np.inf, "optimal", None],
    "momentum": [-0.1, 1, np.nan],
    "average": ["yes", 2.5],
    "batch_size": [0, -1, 2.5, "all"],
    "max_iter": [0, -1, 2.5, None],
    "tol": [-1e-9, np.nan, None],
    "certified": ["yes", None, 2],
    "early_stopping": ["yes", None, 2],
    "validation_fraction": [0, 1, -0.1, np.nan, None],
    "n_iter_no_change": [0, 2.5],
    "warm_start": ["yes"],
    "random_state": ["a", -1],
    "verbose": [-1, "yes"],
}


@every_method
@both_classes
@pytest.mark.parametrize("parameter", WRONG_PARAMETERS)
def test_wrong_parameter_is_named(parameter, estimator, method):
    for value in WRONG_PARAMETERS[parameter]:
        with pytest.raises(ValueError, match=f"'{parameter}' parameter"):
            getattr(estimator(**{parameter: value}), method)(X, LABELS)


@every_method
@both_classes
@pytest.mark.parametrize("solver", ["adam", "adagrad"])
def test_momentum_is_for_sgd(solver, estimator, method):
    with pytest.raises(ValueError, match=r"momentum.*solver"):
        getattr(estimator(solver=solver, momentum=0.9), method)(X, LABELS)


@pytest.mark.parametrize("estimator", [MultinomialLogistic, MultiLabelLogistic])
def test_some_solvers_need_or_refuse_a_penalty(estimator):
    with pytest.raises(ValueError, match=r"alpha.*sdca"):
        estimator(solver="sdca", alpha=0).fit(X, LABELS)
    for solver in ("lbfgs", "sgd", "adam", "adagrad"):
        with pytest.raises(ValueError, match=r"l1_ratio.*solver"):
            estimator(solver=solver, l1_ratio=0.5).fit(X, LABELS)


@every_method
@both_classes
def test_certified_needs_a_duality_gap(estimator, method):
    for params in ({"solver": "sgd"}, {"solver": "adam"}, {"solver": "adagrad"}, {"alpha": 0}):
        model = estimator(certified=True, **params)
        with pytest.raises(ValueError, match=r"certified must be False.*alpha=.*solver="):
            getattr(model, method)(X, LABELS)
        assert not hasattr(model, "coef_")
    for solver in ("auto", "sdca", "lbfgs"):
        getattr(estimator(certified=True, solver=solver, alpha=1e-2), method)(X, LABELS)


@pytest.mark.parametrize("estimator", [MultinomialLogistic, MultiLabelLogistic])
def test_partial_fit_takes_an_l1_penalty_but_by_lbfgs(estimator):
    for solver in ("auto", "sdca", "sgd", "adam", "adagrad"):
        estimator(l1_ratio=0.5, solver=solver).partial_fit(X, LABELS)
    with pytest.raises(ValueError, match="l1_ratio must be 0 for solver='lbfgs'"):
        estimator(l1_ratio=0.5, solver="lbfgs").partial_fit(X, LABELS)


WRONG_SCHEDULES = {
    "negative": lambda t: -1.0 + 0 * t,
    "nan": lambda t: np.nan + 0 * t,
    "inf": lambda t: np.inf + 0 * t,
    "one number": lambda t: 0.1,
    "strings": lambda t: np.full(t.shape, "a"),
    "none": lambda t: None,
}


@every_method
@both_classes
@pytest.mark.parametrize("case", WRONG_SCHEDULES)
def test_wrong_schedule_is_named(case, estimator, method):
    model = estimator(solver="sgd", learning_rate=WRONG_SCHEDULES[case])
    with pytest.raises(ValueError, match="learning_rate"):
        getattr(model, method)(X, LABELS)


@pytest.mark.parametrize(
    "y",
    [
        LABELS,
        LABELS.astype(np.uint8),
        LABELS > 0,
        LABELS.astype(float),
        LABELS + 0.5,
        LABELS * 1e300,
        np.float32(2) ** (LABELS + 63),
        LABELS.astype(str),
        LABELS.astype(str).astype(object),
        LABELS.astype("S1"),
        LABELS.astype("M8[D]"),
        np.arange(20),
        np.arange(21),
        np.arange(40.0) // 2,
        np.arange(41) % 21,
    ],
    ids=lambda y: f"{y.dtype}-{len(y)}-{y.max() if y.dtype.kind in 'iuf' else ''}",
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_labels_are_those_of_scikit_learn(y):
    """With its errors and warnings, also where its check is left out."""

    def outcome(function):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", UserWarning)
            try:
                function(y)
            except (TypeError, ValueError) as error:
                return str(error)
        return [str(warning.message) for warning in warned if warning.category is UserWarning]

    found, expected = outcome(classes_of), outcome(check_classification_targets)
    assert found == expected
    if not isinstance(expected, str):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert_array_equal(classes_of(y), np.unique(y))


def test_labels_are_coded_by_the_classes_given():
    assert_array_equal(encode_labels(np.array([5, 2, 5]), np.array([2, 3, 5]))[1], [2, 0, 2])
    classes, labels = encode_labels(np.array(["b", "a", "b"]))
    assert_array_equal(classes, ["a", "b"])
    assert_array_equal(label_rows(labels, 1, np.float32).toarray(), [[1], [0], [1]])
    assert_array_equal(label_rows(labels, 2, np.float64).toarray(), [[0, 1], [1, 0], [0, 1]])


def test_probability_rows_sum_to_1_and_hold_no_zeros():
    rows = probability_rows(shuffled_csr(SHARES * 0.9995))
    assert_allclose(rows.toarray(), SHARES, rtol=1e-12)
    assert_allclose(rows.sum(axis=1), 1, rtol=1e-15)
    assert rows.nnz == np.count_nonzero(SHARES)


@pytest.mark.parametrize("dtype", [*"bBhHiIqQ", ">i4"])
def test_classes_of_integers_are_their_values(dtype):
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    for lowest in (least, most - 5, max(least, -3)):  # a difference may be above the largest number
        y = np.array([lowest + i for i in (5, 0, 3, 3, 5, 0)], dtype)
        assert_array_equal(classes_of(y), np.unique(y), strict=True)
    y = np.array([least, most] * 300, dtype)
    assert_array_equal(classes_of(y), np.unique(y), strict=True)
