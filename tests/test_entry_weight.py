"""Weights of entries: in the losses, in every solver, and in the counts that a fit makes."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from registry import TOLERANCE
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold

from skce import MultiLabelLogistic, losses
from skce.metrics import best_thresholds, neg_multilabel_log_loss_scorer

n, p, K = 300, 4, 3
rng = np.random.default_rng(0)
X = rng.normal(size=(n, p))
Y = (X @ rng.normal(size=(p, K)) + rng.logistic(size=(n, K)) > 1).astype(float)
V = rng.uniform(0.2, 3, size=(n, K))
GAPS = np.where(rng.random(V.shape) < 0.2, 0, V)
W = rng.uniform(0.5, 2, size=n)
every_storage = pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SOLVED = {"alpha": 1e-2, "tol": 1e-12, "max_iter": 2000}


def by_entry(logits, targets, weight, entry_weight, smoothing, q):
    """Losses and residuals of each entry in extended precision, times their weights."""
    columns = [
        reference.sigmoid_cross_entropy(
            logits[:, j], targets[:, j], weight, pos_weight=q[j], label_smoothing=smoothing
        )
        for j in range(logits.shape[1])
    ]
    parts = (np.column_stack([column[i] for column in columns]) for i in (0, 1))
    with np.errstate(invalid="ignore"):
        return [np.where(entry_weight > 0, part * entry_weight, 0) for part in parts]


@every_dtype
@pytest.mark.parametrize("k", [1, 3, 40, 1500])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, W])
def test_losses_weigh_their_entries(weight, reduction, k, dtype):
    draw = np.random.default_rng(k)
    rows = n if k < 100 else 20
    logits = (3 * draw.normal(size=(rows, k))).astype(dtype)
    targets = draw.uniform(size=(rows, k)).astype(dtype)
    targets[draw.random((rows, k)) < 0.1] = np.nan
    entry_weight = np.where(draw.random((rows, k)) < 0.3, 0, draw.uniform(0, 4, (rows, k)))
    logits[entry_weight == 0] = np.inf  # are not looked at
    entry_weight, q = entry_weight.astype(dtype), draw.uniform(0.5, 3, k)
    weight = None if weight is None else weight[:rows]
    ones = np.ones(rows) if weight is None else weight
    loss, residuals = by_entry(logits, targets, ones, entry_weight, 0.1, q.astype(dtype))
    loss = loss.sum(axis=1)
    if reduction != "none":
        divisor = ones.sum() if reduction == "mean" else 1
        loss, residuals = loss.sum() / divisor, residuals / divisor
    options = {"sample_weight": weight, "entry_weight": entry_weight, "pos_weight": q}
    options |= {"label_smoothing": 0.1, "reduction": reduction}
    found, gradient = losses.sigmoid_cross_entropy_value_and_grad(logits, targets, **options)
    tolerance = {**TOLERANCE[dtype], "rtol": 20 * TOLERANCE[dtype]["rtol"]}
    assert_allclose(found, loss.astype(float), **tolerance)
    assert_allclose(gradient, residuals.astype(float), **tolerance)
    assert_allclose(losses.sigmoid_cross_entropy(logits, targets, **options), found, rtol=1e-12)


def test_curvature_weighs_its_entries():
    logits = 2 * rng.normal(size=(n, K))
    options = {"pos_weight": [1.0, 2, 3], "label_smoothing": 0.1, "sample_weight": W}
    plain = losses.sigmoid_cross_entropy_hessian_diag(logits, Y, **options)
    weighted = losses.sigmoid_cross_entropy_hessian_diag(logits, Y, **options, entry_weight=GAPS)
    assert_allclose(weighted, plain * GAPS, rtol=1e-12)


def test_loss_is_torchs():
    torch = pytest.importorskip("torch")
    logits = 2 * rng.normal(size=(n, K))
    tensor = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        tensor, torch.tensor(Y), weight=torch.tensor(V), reduction="sum"
    )
    loss.backward()
    found, gradient = losses.sigmoid_cross_entropy_value_and_grad(
        logits, Y, entry_weight=V, reduction="sum"
    )
    assert_allclose(found, loss.item(), rtol=1e-12)
    assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-14)


@every_storage
@pytest.mark.parametrize("solver", ["lbfgs", "sdca", "auto"])
@pytest.mark.parametrize("weights", [V, GAPS], ids=["positive", "zeros"])
def test_fit_is_one_logistic_regression_for_each_label(weights, solver, storage):
    model = MultiLabelLogistic(solver=solver, **SOLVED)
    model.fit(storage(X), Y, W, entry_weight=weights)
    assert 0 <= model.dual_gap_ < 1e-9
    for j in range(K):
        one = LogisticRegression(C=1 / (1e-2 * W.sum()), tol=1e-10, max_iter=10_000)
        one.fit(X, Y[:, j], sample_weight=W * weights[:, j])
        assert_allclose(model.coef_[j], one.coef_[0], atol=1e-5)
        assert_allclose(model.intercept_[j], one.intercept_[0], atol=1e-5)


@every_storage
@every_dtype
def test_float32_samples_and_spans_take_weights_along(dtype, storage):
    wide = np.random.default_rng(1).normal(size=(60, 90)).astype(dtype)
    weights = V[:60].astype(dtype)
    model = MultiLabelLogistic(alpha=1e-2, tol=1e-6).fit(
        storage(wide), Y[:60], entry_weight=weights
    )
    for j in range(K):
        one = LogisticRegression(C=1 / (1e-2 * 60), tol=1e-8, max_iter=10_000)
        one.fit(wide.astype(float), Y[:60, j], sample_weight=V[:60, j])
        assert_allclose(model.coef_[j], one.coef_[0], atol=2e-3)
    assert model.coef_.dtype == dtype


def test_weight_of_zero_is_a_missing_entry():
    missing = np.where(GAPS == 0, np.nan, Y)
    for y in (Y, sparse.csr_array(Y)):
        zeros = MultiLabelLogistic(**SOLVED).fit(X, y, entry_weight=GAPS)
        gaps = MultiLabelLogistic(**SOLVED).fit(X, missing, entry_weight=np.where(GAPS, GAPS, 1))
        assert_array_equal(zeros.coef_, gaps.coef_)
        assert zeros.mean_labels_ == gaps.mean_labels_


@pytest.mark.parametrize("label", [0, 2])
def test_divisor_leaves_entry_weights_out(label):
    weights = np.ones((n, K))
    weights[:, label] = 4
    model = MultiLabelLogistic(**SOLVED).fit(X, Y, entry_weight=weights)
    less = MultiLabelLogistic(**{**SOLVED, "alpha": 1e-2 / 4}).fit(X, Y)
    plain = MultiLabelLogistic(**SOLVED).fit(X, Y)
    for j in range(K):
        expected = less if j == label else plain
        assert_allclose(model.coef_[j], expected.coef_[j], atol=1e-6)


def test_balanced_pos_weight_counts_entries_by_their_weight():
    balanced = MultiLabelLogistic(pos_weight="balanced", **SOLVED).fit(X, Y, W, entry_weight=GAPS)
    mass = W[:, np.newaxis] * GAPS
    q = (mass * (1 - Y)).sum(axis=0) / (mass * Y).sum(axis=0)
    expected = MultiLabelLogistic(pos_weight=q, **SOLVED).fit(X, Y, W, entry_weight=GAPS)
    assert_allclose(balanced.coef_, expected.coef_, rtol=1e-9)


@every_storage
@every_dtype
@pytest.mark.parametrize("solver", ["sgd", "adagrad", "adam"])
def test_stochastic_passes_take_the_weighted_gradient(solver, dtype, storage):
    options = {"solver": solver, "learning_rate": 0.05, "batch_size": n, "average": False}
    rows = storage(X.astype(dtype))
    model = MultiLabelLogistic(alpha=0, **options).partial_fit(rows, Y, entry_weight=GAPS)
    _, residuals = by_entry(np.zeros((n, K)), Y, np.ones(n), GAPS, 0.0, np.ones(K))
    gradient = (residuals.T @ X / n).astype(float)
    step = -0.05 * (gradient if solver == "sgd" else np.sign(gradient))
    assert_allclose(model.coef_, step, rtol=1e-5, atol=1e-7)
    expected = losses.sigmoid_cross_entropy(np.zeros((n, K)), Y, entry_weight=GAPS)
    assert_allclose(model.loss_curve_, [expected], rtol=1e-6)


@every_storage
def test_streams_and_sgd_follow_the_weights(storage):
    weights = np.where(Y > 0, 9.0, 1.0)  # as if labels were forgotten
    for method in ("fit", "partial_fit"):
        plain = MultiLabelLogistic(solver="sgd", random_state=0, max_iter=300)
        heavy = MultiLabelLogistic(solver="sgd", random_state=0, max_iter=300)
        getattr(plain, method)(storage(X), Y)
        getattr(heavy, method)(storage(X), Y, entry_weight=weights)
        more = heavy.predict_proba(storage(X)).mean() - plain.predict_proba(storage(X)).mean()
        assert more > 0.1


def test_thresholds_are_learnt_with_the_weights():
    model = MultiLabelLogistic(threshold="f1", random_state=0, **SOLVED)
    proba = np.empty(Y.shape)
    for part, rest in KFold(3, shuffle=True, random_state=np.random.RandomState(0)).split(X):
        twin = clone(model).set_params(threshold=None)
        twin.fit(X[part], Y[part], W[part], entry_weight=GAPS[part])
        proba[rest] = twin.predict_proba(X[rest])
    expected = [
        best_thresholds(Y[:, [j]], proba[:, [j]], sample_weight=W * GAPS[:, j])[0] for j in range(K)
    ]
    wrong = np.where(GAPS > 0, Y, 1 - Y)  # which no threshold may see
    for targets in (Y, wrong, sparse.csr_array(wrong)):
        found = clone(model).fit(X, targets, W, entry_weight=GAPS).threshold_
        assert_allclose(found, expected, rtol=1e-6)


@every_storage
def test_a_stream_is_as_careful_with_weights_of_both_kinds_as_with_their_product(storage):
    both, product = (
        MultiLabelLogistic(alpha=1e-4, pos_weight=q, average=False) for q in (100.0, 1e4)
    )
    for at in range(0, n, 50):
        rows = slice(at, at + 50)
        heavy = np.where(Y[rows] > 0, 100.0, 1.0)
        both.partial_fit(storage(X[rows]), Y[rows], entry_weight=heavy)
        product.partial_fit(storage(X[rows]), Y[rows])
    assert_allclose(both.coef_, product.coef_, rtol=1e-6)
    assert_allclose(both.intercept_, product.intercept_, rtol=1e-6)


@pytest.mark.parametrize("solver", ["lbfgs", "sdca"])
def test_loss_of_rows_held_out_has_the_weights(solver):
    options = {"solver": solver, "early_stopping": True, "random_state": 0}
    once = MultiLabelLogistic(alpha=1e-2, **options).fit(X, Y, entry_weight=GAPS)
    twice = MultiLabelLogistic(alpha=2e-2, **options).fit(X, Y, entry_weight=2 * GAPS)
    plain = MultiLabelLogistic(alpha=1e-2, **options).fit(X, Y)
    doubled = 2 * np.array(once.validation_loss_curve_)
    assert_allclose(min(twice.validation_loss_curve_), doubled.min(), rtol=1e-2)
    assert min(once.validation_loss_curve_) > 1.1 * min(plain.validation_loss_curve_)


def test_searches_route_and_slice_them():
    from sklearn import config_context

    with config_context(enable_metadata_routing=True):
        model = MultiLabelLogistic().set_fit_request(entry_weight=True)
        search = GridSearchCV(
            model, {"alpha": [1e-3]}, scoring=neg_multilabel_log_loss_scorer, cv=KFold(3)
        )
        search.fit(X, Y, entry_weight=GAPS)
    expected = MultiLabelLogistic(alpha=1e-3).fit(X, Y, entry_weight=GAPS)
    assert_array_equal(search.best_estimator_.coef_, expected.coef_)


WRONG = [
    (np.ones((n, 2)), r"entry_weight must have shape \(300, 3\), got \(300, 2\)"),
    (np.ones(n), r"entry_weight must have shape"),
    (-V, r"entry_weight must be finite and not negative, got values from -"),
    (np.where(V > 1, np.nan, V), r"entry_weight must be finite"),
    (np.where(V > 1, np.inf, V), r"entry_weight must be finite"),
    (sparse.csr_array(V), r"entry_weight must be a dense array"),
    (V.astype(str), r"entry_weight must be real numbers"),
]


@pytest.mark.parametrize(("weights", "message"), WRONG)
def test_wrong_weights_are_named(weights, message):
    for call in (
        lambda: MultiLabelLogistic().fit(X, Y, entry_weight=weights),
        lambda: MultiLabelLogistic().partial_fit(X, Y, entry_weight=weights),
        lambda: losses.sigmoid_cross_entropy(X[:, :3], Y, entry_weight=weights),
        lambda: losses.sigmoid_cross_entropy_hessian_diag(X[:, :3], Y, entry_weight=weights),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_weights_of_entries_are_for_bce():
    message = r'entry_weight must be None for loss="softmax" and y of one dimension'
    with pytest.raises(ValueError, match=message):
        MultiLabelLogistic(loss="softmax").fit(X, Y, entry_weight=V)
    with pytest.raises(ValueError, match=message):
        MultiLabelLogistic().fit(X, Y[:, 0], entry_weight=V)
    with pytest.raises(ValueError, match=r"entry_weight must have a finite sum"):
        MultiLabelLogistic().fit(X.astype("f"), Y, entry_weight=np.full(Y.shape, 1e38))
    gradient = V.copy()
    with pytest.raises(ValueError, match=r"out must not share memory with entry_weight"):
        losses.sigmoid_cross_entropy_value_and_grad(
            X[:, :3], Y, entry_weight=gradient, out=gradient
        )
