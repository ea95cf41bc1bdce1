"""A run of every update rule, loss, storage and dtype against the NumPy reference."""

import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sgd_case import LABELS, MATRICES, STATES, K, N, P, Run, close
from threadpoolctl import threadpool_limits

STORAGE = ("dense", "csr-32")

every_instance = pytest.mark.parametrize("instance", MATRICES, ids=str)
every_rule = pytest.mark.parametrize("rule", STATES)
every_storage = pytest.mark.parametrize("storage", STORAGE)
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@every_dtype
@every_storage
@every_rule
@every_instance
def test_run_is_the_reference(instance, rule, storage, dtype):
    run = Run(instance, rule, dtype, storage)
    close(run.run(), run.reference(), dtype)


@every_dtype
@every_rule
def test_indices_of_64_bits_give_the_same_bits(rule, dtype):
    wide, narrow = (Run(LABELS, rule, dtype, f"csr-{bits}") for bits in (64, 32))
    for a, b in zip(wide.run(), narrow.run(), strict=True):
        assert_array_equal(a, b)


@every_dtype
@every_storage
@every_rule
@every_instance
def test_implicit_run_is_the_reference(instance, rule, storage, dtype):
    if "missing" in str(instance):
        return  # two classes left have the same residual, and either is the largest
    run = Run(instance, rule, dtype, storage).changed(curvature=0.25)
    close(run.run(), run.reference(), dtype)


@every_dtype
@every_rule
@every_instance
@pytest.mark.parametrize(("size", "curvature"), [(1, 0.0), (4, 0.0), (4, 0.25)])
def test_run_that_learns_the_scale_is_the_reference(size, curvature, instance, rule, dtype):
    if curvature > 0 and "missing" in str(instance):
        return  # as above
    run = Run(instance, rule, dtype, "csr-32").cut(size).learned().changed(curvature=curvature)
    close(run.run(), run.reference(), dtype)


@every_dtype
@every_instance
@pytest.mark.parametrize("size", [1, 4])
def test_run_that_learns_the_factor_is_the_reference(size, instance, dtype):
    run = Run(instance, "ADAGRAD", dtype, "csr-32").cut(size).learned()
    run.changed(sure=np.array([1.5, 4.0, 10, 0.0, 3.0]))
    close(run.run(), run.reference(), dtype)
    *others, sure = run.run()
    assert sure[0] != 1.5
    assert 0 <= sure[2] < 10
    for a, b in zip(others, run.changed(sure=None).run(), strict=True):
        assert_array_equal(a, b)


@every_dtype
@every_rule
@every_instance
def test_centre_means_centred_columns(instance, rule, dtype):
    run = Run(instance, rule, dtype).changed(mean=np.linspace(-1, 2, P, dtype=dtype))
    close(run.run(), run.reference(), dtype)
    explicit = Run(instance, rule, dtype).changed(X=run.X - run.mean)
    close(run.run(), explicit.run(), dtype)


@every_storage
@every_rule
@pytest.mark.parametrize("size", [1, 4, 19])
def test_any_batch_size(size, rule, storage):
    run = Run(LABELS, rule, np.float64, storage).cut(size)
    close(run.run(), run.reference(), np.float64)


@every_storage
@every_rule
@pytest.mark.parametrize(("l2", "l1"), [(0.0, 0.0), (1e4, 0.0), (0.0, 0.3), (0.1, 0.1)])
def test_any_penalty(l2, l1, rule, storage):
    run = Run(LABELS, rule, np.float64, storage).changed(l2=l2, l1=l1)
    close(run.run(), run.reference(), np.float64)
    if l1 > 0.2 and storage == "dense":  # of CSR when a column is next met
        assert (run.run()[1][:-1] == 0).any()


