# The losses of skce, fused with their gradients.
#
# 1. A kernel works on a row block: logits in, weighted residuals out in place (see _kernels.pxd).
#    The mathematics is here; _simd.h holds vector primitives, none of which knows a loss.
# 2. Blocks are cut into pieces of CHUNK logits that stay in the first-level cache, and exp runs over
#    a whole piece: short rows (k = 2, 3, 10) vectorise as well as long ones.
# 3. Only differences of logits from the maximum of their row enter a softmax, in the loss taken in
#    double, so no finite logit overflows and nothing large cancels.
# 4. A factor that is exactly zero is skipped, not multiplied: 0 * inf is 0 here (zero target on a
#    logit of -inf; zero weight on any row).
# 5. Losses are sums of terms that are never negative, accumulated in double.

from cython cimport floating
from cython.parallel cimport prange
from libc.math cimport INFINITY

from skce._simd cimport exp_log1p, exp_rows, row_max, skce_vlog_f64, sum_from

cdef enum:
    CHUNK = 512         # logits of a piece
    THREADED = 1 << 16  # logits from which waking threads pays


cdef inline Py_ssize_t rows_per_chunk(Py_ssize_t k) noexcept nogil:
    return max(CHUNK // k, 1)


cdef void softmax_labels(
    floating *s, const int *labels, const double *weight, double smoothing, Py_ssize_t n,
    Py_ssize_t k, double *loss,
) noexcept nogil:
    """Softmax cross-entropy of at most CHUNK rows with integer labels."""
    cdef:
        double total[CHUNK]
        floating top[CHUNK]
        floating *row
        floating scale, off = <floating>(smoothing / k), on = <floating>(1 - smoothing), off_w
        Py_ssize_t i, c
    row_max(n, k, s, top)
    for i in range(n):
        row = s + i * k
        loss[i] = 0
        if smoothing < 1:
            loss[i] -= (1 - smoothing) * (<double>row[labels[i]] - top[i])
        if smoothing > 0:
            loss[i] -= smoothing / k * sum_from(k, row, top[i])
    exp_rows(n, k, s, top, total)
    for i in range(n):
        row = s + i * k
        scale = <floating>(weight[i] / total[i])
        if weight[i] == 0:
            for c in range(k):
                row[c] = 0
            total[i] = 1
            loss[i] = 0
            continue
        off_w = <floating>weight[i] * off
        for c in range(k):
            row[c] = row[c] * scale - off_w
        row[labels[i]] -= <floating>weight[i] * on
    skce_vlog_f64(n, total)
    for i in range(n):
        loss[i] = weight[i] * (total[i] + loss[i])


cdef void softmax_targets(
    floating *s, const floating *targets, bint divide, const double *weight, double smoothing,
    Py_ssize_t n, Py_ssize_t k, double *loss,
) noexcept nogil:
    """Softmax cross-entropy of at most CHUNK rows with dense targets; NaN marks a missing entry."""
    cdef:
        double total[CHUNK]
        double keep[CHUNK]      # smoothed target = keep * target + spread where observed
        double spread[CHUNK]
        double mass[CHUNK]
        floating top[CHUNK]
        double dot, smoothed
        floating *row
        const floating *t
        floating scale, w_keep, w_spread
        Py_ssize_t i, c, observed, positive
    for i in range(n):
        row = s + i * k
        t = targets + i * k
        mass[i] = 0
        observed = 0
        positive = 0
        for c in range(k):
            if t[c] == t[c]:
                mass[i] += t[c]
                observed += 1
                positive += t[c] != 0
            else:
                row[c] = -INFINITY
        keep[i] = 1.0 / positive if divide and positive else 1.0
        mass[i] *= keep[i]
        keep[i] *= 1 - smoothing
        spread[i] = smoothing * mass[i] / max(observed, 1)
    row_max(n, k, s, top)
    for i in range(n):
        row = s + i * k
        t = targets + i * k
        dot = 0
        for c in range(k):
            smoothed = keep[i] * t[c] + spread[i]
            if smoothed > 0:  # neither zero nor missing
                dot += smoothed * (<double>row[c] - top[i])
        loss[i] = -dot
    exp_rows(n, k, s, top, total)
    for i in range(n):
        row = s + i * k
        t = targets + i * k
        if weight[i] == 0 or mass[i] == 0:
            for c in range(k):
                row[c] = 0
            total[i] = 1
            loss[i] = 0
            continue
        scale = <floating>(weight[i] * mass[i] / total[i])
        w_keep = <floating>(weight[i] * keep[i])
        w_spread = <floating>(weight[i] * spread[i])
        for c in range(k):
            row[c] = row[c] * scale - (w_keep * t[c] + w_spread) if t[c] == t[c] else 0
    skce_vlog_f64(n, total)
    for i in range(n):
        loss[i] = weight[i] * (mass[i] * total[i] + loss[i])


cdef double softmax_xent(
    floating *logits_nk, const int *labels_n, const floating *targets_nk, const floating *pos_weight_k,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n,
) noexcept nogil:
    return softmax_blocks(logits_nk, labels_n, targets_nk, False, weight_n, smoothing, n, k, loss_n)


cdef double multilabel_softmax_xent(
    floating *logits_nk, const int *labels_n, const floating *targets_nk, const floating *pos_weight_k,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n,
) noexcept nogil:
    return softmax_blocks(logits_nk, NULL, targets_nk, True, weight_n, smoothing, n, k, loss_n)


cdef double softmax_blocks(
    floating *s, const int *labels, const floating *targets, bint divide, const double *weight,
    double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss,
) noexcept nogil:
    cdef:
        Py_ssize_t rows = rows_per_chunk(k), block, i, m
        double total = 0
    for block in range((n + rows - 1) // rows):
        i = block * rows
        m = min(rows, n - i)
        if labels != NULL:
            softmax_labels(s + i * k, labels + i, weight + i, smoothing, m, k, loss + i)
        else:
            softmax_targets(s + i * k, targets + i * k, divide, weight + i, smoothing, m, k, loss + i)
    for i in range(n):
        total += loss[i]
    return total


cdef double sigmoid_xent(
    floating *logits_nk, const int *labels_n, const floating *targets_nk, const floating *pos_weight_k,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n,
) noexcept nogil:
    cdef:
        Py_ssize_t rows = rows_per_chunk(k), width = min(k, CHUNK)
        Py_ssize_t pieces = (k + CHUNK - 1) // CHUNK
        Py_ssize_t block, piece, i, m, first
        double total = 0
    for i in range(n):
        loss_n[i] = 0
    for block in range((n + rows - 1) // rows):
        i = block * rows
        m = min(rows, n - i)
        for piece in range(pieces):  # more than one only for a single row
            first = piece * CHUNK
            sigmoid_piece(logits_nk + i * k + first, targets_nk + i * k + first,
                          NULL if pos_weight_k == NULL else pos_weight_k + first, weight_n + i,
                          smoothing, m, min(width, k - first), loss_n + i)
    for i in range(n):
        total += loss_n[i]
    return total


cdef void sigmoid_piece(
    floating *s, const floating *targets, const floating *pos_weight, const double *weight,
    double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss,
) noexcept nogil:
    """Add to loss the sigmoid cross-entropy of n rows by k labels, n * k <= CHUNK."""
    cdef:
        floating e[CHUNK]       # exp(-|s|)
        floating l[CHUNK]       # log1p(e): softplus(s) = max(s, 0) + l
        floating keep = <floating>(1 - smoothing), spread = <floating>(smoothing / 2)
        floating t, neg, pos, high, low, w
        Py_ssize_t i, c, j
    exp_log1p(n * k, s, e, l)
    for i in range(n):
        w = <floating>weight[i]
        if w == 0:
            for c in range(k):
                s[i * k + c] = 0
            continue
        for c in range(k):
            j = i * k + c
            t = keep * targets[j] + spread
            neg = 1 - t
            pos = t if pos_weight == NULL else t * pos_weight[c]
            high = s[j] if s[j] > 0 else 0      # max(s, 0)
            low = high - s[j]                   # max(-s, 0)
            l[j] = neg * (high + l[j]) + (pos * (low + l[j]) if pos != 0 else 0)
            s[j] = w * (neg * (1 if s[j] >= 0 else e[j]) - pos * (e[j] if s[j] >= 0 else 1)) / (1 + e[j])
            if t != t:
                l[j] = 0
                s[j] = 0
        loss[i] += weight[i] * sum_from(k, l + i * k, 0)


cdef double xent(
    Loss loss, floating *logits_nk, const int *labels_n, const floating *targets_nk,
    const floating *pos_weight_k, const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k,
    double *loss_n,
) noexcept nogil:
    if loss == Loss.SOFTMAX:
        return softmax_xent(logits_nk, labels_n, targets_nk, pos_weight_k, weight_n, smoothing, n, k, loss_n)
    if loss == Loss.MULTILABEL_SOFTMAX:
        return multilabel_softmax_xent(
            logits_nk, labels_n, targets_nk, pos_weight_k, weight_n, smoothing, n, k, loss_n)
    return sigmoid_xent(logits_nk, labels_n, targets_nk, pos_weight_k, weight_n, smoothing, n, k, loss_n)


def loss_and_residuals(
    Loss loss, floating[:, ::1] logits not None, const int[::1] labels, const floating[:, ::1] targets,
    const floating[::1] pos_weight, const double[::1] weights not None, double smoothing,
    double[::1] losses not None, int n_threads,
):
    """Replace logits (n, K) by the weighted residuals and fill losses (n,) with the weighted losses.

    labels (n,) or targets (n, K) is None, and pos_weight (K,) may be. Rows are split in fixed
    blocks, so the result does not depend on n_threads.
    """
    cdef:
        Py_ssize_t n = logits.shape[0], k = logits.shape[1], i
        Py_ssize_t rows, block, blocks
        const int *label = NULL
        const floating *target = NULL
        const floating *positive = NULL
    if loss < 0 or loss > Loss.SIGMOID or n_threads < 0:
        raise ValueError(f"loss must be a Loss and n_threads not negative, got {loss} and {n_threads}.")
    if weights.shape[0] != n or losses.shape[0] != n:
        raise ValueError(f"weights and losses must have one entry for each of the {n} rows.")
    if (labels is None) == (targets is None) or (labels is not None and loss != Loss.SOFTMAX):
        raise ValueError("Either targets, or for the softmax labels, must be given.")
    if pos_weight is not None and pos_weight.shape[0] != k:
        raise ValueError(f"pos_weight must have {k} entries, got {pos_weight.shape[0]}.")
    if labels is not None:
        if labels.shape[0] != n:
            raise ValueError(f"labels must have {n} entries, got {labels.shape[0]}.")
        for i in range(n):
            if labels[i] < 0 or labels[i] >= k:
                raise ValueError(f"targets must be labels in 0..{k - 1}, got {labels[i]}.")
    elif targets.shape[0] != n or targets.shape[1] != k:
        raise ValueError(
            f"targets must have shape ({n}, {k}), got ({targets.shape[0]}, {targets.shape[1]}).")
    if n == 0 or k == 0:
        losses[:] = 0
        return
    if labels is not None:
        label = &labels[0]
    else:
        target = &targets[0, 0]
    if pos_weight is not None:
        positive = &pos_weight[0]
    rows = 16 * rows_per_chunk(k)
    blocks = (n + rows - 1) // rows
    n_threads = 1 if n * k < THREADED else min(n_threads, blocks)
    for block in prange(blocks, nogil=True, num_threads=n_threads, schedule="static"):
        xent(loss, &logits[block * rows, 0], NULL if label == NULL else label + block * rows,
             NULL if target == NULL else target + block * rows * k, positive,
             &weights[block * rows], smoothing, min(rows, n - block * rows), k, &losses[block * rows])


def softmax_inplace(floating[:, ::1] logits not None):
    """Replace each row of logits (n, K) by its softmax."""
    cdef:
        double total[CHUNK]
        floating top[CHUNK]
        Py_ssize_t n = logits.shape[0], k = logits.shape[1], rows, block, i, m, c
        floating *s
        floating scale
    if n == 0 or k == 0:
        return
    with nogil:
        rows = rows_per_chunk(k)
        for block in range((n + rows - 1) // rows):
            m = min(rows, n - block * rows)
            s = &logits[block * rows, 0]
            row_max(m, k, s, top)
            exp_rows(m, k, s, top, total)
            for i in range(m):
                scale = <floating>(1 / total[i])
                for c in range(k):
                    s[i * k + c] *= scale


def sigmoid_inplace(floating[::1] logits not None):
    """Replace each logit by its sigmoid."""
    cdef:
        floating e[CHUNK]
        floating l[CHUNK]
        Py_ssize_t n = logits.shape[0], block, m, i
        floating *s
    if n == 0:
        return
    with nogil:
        for block in range((n + CHUNK - 1) // CHUNK):
            m = min(<Py_ssize_t>CHUNK, n - block * CHUNK)
            s = &logits[block * CHUNK]
            exp_log1p(m, s, e, l)
            for i in range(m):
                s[i] = (1 if s[i] >= 0 else e[i]) / (1 + e[i])
