"""Labels in groups: what is fitted is what all labels together find, also where it is pruned."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression

from skce import MultiLabelLogistic, MultinomialLogistic, losses
from skce._estimators import control, fitting, predict
from skce._kernels import threads as threads_of_python
from skce._solvers import groups

STORAGE = {"dense": np.asarray, "csr": sparse.csr_matrix}
every_storage = pytest.mark.parametrize("storage", STORAGE)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
N, P, K, SIZE = 120, 12, 11, 3

rng = np.random.default_rng(0)
X = rng.standard_normal((N, P)) * (rng.random((N, P)) < 0.6)
LOGITS = X @ rng.standard_normal((P, K)) - 0.5
Y = (LOGITS + rng.logistic(size=LOGITS.shape) > 0).astype(float)
WEIGHTS = rng.random(N) + 0.5


@pytest.fixture
def small_groups(monkeypatch):
    """Any labels are too many to be fitted together, and a group has at most 3."""
    monkeypatch.setattr(groups, "TOGETHER", 0)
    monkeypatch.setattr(groups, "LABELS", SIZE)


def dense(A):
    return A.toarray() if sparse.issparse(A) else np.asarray(A)


def objective_of(model, coef=None, intercept=None):
    """The objective in NumPy, in double, for unit weights."""
    coef = dense(model.coef_ if coef is None else coef).astype(float)
    intercept = model.intercept_ if intercept is None else intercept
    z = X @ coef.T + intercept
    loss = np.logaddexp(0, z) - Y * z
    size = (1 - model.l1_ratio) / 2 * np.sum(coef**2) + model.l1_ratio * np.abs(coef).sum()
    return loss.sum() / N + model.alpha * size


@every_storage
@every_dtype
@pytest.mark.parametrize("solver", ["sdca", "lbfgs"])
def test_each_label_is_a_logistic_regression(storage, dtype, solver, small_groups):
    A, tol = STORAGE[storage](X.astype(dtype)), 1e-4 if dtype == np.float32 else 1e-9
    model = MultiLabelLogistic(alpha=1e-2, solver=solver, tol=tol, max_iter=2000, random_state=0)
    model.fit(A, Y)
    assert len(model.loss_curve_) == 4  # groups
    for j in range(K):
        peer = LogisticRegression(C=1 / (1e-2 * N), tol=1e-10, max_iter=1000).fit(X, Y[:, j])
        assert_allclose(model.coef_[j], peer.coef_[0], atol=20 * np.sqrt(tol))
        assert_allclose(model.intercept_[j], peer.intercept_[0], atol=20 * np.sqrt(tol))


@every_storage
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
@pytest.mark.parametrize("prune", [None, 0.0, 0.1])
def test_numbers_of_the_fit_are_those_of_all_labels(storage, l1_ratio, prune, small_groups):
    params = {"alpha": 5e-3, "l1_ratio": l1_ratio, "random_state": 0, "prune": prune}
    model = MultiLabelLogistic(**params).fit(STORAGE[storage](X), Y)
    best = MultiLabelLogistic(**params | {"tol": 1e-9, "prune": None}, max_iter=1000)
    best.fit(STORAGE[storage](X), Y)
    assert model.objective_ == pytest.approx(objective_of(model), rel=1e-9)
    assert model.objective_ - best.objective_ <= model.dual_gap_ * (1 + 1e-6)
    assert model.certified_ == (model.dual_gap_ <= 1e-3 * model.objective_)
    assert model.converged_ == (model.gap_estimate_ <= 1e-3 * model.objective_)
    assert model.converged_ or prune == 0.1
    assert model.stop_reason_ == ("tol" if model.converged_ else "prune")
    assert model.loss_curve_[-1] == pytest.approx(model.objective_, rel=1e-12)
    first = dense(model.coef_).copy()  # later labels are zero, whose losses are log 2
    first[SIZE - 1 :] = 0  # 11 labels in groups of 2, 3, 3, 3
    intercept = np.where(np.arange(K) < SIZE - 1, model.intercept_, 0)
    assert model.loss_curve_[0] == pytest.approx(objective_of(model, first, intercept), rel=1e-9)
    assert 1 <= model.n_iter_ <= 100


@every_storage
@pytest.mark.parametrize("prune", [None, 0.05])
def test_bits_do_not_depend_on_the_number_of_threads(storage, prune, small_groups, monkeypatch):
    found = []
    for threads in (1, 2, 5):
        for module in (groups, threads_of_python):
            monkeypatch.setattr(module, "thread_count", lambda threads=threads: threads)
        model = MultiLabelLogistic(random_state=0, prune=prune).fit(STORAGE[storage](X), Y)
        found.append((dense(model.coef_), model.intercept_, model.loss_curve_, model.dual_gap_))
    for one in found[1:]:
        for a, b in zip(one, found[0], strict=True):
            assert_array_equal(a, b)


MISSING = Y.copy()
MISSING[::5, 2] = np.nan
MISSING[3, :] = np.nan
SPECIAL = {
    "weights": (Y, {}, {"sample_weight": WEIGHTS}),
    "weights of entries": (Y, {}, {"entry_weight": rng.random((N, K))}),
    "missing entries": (MISSING, {}, {}),
    "pos_weight": (Y, {"pos_weight": np.linspace(0.5, 3, K)}, {}),
    "balanced": (Y, {"pos_weight": "balanced"}, {}),
    "smoothing": (Y, {"label_smoothing": 0.1}, {}),
    "shares": (0.9 * Y, {}, {}),
    "no intercept": (Y, {"fit_intercept": False}, {}),
    "start": (Y, {}, {"coef_init": np.ones((K, P)), "intercept_init": np.ones(K)}),
    "one-vs-rest": (LOGITS.argmax(axis=1), {}, {}),
    "a tiny scale": (Y, {"alpha": 1e-300}, {}),
    "a huge scale": (Y, {"alpha": 1e307}, {}),
}
SCALES = {"a tiny scale": 1e-150, "a huge scale": 1e155}


@every_storage
@pytest.mark.parametrize("case", SPECIAL)
def test_groups_find_what_labels_find_together(case, storage, monkeypatch):
    y, params, given = SPECIAL[case]
    A = STORAGE[storage](X * SCALES.get(case, 1.0))
    model = MultiLabelLogistic(**{"alpha": 1e-2, **params}, tol=1e-9, max_iter=1000, random_state=0)
    together = clone(model).fit(A, y, **given)
    monkeypatch.setattr(groups, "TOGETHER", 0)
    monkeypatch.setattr(groups, "LABELS", SIZE)
    apart = clone(model).fit(A, y, **given)
    assert len(apart.loss_curve_) == 4
    assert apart.objective_ == pytest.approx(together.objective_, rel=2e-9)
    assert_allclose(apart.decision_function(A), together.decision_function(A), atol=2e-3)


def test_certified_asks_it_of_the_sum_of_the_gaps(small_groups):
    model = MultiLabelLogistic(certified=True, random_state=0).fit(X, Y)
    assert model.certified_
    assert model.dual_gap_ <= 1e-3 * model.objective_


@every_storage
def test_labels_without_a_coefficient_left_keep_their_intercepts(storage):
    model = MultiLabelLogistic(alpha=1e-2, random_state=0, prune=1e9).fit(STORAGE[storage](X), Y)
    assert model.coef_.nnz == 0
    assert model.objective_ == pytest.approx(objective_of(model), rel=1e-9)


def test_constant_labels_end_at_once(small_groups):
    y = Y.copy()
    y[:, :5], y[:, 5:7] = 0, 1
    with pytest.warns(UserWarning, match="labels of one value"):
        model = MultiLabelLogistic(random_state=0).fit(X, y)
    assert model.converged_
    assert_array_equal(model.predict(X)[:, :7], y[:, :7])


def test_one_warning_counts_the_groups_that_did_not_end(small_groups):
    with pytest.warns(ConvergenceWarning, match=r"in \d of 4 groups of labels, first: max_iter=2"):
        model = MultiLabelLogistic(solver="sdca", alpha=1e-5, max_iter=2).fit(X, Y)
    assert not model.converged_
    assert model.objective_ == pytest.approx(objective_of(model), rel=1e-9)
    assert 2 <= model.n_iter_ <= 4  # as many passes of L-BFGS judge what SDCA reached


@pytest.mark.parametrize("prune", [None, 0.01])
def test_warm_start_goes_on_from_the_groups(prune, small_groups):
    params = {"alpha": 1e-2, "solver": "sdca", "random_state": 0, "prune": prune, "tol": 1e-4}
    model = MultiLabelLogistic(**params, warm_start=True).fit(sparse.csr_array(X), Y)
    cold = model.n_iter_
    model.fit(sparse.csr_array(X), Y)
    assert model.n_iter_ < cold / 2


class Recorder:
    """A callback that keeps the fitted estimators it is shown, and may say stop."""

    def __init__(self, most=np.inf):
        self.most, self.models = most, []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        if context.parent is not None and fitted_estimator is not None:
            self.models.append(fitted_estimator)
        return len(self.models) >= self.most


@pytest.mark.parametrize("prune", [None, 0.05])
def test_callbacks_see_the_groups_fitted_so_far(prune, small_groups, monkeypatch):
    monkeypatch.setattr(control, "SUBTASK_SECONDS", 0.0)
    seen = Recorder()
    model = MultiLabelLogistic(random_state=0, prune=prune).set_callbacks(seen).fit(X, Y)
    assert len(seen.models) == 4
    assert seen.models[-1].objective_ == pytest.approx(model.objective_)
    assert seen.models[0].predict_proba(X).shape == (N, K)
    stopped = MultiLabelLogistic(random_state=0, prune=prune).set_callbacks(Recorder(2)).fit(X, Y)
    assert stopped.stop_reason_ == "callback"
    assert not stopped.converged_
    assert np.isnan(stopped.dual_gap_)
    assert_array_equal(dense(stopped.coef_)[:5], dense(model.coef_)[:5])  # of 2 and 3 labels
    assert not dense(stopped.coef_)[5:].any()
    assert stopped.objective_ == pytest.approx(objective_of(stopped), rel=1e-9)


def test_verbose_tells_of_each_group(small_groups, capsys):
    MultiLabelLogistic(random_state=0, verbose=1).fit(X, Y)
    assert capsys.readouterr().out.count("groups of labels, pass ") == 4


def test_early_stopping_fits_all_labels_together(small_groups, monkeypatch):
    monkeypatch.setattr(groups, "minimize", None)  # not called
    model = MultiLabelLogistic(early_stopping=True, random_state=0).fit(sparse.csr_array(X), Y)
    assert len(model.validation_loss_curve_) == len(model.loss_curve_)


@every_dtype
@pytest.mark.parametrize("most", [N * K, N * K - 1])
def test_dtype_of_X_does_not_choose_the_solver(dtype, most, monkeypatch):
    monkeypatch.setattr(fitting, "TABLE", most)
    A = X.astype(dtype)
    for y in (np.clip(Y, 0, 1), LOGITS.argmax(axis=1)):
        kind = MultiLabelLogistic if y.ndim == 2 else MultinomialLogistic
        params = {"loss": "softmax"} if y.ndim == 2 else {}
        model = kind(**params, max_iter=300, random_state=0).fit(A, y)
        assert np.isnan(model.dual_gap_) == (most < N * K)
    assert MultiLabelLogistic(random_state=0).fit(A, Y).dual_gap_ >= 0  # labels need no table


@every_storage
@every_dtype
def test_pruned_coefficients_are_those_above_the_size(storage, dtype, small_groups):
    A = STORAGE[storage](X.astype(dtype))
    params = {"alpha": 5e-3, "random_state": 0}
    whole = MultiLabelLogistic(**params).fit(A, Y)
    model = MultiLabelLogistic(**params, prune=0.2).fit(A, Y)
    assert sparse.issparse(model.coef_)
    assert model.coef_.dtype == dtype
    kept = np.abs(whole.coef_) > 0.2
    assert 0 < kept.sum() < kept.size
    assert_array_equal(model.coef_.toarray(), np.where(kept, whole.coef_, 0))
    assert model.coef_.nnz == kept.sum()
    assert not model.certified_
    assert model.dual_gap_ >= model.objective_ - whole.objective_ > 0
    slight = MultiLabelLogistic(**params, prune=0.02).fit(A, Y)  # judged again, it is certified
    assert slight.coef_.nnz < kept.size
    assert slight.certified_


def test_prune_0_keeps_what_an_l1_penalty_leaves(small_groups):
    params = {"alpha": 2e-2, "l1_ratio": 1.0, "random_state": 0}
    whole = MultiLabelLogistic(**params).fit(X, Y)
    model = MultiLabelLogistic(**params, prune=0).fit(X, Y)
    assert 0 < model.coef_.nnz == np.count_nonzero(whole.coef_) < whole.coef_.size
    assert_array_equal(model.coef_.toarray(), whole.coef_)
    assert model.dual_gap_ == whole.dual_gap_
    assert model.certified_


@every_storage
@every_dtype
@pytest.mark.parametrize("rows", [1, N])
def test_predictions_of_csr_coefficients_are_those_of_dense_ones(storage, dtype, rows, monkeypatch):
    A = STORAGE[storage](X.astype(dtype))
    models = [
        (MultiLabelLogistic(prune=0.1, random_state=0), sparse.csr_array(Y)),
        (MultiLabelLogistic(prune=0.1, top_k=2, random_state=0), Y),
        (MultiLabelLogistic(prune=0.1, random_state=0), LOGITS.argmax(axis=1)),
        (MultiLabelLogistic(loss="softmax", random_state=0), Y),
        (MultinomialLogistic(random_state=0), LOGITS.argmax(axis=1)),
    ]
    methods = ("decision_function", "predict_proba", "predict_log_proba", "predict")
    for model, y in models:
        model = model.fit(A, y).sparsify()
        plain = pickle.loads(pickle.dumps(model)).densify()
        assert sparse.issparse(model.coef_)
        assert isinstance(plain.coef_, np.ndarray)
        with monkeypatch.context() as patch:  # too many to be made dense, in blocks of rows
            patch.setattr(predict, "BLOCK", rows * K)
            found = [getattr(model, name)(A) for name in methods]
            labels, scores = model.predict_top_k(A, 3)
        for name, values in zip(methods, found, strict=True):
            expected = getattr(plain, name)(A)
            assert type(values) is type(expected)
            assert values.dtype == expected.dtype
            assert_allclose(dense(values), dense(expected), rtol=2e-5, atol=2e-5)
        assert_array_equal(labels, plain.predict_top_k(A, 3)[0])
        assert scores.dtype == expected_dtype(model, A)


def expected_dtype(model, A):
    return model.predict_proba(A).dtype


def test_score_and_thresholds_take_csr_coefficients():
    model = MultiLabelLogistic(prune=0.05, threshold="f1", random_state=0).fit(X, Y)
    assert model.score(X, Y) == np.mean((model.predict(X) == Y).all(axis=1))
    assert model.threshold_.shape == (K,)


def test_features_are_selected_by_csr_coefficients():
    y = make_multilabel_classification(N, n_classes=K, random_state=0)[1]
    model = MultiLabelLogistic(prune=0, l1_ratio=1.0, alpha=3e-2, random_state=0).fit(X, y)
    chosen = SelectFromModel(model, prefit=True, threshold=1e-5).get_support()
    assert_array_equal(chosen, model.coef_.toarray().any(axis=0))


@pytest.mark.parametrize(
    "params", [{"loss": "softmax"}, {"solver": "sgd"}, {"early_stopping": True}, {"solver": "adam"}]
)
def test_prune_names_what_it_is_not_for(params):
    with pytest.raises(ValueError, match=r'prune must be None but for loss="bce"'):
        MultiLabelLogistic(prune=0.1, **params).fit(X, Y)


def test_prune_is_not_for_partial_fit():
    with pytest.raises(ValueError, match="prune must be None in partial_fit"):
        MultiLabelLogistic(prune=0.1).partial_fit(X, Y)


def test_losses_of_the_package_agree_with_the_objective(small_groups):
    model = MultiLabelLogistic(random_state=0).fit(X, Y)
    loss = losses.sigmoid_cross_entropy(model.decision_function(X), Y)
    penalty = model.alpha / 2 * np.sum(model.coef_**2)
    assert model.objective_ == pytest.approx(loss + penalty, rel=1e-9)
