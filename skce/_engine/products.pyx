# Products of a matrix, dense or CSR, with weights (p, K) and residuals (n, K).
#
# 1. Dense rows are copied to a block, which pads them, centres them and keeps them in the cache between
#    the two products of a batch. The products are our own, on weights in class-major order, padded too,
#    where those stay in the cache; BLAS makes the larger ones. For 10 outputs of 784 features that is
#    180 to 220 GFLOP/s in float32 against OpenBLAS's 60 to 100 (its AVX2 code), 75 to 105 against 45 in
#    float64, and as fast as OpenBLAS with AVX2 only.
# 2. While a block is multiplied, the rows of the next are fetched: mnist, float32, an epoch 22 ms for 30.

from collections import namedtuple

import numpy as np

from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

from skce._kernels import cpu

from skce._engine.data cimport address
from skce._kernels.blas cimport gemm
from skce._kernels.proba cimport softmax_into
from skce._kernels.cpu cimport threads_for
from skce._kernels.simd cimport (
    SKCE_LANES, SKCE_VECTOR_TYPES, csr_gather, csr_scatter, load_rows, packed_backward,
    packed_forward, skce_set_level)

skce_set_level(cpu.level_number)

cdef enum:
    PACKED_BYTES = 1 << 19  # of weights, or a Gram matrix, that stay in the second-level cache
    PANEL = 16              # rows of a Gram matrix that are made together; 12, 24: 1.09, 1.10 of the time
    THREADED = 1 << 22      # multiplications from which waking threads pays


cdef void *aligned(list kept, Py_ssize_t size) except NULL:
    """Return zeros, of a size in bytes, where a pair of cache lines begins; kept holds them."""
    space = np.zeros(size + LINES, np.uint8)
    kept.append(space)
    cdef char *start = <char *>address(space)
    return start + -<size_t>start % LINES


def aligned_zeros(Py_ssize_t rows, Py_ssize_t columns, dtype):
    """Return zeros (rows, columns) that begin there."""
    cdef:
        list kept = []
        Py_ssize_t size = rows * columns * dtype.itemsize, start = <size_t>aligned(kept, size)
    start -= <size_t>address(kept[0])
    return kept[0][start:start + size].view(dtype).reshape(rows, columns)


def uses_blas(Matrix X not None, Py_ssize_t k):
    """Tell whether BLAS makes the products of X with k columns of weights."""
    return not X.sparse and packed_stride(X.rows.columns, k, X.dtype.itemsize) == 0


cdef Py_ssize_t packed_stride(Py_ssize_t p, Py_ssize_t k, Py_ssize_t item) noexcept nogil:
    """Stride of p features in class-major order, 0 where BLAS makes the products."""
    cdef Py_ssize_t stride = (p + SKCE_LANES - 1) // SKCE_LANES * SKCE_LANES
    return stride if SKCE_VECTOR_TYPES and k * stride * item <= PACKED_BYTES else 0


cdef void load_targets(Rows y, const Py_ssize_t *order, Py_ssize_t n, floating *out) noexcept nogil:
    """Spread the rows order[:n] of targets over out (n, k)."""
    cdef:
        const floating *values = <const floating *>y.values
        const int *narrow = <const int *>y.indices
        const long long *wide = <const long long *>y.indices
        Py_ssize_t i
        long long j
    if not y.sparse:
        load_rows(values, n, y.columns, order, <const floating *>NULL, y.columns, out)
        return
    memset(out, 0, n * y.columns * sizeof(floating))
    for i in range(n):
        for j in range(y.indptr[order[i]], y.indptr[order[i] + 1]):
            out[i * y.columns + (wide[j] if y.wide else narrow[j])] = values[j]


cdef void batch_logits(
    Rows x, const Py_ssize_t *order, Py_ssize_t n, Py_ssize_t ahead, Py_ssize_t k, const floating *w,
    const floating *mean, floating *block, Py_ssize_t stride, const floating *packed, floating *logits,
) noexcept nogil:
    """logits (n, k) <- the rows order[:n] of x, less mean, times w (p, k), plus row p of w.

    Dense rows are left in block (n, stride); packed is w in class-major order, or NULL. order has
    `ahead` entries; those after n are fetched.
    """
    cdef:
        const floating *later[BLOCK_ROWS]
        const floating *intercept = w + x.columns * k
        Py_ssize_t i, c
    for i in range(n):
        for c in range(k):  # a call of memcpy takes longer for few
            logits[i * k + c] = intercept[c]
    if x.sparse:
        csr_gather(w, x.columns, k, n, order, x.indptr, x.indices, x.wide, x.values, logits)
        return
    load_rows(<const floating *>x.values, n, x.columns, order, mean, stride, block)
    if packed != NULL:
        for i in range(n):
            later[i] = <const floating *>x.values + order[min(i + n, ahead - 1)] * x.columns
        packed_forward(block, n, stride, stride, k, packed, later, logits)
    else:
        gemm(False, False, n, k, x.columns, block, w, logits)


