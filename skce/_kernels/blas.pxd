"""GEMM for row-major arrays; the only place that knows BLAS's integer."""

from cython cimport floating
from scipy.linalg.cython_blas cimport dgemm, sgemm


cdef inline void gemm(bint transpose_a, bint transpose_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                      const floating *a, const floating *b, floating *c) noexcept nogil:
    """c (m, n) += op(a) (m, k) times op(b) (k, n), all row-major; a is (k, m) when transposed, b (n, k).

    BLAS is column-major, so the transposed product is asked for, with the operands swapped.
    """
    cdef:
        int rows = <int>m, columns = <int>n, inner = <int>k
        int lda = <int>(m if transpose_a else k), ldb = <int>(k if transpose_b else n)
        char *no = 'n'
        char *yes = 't'
        char *op_a = yes if transpose_a else no
        char *op_b = yes if transpose_b else no
        floating one = 1
    if floating is float:
        sgemm(op_b, op_a, &columns, &rows, &inner, &one, <float *>b, &ldb, <float *>a, &lda,
              &one, c, &columns)
    else:
        dgemm(op_b, op_a, &columns, &rows, &inner, &one, <double *>b, &ldb, <double *>a, &lda,
              &one, c, &columns)
