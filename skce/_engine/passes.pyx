# Passes over all rows: loss with gradient, products with the Hessian, the certificate of a dual point.
#
# 1. Rows are split in a number of parts that depends on the shape only; each part sums its gradient on
#    its own, few weights in double every FLUSH rows, and the parts are added in order: no result
#    depends on the number of threads.

import numpy as np

from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.string cimport memcpy, memset

from skce._kernels import cpu

from skce._engine.data cimport EpochData, Rows, address
from skce._engine.dual cimport DUAL_SPACE, DUAL_TERMS, dual_rows
from skce._engine.products cimport (
    BLAS_ROWS, BLOCK_ROWS, aligned, batch_logits, in_lines, load_targets, packed_stride, scatter_residuals)
from skce._kernels.blocks cimport Loss, xent_curvature
from skce._kernels.cpu cimport threads_for
from skce._kernels.proba cimport softmax_into
from skce._kernels.simd cimport pack, row_sums, skce_set_level

skce_set_level(cpu.level_number)

cdef enum:
    FLUSH = 2048            # rows whose gradient is summed in the dtype of X
    MANY_PARTS = 1 << 18    # weights up to which there are 8 parts, else 2
    THREADED = 1 << 20      # multiplications from which waking threads pays

cpdef enum Pass:
    LOSS = 0
    PRODUCT = 1
    DUAL = 2

cdef struct Plan:
    Pass kind
    Rows x
    Rows y
    bint soft
    Loss loss
    Py_ssize_t n, k, rows, stride, flush
    const int *labels
    const double *weights
    const void *of_entries  # weights (n, k) of the entries, or NULL
    double smoothing
    const double *scale     # of the certificate, else NULL
    const double *shift


