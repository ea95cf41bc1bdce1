# A run of mini-batch gradient steps, for every loss, dense and CSR.
#
# 1. A run sees arrays and scalars; Python cuts the batches and keeps schedules, stopping, scales.
# 2. Weights are (p, K): one feature is one contiguous row of K. The last row of W is the intercept.
# 3. Dense rows are centred as they are copied into the batch; CSR is never centred.
# 4. A step moves the columns of its batch: of dense rows all, of CSR those that its rows hold. What a
#    column of CSR has missed, the penalty and the average, is made good when it is next met: `stamps`
#    tell since when. So a step costs what its rows cost, however wide the matrix is.
# 5. The penalty is a proximal step in the metric of the rule, after the step of the gradient.
# 6. With `curvature` each row is held to an implicit step (Toulis and Airoldi, 2017, "Asymptotic and
#    finite-sample properties of estimators based on stochastic gradients"): no row moves its own
#    logits beyond what its own loss asks for, however large it is; nor do the rows of a dense batch
#    that are alike.
# 7. The gradient is sum(w_i r_i x_i) / rows of the batch, as told in `rows`.

import numpy as np

from cython cimport floating
from libc.math cimport sqrt
from libc.string cimport memcpy, memset

from skce._engine.products import aligned_zeros
from skce._kernels import cpu

from skce._engine.confidence cimport MOST_LENGTH, Confidence, learn
from skce._engine.data cimport EpochData
from skce._engine.implicit cimport bounded, squares_of
from skce._engine.products cimport (
    BLOCK_ROWS, Rows, batch_logits, load_targets, packed_stride, scatter_residuals)
from skce._kernels.blocks cimport xent
from skce._kernels.simd cimport axpy, pack, shrink, skce_set_level, unpack

skce_set_level(cpu.level_number)

cdef double BETA1 = 0.9, BETA2 = 0.999, TINY = 1e-8     # Adam's; AdaGrad uses TINY


