"""Every parameter of the estimators changes what it says."""

import contextlib
import inspect
import io
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy import sparse
from small_fits import INDICATOR, LABELS, SOLVERS, X

from skce import (
    LabelTemperature,
    MultiLabelLogistic,
    MultiLabelLogisticCV,
    MultinomialLogistic,
    MultinomialLogisticCV,
)

pytestmark = pytest.mark.filterwarnings("ignore:Not converged")
NOISE = np.random.default_rng(0).integers(0, 2, INDICATOR.shape)


def targets(model):
    return LABELS if "Multinomial" in type(model).__name__ else INDICATOR


def fitted(model):
    return model.fit(X, targets(model))


def norm(model):
    return np.linalg.norm(fitted(model).coef_)


def zeros(model):
    coef = fitted(model).coef_
    return np.count_nonzero((coef.toarray() if sparse.issparse(coef) else coef) == 0)


def proba(model):
    return fitted(model).predict_proba(X)


def on(model):
    return fitted(model).predict(X).sum()


def of(name):
    return lambda model: float(getattr(fitted(model), name))


def length_of(name):
    return lambda model: len(getattr(fitted(model), name, ()))


def passes_on_noise(model):
    y = NOISE[:, 0] if targets(model).ndim == 1 else NOISE
    return len(model.fit(X, y).loss_curve_)


def rows_held_out(model):
    held = []
    share = type(model)._hold_out

    def counted(data, *others):
        left, loss = share(model, data, *others)
        held.append(np.count_nonzero(left.weights == 0))
        return left, loss

    model._hold_out = counted
    fitted(model)
    return held[0]


def classes_after_a_new_one(model):
    y = targets(model)
    known = y < 2 if y.ndim == 1 else np.full(len(y), True)
    model.partial_fit(X[known], y[known] if y.ndim == 1 else y[:, :2])
    with contextlib.suppress(ValueError):
        model.partial_fit(X, y)
    return len(model.classes_)


def passes_of_a_second_fit(model):
    fitted(model)
    return fitted(model).n_iter_


def printed(model):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        fitted(model)
    return text.getvalue()


def fits_made(model):
    made = []

    class Counted(MultiLabelLogistic):
        def fit(self, *arguments):
            made.append(1)
            return super().fit(*arguments)

    fitted(model.set_params(estimator=Counted()))
    return len(made)


@dataclass
class Law:
    """`reading` of a model is larger with a parameter's value `high` than with `low`."""

    low: object
    high: object
    reading: object
    fixed: dict = field(default_factory=dict)


