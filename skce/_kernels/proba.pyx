# Probabilities of rows of logits, and losses of probabilities, tile by tile as in blocks.pyx.

from cython cimport floating
from libc.math cimport INFINITY, NAN
from libc.string cimport memset

from skce._kernels import cpu

from skce._kernels.blocks cimport settled
from skce._kernels.simd cimport (
    certain, exp_rows, log_sums, lower_rows, pack, proba_losses, row_max, row_sums, scale_rows,
    skce_set_level, unpack)
from skce._kernels.tiles cimport CHUNK, tile_rows, tile_stride

skce_set_level(cpu.level_number)


cdef void softmax_into(const floating *logits, floating *out, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    cdef:
        double total[CHUNK]
        floating top[CHUNK]
        floating scale[CHUNK]
        floating tile[CHUNK]
        floating *x
        const floating *source
        Py_ssize_t rows = tile_rows(k), block, first, i, m, stride
    for block in range((n + rows - 1) // rows):
        first = block * rows
        m = min(rows, n - first)
        stride = tile_stride(m, k)
        source = logits + first * k
        x = out + first * k
        if stride:
            pack(source, m, k, stride, tile)
            source = x = tile
        row_max(source, m, k, stride, top)
        if certain(top, m):
            source = settled(source, x, m, k, stride, top)
        exp_rows(source, x, m, k, stride, top, total, <double *>NULL)
        for i in range(m):
            scale[i] = <floating>(1 / total[i])
        for i in range(m, stride):
            scale[i] = 0
        scale_rows(x, m, k, stride, scale, <floating *>NULL)
        if stride:
            unpack(tile, m, k, stride, out + first * k)


cdef void log_softmax_into(
    const floating *logits, floating *out, Py_ssize_t n, Py_ssize_t k,
) noexcept nogil:
    cdef:
        double total[CHUNK]
        double rest[CHUNK]
        floating top[CHUNK]
        floating tile[CHUNK]
        floating scratch[CHUNK]
        floating *x
        const floating *source
        Py_ssize_t rows = tile_rows(k), block, first, i, m, stride
    for block in range((n + rows - 1) // rows):
        first = block * rows
        m = min(rows, n - first)
        stride = tile_stride(m, k)
        source = logits + first * k
        x = out + first * k
        if stride:
            pack(source, m, k, stride, tile)
            source, x = tile, scratch
        row_max(source, m, k, stride, top)
        exp_rows(source, x, m, k, stride, top, total, rest)
        log_sums(total, m, rest)
        for i in range(m, stride):
            total[i] = 0
        lower_rows(source, x, m, k, stride, top, total)
        if stride:
            unpack(scratch, m, k, stride, out + first * k)
        if certain(top, m):  # whose rows are NaN by now
            for i in range(m):
                if top[i] == <floating>INFINITY:
                    settled_log(logits + (first + i) * k, out + (first + i) * k, k, top[i])


cdef void settled_log(const floating *logits, floating *out, Py_ssize_t k, floating top) noexcept nogil:
    """out, all NaN, <- 0 and -inf where exactly one of k logits is +inf and none NaN."""
    cdef Py_ssize_t c, gaps = 0
    settled(logits, out, 1, k, 0, &top)
    for c in range(k):
        gaps += out[c] != out[c]
    if gaps:
        for c in range(k):
            out[c] = <floating>NAN


cdef void proba_xent(
    bint binary, const floating *proba, const floating *targets, Py_ssize_t n, Py_ssize_t k, double *loss,
) noexcept nogil:
    cdef:
        double total[CHUNK]
        floating entries[CHUNK]
        floating tile[CHUNK]
        floating *x = entries
        Py_ssize_t rows = tile_rows(k), i, c, m, width, stride
    for i in range((n + rows - 1) // rows):
        m = min(rows, n - i * rows)
        stride = tile_stride(m, k)
        memset(loss, 0, m * sizeof(double))
        for c in range((k + CHUNK - 1) // CHUNK):  # more than one piece only for a single row
            width = min(<Py_ssize_t>CHUNK, k - c * CHUNK)
            proba_losses(proba, m * width, targets, binary, entries)
            if stride:
                x = tile
                pack(entries, m, k, stride, tile)
            row_sums(x, m, width, stride, <floating *>NULL, total)
            add(loss, total, m)
            proba += m * width
            targets += m * width
        loss += m


cdef inline void add(double *x, const double *y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        x[i] += y[i]
