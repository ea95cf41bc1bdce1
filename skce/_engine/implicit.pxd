# Implicit steps: how far a row's own loss lets its logits move.

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
