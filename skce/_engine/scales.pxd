# How the scale of a column of CSR is learned, as its values come.

from libc.float cimport DBL_MIN
from libc.math cimport fabs, fmax, fmin, sqrt

cdef enum:
    # Times the usual size of a column: what is larger is learned as this. Times the mean squared norm of
    # rows of CSR: one that is longer counts less, by the square of that
    CUT = 2
    # A column's scale is that of its last values, a LATEST-th of all and LATEST at least; one that is cut
    # counts as LATEST. Held-out loss (best .50, of constants 1.10) 220 rows after 10 rows at 1e-10, 100 at
    # 100 and 1000 at 10 times the scale: .59, .57, .75, and 620 rows after: .51, .51, .52; with all values
    # alike 143,000, 1.08, .87 and 81,000, .60, .71. Test loss of one pass over 5,000 rows of 20news and
    # kddcup99: .673, .037; with all values alike .672, .049
    LATEST = 16


cdef inline double cut(double value, double usual) noexcept nogil:
    """Return a value of a column of this mean square, but no more than CUT times its root."""
    cdef double most = CUT * sqrt(usual)
    return value if fabs(value) <= most else (most if value > 0 else -most)


cdef inline void learn_scale(double value, double *usual, double *hits) noexcept nogil:
    """Take a value into the mean square of its column, whose numbers of values are in hits.

    One that is cut adds none: while a column is at another scale, that grows at one rate.
    """
    cdef double square = fmax(value * value, DBL_MIN)
    if usual[0] == 0:
        usual[0], hits[0] = square, 1
    elif square > CUT * CUT * usual[0]:
        usual[0] *= 1 + (CUT * CUT - 1) * LATEST / (hits[0] + LATEST)
    else:
        hits[0] += 1
        usual[0] += (square - usual[0]) * fmax(1 / hits[0], fmin(1.0 / LATEST, LATEST / hits[0]))
