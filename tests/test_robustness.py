"""Cases that once broke a fit, a stream or the process."""

import os

import numpy as np
import pytest
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_info, threadpool_limits

from skce import MultiLabelLogistic, MultinomialLogistic, losses
from skce._engine.data import EpochData, Matrix
from skce._engine.sgd import sgd_run
from skce._estimators import predict
from skce._kernels import arrays

SOLVERS = ["auto", "sdca", "lbfgs", "sgd", "adagrad", "adam"]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((500, 5))
Y = (X[:, 0] + 0.1 * RNG.standard_normal(500) > 0).astype(int)
FLAT = np.c_[
    load_iris().data, np.full(150, 0.1)
]  # 0.1 is no binary fraction: rounding leaves a variance


def nasty(seed):
    """A small problem with scales, weights and class sizes all over the place."""
    rng = np.random.default_rng(seed)
    n, p, k = rng.integers([20, 1, 2], [200, 6, 8])
    A = rng.standard_normal((n, p)) * 10.0 ** rng.integers(-4, 5, p)
    A *= 10.0 ** rng.integers(-2, 3, (n, 1))
    y = rng.integers(0, k, n)
    y[:k] = np.arange(k)
    return A, y, 10.0 ** rng.uniform(-3, 3, n)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("seed", range(12))
def test_objective_never_ends_above_that_of_zero(seed, solver):
    A, y, w = nasty(seed)
    model = MultinomialLogistic(solver=solver, random_state=0).fit(A, y, w)
    log_proba = model.predict_log_proba(A)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    loss = -np.average(log_proba, weights=w)
    at_zero = np.log(len(model.classes_))
    assert loss + model.alpha / 2 * np.sum(model.coef_**2) <= at_zero * (1 + 1e-9)


def test_optimum_of_few_rows_a_class_and_of_rare_rows():
    classes = np.arange(400) % 200
    A = RNG.standard_normal((400, 1))
    model = MultinomialLogistic(random_state=0).fit(A, classes)
    assert model.converged_
    assert model.loss_curve_[-1] < np.log(200)
    A = np.r_[[[0.0], [1.0]], np.full((1000, 1), 2.0)]
    indicator = np.r_[[[0, 1], [1, 0]], np.tile([0, 1], (1000, 1))]
    model = MultiLabelLogistic(pos_weight=100, random_state=0).fit(A, indicator)
    assert model.loss_curve_[-1] == pytest.approx(0.0331, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 1e-4])
def test_constant_column_gets_no_weight_and_costs_no_iterations(alpha):
    y = load_iris().target
    model = MultinomialLogistic(alpha=alpha, tol=1e-9, random_state=0).fit(FLAT, y)
    plain = MultinomialLogistic(alpha=alpha, tol=1e-9, random_state=0).fit(FLAT[:, :4], y)
    assert model.n_iter_ <= 1.3 * plain.n_iter_ + 10
    # by about the root of the gap; without a penalty the optimum is nearly flat
    assert_allclose(model.predict_proba(FLAT), plain.predict_proba(FLAT[:, :4]), atol=1e-5)
    assert np.abs(model.coef_[:, 4]).max() < 1e-3


@pytest.mark.parametrize("solver", ["auto", "sgd"])  # steps of AdaGrad and Adam fall
def test_stream_follows_labels_that_flip(solver):
    model = MultinomialLogistic(alpha=1e-7, solver=solver)
    for labels in (Y, 1 - Y):
        for _ in range(40):
            model.partial_fit(X, labels)
    assert model.score(X, 1 - Y) > 0.9


def test_one_value_beyond_range_changes_little():
    model = MultinomialLogistic().partial_fit(X, Y)
    broken = X.copy()
    broken[5, 2] = 1e200
    model.partial_fit(broken, Y)
    for _ in range(5):
        assert model.score(X, Y) > 0.95
        model.partial_fit(X, Y)


def test_scale_of_all_weights_is_that_of_the_loss():
    found = []
    for weight in (1.0, 1e3, 1e6):
        model = MultinomialLogistic(alpha=0.0, random_state=0)
        for _ in range(5):
            model.partial_fit(X, Y, sample_weight=np.full(500, weight))
        found.append(model.coef_)
    assert_allclose(found[1], found[0], rtol=1e-6)
    assert_allclose(found[2], found[0], rtol=1e-6)