@every_storage
@every_rule
@every_instance
def test_batch_without_weight_changes_nothing(instance, rule, storage):
    run = Run(instance, rule, np.float64, storage)
    run.weights[run.order[4:12]] = 0
    kept, steps = np.r_[0:4, 12:19], [0, 3, 4]
    run.times[1:4] = run.times[1]
    close(run.run(), run.reference(), np.float64)
    fewer = Run(instance, rule, np.float64, storage).changed(
        weights=run.weights, order=run.order[kept], ends=np.array([0, 4, 8, 11]),
        steps=run.steps[steps], rows=run.rows[steps], times=run.times[[0, 3, 4, 5]],
    )  # fmt: skip
    close(run.run(), fewer.run(), np.float64)


@every_storage
@every_rule
def test_intercept_without_metric_stays(rule, storage):
    run = Run(LABELS, rule, np.float64, storage)
    run.metric[-1], run.state[:, -1] = 0, 0
    close(run.run(), run.reference(), np.float64)
    assert_array_equal(run.run()[1][-1], run.W[-1])


@every_storage
@every_rule
def test_average_is_optional_and_changes_nothing_else(rule, storage):
    run = Run(LABELS, rule, np.float64, storage)
    averaged, plain = run.run(), run.changed(average=None).run()
    for a, b in zip(averaged[:3], plain[:3], strict=True):
        assert_array_equal(a, b)


@every_storage
@every_rule
def test_two_halves_of_an_order_are_the_whole(rule, storage):
    run = Run(LABELS, rule, np.float64, storage)
    whole = run.run()
    first = Run(LABELS, rule, np.float64, storage).changed(
        order=run.order[:8], ends=run.ends[:3], steps=run.steps[:2], rows=run.rows[:2],
        times=run.times[:3],
    )  # fmt: skip
    loss, W, state, average, clock, *stamps = first.run()
    second = Run(LABELS, rule, np.float64, storage).changed(
        order=run.order[8:], ends=run.ends[2:] - 8, steps=run.steps[2:], rows=run.rows[2:],
        times=run.times[2:], W=W, state=state, average=average, clock=clock, count=8,
    )  # fmt: skip
    if stamps:
        second.changed(stamps=stamps[0])
    rest, *arrays = second.run()
    for a, b in zip((loss + rest, *arrays), whole, strict=True):
        assert_allclose(a, b, rtol=1e-14)


@pytest.mark.parametrize("rule", ["SGD", "ADAGRAD"])
@every_dtype
def test_rows_that_are_watched_are_summed(rule, dtype):
    run = Run(LABELS, rule, dtype).changed(mean=np.linspace(-1, 1, P, dtype=dtype))
    expected = run.run()
    limit, direction = np.random.default_rng(0).uniform(0.5, 2, (2, P + 1))
    run.changed(look=np.stack([limit, direction]).astype(dtype))
    for a, b in zip(run.run(), expected, strict=True):
        assert_array_equal(a, b)
    Z, w = (run.X - run.mean)[run.order].astype(float), run.weights[run.order]
    cut = np.clip(Z, -limit[:-1], limit[:-1])
    norms = (Z**2) @ run.metric[:-1] + run.metric[-1]
    Z = np.column_stack([Z, np.ones(len(Z))])
    held = w * np.minimum(1, 4 * (P + 1) / norms)
    response = Z.T @ (held * (Z @ direction))
    close((*run.seen[:3, :-1], run.seen[3]),
          (w @ cut, w @ cut**2, abs(cut[w > 0]).max(axis=0), response), dtype)  # fmt: skip


@every_storage
@every_rule
def test_no_rows_change_nothing(rule, storage):
    run = Run(LABELS, rule, np.float64, storage)
    run.changed(order=np.empty(0, np.intp), ends=np.zeros(1, np.intp), steps=np.empty(0),
                rows=np.empty(0), times=np.ones(1))  # fmt: skip
    loss, *arrays = run.run()
    assert loss == 0
    for a, b in zip(arrays[:3], (run.W, run.state, run.average), strict=True):
        assert_array_equal(a, b)


