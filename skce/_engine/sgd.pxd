# The parts of a step of stochastic gradient descent, which `sgd_run` puts together.
#
# A batch is rows of X, `batch`. Of CSR it touches the columns `met`, whose places there are in `slots`;
# gradient and factors then have a row for each of them, else one for each column of X. Arrays of a Run
# are of the type floating of the other arguments.

from cython cimport floating
from libc.math cimport exp, fabs, fmax, fmin, log, sqrt

from skce._engine.implicit cimport implicit, largest
from skce._engine.products cimport Rows
from skce._engine.scales cimport CUT, cut, learn_scale
from skce._kernels.simd cimport (
    adagrad, adam, axpy, blend, gradient, momentum, prefetch, respond, shrink, square, watch)

cpdef enum Rule:
    SGD = 0
    MOMENTUM = 1
    ADAGRAD = 2
    ADAM = 3

cdef enum:
    # AdaGrad's steps in a column are 1 + EAGER / sqrt(non-zeros so far) times as long. Progressive loss of
    # 20news and clinc150 with 0: .631, 1.094; with 1: .602, .993; with 2: .587, .949. Of 68 random
    # streams the worst is above the loss of the class frequencies by .02, .05 and .07
    EAGER = 2

cpdef enum:
    # How far logarithms of squares are around the typical one, squared, where columns begin to keep
    # their own scale. With each column at its own, 20news loses .05 of progressive and .03 of test loss
    SPREAD = 16


cdef struct Run:            # what stays the same, as sgd_run has it
    Rows x
    Py_ssize_t k
    Rule rule
    bint rooted             # steps are divided by the roots of h, the last state
    bint looking
    bint penalised
    double l2, l1, momentum_rate, curvature
    double divisor          # of the lengths of proximal steps
    double beta1, beta2, tiny
    double weighing         # the largest weight of an entry: squares grow by it beside the curvature
    double slow             # of AdaGrad: the share of h in a step's divisor, beside its root
    void *w
    void *average           # or NULL
    void *state
    void *h                 # or NULL
    const void *metric
    double *clock
    double *stamps          # of CSR
    int *slots              # of CSR
    double *usual           # the mean squares of columns whose scale is learned, or NULL
    double *hits            # the numbers of their non-zeros
    double typical          # mean of the logarithms of their mean squares, over the non-zeros
    const void *limit
    const void *direction
    double *seen
    void *response


cdef inline Py_ssize_t index(const Run *run, long long j) noexcept nogil:
    """Return the column of non-zero j of CSR."""
    if run.x.wide:
        return (<const long long *>run.x.indices)[j]
    return (<const int *>run.x.indices)[j]


cdef inline double scale_square(const Run *run, double usual) noexcept nogil:
    """Return the square by which a column is scaled: near the typical one that, far off its own."""
    cdef double away = log(usual) - run.typical
    return exp(run.typical + away * away * away / (away * away + SPREAD))


cdef inline double learned(const Run *run, long long j, double value) noexcept nogil:
    """Return the value of non-zero j as it is learned."""
    return value if run.usual == NULL else cut(value, run.usual[index(run, j)])


cdef inline double time_share(double before, double after) noexcept nogil:
    """Return the share of the time from before to after in an average weighted by time**2."""
    cdef double ratio = before / after if after > 0 else 1
    return 1 - ratio * ratio * ratio


cdef inline void fetch(
    const Run *run, const Py_ssize_t *batch, Py_ssize_t n, const floating *w,
) noexcept nogil:
    """Ask for the weights and states of the columns of rows to come."""
    cdef:
        const floating *h = <const floating *>run.h
        Py_ssize_t i
        long long j
    for i in range(n):
        for j in range(run.x.indptr[batch[i]], run.x.indptr[batch[i] + 1]):
            prefetch(w + index(run, j) * run.k, run.k)
            if h != NULL:
                prefetch(h + index(run, j) * run.k, run.k)


