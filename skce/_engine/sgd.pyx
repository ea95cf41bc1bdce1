# One epoch of mini-batch gradient descent, for every loss, dense and CSR.
#
# 1. An epoch sees arrays and scalars; Python keeps the loop over epochs, schedules, stopping.
# 2. Dense and CSR differ in two primitives, the logits of a batch and the scatter of its residuals,
#    and are told apart there, once a batch.
# 3. Weights are (p, K): one feature is one contiguous row of K.
# 4. Dense rows are centred as they are copied into the batch; CSR is never centred. The last row of
#    W is the intercept of the centred columns.
# 5. Rule SGD (no momentum): a gradient step, metric_j per feature, then the proximal step of the
#    penalty, w_j / (1 + alpha metric_j step). On CSR the gradient step touches only the batch's
#    features; the proximal step and the average take a sweep over all of W, so both are made once
#    every `lazy` steps, for the sum of the step sizes since. The other rules have a state for every
#    weight and sweep at every step, with the penalty in the gradient. AdaGrad and Adam, which undo
#    the scale of a gradient, work on the columns times metric_j.
# 6. The gradient is sum(w_i r_i x_i) / rows of the batch, weights with mean 1 over the data.

import numpy as np

from cython cimport floating
from libc.math cimport sqrt
from libc.string cimport memcpy, memset

from skce._engine.products import aligned_zeros
from skce._kernels import cpu

from skce._engine.data cimport EpochData as Problem
from skce._engine.products cimport (
    BLOCK_ROWS, Rows, batch_logits, load_sparse, packed_stride, scatter_residuals)
from skce._kernels.blocks cimport xent
from skce._kernels.simd cimport (
    adagrad, adam, axpy, blend, gradient, momentum, pack, shrink, skce_set_level, unpack)

skce_set_level(cpu.level_number)

cpdef enum Rule:
    SGD = 0
    MOMENTUM = 1
    ADAGRAD = 2
    ADAM = 3


cdef double BETA1 = 0.9, BETA2 = 0.999, TINY = 1e-8     # Adam's; AdaGrad uses TINY