@every_storage
@every_instance
def test_inputs_may_be_read_only(instance, storage):
    run = Run(instance, "SGD", np.float64, storage)
    expected = run.run()
    arguments = run.arguments()
    for matrix in (a for a in arguments if hasattr(a, "shape")):
        parts = [matrix]
        if sparse.issparse(matrix):
            parts = [matrix.data, matrix.indices, matrix.indptr]
        for array in (*parts, run.order, run.ends, run.steps, run.rows, run.times, run.metric):
            array.flags.writeable = False
    for actual, e in zip(run.run(arguments), expected, strict=True):
        assert_array_equal(actual, e)


@every_storage
@pytest.mark.parametrize("k", [1, 2, 9, 600])
@pytest.mark.parametrize("instance", [i for i in MATRICES if i.with_options], ids=str)
def test_any_number_of_outputs(instance, k, storage):
    for dtype in (np.float32, np.float64):
        run = Run(instance, "SGD", dtype, storage, k)
        close(run.run(), run.reference(), dtype)


@every_dtype
@every_storage
def test_two_threads_give_the_bits_of_one(storage, dtype):
    runs = [Run(i, rule, dtype, storage) for i, rule in zip(MATRICES, 6 * [*STATES], strict=False)]
    with threadpool_limits(limits=1, user_api="blas"):
        alone = [run.run() for run in runs]
        together = [[], []]

        def work(results):
            results += [[run.run() for run in runs] for _ in range(5)]

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
def test_the_interpreter_runs_on_during_a_run(storage):
    run = Run(LABELS, "SGD", np.float64, storage)
    run.changed(order=np.tile(run.order, 40_000)).cut(4)
    run.steps *= 1e-3
    span, ticks = [], []

    def work():
        span.append(time.perf_counter())
        run.run()
        span.append(time.perf_counter())

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(1e-4)
    quarter = (span[1] - span[0]) / 4
    assert any(span[0] + quarter < tick < span[1] - quarter for tick in ticks)


WRONG_EPOCHS = {
    "order": [
        *(np.array([0, i] + 17 * [1]) for i in (-1, N)),
        np.zeros((19, 1), np.intp),
        np.zeros(19, np.int32),
    ],
    "ends": [np.array(e) for e in ([0, 4, 8, 12, 19], [1, 4, 8, 12, 16, 19], [0, 4, 4, 12, 16, 19],
                                   [0, 8, 4, 12, 16, 19], [0, 4, 8, 12, 16, 20])],
    "steps": [np.ones(4), np.ones(6), np.ones(5, np.float32)],
    "rows": [np.ones(4)],
    "times": [np.ones(5)],
    "W": [np.ones((P, K)), np.ones((P + 1, K + 1)), np.ones((P + 1, K), np.float32)],
    "mean": [np.ones(P + 1), np.ones(P, np.float32)],
    "metric": [np.ones(P), np.ones(P + 1, np.float32)],
    "state": [np.ones(shape) for shape in ((0, P + 1, K), (1, P, K), (1, P + 1, 2), (2, P + 1, K))],
    "average": [np.ones((P, K)), np.ones((P + 1, K - 1))],
    "clock": [np.ones(2)],
    "stamps": [np.ones((P + 1, 2)), np.ones((P, 1))],
    "columns": [np.ones((2, P + 1)), np.ones((1, P))],
    "look": [np.ones((2, P)), np.ones((1, P + 1))],
    "sure": [np.ones(5), np.ones(4)],
}  # fmt: skip


@every_storage
@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in WRONG_EPOCHS.items() for v in vs])
def test_wrong_argument_of_a_run_raises(name, value, storage):
    if name == "stamps" and storage == "dense":
        return
    run = Run(LABELS, "ADAGRAD", np.float64, storage).changed(**{name: value})
    with pytest.raises((ValueError, TypeError)):
        run.run()


def test_centre_is_for_dense_matrices_only():
    run = Run(LABELS, "SGD", np.float64, "csr-32").changed(mean=np.ones(P))
    with pytest.raises(ValueError, match="dense"):
        run.run()


def test_matrix_and_weights_of_two_dtypes_raise():
    run = Run(LABELS, "SGD", np.float32).changed(X=np.ones((N, P)))
    with pytest.raises(ValueError, match="dtype"):
        run.run()
