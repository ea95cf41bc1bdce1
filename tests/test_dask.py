"""A fit of Dask collections is that of all their rows on one machine.

`here` fits are those without a client, in this process, which have the same bits.
"""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import skce

pytest.importorskip("distributed")
import dask
import dask.array as da
import joblib
from dask_cases import (
    CASES,
    MARKS,
    assert_same_bits,
    dask_of,
    delayed_array,
    fitted,
    here,
    in_partitions,
    rows_of,
    watch,
)

from skce.dask import _rounds

pytestmark = MARKS
ATTRIBUTES = ("classes_", "mean_labels_", "share_threshold_", "_observed", "label_names_", "_form")


def assert_optimum_of(plain, model, X, y, given):
    """The fit is certified, and within its tol of the objective of one machine."""
    one = clone(plain).fit(X, y, **given)
    assert one.certified_
    assert model.certified_
    assert_allclose(model.objective_, one.objective_, rtol=1.1e-6)
    assert_allclose(model.coef_, one.coef_, atol=2e-2 * np.abs(one.coef_).max())
    assert model.coef_.dtype == one.coef_.dtype
    for name in ATTRIBUTES:
        mine, theirs = (getattr(each, name, None) for each in (model, one))
        if name == "share_threshold_" and theirs is not None:
            assert_allclose(mine, theirs, rtol=1e-3)
        elif isinstance(theirs, float):
            assert_allclose(mine, theirs, rtol=1e-12)
        else:
            assert np.array_equal(mine, theirs), name
    assert_allclose(model._seen_counts, one._seen_counts, rtol=1e-10, atol=1e-10)
    local = model.to_local()
    assert type(local) is type(plain)
    assert (local.predict(X) == one.predict(X)).mean() > 0.99
    assert_same_bits(local, model)


@pytest.mark.parametrize("number", [1, 2, 7])
@pytest.mark.parametrize("name", CASES)
def test_partitions_have_the_optimum_of_one_machine(name, number):
    X, y, given, plain = rows_of(name)
    assert_optimum_of(plain, fitted(plain, X, y, given, number), X, y, given)


def on_the_cluster(name, number, client):
    X, y, given, plain = rows_of(name)
    model = fitted(plain, X, y, given, number, client=client)
    assert_optimum_of(plain, model, X, y, given)
    assert_same_bits(model, here(plain, X, y, given, number))


@pytest.mark.parametrize(
    ("name", "number"),
    [("float32 words", 2), ("soft balanced CSR", 7), ("labels 1/M missing weights", 1)],
)
def test_workers_have_the_optimum_of_one_machine(name, number, client):
    on_the_cluster(name, number, client)


@pytest.mark.long
@pytest.mark.parametrize("number", [1, 2, 7])
@pytest.mark.parametrize("name", CASES)
def test_workers_have_the_optimum_of_one_machine_in_all_cases(name, number, client):
    on_the_cluster(name, number, client)


def test_a_fit_is_a_function_of_the_partitions_alone(client):
    X, y, given, plain = rows_of("float32", n=600)
    plain.set_params(tol=1e-3, certified=False)
    first, again = (fitted(plain, X, y, given, 5) for _ in range(2))
    assert_same_bits(first, again)
    other = fitted(plain, X, y, given, 3)
    assert_allclose(other.objective_, first.objective_, rtol=1e-3)


def test_a_pass_is_one_round_and_large_arguments_are_sent_once(client, monkeypatch):
    X, y, given, plain = rows_of("float64")
    rounds = watch(monkeypatch)
    model = fitted(plain, X, y, given)
    passes = [name for name in rounds if name == "run_pass"]
    assert len(passes) <= model.n_iter_ + 4  # the certificate, and sums made beside
    monkeypatch.setattr(_rounds, "LARGE", 100)
    assert_same_bits(fitted(plain, X, y, given), model)


def test_chunks_may_be_of_unknown_size_empty_or_of_one_class():
    X, y, _, plain = rows_of("float64")
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    ends = [0, 0, *np.cumsum(np.bincount(y)), len(y)]
    pieces = [slice(*each) for each in pairwise(ends)]
    dX = delayed_array([X[rows] for rows in pieces], X.shape[1])
    dy = delayed_array([y[rows] for rows in pieces])
    for classes in (None, range(4)):
        model = dask_of(plain).fit(dX, dy, classes=classes)
        assert_optimum_of(plain, model, X, y, {})
    assert np.array_equal(model.predict(dX).compute(), model.to_local().predict(X))
    assert model.score(dX, dy) == model.to_local().score(X, y)
    with pytest.raises(ValueError, match="leave a row with weight"):
        model.score(dX, dy, 0 * dy)
    with pytest.raises(ValueError, match="part 4: y must hold classes that .classes. or"):
        dask_of(plain).fit(dX, dy, classes=range(3))