cdef inline Py_ssize_t meet(
    Run *run, const Py_ssize_t *batch, Py_ssize_t n, const double *weight_n, Py_ssize_t *met,
    floating *factors,
) noexcept nogil:
    """Find the columns of a batch of CSR, learn their scales; return their number."""
    cdef:
        const floating *values = <const floating *>run.x.values
        const floating *metric = <const floating *>run.metric
        Py_ssize_t i, s, column, touched = 0
        long long j
        floating *w = <floating *>run.w
        double value, before
    for i in range(n):
        for j in range(run.x.indptr[batch[i]], run.x.indptr[batch[i] + 1]):
            column = index(run, j)
            if run.slots[column] < 0:
                run.slots[column] = <int>touched
                met[touched] = column
                touched += 1
            if run.usual != NULL and weight_n[i] > 0 and values[j] != 0:
                before = run.usual[column]
                learn_scale(values[j], &run.usual[column], &run.hits[column])
                run.clock[3] += log(run.usual[column])
                run.clock[4] += 1
                if run.rooted and before > 0 and run.usual[column] != before:  # the same in scaled columns
                    value = sqrt(scale_square(run, before) / scale_square(run, run.usual[column]))
                    for s in range(run.k):
                        w[column * run.k + s] *= <floating>value
    if run.usual != NULL:
        run.typical = run.clock[3] / (run.clock[4] or 1)
    for s in range(touched):
        column = met[s]
        factors[s] = metric[column]
        if run.usual != NULL and run.usual[column] > 0:
            value = 1 / scale_square(run, run.usual[column])
            factors[s] = <floating>(sqrt(value) if run.rooted else value)
    return touched


cdef inline void make_good(
    const Run *run, const Py_ssize_t *met, Py_ssize_t touched, const floating *factors, double root,
    double before, double after,
) noexcept nogil:
    """Give columns the penalty and the average that they have missed, up to the time before the batch."""
    cdef:
        floating *w = <floating *>run.w
        floating *h = <floating *>run.h
        floating *mean_w = <floating *>run.average
        Py_ssize_t s, k = run.k, column
        double length
        double *stamp
    for s in range(touched):
        column = met[s]
        stamp = run.stamps + 2 * column
        length = (run.clock[0] - stamp[0]) / run.divisor
        if run.penalised and length > 0:
            shrink(w + column * k, 1, k, length, run.l2, run.l1, &factors[s],
                   NULL if h == NULL else h + column * k, root, run.slow, run.tiny)
        stamp[0] = run.clock[0]
        if mean_w != NULL:
            blend(mean_w + column * k, k, time_share(stamp[1], before), w + column * k)
            stamp[1] = after


cdef inline double rate(Run *run, double step) noexcept nogil:
    """Return a step size, by the norms of rows of CSR so far if scales are learned; set `slow`.

    AdaGrad's steps are 1 / (sqrt(h) / first + h): in the end they are Newton's, as h, the sum of squares,
    tells the curvature too (Mukkamala and Hein, 2017, "Variants of RMSProp and Adagrad with logarithmic
    regret bounds"), so rows count by their share in all that were seen.
    """
    if run.usual != NULL and run.rooted and run.clock[1] > 0:
        step /= sqrt(run.clock[1] / run.clock[2])
    run.slow = 0
    if run.rule == Rule.ADAGRAD and run.curvature > 0:
        run.slow = step / run.weighing
    return step


cdef inline double denominator(const Run *run, double h) noexcept nogil:
    """Return what AdaGrad's steps are divided by."""
    return sqrt(h) + run.slow * h + run.tiny


cdef inline void pulls(const Run *run, floating *factors) noexcept nogil:
    """Set what AdaGrad makes of a dense column's square: metric by mean divisor of the outputs."""
    cdef:
        const floating *h = <const floating *>run.h
        const floating *metric = <const floating *>run.metric
        Py_ssize_t c, k = run.k, column
        double value
    for column in range(run.x.columns + 1):
        value = 0
        for c in range(k):
            value += denominator(run, h[column * k + c])
        factors[column] = <floating>(metric[column] * metric[column] * k / value)


