from cython cimport floating

from skce._engine.data cimport Matrix, Rows

cdef enum:
    BLOCK_ROWS = 32   # of a packed dense block: they stay in the second-level cache
    BLAS_ROWS = 256   # of a block that BLAS or CSR products work on
    LINES = 128       # bytes of a pair of cache lines, as processors fetch them

cdef inline Py_ssize_t in_lines(Py_ssize_t n, Py_ssize_t item) noexcept nogil:
    """Return the least number from n that fills pairs of lines."""
    return (n * item + LINES - 1) // LINES * LINES // item

cdef void *aligned(list kept, Py_ssize_t size) except NULL

cdef Py_ssize_t packed_stride(Py_ssize_t p, Py_ssize_t k, Py_ssize_t item) noexcept nogil

cdef void load_targets(Rows y, const Py_ssize_t *order, Py_ssize_t n, floating *out) noexcept nogil

cdef void batch_logits(
    Rows x, const Py_ssize_t *order, Py_ssize_t n, Py_ssize_t ahead, Py_ssize_t k, const floating *w,
    const floating *mean, floating *block, Py_ssize_t stride, const floating *packed,
    floating *logits) noexcept nogil

cdef void scatter_residuals(
    Rows x, const Py_ssize_t *order, Py_ssize_t n, Py_ssize_t k, double scale, const floating *metric,
    const floating *block, Py_ssize_t stride, floating *packed, const floating *residuals,
    floating *out) noexcept nogil
