# How far the weights of a stream of CSR are stretched, learnt from rows just before these are.
#
# Steps that are bounded and shrink leave the logits of text too small for a long while. The factor is the
# inverse temperature of Guo et al. (2017), "On calibration of modern neural networks", by Newton's method
# for its logarithm, a step a row. Steps are divided by the curvatures of all rows looked at, so that they
# shrink. The penalty is that of logits, so no constant weighs it. What it earns stands at SURE in
# _solvers/stream.py; tests/test_streams_factor.py holds it to the factor that new rows bear out.

from cython cimport floating
from libc.math cimport exp, fmax, fmin, isfinite, log

from skce._kernels.blocks cimport Loss, xent

cdef enum:
    MOST_LENGTH = 10        # squared length of a row that tells, in terms of the mean of those seen
    STEPS = 5               # of the logarithm of the factor: the longest of a row is 1 / STEPS
    PIECES = 10             # factors that are 1 + 1 / PIECES apart have slopes that tell the curvature


cdef struct Confidence:
    double factor
    double curvature
    double rows             # left to look at
    double against          # how much better the intercept alone foretold them, each by its weight at most
    double looked           # rows whose losses the curvature holds


cdef inline void learn(
    Confidence *sure, Loss loss, const floating *logits, const floating *intercept, const int *label,
    const floating *targets, const floating *pos_weight, const floating *entry_weight, double weight,
    double smoothing, double penalty, Py_ssize_t k, floating *scratch,
) noexcept nogil:
    """Take the step that a row tells of, whose logits (k,) are those of the weights without the factor.

    Beside its loss there is penalty / 2 times the square of the logarithm: where the penalty is strong,
    it is the penalty, and not bounded steps, that makes logits small, and the factor stays near 1. Rows
    before have it as it is now: it was larger by far if columns had a smaller scale.
    """
    cdef:
        double apart = 1 + 1.0 / PIECES, most = 1.0 / STEPS, loss_now, loss_alone, unused
        double slope = stretched_slope(sure.factor, loss, logits, intercept, label, targets, pos_weight,
                                       entry_weight, weight, smoothing, k, scratch, &loss_now)
        double further = stretched_slope(apart * sure.factor, loss, logits, intercept, label, targets,
                                         pos_weight, entry_weight, weight, smoothing, k, scratch, &unused)
    stretched_slope(0, loss, logits, intercept, label, targets, pos_weight, entry_weight, weight, smoothing,
                    k, scratch, &loss_alone)
    sure.against += fmax(fmin(loss_now - loss_alone, weight), -weight)
    sure.rows -= 1
    if not (isfinite(slope) and isfinite(further)):
        return
    penalty = fmin(penalty, 1e100)
    sure.curvature += fmax(further - slope, 0) / log(apart)
    sure.looked += 1
    slope = (slope + penalty * log(sure.factor)) / (sure.curvature + sure.looked * penalty)
    sure.factor *= exp(fmax(fmin(-slope, most), -most))


cdef inline double stretched_slope(
    double factor, Loss loss, const floating *logits, const floating *intercept, const int *label,
    const floating *targets, const floating *pos_weight, const floating *entry_weight, double weight,
    double smoothing, Py_ssize_t k, floating *scratch, double *value,
) noexcept nogil:
    """Return the derivative of a row's loss in the logarithm of the factor; set its value."""
    cdef:
        Py_ssize_t c
        double total = 0
    for c in range(k):
        scratch[c] = intercept[c] + <floating>factor * (logits[c] - intercept[c])
    value[0] = xent(loss, scratch, scratch, label, targets, pos_weight, entry_weight, &weight, smoothing, 1,
                    k, NULL)
    for c in range(k):
        total += scratch[c] * <double>(logits[c] - intercept[c])
    return factor * total
