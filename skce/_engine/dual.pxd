"""The certificate of a dual point, of blocks of rows, in double.

A table of probabilities pi (or those of the logits) is mapped to pi' = scale * pi + shift * (mass given
up), whose sums are those of the targets tau, as the intercept asks. It gives the sum of the rows'
Fenchel-Young losses (the loss at the logits, less <pi', logits>, plus the negentropy of pi') and, of
the residuals weight * (pi' - tau), V' = sum weight * (pi' - tau) x. Logarithms are taken of 1 / x >= 1,
or of 1 + exp(-|s|).
"""

from cython cimport floating
from libc.float cimport DBL_MIN
from libc.math cimport INFINITY, fabs, log, log1p
from libc.string cimport memset

from skce._kernels.simd cimport exp_rows, row_sums, vlog

cdef enum:
    DUAL_TERMS = 256  # entries of rows that are worked on together; one row each: magic, a pass 2.5
    DUAL_SPACE = 8    # numbers of scratch for each


cdef inline void dual_rows(
    bint sigmoid, Py_ssize_t n, Py_ssize_t k, floating *s, const floating *t, const floating *positive,
    const floating *of_entries, const floating *table, const double *weights, double smoothing,
    const double *scale, const double *shift, double *space, double *values,
) noexcept nogil:
    """values += weighted Fenchel-Young loss and loss of n rows with logits s (n, k); s <- residuals.

    t are the targets, NaN for a missing entry; positive, of_entries and table may be NULL.
    """
    cdef Py_ssize_t rows = max(<Py_ssize_t>1, DUAL_TERMS // k), m
    while n > 0:
        m = min(rows, n)
        if sigmoid:
            sigmoid_tile(m, k, s, t, positive, of_entries, table, weights, smoothing, scale, shift, space,
                         values)
        else:
            softmax_tile(m, k, s, t, table, weights, smoothing, scale, shift, space, values)
        s, t, weights, n = s + m * k, t + m * k, weights + m, n - m
        if of_entries != NULL:
            of_entries += m * k
        if table != NULL:
            table += m * k


cdef inline void sigmoid_tile(
    Py_ssize_t n, Py_ssize_t k, floating *s, const floating *t, const floating *positive,
    const floating *of_entries, const floating *table, const double *weights, double smoothing,
    const double *scale, const double *shift, double *space, double *values,
) noexcept nogil:
    cdef:
        Py_ssize_t size = n * k, i, c, e
        double *pi = space
        double *one = space + size
        double *two = one + size
        double *three = two + size
        double none = 0, total = 0, rest = 0, young, loss, tau, mass
    for e in range(size):
        one[e] = -fabs(s[e])
    exp_rows(one, one, 1, size, 0, &none, &total, &rest)
    for i in range(n):
        for c in range(k):
            e = i * k + c
            tau = (1 if s[e] > 0 else one[e]) / (1 + one[e]) if table == NULL else table[e]
            pi[e] = min(max(scale[c] * tau + shift[c], 0.0), 1.0)
            one[e] += 1
            two[e] = 1 / max(pi[e], DBL_MIN)
            three[e] = 1 / max(1 - pi[e], DBL_MIN)
    vlog(one, 3 * size)
    for i in range(n):
        for c in range(k):
            e = i * k + c
            tau = (1 - smoothing) * t[e] + smoothing / 2
            mass = 1 - tau  # of the entry
            if positive != NULL:
                tau *= positive[c]
            mass += tau
            if of_entries != NULL:
                tau *= of_entries[e]
                mass *= of_entries[e]
            loss = one[e] + max(<double>s[e], 0.0)
            young = loss - pi[e] * (s[e] + two[e]) - (1 - pi[e]) * three[e]
            one[e] = mass * young if mass > 0 else 0  # it is NaN of a missing one
            two[e] = mass * loss - tau * s[e] if mass > 0 else 0
            s[e] = <floating>(weights[i] * (mass * pi[e] - tau)) if mass > 0 else 0
    add_rows(n, k, s, weights, one, two, three, values)


cdef inline void softmax_tile(
    Py_ssize_t n, Py_ssize_t k, floating *s, const floating *t, const floating *table,
    const double *weights, double smoothing, const double *scale, const double *shift, double *space,
    double *values,
) noexcept nogil:
    """The same; rows with a missing entry keep pi."""
    cdef:
        Py_ssize_t size = n * k, i, c, e
        double *pi = space
        double *one = space + size
        double *two = one + size
        double *top = two + size
        double *total = top + n
        double *rest = total + n
        double *known = rest + n
        double mass, given, above, tau, off, w
    for i in range(n):
        above, mass = -INFINITY, 0
        for e in range(i * k, (i + 1) * k):
            one[e] = s[e] if t[e] == t[e] else -INFINITY
            above = max(above, one[e])
            mass += t[e] == t[e]
        top[i], known[i] = above, mass
    exp_rows(one, pi, n, k, 0, top, total, rest)
    for i in range(n):
        mass, given = total[i], 0
        # the logarithm of the sum, above the maximum, so that small losses keep
        total[i] = log(mass) if mass >= 2 else log1p(rest[i])
        if table != NULL:
            mass = 0
            for e in range(i * k, (i + 1) * k):
                pi[e] = table[e] if t[e] == t[e] else 0
                mass += pi[e]
        for c in range(k):
            pi[i * k + c] /= mass
            given += (1 - scale[c]) * pi[i * k + c]
        for c in range(k):
            e = i * k + c
            if known[i] == k:
                pi[e] = scale[c] * pi[e] + shift[c] * given
            one[e] = 1 / max(pi[e], DBL_MIN)
    vlog(one, size)
    for i in range(n):
        given, mass, w = total[i], top[i], weights[i]
        off = smoothing / known[i]
        for e in range(i * k, (i + 1) * k):
            tau = (1 - smoothing) * t[e] + off
            above = given + (mass - s[e])
            one[e] = pi[e] * (above - one[e]) if pi[e] > 0 else 0
            two[e] = tau * above if tau > 0 else 0
            s[e] = <floating>(w * (pi[e] - tau)) if t[e] == t[e] else 0
    add_rows(n, k, s, weights, one, two, top, values)


cdef inline void add_rows(
    Py_ssize_t n, Py_ssize_t k, floating *s, const double *weights, const double *young,
    const double *loss, double *space, double *values,
) noexcept nogil:
    """values += the weighted sums of young and loss (n, k); rows of s without weight <- 0."""
    cdef:
        Py_ssize_t i
        double young_sum = 0, loss_sum = 0
    if k > 1:
        row_sums(young, n, k, 0, <double *>NULL, space)
        row_sums(loss, n, k, 0, <double *>NULL, space + n)
        young, loss = space, space + n
    for i in range(n):
        if weights[i] == 0:
            memset(s + i * k, 0, k * sizeof(floating))
        else:
            young_sum += weights[i] * young[i]
            loss_sum += weights[i] * loss[i]
    values[0] += young_sum
    values[1] += loss_sum