def sgd_run(
    EpochData problem not None, const Py_ssize_t[::1] order not None, const Py_ssize_t[::1] ends not None,
    const double[::1] steps not None, const double[::1] rows not None, const double[::1] times not None,
    floating[:, ::1] W not None, const floating[::1] mean, const floating[::1] metric not None,
    double l2, double l1, Rule rule, double momentum_rate, double curvature,
    floating[:, :, ::1] state not None, long long count, floating[:, ::1] average,
    double[::1] clock not None, double[:, ::1] stamps, int[::1] slots, double[:, ::1] columns,
    const floating[:, ::1] look, double[:, ::1] seen, double[::1] sure,
):
    """Make the steps of the batches of the rows `order`; update W, state, average and what was seen.

    Parameters
    ----------
    problem : EpochData
        Data and loss.
    order : ndarray of shape (m,)
        Row numbers.
    ends : ndarray of shape (s + 1,)
        Where the batches begin and end in order: 0 first, m last.
    steps : ndarray of shape (s,)
        Step sizes.
    rows : ndarray of shape (s,)
        What sums over the batches are divided by.
    times : ndarray of shape (s + 1,)
        Weight of all rows before each batch, and after the last.
    W : ndarray of shape (p + 1, K)
        Weights of the centred features, then the intercept.
    mean : ndarray of shape (p,) or None
        Centre of the columns of a dense X.
    metric : ndarray of shape (p + 1,)
        Step factor of each row of W; a last one of 0 means no intercept.
    l2, l1 : float
        Penalties.
    rule : Rule
        Update rule.
    momentum_rate : float
        Rate of MOMENTUM.
    curvature : float
        Bound of the curvature of a row's loss, by which its step is implicit; 0 for textbook steps.
    state : ndarray of shape (0, 1, 1 or 2 for the rules in order, p + 1, K)
        State of the rule.
    count : int
        Steps made before.
    average : ndarray of shape (p + 1, K) or None
        Average of W over the rows, weights growing like the cube of the time.
    clock : ndarray of shape (5,)
        Sum of the lengths of the proximal steps; of the scaled squared norms of rows of CSR; of their
        weights; of the logarithms of the mean squares of columns, over their non-zeros; number of these.
    stamps : ndarray of shape (p, 2) or None
        For CSR the clock, and the time, up to which a column has its penalty and average.
    slots : ndarray of shape (p,) or None
        For CSR, all -1.
    columns : ndarray of shape (2, p) or None
        For CSR whose scale is learned: mean square and number of the non-zeros of each column. The
        metric then is the inverse of the typical mean square, for columns further than NEAR from it
        of their own, of ADAGRAD and ADAM the root of that, with which goes the step.
    look : ndarray of shape (2, p + 1) or None
        Largest deviation of a column that counts, and a direction.
    seen : ndarray of shape (4, p + 1) or None
        Added to it: deviations from mean, their squares, the largest, the response to the direction.
    sure : ndarray of shape (5,) or None
        For CSR whose scale is learned: the factor of the weights, its curvature, rows left to tell
        of it, how much better the intercept alone foretold them, and rows in the curvature.

    Returns
    -------
    loss : float
        Sum of the weighted losses, each at the weights its batch met.
    count : int
        Steps made, those before included; a batch of zero weight is none.
    """
    cdef:
        Run run
        Rows x = problem.X.rows, y = problem.X.rows
        Py_ssize_t m = order.shape[0], p = x.columns, k = W.shape[1], n_steps = steps.shape[0]
        Py_ssize_t step, part, n, n_b, i, b, size, block_rows, touched = 0, stride = 0
        bint bounding = curvature > 0 and not x.sparse and rule in (Rule.SGD, Rule.MOMENTUM)
        bint soft = problem.soft, pulling = rule == Rule.ADAGRAD and curvature > 0 and not x.sparse
        double total = 0, weight, scale, eta, length, share, root = 1, before, after
        floating *w
        floating *g
        floating *block = NULL
        floating *packed_w = NULL
        floating *packed_gradient = NULL
        const floating *positive = NULL
        const floating *all_entries = <const floating *>problem.of_entries
        floating *of_entries = NULL
        const floating *centre = NULL
        const Py_ssize_t *rows_of_step
        const Py_ssize_t *batch
        const floating[::1] pos_weight
        floating[::1] response, sums, stretched, factors
        floating[:, ::1] gradient_array, x_block, target_block, entry_block, residuals
        floating[:, :, ::1] packed
        double[::1] batch_weights, losses, norms
        int[::1] batch_labels
        Confidence *confidence = NULL
        Py_ssize_t[::1] met
    size = checked(problem, order, ends, steps, rows, times, W, mean, metric, rule, state, average, clock,
                   stamps, slots, columns, look, seen, sure)
    if m == 0:
        return 0.0, count
    dtype = problem.X.dtype
    block_rows = size
    if x.sparse:
        n = most_touched(x, order, ends)
        met, factors = np.empty(n, np.intp), np.empty(n, dtype)
        gradient_array = np.empty((n, k), dtype)
    else:
        stride = packed_stride(p, k, sizeof(floating))
        if stride:
            block_rows = min(<Py_ssize_t>BLOCK_ROWS, size)
            packed = aligned_zeros(2 * k, stride, dtype).reshape(2, k, stride)
            packed_w = &packed[0, 0, 0]
            packed_gradient = &packed[1, 0, 0]
        else:
            stride = p
        x_block = aligned_zeros(block_rows, stride, dtype)
        block = &x_block[0, 0]
        gradient_array, factors = np.empty((p + 1, k), dtype), np.empty(p + 1, dtype)
    residuals, (sums, stretched) = np.empty((block_rows, k), dtype), np.empty((2, k), dtype)
    batch_weights, losses, norms = np.empty(size), np.empty(block_rows), np.empty(block_rows)
    batch_labels = np.empty(block_rows, np.intc)
    target_block = np.empty((block_rows if soft else 1, k), dtype)
    if soft:
        y = problem.Y.rows
    if problem.pos_weight is not None:
        pos_weight = problem.pos_weight
        positive = &pos_weight[0]
    if all_entries != NULL:
        entry_block = np.empty((block_rows, k), dtype)
        of_entries = &entry_block[0, 0]
    if mean is not None:
        centre = &mean[0]
    w, g = &W[0, 0], &gradient_array[0, 0]
    memset(&run, 0, sizeof(Run))
    run.x, run.k, run.rule = x, k, rule
    run.l2, run.l1, run.penalised = l2, l1, l2 > 0 or l1 > 0
    run.momentum_rate, run.curvature = momentum_rate, curvature
    run.weighing = 4 * curvature  # a logit's is at most 1 / 4
    run.divisor = 1 - momentum_rate if rule == Rule.MOMENTUM else 1
    run.beta1, run.beta2, run.tiny = BETA1, BETA2, TINY
    run.w, run.metric, run.clock = w, &metric[0], &clock[0]
    if average is not None:
        run.average = &average[0, 0]
    if state.shape[0]:
        run.state = &state[0, 0, 0]
    if rule == Rule.ADAGRAD or rule == Rule.ADAM:
        run.rooted, run.h = True, &state[state.shape[0] - 1, 0, 0]
    if x.sparse:
        run.stamps, run.slots = &stamps[0, 0], &slots[0]
    if columns is not None:
        run.usual, run.hits = &columns[0, 0], &columns[1, 0]
    if sure is not None:
        confidence = <Confidence *>&sure[0]
    if look is not None:
        response = np.zeros(p + 1, dtype)
        run.looking, run.limit, run.direction = True, &look[0, 0], &look[1, 0]
        run.seen, run.response = &seen[0, 0], &response[0]
    with nogil:
        if run.usual != NULL:
            run.typical = clock[3] / (clock[4] or 1)
        for step in range(n_steps):
            rows_of_step, n = &order[ends[step]], ends[step + 1] - ends[step]
            weight = 0
            for i in range(n):
                batch_weights[i] = problem.weights[rows_of_step[i]]
                weight += batch_weights[i]
            if not weight > 0:
                continue
            count += 1
            eta, scale = rate(&run, steps[step]), 1 / rows[step]
            share = time_share(times[step], times[step + 1])
            if rule == Rule.ADAM:
                root = 1 / sqrt(1 - BETA2 ** count)
            memset(&sums[0], 0, k * sizeof(floating))
            before = after = 0
            if x.sparse:
                if step + 1 < n_steps:
                    fetch(&run, rows_of_step + n, ends[step + 2] - ends[step + 1], w)
                touched = meet(&run, rows_of_step, n, &batch_weights[0], &met[0], &factors[0])
                make_good(&run, &met[0], touched, &factors[0], root, times[step], times[step + 1])
                memset(g, 0, touched * k * sizeof(floating))
            elif packed_w != NULL:
                pack(w, p, k, stride, packed_w)
                memset(packed_gradient, 0, k * stride * sizeof(floating))
            else:
                memset(g, 0, p * k * sizeof(floating))
            if pulling:
                pulls(&run, &factors[0])
            for part in range((n + block_rows - 1) // block_rows):
                b = part * block_rows
                n_b, batch = min(block_rows, n - b), rows_of_step + b
                batch_logits(x, batch, n_b, m - ends[step] - b, k, w, centre, block, stride,
                             packed_w, &residuals[0, 0])
                if soft:
                    load_targets(y, batch, n_b, &target_block[0, 0])
                else:
                    for i in range(n_b):
                        batch_labels[i] = problem.labels[batch[i]]
                if of_entries != NULL:
                    for i in range(n_b):
                        memcpy(of_entries + i * k, all_entries + batch[i] * k, k * sizeof(floating))
                for i in range(n_b):
                    if (confidence != NULL and confidence.rows > 0 and batch_weights[b + i] > 0 and
                            norm_sparse(&run, batch[i], &factors[0], False) * clock[2]
                            <= MOST_LENGTH * clock[1]):
                        learn(confidence, problem.loss, &residuals[i, 0], w + p * k,
                              NULL if soft else &batch_labels[i], &target_block[i if soft else 0, 0],
                              positive, NULL if of_entries == NULL else of_entries + i * k,
                              batch_weights[b + i] * scale, problem.smoothing,
                              penalty_of_logits(&run, times[step]), k, &stretched[0])
                total += xent(problem.loss, &residuals[0, 0], &residuals[0, 0],
                              NULL if soft else &batch_labels[0], &target_block[0, 0], positive,
                              of_entries, &batch_weights[b], problem.smoothing, n_b, k, &losses[0])
                watch_rows(&run, batch, n_b, &batch_weights[b], &factors[0], block, stride,
                           &norms[0])
                eta = rate(&run, steps[step])
                if bounding:
                    before += squares_of(&residuals[0, 0], &batch_weights[b], n_b, k)
                if curvature > 0:
                    hold(&run, batch, n_b, &batch_weights[b], eta / run.divisor * scale, &factors[0], block,
                         stride, &norms[0], &residuals[0, 0])
                if bounding:
                    after += squares_of(&residuals[0, 0], &batch_weights[b], n_b, k)
                for i in range(n_b):
                    axpy(&sums[0], k, 1, &residuals[i, 0])
                if x.sparse:
                    scatter_learned(&run, batch, n_b, &residuals[0, 0], g)
                else:
                    scatter_residuals(x, batch, n_b, k, 1, <const floating *>NULL, block, stride,
                                      packed_gradient, &residuals[0, 0], g)
            length = eta / (1 - BETA1 ** count) if rule == Rule.ADAM else eta
            if x.sparse:
                for i in range(touched):
                    slots[met[i]] = -1
                    update(&run, met[i], 1, length * eagerness(&run, met[i]), root, scale, &factors[i],
                           g + i * k)
                    take_up(&run, met[i], 1, share, w)
            else:
                if packed_w != NULL:
                    unpack(packed_gradient, p, k, stride, g)
                if bounding:
                    length *= bounded(g, &sums[0], &metric[0], p, k, length / run.divisor * scale * curvature,
                                      sqrt(before * after))
                update(&run, 0, p, length, root, scale, &metric[0], g)
                if run.penalised:
                    shrink(w, p, k, eta * weight * scale / run.divisor, l2, l1, &metric[0],
                           <floating *>run.h, root, run.slow, TINY)
                take_up(&run, 0, p, share, w)
            update(&run, p, 1, length, root, scale, &metric[p], &sums[0])
            take_up(&run, p, 1, share, w)
            clock[0] += eta * weight * scale
    if look is not None:
        for i in range(p):
            run.seen[3 * (p + 1) + i] += response[i]
    return total, count


cdef Py_ssize_t most_touched(Rows x, const Py_ssize_t[::1] order, const Py_ssize_t[::1] ends) noexcept:
    """Return how many columns of CSR a batch touches at most, at least 1."""
    cdef Py_ssize_t step, i, n, most = 1
    for step in range(ends.shape[0] - 1):
        n = 0
        for i in range(ends[step], ends[step + 1]):
            n += x.indptr[order[i] + 1] - x.indptr[order[i]]
        most = max(most, n)
    return min(most, x.columns)


cdef Py_ssize_t checked(
    EpochData problem, const Py_ssize_t[::1] order, const Py_ssize_t[::1] ends, const double[::1] steps,
    const double[::1] rows, const double[::1] times, floating[:, ::1] W, const floating[::1] mean,
    const floating[::1] metric, Rule rule, floating[:, :, ::1] state, floating[:, ::1] average,
    double[::1] clock, double[:, ::1] stamps, int[::1] slots, double[:, ::1] columns,
    const floating[:, ::1] look, double[:, ::1] seen, double[::1] sure,
) except -1:
    """Check the arguments of sgd_run; return the rows of the largest batch."""
    cdef:
        Rows x = problem.X.rows
        Py_ssize_t p = x.columns, k = W.shape[1], n_steps = steps.shape[0], size = 0, step
    dtype = np.dtype(np.float32 if floating is float else np.float64)
    if problem.X.dtype != dtype:
        raise ValueError(f"W must have the dtype of X, {problem.X.dtype}, got {dtype}.")
    if W.shape[0] != p + 1 or k != problem.n_outputs:
        raise ValueError(f"W must have shape ({p + 1}, {problem.n_outputs}), got ({W.shape[0]}, {k}).")
    if metric.shape[0] != p + 1 or (mean is not None and (x.sparse or mean.shape[0] != p)):
        raise ValueError(f"metric must have {p + 1} entries, and mean {p}, for a dense X only.")
    if ends.shape[0] != n_steps + 1 or ends[0] != 0 or ends[n_steps] != order.shape[0]:
        raise ValueError(f"ends must have {n_steps + 1} entries from 0 to {order.shape[0]}.")
    for step in range(n_steps):
        if ends[step] >= ends[step + 1]:
            raise ValueError("ends must grow.")
        size = max(size, ends[step + 1] - ends[step])
    if rows.shape[0] != n_steps or times.shape[0] != n_steps + 1:
        raise ValueError(f"rows must have {n_steps} entries, and times one more.")
    if state.shape[0] != (0, 1, 1, 2)[rule] or (
            state.shape[0] and (state.shape[1] != p + 1 or state.shape[2] != k)):
        raise ValueError("state must have the shape of the rule.")
    if average is not None and (average.shape[0] != p + 1 or average.shape[1] != k):
        raise ValueError("average must have the shape of W.")
    if clock.shape[0] != 5:
        raise ValueError("clock must have 5 entries.")
    if x.sparse and (stamps is None or stamps.shape[0] != p or stamps.shape[1] != 2
                     or slots is None or slots.shape[0] != p):
        raise ValueError(f"stamps and slots must have {p} rows for CSR.")
    if columns is not None and (not x.sparse or columns.shape[0] != 2 or columns.shape[1] != p):
        raise ValueError(f"columns must have shape (2, {p}), for CSR only.")
    if (look is None) != (seen is None) or (look is not None and (
            look.shape[0] != 2 or look.shape[1] != p + 1 or seen.shape[0] != 4 or seen.shape[1] != p + 1
            or x.sparse != (columns is not None))):
        raise ValueError(f"look must have shape (2, {p + 1}), and seen (4, {p + 1}).")
    if sure is not None and (sure.shape[0] != 5 or columns is None):
        raise ValueError("sure must have 5 entries, for CSR whose scale is learned only.")
    if order.shape[0] and not (0 <= np.min(order) and np.max(order) < problem.X.shape[0]):
        raise ValueError(f"order must hold rows in 0..{problem.X.shape[0] - 1}.")
    return size
