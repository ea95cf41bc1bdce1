"""Fits that fail, diverge or are interrupted leave the estimator as it was."""

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from test_estimators_base import (
    SOLVERS,
    STORAGE,
    WEIGHT,
    X,
    every_problem,
    every_solver,
    every_storage,
    model_and_y,
    parameters,
)

from skce import MultinomialLogistic
from skce._estimators import fitting
from skce._solvers import ascent, lbfgs
from skce._solvers.stream import Stream

BAD_CALLS = {
    "wrong y": ({}, {"y": np.full(120, np.nan)}),
    "wrong shape of y": ({}, {"y": np.ones(7)}),
    "negative weights": ({}, {"sample_weight": -WEIGHT}),
    "no weight": ({}, {"sample_weight": 0 * WEIGHT}),
    "wrong X": ({}, {"X": np.full((120, 7), np.nan)}),
    "wrong parameter": ({"alpha": -1}, {}),
    "wrong combination": ({"solver": "adam", "momentum": 0.9}, {}),
    "no penalty for sdca": ({"solver": "sdca", "alpha": 0}, {}),
    "wrong start": ({"warm_start": True}, {"X": np.ones((120, 7))}),
    "wrong schedule": ({"solver": "sgd", "learning_rate": lambda step: -1.0 + 0 * step}, {}),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("before", ["unfitted", "fit", "partial_fit"])
@every_problem
@pytest.mark.parametrize("case", BAD_CALLS)
def test_failing_fit_leaves_the_estimator_as_it_was(case, problem, before):
    if case == "wrong start" and before == "unfitted":
        return
    params, arguments = BAD_CALLS[case]
    model, y = model_and_y(problem)
    if before != "unfitted":
        getattr(model, before)(X, y)
    good = model.get_params()
    state = joblib.hash(vars(model))
    with pytest.raises(ValueError):  # noqa: PT011 (which one is for test_estimators_validation)
        model.set_params(**params).fit(**{"X": X, "y": y, **arguments})
    assert joblib.hash(vars(model.set_params(**good))) == state


@every_problem
@pytest.mark.parametrize(
    ("solver", "owner", "name"),
    [
        *((solver, fitting, "minimize") for solver in ("auto", "sdca", "lbfgs")),
        ("auto", lbfgs.LBFGS, "_move"),
        ("sdca", ascent.SDCA, "_recentre"),
        ("lbfgs", lbfgs.LBFGS, "step"),
        ("sgd", Stream, "run"),
        ("sgd", Stream, "_set_scale"),
    ],
)
def test_interrupted_fit_leaves_the_estimator_as_it_was(problem, solver, owner, name, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    model, y = model_and_y(problem, solver=solver)
    state = joblib.hash(vars(model.fit(X, y)))
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X[:, :4], y)
    assert joblib.hash(vars(model)) == state


@every_storage
@pytest.mark.parametrize("before", ["nothing", "fit", "stream"])
@every_problem
def test_interrupted_partial_fit_can_be_repeated(problem, before, storage, monkeypatch):
    run, A = Stream.run, STORAGE[storage](X)

    def interrupted(*args, **kwargs):
        run(*args, **kwargs)
        raise KeyboardInterrupt

    (model, y), (other, _) = model_and_y(problem), model_and_y(problem)
    for m in (model, other):
        if before == "fit":
            m.fit(A, y)
        elif before == "stream":
            m.partial_fit(A, y)
    state = joblib.hash(vars(model))
    with monkeypatch.context() as patch:
        patch.setattr(Stream, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(3 * A, y)
    assert joblib.hash(vars(model)) == state
    for m in (model, other):
        m.partial_fit(A, y).partial_fit(A, y)
    assert_array_equal(parameters(model), parameters(other))


@pytest.mark.parametrize("rate", [1e6, 1e100, 1e300])
@every_solver
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_diverging_run_warns_and_leaves_finite_coefficients(method, solver, rate):
    A, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    model = MultinomialLogistic(learning_rate=rate, random_state=0, **SOLVERS[solver])
    with pytest.warns(ConvergenceWarning, match=r"learning_rate|diverged"):
        getattr(model, method)(np.tile(A[order], (5, 1)), np.tile(y[order], 5))
    assert np.isfinite(parameters(model)).all()
    assert not model.converged_
