"""A fit of Dask collections is that of all their rows on one machine, whatever the cluster does.

The cluster is two processes of one thread on loopback, which the tests kill; `HERE` fits are those
without a client, in this process, which have the same bits.
"""

import gc
import logging
import os
import signal
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import skce

distributed = pytest.importorskip("distributed")
import dask  # noqa: E402
import dask.array as da  # noqa: E402
import joblib  # noqa: E402

from skce import dask as skce_dask  # noqa: E402
from skce.dask import _rounds  # noqa: E402

HANGS = 120  # seconds after which a fit is said to hang
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ATTRIBUTES = ("classes_", "mean_labels_", "share_threshold_", "_observed", "label_names_", "_form")


@pytest.fixture(scope="module")
def cluster():
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(
        n_workers=2, **options, silence_logs=logging.CRITICAL, memory_limit=0
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as client:
        try:
            client.wait_for_workers(2, timeout=HANGS / 4)
        except TimeoutError:  # a nanny gives up a worker that is killed while it starts
            cluster.scale(0)
            cluster.scale(2)
            client.wait_for_workers(2, timeout=HANGS)
        yield client


def rows_of(name, n=300, p=8):
    """X, y, other arguments of fit, the plain estimator, of a case."""
    rng = np.random.default_rng(len(name))
    X = rng.standard_normal((n, p)) * rng.uniform(0.2, 5, p) + rng.uniform(-3, 3, p)
    X = X.astype(np.float32 if "float32" in name else np.float64)
    if "CSR" in name:
        X = sparse.csr_array(np.where(rng.random((n, p)) < 0.6, 0, X))
    logits, given = X @ rng.standard_normal((p, 4)) + 2 * rng.gumbel(size=(n, 4)), {}
    options: dict = {"alpha": 1e-3, "random_state": 0, "tol": 1e-6, "certified": True}
    options |= {"solver": "lbfgs", "max_iter": 1000}
    if "weights" in name:
        given["sample_weight"] = np.where(rng.random(n) < 0.2, 0, rng.uniform(1e3, 3e3, n))
    if "smoothing" in name:
        options["label_smoothing"] = 0.1
    if "labels" in name:
        y, options["loss"] = labels_of(name, logits, given, rng), "softmax"
        if "1/M" not in name:
            options |= {"loss": "bce", "pos_weight": "balanced" if "balanced" in name else None}
        return X, y, given, skce.MultiLabelLogistic(**options)
    if "balanced" in name:
        options["class_weight"] = "balanced"
    if "named" in name:
        options["class_weight"] = {0: 2.0, 3: 0.5}
    return X, classes_of(name, logits, rng), given, skce.MultinomialLogistic(**options)


def labels_of(name, logits, given, rng):
    """An indicator of labels."""
    y = (logits > 1).astype(float)
    if "missing" in name:
        y[rng.random(y.shape) < 0.2] = np.nan
    if "entries" in name:
        given["entry_weight"] = rng.uniform(0, 2, y.shape)
    return y * rng.random(y.shape) if "shares" in name else y


def classes_of(name, logits, rng):
    """Labels, or rows of probabilities, of which whole partitions are one-hot."""
    y, n = logits.argmax(axis=1), len(logits)
    if "two" in name:
        return y > 1
    if "words" in name:
        return np.array(["red", "green", "blue", "yellowish"])[y]
    if "soft" in name:
        soft = rng.dirichlet(np.full(4, 0.3), size=n)
        return np.where(np.arange(n)[:, None] < n // 2, np.eye(4)[y], soft)
    return y


CASES = (
    *("float64", "float32 words", "CSR", "CSR float32 weights", "two", "two balanced weights"),
    *("weights smoothing", "balanced words weights", "soft", "soft balanced CSR", "soft float32"),
    *("named CSR", "labels", "labels missing float32", "labels balanced weights CSR"),
    *(
        "labels shares entries",
        "labels missing entries",
        "labels 1/M",
        "labels 1/M missing weights",
    ),
)


def in_partitions(array, number, n):
    """A Dask array of so many partitions, not all of one size."""
    edges = np.unique(np.linspace(0, n, number + 1).astype(int) // 7 * 7)
    edges[-1] = n
    sizes = tuple(np.diff(edges).tolist())
    return da.from_array(array, chunks=(sizes, *((-1,) * (array.ndim - 1))), asarray=False)


def dask_of(plain):
    """The estimator of collections with the parameters of a plain one."""
    return getattr(skce_dask, type(plain).__name__)(**plain.get_params())


def fitted(plain, X, y, given, number=3, **more):
    n = X.shape[0]
    X, y = (in_partitions(a, number, n) for a in (X, y))
    return dask_of(plain).fit(
        X, y, **{k: in_partitions(v, number, n) for k, v in given.items()}, **more
    )


def assert_same_bits(model, other):
    for name in ("coef_", "intercept_", "objective_", "dual_gap_", "n_iter_"):
        assert np.array_equal(getattr(model, name), getattr(other, name)), name


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


def here(plain, X, y, given, number):
    """The fit without a client."""

    def none():
        raise ValueError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rounds, "default_client", none)
        return fitted(plain, X, y, given, number)


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


def watch(monkeypatch, at=None, act=None):
    """A list of the rounds made; act() is called before round `at`."""
    made, each = [], _rounds.Source.each

    def watched(self, view, function, args):
        made.append(function.__name__)
        if len(made) - 1 == at:
            act()
        return each(self, view, function, args)

    monkeypatch.setattr(_rounds.Source, "each", watched)
    return made


def kill_a_worker(cluster, number=0):
    """Send SIGKILL to the process of a worker, which its nanny starts again."""
    nanny = list(cluster.workers.values())[number]
    if nanny.pid is not None:  # else it is being started
        os.kill(nanny.pid, signal.SIGKILL)


def after_a_kill(cluster, monkeypatch, share):
    """Kill a worker after a share of the rounds: the bits are those without it."""
    X, y, given, plain = rows_of("float32", n=400)
    rounds = watch(monkeypatch)
    whole = fitted(plain, X, y, given, 4)
    at = min(int(share * len(rounds)), len(rounds) - 1)
    began = time.monotonic()
    watch(monkeypatch, at, lambda: kill_a_worker(cluster))
    assert_same_bits(fitted(plain, X, y, given, 4), whole)
    assert time.monotonic() - began < HANGS


def test_a_killed_worker_changes_no_bit(cluster, client, monkeypatch):
    after_a_kill(cluster, monkeypatch, 0.5)


@pytest.mark.long
@pytest.mark.parametrize("share", [0, 1])
def test_a_worker_killed_in_the_first_or_last_round_changes_no_bit(
    share, cluster, client, monkeypatch
):
    after_a_kill(cluster, monkeypatch, share)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(50))
def test_no_fault_makes_a_fit_hang_or_changes_a_bit(seed, cluster, client, monkeypatch):
    rng = np.random.default_rng(seed)
    X, y, given, plain = rows_of(CASES[seed % len(CASES)])
    number = int(rng.integers(2, 7))
    whole = here(plain, X, y, given, number)
    faults = [
        lambda: kill_a_worker(cluster, int(rng.integers(len(cluster.workers)))),
        lambda: cluster.scale(3),
        lambda: cluster.scale(1),
        client.rebalance,
    ]
    at = {int(when): faults[int(rng.integers(4))] for when in rng.integers(0, 40, 2)}
    made, each = watch(monkeypatch), _rounds.Source.each

    def faulty(self, view, function, args):
        at.pop(len(made), lambda: None)()
        return each(self, view, function, args)

    monkeypatch.setattr(_rounds.Source, "each", faulty)
    began = time.monotonic()
    try:
        assert_same_bits(fitted(plain, X, y, given, number), whole)
    finally:
        cluster.scale(2)
    assert time.monotonic() - began < HANGS


def test_an_added_worker_changes_no_bit(cluster, client, monkeypatch):
    X, y, given, plain = rows_of("float64")
    whole = fitted(plain, X, y, given, 5)
    watch(monkeypatch, 4, lambda: (cluster.scale(3), client.wait_for_workers(3, timeout=HANGS)))
    try:
        assert_same_bits(fitted(plain, X, y, given, 5), whole)
    finally:
        cluster.scale(2)


def delayed_array(blocks, p=None):
    """A Dask array of blocks whose sizes are not known."""
    shape = (np.nan,) if p is None else (np.nan, p)
    parts = [dask.delayed(block) for block in blocks]
    return da.concatenate([da.from_delayed(part, shape, dtype=float) for part in parts])


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


def raising():
    raise OSError("disk gone")


def test_a_partition_that_raises_is_named(client):
    X, y, _, plain = rows_of("float64")
    model, before = dask_of(plain), vars(dask_of(plain)).copy()
    bad = da.from_delayed(dask.delayed(raising)(), (100, 8), dtype=float)
    dX = da.concatenate([da.from_array(X[:200], chunks=(100, -1)), bad])
    with pytest.raises(RuntimeError, match="^part 2 raised OSError: disk gone$"):
        model.fit(dX, da.from_array(y, chunks=100))
    assert vars(model) == before
    X[250, 3] = np.nan
    with pytest.raises(ValueError, match="^part 2: Input X contains NaN"):
        model.fit(da.from_array(X, chunks=(100, -1)), y)
    labels = np.where(np.arange(200) == 150, np.nan, y[:200])
    with pytest.raises(ValueError, match="^part 1: y must hold labels, got a missing"):
        model.fit(da.from_array(X[:200], chunks=(100, -1)), labels)


def test_a_partition_that_raises_leaves_no_rows_on_the_cluster(client):
    X, y, _, plain = rows_of("float64")
    bad = da.from_delayed(dask.delayed(raising)(), (100, 8), dtype=float)
    with pytest.raises(RuntimeError, match="disk gone"):
        dask_of(plain).fit(da.concatenate([da.from_array(X[:200], chunks=(100, -1)), bad]), y)
    end = time.monotonic() + HANGS
    while client.who_has():
        assert time.monotonic() < end
        gc.collect()  # frames of distributed are circles
        time.sleep(0.1)


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


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupted_fit_leaves_the_estimator_and_the_cluster_as_they_were(client, monkeypatch):
    X, y, given, plain = rows_of("float64")
    before = fitted(plain, X, y, given)
    state = {name: id(value) for name, value in vars(before).items()}
    watch(monkeypatch, 6, lambda: threading.Timer(0.0, interrupt).start())
    began = time.monotonic()
    data = in_partitions(X, 3, 300), in_partitions(y, 3, 300)
    with pytest.raises(KeyboardInterrupt):
        before.fit(*data)
    assert time.monotonic() - began < HANGS
    assert {name: id(value) for name, value in vars(before).items()} == state
    assert_same_bits(fitted(plain, X, y, given), before)


def test_a_client_that_closes_ends_the_fit(cluster, monkeypatch):
    X, y, given, plain = rows_of("float64")
    client = distributed.Client(cluster, set_as_default=False)
    watch(monkeypatch, 5, client.close)
    with pytest.raises(RuntimeError, match="the client has closed"):
        fitted(plain, X, y, given, client=client)


def test_a_cluster_without_workers_ends_the_fit(monkeypatch):
    monkeypatch.setattr(_rounds, "LOOK", 0.2)
    monkeypatch.setattr(_rounds, "WITHOUT_WORKERS", 0.5)
    X, y, given, plain = rows_of("float64")
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
        distributed.Client(empty, set_as_default=False) as client,
        pytest.raises(RuntimeError, match="there is no worker for 0.5 s"),
    ):
        fitted(plain, X, y, given, client=client)


def test_rows_that_cannot_be_made_again_end_the_fit(cluster, client, monkeypatch):
    X, y, _, plain = rows_of("float64")
    futures = client.scatter([X[:150], X[150:]])
    blocks = [da.from_delayed(dask.delayed(f), (150, 8), dtype=float) for f in futures]
    watch(monkeypatch, 5, lambda: [kill_a_worker(cluster, number) for number in range(2)])
    with pytest.raises(RuntimeError, match="cancelled or lost"):
        dask_of(plain).fit(da.concatenate(blocks), y)


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
