"""What a stream of partial_fit bears: bad rows, scales that change, weights that overflow."""

import itertools
import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from stream_cases import RULES, drawn, every_rule, every_storage, log_loss, streamed

from skce import MultiLabelLogistic, MultinomialLogistic, losses


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
