"""What a stream of partial_fit promises: calls of any size, no harm, new classes, resumption."""

import copy
import itertools
import pickle
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier

from skce import MultiLabelLogistic, MultinomialLogistic, losses
from skce.optim import constant

STORAGE = {"dense": np.asarray, "csr": sparse.csr_array}
every_storage = pytest.mark.parametrize("stored", STORAGE.values(), ids=STORAGE)
RULES = {
    "auto": {},
    "sgd": {"solver": "sgd"},
    "momentum": {"momentum": 0.9},
    "adagrad": {"solver": "adagrad"},
    "adam": {"solver": "adam"},
}
every_rule = pytest.mark.parametrize("params", RULES.values(), ids=RULES)


def drawn(n=3000, p=8, k=3, seed=0, density=1.0):
    """Rows, labels, then 1,000 more to test on."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + 1000, p)) * (rng.random((n + 1000, p)) < density)
    y = (X @ rng.normal(size=(p, k)) + rng.gumbel(size=(n + 1000, k))).argmax(1)
    return X[:n], y[:n], X[n:], y[n:]


def log_loss(model, X, y):
    return losses.softmax_cross_entropy(model.decision_function(X), y)


def streamed(model, X, y, rows, classes=range(3)):
    for i in range(0, len(y), rows):
        model.partial_fit(X[i : i + rows], y[i : i + rows], classes=classes)
    return model


@every_storage
@every_rule
def test_calls_of_any_size_end_alike(stored, params):
    X, y, T, t = drawn(n=2000, density=0.5)
    X, T = stored(X), stored(T)
    found = [
        log_loss(streamed(MultinomialLogistic(**params), X, y, rows), T, t)
        for rows in (7, 100, 2000)
    ]
    assert max(found) <= 1.05 * min(found)
    if stored is not np.asarray and params in ({}, RULES["adagrad"]):  # row by row
        assert_allclose(found, found[0], rtol=1e-12)


def test_weighted_rows_of_csr_end_alike_in_calls_of_any_size():
    X, y, _, _ = drawn(n=1000, density=0.5)
    X, weights = sparse.csr_array(X), np.random.default_rng(1).choice([0, 0.5, 1, 3], 1000)
    found = []
    for rows in (1, 7, 100, 1000):
        model = MultinomialLogistic()
        for i in range(0, 1000, rows):
            part = slice(i, i + rows)
            if weights[part].any():
                model.partial_fit(X[part], y[part], range(3), weights[part])
        found.append(model.coef_)
    for coef in found:
        assert_array_equal(coef, found[0])


@pytest.mark.parametrize("stored", STORAGE.values(), ids=STORAGE)
def test_rows_one_at_a_time_end_as_all_at_once(stored):
    X, y, T, t = drawn(n=2000, density=0.5)
    X, T = stored(X), stored(T)
    single = log_loss(streamed(MultinomialLogistic(), X, y, 1), T, t)
    whole = log_loss(streamed(MultinomialLogistic(), X, y, 2000), T, t)
    assert single == pytest.approx(whole, 0.05)


@every_storage
@every_rule
def test_one_pass_comes_near_the_optimum(stored, params):
    X, y, T, t = drawn(n=5000, density=0.7)
    X, T = stored(X), stored(T)
    best = log_loss(MultinomialLogistic().fit(X, y), T, t)
    assert log_loss(streamed(MultinomialLogistic(**params), X, y, 500), T, t) <= 1.1 * best


def batches():
    """Batches that may do harm, of rows like those of drawn()."""
    rng = np.random.default_rng(7)
    X, y, _, _ = drawn(n=1000)
    one_class = np.flatnonzero(y == 0)[:20]
    huge = X[:16].copy()
    huge[:, 2] *= 1e6
    constant_rows = np.ones((16, 8))
    return {
        "one row": (X[:1], y[:1]),
        "thin": (X[:3], y[:3]),
        "one class": (X[one_class], y[one_class]),
        "the same row": (X[np.full(20, 3)], y[np.full(20, 3)]),
        "mislabelled": (X[:20], (y[:20] + 1) % 3),
        "random labels": (X[:20], rng.integers(3, size=20)),
        "constant": (constant_rows, np.arange(16) % 3),
        "zeros": (np.zeros((16, 8)), np.arange(16) % 3),
        "a huge column": (huge, y[:16]),
        "huge rows": (1e6 * X[:16], y[:16]),
        "tiny rows": (1e-9 * X[:16], y[:16]),
        "far away": (X[:16] + 1e6, y[:16]),
    }


@every_storage
@every_rule
@pytest.mark.parametrize("name", batches())
@pytest.mark.parametrize("before", ["fit", "stream"])
def test_no_batch_does_harm(before, name, stored, params):
    X, y, T, t = drawn(n=1000)
    if params == RULES["adam"] and name in ("huge rows", "far away", "a huge column"):
        return  # Adam steps by signs: it has no implicit step
    A, b = batches()[name]
    model = MultinomialLogistic(**params)
    model = model.fit(stored(X), y) if before == "fit" else streamed(model, stored(X), y, 100)
    at_first = now = log_loss(model, stored(T), t)
    for _ in range(3):
        model.partial_fit(stored(A), b)
        last, now = now, log_loss(model, stored(T), t)
        assert now <= last + 0.15
    for i in range(0, 1000, 100):  # the stream goes on
        model.partial_fit(stored(X[i : i + 100]), y[i : i + 100])
    # AdaGrad that was asked for on dense rows goes back to their scale slowly
    slowly = stored is np.asarray and params == RULES["adagrad"]
    assert log_loss(model, stored(T), t) <= at_first + (0.1 if slowly else 0.06)


@every_storage
@pytest.mark.parametrize("before", ["fit", "stream"])
@pytest.mark.parametrize("name", ["wrong", "constant", "one class", "constant, one class"])
@pytest.mark.parametrize("seed", range(2))
def test_many_bad_rows_move_a_model_little_more_than_a_fit_of_all_rows(seed, name, before, stored):
    X, y, T, t = drawn(n=1000, seed=seed)
    one = np.flatnonzero(y == 2)[:200]
    A, b = {
        "wrong": (X[:200], (y[:200] + 1) % 3),
        "constant": (np.ones((50, 8)), np.arange(50) % 3),
        "one class": (X[one], y[one]),
        "constant, one class": (np.ones((50, 8)), np.ones(50, int)),
    }[name]
    model = MultinomialLogistic()
    fits = [
        log_loss(MultinomialLogistic().fit(A_, b_), T, t)
        for A_, b_ in ((X, y), (np.vstack([X, A]), np.append(y, b)))
    ]
    model = model.fit(stored(X), y) if before == "fit" else streamed(model, stored(X), y, 100)
    at_first = log_loss(model, stored(T), t)
    model.partial_fit(stored(A), b)
    most = 0.2 if stored is np.asarray and name == "one class" else 0.15
    assert log_loss(model, stored(T), t) - at_first <= most + fits[1] - fits[0]


@pytest.mark.parametrize("params", [{}, {"momentum": 0.9}, {"batch_size": 64}], ids=str)
def test_copies_of_a_wrong_row_move_dense_weights_no_further_than_it_asks_for(params):
    X, y, T, t = drawn(n=1000)
    model = MultinomialLogistic(**params).fit(X, y)
    at_first = log_loss(model, T, t)
    row = np.full(200, np.flatnonzero(model.predict(X) == y)[0])
    model.partial_fit(X[row], (y[row] + 1) % 3)
    assert log_loss(model, T, t) <= at_first + 0.3  # 1.7 where each row counts for itself


@every_storage
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("first", "scale", "rows"),
    [(10, 1e-30, 1500), (10, 1e-10, 500), (100, 1e-4, 500), (1000, 0.1, 800), (1000, 1e-2, 1200)],
)
def test_first_rows_at_a_smaller_scale_are_forgotten(first, scale, rows, dtype, stored):
    X, y, T, t = drawn()
    X, T = X.astype(dtype), T.astype(dtype)
    if dtype == np.float32 and scale == 1e-30 and stored is np.asarray:
        return  # beyond what a metric of float32 holds
    model = MultinomialLogistic().partial_fit(stored(X[:first] * dtype(scale)), y[:first], range(3))
    streamed(model, stored(X[first : first + rows]), y[first : first + rows], 100)
    assert log_loss(model, stored(T), t) <= 0.7


@pytest.mark.parametrize(("first", "scale"), [(1, 1e4), (10, 1e4), (100, 100), (1000, 10)])
def test_first_rows_at_a_larger_scale_are_forgotten_on_csr(first, scale):
    X, y, T, t = drawn()
    model = MultinomialLogistic()
    model.partial_fit(sparse.csr_array(scale * X[:first]), y[:first], classes=range(3))
    streamed(model, sparse.csr_array(X[first : first + 800]), y[first : first + 800], 100)
    assert log_loss(model, sparse.csr_array(T), t) <= 0.6


@every_storage
@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-100])
def test_columns_whose_squares_vanish_do_not_undo_calls(scale, stored):
    X, y, T, t = drawn(n=1000)
    model = streamed(MultinomialLogistic(), stored(scale * X), y, 100)
    assert model.n_iter_ == 10
    assert np.isfinite(log_loss(model, stored(scale * T), t))


def variations():
    """More batches that may do harm, with weights of their rows."""
    rng = np.random.default_rng(8)
    X, y, _, _ = drawn(n=1000)
    alone = np.eye(8)[np.arange(16) % 8] * X[:16]
    mirrored = np.concatenate([X[:10], -X[:10]])
    return {
        "one row of every class": (X[np.full(18, 5)], np.arange(18) % 3, np.ones(18)),
        "rows and their mirror images": (mirrored, np.tile(y[:10], 2), np.ones(20)),
        "one entry a row": (1e3 * alone, rng.integers(3, size=16), np.ones(16)),
        "another scale": (100 * np.abs(X[:20]), y[:20], np.ones(20)),
        "two classes confused": (X[:20], np.array([1, 0, 2])[y[:20]], np.ones(20)),
        "a heavy row": (X[:5], (y[:5] + 1) % 3, np.array([1, 1, 50, 1, 1.0])),
    }


@every_storage
@pytest.mark.parametrize("loss", [None, "bce", "softmax"])
@pytest.mark.parametrize("name", variations())
@pytest.mark.parametrize("before", ["fit", "stream"])
def test_no_variation_harms_more_than_a_bounded_step_or_a_peer(before, name, loss, stored):
    X, y, T, t = drawn(n=1000)
    A, b, weights = variations()[name]
    model = MultiLabelLogistic(loss=loss) if loss else MultinomialLogistic()
    peer = SGDClassifier(loss="log_loss", random_state=0)
    targets = np.eye(3) if loss else np.arange(3)

    def held_out(model, rows):
        proba = np.maximum(model.predict_proba(rows), 1e-15)
        return -np.log((proba / proba.sum(axis=1, keepdims=True))[np.arange(len(t)), t]).mean()

    if before == "fit":
        model.fit(stored(X), targets[y])
    for i in range(0, 1000, 100):
        rows = slice(i, i + 100)
        if before == "stream":
            model.partial_fit(stored(X[rows]), targets[y[rows]])
        peer.partial_fit(X[rows], y[rows], range(3))
    now = held_out(model, stored(T))
    for _ in range(3):
        model.partial_fit(stored(A), targets[b], sample_weight=weights)
        peer.partial_fit(A, b, sample_weight=weights)
        last, now = now, held_out(model, stored(T))
        assert now <= last + 0.15
    assert now <= held_out(peer, T)


@every_storage
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_near_overflow_change_little_and_nothing_sticks(dtype, stored):
    X, y, T, t = drawn(n=1000)
    X, T = X.astype(dtype), T.astype(dtype)
    model = streamed(MultinomialLogistic(), stored(X), y, 100)
    before = log_loss(model, stored(T), t)
    huge = stored(np.sign(X[:16]) * np.finfo(dtype).max / 100)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.partial_fit(huge, y[:16]).partial_fit(huge, y[:16])
    assert len(caught) <= 1
    assert log_loss(model, stored(T), t) <= before + 0.15
    streamed(model, stored(X), y, 100)
    assert log_loss(model, stored(T), t) <= before + 0.05


def test_a_misclassified_row_is_no_divergence():
    X, y, _, _ = drawn(n=1000)
    model = streamed(MultinomialLogistic(learning_rate=0.1), X, y, 100)
    for i in range(100):
        model.partial_fit(10 * X[i : i + 1], (y[i : i + 1] + 1) % 3)


def test_text_survives_corrections_one_at_a_time():
    rng = np.random.default_rng(0)
    words = rng.zipf(1.3, size=(1500, 30)) % 5000
    y = rng.integers(4, size=1500)
    words[:, :3] = 5000 + 10 * y[:, None] + rng.integers(10, size=(1500, 3))
    X = sparse.csr_array(
        (np.ones(words.size), words.ravel(), np.arange(0, words.size + 1, 30)), shape=(1500, 6000)
    )
    X.sum_duplicates()
    model = MultinomialLogistic().fit(X[:1000], y[:1000])
    before = model.score(X[1040:], y[1040:])
    assert before > 0.95
    for i in range(1000, 1040):
        model.partial_fit(X[i : i + 1], y[i : i + 1])
    assert model.score(X[1040:], y[1040:]) >= before - 0.01


@every_storage
@every_rule
def test_more_of_the_same_data_leaves_a_fit_where_it_is(stored, params):
    X, y, T, t = drawn()
    X, T = stored(X), stored(T)
    model = MultinomialLogistic(**params).fit(X, y)
    before = log_loss(model, T, t)
    for i in range(50):
        model.partial_fit(X[16 * i : 16 * i + 16], y[16 * i : 16 * i + 16])
    assert log_loss(model, T, t) == pytest.approx(before, rel=0.02)


@every_storage
@pytest.mark.parametrize("weighed", [None, "dict", "balanced"])
@pytest.mark.parametrize("loss", [None, "bce"])
def test_rows_of_a_fit_count_as_much_as_those_of_a_stream(loss, weighed, stored):
    """Whatever their weights are: fits take these over powers of two."""
    X, y, _, _ = drawn(n=1000)
    rng = np.random.default_rng(0)
    weights = rng.uniform(5, 6, 1000)
    Y = np.eye(3)[y] if loss else y
    if loss:
        model = MultiLabelLogistic(pos_weight="balanced" if weighed else None)
    else:
        of_class = {0: 3.0, 1: 4.0, 2: 5.0} if weighed == "dict" else weighed
        model = MultinomialLogistic(class_weight=of_class)
    model.fit(stored(X), Y, sample_weight=weights)
    model.partial_fit(stored(X), Y, sample_weight=weights)
    found = model._stream.seen
    assert_allclose(found.weight, 2 * model._seen["weight"])
    assert_allclose(found.positives, 2 * model._seen["positives"])
    if found.is_sparse:
        assert_allclose(model._stream.clock[2], found.weight)
    once = clone(model).fit(stored(X), Y, sample_weight=weights)._seen_counts
    assert_allclose(model._seen_counts, 2 * once)


@every_storage
def test_fit_and_stream_learn_as_one_pass(stored):
    X, y, T, t = drawn(n=21_000, density=0.5)
    X, T = stored(X), stored(T)
    both = streamed(MultinomialLogistic().fit(X[:1000], y[:1000]), X[1000:], y[1000:], 500)
    alone = streamed(MultinomialLogistic(), X, y, 500)
    assert log_loss(both, T, t) <= 1.03 * log_loss(alone, T, t)


@every_storage
def test_changed_labels_are_learnt_in_as_many_rows_as_were_fitted(stored):
    X, y, T, t = drawn(n=4000)
    X, T = stored(X), stored(T)
    model = MultinomialLogistic().fit(X[:2000], y[:2000])
    before = log_loss(model, T, t)
    streamed(model, X[2000:], (y[2000:] + 1) % 3, 100)
    most = 1.25 if stored is np.asarray else 1.1
    assert log_loss(model, T, (t + 1) % 3) <= most * before


@every_storage
@every_rule
def test_a_copy_goes_on_with_the_same_bits(stored, params):
    X, y, T, _ = drawn(n=600)
    X, T = stored(X), stored(T)
    model = streamed(MultinomialLogistic(**params), X[:300], y[:300], 70)
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    expected = streamed(model, X[300:], y[300:], 70).decision_function(T)
    for other in others:
        streamed(other, X[300:], y[300:], 70)
        assert_array_equal(other.decision_function(T), expected)


def test_another_process_goes_on_with_the_same_bits(tmp_path):
    X, y, T, _ = drawn(n=600)
    X, T = sparse.csr_array(X), sparse.csr_array(T)
    model = streamed(MultinomialLogistic(), X[:300], y[:300], 70)
    (tmp_path / "model").write_bytes(pickle.dumps((model, X[300:], y[300:])))
    program = (
        "import pickle, sys; model, X, y = pickle.load(open(sys.argv[1], 'rb')); "
        "model.partial_fit(X, y); pickle.dump(model, open(sys.argv[1], 'wb'))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "model")], check=True)
    other = pickle.loads((tmp_path / "model").read_bytes())
    model.partial_fit(X[300:], y[300:])
    assert_array_equal(other.decision_function(T), model.decision_function(T))


def test_coefficients_of_csr_are_made_when_read_and_can_be_set():
    X, y, T, _ = drawn(n=600)
    X, T = sparse.csr_array(X), sparse.csr_array(T)
    assert not hasattr(MultinomialLogistic(), "coef_")
    model = streamed(MultinomialLogistic(alpha=1e-2), X, y, 100)
    state = pickle.dumps(model)
    logits = model.decision_function(T)
    assert_allclose(logits, T @ model.coef_.T + model.intercept_, rtol=1e-9, atol=1e-12)
    assert_allclose(model.decision_function(T.toarray()), logits, rtol=1e-9, atol=1e-12)
    assert pickle.dumps(model) == state
    with pytest.raises(ValueError, match="read-only"):
        model.coef_[0, 0] = 1
    model.coef_ = np.zeros_like(model.coef_)
    assert_array_equal(model.decision_function(T), np.tile(model.intercept_, (1000, 1)))
    model.partial_fit(X[:1], y[:1])
    assert 0 < (model.coef_ != 0).sum() <= 24


@every_storage
@every_rule
@pytest.mark.parametrize("rows", [10, 3000])
def test_rows_without_entries_are_no_divergence_where_there_is_no_intercept(rows, stored, params):
    X, y, _, _ = drawn()
    X[::3] = 0  # the first one too
    model = MultinomialLogistic(fit_intercept=False, **params)
    streamed(model, stored(X), y, rows)
    assert model.n_iter_ == 3000 // rows
    assert log_loss(model, X, y) < np.log(3) - 0.2


def test_first_call_that_diverges_leaves_nothing_behind():
    X, y, _, _ = drawn(n=300)
    huge = sparse.csr_array(np.sign(X) * np.finfo(float).max / 1e4)
    model = MultinomialLogistic()
    with pytest.warns(ConvergenceWarning, match="this call is undone"):
        model.partial_fit(huge, y)
    streamed(model, sparse.csr_array(X), y, 300)
    other = streamed(MultinomialLogistic(), sparse.csr_array(X), y, 300)
    assert_array_equal(model.coef_, other.coef_)


def test_a_column_whose_squares_overflow_is_undone_and_the_stream_goes_on():
    X, y, T, t = drawn(n=1000)
    X[:500, 2] = 0
    model = streamed(MultinomialLogistic(), sparse.csr_array(X[:500]), y[:500], 100)
    before, huge = log_loss(model, T, t), X[500:516].copy()
    huge[:, 2] *= 1e200
    with pytest.warns(ConvergenceWarning, match="this call is undone"):
        model.partial_fit(sparse.csr_array(huge), y[500:516])
    assert log_loss(model, T, t) == before
    streamed(model, sparse.csr_array(X[500:]), y[500:], 100)
    assert log_loss(model, T, t) < before
    assert (model.coef_[:, 2] != 0).all()


def text(n, seed=0, p=3000, k=40, words=12):
    """Rows of equal length whose words are mostly those of their class, and labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    own = rng.integers(0, p // k, (n, words)) + y[:, None] * (p // k)
    there = np.where(rng.random((n, words)) < 0.4, own, rng.integers(0, p, (n, words)))
    ends = np.arange(0, n * words + 1, words)
    X = sparse.csr_array((np.full(n * words, words**-0.5), there.ravel(), ends), (n, p))
    X.sum_duplicates()
    return X, y


@pytest.mark.parametrize("rows", [10, 4000])
def test_text_is_told_as_sure_as_new_rows_bear_out(rows):
    X, y = text(6000)
    model = streamed(MultinomialLogistic(alpha=1e-5), X[:4000], y[:4000], rows, range(40))
    Z, intercept = model.decision_function(X[4000:]) - model.intercept_, model.intercept_

    def loss(factor):
        return losses.softmax_cross_entropy(factor * Z + intercept, y[4000:])

    best = min(loss(factor) for factor in np.geomspace(0.1, 10, 200))
    assert loss(1) <= 1.05 * best
    assert loss(1 / model._stream.sure[0]) >= 2 * best  # what is learnt matters here


@every_storage
@pytest.mark.parametrize("pos_weight", [0.05, 5.0, 20.0])
def test_positive_weights_of_a_fit_are_known_to_its_stream(pos_weight, stored):
    X, y, T, t = drawn(n=1000)
    eye = np.eye(3)
    model = MultiLabelLogistic(pos_weight=pos_weight).fit(stored(X), eye[y])

    def held_out():
        logits = model.decision_function(stored(T))
        return losses.sigmoid_cross_entropy(logits, eye[t], pos_weight=np.full(3, pos_weight))

    def of_constants(weight):
        odds = weight * eye[t].mean(axis=0) / (1 - eye[t].mean(axis=0))
        logits = np.tile(np.log(odds), (len(t), 1))
        return losses.sigmoid_cross_entropy(logits, eye[t], pos_weight=np.full(3, weight))

    most = 0.15 * of_constants(pos_weight) / of_constants(1.0)
    before = held_out()
    for _ in range(3):
        model.partial_fit(stored(X[:20]), eye[(y[:20] + 1) % 3])
        last, before = before, held_out()
        assert before <= last + most


@every_storage
@pytest.mark.parametrize("pos_weight", [20.0, 100.0])
def test_positive_weights_do_not_slow_a_stream(pos_weight, stored):
    X, y, T, t = drawn(n=3000)
    eye, weights = np.eye(3), np.full(3, pos_weight)
    model, entry = MultiLabelLogistic(pos_weight=pos_weight), MultiLabelLogistic()
    for i in range(0, 3000, 100):
        rows, Y = stored(X[i : i + 100]), eye[y[i : i + 100]]
        model.partial_fit(rows, Y)
        entry.partial_fit(rows, Y, entry_weight=np.where(Y > 0, pos_weight, 1))
    whole = MultiLabelLogistic(pos_weight=pos_weight).fit(stored(X), eye[y])
    one, other, least = (
        losses.sigmoid_cross_entropy(m.decision_function(stored(T)), eye[t], pos_weight=weights)
        for m in (model, entry, whole)
    )
    assert max(one, other) <= 1.25 * least  # AdaGrad's last steps, shorter by the weight: 1.36, 7.1


def test_factor_is_not_that_of_weights_that_were_set():
    X, y = text(4000)
    model = streamed(MultinomialLogistic(), X[:-2], y[:-2], 1000, range(40))
    assert model._stream.sure[0] > 2
    for row, name in ((-1, "coef_"), (-2, "intercept_")):
        setattr(model, name, getattr(model, name) + 1e-3)
        before = model.coef_
        model.partial_fit(X[[row]], y[[row]])
        assert_allclose(np.linalg.norm(model.coef_), np.linalg.norm(before), rtol=0.01)


@every_storage
def test_rules_may_change_before_a_row_has_weight(stored):
    X, y, _, _ = drawn(n=100)
    model = MultinomialLogistic().partial_fit(stored(X), y, sample_weight=np.zeros(100))
    model.set_params(solver="adagrad", fit_intercept=False).partial_fit(stored(X), y)
    other = MultinomialLogistic(solver="adagrad", fit_intercept=False).partial_fit(stored(X), y)
    assert_array_equal(model.coef_, other.coef_)


def test_factor_does_not_undo_a_strong_penalty():
    X, y = text(4000)
    model = streamed(MultinomialLogistic(alpha=0.01), X, y, 1000, range(40))
    assert abs(np.log(model._stream.sure[0])) <= 0.05  # 2.5 where the loss alone counts


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_factor_does_not_depend_on_the_scale_of_columns(dtype):
    X, y = text(300)
    found = [
        streamed(MultinomialLogistic(alpha=0), scale * X.astype(dtype), y, 300, range(40))
        for scale in np.array([1e-30, 1, 100, 1e30], dtype)
    ]
    factors = [model._stream.sure[0] for model in found]
    assert factors[0] > 2
    assert_allclose(factors, factors[0], rtol=1e-4)


def test_l1_penalty_leaves_zeros_on_csr():
    X, y, T, t = drawn(n=5000)
    rare = sparse.random_array((6000, 500), density=0.002, rng=np.random.default_rng(1))
    A = sparse.csr_array(sparse.hstack([np.vstack([X, T]), rare]))  # of no use
    model = streamed(MultinomialLogistic(alpha=0.01, l1_ratio=1), A[:5000], y, 500)
    assert (model.coef_[:, 8:] == 0).mean() > 0.5
    assert log_loss(model, A[5000:], t) < 0.8


def test_call_on_many_weights_keeps_no_copies():
    p, k = 60_000, 100
    rng = np.random.default_rng(0)
    X = sparse.csr_array(
        (np.ones(2000), rng.integers(p, size=2000), np.arange(0, 2001, 10)), shape=(200, p)
    )
    X.sum_duplicates()
    y = np.arange(200) % k
    model = MultinomialLogistic().partial_fit(X[:100], y[:100], classes=range(k))
    tracemalloc.start()
    model.partial_fit(X[100:], y[100:])
    _, call = tracemalloc.get_traced_memory()
    model.predict_proba(X[:100])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert call <= 0.1 * 8 * p * k
    assert peak <= 0.3 * 8 * p * k


def test_factor_of_very_many_weights_takes_little_memory():
    rng = np.random.default_rng(0)
    X = sparse.random_array((300, 2000), density=0.03, rng=rng, format="csr", dtype=np.float32)
    Y = sparse.random_array((300, 2000), density=0.005, rng=rng, format="csr") > 0
    model = MultiLabelLogistic().partial_fit(X[:50], Y[:50])
    tracemalloc.start()
    model.partial_fit(X[50:], Y[50:])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert model._stream.sure[0] != 1
    assert peak <= 2.2 * 8 * 2000 * 2000  # 1.8; 5.6 where all columns are made at once


@pytest.mark.parametrize("loss", [None, "bce", "softmax"])
@every_storage
def test_classes_that_come_one_by_one_end_near_those_that_were_named(stored, loss):
    X, y, T, t = drawn(n=6000, k=5)
    names = np.array(["d", "b", "e", "a", "c"])
    late = np.arange(6000) >= 200 * y
    X, y, T, t = stored(X[late]), names[y[late]], stored(T), names[t]
    make = {"allow_new_classes": True}
    model = MultinomialLogistic() if loss is None else MultiLabelLogistic(loss=loss)
    grown = copy.deepcopy(model).set_params(**make)
    for i in range(0, len(y), 30):
        grown.partial_fit(X[i : i + 30], y[i : i + 30])
        model.partial_fit(X[i : i + 30], y[i : i + 30], classes=names)
        share = grown.predict_proba(T[:3])
        assert share.shape == (3, len(grown.classes_))
        assert_allclose(share.sum(axis=1), 1, rtol=1e-6)
        assert set(grown.predict(T[:3])) <= set(grown.classes_)
    assert_array_equal(grown.classes_, sorted(names))
    place = np.searchsorted(grown.classes_, t)
    found, named = (
        -np.log(m.predict_proba(T)[np.arange(1000), place]).mean() for m in (grown, model)
    )
    assert found <= 1.05 * named


@every_storage
def test_third_class_leaves_the_first_two_as_they_were(stored):
    X, y, T, _ = drawn(n=600)
    two = y < 2
    model = MultinomialLogistic(allow_new_classes=True).fit(stored(X[two]), y[two])
    logit = model.decision_function(stored(T))
    model.partial_fit(stored(X[:1]), y[:1], classes=[0, 1, 2], sample_weight=[0.0])
    logits = model.decision_function(stored(T))
    assert_allclose(logits[:, 1] - logits[:, 0], logit, rtol=1e-9, atol=1e-9)
    assert model.coef_.shape == (3, 8)
    assert not np.any(model.coef_[2])
    with pytest.raises(ValueError, match="classes that .classes. or the first call names"):
        MultinomialLogistic().fit(X[two], y[two]).partial_fit(X, y)


def test_label_columns_may_be_added():
    X, y, _, _ = drawn(n=600)
    Y = np.eye(3)[y]
    model = MultiLabelLogistic(allow_new_classes=True).partial_fit(X, Y[:, :2])
    before = model.coef_
    model.partial_fit(X, Y, sample_weight=np.zeros(600))
    assert_allclose(model.coef_[:2], before)
    assert model.partial_fit(X, Y).predict(X).shape == (600, 3)


def random_stream(seed):
    """A stream of ways to go wrong: chunks, rows, labels, weights, and rows to test on."""
    rng = np.random.default_rng(seed)
    n, p, k = int(rng.integers(300, 1500)), int(rng.integers(2, 20)), int(rng.integers(2, 6))
    is_sparse = rng.random() < 0.5
    X = rng.normal(size=(2 * n, p))
    if is_sparse or rng.random() < 0.3:
        X *= rng.random(X.shape) < rng.uniform(0.1, 1)
    y = (X @ rng.normal(size=(p, k)) + rng.gumbel(size=(2 * n, k))).argmax(1)
    X *= 10.0 ** rng.uniform(-6, 6, p)
    if not is_sparse and rng.random() < 0.3:
        X += 1e8 * np.abs(X).max(axis=0) * rng.random(p) * 1e-2
    T, t = X[n:], y[n:]
    X, y = X[:n].copy(), y[:n]
    weights = np.ones(n)
    kind = rng.choice(["shuffled", "sorted", "repeated", "outliers", "zero weights"])
    if kind == "sorted":
        order = np.argsort(y, kind="stable")
        X, y = X[order], y[order]
    elif kind == "repeated":
        order = rng.permutation(np.repeat(np.arange(n // 2), 2))
        X, y, weights = X[order], y[order], weights[order]
    elif kind == "outliers":
        X[rng.random(n) < 0.01] *= 1e6
    elif kind == "zero weights":
        weights = (rng.random(n) < 0.5) * 1.0
    ends = np.cumsum(rng.integers(1, 200, n))
    n = len(y)
    cuts = [0, *ends[ends < n], n]
    chunks = [slice(a, b) for a, b in itertools.pairwise(cuts)]
    return X, y, weights, T, t, k, chunks, kind, is_sparse, rng


# sorted rows whose values overflow SGDClassifier, which then says 1 / K of each class
ABOVE = pytest.mark.xfail(reason="sorted streams end above the loss of constants")
MISSED = {239, 285, 328}


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize(
    "seed",
    [
        *range(60),
        *(
            pytest.param(s, marks=[pytest.mark.long] + [ABOVE] * (s in MISSED))
            for s in range(60, 500)
        ),
    ],
)
def test_random_stream_does_no_harm(seed):
    X, y, weights, T, t, k, chunks, kind, is_sparse, rng = random_stream(seed)
    labels = rng.random() < 0.6 or k == 2
    stored = sparse.csr_array if is_sparse else np.asarray
    if labels:
        model, target = MultinomialLogistic(), y
        options = {"classes": range(k)}
    else:
        model, target = MultiLabelLogistic(loss=rng.choice(["bce", "softmax"])), np.eye(k)[y]
        options = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for rows in chunks:
            model.partial_fit(stored(X[rows]), target[rows], sample_weight=weights[rows], **options)
    assert len(caught) <= 1
    proba = np.maximum(model.predict_proba(stored(T)), 1e-15)
    share = np.average(np.eye(k)[y], axis=0, weights=weights)
    share = np.clip(share, 1e-3, 1)
    found = -np.log(proba[np.arange(len(t)), t]).mean()
    baseline = -np.log(share[t] / share.sum()).mean()
    if not labels and model.loss == "bce":
        found = losses.binary_cross_entropy(proba, np.eye(k)[t])
        baseline = losses.binary_cross_entropy(np.tile(share, (len(t), 1)), np.eye(k)[t])
    if kind != "sorted":
        assert found <= baseline + 0.1
    elif labels:
        peer = SGDClassifier(loss="log_loss", average=True, random_state=0)
        with np.errstate(all="ignore"):
            for rows in chunks:
                peer.partial_fit(X[rows], y[rows], classes=range(k))
            theirs = np.nan_to_num(peer.predict_proba(T))
        theirs = -np.log(np.maximum(theirs[np.arange(len(t)), t], 1e-15)).mean()
        assert found <= 1.2 * max(theirs, baseline) + 0.1


def test_numeric_rates_stay_textbook_steps():
    X, y, _, _ = drawn(n=64)
    model = MultinomialLogistic(learning_rate=constant(0.1), batch_size=64, alpha=0)
    model.partial_fit(X, y)
    residuals = 1 / 3 - np.eye(3)[y]
    assert_allclose(model.coef_, -0.1 * residuals.T @ X / 64, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e-10])
def test_text_is_told_as_surely_after_rows_of_another_scale(scale):
    X, y, T, t = drawn(n=4000, p=60, k=5, density=0.15)
    X, T = sparse.csr_array(X), sparse.csr_array(T)
    plain, other = MultinomialLogistic(), MultinomialLogistic()
    other.partial_fit(scale * X[:50], y[:50], classes=range(5))
    losses_ = [
        log_loss(streamed(model, X[50:], y[50:], 500, range(5)), T, t) for model in (plain, other)
    ]
    assert losses_[1] <= 1.15 * losses_[0]  # 1.3 where those rows' penalty is remembered


@every_storage
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("before", ["fit", "stream"])
def test_the_state_of_a_stream_is_finite_at_any_scale(before, dtype, stored):
    X, y, _, _ = drawn(n=200)
    X *= 1e30 if dtype == "float32" else 1e160
    X = stored(X.astype(dtype))
    for name in ("auto", "sgd", "adagrad"):
        model = MultinomialLogistic(solver=name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            streamed(model.fit(X, y) if before == "fit" else model, X, y, 50)
        stream = model._stream
        seen = stream.seen
        of_columns = seen.columns if seen.is_sparse else (seen.scatter, seen.mean, seen.reach)
        for found in (*of_columns, stream.clock, stream.norm, stream.sure, stream.W):
            assert np.isfinite(found).all()
