"""Fused cross-entropy kernels on row blocks, for Cython callers that hold no GIL.

`xent` takes logits_nk, n rows by k classes, row-major, and fills residuals_nk with the weighted
residuals weight_n[i] * d loss_i / d logits; loss_n receives the weighted loss of each row and its
sum is returned. Sums are in double. What a kernel does not use may be NULL. Nothing is checked here:
labels must lie in 0..k-1, weights must be finite and not negative. It keeps no state and writes
to nothing but residuals_nk and loss_n, so it may run in any number of threads.
"""

from cython cimport floating

cpdef enum Loss:
    SOFTMAX = 0             # labels_n, or targets_nk of any mass
    MULTILABEL_SOFTMAX = 1  # targets_nk divided by the row's number of observed non-zeros
    SIGMOID = 2             # targets_nk in [0, 1], pos_weight_k

# residuals_nk may be logits_nk, which is kept otherwise; loss_n may be NULL. The weights of entries,
# finite and not negative, are for SIGMOID, or NULL
cdef double xent(
    Loss loss, const floating *logits_nk, floating *residuals_nk, const int *labels_n,
    const floating *targets_nk, const floating *pos_weight_k, const floating *entry_weight_nk,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n) noexcept nogil

# the same for the loss alone, which needs no residuals but takes room for them
cdef double xent_alone(
    Loss loss, const floating *logits_nk, floating *scratch_nk, const int *labels_n,
    const floating *targets_nk, const floating *pos_weight_k, const floating *entry_weight_nk,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n) noexcept nogil

# For this package: the first one, which leaves in curvature_nk, NULL but for SIGMOID, the derivatives of
# the residuals
cdef double xent_curvature(
    Loss loss, const floating *logits_nk, floating *residuals_nk, const int *labels_n,
    const floating *targets_nk, const floating *pos_weight_k, const floating *entry_weight_nk,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n,
    floating *curvature_nk) noexcept nogil

# x, the tile of source, which it may be, in which one +inf in a row is 0 and all else -inf
cdef floating *settled(
    const floating *source, floating *x, Py_ssize_t n, Py_ssize_t k, Py_ssize_t stride,
    floating *top) noexcept nogil
