from skce._kernels.blocks cimport Loss

cdef struct Rows:
    # A dense or CSR matrix of floats or doubles.
    bint sparse
    Py_ssize_t columns
    const void *values      # of a dense matrix row after row
    const void *indices
    const long long *indptr
    int wide                # indices are 64 bits wide

cdef class Matrix:
    cdef:
        Rows rows
        readonly object dtype
        readonly tuple shape
        readonly bint sparse
        readonly Py_ssize_t nnz
        object buffers

cdef const void *address(array) except? NULL

cdef class EpochData:
    cdef:
        readonly Matrix X
        readonly Matrix Y
        readonly bint soft      # targets in Y, not in labels
        Loss loss
        const int[::1] labels
        readonly object pos_weight
        const double[::1] weights
        readonly object entry_weight
        const void *of_entries  # or NULL
        double smoothing
        readonly Py_ssize_t n_outputs
