"""Faults of a Dask cluster change no bit of a fit, or end it with one sentence: it never hangs."""

import gc
import logging
import os
import signal
import threading
import time

import numpy as np
import pytest

distributed = pytest.importorskip("distributed")
import dask  # noqa: E402
import dask.array as da  # noqa: E402
from dask_cases import (  # noqa: E402
    CASES,
    HANGS,
    MARKS,
    assert_same_bits,
    dask_of,
    fitted,
    here,
    in_partitions,
    rows_of,
    watch,
)

from skce.dask import _rounds  # noqa: E402

pytestmark = MARKS


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


def test_a_worker_that_stands_still_changes_no_bit_when_it_goes_on(cluster, client, monkeypatch):
    X, y, given, plain = rows_of("float32")
    rounds = watch(monkeypatch)
    whole = fitted(plain, X, y, given, 4)
    worker = next(iter(cluster.workers.values())).pid

    def stop():
        os.kill(worker, signal.SIGSTOP)
        threading.Timer(1.0, os.kill, (worker, signal.SIGCONT)).start()

    watch(monkeypatch, len(rounds) // 2, stop)
    assert_same_bits(fitted(plain, X, y, given, 4), whole)


@pytest.mark.long
def test_a_worker_that_stands_still_for_good_is_given_up_by_the_scheduler(monkeypatch):
    X, y, given, plain = rows_of("float32")
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
    with (
        dask.config.set({"distributed.scheduler.worker-ttl": "10s"}),
        distributed.LocalCluster(n_workers=2, **options, silence_logs=logging.CRITICAL) as mine,
        distributed.Client(mine) as client,
    ):
        rounds = watch(monkeypatch)
        whole = fitted(plain, X, y, given, 4, client=client)
        worker = next(iter(mine.workers.values())).pid
        watch(monkeypatch, len(rounds) // 2, lambda: os.kill(worker, signal.SIGSTOP))
        began = time.monotonic()
        assert_same_bits(fitted(plain, X, y, given, 4, client=client), whole)
        assert time.monotonic() - began < HANGS


def test_an_address_is_no_client():
    X, y, given, plain = rows_of("float64")
    with pytest.raises(ValueError, match="client must be a distributed.Client or None, got str"):
        fitted(plain, X, y, given, client="tcp://127.0.0.1:8786")
