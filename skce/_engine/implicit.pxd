# Implicit steps: how far its own loss lets the logits of a row, or of rows that are alike, move.

from cython cimport floating
from libc.math cimport exp, fabs, fmax, fmin, log


cdef inline Py_ssize_t largest(const floating *r, Py_ssize_t k) noexcept nogil:
    """Return the place of the largest |r|."""
    cdef Py_ssize_t c, best = 0
    for c in range(1, k):
        if fabs(r[c]) > fabs(r[best]):
            best = c
    return best


cdef inline double implicit(double residual, double pull) noexcept nogil:
    """Return the factor of an implicit step of the logistic loss, whose explicit one moves the logit
    by pull times the residual (below 1): the residual after the step over that before.
    """
    cdef:
        double odds, low = 0, high = pull * residual, middle
        int _halving
    if not pull > 0:  # a row without entries where there is no intercept
        return 1
    if not 0 < residual < 1:  # by positive weights or several labels: no such loss
        return 1 / (1 + pull / 4)
    odds = (1 - residual) / residual
    high = fmin(high, fmax(1, log(pull / odds)))
    for _halving in range(10):  # to 0.1 %
        middle = 0.5 * (low + high)
        if middle * (1 + odds * exp(middle)) < pull:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high) / (pull * residual)


cdef inline double length_squared(const floating *x, Py_ssize_t n) noexcept nogil:
    """Return the sum of the squares of x (n,)."""
    cdef:
        double total = 0
        Py_ssize_t i
    for i in range(n):
        total += <double>x[i] * x[i]
    return total


cdef inline double squares_of(
    const floating *residuals, const double *weight_n, Py_ssize_t n, Py_ssize_t k,
) noexcept nogil:
    """Return the sum of the squares of residuals (n, k), over the weights of their rows."""
    cdef:
        double total = 0
        Py_ssize_t i
    for i in range(n):
        if weight_n[i] > 0:
            total += length_squared(residuals + i * k, k) / weight_n[i]
    return total


cdef inline double bounded(
    const floating *g, const floating *sums, const floating *metric, Py_ssize_t p, Py_ssize_t k,
    double length, double squares,
) noexcept nogil:
    """Return the factor of a step of a dense batch that rows which are alike allow it.

    Along its gradient the curvature is at least that squared over the squares of the residuals; length is
    that of the step times the curvature of a row's loss.
    """
    cdef:
        double total = metric[p] * length_squared(sums, k)
        Py_ssize_t j
    for j in range(p):
        total += metric[j] * length_squared(g + j * k, k)
    total *= length
    return squares / total if total > squares else 1