def test_later_calls_of_partial_fit_check_parameters_and_the_form_of_y():
    model = MultinomialLogistic().partial_fit(X, Y)
    for wrong in ({"batch_size": 0}, {"solver": "bogus"}, {"label_smoothing": 5}, {"alpha": -1}):
        right = {name: getattr(model, name) for name in wrong}
        with pytest.raises(ValueError, match=next(iter(wrong))):
            model.set_params(**wrong).partial_fit(X, Y)
        model.set_params(**right)
    labels = MultiLabelLogistic().partial_fit(X, np.c_[Y, 1 - Y, Y])
    with pytest.raises(ValueError, match="form of the first call"):
        labels.partial_fit(X, np.arange(500) % 3)


def test_intercept_is_left_behind_where_it_is_no_longer_fitted():
    model = MultinomialLogistic(solver="sgd", random_state=0).fit(X + 3, Y)
    model.set_params(fit_intercept=False).partial_fit(X + 3, Y)
    assert model.intercept_ == 0


def test_explicit_zeros_change_nothing():
    A = sparse.csr_array(np.where(RNG.random((500, 5)) < 0.5, X, 0))
    full = A.copy()
    full.data[::3] = 0
    pruned = full.copy()
    pruned.eliminate_zeros()
    one, two = (
        MultinomialLogistic(solver="sgd", tol=0, max_iter=3, random_state=0) for _ in range(2)
    )
    with pytest.warns(ConvergenceWarning):
        one.fit(full, Y)
    with pytest.warns(ConvergenceWarning):
        two.fit(pruned, Y)
    assert_allclose(one.coef_, two.coef_, rtol=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("y", "smoothing"),
    [(np.full((500, 3), 1 / 3), 0.0), (np.arange(500) % 3, 1.0)],
    ids=["uniform targets", "uniform by smoothing"],
)
def test_optimum_at_zero_is_found_at_once(y, smoothing):
    model = MultinomialLogistic(label_smoothing=smoothing, random_state=0).fit(X, y)
    assert model.n_iter_ < 10
    assert_allclose(model.predict_proba(X), 1 / 3, atol=1e-9)


def test_given_rate_that_ends_above_zero_warns():
    A = np.array([[-10.0], [10.0]] * 50)
    y = np.arange(100) % 2
    y[::5] ^= 1
    model = MultinomialLogistic(
        solver="sgd", learning_rate=5.0, alpha=0, batch_size=100, random_state=0
    )
    with pytest.warns(ConvergenceWarning, match="diverged"):
        model.fit(A, y)
    assert not model.converged_


def test_blas_has_its_threads_back_after_fits_in_a_pool():
    def threads():
        return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]

    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        for _ in range(5):
            Parallel(2, backend="threading")(
                delayed(MultinomialLogistic().fit)(X, Y) for _ in range(6)
            )
        assert threads() == before


def test_threshold_is_for_indicators():
    with pytest.raises(ValueError, match="threshold"):
        MultiLabelLogistic(threshold=0.3).fit(X, Y)


def test_zero_weight_removes_an_infinite_loss():
    proba, labels = [[0.0, 1.0], [0.5, 0.5]], [0, 0]
    assert losses.cross_entropy(proba, labels, sample_weight=[0, 1]) == pytest.approx(np.log(2))
    found = losses.binary_cross_entropy(proba, np.eye(2)[labels], sample_weight=[0, 1])
    assert found == pytest.approx(2 * np.log(2))


