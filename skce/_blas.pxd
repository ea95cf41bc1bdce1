"""GEMM for row-major arrays; the only place that knows BLAS's integer."""

from cython cimport floating
from scipy.linalg.cython_blas cimport dgemm, sgemm


cdef inline void gemm(bint transpose_a, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                      const floating *a, const floating *b, floating *c) noexcept nogil:
    """c (m, n) += op(a) (m, k) times b (k, n), all row-major; a is (k, m) when transposed.

    BLAS is column-major, so the transposed product is asked for, with the operands swapped.
    """
    cdef:
        int rows = <int>m, columns = <int>n, inner = <int>k
        int lda = <int>(m if transpose_a else k)
        char *no = 'n'
        char *op = 't' if transpose_a else 'n'
        floating one = 1
    if floating is float:
        sgemm(no, op, &columns, &rows, &inner, &one, <float *>b, &columns, <float *>a, &lda,
              &one, c, &columns)
    else:
        dgemm(no, op, &columns, &rows, &inner, &one, <double *>b, &columns, <double *>a, &lda,
              &one, c, &columns)
