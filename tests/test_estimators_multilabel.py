"""MultiLabelLogistic: the forms of y, what the fitted model says, and the errors of y."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from registry import then_long
from scipy import sparse
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MultiLabelBinarizer

from skce import MultiLabelLogistic, MultinomialLogistic

rng = np.random.default_rng(0)
X = rng.standard_normal((90, 4))
Y = (X @ rng.standard_normal((4, 3)) + rng.logistic(size=(90, 3)) > 0).astype(float)
LABELS = np.arange(90) * 7 % 3
DTYPES = ["int8", "uint8", "int16", "int64", "bool", "float32", "float64"]
CONTAINERS = {
    "array": np.asarray,
    "fortran": np.asfortranarray,
    "csr_array": sparse.csr_array,
    "csr_matrix": sparse.csr_matrix,
}
every_loss = pytest.mark.parametrize("loss", ["bce", "softmax"])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_container = pytest.mark.parametrize("container", CONTAINERS)


def fitted(y, **params):
    return MultiLabelLogistic(random_state=0, **params).fit(X, y)


def dense(y):
    return y.toarray() if sparse.issparse(y) else np.asarray(y)


def fractional(y):
    return 0.9 * y


def with_missing(y):
    y = y.copy()
    y[::7, 1] = np.nan
    return y


@every_loss
@every_container
@pytest.mark.parametrize("dtype", DTYPES)
def test_prediction_keeps_the_form_of_the_indicator(dtype, container, loss):
    y = CONTAINERS[container](Y.astype(dtype))
    model, plain = fitted(y, loss=loss), fitted(Y, loss=loss)
    assert_array_equal(model.coef_, plain.coef_)
    assert_array_equal(model.classes_, np.arange(3))
    predicted = model.predict(X)
    assert type(predicted) is type(y)
    assert predicted.dtype == np.dtype(dtype)
    assert_array_equal(dense(predicted), plain.predict(X))
    expected = (dense(predicted) == Y).all(axis=1).mean()
    assert model.score(X, y) == pytest.approx(expected, abs=1e-15)


@every_loss
@every_container
@pytest.mark.parametrize("change", [fractional, with_missing])
def test_prediction_is_int64_where_y_is_fractional_or_missing(change, container, loss):
    y = CONTAINERS[container](change(Y))
    predicted = fitted(y, loss=loss).predict(X)
    assert type(predicted) is type(y)
    assert predicted.dtype == np.int64


@every_loss
@pytest.mark.parametrize("change", [fractional, with_missing])
def test_container_of_real_targets_does_not_matter(change, loss):
    expected = fitted(change(Y), loss=loss).coef_
    for container in (sparse.csr_array, sparse.csr_matrix, sparse.csc_array, np.asfortranarray):
        assert_allclose(fitted(container(change(Y)), loss=loss).coef_, expected, rtol=1e-12)


def test_csr_indicator_is_read_in_any_form():
    canonical = sparse.csr_array(Y)
    entries = canonical.tocoo()
    order = np.random.default_rng(1).permutation(entries.nnz)
    row, column, half = (np.tile(a[order], 2) for a in (entries.row, entries.col, entries.data / 2))
    sort = np.argsort(row, kind="stable")
    parts = (half[sort], column[sort], 2 * canonical.indptr)
    duplicates = sparse.csr_array(parts, shape=Y.shape)
    zeros = sparse.csr_array(np.ones_like(Y))
    zeros.data[:] = Y.ravel()
    for y in (duplicates, zeros):
        assert_array_equal(fitted(y).coef_, fitted(canonical).coef_)
        assert_array_equal(dense(fitted(y).predict(X)), fitted(Y).predict(X))


@every_loss
def test_labels_of_int8_are_counted_without_overflow(loss):
    # 127 is the largest int8: scikit-learn's OneVsRestClassifier goes wrong beyond it.
    generator = np.random.default_rng(2)
    A = generator.standard_normal((60, 3))
    wide = generator.random((60, 159)) < 0.9
    small = MultiLabelLogistic(loss=loss, random_state=0).fit(A, wide.astype(np.int8))
    large = MultiLabelLogistic(loss=loss, random_state=0).fit(A, wide.astype(np.float64))
    assert_array_equal(small.coef_, large.coef_)
    assert_array_equal(small.predict_proba(A), large.predict_proba(A))
    assert_array_equal(small.predict(A), large.predict(A))
    assert small.mean_labels_ == large.mean_labels_ == pytest.approx(wide.sum(axis=1).mean())


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@every_dtype
@every_loss
def test_predictions_follow_from_the_logits(loss, dtype, storage):
    A = storage(X.astype(dtype))
    model = MultiLabelLogistic(loss=loss, random_state=0).fit(A, Y)
    logits = X @ model.coef_.T.astype(float) + model.intercept_
    rtol = 1e-12 if dtype == np.float64 else 1e-4
    proba = expit(logits) if loss == "bce" else softmax(logits, axis=1)
    log_proba = log_expit(logits) if loss == "bce" else log_softmax(logits, axis=1)
    assert_allclose(model.decision_function(A), logits, rtol=rtol, atol=rtol)
    assert_allclose(model.predict_proba(A), proba, rtol=rtol)
    assert_allclose(model.predict_log_proba(A), log_proba, rtol=rtol)
    assert model.coef_.shape == (3, 4)
    assert model.intercept_.shape == (3,)
    for array in (model.coef_, model.intercept_, model.predict_proba(A)):
        assert array.dtype == dtype
    if loss == "bce":
        assert_array_equal(model.predict(A), model.predict_proba(A) > 0.5)
        assert_array_equal(model.predict(A), model.decision_function(A) > 0)


@pytest.mark.parametrize("threshold", [None, 0.2, 1, [0.1, 0.5, 0.9], np.array([0, 0.3, 2])])
@every_container
@every_loss
def test_label_is_on_above_its_threshold(loss, container, threshold):
    model = fitted(CONTAINERS[container](Y), loss=loss, threshold=threshold)
    shares = model.predict_proba(X)
    if threshold is not None:
        expected = shares > threshold
    elif loss == "bce":
        expected = shares > 0.5
    else:
        expected = shares > model.share_threshold_
    assert_array_equal(dense(model.predict(X)), expected)


@every_loss
def test_mean_labels_is_the_weighted_mean_number_of_labels_in_labelled_rows(loss):
    weight = np.random.default_rng(3).uniform(size=len(X))
    some = Y.any(axis=1)
    expected = np.average(Y[some].sum(axis=1), weights=weight[some])
    assert 0 < some.sum() < len(Y)
    model = MultiLabelLogistic(loss=loss, random_state=0)
    assert model.fit(X, Y, sample_weight=weight).mean_labels_ == pytest.approx(expected)
    model = MultiLabelLogistic(loss=loss, random_state=0)
    for rows in (slice(20), slice(20, 90)):
        model.partial_fit(X[rows], Y[rows], sample_weight=weight[rows])
    assert model.mean_labels_ == pytest.approx(expected)


@every_dtype
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@every_loss
def test_label_is_off_at_exactly_its_threshold(loss, storage, dtype):
    A = storage(X.astype(dtype))
    model = MultiLabelLogistic(loss=loss, random_state=0).fit(A, Y)
    for row in range(len(X)):
        share = model.predict_proba(A[row : row + 1])[0]
        model.set_params(threshold=share)
        assert not model.predict(A[row : row + 1]).any()
        model.set_params(threshold=share.astype(float).tolist())
        assert not model.predict(A[row : row + 1]).any()
        model.set_params(threshold=np.nextafter(share, dtype(0)))
        assert model.predict(A[row : row + 1]).all()


@every_dtype
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_row_without_features_has_no_label_without_an_intercept(threshold, dtype):
    A, empty = sparse.csr_array(X.astype(dtype)), sparse.csr_array((3, 4), dtype=dtype)
    model = MultiLabelLogistic(fit_intercept=False, threshold=threshold).fit(A, Y)
    assert_array_equal(model.decision_function(empty), 0)
    assert not model.predict(empty).any()
    labels = MultiLabelLogistic(fit_intercept=False).fit(A, Y[:, 0]).predict(empty)
    assert_array_equal(
        labels, LogisticRegression(fit_intercept=False).fit(X, Y[:, 0]).predict([[0] * 4] * 3)
    )


@every_dtype
@pytest.mark.parametrize("half", range(1, 60, 7))
def test_equal_shares_are_off_where_half_of_the_labels_are_on(half, dtype):
    generator = np.random.default_rng(half)
    y = np.zeros((40, 2 * half))
    y[:, :half] = 1
    y = generator.permuted(y, axis=1)
    A = generator.standard_normal((40, 2)).astype(dtype)
    model = MultiLabelLogistic(loss="softmax", fit_intercept=False).fit(A, y)
    assert model.mean_labels_ == half
    assert not model.predict(np.zeros((1, 2), dtype)).any()


@pytest.mark.parametrize("threshold", [None, 0.2])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@every_container
@every_loss
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_label_never_observed_is_off(loss, container, method, threshold):
    y = Y.copy()
    y[:, 1] = np.nan
    weight = np.ones(len(X))
    y[:5, 1], weight[:5] = 1, 0  # rows without weight do not count
    model = MultiLabelLogistic(loss=loss, threshold=threshold, random_state=0)
    getattr(model, method)(X, CONTAINERS[container](y), sample_weight=weight)
    on = dense(model.predict(X)).astype(bool)
    assert not on[:, 1].any()
    assert on[:, [0, 2]].any()
    if method == "partial_fit":
        assert dense(model.partial_fit(X, np.ones_like(Y)).predict(X))[:, 1].any()


def f1(y, on):
    return 2 * (y * on).sum() / max(y.sum() + on.sum(), 1)


def topics(generator):
    """One of four labels in rows of one topic, none in those of another."""
    A = generator.standard_normal((1500, 5))
    y = np.eye(4)[A[:, :4].argmax(axis=1)]
    other = generator.random(1500) < 0.7
    A[other] = np.abs(A[other]) * [1, 1, 1, 1, 0] - [0, 0, 0, 0, 3]
    y[other] = 0
    return A, y


def apart(generator):
    """Labels that know nothing of each other."""
    A = generator.standard_normal((1500, 5))
    return A, (A @ generator.standard_normal((5, 6)) * 2 > generator.logistic(1, size=6)) * 1.0


def rare(generator):
    """The same, most rows without any."""
    A = generator.standard_normal((1500, 5))
    level = A @ generator.standard_normal((5, 8)) - 4
    return A, (level + generator.logistic(size=level.shape) > 0) * 1.0


def one_of_many(generator):
    """One of 30 labels in a third of the rows, none in the others."""
    A = generator.standard_normal((1500, 5))
    level = 2 * A @ generator.standard_normal((5, 30)) + generator.gumbel(size=(1500, 30))
    y = np.eye(30)[level.argmax(axis=1)]
    y[generator.random(1500) > 0.3] = 0
    return A, y


@pytest.mark.parametrize("seed", then_long(range(6)))
@pytest.mark.parametrize("observed", [1, 0.5, 0.2])
@pytest.mark.parametrize("draw", [topics, apart, rare, one_of_many])
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_softmax_labels_are_nearly_those_of_the_best_threshold(draw, observed, seed):
    generator = np.random.default_rng(seed)
    A, y = draw(generator)
    seen = np.where(generator.random(y.shape) < observed, y, np.nan)
    model = MultiLabelLogistic(loss="softmax", random_state=0).fit(A, seen)
    labelled = y.any(axis=1)
    assert model.mean_labels_ == pytest.approx(
        y[labelled].sum(axis=1).mean(), rel=1e-9 if observed == 1 else 0.3
    )
    for rows, least in ((labelled, 0.92), (slice(None), 0.75)):
        shares = model.predict_proba(A[rows])
        best = max(f1(y[rows], shares > threshold) for threshold in np.geomspace(1e-3, 1, 100))
        assert f1(y[rows], model.predict(A[rows])) > least * best


def test_share_threshold_is_half_of_the_highest_f1_to_expect():
    generator = np.random.default_rng(0)
    A, y = rare(generator)
    weight = generator.integers(0, 3, len(A))
    y[:20, 0] = np.nan
    model = MultiLabelLogistic(loss="softmax").fit(A, y, sample_weight=weight)
    rows = np.flatnonzero((np.nansum(y, axis=1) > 0) & (weight > 0))
    proba = np.minimum(model.predict_proba(A[rows]) * model.mean_labels_, 1)
    of_entry = np.broadcast_to(weight[rows, np.newaxis], proba.shape)

    def expected(threshold):
        on = of_entry * (proba > threshold)
        return 2 * (on * proba).sum() / (on.sum() + (of_entry * proba).sum())

    best = max(map(expected, proba.ravel()))
    assert model.share_threshold_ * model.mean_labels_ == pytest.approx(best / 2, rel=1e-9)
    stream = MultiLabelLogistic(loss="softmax").partial_fit(A, y, sample_weight=weight)
    assert stream.share_threshold_ == 0.5 / stream.mean_labels_
    assert not hasattr(model.set_params(loss="bce").fit(A, y), "share_threshold_")


def test_scale_of_large_targets_does_not_move_the_threshold():
    model, larger = fitted(Y, loss="softmax"), fitted(7 * Y, loss="softmax", alpha=7e-4)
    assert larger.mean_labels_ == model.mean_labels_
    assert_array_equal(larger.predict(X), model.predict(X))


@every_loss
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_rows_without_labels_and_missing_rows_leave_mean_labels(loss):
    y = np.vstack([Y, np.zeros((200, 3)), np.full((200, 3), np.nan)])
    A = np.vstack([X, np.zeros((400, 4))])
    model = MultiLabelLogistic(loss=loss, random_state=0).fit(A, y)
    assert model.mean_labels_ == pytest.approx(fitted(Y, loss=loss).mean_labels_)
    assert fitted(np.zeros_like(Y)).mean_labels_ == 0


def test_share_of_a_single_label_is_1():
    model = fitted(sparse.csr_array(Y[:, :1]), loss="softmax")
    assert_array_equal(model.predict_proba(X), 1)
    assert_array_equal(model.predict_log_proba(X), 0)


def test_pos_weight_is_one_number_for_each_label():
    expected = fitted(Y, pos_weight=[3, 3, 3])
    assert_array_equal(fitted(Y, pos_weight=3).coef_, expected.coef_)
    one, none = (fitted(Y, pos_weight=q, tol=1e-14) for q in ((1, 5, 1), None))
    assert_allclose(one.coef_[[0, 2]], none.coef_[[0, 2]], rtol=1e-6)
    assert one.predict_proba(X)[:, 1].mean() > fitted(Y).predict_proba(X)[:, 1].mean()


@every_dtype
@every_loss
def test_huge_logits_stay_inside(loss, dtype):
    model = MultiLabelLogistic(loss=loss, random_state=0).fit(X.astype(dtype), Y)
    model.coef_ = model.coef_ * dtype(1e6)
    A = X.astype(dtype)
    assert abs(model.decision_function(A)).max() > 1e4
    proba, log_proba = model.predict_proba(A), model.predict_log_proba(A)
    assert proba.dtype == log_proba.dtype == dtype
    assert np.isfinite(log_proba).all()
    assert log_proba.max() <= 0
    if loss == "bce":
        assert proba.min() > 0
        assert proba.max() < 1
    else:
        assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)


@every_loss
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_label_with_one_value_is_legal(value, loss):
    y = Y.copy()
    y[:, 1] = value
    model = fitted(y, loss=loss)
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    if loss == "bce" or value == 0:
        others = [0, 2]
        expected = fitted(Y[:, others], loss=loss).predict_proba(X)
        assert_allclose(model.predict_proba(X)[:, others], expected, atol=1e-3)
    if loss == "bce":
        assert abs(model.predict_proba(X)[:, 1] - value).max() < 1e-3


def test_softmax_ignores_rows_without_labels():
    full = Y.any(axis=1)
    n, some = len(Y), full.sum()
    model = fitted(Y, loss="softmax", alpha=1e-3)
    kept = MultiLabelLogistic(loss="softmax", alpha=1e-3 * n / some, random_state=0)
    kept.fit(X[full], Y[full])
    assert 0 < some < n
    assert_allclose(model.coef_, kept.coef_, rtol=1e-7)


@every_loss
@pytest.mark.parametrize("value", [0, np.nan])
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_nothing_to_learn_leaves_zero_weights(value, loss):
    if loss == "bce" and value == 0:
        value = 0.5
    model = fitted(np.full(Y.shape, value), loss=loss)
    assert_allclose(model.coef_, 0, atol=1e-13)
    assert_allclose(model.intercept_, 0, atol=1e-13)


@every_loss
def test_row_of_missing_entries_is_a_row_of_the_divisor_only(loss):
    y = Y.copy()
    y[::5] = np.nan
    seen = ~np.isnan(y[:, 0])
    model = fitted(y, loss=loss, alpha=1e-3, tol=1e-14)
    kept = MultiLabelLogistic(loss=loss, alpha=1e-3 * len(y) / seen.sum(), tol=1e-14)
    assert_allclose(model.coef_, kept.fit(X[seen], Y[seen]).coef_, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("values", [[0, 1, 2], ["a", "b", "c"], [False, True]], ids=str)
def test_labels_are_one_vs_rest(values):
    values = np.asarray(values)
    y = LABELS % len(values)
    model, rest = fitted(values[y], tol=1e-14), fitted(np.eye(len(values))[y], tol=1e-14)
    assert_array_equal(model.classes_, values)
    logits = model.decision_function(X)
    if len(values) == 2:
        assert logits.shape == (90,)
        assert_allclose(logits, rest.decision_function(X)[:, 1], rtol=1e-6)
        expected = MultinomialLogistic(tol=1e-14).fit(X, y).coef_
        assert_allclose(model.coef_, expected, rtol=1e-6)
        proba, best = np.column_stack([expit(-logits), expit(logits)]), logits > 0
    else:
        assert_allclose(logits, rest.decision_function(X), rtol=1e-6)
        proba, best = expit(logits), logits.argmax(axis=1)
        proba /= proba.sum(axis=1, keepdims=True)
    assert_allclose(model.predict_proba(X), proba, rtol=1e-12)
    assert_allclose(model.predict_log_proba(X), np.log(proba), rtol=1e-9)
    assert_array_equal(model.predict(X), values[best.astype(int)])
    assert model.score(X, values[y]) == (best == y).mean()


def test_column_of_labels_warns():
    with pytest.warns(DataConversionWarning, match="column-vector"):
        model = fitted(LABELS[:, np.newaxis])
    assert_array_equal(model.coef_, fitted(LABELS).coef_)


def test_indicator_of_one_label_is_csr():
    model = fitted(sparse.csr_array(Y[:, :1]), tol=1e-14)
    assert model.predict(X).shape == model.predict_proba(X).shape == (90, 1)
    expected = fitted(Y, tol=1e-14).predict_proba(X)[:, :1]
    assert_allclose(model.predict_proba(X), expected, rtol=1e-6)


def wrong(value, y=Y):
    y = y.copy()
    y[3, 1] = value
    return y


WRONG = {
    "negative": (wrong(-0.5), r"\by\b.*-0.5"),
    "negative integer": (wrong(-1, Y.astype(int)), r"\by\b.*-1"),
    "inf": (wrong(np.inf), r"\by\b.*inf"),
    "-inf": (wrong(-np.inf), r"\by\b.*inf"),
    "strings": (Y.astype(str), r"\by\b.*dtype"),
    "three dimensions": (np.ones((90, 2, 2)), r"\by\b"),
    "too few rows": (Y[:-1], r"\by\b"),
    "one class": (np.ones(90, dtype=int), r"\by\b.*class"),
    "missing": (None, r"\by\b"),
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@every_loss
@pytest.mark.parametrize("case", WRONG)
def test_wrong_y_is_named(case, loss, method):
    y, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        getattr(MultiLabelLogistic(loss=loss), method)(X, y)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("value", [1.001, 2])
def test_values_beyond_1_are_for_softmax(value, container):
    with pytest.raises(ValueError, match=r"\by\b.*bce.*[12]"):
        fitted(container(wrong(value)))
    assert np.isfinite(fitted(container(wrong(value)), loss="softmax").coef_).all()


@pytest.mark.parametrize("value", [-1, np.inf])
def test_wrong_csr_y_is_named(value):
    with pytest.raises(ValueError, match=r"\by\b"):
        fitted(sparse.csr_array(wrong(value)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", [0.5, 0.5]),
        ("threshold", [[0.5, 0.5, 0.5]]),
        ("threshold", [0.5, np.nan, 0.5]),
        ("threshold", ["a", "b", "c"]),
        ("threshold", "f2"),
        ("pos_weight", [1, 2]),
        ("pos_weight", [1, -1, 1]),
        ("pos_weight", -1),
        ("pos_weight", [1, np.inf, 1]),
        ("pos_weight", ["a", "b", "c"]),
        ("loss", "hinge"),
    ],
)
def test_wrong_parameter_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        fitted(Y, **{name: value})


def test_pos_weight_is_for_bce():
    with pytest.raises(ValueError, match=r"pos_weight.*softmax"):
        fitted(Y, loss="softmax", pos_weight=2)


def test_partial_fit_keeps_the_number_of_labels():
    model = MultiLabelLogistic().partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"\by\b.*column"):
        model.partial_fit(X, Y[:, :2])
    with pytest.raises(ValueError, match=r"\by\b.*column"):
        MultiLabelLogistic().partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"\by\b.*first call"):
        MultiLabelLogistic().partial_fit(X, LABELS, classes=[0, 1])


def rows_of_labels():
    generator = np.random.default_rng(5)
    X = generator.normal(size=(200, 3))
    y = (X @ generator.normal(size=(3, 4)) + generator.logistic(size=(200, 4)) > 2).astype(float)
    return X, y, generator.uniform(0.2, 3, 200)


@pytest.mark.parametrize("kind", ["indicator", "csr", "missing", "fractions"])
def test_balanced_pos_weight_is_negatives_over_positives(kind):
    X, y, weight = rows_of_labels()
    if kind == "missing":
        y[::3, 1] = np.nan
    elif kind == "fractions":
        y = 0.9 * y + 0.05
    given = sparse.csr_array(y) if kind == "csr" else y
    seen = ~np.isnan(y)
    positives = weight @ np.nan_to_num(y)
    ratio = (weight @ seen - positives) / positives
    for w, q in ((weight, ratio), (None, (seen.sum(0) - np.nansum(y, 0)) / np.nansum(y, 0))):
        balanced = MultiLabelLogistic(pos_weight="balanced", tol=1e-8).fit(X, given, w)
        explicit = MultiLabelLogistic(pos_weight=q, tol=1e-8).fit(X, given, w)
        plain = MultiLabelLogistic(tol=1e-8).fit(X, given, w)
        assert_allclose(balanced.coef_, explicit.coef_, rtol=1e-6, atol=1e-8)
        assert np.abs(balanced.intercept_ - plain.intercept_).max() > 0.3


def test_balanced_pos_weight_of_a_stream_counts_what_was_seen():
    X, y, weight = rows_of_labels()
    stream = MultiLabelLogistic(pos_weight="balanced", random_state=0)
    stream.partial_fit(X[:120], y[:120], sample_weight=weight[:120])
    q = (weight.sum() - weight @ y) / (weight @ y)
    twin = MultiLabelLogistic(pos_weight="balanced", random_state=0)
    twin.partial_fit(X[:120], y[:120], sample_weight=weight[:120])
    twin.pos_weight = q
    for model in (stream, twin):
        model.partial_fit(X[120:], y[120:], sample_weight=weight[120:])
    assert_allclose(stream.coef_, twin.coef_, rtol=1e-9)


def test_balanced_pos_weight_of_one_vs_rest_labels_and_of_constant_labels():
    X, y, _ = rows_of_labels()
    codes = y.sum(axis=1).clip(max=2).astype(int)
    ones = np.eye(3)[codes]
    q = (200 - ones.sum(axis=0)) / ones.sum(axis=0)
    balanced = MultiLabelLogistic(pos_weight="balanced", tol=1e-8).fit(X, codes)
    assert_allclose(balanced.coef_, MultiLabelLogistic(pos_weight=q, tol=1e-8).fit(X, codes).coef_)
    y[:, 1], y[:, 2] = 0, 1
    with pytest.warns(UserWarning, match="one value"):
        model = MultiLabelLogistic(pos_weight="balanced").fit(X, y)
    assert np.isfinite(model.coef_).all()


def test_labels_of_one_value_are_named():
    pd = pytest.importorskip("pandas")
    X, y, weight = rows_of_labels()
    y = np.hstack([y, np.zeros((200, 7)), np.ones((200, 1)), np.full((200, 1), np.nan)])
    y[0, 4] = 1
    weight[0] = 0  # the one positive has no weight
    names = [f"tag {j}" for j in range(13)]
    sentence = (
        "y has labels of one value in all rows, never on: 'tag 4', 'tag 5', 'tag 6', 'tag 7', "
        "'tag 8' and 2 more; always on: 'tag 11'; never observed: 'tag 12'."
    )
    with pytest.warns(UserWarning, match="one value") as caught:
        model = MultiLabelLogistic().fit(X, pd.DataFrame(y, columns=names), weight)
    assert [str(warning.message) for warning in caught] == [sentence]
    assert caught[0].filename == __file__
    assert model.predict_proba(X)[:, 4].max() < 0.01 < 0.99 < model.predict_proba(X)[:, 11].min()
    assert not model.predict(X)[:, 12].any()
    with pytest.warns(
        UserWarning, match="one value"
    ) as caught:  # a label that is always on has a share all the same
        MultiLabelLogistic(loss="softmax").fit(X, sparse.csr_array(y[:, [0, 1, 5, 11]]))
    assert [str(w.message) for w in caught] == [
        "y has labels of one value in all rows, never on: 2."
    ]
    MultiLabelLogistic().partial_fit(X, y)  # other batches may have others
    MultiLabelLogistic().fit(X, y[:, :4], weight)


def test_names_of_a_binarizer_come_in_a_frame():
    pd = pytest.importorskip("pandas")
    X, y, _ = rows_of_labels()
    tags = [[name for name, on in zip("abcd", row, strict=True) if on] for row in y]
    for sparse_output in (False, True):
        binarizer = MultiLabelBinarizer(sparse_output=sparse_output)
        Y = binarizer.fit_transform(tags)
        build = pd.DataFrame.sparse.from_spmatrix if sparse_output else pd.DataFrame
        model = MultiLabelLogistic().fit(X, build(Y, columns=binarizer.classes_))
        assert model.label_names_.tolist() == list("abcd")
        assert binarizer.inverse_transform(model.predict(X))[0] is not None


def test_fit_of_a_frame_asks_itself_without_a_warning():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(np.random.default_rng(0).standard_normal((50, 3))).add_prefix("x")
    y = np.random.default_rng(1).random((50, 4)) < 0.4
    for threshold in (None, "f1"):  # thresholds are learnt from predictions
        model = MultiLabelLogistic(loss="softmax", threshold=threshold)
        assert_array_equal(model.fit(X, y).feature_names_in_, X.columns)


@pytest.mark.parametrize("seed", range(8))
def test_shares_with_missing_entries_are_certified_in_float32(seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((60, 4))
    y = (X @ rng.standard_normal((4, 5)) + rng.gumbel(size=(60, 5)) > 0).astype(float)
    y[rng.random(y.shape) < 0.2] = np.nan
    model = MultiLabelLogistic(loss="softmax", alpha=1e-2, tol=1e-7, certified=True)
    found = clone(model).fit(X.astype(np.float32), y)
    best = clone(model).set_params(tol=1e-10).fit(X.astype(np.float32).astype(float), y)
    assert found.certified_
    rounding = np.finfo(np.float32).eps * best.objective_  # of the shares
    assert found.objective_ - best.objective_ <= found.dual_gap_ + rounding


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(4))
def test_a_label_that_is_never_on_leaves_the_shares_of_the_others_beside_missing_entries(
    seed, dtype
):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((200, 20)).astype(dtype)
    y = (X @ rng.standard_normal((20, 9)) + rng.gumbel(size=(200, 9)) > 0.5).astype(float)
    y[:, 0] = 0
    y[rng.random(y.shape) < 0.2] = np.nan
    model = MultiLabelLogistic(loss="softmax", alpha=1e-2, tol=1e-5, random_state=0)
    with pytest.warns(UserWarning, match="never on: 0"):
        found = clone(model).fit(X, y)
    others = clone(model).fit(X, y[:, 1:])
    assert found.converged_
    assert_allclose(found.objective_, others.objective_, rtol=2e-5)
    assert np.abs(found.intercept_).max() < 100
