from skce._engine.products cimport Matrix
from skce._kernels.blocks cimport Loss

cdef class Problem:
    cdef:
        readonly Matrix X
        readonly Matrix Y
        readonly bint soft      # targets in Y, not in labels
        Loss loss
        const int[::1] labels
        readonly object pos_weight
        const double[::1] weights
        double smoothing
        readonly Py_ssize_t n_outputs
