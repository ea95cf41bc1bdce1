"""What every test starts from."""

import logging

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def seeded():
    """Estimators without a random_state draw from NumPy's global one: the same in every run."""
    np.random.seed(0)  # noqa: NPY002 - the one that scikit-learn draws from


@pytest.fixture(scope="module")
def cluster():
    """A Dask cluster of two processes of one thread on loopback."""
    distributed = pytest.importorskip("distributed")
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(
        n_workers=2, **options, silence_logs=logging.CRITICAL, memory_limit=0
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    """A client of it, once both workers are there."""
    from dask_cases import HANGS
    from distributed import Client

    with Client(cluster) as client:
        try:
            client.wait_for_workers(2, timeout=HANGS / 4)
        except TimeoutError:  # a nanny gives up a worker that is killed while it starts
            cluster.scale(0)
            cluster.scale(2)
            client.wait_for_workers(2, timeout=HANGS)
        yield client
