"""BLAS for row-major arrays; the only place that knows its integer."""

from cython cimport floating
from scipy.linalg.cython_blas cimport ddot, dgemm, dgemv, sgemm


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


cdef inline void gemv(bint transpose, Py_ssize_t m, Py_ssize_t n, double alpha, const double *a,
                      const double *x, double beta, double *y) noexcept nogil:
    """y <- beta y + alpha op(a) x, where a is (m, n)."""
    cdef:
        int rows = <int>m, columns = <int>n, one = 1
        char *op = 'n' if transpose else 't'
    dgemv(op, &columns, &rows, &alpha, <double *>a, &columns, <double *>x, &one, &beta, y, &one)


cdef inline double dot(Py_ssize_t n, const double *x, const double *y) noexcept nogil:
    """Return x'y."""
    cdef int size = <int>n, one = 1
    return ddot(&size, <double *>x, &one, <double *>y, &one)
