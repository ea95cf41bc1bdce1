"""Fits in the threads and processes of joblib, and on any number of their own."""

import threading

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from test_tools import IRIS, SPECIES, assert_same_bits
from threadpoolctl import threadpool_info, threadpool_limits

from skce import MultiLabelLogistic, MultinomialLogistic


def fitted_parameters(model, X, y):
    model.fit(X, y)
    return model.coef_, model.intercept_


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_joblib_workers_give_the_bits_each_fit_gives_alone(backend):
    X = np.random.default_rng(1).standard_normal((3000, 30))
    y = X[:, :4].argmax(axis=1)
    models = [MultinomialLogistic(solver="sgd", tol=0.1, random_state=seed) for seed in range(4)]
    alone = [fitted_parameters(clone(model), X, y) for model in models]
    with joblib.parallel_config(backend=backend, n_jobs=2, max_nbytes=1000):
        together = joblib.Parallel()(
            joblib.delayed(fitted_parameters)(clone(model), X, y) for model in models
        )
    for expected, actual in zip(alone, together, strict=True):
        for a, b in zip(expected, actual, strict=True):
            assert_array_equal(a, b)


def test_fits_in_two_threads_give_the_bits_each_gives_alone():
    X = np.random.default_rng(2).standard_normal((2000, 60))
    y = X[:, :5].argmax(axis=1)
    models = [
        (MultinomialLogistic(random_state=0), y),
        (MultiLabelLogistic(solver="sgd", tol=0.1, random_state=0), X[:, :7] > 0),
    ]
    alone = [clone(model).fit(X, y) for model, y in models]
    for _ in range(5):
        together = [clone(model) for model, _ in models]
        threads = [
            threading.Thread(target=model.fit, args=(X, y))
            for model, (_, y) in zip(together, models, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for actual, expected in zip(together, alone, strict=True):
            assert_same_bits(actual, expected)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_fits_and_predictions_do_not_depend_on_the_number_of_threads(storage, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((30_000, 12)) * (rng.random((30_000, 12)) < 0.5)
    y = (X @ rng.standard_normal((12, 5)) + rng.gumbel(size=(30_000, 5))).argmax(axis=1)
    Y = (X @ rng.standard_normal((12, 4)) > rng.logistic(size=(30_000, 4))).astype(int)
    X = X if storage == "dense" else sparse.csr_array(X)
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            parts = []
            for model, target in ((MultinomialLogistic, y), (MultiLabelLogistic, Y)):
                for solver in ("auto", "sgd"):
                    fitted = model(solver=solver, max_iter=20, tol=1e-2, random_state=seed)
                    fitted.fit(X, target)
                    parts += [fitted.coef_, fitted.intercept_, fitted.predict_proba(X)]
            results.append(parts)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def blas_threads():
    return {i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"}


def test_overlapping_fits_use_one_blas_thread_and_give_the_others_back():
    first_began, second_began, first_ended = (threading.Event() for _ in range(3))
    during = []

    def schedule_of_first(step):
        first_began.set()
        second_began.wait(10)
        return np.full(len(step), 0.1)

    def schedule_of_second(step):
        second_began.set()
        first_ended.wait(10)
        during.append(blas_threads())
        return np.full(len(step), 0.1)

    def fit(schedule):
        model = MultinomialLogistic(solver="sgd", learning_rate=schedule, tol=1, random_state=0)
        model.fit(IRIS, SPECIES)

    before = blas_threads()
    first = threading.Thread(target=fit, args=(schedule_of_first,))
    second = threading.Thread(target=fit, args=(schedule_of_second,))
    first.start()
    first_began.wait(10)
    second.start()
    first.join()
    first_ended.set()
    second.join()
    assert blas_threads() == before
    assert set().union(*during) == {1}
