# One epoch of proximal stochastic dual coordinate ascent, dense and CSR.
#
# 1. Targets do not appear: `table` starts at them and holds the dual point after that,
#    and W + B^-1 (sum over rows of weight x (table - target)^T) stays what it was. There is no step size.
# 2. A row takes a step at the weights its batch met: CSR usually in batches of one row, where W changes
#    on the row's features only, dense in batches for the products' sake, with leverages made larger by
#    the caller for the rows' overlap.
# 3. Row by row, the gather of a row fetches the weights of the next one; its line of the table and its
#    scalars are asked for before the step.
# 4. L1: the step is made on Z, and W is Z with each entry moved towards 0 by its threshold.
# 5. Weights in class-major order stay in it from the first batch to the last, not moved there and back
#    for each one.

import numpy as np

from cython cimport floating
from libc.string cimport memcpy, memset

from skce._engine.products import aligned_zeros
from skce._kernels import cpu

from skce._engine.data cimport Matrix, Rows
from skce._engine.products cimport (
    BLOCK_ROWS, batch_logits, packed_stride, scatter_residuals)
from skce._kernels.simd cimport (
    SKCE_LANES, axpy, csr_gather_ahead, gradient, pack, packed_step, prefetch, sigmoid_prox,
    skce_set_level, soft_threshold, softmax_prox, unpack)

skce_set_level(cpu.level_number)