cdef void scatter_residuals(
    Rows x, const Py_ssize_t *order, Py_ssize_t n, Py_ssize_t k, double scale, const floating *metric,
    const floating *block, Py_ssize_t stride, floating *packed, const floating *residuals, floating *out,
) noexcept nogil:
    """out (p, k) += scale * metric * (Xt R), metric NULL being ones.

    Dense rows are those in block, without scale and metric; the sum goes to packed (k, stride) unless
    that is NULL.
    """
    if packed != NULL:
        packed_backward(block, n, stride, stride, k, residuals, k, packed)
    elif not x.sparse:
        gemm(True, False, x.columns, k, n, block, residuals, out)
    else:
        csr_scatter(out, x.columns, k, n, order, x.indptr, x.indices, x.wide, x.values, scale, metric,
                    residuals)


Squares = namedtuple("Squares", "columns entries rows weighted")


def squares(Matrix X not None, const double[::1] weights not None):
    """Return sums of squares of CSR.

    Those in the columns and the numbers of their non-zeros (p,), rows without weight not counted; in the
    rows (n,); in the columns, times the weights of the rows.
    """
    cdef:
        Rows x = X.rows
        double[::1] columns = np.zeros(x.columns), rows = np.empty(X.shape[0])
        double[::1] weighted = np.zeros(x.columns)
        long long[::1] count = np.zeros(x.columns, np.int64)
    _check_sums(X, "weights", weights.shape[0], X.shape[0])
    if X.dtype == np.float32:
        with nogil:
            sum_squares(x, <const float *>x.values, weights, columns, count, rows, weighted)
    else:
        with nogil:
            sum_squares(x, <const double *>x.values, weights, columns, count, rows, weighted)
    return Squares(np.asarray(columns), np.asarray(count), np.asarray(rows), np.asarray(weighted))


def row_squares(Matrix X not None, const double[::1] scale not None):
    """Return the sums over the rows of CSR (n,) of the squares times a scale (p,)."""
    cdef:
        Rows x = X.rows
        double[::1] out = np.empty(X.shape[0])
    _check_sums(X, "scale", scale.shape[0], x.columns)
    if X.dtype == np.float32:
        with nogil:
            sum_rows(x, <const float *>x.values, scale, out)
    else:
        with nogil:
            sum_rows(x, <const double *>x.values, scale, out)
    return np.asarray(out)


def weighted_grams(Matrix X not None, const double[:, ::1] weights not None):
    """Return X.T @ diag(weights[:, c]) @ X of CSR for each column c of weights, in double.

    It is of shape (k, p + 1, p + 1): in the last row and column, of 0, there is room for a constant.
    """
    cdef:
        Rows x = X.rows
        Py_ssize_t p = x.columns + 1, k = weights.shape[1]
        double[:, :, ::1] sums
        double[::1] space
    _check_sums(X, "weights", weights.shape[0], X.shape[0])
    sums, space = np.zeros((p, p, k)), np.empty(k)
    if X.dtype == np.float32:
        with nogil:
            add_grams(x, <const float *>x.values, weights, &sums[0, 0, 0], &space[0])
    else:
        with nogil:
            add_grams(x, <const double *>x.values, weights, &sums[0, 0, 0], &space[0])
    return np.ascontiguousarray(np.asarray(sums).transpose(2, 0, 1))


