"""One epoch of every update rule, loss, storage and dtype against the NumPy reference."""

import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from registry import INSTANCES, Instance
from scipy import sparse
from threadpoolctl import threadpool_limits

from skce._engine.data import EpochData as Problem
from skce._engine.data import Matrix
from skce._engine.sgd import Rule, sgd_epoch
from skce._kernels import Loss

KINDS = {
    "softmax_cross_entropy": Loss.SOFTMAX,
    "multilabel_softmax_cross_entropy": Loss.MULTILABEL_SOFTMAX,
    "sigmoid_cross_entropy": Loss.SIGMOID,
}
MATRICES = [i for i in INSTANCES if i.kind != "single"]
LABELS = next(i for i in MATRICES if i.kind == "labels")
STATES = {"SGD": 0, "MOMENTUM": 1, "ADAGRAD": 1, "ADAM": 2}
STORAGE = ("dense", "csr-32", "csr-64")
N, P, K = 23, 24, 5

every_instance = pytest.mark.parametrize("instance", MATRICES, ids=str)
every_rule = pytest.mark.parametrize("rule", STATES)
every_storage = pytest.mark.parametrize("storage", STORAGE)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def close(actual, expected, dtype):
    rtol = 2e-5 if dtype == np.float32 else 1e-11
    for a, e in zip(actual, expected, strict=True):
        e = np.array(e, float)
        assert_allclose(a, e, rtol=rtol, atol=rtol * np.max(np.abs(e), initial=1))


def stored(X, storage):
    """Dense X, or as CSR with indices of 32 or 64 bits."""
    if storage == "dense":
        return X
    X = sparse.csr_array(X)
    index = np.dtype(f"int{storage[-2:]}")
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    return X


def encoded(targets, dtype):
    """Targets as a Problem takes them."""
    return (
        targets.astype(np.int32) if targets.ndim == 1 else sparse.csr_array(targets.astype(dtype))
    )


@dataclass
class Epoch:
    """Arguments of an epoch: 5 batches of 4 of the 23 rows, the last of 3; X has an empty row."""

    instance: Instance
    rule: str
    dtype: type
    storage: str = "dense"
    k: int = K

    def __post_init__(self):
        rng = np.random.default_rng(7)
        problem = self.instance.problem(self.dtype, N, self.k)
        self.targets, self.weights = problem.targets, problem.sample_weight
        self.options = {k: v for k, v in problem.options.items() if k != "class_weight"}
        self.X = (rng.standard_normal((N, P)) * (rng.random((N, P)) < 0.5)).astype(self.dtype)
        self.X[3] = 0
        self.order = rng.permutation(N)[:19]
        self.order[-1] = 3
        self.batch_size, self.lazy, self.count = 4, 2, 6
        self.steps, self.blends = rng.uniform(0.05, 0.5, 5), rng.uniform(0.1, 1, 5)
        self.W = rng.standard_normal((P + 1, self.k)).astype(self.dtype)
        self.average = rng.standard_normal((P + 1, self.k)).astype(self.dtype)
        self.state = rng.random((STATES[self.rule], P + 1, self.k)).astype(self.dtype)
        self.metric = rng.uniform(0.5, 2, P + 1).astype(self.dtype)
        self.mean = None
        self.alpha, self.momentum_rate = 0.05, 0.8

    def changed(self, **changes):
        for name, value in changes.items():
            setattr(self, name, value)
        return self

    def arguments(self):
        """Arguments of the Problem."""
        X, targets = stored(self.X, self.storage), encoded(self.targets, self.dtype)
        pos_weight = self.options.get("pos_weight")
        pos_weight = None if pos_weight is None else pos_weight.astype(self.dtype)
        smoothing = self.options.get("label_smoothing", 0.0)
        kind = KINDS[self.instance.loss]
        return [kind, X, targets, self.k, self.weights, pos_weight, smoothing]

    def run(self, arguments=None):
        """Summed loss, W, state and average of skce."""
        W, state = self.W.copy(), self.state.copy()
        average = None if self.average is None else self.average.copy()
        loss, _ = sgd_epoch(
            Problem(*arguments or self.arguments()), self.order, self.batch_size,
            self.steps, W, self.mean, self.metric, self.alpha, Rule[self.rule],
            self.momentum_rate, state, self.count, average, self.blends, self.lazy,
        )  # fmt: skip
        return loss, W, state, average

    def reference(self):
        """The same of the reference."""
        function = getattr(reference, self.instance.loss)

        def loss(logits, rows):
            return function(
                logits, self.targets[rows], sample_weight=self.weights[rows], **self.options
            )

        total, W, state, average = reference.sgd_epoch(
            loss, self.X, self.order, self.batch_size, self.steps, self.W, self.mean, self.metric,
            self.alpha, self.rule, self.momentum_rate, self.state, self.count, self.average,
            self.blends, self.lazy,
        )  # fmt: skip
        return total, W, np.reshape(state, self.state.shape), average