def sgd_epoch(
    Problem problem not None, const Py_ssize_t[::1] order not None, Py_ssize_t batch_size,
    const double[::1] steps not None, floating[:, ::1] W not None, const floating[::1] mean,
    const floating[::1] metric not None, double alpha, Rule rule, double momentum_rate,
    floating[:, :, ::1] state not None, long long count, floating[:, ::1] average,
    const double[::1] blends not None, Py_ssize_t lazy,
):
    """Run one epoch over the rows `order`; update W, state and average.

    Parameters
    ----------
    problem : Problem
        Data and loss.
    order : ndarray of shape (m,)
        Row numbers; batches are its consecutive pieces of batch_size.
    batch_size : int
        Rows of a step.
    steps : ndarray of shape (ceil(m / batch_size),)
        Step sizes.
    W : ndarray of shape (p + 1, K)
        Weights of the centred features, then the intercept.
    mean : ndarray of shape (p,) or None
        Centre of the columns of a dense X.
    metric : ndarray of shape (p + 1,)
        Step factor of each row of W; a last one of 0 means no intercept.
    alpha : float
        L2 penalty.
    rule : Rule
        Update rule.
    momentum_rate : float
        Rate of MOMENTUM.
    state : ndarray of shape (s, p + 1, K)
        s = 0, 1, 1, 2 for the rules in order.
    count : int
        Steps made before.
    average : ndarray of shape (p + 1, K) or None
        Running average of W: average += blend * (W - average) at each sweep.
    blends : ndarray like steps
        Blends of the steps.
    lazy : int
        Steps between two sweeps of SGD.

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
        Py_ssize_t n_steps, step, part, first, n, n_b, i, b, shrunk
        Py_ssize_t size = min(batch_size, m), rows, stride = 0
        bint soft = problem.soft, centred = mean is not None, plain = rule == Rule.SGD
        bint averaging = average is not None
        double total = 0, weight, pending = 0
        double scale, eta, root
        floating *w
        floating *gradient_w = NULL
        floating *block = NULL
        floating *packed_w = NULL
        floating *mean_w = NULL
        floating *packed_gradient = NULL
        const floating *positive = NULL
        const floating *centre = NULL
        const Py_ssize_t *batch
        const floating[::1] pos_weight
        floating[:, ::1] gradient_array, x_block, target_block
        floating[:, :, ::1] packed
        floating[:, ::1] residuals
        floating[::1] sums
        double[::1] batch_weights, losses
        int[::1] batch_labels
    dtype = np.float32 if floating is float else np.float64
    if problem.X.dtype != dtype:
        raise ValueError(f"W must have the dtype of X, {problem.X.dtype}, got {np.dtype(dtype)}.")
    if W.shape[0] != p + 1 or k != problem.n_outputs:
        raise ValueError(f"W must have shape ({p + 1}, {problem.n_outputs}), got ({W.shape[0]}, {k}).")
    if metric.shape[0] != p + 1 or (centred and (x.sparse or mean.shape[0] != p)):
        raise ValueError(f"metric must have {p + 1} entries, and mean {p}, for a dense X only.")
    if batch_size < 1 or lazy < 1:
        raise ValueError(f"batch_size and lazy must be positive, got {batch_size} and {lazy}.")
    n_steps = (m + batch_size - 1) // batch_size
    if steps.shape[0] != n_steps or blends.shape[0] != n_steps:
        raise ValueError(f"steps and blends must have {n_steps} entries.")
    if state.shape[0] != (0, 1, 1, 2)[rule] or (
            state.shape[0] and (state.shape[1] != p + 1 or state.shape[2] != k)):
        raise ValueError("state must have the shape of the rule.")
    if averaging and (average.shape[0] != p + 1 or average.shape[1] != k):
        raise ValueError("average must have the shape of W.")
    if m == 0:
        return 0.0, count
    if np.min(order) < 0 or np.max(order) >= n_all:
        raise ValueError(f"order must hold rows in 0..{n_all - 1}.")
    if problem.pos_weight is not None:
        pos_weight = problem.pos_weight
        positive = &pos_weight[0]
    if centred:
        centre = &mean[0]
    rows = size
    if not x.sparse:
        stride = packed_stride(p, k, sizeof(floating))
        if stride:
            rows = min(<Py_ssize_t>BLOCK_ROWS, size)
            packed = aligned_zeros(2 * k, stride, np.dtype(dtype)).reshape(2, k, stride)
            packed_w = &packed[0, 0, 0]
            packed_gradient = &packed[1, 0, 0]
        else:
            stride = p
        x_block = aligned_zeros(rows, stride, np.dtype(dtype))
        block = &x_block[0, 0]
    residuals = np.empty((rows, k), dtype)
    sums = np.empty(k, dtype)
    batch_weights, losses = np.empty(size), np.empty(rows)
    batch_labels = np.empty(rows, np.intc)
    target_block = np.empty((rows if soft else 1, k), dtype)
    if soft:
        y = problem.Y.rows
    if not (x.sparse and plain):
        gradient_array = np.empty((p + 1, k), dtype)
        gradient_w = &gradient_array[0, 0]
    w = &W[0, 0]
    if averaging:
        mean_w = &average[0, 0]
    with nogil:
        for step in range(n_steps):
            first = step * batch_size
            n = min(batch_size, m - first)
            eta = steps[step]
            scale = 1.0 / n
            weight = 0
            for i in range(n):
                batch_weights[i] = problem.weights[order[first + i]]
                weight += batch_weights[i]
            if weight > 0:
                count += 1
                memset(&sums[0], 0, k * sizeof(floating))
                if packed_w != NULL:
                    pack(w, p, k, stride, packed_w)
                    memset(packed_gradient, 0, k * stride * sizeof(floating))
                elif gradient_w != NULL:
                    memset(gradient_w, 0, p * k * sizeof(floating))
                for part in range((n + rows - 1) // rows):
                    # logits, residuals, gradient
                    b = part * rows
                    n_b = min(rows, n - b)
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
                        axpy(&sums[0], k, 1, &residuals[i, 0])
                    if gradient_w != NULL:
                        scatter_residuals(x, batch, n_b, k, 1, <const floating *>NULL, block, stride,
                                          packed_gradient, &residuals[0, 0], gradient_w)
                if gradient_w != NULL:
                    if packed_w != NULL:
                        unpack(packed_gradient, p, k, stride, gradient_w)
                    memcpy(gradient_w + p * k, &sums[0], k * sizeof(floating))
                    gradient(gradient_w, p, k, scale, 0 if plain else alpha, &metric[0], w)
                    gradient(gradient_w + p * k, 1, k, scale, 0, &metric[p], w + p * k)
                # update
                if rule == Rule.SGD:
                    if x.sparse:
                        scatter_residuals(x, &order[first], n, k, -eta * scale, &metric[0], block, stride,
                                          packed_gradient, &residuals[0, 0], w)
                        axpy(w + p * k, k, -eta * scale * metric[p], &sums[0])
                    else:
                        axpy(w, (p + 1) * k, -eta, gradient_w)
                    pending += eta
                elif rule == Rule.MOMENTUM:
                    momentum(w, (p + 1) * k, eta, momentum_rate, gradient_w, &state[0, 0, 0])
                elif rule == Rule.ADAGRAD:
                    adagrad(w, p + 1, k, eta, TINY, &metric[0], gradient_w, &state[0, 0, 0])
                else:
                    root = 1 / sqrt(1 - BETA2 ** count)
                    adam(w, p + 1, k, eta / (1 - BETA1 ** count), root, BETA1, BETA2, TINY, &metric[0],
                         gradient_w, &state[0, 0, 0], &state[1, 0, 0])
            # sweep
            if not plain or (step + 1) % lazy == 0 or step + 1 == n_steps:
                shrunk = 0
                if plain and alpha > 0 and pending > 0:
                    shrink(w, p, k, alpha * pending, &metric[0], mean_w, blends[step])
                    shrunk = p * k
                    pending = 0
                if averaging:
                    blend(mean_w + shrunk, (p + 1) * k - shrunk, blends[step], w + shrunk)
    return total, count
