"""Probabilities of rows of logits and losses of probabilities, as unchecked as blocks.pxd."""

from cython cimport floating

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