@pytest.mark.parametrize("n_threads", [1000, 2**40])
def test_more_threads_than_cores_do_no_harm(n_threads):
    found = losses.softmax_cross_entropy(
        np.zeros((70_000, 10)), np.zeros(70_000, int), n_threads=n_threads
    )
    assert found == pytest.approx(np.log(10))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_computes_after_its_parent_had_threads():
    logits, labels = np.zeros((50_000, 13)), np.zeros(50_000, int)
    losses.softmax_cross_entropy(logits, labels, n_threads=2)
    child = os.fork()
    if child == 0:
        losses.softmax_cross_entropy(logits, labels, n_threads=2)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize(
    "call",
    [
        lambda: Matrix(np.zeros(4)),
        lambda: Matrix(np.zeros((4, 0))),
        lambda: Matrix(sparse.csc_array(np.eye(3))),
        lambda: EpochData.__new__(EpochData),
        lambda: EpochData(9, X, np.zeros(500, np.intc), 2, np.ones(500), None, 0.0),
        lambda: EpochData(2, X, sparse.csr_array((500, 0)), 0, np.ones(500), None, 0.0),
        lambda: EpochData(
            2, X, sparse.csr_array((500, 2)), 2, np.ones(500), None, 0.0, np.ones((500, 3))
        ),
        lambda: sgd_run(*[None] * 24),
        lambda: arrays.softmax_into(None, None, False, 1),
        lambda: arrays.loss_and_residuals(
            0, X, np.zeros(500, np.intc), None, 1.0, *[None] * 3, 1.0, 0.0, X.copy(), None, -1
        ),
    ],
)
def test_private_entry_points_raise_rather_than_crash(call):
    with pytest.raises((ValueError, TypeError)):
        call()


SINGLE = np.float32([[0, 1]])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        (
            "class_weight",
            lambda: losses.softmax_cross_entropy(SINGLE, [[0.5, 0.5]], class_weight=[1, 1e39]),
        ),
        (
            "class_weight",
            lambda: losses.softmax_cross_entropy(
                [[0.0, 1]], [0], sample_weight=[1e200], class_weight=[1e200, 1]
            ),
        ),
        ("pos_weight", lambda: losses.sigmoid_cross_entropy(SINGLE, [[0, 1]], pos_weight=1e39)),
        (
            "sample_weight",
            lambda: losses.sigmoid_cross_entropy(
                SINGLE, [[0, 1]], sample_weight=[1e39], reduction="sum"
            ),
        ),
    ],
)
def test_weights_that_overflow_are_named(name, call):
    with pytest.raises(ValueError, match=f"{name}.*finite"):
        call()


def test_a_tiny_weight_is_as_good_as_another():
    loss = losses.softmax_cross_entropy([[0.0, 1]], [0], sample_weight=[1e-310])
    assert loss == pytest.approx(np.log(1 + np.e))


@pytest.mark.parametrize("block", [1, 7, 50, 10**9])
@pytest.mark.parametrize("storage", ["dense", "csr", "float32", "fortran"])
def test_predictions_do_not_depend_on_the_blocks(block, storage, monkeypatch):
    A, y = make_classification(60, 21, n_informative=6, n_classes=4, random_state=0)
    model = MultinomialLogistic(alpha=0.1).fit(A, y)
    model.intercept_ = 0.5  # set by hand: broadcast
    data = {
        "dense": A,
        "csr": sparse.csr_array(A * (abs(A) > 0.5)),
        "float32": A.astype(np.float32),
        "fortran": np.asfortranarray(A),
    }[storage]
    monkeypatch.setattr(predict, "BLOCK", block)
    logits = data @ model.coef_.T + 0.5
    assert_allclose(model.decision_function(data), logits, rtol=1e-12, atol=1e-12)
    assert_array_equal(model.predict(data), logits.argmax(axis=1))
    proba = softmax(logits, axis=1)
    assert_allclose(model.predict_proba(data), proba, rtol=1e-12)
    assert_allclose(model.predict_log_proba(data), np.log(proba), rtol=1e-11)


@pytest.mark.parametrize("solver", ["auto", "lbfgs"])
@pytest.mark.parametrize("kept", [slice(0, 3), slice(0, 4)])
def test_column_that_is_constant_but_for_rounding_has_no_weight_without_penalty(solver, kept):
    rng = np.random.default_rng(0)
    shares, y = rng.dirichlet(np.ones(4), 500), rng.integers(3, size=500)
    total = shares.sum(axis=1, keepdims=True)
    assert np.ptp(total) > 0
    model = MultinomialLogistic(solver=solver, alpha=0.0, tol=1e-8)
    expected = clone(model).fit(shares[:, kept], y).coef_
    for scale in (1.0, 1e6):
        found = clone(model).fit(np.hstack([shares[:, kept], scale * total]), y).coef_
        assert_allclose(found[:, :-1], expected, rtol=1e-3, atol=1e-3)
        assert_allclose(found[:, -1], 0, atol=1e-3)
