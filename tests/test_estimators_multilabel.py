"""MultiLabelLogistic: forms and errors of y, positive weights, constant and missing labels."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from sklearn.preprocessing import MultiLabelBinarizer
from small_labels import LABELS, X, Y, dense, every_loss, fitted, fractional, with_missing

from skce import MultiLabelLogistic, MultinomialLogistic


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


def test_pos_weight_is_one_number_for_each_label():
    expected = fitted(Y, pos_weight=[3, 3, 3])
    assert_array_equal(fitted(Y, pos_weight=3).coef_, expected.coef_)
    one, none = (fitted(Y, pos_weight=q, tol=1e-14) for q in ((1, 5, 1), None))
    assert_allclose(one.coef_[[0, 2]], none.coef_[[0, 2]], rtol=1e-6)
    assert one.predict_proba(X)[:, 1].mean() > fitted(Y).predict_proba(X)[:, 1].mean()


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