cdef inline void watch_rows(
    const Run *run, const Py_ssize_t *batch, Py_ssize_t n, const double *weight_n,
    const floating *factors, const floating *block, Py_ssize_t stride, double *norms,
) noexcept nogil:
    """Set the squared norms of rows, and add up what is watched."""
    cdef:
        const floating *metric = <const floating *>run.metric
        const floating *direction = <const floating *>run.direction
        floating *response = <floating *>run.response
        Py_ssize_t i, p = run.x.columns
        double held
    for i in range(n):
        if run.x.sparse:
            norms[i] = norm_sparse(run, batch[i], factors, True)
            run.clock[1] += weight_n[i] * norms[i]
            run.clock[2] += weight_n[i]
        elif run.curvature > 0 or run.looking:
            norms[i] = metric[p] + square(block + i * stride, p, &metric[0])
        if run.looking:
            held = weight_n[i] * fmin(1, CUT * CUT * (p + 1) / norms[i])
            if run.x.sparse:
                run.seen[4 * p + 3] += held * respond_sparse(
                    run, batch[i], held, direction, factors, response)
            else:
                run.seen[4 * p + 3] += held * respond(
                    block + i * stride, p, direction, direction[p], held, response)
    if run.looking and not run.x.sparse:
        watch(block, n, p, stride, weight_n, <const floating *>run.limit, run.seen, run.seen + (p + 1),
              run.seen + 2 * (p + 1))


cdef inline double penalty_of_logits(const Run *run, double time) noexcept nogil:
    """Return the penalty's curvature in the logit of a row of the mean norm, summed over the rows."""
    if not run.clock[1] > 0:
        return 0
    return (run.l2 + run.l1) * time * run.clock[2] / (exp(run.typical) * run.clock[1])


cdef inline double norm_sparse(
    const Run *run, Py_ssize_t row, const floating *factors, bint bounded,
) noexcept nogil:
    """Return the squared norm of a row of CSR in the metric, or in the scales learned so far.

    Entries are as they are learned, or as they are.
    """
    cdef:
        const floating *values = <const floating *>run.x.values
        double value, factor, norm = (<const floating *>run.metric)[run.x.columns]
        long long j
    for j in range(run.x.indptr[row], run.x.indptr[row + 1]):
        value = learned(run, j, values[j]) if bounded else values[j]
        factor = factors[run.slots[index(run, j)]]
        if run.usual != NULL and run.rooted:
            factor *= factor
        norm += value * value * factor
    return norm


cdef inline double respond_sparse(
    const Run *run, Py_ssize_t row, double weight, const floating *direction, const floating *factors,
    floating *response,
) noexcept nogil:
    """response += weight (z . direction) z of a row of CSR, z being scaled; returns the bracket."""
    cdef:
        const floating *values = <const floating *>run.x.values
        double total = direction[run.x.columns]
        long long j
        Py_ssize_t column
    for j in range(run.x.indptr[row], run.x.indptr[row + 1]):
        column = index(run, j)
        total += learned(run, j, values[j]) * sqrt(factors[run.slots[column]]) * direction[column]
    for j in range(run.x.indptr[row], run.x.indptr[row + 1]):
        column = index(run, j)
        response[column] += <floating>(
            weight * total * learned(run, j, values[j]) * sqrt(factors[run.slots[column]]))
    return total


