"""Peak memory beyond X, against what the guide says that a fit keeps."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from skce import MultiLabelLogistic, MultinomialLogistic
from skce._kernels.threads import thread_count
from skce._solvers import groups

MIB = 1 << 20
# name: rows, features, classes, density (None is dense), numbers of the metric, parameters
SHAPES = {
    "sdca given up": (100_000, 30, 60, None, 0, {"alpha": 2e-5, "tol": 1e-4, "max_iter": 10}),
    "metric of CSR": (10_000, 2000, 2, 0.01, 2001**2, {"solver": "lbfgs", "max_iter": 3}),
    "L1": (100_000, 5000, 4, 0.01, 0, {"l1_ratio": 1.0, "alpha": 1e-4, "max_iter": 3}),
}


@pytest.fixture
def peak():
    """The function that tells the peak since its last call, in bytes."""

    def found():
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        return most

    tracemalloc.start()
    yield found
    tracemalloc.stop()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit_keeps_a_table_a_metric_and_some_weights(name, dtype, peak):
    n, p, k, density, metric, params = SHAPES[name]
    rng = np.random.RandomState(0)
    if density is None:
        X = rng.standard_normal((n, p)).astype(dtype)
    else:
        X = sparse.random_array((n, p), density=density, format="csr", rng=rng).astype(dtype)
    y = np.argmax(X @ rng.standard_normal((p, k)), axis=1)
    before = tracemalloc.get_traced_memory()[0]
    peak()
    MultinomialLogistic(**{"random_state": 0, **params}).fit(X, y)
    outputs = 1 if k == 2 else k
    table = n * outputs * X.dtype.itemsize
    weights = 24 * (p + 1) * outputs * 8
    rows = 8 * n  # numbers in double
    assert peak() - before <= table + 8 * metric + weights + rows * 10 + 12 * MIB


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("prune", [None, 0.3])
@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_many_labels_take_their_coefficients_and_a_group_on_each_thread(
    prune, dtype, peak, monkeypatch
):
    monkeypatch.setattr(groups, "TOGETHER", 1 << 20)
    n, p, k = 500, 1500, 1500
    rng = np.random.RandomState(0)
    X = sparse.random_array((n, p), density=0.01, format="csr", rng=rng).astype(dtype)
    Y = sparse.random_array((n, k), density=0.002, format="csr", rng=rng)
    Y.data[:] = 1
    before = tracemalloc.get_traced_memory()[0]
    peak()
    model = MultiLabelLogistic(alpha=1e-3, prune=prune, random_state=0).fit(X, Y)
    size = X.dtype.itemsize
    kept = 2 * (size + 8) * model.coef_.nnz if prune else size * k * p
    group = 6 * (n + p) * groups.LABELS * 8  # some of its arrays are in double
    assert peak() - before <= kept + group * min(thread_count(), 12) + 4 * MIB