def sdca_epoch(
    Matrix X not None, const Py_ssize_t[::1] order not None, Py_ssize_t batch_size,
    const double[::1] weights not None, const double[::1] leverage not None, floating[:, ::1] W not None,
    const floating[::1] mean, const floating[::1] inverse not None,
    floating[:, ::1] table not None, double[::1] negentropy not None, const floating[:, ::1] entry_weights,
    bint sigmoid, floating[:, ::1] Z=None, const floating[::1] threshold=None,
):
    """Run one epoch over the rows `order`; update W, table, negentropy and Z.

    Parameters
    ----------
    X : Matrix
        Data of shape (n, p).
    order : ndarray of shape (m,)
        Row numbers; batches are its consecutive pieces of batch_size.
    batch_size : int
        Rows of a step.
    weights : ndarray of shape (n,)
        Row weights; rows of weight 0 are skipped.
    leverage : ndarray of shape (n,)
        x_i^T B^-1 x_i of each row, plus what the intercept adds, times the overlap factor of batches.
    W : ndarray of shape (p + 1, K)
        Weights of the centred features, then the intercept.
    mean : ndarray of shape (p,) or None
        Centre of the columns of a dense X.
    inverse : ndarray of shape (p + 1,)
        1 / B of a diagonal metric, then that of the intercept; 0 without one.
    table : ndarray of shape (n, K)
        Probabilities of the dual point.
    negentropy : ndarray of shape (n,)
        sum p log p of the rows of table; for the sigmoid sum entry_weight (p log p + (1 - p) log(1 - p)).
    entry_weights : ndarray of shape (n, K) or None
        Weights of the entries within their row. Softmax: 0 where a class is missing.
    sigmoid : bool
        Sigmoid, not softmax.
    Z : ndarray of shape (p + 1, K) or None
        What the steps are made on, for L1; W is its soft threshold.
    threshold : ndarray of shape (p + 1,) or None
        Threshold of each row of Z; the last is 0.

    Returns
    -------
    gap : float
        Weighted sum of the rows' parts of the duality gap, each just before its step.
    """
    cdef:
        Rows x = X.rows
        Py_ssize_t m = order.shape[0], p = x.columns, k = W.shape[1], n_all = X.shape[0]
        Py_ssize_t step, part, first, n, n_b, i, b, j, row, later
        Py_ssize_t size = min(batch_size, m), rows, stride = 0
        bint centred = mean is not None, soft = Z is not None
        bint masked = entry_weights is not None
        double gap = 0, weight, part_of_gap
        floating *w
        floating *z
        floating *gradient_w = NULL
        floating *block = NULL
        floating *packed_w = NULL
        floating *packed_z = NULL
        floating *packed_gradient = NULL
        const floating *centre = NULL
        const floating *of_entries = NULL
        const floating *metric = NULL
        const Py_ssize_t *batch
        floating[:, ::1] gradient_array, x_block, scratch, logits
        floating[:, :, ::1] packed
        floating[::1] sums
    dtype = np.float32 if floating is float else np.float64
    if X.dtype != dtype:
        raise ValueError(f"W must have the dtype of X, {X.dtype}, got {np.dtype(dtype)}.")
    if W.shape[0] != p + 1 or k < 1:
        raise ValueError(f"W must have shape ({p + 1}, K), got ({W.shape[0]}, {k}).")
    if inverse.shape[0] != p + 1 or (centred and (x.sparse or mean.shape[0] != p)):
        raise ValueError(f"inverse must have {p + 1} entries, and mean {p}, for a dense X only.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be positive, got {batch_size}.")
    if weights.shape[0] != n_all or leverage.shape[0] != n_all or negentropy.shape[0] != n_all:
        raise ValueError(f"weights, leverage and negentropy must have {n_all} entries.")
    if table.shape[0] != n_all or table.shape[1] != k or (
            masked and (entry_weights.shape[0] != n_all or entry_weights.shape[1] != k)):
        raise ValueError(f"table and entry_weights must have shape ({n_all}, {k}).")
    if soft != (threshold is not None) or soft and (
            Z.shape[0] != p + 1 or Z.shape[1] != k or threshold.shape[0] != p + 1):
        raise ValueError(f"Z must have shape ({p + 1}, {k}) and threshold {p + 1} entries, or both be None.")
    if m == 0:
        return 0.0
    if np.min(order) < 0 or np.max(order) >= n_all:
        raise ValueError(f"order must hold rows in 0..{n_all - 1}.")
    if centred:
        centre = &mean[0]
    metric = &inverse[0]
    rows = size
    if not x.sparse:
        stride = packed_stride(p, k, sizeof(floating))
        if stride:
            rows = min(<Py_ssize_t>BLOCK_ROWS, size)
            packed = aligned_zeros((2 + soft) * k, stride, np.dtype(dtype)).reshape(2 + soft, k, stride)
            packed_gradient, packed_w, packed_z = &packed[0, 0, 0], &packed[1, 0, 0], &packed[1 + soft, 0, 0]
        else:
            stride = p
            gradient_array = np.empty((p, k), dtype)
            gradient_w = &gradient_array[0, 0]
        x_block = aligned_zeros(rows, stride, np.dtype(dtype))
        block = &x_block[0, 0]
    logits = np.empty((rows, k), dtype)
    sums = np.empty(k, dtype)
    scratch = aligned_zeros(8, (k + SKCE_LANES - 1) // SKCE_LANES * SKCE_LANES, np.dtype(dtype))
    w = &W[0, 0]
    z = &Z[0, 0] if soft else w
    with nogil:
        if packed_w != NULL:
            pack(w, p, k, stride, packed_w)
            if soft:
                pack(z, p, k, stride, packed_z)
        for step in range(pieces(m, batch_size)):
            first = step * batch_size
            n = min(batch_size, m - first)
            memset(&sums[0], 0, k * sizeof(floating))
            if gradient_w != NULL:
                memset(gradient_w, 0, p * k * sizeof(floating))
            for part in range(pieces(n, rows)):
                b = part * rows
                n_b = min(rows, n - b)
                batch = &order[first + b]
                later = m - first - b
                if x.sparse:
                    for i in range(n_b):
                        memcpy(&logits[i, 0], w + p * k, k * sizeof(floating))
                    csr_gather_ahead(w, p, k, n_b, later, batch, x.indptr, x.indices, x.wide, x.values,
                                     &logits[0, 0])
                else:
                    batch_logits(x, batch, n_b, later, k, w, centre, block, stride, packed_w, &logits[0, 0])
                # logits become the rows' changes of weight times table, negative
                for i in range(n_b):
                    row = batch[i]
                    if i + 1 < later:
                        prefetch(&table[batch[i + 1], 0], k)
                        prefetch(&negentropy[batch[i + 1]], 1)
                        prefetch(&weights[batch[i + 1]], 1)
                        prefetch(&leverage[batch[i + 1]], 1)
                    weight = weights[row]
                    if weight == 0:
                        memset(&logits[i, 0], 0, k * sizeof(floating))
                        continue
                    if masked:
                        of_entries = &entry_weights[row, 0]
                    if sigmoid:
                        part_of_gap = sigmoid_prox(
                            &logits[i, 0], k, leverage[row] * weight, -weight, of_entries, &table[row, 0],
                            &negentropy[row], &logits[i, 0])
                    else:
                        part_of_gap = softmax_prox(
                            &logits[i, 0], k, leverage[row] * weight, -weight, of_entries, &table[row, 0],
                            &negentropy[row], &logits[i, 0], &scratch[0, 0])
                    gap += weight * part_of_gap
                    axpy(&sums[0], k, 1, &logits[i, 0])
                scatter_residuals(x, batch, n_b, k, 1, metric, block, stride, packed_gradient,
                                  &logits[0, 0], z if x.sparse else gradient_w)
            # dense: z += B^-1 gradient
            if packed_w != NULL:
                packed_step(packed_w, p, k, stride, metric, packed_gradient, packed_z,
                            &threshold[0] if soft else NULL)
            elif gradient_w != NULL:
                gradient(gradient_w, p, k, 1, metric)
                axpy(z, p * k, 1, gradient_w)
            axpy(z + p * k, k, inverse[p], &sums[0])
            if soft:
                if x.sparse:
                    for i in range(n):
                        threshold_row(x, order[first + i], k, &threshold[0], z, w)
                elif packed_w == NULL:
                    for j in range(p):
                        soft_threshold(w + j * k, k, threshold[j], z + j * k)
                soft_threshold(w + p * k, k, threshold[p], z + p * k)
        if packed_w != NULL:
            unpack(packed_w, p, k, stride, w)
            if soft:
                unpack(packed_z, p, k, stride, z)
    return gap


cdef Py_ssize_t pieces(Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    """Pieces of size that n makes, the last one shorter."""
    return (n + size - 1) // size


cdef void threshold_row(Rows x, Py_ssize_t row, Py_ssize_t k, const floating *threshold,
                        const floating *z, floating *w) noexcept nogil:
    """w <- the soft threshold of z for the features of a CSR row."""
    cdef:
        const int *narrow = <const int *>x.indices
        const long long *wide = <const long long *>x.indices
        long long j
        Py_ssize_t feature
    for j in range(x.indptr[row], x.indptr[row + 1]):
        feature = wide[j] if x.wide else narrow[j]
        soft_threshold(w + feature * k, k, threshold[feature], z + feature * k)