cdef inline void hold(
    const Run *run, const Py_ssize_t *batch, Py_ssize_t n, const double *weight_n, double length,
    const floating *factors, const floating *block, Py_ssize_t stride, const double *norms,
    floating *residuals,
) noexcept nogil:
    """Damp the residuals of rows to implicit steps of this length.

    Of CSR whose scale is learned, rows longer than CUT times the mean squared norm are learned less.
    """
    cdef:
        bint measured = run.usual != NULL and run.rooted and run.clock[1] > 0
        Py_ssize_t i, c, k = run.k
        double pull, factor
        floating *r
    for i in range(n):
        r = residuals + i * k
        pull = length * weight_n[i]
        factor = CUT * run.clock[1] / (run.clock[2] * norms[i]) if measured and norms[i] > 0 else 1
        if factor < 1:
            for c in range(k):
                r[c] *= <floating>(factor * factor)
        if run.rule == Rule.ADAGRAD:
            c = largest(r, k)
            if run.x.sparse:
                pull *= pull_sparse(run, batch[i], c, factors)
            else:
                pull *= factors[run.x.columns] + square(block + i * stride, run.x.columns, factors)
            factor = implicit(fabs(<double>r[c]) / (weight_n[i] or 1), pull)
        else:
            factor = 1 / (1 + run.curvature * (pull * norms[i]))
        for c in range(k):
            r[c] *= <floating>factor


cdef inline double eagerness(const Run *run, Py_ssize_t column) noexcept nogil:
    """Return how many times as long the steps in a column are that was met this often."""
    if run.usual == NULL or run.rule != Rule.ADAGRAD or run.hits[column] == 0:
        return 1
    return 1 + EAGER / sqrt(run.hits[column])


cdef inline double pull_sparse(
    const Run *run, Py_ssize_t row, Py_ssize_t output, const floating *factors,
) noexcept nogil:
    """Return how far AdaGrad's step of length 1 on a row of CSR moves its logit of an output."""
    cdef:
        const floating *values = <const floating *>run.x.values
        const floating *h = <const floating *>run.h
        const floating *metric = <const floating *>run.metric
        Py_ssize_t p = run.x.columns, column
        long long j
        double value, total = metric[p] * metric[p] / denominator(run, h[p * run.k + output])
    for j in range(run.x.indptr[row], run.x.indptr[row + 1]):
        column = index(run, j)
        value = learned(run, j, values[j]) * factors[run.slots[column]]
        value *= value * eagerness(run, column)
        total += value / denominator(run, h[column * run.k + output])
    return total


cdef inline void scatter_learned(
    const Run *run, const Py_ssize_t *batch, Py_ssize_t n, const floating *residuals, floating *g,
) noexcept nogil:
    """g += X' residuals of rows of CSR, in the columns that the batch touches."""
    cdef:
        const floating *values = <const floating *>run.x.values
        Py_ssize_t i, k = run.k
        long long j
    for i in range(n):
        for j in range(run.x.indptr[batch[i]], run.x.indptr[batch[i] + 1]):
            axpy(g + run.slots[index(run, j)] * k, k, learned(run, j, values[j]), residuals + i * k)


cdef inline void update(
    const Run *run, Py_ssize_t row, Py_ssize_t rows, double length, double root, double scale,
    const floating *factors, floating *g,
) noexcept nogil:
    """Make the step of rows of W, of which `row` is the first, by sums of gradients."""
    cdef:
        Py_ssize_t k = run.k, first = row * k, size = rows * k
        floating *w = <floating *>run.w + first
    gradient(g, rows, k, scale, factors)
    if run.rule == Rule.SGD:
        axpy(w, size, -length, g)
    elif run.rule == Rule.MOMENTUM:
        momentum(w, size, length, run.momentum_rate, g, <floating *>run.state + first)
    elif run.rule == Rule.ADAGRAD:
        adagrad(w, rows, k, length, run.slow, run.tiny, factors, g, <floating *>run.state + first)
    else:
        adam(w, rows, k, length, root, run.beta1, run.beta2, run.tiny, factors, g,
             <floating *>run.state + first, <floating *>run.h + first)


cdef inline void take_up(
    const Run *run, Py_ssize_t row, Py_ssize_t rows, double share, const floating *w,
) noexcept nogil:
    """Take rows of W, of which `row` is the first, up into the average."""
    if run.average != NULL:
        blend(<floating *>run.average + row * run.k, rows * run.k, share, w + row * run.k)
