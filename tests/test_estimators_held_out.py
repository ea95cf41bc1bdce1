"""Rows that are held out: early stopping, which rows they are, what is refused."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_fits import (
    ESTIMATORS,
    INDICATOR,
    INDICATOR_VAL,
    LABELS,
    LABELS_VAL,
    SOLVERS,
    X_VAL,
    X,
    every_problem,
    every_solver,
    model_and_y,
)

from skce import MultiLabelLogistic, MultinomialLogistic, losses
from skce._estimators import fitting
from skce._estimators.held_out import split
from skce._kernels import Loss

pytestmark = pytest.mark.filterwarnings("ignore:Not converged. max_iter")


@every_solver
@every_problem
def test_early_stopping_puts_the_best_weights_back(problem, solver):
    model, y = model_and_y(problem, solver=solver, early_stopping=True, max_iter=30, alpha=1e-5)
    model.fit(X[:250], y[:250], X_val=X_VAL, y_val=y[250:])
    curve = model.validation_loss_curve_
    assert len(curve) == len(model.loss_curve_)
    assert model.best_iteration_ == np.argmin(curve) + 1
    loss = ESTIMATORS[problem][3]
    logits = model.decision_function(X_VAL)
    held = losses.sigmoid_cross_entropy(logits, y[250:]) if loss is None else loss(logits, y[250:])
    assert_allclose(held, min(curve), rtol=1e-9)
    train = model.decision_function(X[:250])
    value = losses.sigmoid_cross_entropy(train, y[:250]) if loss is None else loss(train, y[:250])
    value += model.alpha / 2 * np.sum(model.coef_**2)
    assert_allclose(model.objective_, value, rtol=1e-9)
    assert model.stop_reason_ in ("tol", "validation loss") or solver == "adam"
    plain = clone(model).set_params(early_stopping=False).fit(X, y)
    assert not hasattr(plain, "validation_loss_curve_")
    model.set_params(early_stopping=False).fit(X, y)
    assert not hasattr(model, "validation_loss_curve_")
    assert not hasattr(model, "best_iteration_")


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("solver", ["sdca", "lbfgs", "sgd"])
def test_early_stopping_stops_where_the_held_out_loss_stalls(solver, storage):
    draw = np.random.default_rng(0)
    A = draw.standard_normal((580, 40))  # 80 rows, of whose noise 40 columns learn everything
    y = (2 * A[:, :3] + draw.gumbel(size=(580, 3))).argmax(1)
    A, y, A_val, y_val = A[:80], y[:80], storage(A[80:]), y[80:]
    model = MultinomialLogistic(
        solver=solver, alpha=1e-6, tol=1e-3, random_state=0, early_stopping=True, max_iter=100
    )
    model.fit(storage(A), y, X_val=A_val, y_val=y_val)
    assert (model.stop_reason_, model.converged_) == ("validation loss", True)
    assert 0 < len(model.loss_curve_) - model.best_iteration_ <= 2 * model.n_iter_no_change
    longer = clone(model).set_params(n_iter_no_change=9)
    longer.fit(storage(A), y, X_val=A_val, y_val=y_val)
    assert len(longer.loss_curve_) > len(model.loss_curve_)
    without = clone(model).set_params(early_stopping=False).fit(storage(A), y)
    losses_ = [log_loss(y_val, m.predict_proba(A_val)) for m in (model, without)]
    assert losses_[0] < losses_[1]


@pytest.mark.parametrize(("spread", "solvers"), [(1, ["sgd"]), (100, ["lbfgs", "sdca", "sgd"])])
def test_a_rise_within_two_standard_errors_stops_no_optimiser(spread, solvers, monkeypatch):
    """It is one where a row of 100 has all of the rise, and ten where each has its part."""
    looks = iter(range(10_000))

    def rising(held, *others):
        shares = np.full(100, 0.01)
        shares[:spread] += 0.05 * next(looks) / spread
        return shares

    monkeypatch.setattr(fitting, "loss_shares", rising)
    for solver in ("lbfgs", "sdca", "sgd"):
        model = MultinomialLogistic(
            solver=solver, early_stopping=True, n_iter_no_change=1, tol=1e-6, random_state=0
        )
        stopped = model.fit(X, LABELS).stop_reason_ == "validation loss"
        assert stopped == (solver in solvers)
        assert len(model.validation_loss_curve_) == 3 or not stopped
        assert model.best_iteration_ == 0


@pytest.mark.parametrize("alpha", [1e-5, 0.0])
def test_auto_takes_sdca_on_wide_data_with_early_stopping(alpha, capsys):
    draw = np.random.default_rng(0)
    A = draw.standard_normal((1500, 300))
    y = (A[:, :3] + draw.gumbel(size=(1500, 3))).argmax(1)
    A, y, A_val, y_val = A[:500], y[:500], A[500:], y[500:]
    model = MultinomialLogistic(alpha=alpha, early_stopping=True, random_state=0, verbose=1)
    model.fit(A, y, X_val=A_val, y_val=y_val)
    assert capsys.readouterr().out.startswith("sdca, pass 0.25: loss")
    assert model.stop_reason_ == "validation loss"
    assert np.isnan([model.dual_gap_, model.gap_estimate_]).all()
    slow = clone(model).set_params(solver="lbfgs", verbose=0)
    slow.fit(A, y, X_val=A_val, y_val=y_val)
    assert min(model.validation_loss_curve_) < min(slow.validation_loss_curve_)


def test_start_that_nothing_beats_is_kept():
    draw = np.random.default_rng(1)
    A, y = draw.standard_normal((200, 40)), draw.integers(0, 3, 200)  # noise
    for solver in ("auto", "sdca", "lbfgs", "sgd"):
        model = MultinomialLogistic(early_stopping=True, solver=solver, random_state=0)
        model.fit(A[:60], y[:60], X_val=A[60:], y_val=y[60:])
        assert model.best_iteration_ == 0
        assert not model.coef_.any()
        assert min(model.validation_loss_curve_) > np.log(3)
        assert_allclose(model.objective_, np.log(3), rtol=1e-12)


@pytest.mark.parametrize("loss", ["bce", "softmax"])
def test_rows_without_a_target_are_not_held_out(loss):
    """Their loss is 0 for any weights, and so nothing would beat the start."""
    y = np.full(INDICATOR.shape, np.nan if loss == "bce" else 0.0)
    y[:30] = INDICATOR[:30]
    for seed in range(5):
        model = MultiLabelLogistic(loss=loss, early_stopping=True, random_state=seed).fit(X, y)
        assert model.validation_loss_curve_[0] > 0
    with pytest.raises(ValueError, match="X_val, y_val.*must have a target with weight, got none"):
        model.fit(X, y, X_val=X[30:], y_val=y[30:])


def test_a_start_whose_loss_overflows_is_left_for_zero():
    start = np.full((3, 6), 1e308)
    for solver in SOLVERS:
        model = MultinomialLogistic(early_stopping=True, solver=solver, random_state=0)
        assert np.isfinite(model.fit(X, LABELS, coef_init=start).objective_)


def test_a_learning_rate_that_is_too_large_is_told_of_with_early_stopping():
    for solver in ("sgd", "adagrad", "adam"):
        model = MultinomialLogistic(solver=solver, learning_rate=1e9, early_stopping=True)
        with pytest.warns(ConvergenceWarning, match="diverged with learning_rate=1000000000.0"):
            model.fit(X, LABELS)
        assert not model.converged_


def test_thirty_sparse_labels_do_not_stop_early():
    """Subset accuracy is 0 for many passes, and so it is no guide."""
    A, Y = make_multilabel_classification(
        2000, 50, n_classes=30, n_labels=6, random_state=0, allow_unlabeled=False
    )
    model = MultiLabelLogistic(early_stopping=True, random_state=0, solver="sgd").fit(A, Y)
    assert 0.1 < Y.mean() < 0.3
    assert len(model.validation_loss_curve_) > model.n_iter_no_change + 1
    assert model.validation_loss_curve_[0] > 1.02 * min(model.validation_loss_curve_)


@pytest.mark.parametrize("problem", ["labels", "bce"])
def test_validation_fraction_is_held_out(problem):
    model, y = model_and_y(problem, early_stopping=True, solver="lbfgs")
    sizes = []

    class Counted(type(model)):
        def _hooks(self, data, y, weights):
            sizes.append(np.count_nonzero(data.weights))
            return super()._hooks(data, y, weights)

    Counted._parameter_constraints = type(model)._parameter_constraints
    for fraction in (0.1, 0.4):
        Counted(**model.get_params()).set_params(validation_fraction=fraction).fit(X, y)
    assert sizes == [270, 180]


def test_held_out_rows_are_not_trained_on():
    class Spoilt(MultinomialLogistic):
        def _hold_out(self, data, random, *given):
            rows = split(data, self.validation_fraction, np.random.RandomState(0))
            data.X = data.X.copy()
            data.X[rows] *= self.spoil
            return super()._hold_out(data, np.random.RandomState(0), *given)

    Spoilt._parameter_constraints = MultinomialLogistic._parameter_constraints
    found = []
    for spoil in (1.0, 0.5):
        model = Spoilt(early_stopping=True, solver="sdca", max_iter=1, random_state=0)
        model.spoil = spoil
        found.append(model.fit(X, LABELS))
    assert found[0].validation_loss_curve_ != found[1].validation_loss_curve_
    assert_array_equal(found[0].coef_, found[1].coef_)


def test_labels_keep_their_shares_and_a_lone_row_is_trained_on():
    class Data:
        kind = Loss.SIGMOID

        def __init__(self, targets, k):
            self.targets, self.k, self.weights = targets, k, np.ones(targets.shape[0])

    labels = np.repeat([0, 1, 2], [500, 300, 200]).astype(np.intc)
    for seed in range(3):
        held = split(Data(labels, 3), 0.1, np.random.RandomState(seed))
        assert_allclose(np.bincount(labels[held]), [50, 30, 20], atol=1)
        one = sparse.csr_array((labels == 2).astype(float)[:, None])
        twos = labels[split(Data(one, 1), 0.1, np.random.RandomState(seed))] == 2
        assert abs(twos.sum() - 20) <= 1
        most = split(Data(np.repeat([0, 1], [40, 4]), 2), 0.9, np.random.RandomState(seed))
        assert len(most) == 40
        assert np.count_nonzero(most >= 40) < 4  # a row of each label is trained on
    labels = np.array([0] * 6 + [1], np.intc)
    indicator = sparse.csr_array(np.eye(2)[labels] + np.array([1.0, 0.0]))
    for seed in range(10):
        for targets in (labels, indicator):
            held = split(Data(targets, 2), 0.5, np.random.RandomState(seed))
            assert 6 not in held
            assert len(held) == 4


def test_weights_of_held_out_rows_mean_repetition():
    twice = np.r_[np.arange(50), np.arange(10)]
    weights = np.ones(50)
    weights[:10] = 2
    model = MultinomialLogistic(early_stopping=True, random_state=0, solver="lbfgs")
    a = clone(model).fit(X, LABELS, X_val=X_VAL, y_val=LABELS_VAL, sample_weight_val=weights)
    b = clone(model).fit(X, LABELS, X_val=X_VAL[twice], y_val=LABELS_VAL[twice])
    assert_allclose(a.validation_loss_curve_, b.validation_loss_curve_, rtol=1e-9)
    c = clone(model).fit(X, LABELS, X_val=X_VAL, y_val=LABELS_VAL)
    assert abs(a.validation_loss_curve_[0] / c.validation_loss_curve_[0] - 1) > 1e-6


WRONG = {
    "y_val is missing": ({"X_val": X_VAL}, "X_val and y_val must be given together, got X_val"),
    "X_val is missing": ({"y_val": LABELS_VAL}, "X_val and y_val must be given together"),
    "weights alone": ({"sample_weight_val": np.ones(50)}, "together, got sample_weight_val"),
    "columns": ({"X_val": X_VAL[:, :3], "y_val": LABELS_VAL}, "X_val, y_val.*3 features"),
    "rows": ({"X_val": X_VAL, "y_val": LABELS_VAL[1:]}, "X_val, y_val.*as many rows"),
    "class": ({"X_val": X_VAL, "y_val": LABELS_VAL + 5}, r"X_val, y_val.*classes.*got \[5, 6, 7\]"),
    "form": ({"X_val": X_VAL, "y_val": INDICATOR_VAL[:, :2]}, "X_val, y_val"),
    "NaN": ({"X_val": X_VAL * np.nan, "y_val": LABELS_VAL}, "X_val, y_val.*NaN"),
    "no weight": (
        {"X_val": X_VAL, "y_val": LABELS_VAL, "sample_weight_val": np.zeros(50)},
        "sample_weight_val.*zeros",
    ),
    "weight of the classes": (
        {"X_val": X_VAL[LABELS_VAL == 0], "y_val": LABELS_VAL[LABELS_VAL == 0]},
        "X_val, y_val.*must have a target with weight, got none",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_held_out_rows_that_do_not_fit_are_named(case):
    arguments, message = WRONG[case]
    params = {"early_stopping": True, "class_weight": {0: 0.0}}
    model = MultinomialLogistic(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(X, LABELS, **arguments)
    assert vars(model) == vars(MultinomialLogistic(**params))
    with pytest.raises(ValueError, match="early_stopping must be True"):
        MultinomialLogistic().fit(X, LABELS, X_val=X_VAL, y_val=LABELS_VAL)
    with pytest.raises(ValueError, match=r"validation_fraction must leave rows.*got 0.9 of 3 rows"):
        MultinomialLogistic(early_stopping=True, validation_fraction=0.9).fit(X[:3], [0, 1, 1])
    with pytest.raises(ValueError, match=r"validation_fraction must leave rows.*got 0.9 of 2 rows"):
        MultiLabelLogistic(early_stopping=True, validation_fraction=0.9).fit(X[:2], np.ones((2, 2)))


def test_y_val_has_the_label_columns_of_y_in_their_order():
    pd = pytest.importorskip("pandas")
    model = MultiLabelLogistic(early_stopping=True, random_state=0)

    def fit(names, names_val):
        y, y_val = (
            pd.DataFrame(a, columns=n) for a, n in ((INDICATOR, names), (INDICATOR_VAL, names_val))
        )
        return model.fit(X, y, X_val=X_VAL, y_val=y_val)

    names = [*"abcdefghij"][: INDICATOR.shape[1]]
    with pytest.raises(ValueError, match="X_val, y_val.*label columns of the first call"):
        fit(names, names[::-1])
    assert not hasattr(model, "label_names_")
    other = [name.upper() for name in names]
    fit(names, names)
    assert fit(other, other).label_names_.tolist() == other  # not those of the fit before


def test_pipeline_transforms_X_val_and_a_search_routes_it():
    X_raw, X_raw_val = 100 * X + 7, 100 * X_VAL + 7
    with sklearn.config_context(enable_metadata_routing=True):
        model = MultinomialLogistic(early_stopping=True, random_state=0, solver="lbfgs")
        model.set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), model, transform_input=["X_val"])
        pipeline.fit(X_raw, LABELS, X_val=X_raw_val, y_val=LABELS_VAL)
        scaler = StandardScaler().fit(X_raw)
        alone = clone(model).fit(
            scaler.transform(X_raw), LABELS, X_val=scaler.transform(X_raw_val), y_val=LABELS_VAL
        )
        assert_allclose(
            pipeline[-1].validation_loss_curve_, alone.validation_loss_curve_, rtol=1e-9
        )
        grid = {"multinomiallogistic__alpha": [1e-3, 1e-1]}
        search = GridSearchCV(pipeline, grid, cv=2)
        search.fit(X_raw, LABELS, X_val=X_raw_val, y_val=LABELS_VAL)
        best = search.best_estimator_[-1]
        held = log_loss(LABELS_VAL, search.best_estimator_.predict_proba(X_raw_val))
        assert_allclose(held, min(best.validation_loss_curve_), rtol=1e-9)


def test_searches_slice_an_X_val_of_as_many_rows_as_X():
    """The guide warns of it: scikit-learn tells arrays of rows by their length."""
    sizes = []

    class Counted(MultinomialLogistic):
        def _hold_out(self, data, random, X_val, *others):
            sizes.append(len(X_val))
            return super()._hold_out(data, random, X_val, *others)

    with sklearn.config_context(enable_metadata_routing=True):
        model = Counted(early_stopping=True, tol=0.1).set_fit_request(X_val=True, y_val=True)
        search = GridSearchCV(model, {"alpha": [1e-2]}, cv=3, refit=False)
        search.fit(X, LABELS, X_val=X, y_val=LABELS)
        search.fit(X, LABELS, X_val=X[1:], y_val=LABELS[1:])
    assert sizes == [200, 200, 200, 299, 299, 299]