def test_entries_may_be_missing_in_some_partitions_alone():
    X, y, given, plain = rows_of("labels missing")
    y = np.where(np.arange(len(y))[:, None] < len(y) // 2, np.nan_to_num(y), y)
    y[-len(y) // 4 :] = np.nan
    assert_optimum_of(plain, fitted(plain, X, y, given, 4), X, y, given)


def test_dataframes_are_fitted_with_their_names(client):
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    X, y, given, plain = rows_of("words weights")
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
    frame["y"], frame["w"] = y, given["sample_weight"]
    frames = dd.from_pandas(frame, npartitions=3)
    features = frames[list(frame.columns[:-2])]
    model = dask_of(plain).fit(features, frames["y"], frames["w"])
    assert_optimum_of(plain, model, frame[frame.columns[:-2]], y, given)
    assert list(model.feature_names_in_) == list(frame.columns[:-2])
    proba = model.predict_proba(features)
    assert isinstance(proba, da.Array)
    assert_allclose(proba.compute(), model.to_local().predict_proba(frame[frame.columns[:-2]]))
    assert np.array_equal(model.predict(features).compute()[:5], model.predict(features.head(5)))


METHODS = ("decision_function", "predict", "predict_proba", "predict_log_proba")


@pytest.mark.parametrize(
    "name", ["two", "float32 words", "CSR float32 weights", "labels", "labels 1/M", "labels CSR"]
)
def test_predictions_are_lazy_and_those_of_the_plain_estimator(name):
    X, y, given, plain = rows_of(name)
    if name == "labels CSR":
        y = sparse.csr_array(y.astype(int))
    model = dask_of(plain)
    vars(model).update(vars(clone(plain).set_params(tol=0.1).fit(X, y, **given)))
    called = []
    chunks = [X[:100], X[100:100], X[100:]]

    def chunk(number):
        called.append(number)
        return chunks[number]

    parts = [dask.delayed(chunk)(i) for i in range(3)]
    sizes = [(c.shape[0], X.shape[1]) for c in chunks]
    dX = da.concatenate(
        [da.from_delayed(p, s, meta=X[:0]) for p, s in zip(parts, sizes, strict=True)],
        allow_unknown_chunksizes=True,
    )
    local = model.to_local()
    for method in METHODS:
        lazy, expected = getattr(model, method)(dX), getattr(local, method)(X)
        assert lazy.shape == expected.shape
        assert lazy.dtype == expected.dtype
        assert not called
        blocks = [dask.delayed(b).compute() for b in lazy.to_delayed().ravel()]
        called.clear()
        join = sparse.vstack if sparse.issparse(expected) else np.concatenate
        found = join([b for b in blocks if b.shape[0]])
        if sparse.issparse(expected):
            found, expected = found.toarray(), expected.toarray()
        if found.dtype.kind == "f":
            assert_allclose(found, expected, rtol=1e-5)
        else:
            assert np.array_equal(found, expected)
    labels, scores = model.predict_top_k(dX, 2)
    expected = local.predict_top_k(X, 2)
    assert np.array_equal(labels.compute(), expected[0])
    assert_allclose(scores.compute(), expected[1], rtol=1e-5)
    assert np.array_equal(model.predict_proba(X[:9]), local.predict_proba(X[:9]))  # not lazily


def test_what_does_not_fit_is_told_before_a_round():
    X, y, _, plain = rows_of("float64")
    dX, dy = in_partitions(X, 3, 300), in_partitions(y, 3, 300)
    mixed = delayed_array([X[:100], X[100:].astype("f4")], 8)
    wrong = {
        "X must be a dask": (plain, (X, dy)),
        "y must have the 300 rows of X, got 200": (plain, (dX, y[:200])),
        "y must have the 3 partitions of X": (plain, (dX, delayed_array([y[:100], y[100:]]))),
        "l1_ratio must be 0": (clone(plain).set_params(solver="auto", l1_ratio=0.5), (dX, dy)),
        "solver must be 'auto' or 'lbfgs'": (clone(plain).set_params(solver="sdca"), (dX, dy)),
        "early_stopping must be False": (clone(plain).set_params(early_stopping=True), (dX, dy)),
        "part 1: the dtype of X must be": (plain, (mixed, delayed_array([y[:100], y[100:]]))),
    }
    for words, (model, data) in wrong.items():
        with pytest.raises(ValueError, match=words):
            dask_of(model).fit(*data)


def test_grids_of_the_plain_estimator_run_on_the_cluster(client):
    from sklearn.model_selection import GridSearchCV

    X, y, _, _ = rows_of("float64")
    search = GridSearchCV(skce.MultinomialLogistic(random_state=0), {"alpha": [1e-4, 0.1]}, cv=2)
    alone = clone(search).fit(X, y)
    with joblib.parallel_config(backend="dask"):
        search.fit(X, y)
    assert search.best_params_ == alone.best_params_
    assert_allclose(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], rtol=1e-12
    )


def test_the_plain_estimator_takes_a_dask_array_into_memory():
    X, y, _, plain = rows_of("float32")
    model = clone(plain).fit(da.from_array(X, chunks=(50, -1)), da.from_array(y, chunks=50))
    assert_same_bits(model, clone(plain).fit(X, y))
    assert isinstance(model.predict(da.from_array(X)), np.ndarray)


def test_a_stream_goes_on_from_a_fit_of_partitions():
    X, y, given, plain = rows_of("float64")
    model = fitted(plain, X, y, given).to_local()
    one = clone(plain).fit(X, y)
    for each in (model, one):
        each.partial_fit(X[:50], y[:50])
    assert_allclose(model.coef_, one.coef_, atol=0.02 * np.abs(one.coef_).max())


def test_a_fit_that_does_not_converge_says_so():
    X, y, given, plain = rows_of("float64")
    plain.set_params(max_iter=1, tol=1e-9)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        fitted(plain, X, y, given)


def test_labels_of_one_value_are_named():
    X, y, given, plain = rows_of("labels")
    y[:, 2] = 0
    with pytest.warns(UserWarning, match="never on: 2"):
        fitted(plain, X, y, given)
