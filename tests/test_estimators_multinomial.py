"""MultinomialLogistic: the forms of y, what the fitted model says, and the errors of y."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

from skce import MultinomialLogistic

X = np.random.default_rng(0).standard_normal((90, 4))
CODES = {k: (np.arange(90) * 7 % k + (X[:, 0] > 0.5)) % k for k in (2, 3, 4)}
every_k = pytest.mark.parametrize("k", [2, 3])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def fitted(y, **params):
    return MultinomialLogistic(random_state=0, **params).fit(X, y)


def one_hot(k):
    return np.eye(k)[CODES[k]]


def shares(k, seed=1):
    P = np.random.default_rng(seed).dirichlet(np.full(k, 0.5), size=len(X))
    P[P < 0.05] = 0
    return P / P.sum(axis=1, keepdims=True)


def as_objects(values):
    return np.array(values, dtype=object)


LABELS = {
    "int": [0, 1, 2],
    "int8": np.array([-5, 0, 7], dtype=np.int8),
    "uint64": np.array([1, 2, 9], dtype=np.uint64),
    "whole floats": [-1.0, 0.0, 3.0],
    "string": ["a", "b", "zebra"],
    "objects": as_objects(["a", "b", "zebra"]),
    "bool": [False, True],
}


@pytest.mark.parametrize(
    ("form", "k"), [(f, k) for f in LABELS for k in (2, 3) if k <= len(LABELS[f])]
)
def test_labels_of_any_type_are_classes_in_their_order(form, k):
    values = np.asarray(LABELS[form])[:k]
    model, plain = fitted(values[CODES[k]]), fitted(CODES[k])
    assert_array_equal(model.classes_, values)
    assert model.classes_.dtype == values.dtype
    assert_array_equal(model.coef_, plain.coef_)
    assert_array_equal(model.predict(X), values[plain.predict(X)])
    assert model.predict(X).dtype == values.dtype
    assert model.score(X, values[CODES[k]]) == plain.score(X, CODES[k])


@every_k
def test_list_of_labels_is_an_array_of_labels(k):
    assert_array_equal(fitted(CODES[k].tolist()).coef_, fitted(CODES[k]).coef_)


@every_k
def test_column_of_labels_warns(k):
    with pytest.warns(DataConversionWarning, match="column-vector"):
        model = fitted(CODES[k][:, np.newaxis])
    assert_array_equal(model.coef_, fitted(CODES[k]).coef_)


CONTAINERS = {
    "array": np.asarray,
    "list": lambda y: y.tolist(),
    "fortran": np.asfortranarray,
    "csr_array": sparse.csr_array,
    "csr_matrix": sparse.csr_matrix,
    "csc_array": sparse.csc_array,
}
every_container = pytest.mark.parametrize("container", CONTAINERS)


@every_container
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool", "float32", "float64"])
@every_k
def test_one_hot_rows_are_labels(k, dtype, container):
    y = CONTAINERS[container](one_hot(k).astype(dtype))
    model, plain = fitted(y, class_weight={0: 2}), fitted(CODES[k], class_weight={0: 2})
    assert_array_equal(model.coef_, plain.coef_)
    assert_array_equal(model.intercept_, plain.intercept_)
    assert_array_equal(model.classes_, np.arange(k))
    assert_array_equal(model.predict(X), plain.predict(X))
    assert model.score(X, y) == plain.score(X, CODES[k])


@every_container
@every_k
def test_container_of_probabilities_does_not_matter(k, container):
    y = CONTAINERS[container](shares(k))
    model, plain = fitted(y), fitted(shares(k))
    assert_allclose(model.coef_, plain.coef_, rtol=1e-12)
    assert_array_equal(model.classes_, np.arange(k))
    assert model.score(X, y) == plain.score(X, shares(k))


def test_float32_probabilities_are_probabilities():
    assert_allclose(fitted(shares(3).astype("f4")).coef_, fitted(shares(3)).coef_, rtol=1e-5)


def test_two_columns_are_one_sigmoid_on_the_second():
    P = shares(2)
    model = fitted(P)
    assert model.coef_.shape == (1, 4)
    assert_allclose(model.coef_, -fitted(P[:, ::-1]).coef_, rtol=1e-8)
    assert model.decision_function(X)[P[:, 1] > 0.9].mean() > model.decision_function(X).mean()


@pytest.mark.parametrize("container", ["array", "csr_array"])
def test_rows_that_sum_to_1_within_a_thousandth_are_renormalised(container):
    factor = np.random.default_rng(2).uniform(1 - 9e-4, 1 + 9e-4, size=(len(X), 1))
    model = fitted(CONTAINERS[container](shares(3) * factor))
    assert_allclose(model.coef_, fitted(shares(3)).coef_, rtol=1e-9)


def test_class_without_mass_is_legal():
    empty = np.hstack([one_hot(3), np.zeros((len(X), 1))])
    model, without = fitted(empty, tol=1e-6), fitted(CODES[3], tol=1e-6)
    assert model.coef_.shape == (4, 4)
    assert np.isfinite(model.intercept_).all()
    assert model.predict_proba(X)[:, 3].max() < 1e-4
    assert_allclose(model.predict_proba(X)[:, :3], without.predict_proba(X), atol=1e-3)


@every_dtype
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_shapes_and_dtypes(k, storage, dtype):
    A = storage(X.astype(dtype))
    model = MultinomialLogistic(random_state=0).fit(A, CODES[k])
    rows = 1 if k == 2 else k
    assert model.coef_.shape == (rows, 4)
    assert model.intercept_.shape == (rows,)
    # predictions of CSR take the coefficients of a column together
    assert model.coef_.flags["F" if sparse.issparse(A) else "C"]
    assert model.decision_function(A).shape == ((90,) if k == 2 else (90, k))
    assert model.predict(A).shape == (90,)
    assert model.predict_proba(A).shape == model.predict_log_proba(A).shape == (90, k)
    for array in (model.coef_, model.intercept_, model.decision_function(A)):
        assert array.dtype == dtype
    assert model.predict_proba(A).dtype == model.predict_log_proba(A).dtype == dtype
    assert model.n_features_in_ == 4
    assert k == 2 or abs(model.intercept_.sum()) < 1e-5


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("k", [2, 3])
def test_predictions_follow_from_the_logits(k, fit_intercept, storage):
    model = fitted(CODES[k], fit_intercept=fit_intercept)
    logits = X @ model.coef_.T + model.intercept_
    assert fit_intercept or not model.intercept_.any()
    if k == 2:
        logits = np.hstack([0 * logits, logits])
        assert_allclose(model.decision_function(storage(X)), logits[:, 1], rtol=1e-12)
    else:
        assert_allclose(model.decision_function(storage(X)), logits, rtol=1e-12)
    proba = model.predict_proba(storage(X))
    assert_allclose(proba, softmax(logits, axis=1), rtol=1e-12)
    assert_allclose(model.predict_log_proba(storage(X)), log_softmax(logits, axis=1), rtol=1e-12)
    assert_array_equal(model.predict(storage(X)), logits.argmax(axis=1))
    assert_array_equal(model.predict(storage(X)), proba.argmax(axis=1))


@every_dtype
@every_k
def test_huge_logits_have_finite_log_probabilities(k, dtype):
    model = MultinomialLogistic(random_state=0).fit(X.astype(dtype), CODES[k])
    model.coef_ = model.coef_ * dtype(1e6)
    A = X.astype(dtype)
    logits = model.decision_function(A).astype(float)
    assert abs(logits).max() > 1e4
    proba, log_proba = model.predict_proba(A), model.predict_log_proba(A)
    assert np.isfinite(log_proba).all()
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    if k == 2:
        expected = log_expit(np.column_stack([-logits, logits]))
        assert_allclose(proba[:, 1], expit(logits), rtol=1e-6, atol=1e-30)
    else:
        expected = log_softmax(logits, axis=1)
    assert_allclose(log_proba, expected, rtol=1e-6, atol=1e-30)


@every_dtype
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@every_k
def test_tie_is_the_first_class_as_in_scikit_learn(k, storage, dtype):
    A, names = X.astype(dtype), np.array(["a", "b", "c"])[CODES[k]]
    zero = storage(np.zeros((2, 4), dtype))
    model = MultinomialLogistic(fit_intercept=False).fit(storage(A), names)
    peer = LogisticRegression(fit_intercept=False).fit(A, names)
    assert_array_equal(model.decision_function(zero), 0)
    assert_array_equal(model.predict(zero), ["a", "a"])
    assert_array_equal(model.predict(zero), peer.predict(zero))


@every_k
def test_score_is_the_accuracy_against_the_largest_entry(k):
    weight = np.random.default_rng(3).uniform(size=len(X))
    model = fitted(shares(k))
    best = shares(k).argmax(axis=1)
    expected = accuracy_score(best, model.predict(X), sample_weight=weight)
    for y in (best, np.eye(k)[best], np.eye(k, dtype=bool)[best], shares(k)):
        assert model.score(X, y, sample_weight=weight) == expected
    assert model.score(X, sparse.csr_array(shares(k)), sample_weight=weight) == expected


def test_balanced_class_weight_counts_the_mass_of_probabilities():
    P = shares(3)
    by_class = dict(enumerate(len(X) / (3 * P.sum(axis=0))))
    expected = fitted(P, class_weight=by_class).coef_
    assert_allclose(fitted(P, class_weight="balanced").coef_, expected, rtol=1e-8)


def wrong(entry, value, y=None):
    y = shares(3) if y is None else y
    y[entry] = value
    return y


WRONG = {
    "row sums to .99": (wrong(4, [0.99, 0, 0]), r"\by\b.* sum to 1 .*0\.99 in row 4"),
    "empty row": (wrong(4, 0), r"\by\b.* sum to 1 .*row 4"),
    "integer row of zeros": (wrong(4, 0, one_hot(3).astype(int)), r"\by\b.*row 4"),
    "negative": (wrong(0, [-0.5, 1.5, 0]), r"\by\b.*negative"),
    "negative integers": (wrong(0, [-1, 1, 1], one_hot(3).astype(int)), r"\by\b.*negative"),
    "inf": (wrong((0, 1), np.inf), r"\by\b.*infinity"),
    "nan": (wrong((0, 1), np.nan), r"\by\b.*NaN"),
    "two ones": (wrong(0, 1, one_hot(3).astype(int)), r"\by\b.*MultiLabelLogistic"),
    "two Trues": (wrong(0, True, one_hot(3).astype(bool)), r"\by\b.*MultiLabelLogistic"),
    "integer 2": (wrong(0, [2, 0, 0], one_hot(3).astype(int)), r"\by\b"),
    "strings": (one_hot(3).astype(str), r"\by\b.*dtype"),
    "complex": (one_hot(3).astype(complex), r"\by\b|[Cc]omplex"),
    "three dimensions": (np.ones((90, 2, 2)), r"\by\b"),
    "one class": (np.ones(90, dtype=int), r"\by\b.*class"),
    "one class of strings": (np.full(90, "a"), r"\by\b.*class"),
    "real labels": (np.linspace(0, 1, 90), "Unknown label type"),
    "NaN label": (wrong(3, np.nan, CODES[3].astype(float)), r"\by\b.*NaN"),
    "too short": (CODES[3][:-1], r"\by\b"),
    "too few rows": (shares(3)[:-1], r"\by\b"),
    "missing": (None, r"\by\b"),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_y_is_named(case, method):
    y, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        getattr(MultinomialLogistic(), method)(X, y)


@pytest.mark.parametrize("case", ["row sums to .99", "negative", "inf", "nan", "two ones"])
def test_wrong_csr_y_is_named(case):
    y, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        MultinomialLogistic().fit(X, sparse.csr_array(y))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_csr_y_of_one_column_has_one_class(method):
    with pytest.raises(ValueError, match=r"\by\b"):
        getattr(MultinomialLogistic(), method)(X, sparse.csr_array(np.ones((90, 1))))


def test_one_announced_class_raises():
    with pytest.raises(ValueError, match="class"):
        MultinomialLogistic().partial_fit(X, np.ones(90, dtype=int), classes=[1])


def test_unseen_class_in_partial_fit_raises():
    model = MultinomialLogistic().partial_fit(X, CODES[3])
    with pytest.raises(ValueError, match=r"\by\b.*first call"):
        model.partial_fit(X, CODES[4])
    with pytest.raises(ValueError, match=r"\by\b.*column"):
        model.partial_fit(X, one_hot(4))
    with pytest.raises(ValueError, match=r"\by\b.*first call"):
        MultinomialLogistic().partial_fit(X, CODES[4], classes=[0, 1, 2])
