"""What a stream of partial_fit promises: calls of any size, new classes, going on after fits."""

import copy
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from stream_cases import RULES, STORAGE, drawn, every_rule, every_storage, log_loss, streamed

from skce import MultiLabelLogistic, MultinomialLogistic
from skce.optim import constant


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


def test_numeric_rates_stay_textbook_steps():
    X, y, _, _ = drawn(n=64)
    model = MultinomialLogistic(learning_rate=constant(0.1), batch_size=64, alpha=0)
    model.partial_fit(X, y)
    residuals = 1 / 3 - np.eye(3)[y]
    assert_allclose(model.coef_, -0.1 * residuals.T @ X / 64, rtol=1e-12)
