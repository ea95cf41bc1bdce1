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
#    logits beyond what its own loss asks for, however large it is.
# 7. The gradient is sum(w_i r_i x_i) / rows of the batch, as told in `rows`.

import numpy as np

from cython cimport floating
from libc.math cimport exp, fabs, fmax, fmin, log, sqrt
from libc.string cimport memset

from skce._engine.products import aligned_zeros
from skce._kernels import cpu

from skce._engine.data cimport EpochData
from skce._engine.products cimport (
    BLOCK_ROWS, Rows, batch_logits, load_sparse, packed_stride, scatter_residuals)
from skce._kernels.blocks cimport xent
from skce._kernels.simd cimport (
    adagrad, adam, axpy, blend, gradient, momentum, pack, prefetch, respond, shrink, skce_set_level,
    square, unpack, watch)

skce_set_level(cpu.level_number)

cpdef enum Rule:
    SGD = 0
    MOMENTUM = 1
    ADAGRAD = 2
    ADAM = 3

cdef enum:  # rows of `seen`
    SUM = 0
    SQUARES = 1
    REACH = 2
    RESPONSE = 3

cdef double BETA1 = 0.9, BETA2 = 0.999, TINY = 1e-8     # Adam's; AdaGrad uses TINY
cdef double CUT = 2         # times the usual size of a column: what is larger is learned as this


