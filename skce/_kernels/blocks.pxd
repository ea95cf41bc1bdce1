"""Fused cross-entropy kernels on row blocks, for Cython callers that hold no GIL.

Every kernel takes logits_nk, n rows by k classes, row-major, and overwrites it with the weighted
residuals weight_n[i] * d loss_i / d logits; loss_n receives the weighted loss of each row and its
sum is returned. Sums are in double. What a kernel does not use may be NULL. Nothing is checked here:
labels must lie in 0..k-1, weights must be finite and not negative. Kernels keep no state and write
to nothing but logits_nk and loss_n, so they may run in any number of threads.
"""

from cython cimport floating

cpdef enum Loss:
    SOFTMAX = 0             # labels_n, or targets_nk of any mass
    MULTILABEL_SOFTMAX = 1  # targets_nk divided by the row's number of observed non-zeros
    SIGMOID = 2             # targets_nk in [0, 1], pos_weight_k

cdef double softmax_xent(
    floating *logits_nk, const int *labels_n, const floating *targets_nk, const floating *pos_weight_k,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n) noexcept nogil

cdef double multilabel_softmax_xent(
    floating *logits_nk, const int *labels_n, const floating *targets_nk, const floating *pos_weight_k,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n) noexcept nogil

cdef double sigmoid_xent(
    floating *logits_nk, const int *labels_n, const floating *targets_nk, const floating *pos_weight_k,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n) noexcept nogil

cdef double xent(
    Loss loss, floating *logits_nk, const int *labels_n, const floating *targets_nk,
    const floating *pos_weight_k, const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k,
    double *loss_n) noexcept nogil

# xent that keeps the logits, unless residuals_nk is the same array; loss_n may be NULL. The weights of
# entries, finite and not negative, are for SIGMOID, or NULL
cdef double xent_into(
    Loss loss, const floating *logits_nk, floating *residuals_nk, const int *labels_n,
    const floating *targets_nk, const floating *pos_weight_k, const floating *entry_weight_nk,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n) noexcept nogil

# logits_nk <- the softmax of each row
cdef void softmax_rows(floating *logits_nk, Py_ssize_t n, Py_ssize_t k) noexcept nogil

# out_nk, which may be logits_nk, <- the softmax of each row
cdef void softmax_into(
    const floating *logits_nk, floating *out_nk, Py_ssize_t n, Py_ssize_t k) noexcept nogil

# out_nk, another array, <- the logarithm of the softmax of each row
cdef void log_softmax_into(
    const floating *logits_nk, floating *out_nk, Py_ssize_t n, Py_ssize_t k) noexcept nogil

# loss_n <- the cross-entropy of each row of probabilities in [0, 1], of each label's p and 1 - p if binary
cdef void proba_xent(
    bint binary, const floating *proba_nk, const floating *targets_nk, Py_ssize_t n, Py_ssize_t k,
    double *loss_n) noexcept nogil
