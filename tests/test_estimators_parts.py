"""A fit of parts ends where that of one array does."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from parts_cases import N, P, cut, draw, made
from registry import then_long
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skce import MultiLabelLogistic, MultinomialLogistic, Parts

MODELS = {
    "integers": MultinomialLogistic(),
    "two classes": MultinomialLogistic(class_weight="balanced"),
    "names": MultinomialLogistic(class_weight={"fig": 2, "apple": 1, "plum": 0.5}),
    "one-hot": MultinomialLogistic(label_smoothing=0.1),
    "shares": MultinomialLogistic(class_weight="balanced"),
    "indicator csr": MultiLabelLogistic(),
    "indicator missing": MultiLabelLogistic(pos_weight="balanced"),
    "indicator fractions": MultiLabelLogistic(pos_weight=[1, 2, 0.5], label_smoothing=0.1),
    "1/M csr": MultiLabelLogistic(loss="softmax"),
    "1/M missing": MultiLabelLogistic(loss="softmax"),
    "labels one-vs-rest": MultiLabelLogistic(),
}
KEEP = ("classes_", "mean_labels_", "label_names_")


def data_of(name, storage, dtype, weighted):
    return draw("integers" if "one-vs-rest" in name else name, storage, dtype, weighted)


@pytest.mark.parametrize("number", then_long([7, 2, 1]))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("storage", ["dense", "csr"])
@pytest.mark.parametrize("name", MODELS)
def test_parts_end_at_the_optimum_of_one_array(name, storage, dtype, number):
    X, y, weights = data_of(name, storage, dtype, number != 2)
    functions = number == 2 or name == "1/M missing"
    parts = cut(number, X, y, weights, made if functions else lambda *part: part)
    model = clone(MODELS[name]).set_params(alpha=1e-3, random_state=0, max_iter=1000)
    fine = clone(model).set_params(tol=1e-6, solver="lbfgs", certified=True)
    whole = clone(fine).fit(X, y, weights)
    found = fine.fit(parts)
    assert found.certified_
    assert_allclose(found.objective_, whole.objective_, rtol=1.1e-6)
    assert found.coef_.dtype == X.dtype
    for field in KEEP:
        if hasattr(whole, field):
            assert_array_equal(getattr(found, field), getattr(whole, field))
    size = np.abs(whole.coef_).max()
    assert_allclose(found.coef_ / size, whole.coef_ / size, atol=0.02)
    coarse = clone(model).fit(parts)
    assert coarse.objective_ - whole.objective_ <= 1e-3 * whole.objective_ * (1 + 1e-6)
    assert coarse.converged_
    assert_array_equal(_dense(found.predict(parts)), _dense(found.predict(X)))
    assert_allclose(found.predict_proba(parts), found.predict_proba(X), rtol=1e-5)


def _dense(y):
    return y.toarray() if sparse.issparse(y) else y


def test_entries_may_be_missing_in_some_parts_alone():
    X, y, weights = draw("indicator missing", "dense", "float64", True)
    y[: N // 3] = np.nan
    y[N // 3 : 2 * N // 3] = np.nan_to_num(y[N // 3 : 2 * N // 3])
    model = MultiLabelLogistic(alpha=1e-3, tol=1e-8, random_state=0)
    found = clone(model).fit(cut(3, X, y, weights))
    whole = clone(model).set_params(solver="lbfgs").fit(X, y, weights)
    assert_allclose(found.coef_, whole.coef_, rtol=1e-6)


@pytest.mark.parametrize("storage", ["dense", "csr"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_entries_have_the_weights_they_have_of_one_array(storage, dtype):
    X, y, weights = draw("indicator", storage, dtype, True)
    entries = np.random.default_rng(1).uniform(0, 2, y.shape)
    entries[: N // 3] = 1  # a part where they are not seen
    entries[-N // 4 :, 0] = 0
    model = MultiLabelLogistic(alpha=1e-3, tol=1e-7, random_state=0, solver="lbfgs")
    found = clone(model).fit(cut(3, X, y, weights, made), entry_weight=entries)
    whole = clone(model).fit(X, y, weights, entry_weight=entries)
    assert_allclose(found.objective_, whole.objective_, rtol=3e-7)
    assert_allclose(found.coef_, whole.coef_, atol=2e-3 * np.abs(whole.coef_).max())
    assert found.objective_ < 0.99 * clone(model).fit(cut(3, X, y, weights)).objective_


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix, sparse.csc_matrix])
def test_predictions_have_the_container_of_y(form):
    X, y, _ = draw("indicator csr", "dense", "float64", False)
    found = MultiLabelLogistic().fit(Parts([(X[:70], form(y[:70])), (X[70:], form(y[70:]))]))
    whole = MultiLabelLogistic().fit(X, form(y))
    assert type(found.predict(X)) is type(whole.predict(X))


@pytest.mark.parametrize("form", ["csc", "coo", "bsr"])
def test_functions_may_return_any_sparse_form(form):
    X, y, weights = draw("integers", "csr", "float64", True)
    parts = cut(3, X, y, weights, lambda X, *others: lambda: (X.asformat(form), *others))
    model = MultinomialLogistic(tol=1e-8, random_state=0)
    found, whole = clone(model).fit(parts), clone(model).fit(cut(3, X, y, weights))
    assert_allclose(found.coef_, whole.coef_, rtol=1e-6)


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_parts_without_entries_give_the_constants(storage):
    y = draw("integers", storage, "float64", False)[1]
    X = np.zeros((N, P)) if storage == "dense" else sparse.csr_array((N, P))
    found = MultinomialLogistic().fit(cut(3, X, y, None))
    assert not found.coef_.any()
    assert_allclose(found.predict_proba(X)[0], np.bincount(y) / N, rtol=1e-3)


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_two_fits_of_the_same_parts_are_equal_in_bits(storage):
    X, y, weights = draw("integers", storage, "float32", True)
    model = MultinomialLogistic(random_state=0)
    first, second = (clone(model).fit(cut(3, X, y, weights)) for _ in range(2))
    assert_array_equal(first.coef_, second.coef_)
    assert first.loss_curve_ == second.loss_curve_


def test_parts_whose_classes_differ_know_all_of_them():
    X, y, _ = draw("integers", "dense", "float64", False, seed=1)  # sorted by class
    model = MultinomialLogistic(alpha=1e-3, tol=1e-6, certified=True, solver="lbfgs", max_iter=999)
    found, whole = clone(model).fit(cut(7, X, y, None)), clone(model).fit(X, y)
    assert_array_equal(found.classes_, [0, 1, 2])
    assert_allclose(found.objective_, whole.objective_, rtol=1.1e-6)


def test_samples_of_tall_parts_are_taken_and_help():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200_000, 12)).astype(np.float32)
    y = (X @ rng.standard_normal((12, 3)) + rng.gumbel(size=(200_000, 3))).argmax(axis=1)
    parts = Parts([(X[r], y[r]) for r in (slice(0, 90_000), slice(90_000, None))])
    found = MultinomialLogistic(random_state=0).fit(parts)
    whole = MultinomialLogistic(random_state=0, solver="lbfgs").fit(X, y)
    assert found.converged_
    assert_allclose(found.objective_, whole.objective_, rtol=1e-3)
    assert found.n_iter_ <= 1.1 * whole.n_iter_ + 2


def test_a_stream_goes_on_from_a_fit_of_parts():
    X, y, _ = draw("integers", "dense", "float64", False)
    found = MultinomialLogistic(random_state=0).fit(cut(3, X, y, None))
    whole = MultinomialLogistic(random_state=0, solver="lbfgs").fit(X, y)
    for model in found, whole:
        model.partial_fit(X[:20], y[:20])
    assert_allclose(found.coef_, whole.coef_, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_a_warm_start_on_parts_goes_on_from_the_last_fit(storage):
    X, y, _ = draw("integers", storage, "float64", False)
    parts = cut(3, X, y, None)
    model = MultinomialLogistic(alpha=1e-3, tol=1e-8, warm_start=True).fit(parts)
    objective, passes = model.objective_, model.n_iter_
    model.fit(parts)
    assert model.n_iter_ < passes
    assert_allclose(model.objective_, objective, rtol=1e-7)


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_rows_held_out_end_a_fit_of_parts_as_one_of_an_array(storage):
    X, y, _ = draw("integers", storage, "float64", False)
    options = {"early_stopping": True, "n_iter_no_change": 1, "random_state": 0}
    model = MultinomialLogistic(alpha=1e-6, solver="lbfgs", **options)
    X, y, held = X[::2], y[::2], {"X_val": X[1::2], "y_val": (y[1::2] + 1) % 3}  # it rises
    one = clone(model).fit(X, y, **held)
    model.fit(Parts([(X[:30], y[:30]), (X[30:], y[30:])]), **held)
    assert model.stop_reason_ == one.stop_reason_ == "validation loss"
    assert_allclose(model.validation_loss_curve_, one.validation_loss_curve_, rtol=1e-6)
    assert model.best_iteration_ == one.best_iteration_
    assert_allclose(model.coef_, one.coef_, atol=1e-5)
    assert_allclose(model.objective_, one.objective_, rtol=1e-8)


def test_a_fit_that_does_not_converge_warns():
    X, y, _ = draw("integers", "dense", "float64", False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = MultinomialLogistic(max_iter=1, tol=1e-12, alpha=1e-9).fit(cut(2, X, y, None))
    assert [w.category for w in caught] == [ConvergenceWarning]
    assert caught[0].filename == __file__
    assert not model.converged_