@every_dtype
@every_storage
@every_rule
@every_instance
def test_epoch_is_the_reference(instance, rule, storage, dtype):
    epoch = Epoch(instance, rule, dtype, storage)
    close(epoch.run(), epoch.reference(), dtype)


@every_dtype
@every_rule
@every_instance
def test_centre_means_centred_columns(instance, rule, dtype):
    epoch = Epoch(instance, rule, dtype).changed(mean=np.linspace(-1, 2, P, dtype=dtype))
    close(epoch.run(), epoch.reference(), dtype)
    explicit = Epoch(instance, rule, dtype).changed(X=epoch.X - epoch.mean)
    close(epoch.run(), explicit.run(), dtype)


@every_storage
@every_rule
@pytest.mark.parametrize("batch_size", [1, 4, 19, 100])
@pytest.mark.parametrize("lazy", [1, 3, 50])
def test_any_batch_size_and_interval_of_sweeps(batch_size, lazy, rule, storage):
    n_steps = -(-19 // batch_size)
    steps, blends = np.linspace(0.5, 0.1, n_steps), np.linspace(1, 0.1, n_steps)
    epoch = Epoch(LABELS, rule, np.float64, storage)
    epoch.changed(batch_size=batch_size, lazy=lazy, steps=steps, blends=blends)
    close(epoch.run(), epoch.reference(), np.float64)


@every_storage
@every_rule
@pytest.mark.parametrize("alpha", [0.0, 1e4])
def test_any_penalty(alpha, rule, storage):
    epoch = Epoch(LABELS, rule, np.float64, storage).changed(alpha=alpha)
    if rule != "SGD":  # a gradient step of a large penalty diverges, a proximal one does not
        epoch.changed(steps=epoch.steps / (1 + alpha))
    close(epoch.run(), epoch.reference(), np.float64)


@every_storage
@every_rule
@every_instance
def test_batch_without_weight_changes_neither_weights_nor_state(instance, rule, storage):
    epoch = Epoch(instance, rule, np.float64, storage)
    epoch.weights[epoch.order[4:12]] = 0
    loss, *arrays = epoch.run()
    close((loss, *arrays), epoch.reference(), np.float64)
    kept = np.r_[0:4, 12:19]
    fewer = Epoch(instance, rule, np.float64, storage).changed(
        weights=epoch.weights, order=epoch.order[kept], steps=epoch.steps[[0, 3, 4]], lazy=1,
        blends=epoch.blends[[0, 3, 4]], alpha=0.0,
    )  # fmt: skip
    close(epoch.changed(lazy=1, alpha=0.0).run()[:3], fewer.run()[:3], np.float64)


@every_storage
@every_rule
def test_intercept_without_metric_stays(rule, storage):
    epoch = Epoch(LABELS, rule, np.float64, storage)
    epoch.metric[-1], epoch.state[:] = 0, 0
    close(epoch.run(), epoch.reference(), np.float64)
    assert_array_equal(epoch.run()[1][-1], epoch.W[-1])


@every_storage
@every_rule
def test_average_is_optional_and_changes_nothing_else(rule, storage):
    epoch = Epoch(LABELS, rule, np.float64, storage)
    averaged, plain = epoch.run(), epoch.changed(average=None).run()
    assert plain[3] is None
    for a, b in zip(averaged[:3], plain[:3], strict=True):
        assert_array_equal(a, b)


@every_storage
@every_rule
def test_two_halves_of_an_order_are_the_whole(rule, storage):
    epoch = Epoch(LABELS, rule, np.float64, storage).changed(lazy=1)
    whole = epoch.run()
    first = Epoch(LABELS, rule, np.float64, storage).changed(lazy=1, order=epoch.order[:8])
    first.changed(steps=epoch.steps[:2], blends=epoch.blends[:2])
    loss, W, state, average = first.run()
    second = Epoch(LABELS, rule, np.float64, storage).changed(
        lazy=1, order=epoch.order[8:], W=W, state=state
    )
    second.changed(average=average, steps=epoch.steps[2:], blends=epoch.blends[2:], count=8)
    rest, *arrays = second.run()
    close((loss + rest, *arrays), whole, np.float64)


@every_storage
@every_rule
def test_no_rows_change_nothing(rule, storage):
    none = np.empty(0)
    epoch = Epoch(LABELS, rule, np.float64, storage)
    epoch.changed(order=np.empty(0, np.intp), steps=none, blends=none)
    loss, *arrays = epoch.run()
    assert loss == 0
    for a, b in zip(arrays, (epoch.W, epoch.state, epoch.average), strict=True):
        assert_array_equal(a, b)


@every_storage
@every_instance
def test_inputs_may_be_read_only(instance, storage):
    epoch = Epoch(instance, "SGD", np.float64, storage)
    expected = epoch.run()
    arguments = epoch.arguments()
    for matrix in (a for a in arguments if hasattr(a, "shape")):
        parts = [matrix]
        if sparse.issparse(matrix):
            parts = [matrix.data, matrix.indices, matrix.indptr]
        for array in (*parts, epoch.order, epoch.steps, epoch.blends, epoch.metric):
            array.flags.writeable = False
    for actual, e in zip(epoch.run(arguments), expected, strict=True):
        assert_array_equal(actual, e)


@every_storage
@pytest.mark.parametrize("k", [1, 2, 9, 600])
@pytest.mark.parametrize("instance", [i for i in MATRICES if i.with_options], ids=str)
def test_any_number_of_outputs(instance, k, storage):
    for dtype in (np.float32, np.float64):
        epoch = Epoch(instance, "SGD", dtype, storage, k)
        close(epoch.run(), epoch.reference(), dtype)


@every_dtype
@every_storage
def test_two_threads_give_the_bits_of_one(storage, dtype):
    epochs = [
        Epoch(i, rule, dtype, storage) for i, rule in zip(MATRICES, 6 * [*STATES], strict=False)
    ]
    with threadpool_limits(limits=1, user_api="blas"):
        alone = [epoch.run() for epoch in epochs]
        together = [[], []]

        def work(results):
            results += [[epoch.run() for epoch in epochs] for _ in range(5)]

        threads = [threading.Thread(target=work, args=(results,)) for results in together]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for results in (*together[0], *together[1]):
        for result, expected in zip(results, alone, strict=True):
            for a, b in zip(result, expected, strict=True):
                assert_array_equal(a, b)


@every_storage
def test_the_interpreter_runs_on_during_an_epoch(storage):
    epoch = Epoch(LABELS, "SGD", np.float64, storage)
    order = np.tile(epoch.order, 40_000)
    steps = np.full(-(-len(order) // 4), 1e-3)
    epoch.changed(order=order, steps=steps, blends=np.zeros_like(steps))
    span, ticks = [], []

    def work():
        span.append(time.perf_counter())
        epoch.run()
        span.append(time.perf_counter())

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(1e-4)
    quarter = (span[1] - span[0]) / 4
    assert any(span[0] + quarter < tick < span[1] - quarter for tick in ticks)


def broken(**parts):
    """A CSR matrix whose arrays do not fit."""
    X = sparse.csr_array(np.eye(3, 4))
    for name, value in parts.items():
        setattr(X, name, np.array(value) if isinstance(value, list) else value)
    return X


WRONG_MATRICES = {
    "negative index": {"indices": [0, -1, 2]},
    "large index": {"indices": [0, 4, 2]},
    "index of 64 bits beyond 32": {"indices": [0, 2**32, 2]},
    "short indptr": {"indptr": [0, 1, 2]},
    "long indptr": {"indptr": [0, 1, 2, 3, 3]},
    "indptr not from 0": {"indptr": [1, 1, 2, 3]},
    "falling indptr": {"indptr": [0, 2, 1, 3]},
    "indptr beyond the data": {"indptr": [0, 1, 2, 4]},
    "negative indptr": {"indptr": [0, -1, 2, 3]},
    "short data": {"data": np.ones(2)},
    "short indices": {"indices": [0, 1]},
    "indices of 16 bits": {"indices": np.arange(3, dtype=np.int16)},
    "indices of floats": {"indices": np.arange(3.0)},
}


@pytest.mark.parametrize("parts", WRONG_MATRICES.values(), ids=WRONG_MATRICES)
def test_wrong_csr_matrix_raises(parts):
    with pytest.raises(ValueError, match=r"indices|indptr"):
        Matrix(broken(**parts))


def targets_with(value, dtype=np.int32):
    targets = np.zeros(N, dtype)
    targets[N // 2] = value
    return targets


SIGMOID, Y = Loss.SIGMOID, np.zeros((N, K))
WRONG_PROBLEMS = [
    *({2: targets_with(y)} for y in (-1, K, 2**31 - 1)),
    *({2: targets_with(0, dtype)} for dtype in (np.int64, np.float64)),
    *({2: y} for y in (targets_with(0)[:-1], Y)),
    *({0: loss} for loss in (SIGMOID, Loss.MULTILABEL_SOFTMAX)),
    {0: SIGMOID, 2: Y},
    *({2: sparse.csr_array(y)} for y in (Y[:-1], Y[:, :-1], Y.astype(np.float32))),
    {3: 2},
    *({4: w} for w in (np.ones(N - 1), np.ones((N, 1)), np.ones(N, np.float32))),
    *({5: q} for q in (np.ones(K - 1), np.ones((1, K)), np.ones(K, np.float32))),
]


@pytest.mark.parametrize("changes", WRONG_PROBLEMS, ids=str)
def test_wrong_problem_raises(changes):
    arguments = Epoch(LABELS, "SGD", np.float64).arguments()
    for position, value in changes.items():
        arguments[position] = value
    with pytest.raises(ValueError, match=r"must|Buffer|Labels"):
        Problem(*arguments)


WRONG_EPOCHS = {
    "order": [
        *(np.array([0, i] + 17 * [1]) for i in (-1, N)),
        np.zeros((19, 1), np.intp),
        np.zeros(19, np.int32),
    ],
    "batch_size": [-4, 5],
    "steps": [np.ones(4), np.ones(6), np.ones(5, np.float32)],
    "W": [np.ones((P, K)), np.ones((P + 1, K + 1)), np.ones((P + 1, K), np.float32)],
    "mean": [np.ones(P + 1), np.ones(P, np.float32)],
    "metric": [np.ones(P), np.ones(P + 1, np.float32)],
    "state": [np.ones(shape) for shape in ((0, P + 1, K), (1, P, K), (1, P + 1, 2), (2, P + 1, K))],
    "average": [np.ones((P, K)), np.ones((P + 1, K - 1))],
    "blends": [np.ones(4)],
    "lazy": [0, -1],
}


@every_storage
@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in WRONG_EPOCHS.items() for v in vs])
def test_wrong_argument_of_an_epoch_raises(name, value, storage):
    epoch = Epoch(LABELS, "ADAGRAD", np.float64, storage).changed(**{name: value})
    with pytest.raises((ValueError, TypeError)):
        epoch.run()


def test_centre_is_for_dense_matrices_only():
    epoch = Epoch(LABELS, "SGD", np.float64, "csr-32").changed(mean=np.ones(P))
    with pytest.raises(ValueError, match="dense"):
        epoch.run()


def test_matrix_and_weights_of_two_dtypes_raise():
    epoch = Epoch(LABELS, "SGD", np.float32).changed(X=np.ones((N, P)))
    with pytest.raises(ValueError, match="dtype"):
        epoch.run()