def dense_grams(
    const floating[:, ::1] X not None, const floating[::1] mean not None,
    const double[:, :] weights not None,
):
    """Return Z.T @ diag(weights[:, c]) @ Z for each column c of weights (k, p + 1, p + 1), in X's dtype.

    Z is X less mean, and a column of ones. Where a matrix does not stay in the cache BLAS makes it, of
    weights that are not negative; else panels of rows are made up to the diagonal and mirrored, as many
    in one look at X as stay there.
    """
    cdef:
        Py_ssize_t n = X.shape[0], p = X.shape[1], k = weights.shape[1]
        Py_ssize_t stride = (p + SKCE_LANES) // SKCE_LANES * SKCE_LANES
        Py_ssize_t tall = PACKED_BYTES // (PANEL * max(k, 1) * stride * sizeof(floating)) * PANEL or PANEL
        Py_ssize_t order[BLOCK_ROWS]
        Py_ssize_t start, end, panel, rows, columns, block, first, m, c, i, j
        floating[:, :, ::1] out, sums
        floating[:, ::1] z, scaled
        const floating *x
        floating *y, w
    if weights.shape[0] != n or mean.shape[0] != p:
        raise ValueError(f"weights must have {n} rows and mean {p} entries.")
    dtype = np.dtype(np.float32 if floating is float else np.float64)
    if packed_stride(p, p, sizeof(floating)) == 0:
        Z, Y = np.ones((n, p + 1), dtype), np.empty((n, p + 1), dtype)
        grams = np.empty((k, p + 1, p + 1), dtype)
        np.subtract(X, mean, out=Z[:, :p])
        scales = np.sqrt(np.maximum(weights, 0)).astype(dtype)
        for c in range(k):
            np.multiply(Z, scales[:, c, None], out=Y)
            np.matmul(Y.T, Y, out=grams[c])
        return grams
    out = np.empty((k, p + 1, p + 1), dtype)
    z, scaled = aligned_zeros(BLOCK_ROWS, stride, dtype), np.empty((BLOCK_ROWS, stride), dtype)
    z[:, p] = 1
    for i in range(BLOCK_ROWS):
        order[i] = i
    for start in range(0, p + 1, tall):
        end = min(start + tall, p + 1)
        sums = aligned_zeros(k * (end - start), stride, dtype).reshape(k, end - start, stride)
        with nogil:
            for block in range((n + BLOCK_ROWS - 1) // BLOCK_ROWS):
                first = block * BLOCK_ROWS
                m = min(<Py_ssize_t>BLOCK_ROWS, n - first)
                load_rows(&X[first, 0], m, p, order, &mean[0], stride, &z[0, 0])
                for c in range(k):
                    for i in range(m):
                        w, x, y = <floating>weights[first + i, c], &z[i, start], &scaled[i, start]
                        for j in range(end - start):
                            y[j] = w * x[j]
                    for panel in range((end - start + PANEL - 1) // PANEL):
                        j = start + panel * PANEL
                        rows = min(<Py_ssize_t>PANEL, end - j)
                        columns = (j + rows + SKCE_LANES - 1) // SKCE_LANES * SKCE_LANES
                        packed_backward(&z[0, 0], m, columns, stride, rows, &scaled[0, j], stride,
                                        &sums[c, panel * PANEL, 0])
            for c in range(k):
                for i in range(end - start):
                    for j in range(start + i + 1):
                        out[c, start + i, j] = out[c, j, start + i] = sums[c, i, j]
    return np.asarray(out)


def _check_sums(Matrix X, name, length, expected):
    if not X.sparse or X.dtype not in (np.float32, np.float64):
        kind = "CSR" if X.sparse else "an array"
        raise ValueError(f"X must be CSR of float32 or float64, got {kind} of {X.dtype}.")
    if length != expected:
        raise ValueError(f"{name} must have {expected} entries, got {length}.")


cdef void sum_squares(Rows x, const floating *values, const double[::1] weights, double[::1] columns,
                      long long[::1] count, double[::1] rows, double[::1] weighted) noexcept nogil:
    """rows (n,) <- sums of squares; those of rows with weight are added to columns, non-zeros to count."""
    cdef:
        const int *narrow = <const int *>x.indices
        const long long *wide = <const long long *>x.indices
        Py_ssize_t i, column
        long long j
        double square, total
        bint counts
    for i in range(weights.shape[0]):
        total, counts = 0, weights[i] != 0
        for j in range(x.indptr[i], x.indptr[i + 1]):
            column = wide[j] if x.wide else narrow[j]
            square = <double>values[j] * values[j]
            total += square
            if counts:
                columns[column] += square
                weighted[column] += weights[i] * square
                count[column] += values[j] != 0
        rows[i] = total


cdef void sum_rows(Rows x, const floating *values, const double[::1] scale, double[::1] out) noexcept nogil:
    """out (n,) <- the sums of the squares times scale (p,)."""
    cdef:
        const int *narrow = <const int *>x.indices
        const long long *wide = <const long long *>x.indices
        Py_ssize_t i
        long long j
        double total
    for i in range(out.shape[0]):
        total = 0
        for j in range(x.indptr[i], x.indptr[i + 1]):
            total += <double>values[j] * values[j] * scale[wide[j] if x.wide else narrow[j]]
        out[i] = total


cdef void add_grams(Rows x, const floating *values, const double[:, ::1] weights, double *sums,
                    double *scaled) noexcept nogil:
    """sums (p + 1, p + 1, k) += the products of each two non-zeros of a row times its weights (k,)."""
    cdef:
        const int *narrow = <const int *>x.indices
        const long long *wide = <const long long *>x.indices
        Py_ssize_t i, c, row, column, k = weights.shape[1], p = x.columns + 1
        long long a, b
        double *out
        double value
    for i in range(weights.shape[0]):
        for a in range(x.indptr[i], x.indptr[i + 1]):
            row = wide[a] if x.wide else narrow[a]
            for c in range(k):
                scaled[c] = weights[i, c] * values[a]
            for b in range(x.indptr[i], x.indptr[i + 1]):
                column = wide[b] if x.wide else narrow[b]
                if column > row:
                    continue
                out = sums + (row * p + column) * k
                value = values[b]
                for c in range(k):
                    out[c] += scaled[c] * value
    for row in range(p):
        for column in range(row):
            memcpy(sums + (column * p + row) * k, sums + (row * p + column) * k, k * sizeof(double))


def decision(
    Matrix X not None, const floating[:, ::1] coef not None, const floating[::1] intercept not None,
    floating[:, ::1] out not None, bint softmax, int n_threads,
):
    """Fill out (n, K) with the logits of X, or their softmax.

    coef is (K, p) for a dense X and (p, K) for CSR. Rows are split in fixed blocks, so the result does
    not depend on n_threads.
    """
    cdef:
        Rows x = X.rows
        Py_ssize_t n = X.shape[0], p = x.columns, k = intercept.shape[0], block, i
        Py_ssize_t stride = packed_stride(p, k, sizeof(floating))
        Py_ssize_t size = BLOCK_ROWS if stride or x.sparse else BLAS_ROWS
        Py_ssize_t blocks = (n + size - 1) // size
        bytearray packed  # quicker to make than an array, for the sake of single rows
        const floating *w
        floating *pack
        floating *space = NULL
    dtype = np.float32 if floating is float else np.float64
    if X.dtype != dtype:
        raise ValueError(f"X must have the dtype of coef, got {X.dtype}.")
    shape = (p, k) if x.sparse else (k, p)
    if k == 0 or coef.shape[0] != shape[0] or coef.shape[1] != shape[1]:
        raise ValueError(f"coef must have shape {shape}, got ({coef.shape[0]}, {coef.shape[1]}).")
    if out.shape[0] != n or out.shape[1] != k:
        raise ValueError(f"out must have shape ({n}, {k}), got ({out.shape[0]}, {out.shape[1]}).")
    if n_threads < 0:
        raise ValueError(f"n_threads must not be negative, got {n_threads}.")
    if n == 0:
        return
    w = &coef[0, 0]
    n_threads = threads_for(
        n_threads, (<double>X.nnz if x.sparse else <double>n * p) * k, THREADED, blocks)
    if stride and not x.sparse:
        packed = bytearray((k + n_threads * min(size, n)) * stride * sizeof(floating) + LINES)
        pack = <floating *>(<char *>packed + -<size_t><char *>packed % LINES)
        space = pack + k * stride
        w = pack
        for i in range(k):
            memcpy(pack + i * stride, &coef[i, 0], p * sizeof(floating))
    for block in prange(blocks, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=8):
        block_logits(x, block * size, min(size, n - block * size), n, k, w, &intercept[0],
                     space + threadid() * size * stride, stride, &out[block * size, 0])
        if softmax:
            softmax_into(&out[block * size, 0], &out[block * size, 0], min(size, n - block * size), k)


cdef void block_logits(Rows x, Py_ssize_t first, Py_ssize_t n, Py_ssize_t n_all, Py_ssize_t k,
                       const floating *w, const floating *intercept, floating *space, Py_ssize_t stride,
                       floating *out) noexcept nogil:
    """out (n, k) <- the logits of n consecutive rows; space (n, stride) is for a copy of them."""
    cdef:
        Py_ssize_t order[BLAS_ROWS]
        const floating *later[BLAS_ROWS]
        const floating *rows = <const floating *>x.values + first * x.columns
        Py_ssize_t p = x.columns, i
    for i in range(n):
        order[i] = first + i
        memcpy(out + i * k, intercept, k * sizeof(floating))
    if x.sparse:
        csr_gather(w, p, k, n, order, x.indptr, x.indices, x.wide, x.values, out)
    elif stride == 0:
        gemm(False, True, n, k, p, rows, w, out)
    else:
        for i in range(n):
            later[i] = <const floating *>x.values + min(first + n + i, n_all - 1) * p
        # a copy is aligned; for few outputs rows are read as they are, if up to stride there is something
        if k <= 16 and (first + n - 1) * p + stride <= n_all * p:
            packed_forward(rows, n, p, stride, k, w, later, out)
        else:
            load_rows(<const floating *>x.values, n, x.columns, order, <floating *>NULL, stride, space)
            packed_forward(space, n, stride, stride, k, w, later, out)