STEPS = {"solver": "sgd", "learning_rate": 1e-4, "average": False, "max_iter": 1, "tol": 0}
OF_ALL = {
    "fit_intercept": Law(False, True, lambda model: np.abs(fitted(model).intercept_).max()),
    "label_smoothing": Law(0.5, 0.0, lambda model: proba(model).max()),
    "tol": Law(1e-10, 0.1, of("gap_estimate_")),
    "verbose": Law(0, 1, lambda model: len(printed(model))),
}
OF_MODELS = {
    **OF_ALL,
    "alpha": Law(1.0, 1e-3, norm),
    "l1_ratio": Law(0.0, 1.0, zeros, {"alpha": 0.1}),
    "learning_rate": Law(1e-6, 1e-4, norm, STEPS),
    "momentum": Law(0.0, 0.9, norm, STEPS),
    "average": Law(True, False, norm, STEPS),
    "batch_size": Law(300, 1, norm, STEPS),
    "max_iter": Law(1, 4, of("n_iter_"), {"solver": "sgd", "tol": 0}),
    "certified": Law(False, True, of("certified_"), {"alpha": 1e-10, "tol": 0.1}),
    "early_stopping": Law(False, True, length_of("validation_loss_curve_")),
    "validation_fraction": Law(0.1, 0.4, rows_held_out, {"early_stopping": True}),
    "n_iter_no_change": Law(1, 9, passes_on_noise, {"early_stopping": True, "solver": "sgd"}),
    "allow_new_classes": Law(False, True, classes_after_a_new_one),
    "warm_start": Law(True, False, passes_of_a_second_fit, {"tol": 1e-6}),
}
OF_SEARCHES = {
    **OF_ALL,
    "alphas": Law([1.0], [1e-3], norm),
    "cv": Law(2, 3, length_of("scores_")),
    "scoring": Law(None, "accuracy", of("best_score_")),  # the negative loss is below 0
    "l1_ratios": Law([0.0], [1.0], zeros, {"alphas": [0.1]}),
    "refit": Law(False, True, of("n_iter_")),
    "one_standard_error": Law(False, True, of("alpha_"), {"alphas": 10}),
    "max_iter": Law(100, 1, of("gap_estimate_"), {"tol": 1e-8, "l1_ratios": [0.5]}),
}
OF_CLASSES = {"class_weight": Law(None, {0: 9.0}, lambda model: proba(model)[:, 0].mean())}
OF_LABELS = {
    "loss": Law("softmax", "bce", lambda model: proba(model).sum(axis=1).max()),
    "pos_weight": Law(None, 9.0, lambda model: proba(model).mean()),
    "threshold": Law(0.9, 0.1, on),
    "top_k": Law(1, 2, on),
}
WEAK, STRONG = MultiLabelLogistic(alpha=1.0), MultiLabelLogistic(alpha=1e-9)
LAWS = {
    MultinomialLogistic: {**OF_MODELS, **OF_CLASSES},
    MultiLabelLogistic: {**OF_MODELS, **OF_LABELS, "prune": Law(0.0, 0.2, zeros)},
    MultinomialLogisticCV: {**OF_SEARCHES, **OF_CLASSES},
    MultiLabelLogisticCV: {**OF_SEARCHES, **OF_LABELS},
    LabelTemperature: {
        "estimator": Law(WEAK, STRONG, lambda model: fitted(model).temperature_.max()),
        "cv": Law(2, 5, fits_made, {"estimator": WEAK}),
    },
}
NAMED = {"solver", "random_state"}  # values that are no more and no less: the tests below
SEARCHES = [MultinomialLogisticCV, MultiLabelLogisticCV]
EVERY = [(estimator, name) for estimator in LAWS for name in LAWS[estimator]]


@pytest.mark.parametrize(
    ("estimator", "name"), EVERY, ids=lambda value: getattr(value, "__name__", value)
)
def test_parameter_changes_what_it_says(estimator, name):
    law = LAWS[estimator][name]
    plain = {"alphas": [1e-2], "cv": 2} if estimator in SEARCHES else {}
    plain |= {} if estimator is LabelTemperature else {"random_state": 0}
    low, high = (
        law.reading(estimator(**{**plain, **law.fixed, name: value}))
        for value in (law.low, law.high)
    )
    assert high > low


@pytest.mark.parametrize("estimator", LAWS)
def test_every_parameter_has_a_law(estimator):
    parameters = set(inspect.signature(estimator).parameters)
    assert parameters - NAMED == set(LAWS[estimator])


@pytest.mark.parametrize("estimator", [MultinomialLogistic, MultiLabelLogistic])
def test_solver_is_the_one_that_runs(estimator):
    for solver in set(SOLVERS) - {"auto"}:
        assert printed(estimator(solver=solver, verbose=1)).startswith(f"{solver}, pass")


@pytest.mark.parametrize("estimator", SEARCHES)
def test_solver_of_a_search_is_the_one_that_runs(estimator):
    alone = MultinomialLogistic if estimator is MultinomialLogisticCV else MultiLabelLogistic
    expected = fitted(alone(alpha=1e-2, solver="lbfgs", tol=1e-4, random_state=0)).loss_curve_
    for solver in ("lbfgs", "sdca"):
        search = fitted(estimator([1e-2], cv=2, solver=solver, random_state=0))
        assert (search.loss_curve_ == expected) == (solver == "lbfgs")


@pytest.mark.parametrize("estimator", [MultinomialLogistic, MultiLabelLogistic, *SEARCHES])
def test_random_state_is_the_order_of_the_rows(estimator):
    fixed = (
        {"alphas": [1e-2], "cv": 2, "solver": "sdca"}
        if estimator in SEARCHES
        else {"solver": "sgd"}
    )
    one, same, other = (fitted(estimator(random_state=seed, **fixed)).coef_ for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