def sgd_run(
    EpochData problem not None, const Py_ssize_t[::1] order not None, const Py_ssize_t[::1] ends not None,
    const double[::1] steps not None, const double[::1] rows not None, const double[::1] times not None,
    floating[:, ::1] W not None, const floating[::1] mean, const floating[::1] metric not None,
    double l2, double l1, Rule rule, double momentum_rate, double curvature,
    floating[:, :, ::1] state not None, long long count, floating[:, ::1] average,
    double[::1] clock not None, double[:, ::1] stamps, int[::1] slots, double[:, ::1] columns,
    const floating[:, ::1] look, double[:, ::1] seen,
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
    clock : ndarray of shape (3,)
        Sum of the lengths of the proximal steps; of the scaled squared norms of rows of CSR; of their
        weights.
    stamps : ndarray of shape (p, 2) or None
        For CSR the clock, and the time, up to which a column has its penalty and average.
    slots : ndarray of shape (p,) or None
        For CSR, all -1.
    columns : ndarray of shape (2, p) or None
        For CSR whose scale is learned: mean square and number of the non-zeros of each column. The
        metric then is their inverse, of ADAGRAD and ADAM the root of that, with which goes the step.
    look : ndarray of shape (2, p + 1) or None
        Largest deviation of a column that counts, and a direction.
    seen : ndarray of shape (4, p + 1) or None
        Added to it: deviations from mean, their squares, the largest, the response to the direction.

    Returns
    -------
    loss : float
        Sum of the weighted losses, each at the weights its batch met.
    count : int
        Steps made, those before included; a batch of zero weight is none.
    """
    cdef:
        Rows x = problem.X.rows
        Rows y = problem.X.rows
        Py_ssize_t m = order.shape[0], p = x.columns, k = W.shape[1], n_all = problem.X.shape[0]
        Py_ssize_t n_steps = steps.shape[0], step, part, first, n, n_b, i, b, s, column, touched = 0
        Py_ssize_t size = 0, capacity = 0, block_rows, stride = 0
        long long j
        bint soft = problem.soft, centred = mean is not None, averaging = average is not None
        bint learning = columns is not None, looking = look is not None, penalised = l2 > 0 or l1 > 0
        bint pulling = rule == Rule.ADAGRAD and curvature > 0 and not x.sparse
        bint rooted = rule == Rule.ADAGRAD or rule == Rule.ADAM
        double total = 0, weight, scale, eta, root = 1, length, value, norm, part_of_time
        double divisor = 1 - momentum_rate if rule == Rule.MOMENTUM else 1
        floating *w
        floating *g
        floating *block = NULL
        floating *packed_w = NULL
        floating *mean_w = NULL
        floating *packed_gradient = NULL
        floating *h = NULL
        const floating *values = <const floating *>x.values
        const floating *positive = NULL
        const floating *centre = NULL
        const floating *direction = NULL
        const Py_ssize_t *batch
        const floating[::1] pos_weight
        floating[::1] response
        floating[:, ::1] gradient_array, x_block, target_block
        floating[:, :, ::1] packed
        floating[:, ::1] residuals
        floating[::1] sums, factors
        double[::1] batch_weights, losses, norms
        int[::1] batch_labels
        Py_ssize_t[::1] met
    dtype = np.float32 if floating is float else np.float64
    if problem.X.dtype != dtype:
        raise ValueError(f"W must have the dtype of X, {problem.X.dtype}, got {np.dtype(dtype)}.")
    if W.shape[0] != p + 1 or k != problem.n_outputs:
        raise ValueError(f"W must have shape ({p + 1}, {problem.n_outputs}), got ({W.shape[0]}, {k}).")
    if metric.shape[0] != p + 1 or (centred and (x.sparse or mean.shape[0] != p)):
        raise ValueError(f"metric must have {p + 1} entries, and mean {p}, for a dense X only.")
    if ends.shape[0] != n_steps + 1 or ends[0] != 0 or ends[n_steps] != m:
        raise ValueError(f"ends must have {n_steps + 1} entries from 0 to {m}.")
    for step in range(n_steps):
        if ends[step] >= ends[step + 1]:
            raise ValueError("ends must grow.")
        size = max(size, ends[step + 1] - ends[step])
    if rows.shape[0] != n_steps or times.shape[0] != n_steps + 1:
        raise ValueError(f"rows must have {n_steps} entries, and times one more.")
    if state.shape[0] != (0, 1, 1, 2)[rule] or (
            state.shape[0] and (state.shape[1] != p + 1 or state.shape[2] != k)):
        raise ValueError("state must have the shape of the rule.")
    if averaging and (average.shape[0] != p + 1 or average.shape[1] != k):
        raise ValueError("average must have the shape of W.")
    if clock.shape[0] != 3:
        raise ValueError("clock must have 3 entries.")
    if x.sparse and (stamps is None or stamps.shape[0] != p or stamps.shape[1] != 2
                     or slots is None or slots.shape[0] != p):
        raise ValueError(f"stamps and slots must have {p} rows for CSR.")
    if learning and (not x.sparse or columns.shape[0] != 2 or columns.shape[1] != p):
        raise ValueError(f"columns must have shape (2, {p}), for CSR only.")
    if looking != (seen is not None) or (looking and (
            look.shape[0] != 2 or look.shape[1] != p + 1 or seen.shape[0] != 4 or seen.shape[1] != p + 1
            or x.sparse != learning)):
        raise ValueError(f"look must have shape (2, {p + 1}), and seen (4, {p + 1}).")
    if m == 0:
        return 0.0, count
    if np.min(order) < 0 or np.max(order) >= n_all:
        raise ValueError(f"order must hold rows in 0..{n_all - 1}.")
    if problem.pos_weight is not None:
        pos_weight = problem.pos_weight
        positive = &pos_weight[0]
    if centred:
        centre = &mean[0]
    block_rows = size
    if x.sparse:
        for step in range(n_steps):
            touched = 0
            for i in range(ends[step], ends[step + 1]):
                touched += x.indptr[order[i] + 1] - x.indptr[order[i]]
            capacity = max(capacity, touched)
        capacity = max(min(capacity, p), 1)
        met, factors = np.empty(capacity, np.intp), np.empty(capacity, dtype)
        gradient_array = np.empty((capacity, k), dtype)
    else:
        stride = packed_stride(p, k, sizeof(floating))
        if stride:
            block_rows = min(<Py_ssize_t>BLOCK_ROWS, size)
            packed = aligned_zeros(2 * k, stride, np.dtype(dtype)).reshape(2, k, stride)
            packed_w = &packed[0, 0, 0]
            packed_gradient = &packed[1, 0, 0]
        else:
            stride = p
        x_block = aligned_zeros(block_rows, stride, np.dtype(dtype))
        block = &x_block[0, 0]
        gradient_array, factors = np.empty((p + 1, k), dtype), np.empty(p + 1, dtype)
    g = &gradient_array[0, 0]
    residuals = np.empty((block_rows, k), dtype)
    sums = np.empty(k, dtype)
    batch_weights, losses, norms = np.empty(size), np.empty(block_rows), np.empty(block_rows)
    batch_labels = np.empty(block_rows, np.intc)
    target_block = np.empty((block_rows if soft else 1, k), dtype)
    if soft:
        y = problem.Y.rows
    if looking:
        direction = &look[1, 0]
        response = np.zeros(p + 1, dtype)
    w = &W[0, 0]
    if averaging:
        mean_w = &average[0, 0]
    if rooted:
        h = &state[state.shape[0] - 1, 0, 0]
    with nogil:
        for step in range(n_steps):
            first = ends[step]
            n = ends[step + 1] - first
            scale = 1 / rows[step]
            weight = 0
            for i in range(n):
                batch_weights[i] = problem.weights[order[first + i]]
                weight += batch_weights[i]
            if not weight > 0:
                continue
            count += 1
            eta = steps[step]
            part_of_time = time_share(times[step], times[step + 1])
            if rule == Rule.ADAM:
                root = 1 / sqrt(1 - BETA2 ** count)
            memset(&sums[0], 0, k * sizeof(floating))
            touched = 0
            if x.sparse:
                if step + 1 < n_steps:
                    fetch(x, order, first + n, ends[step + 2], k, w, h)
                # the columns of the batch, and what they have missed
                for i in range(n):
                    for j in range(x.indptr[order[first + i]], x.indptr[order[first + i] + 1]):
                        column = index(x, j)
                        if slots[column] < 0:
                            slots[column] = <int>touched
                            met[touched] = column
                            touched += 1
                        if learning and batch_weights[i] > 0 and values[j] != 0:
                            columns[1, column] += 1
                            value = <double>values[j] * values[j]
                            if columns[1, column] > 1:
                                value = fmin(value, CUT * CUT * columns[0, column])
                            columns[0, column] += (value - columns[0, column]) / columns[1, column]
                for s in range(touched):
                    column = met[s]
                    factors[s] = metric[column]
                    if learning and columns[0, column] > 0:
                        value = 1 / columns[0, column]
                        factors[s] = <floating>(sqrt(value) if rooted else value)
                    length = (clock[0] - stamps[column, 0]) / divisor
                    if penalised and length > 0:
                        shrink(w + column * k, 1, k, length, l2, l1, &factors[s],
                               NULL if h == NULL else h + column * k, root, TINY)
                    stamps[column, 0] = clock[0]
                    if averaging:
                        blend(mean_w + column * k, k, time_share(stamps[column, 1], times[step]),
                              w + column * k)
                        stamps[column, 1] = times[step + 1]
                memset(g, 0, touched * k * sizeof(floating))
            else:
                if packed_w != NULL:
                    pack(w, p, k, stride, packed_w)
                    memset(packed_gradient, 0, k * stride * sizeof(floating))
                else:
                    memset(g, 0, p * k * sizeof(floating))
                if pulling:
                    for column in range(p + 1):
                        value = 0
                        for s in range(k):
                            value += sqrt(<double>h[column * k + s])
                        factors[column] = <floating>(metric[column] * metric[column] * k / (value + k * TINY))
            for part in range((n + block_rows - 1) // block_rows):
                # logits, residuals, gradient
                b = part * block_rows
                n_b = min(block_rows, n - b)
                batch = &order[first + b]
                batch_logits(x, batch, n_b, m - first - b, k, w, centre, block, stride, packed_w,
                             &residuals[0, 0])
                if soft:
                    load_sparse(y, batch, n_b, &target_block[0, 0])
                else:
                    for i in range(n_b):
                        batch_labels[i] = problem.labels[batch[i]]
                total += xent(problem.loss, &residuals[0, 0], NULL if soft else &batch_labels[0],
                              &target_block[0, 0], positive, &batch_weights[b], problem.smoothing,
                              n_b, k, &losses[0])
                for i in range(n_b):
                    if x.sparse:
                        norm = metric[p]
                        for j in range(x.indptr[batch[i]], x.indptr[batch[i] + 1]):
                            column = index(x, j)
                            value = values[j]
                            if learning:
                                value = cut(value, columns[0, column])
                                norm += value * value / (columns[0, column] or 1)
                            else:
                                norm += value * value * metric[column]
                        norms[i] = norm
                        clock[1] += batch_weights[b + i] * norm
                        clock[2] += batch_weights[b + i]
                    elif curvature > 0 or looking:
                        norms[i] = metric[p] + square(block + i * stride, p, &metric[0])
                    if looking:
                        norm = batch_weights[b + i] * fmin(1, CUT * CUT * (p + 1) / norms[i])
                        if x.sparse:
                            seen[RESPONSE, p] += norm * respond_sparse(
                                x, batch[i], values, columns, direction, norm, &response[0])
                        else:
                            seen[RESPONSE, p] += norm * respond(
                                block + i * stride, p, direction, direction[p], norm, &response[0])
                if looking and not x.sparse:
                    watch(block, n_b, p, stride, &batch_weights[b], &look[0, 0], &seen[SUM, 0],
                          &seen[SQUARES, 0], &seen[REACH, 0])
                if learning and rooted:
                    eta = steps[step] / sqrt(clock[1] / clock[2])
                for i in range(n_b):
                    if curvature > 0:
                        column = largest(&residuals[i, 0], k)
                        if pulling:
                            norm = factors[p] + square(block + i * stride, p, &factors[0])
                        elif rule == Rule.ADAGRAD:
                            norm = metric[p] * metric[p] / (sqrt(<double>h[p * k + column]) + TINY)
                            for j in range(x.indptr[batch[i]], x.indptr[batch[i] + 1]):
                                value = cut(values[j], columns[0, index(x, j)]) if learning else values[j]
                                value *= factors[slots[index(x, j)]]
                                norm += value * value / (sqrt(<double>h[index(x, j) * k + column]) + TINY)
                        if rule == Rule.ADAGRAD:
                            norm *= eta * scale * batch_weights[b + i]
                            value = fabs(<double>residuals[i, column]) / (batch_weights[b + i] or 1)
                            norm = implicit(value, norm)
                        else:
                            norm = eta / divisor * scale * batch_weights[b + i] * norms[i]
                            norm = 1 / (1 + curvature * norm)
                        damp(&residuals[i, 0], k, norm)
                    axpy(&sums[0], k, 1, &residuals[i, 0])
                    if x.sparse:
                        for j in range(x.indptr[batch[i]], x.indptr[batch[i] + 1]):
                            column = index(x, j)
                            value = values[j]
                            if learning:
                                value = cut(value, columns[0, column])
                            axpy(g + slots[column] * k, k, value, &residuals[i, 0])
                if not x.sparse:
                    scatter_residuals(x, batch, n_b, k, 1, <const floating *>NULL, block, stride,
                                      packed_gradient, &residuals[0, 0], g)
            if rule == Rule.ADAM:
                length = eta / (1 - BETA1 ** count)
            else:
                length = eta
            # the steps of the gradient, of the penalty, of the average
            if x.sparse:
                for s in range(touched):
                    column = met[s]
                    slots[column] = -1
                    gradient(g + s * k, 1, k, scale, &factors[s])
                    update(rule, w + column * k, 1, k, length, root, momentum_rate, &factors[s], g + s * k,
                           state, column)
                    if averaging:
                        blend(mean_w + column * k, k, part_of_time, w + column * k)
            else:
                if packed_w != NULL:
                    unpack(packed_gradient, p, k, stride, g)
                gradient(g, p, k, scale, &metric[0])
                update(rule, w, p, k, length, root, momentum_rate, &metric[0], g, state, 0)
                if penalised:
                    shrink(w, p, k, eta * weight * scale / divisor, l2, l1, &metric[0], h, root, TINY)
                if averaging:
                    blend(mean_w, p * k, part_of_time, w)
            gradient(&sums[0], 1, k, scale, &metric[p])
            update(rule, w + p * k, 1, k, length, root, momentum_rate, &metric[p], &sums[0], state, p)
            if averaging:
                blend(mean_w + p * k, k, part_of_time, w + p * k)
            clock[0] += eta * weight * scale
    if looking:
        for i in range(p):
            seen[RESPONSE, i] += response[i]
    return total, count


cdef inline Py_ssize_t index(Rows x, long long j) noexcept nogil:
    """Return the column of non-zero j of CSR."""
    if x.wide:
        return (<const long long *>x.indices)[j]
    return (<const int *>x.indices)[j]


cdef inline double cut(double value, double usual) noexcept nogil:
    """Return a value of a column of this mean square, but no more than CUT times its root."""
    cdef double most = CUT * sqrt(usual)
    return value if fabs(value) <= most else (most if value > 0 else -most)


cdef inline double time_share(double before, double after) noexcept nogil:
    """Return the share of the time from before to after in an average weighted by time**3."""
    cdef double ratio = before / after if after > 0 else 1
    return 1 - ratio * ratio * ratio * ratio


cdef double respond_sparse(Rows x, Py_ssize_t row, const floating *values, const double[:, ::1] columns,
                           const floating *direction, double weight, floating *response) noexcept nogil:
    """response += weight (z . direction) z of a row of CSR, z being scaled; returns the bracket."""
    cdef:
        double total = direction[x.columns]
        long long j
        Py_ssize_t column
    for j in range(x.indptr[row], x.indptr[row + 1]):
        column = index(x, j)
        if columns[0, column] > 0:
            total += cut(values[j], columns[0, column]) / sqrt(columns[0, column]) * direction[column]
    for j in range(x.indptr[row], x.indptr[row + 1]):
        column = index(x, j)
        if columns[0, column] > 0:
            response[column] += <floating>(
                weight * total * cut(values[j], columns[0, column]) / sqrt(columns[0, column]))
    return total


cdef inline Py_ssize_t largest(const floating *r, Py_ssize_t k) noexcept nogil:
    """Return the place of the largest |r|."""
    cdef Py_ssize_t c, best = 0
    for c in range(1, k):
        if fabs(r[c]) > fabs(r[best]):
            best = c
    return best


cdef inline double implicit(double residual, double pull) noexcept nogil:
    """Return the factor of an implicit step of the logistic loss, whose explicit one moves the logit
    by pull times the residual (below 1): the residual after the step over that before.
    """
    cdef:
        double odds, low = 0, high = pull * residual, middle
        int _halving
    if not 0 < residual < 1:  # by positive weights or several labels: no such loss
        return 1 / (1 + pull / 4)
    odds = (1 - residual) / residual
    high = fmin(high, fmax(1, log(pull / odds)))
    for _halving in range(10):  # to 0.1 %
        middle = 0.5 * (low + high)
        if middle * (1 + odds * exp(middle)) < pull:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high) / (pull * residual)


cdef inline void damp(floating *r, Py_ssize_t k, double factor) noexcept nogil:
    """r *= factor."""
    cdef Py_ssize_t c
    for c in range(k):
        r[c] *= <floating>factor


cdef inline void fetch(Rows x, const Py_ssize_t[::1] order, Py_ssize_t start, Py_ssize_t end, Py_ssize_t k,
                       const floating *w, const floating *h) noexcept nogil:
    """Ask for the weights and states of the columns of the rows order[start:end]."""
    cdef:
        Py_ssize_t i
        long long j
    for i in range(start, end):
        for j in range(x.indptr[order[i]], x.indptr[order[i] + 1]):
            prefetch(w + index(x, j) * k, k)
            if h != NULL:
                prefetch(h + index(x, j) * k, k)


cdef inline void update(Rule rule, floating *w, Py_ssize_t rows, Py_ssize_t k, double eta, double root,
                        double rate, const floating *metric, const floating *g, floating[:, :, ::1] state,
                        Py_ssize_t row) noexcept nogil:
    """Make the step of rows of w, of which row is the first."""
    if rule == Rule.SGD:
        axpy(w, rows * k, -eta, g)
    elif rule == Rule.MOMENTUM:
        momentum(w, rows * k, eta, rate, g, &state[0, row, 0])
    elif rule == Rule.ADAGRAD:
        adagrad(w, rows, k, eta, TINY, metric, g, &state[0, row, 0])
    else:
        adam(w, rows, k, eta, root, BETA1, BETA2, TINY, metric, g, &state[0, row, 0], &state[1, row, 0])