def run(
    Pass kind, EpochData data not None, const floating[:, ::1] W not None, const floating[::1] mean,
    double[:, ::1] gradient not None, floating[:, ::1] table, const double[::1] scale,
    const double[::1] shift, int n_threads,
):
    """Run over all rows once.

    Parameters
    ----------
    kind : Pass
        LOSS: the gradient of the loss; table, unless None, gets the curvature of each row. PRODUCT:
        the product of the Hessian, of that table, with W. DUAL: the certificate of the dual point pi'.
        The last two are not for the 1/M softmax, and the targets of a softmax must sum to 1.
    data : EpochData
        Data and loss.
    W : ndarray of shape (p + 1, K)
        Weights, then the intercept of the columns less mean.
    mean : ndarray of shape (p,) or None
        Centre of the columns of a dense X.
    gradient : ndarray of shape (p + 1, K)
        Gets the gradient, the product or V'.
    table : ndarray of shape (n, K) or None
        Curvature: probabilities of a softmax; weight * p (1 - p) of a sigmoid. DUAL: the
        probabilities pi; None takes those of the logits.
    scale, shift : ndarray of shape (K,) or None
        For DUAL. Softmax: pi'_c = scale_c pi_c + shift_c sum_j (1 - scale_j) pi_j in rows without a
        missing entry, pi in others. Sigmoid: pi'_c = scale_c pi_c + shift_c.
    n_threads : int
        0 takes as many as OpenMP allows.

    Returns
    -------
    total : float
        Sum of the weighted losses, 0 for a product, or of the Fenchel-Young losses of pi'.
    loss : float
        For DUAL the sum of the weighted losses.
    """
    cdef:
        Plan a
        Py_ssize_t n = data.X.shape[0], p = data.X.shape[1], k = data.n_outputs
        Py_ssize_t parts, part, rooms, size, columns, scratch, features, each, j, c, item = sizeof(floating)
        floating *packed_w = NULL
        floating *blocks
        floating *residuals
        floating *targets
        floating *sums
        floating *pi
        double *space
        double *totals
        const floating *centre = NULL
        const floating *positive = NULL
        double total = 0, loss = 0
        bint direct
        list kept = []
    dtype = np.dtype(np.float32 if floating is float else np.float64)
    if data.X.dtype != dtype:
        raise ValueError(f"W must have the dtype of X, {data.X.dtype}, got {dtype}.")
    if W.shape[0] != p + 1 or W.shape[1] != k or gradient.shape[0] != p + 1 or gradient.shape[1] != k:
        raise ValueError(f"W and gradient must have shape ({p + 1}, {k}).")
    if mean is not None and (data.X.sparse or mean.shape[0] != p):
        raise ValueError(f"mean must have {p} entries, for a dense X only.")
    if n_threads < 0:
        raise ValueError(f"n_threads must not be negative, got {n_threads}.")
    if kind < LOSS or kind > DUAL or (kind != LOSS and data.loss == Loss.MULTILABEL_SOFTMAX):
        raise ValueError(f"kind must be a Pass and fit the loss, got {kind}.")
    if (kind == PRODUCT and table is None) or (kind == DUAL) != (scale is not None and shift is not None):
        raise ValueError("table must be given for a product, scale and shift for a dual point only.")
    if kind == DUAL and (scale.shape[0] != k or shift.shape[0] != k):
        raise ValueError(f"scale and shift must have {k} entries.")
    if table is not None and (table.shape[0] != n or table.shape[1] != k):
        raise ValueError(f"table must have shape ({n}, {k}).")
    gradient[:] = 0
    if n == 0:
        return 0.0, 0.0
    a.x = a.y = data.X.rows
    a.soft = data.soft
    if a.soft:
        a.y = data.Y.rows
    else:
        a.labels = &data.labels[0]
    a.kind, a.loss, a.n, a.k = kind, data.loss, n, k
    a.weights, a.smoothing = &data.weights[0], data.smoothing
    a.of_entries = data.of_entries
    a.scale = &scale[0] if kind == DUAL else NULL
    a.shift = &shift[0] if kind == DUAL else NULL
    pi = NULL if table is None else &table[0, 0]
    if mean is not None:
        centre = &mean[0]
    if data.pos_weight is not None:
        positive = <const floating *>address(data.pos_weight)
    a.rows, a.stride = BLAS_ROWS, 0
    if not data.X.sparse:
        a.stride = packed_stride(p, k, item)
        if a.stride:
            a.rows = BLOCK_ROWS
            packed_w = <floating *>aligned(kept, k * a.stride * item)
            pack(&W[0, 0], p, k, a.stride, packed_w)
        else:
            a.stride = p
    a.flush = FLUSH if p * k <= MANY_PARTS and n > FLUSH else n  # parts are whole runs of them
    parts = min(8 if p * k <= MANY_PARTS else 2, (n + FLUSH - 1) // FLUSH)
    size = ((n + parts - 1) // parts + BLAS_ROWS - 1) // BLAS_ROWS * BLAS_ROWS
    n_threads = threads_for(n_threads, (<double>data.X.nnz if a.x.sparse else <double>n * p) * k,
                            THREADED, parts)
    blocks = <floating *>aligned(kept, n_threads * a.rows * a.stride * item)
    residuals = <floating *>aligned(kept, n_threads * a.rows * k * item)
    targets = <floating *>aligned(kept, n_threads * a.rows * k * item)
    columns = k * max(a.stride, p)
    # new pages cost as much as a pass of SDCA (clinc150 in double): one thread adds the sums of a part
    # before it goes on to the next, and the first part's are made where they are wanted
    rooms = n_threads if a.flush < n or n_threads == 1 else parts
    direct = a.flush == n and packed_w == NULL and item == sizeof(double)
    sums = <floating *>aligned(kept, rooms * columns * item)
    scratch = DUAL_SPACE * max(k, DUAL_TERMS) if kind == DUAL else 0
    scratch = in_lines(k + max(a.rows, scratch), sizeof(double))
    space = <double *>aligned(kept, n_threads * scratch * sizeof(double))
    features = p + 1 if a.flush < n else 1
    each = features * k + 2
    totals = <double *>aligned(kept, parts * each * sizeof(double))
    if n_threads > 1:  # pages that two threads are the first to write took .1 s in a fit of .16 s
        memset(sums, 0, rooms * columns * item)
    for part in prange(parts, nogil=True, num_threads=n_threads, schedule="static", chunksize=1):
        _part(
            &a, part * size, min((part + 1) * size, n), &W[0, 0], packed_w, centre, positive, pi,
            blocks + threadid() * a.rows * a.stride, residuals + threadid() * a.rows * k,
            targets + threadid() * a.rows * k,
            <floating *>&gradient[0, 0] if direct and part == 0 else
            sums + (part if rooms == parts else threadid()) * columns,
            space + threadid() * scratch, totals + part * each)
        if a.flush == n and n_threads == 1 and part >= direct:
            add_sums(&a, packed_w != NULL, sums, 0, p, &gradient[0, 0])
    if a.flush == n and n_threads > 1:
        for j in prange(p, nogil=True, num_threads=n_threads, schedule="static"):
            for part in range(direct, parts):
                add_sums(&a, packed_w != NULL, sums + part * columns, j, j + 1, &gradient[0, 0])
    for part in range(parts):
        total += totals[part * each + features * k]
        loss += totals[part * each + features * k + 1]
        for j in range(features):
            for c in range(k):
                gradient[p + 1 - features + j, c] += totals[part * each + j * k + c]
    return total, loss


cdef void _part(
    const Plan *a, Py_ssize_t start, Py_ssize_t end, const floating *w, const floating *packed_w,
    const floating *centre, const floating *positive, floating *table, floating *block,
    floating *residuals, floating *targets, floating *sums, double *space, double *totals,
) noexcept nogil:
    """totals <- the gradient (p + 1, k) of the rows start..end, their total and loss.

    Everything else is the thread's own: lines that two of them write cost a quarter of a pass.
    """
    cdef:
        Py_ssize_t order[BLAS_ROWS]
        Py_ssize_t p = a.x.columns, k = a.k, first = start, flush, n, ahead, i, c
        floating *packed_sums = sums if packed_w != NULL else NULL
        const int *labels = NULL
        const floating *of_entries = NULL
        floating *row_table = NULL
        Py_ssize_t features = p if a.flush < a.n else 0  # of totals
        double *intercept = space
        double found[2]
    # sums are written first: a page of zeros that is read before costs a second fault, and with two
    # threads an interrupt of the other processor (2 ms a MB)
    memset(totals, 0, features * k * sizeof(double))
    memset(intercept, 0, k * sizeof(double))
    found[0] = found[1] = 0
    while first < end:
        memset(sums, 0, k * max(a.stride, p) * sizeof(floating))
        flush = min(first + a.flush, end)
        while first < flush:
            n = min(a.rows, flush - first)
            ahead = min(n + BLOCK_ROWS, end - first) if packed_w != NULL else n
            for i in range(ahead):
                order[i] = first + i
            batch_logits(a.x, order, n, ahead, k, w, centre, block, a.stride, packed_w, residuals)
            if table != NULL:
                row_table = table + first * k
            if a.of_entries != NULL:
                of_entries = <const floating *>a.of_entries + first * k
            if a.kind == PRODUCT:
                product_rows(a, residuals, row_table, a.weights + first, n)
            elif a.soft and a.y.sparse:
                load_targets(a.y, order, n, targets)
            elif a.soft:
                targets = <floating *>a.y.values + first * k
            else:
                labels = a.labels + first
            if a.kind == LOSS:
                if table != NULL and a.loss != Loss.SIGMOID:
                    store_proba(a, residuals, targets, a.weights + first, n, row_table)
                found[0] += xent_curvature(
                    a.loss, residuals, residuals, labels, targets, positive, of_entries, a.weights + first,
                    a.smoothing, n, k, space + k, row_table)
            elif a.kind == DUAL:
                for i in range(n):
                    for c in range(k if not a.soft else 0):
                        targets[i * k + c] = labels[i] == c
                dual_rows(a.loss == Loss.SIGMOID, n, k, residuals, targets, positive, of_entries, row_table,
                          a.weights + first, a.smoothing, a.scale, a.shift, space + k, found)
            if k == 1:
                row_sums(residuals, 1, n, 0, <floating *>NULL, space + k)
                intercept[0] += space[k]
            else:
                for i in range(n):
                    for c in range(k):
                        intercept[c] += residuals[i * k + c]
            scatter_residuals(a.x, order, n, k, 1, <const floating *>NULL, block, a.stride, packed_sums,
                              residuals, sums)
            first += n
        if a.flush < a.n:
            add_sums(a, packed_w != NULL, sums, 0, p, totals)
    memcpy(totals + features * k, intercept, k * sizeof(double))
    memcpy(totals + (features + 1) * k, found, 2 * sizeof(double))


cdef void add_sums(
    const Plan *a, bint packed, const floating *sums, Py_ssize_t start, Py_ssize_t end, double *out,
) noexcept nogil:
    """Rows start..end of out (p, k) += sums, which are in class-major order if packed."""
    cdef Py_ssize_t j, c
    for j in range(start, end):
        for c in range(a.k):
            out[j * a.k + c] += sums[c * a.stride + j] if packed else sums[j * a.k + c]


cdef void store_proba(
    const Plan *a, const floating *logits, const floating *t, const double *weights, Py_ssize_t n,
    floating *out,
) noexcept nogil:
    """out <- the probabilities of a softmax of n rows, as product_rows takes them."""
    cdef Py_ssize_t k = a.k, i, e
    memcpy(out, logits, n * k * sizeof(floating))
    if a.soft:
        for e in range(n * k):
            if t[e] != t[e]:
                out[e] = <floating>-INFINITY
    softmax_into(out, out, n, k)
    for i in range(n):
        if weights[i] == 0:
            memset(out + i * k, 0, k * sizeof(floating))


cdef void product_rows(
    const Plan *a, floating *s, const floating *table, const double *weights, Py_ssize_t n,
) noexcept nogil:
    """s, the changes of the logits of n rows, <- their curvature times s."""
    cdef:
        Py_ssize_t k = a.k, i, c
        floating mean, w
    if a.loss == Loss.SIGMOID:
        for c in range(n * k):
            s[c] *= table[c]
        return
    for i in range(n):
        mean, w = 0, <floating>weights[i]
        if weights[i] == 0:
            memset(s, 0, k * sizeof(floating))
        else:
            for c in range(k):
                mean += table[c] * s[c]
            for c in range(k):
                s[c] = w * table[c] * (s[c] - mean)
        s, table = s + k, table + k
