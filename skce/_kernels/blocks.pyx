# The losses of skce, fused with their gradients.
#
# 1. A kernel works on a row block: logits in, weighted residuals out in place (see blocks.pxd).
#    The mathematics is here; skce_simd.h holds vector primitives, none of which knows a whole loss.
# 2. Blocks are cut into tiles of CHUNK logits that stay in the first-level cache. Up to SMALL classes a
#    tile is copied to class-major order, where every loop runs over rows: the transposes cost .1 ns
#    a logit, short rows 3 to 6 ns. Longer rows are worked on in place.
# 3. Only differences of logits from the maximum of their row enter a softmax, in the loss taken in
#    double, so large logits do not overflow and nothing large cancels (differences above the largest
#    number do overflow).
# 4. A factor that is exactly zero is skipped, not multiplied: 0 * inf is 0 here (zero target on a
#    logit of -inf; zero weight on any row).
# 5. Losses are sums of terms that are never negative, accumulated in double; the logarithm of a sum of
#    exponentials is that of 1 + what the others than the largest add (1e-20 at 46 above them).
# 6. One logit of +inf in a row is certain, as 0 is among logits of -inf, which take its place.

from cython cimport floating
from libc.math cimport INFINITY, NAN
from libc.string cimport memcmp, memcpy, memset

from skce._kernels import cpu

from skce._kernels.simd cimport (
    certain, dots, exp_rows, log_sums, mask_missing, pack, residuals, row_max, row_sums, scale_rows,
    skce_set_level, softmax_scales, softplus_mix, target_sums, unpack, weighted_losses)
from skce._kernels.tiles cimport CHUNK, tile_rows, tile_stride

skce_set_level(cpu.level_number)


cdef floating *settled(
    const floating *source, floating *x, Py_ssize_t n, Py_ssize_t k, Py_ssize_t stride, floating *top,
) noexcept nogil:
    """Return x, the tile of source, which it may be, in which one +inf in a row is 0 and all else -inf.

    Several, which leave no limit, are NaN, and NaN stays.
    """
    cdef:
        Py_ssize_t i, c, several, row_step = k, class_step = 1
        floating *row
    if stride:
        row_step, class_step = 1, stride
    if x != source:
        memcpy(x, source, n * k * sizeof(floating))
    for i in range(n):
        if top[i] != <floating>INFINITY:
            continue
        row = x + i * row_step
        several = 0
        for c in range(k):
            several += row[c * class_step] == top[i]
        for c in range(k):
            if row[c * class_step] == top[i]:
                row[c * class_step] = <floating>(0 if several == 1 else NAN)
            elif row[c * class_step] == row[c * class_step]:
                row[c * class_step] = <floating>-INFINITY
        top[i] = 0
    return x


cdef void softmax_labels(
    bint alone, const floating *logits, floating *s, const int *labels, const double *weight,
    double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss,
) noexcept nogil:
    """Softmax cross-entropy of one tile with integer labels; s is only scratch for the loss alone."""
    cdef:
        double total[CHUNK]
        double rest[CHUNK]
        floating top[CHUNK]
        floating scale[CHUNK]
        floating shift[CHUNK]
        floating tile[CHUNK]
        floating *x = s
        const floating *source = logits
        const floating *at = logits
        floating *shift_or_null = NULL
        floating on = <floating>(1 - smoothing), off = <floating>(smoothing / k)
        Py_ssize_t i, stride = tile_stride(n, k), row_step = k, class_step = 1
    if stride:
        source = x = tile
        pack(logits, n, k, stride, tile)
    row_max(source, n, k, stride, top)
    if certain(top, n):
        source = at = settled(source, x, n, k, stride, top)
        if stride:
            row_step, class_step = 1, stride
    if smoothing > 0:
        shift_or_null = shift
        row_sums(source, n, k, stride, top, total)
        for i in range(n):
            loss[i] = smoothing / k * total[i]
            shift[i] = <floating>weight[i] * off
            if smoothing < 1:
                loss[i] += (1 - smoothing) * (
                    <double>at[i * row_step + labels[i] * class_step] - top[i])
    else:
        for i in range(n):
            loss[i] = <double>at[i * row_step + labels[i] * class_step] - top[i]
    exp_rows(source, x, n, k, stride, top, total, rest)
    if not alone:
        softmax_scales(scale, n, weight, <double *>NULL, total)
        for i in range(n, stride):
            scale[i] = shift[i] = 0
        scale_rows(x, n, k, stride, scale, shift_or_null)
        if stride:
            unpack(tile, n, k, stride, s)
        for i in range(n):
            s[i * k + labels[i]] -= <floating>weight[i] * on
    log_sums(total, n, rest)
    weighted_losses(loss, n, weight, total)


cdef void softmax_targets(
    bint alone, const floating *logits, floating *s, const floating *targets, bint divide,
    const double *weight, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss,
) noexcept nogil:
    """The same with dense targets; NaN marks a missing entry."""
    cdef:
        double total[CHUNK]
        double rest[CHUNK]
        double mass[CHUNK]
        double keep[CHUNK]      # smoothed target = keep * target + spread where observed
        double spread[CHUNK]
        double dot[CHUNK]
        floating kept[CHUNK]    # weight * keep, weight * spread
        floating spread_out[CHUNK]
        floating top[CHUNK]
        floating scale[CHUNK]
        floating tile[CHUNK]
        floating target_tile[CHUNK]
        floating *x = s
        const floating *source = logits
        const floating *t = targets
        bint missing
        Py_ssize_t i, c, observed, stride = tile_stride(n, k)
    if stride:
        source = x = tile
        t = target_tile
        pack(logits, n, k, stride, tile)
        pack(targets, n, k, stride, target_tile)
    row_max(source, n, k, stride, top)
    target_sums(source, n, k, stride, t, top, divide, False, mass, keep, dot)
    row_sums(mass, 1, n, 0, <double *>NULL, total)
    missing = total[0] != total[0]
    if missing or certain(top, n):
        if x != source:
            memcpy(x, source, n * k * sizeof(floating))
        mask_missing(x, (stride if stride else n) * k, t)
        row_max(x, n, k, stride, top)
        source = settled(x, x, n, k, stride, top)
        target_sums(source, n, k, stride, t, top, divide, True, mass, keep, dot)
    for i in range(n):
        kept[i] = <floating>(weight[i] * keep[i])
    memset(spread_out, 0, n * sizeof(floating))
    if smoothing > 0:
        for i in range(n):
            observed = k
            if missing:
                for c in range(k):
                    observed -= targets[i * k + c] != targets[i * k + c]
            keep[i] *= 1 - smoothing
            kept[i] *= <floating>(1 - smoothing)
            spread[i] = smoothing * mass[i] / max(observed, 1)
            spread_out[i] = <floating>(weight[i] * spread[i])
        for i in range(n, stride):
            keep[i] = spread[i] = 0
        dots(source, n, k, stride, t, top, keep, spread, dot)
    memcpy(loss, dot, n * sizeof(double))
    exp_rows(source, x, n, k, stride, top, total, rest)
    if not alone:
        softmax_scales(scale, n, weight, mass, total)
        for i in range(n, stride):
            scale[i] = kept[i] = spread_out[i] = 0
        residuals(x, n, k, stride, t, scale, kept, spread_out)
        if stride:
            unpack(tile, n, k, stride, s)
    log_sums(total, n, rest)
    for i in range(n):
        total[i] *= mass[i]
    weighted_losses(loss, n, weight, total)


cdef double sum_losses(
    floating *s, const floating *targets, const double *weight, Py_ssize_t n, Py_ssize_t k, double *loss,
) noexcept nogil:
    """Return the sum of the losses, once rows without a weight or a target are zero whatever their logits.

    Anything but NaN and infinity is zero there already. targets may be NULL: each row has one.
    """
    cdef:
        double total
        Py_ssize_t i, c
        bint counts
    row_sums(loss, 1, n, 0, <double *>NULL, &total)
    if total == total:
        return total
    for i in range(n):
        if loss[i] == loss[i]:
            continue
        counts = targets == NULL
        if targets != NULL:
            for c in range(k):
                counts |= targets[i * k + c] > 0
        if not (counts and weight[i] > 0):
            loss[i] = 0
            memset(s + i * k, 0, k * sizeof(floating))
    row_sums(loss, 1, n, 0, <double *>NULL, &total)
    return total


cdef double softmax_blocks(
    bint alone, const floating *logits, floating *s, const int *labels, const floating *targets,
    bint divide, const double *weight, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss,
) noexcept nogil:
    cdef:
        double losses[CHUNK]
        double *row_loss = losses
        const floating *here = NULL
        Py_ssize_t rows = tile_rows(k), block, i, m
        double total = 0
    for block in range((n + rows - 1) // rows):
        i = block * rows
        m = min(rows, n - i)
        if loss != NULL:
            row_loss = loss + i
        if labels != NULL:
            softmax_labels(
                alone, logits + i * k, s + i * k, labels + i, weight + i, smoothing, m, k, row_loss)
        else:
            here = targets + i * k
            softmax_targets(
                alone, logits + i * k, s + i * k, here, divide, weight + i, smoothing, m, k, row_loss)
        total += sum_losses(s + i * k, here, weight + i, m, k, row_loss)
    return total


cdef double sigmoid_blocks(
    bint alone, const floating *logits, floating *s, const floating *targets, const floating *pos_weight,
    const floating *entry_weight, const double *weight, double smoothing, Py_ssize_t n, Py_ssize_t k,
    double *loss, floating *curvature,
) noexcept nogil:
    cdef:
        Py_ssize_t rows = tile_rows(k), block, piece, i, m, first
        const floating *positive = NULL
        const floating *of_entries = NULL
        floating *bends = NULL
        double total = 0
    if loss != NULL:
        memset(loss, 0, n * sizeof(double))
    for block in range((n + rows - 1) // rows):
        i = block * rows
        m = min(rows, n - i)
        for piece in range((k + CHUNK - 1) // CHUNK):  # more than one only for a single row
            first = piece * CHUNK
            if pos_weight != NULL:
                positive = pos_weight + first
            if entry_weight != NULL:
                of_entries = entry_weight + i * k + first
            if curvature != NULL:
                bends = curvature + i * k + first
            total += sigmoid_tile(
                alone, logits + i * k + first, s + i * k + first, targets + i * k + first, positive,
                of_entries, weight + i, smoothing, m, min(<Py_ssize_t>CHUNK, k - first),
                NULL if loss == NULL else loss + i, bends)
    return total


cdef inline void weigh(floating *x, const floating *weight, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        x[i] = weight[i] * x[i] if weight[i] > 0 else 0


cdef double sigmoid_tile(
    bint alone, const floating *logits, floating *s, const floating *targets, const floating *pos_weight,
    const floating *entry_weight, const double *weight, double smoothing, Py_ssize_t n, Py_ssize_t k,
    double *loss, floating *curvature,
) noexcept nogil:
    """Return the sigmoid cross-entropy of n rows by k labels, n * k <= CHUNK; add it to loss unless NULL."""
    cdef:
        double total[CHUNK]
        floating entries[CHUNK]
        floating tile[CHUNK]
        floating factor[CHUNK]
        const floating *positive = NULL
        Py_ssize_t i, stride = tile_stride(n, k)
        double all_rows
        bint equal = weight[0] > 0 and memcmp(weight, weight + 1, (n - 1) * sizeof(double)) == 0
    if pos_weight != NULL:
        positive = factor
        for i in range(n):
            memcpy(factor + i * k, pos_weight, k * sizeof(floating))
    softplus_mix(logits, <floating *>NULL if alone else s, curvature, n * k, targets, positive,
                 1 - smoothing, smoothing / 2, weight[0] if equal else 1.0, entries)
    if entry_weight != NULL:
        weigh(entries, entry_weight, n * k)
        if not alone:
            weigh(s, entry_weight, n * k)
        if curvature != NULL:
            weigh(curvature, entry_weight, n * k)
    if loss == NULL and equal:
        row_sums(entries, 1, n * k, 0, <floating *>NULL, total)
        return weight[0] * total[0]
    if stride:
        pack(entries, n, k, stride, tile)
        row_sums(tile, n, k, stride, <floating *>NULL, total)
    else:
        row_sums(entries, n, k, 0, <floating *>NULL, total)
    if not (equal or alone):
        for i in range(n):
            factor[i] = <floating>weight[i]
        scale_rows(s, n, k, 0, factor, <floating *>NULL)
        if curvature != NULL:
            scale_rows(curvature, n, k, 0, factor, <floating *>NULL)
    for i in range(n):
        total[i] *= weight[i]
    all_rows = sum_losses(s, <floating *>NULL, weight, n, k, total)
    if loss != NULL:
        for i in range(n):
            loss[i] += total[i]
    return all_rows


cdef double xent(
    Loss loss, const floating *logits_nk, floating *residuals_nk, const int *labels_n,
    const floating *targets_nk, const floating *pos_weight_k, const floating *entry_weight_nk,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n,
) noexcept nogil:
    return of_loss(loss, False, logits_nk, residuals_nk, labels_n, targets_nk, pos_weight_k,
                   entry_weight_nk, weight_n, smoothing, n, k, loss_n, <floating *>NULL)


cdef double xent_curvature(
    Loss loss, const floating *logits_nk, floating *residuals_nk, const int *labels_n,
    const floating *targets_nk, const floating *pos_weight_k, const floating *entry_weight_nk,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n,
    floating *curvature_nk,
) noexcept nogil:
    return of_loss(loss, False, logits_nk, residuals_nk, labels_n, targets_nk, pos_weight_k,
                   entry_weight_nk, weight_n, smoothing, n, k, loss_n, curvature_nk)


cdef double xent_alone(
    Loss loss, const floating *logits_nk, floating *scratch_nk, const int *labels_n,
    const floating *targets_nk, const floating *pos_weight_k, const floating *entry_weight_nk,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n,
) noexcept nogil:
    return of_loss(loss, True, logits_nk, scratch_nk, labels_n, targets_nk, pos_weight_k,
                   entry_weight_nk, weight_n, smoothing, n, k, loss_n, <floating *>NULL)


cdef inline double of_loss(
    Loss loss, bint alone, const floating *logits, floating *s, const int *labels, const floating *targets,
    const floating *pos_weight, const floating *entry_weight, const double *weight, double smoothing,
    Py_ssize_t n, Py_ssize_t k, double *losses, floating *curvature,
) noexcept nogil:
    if loss == Loss.SOFTMAX:
        return softmax_blocks(alone, logits, s, labels, targets, False, weight, smoothing, n, k, losses)
    if loss == Loss.MULTILABEL_SOFTMAX:
        return softmax_blocks(alone, logits, s, NULL, targets, True, weight, smoothing, n, k, losses)
    return sigmoid_blocks(
        alone, logits, s, targets, pos_weight, entry_weight, weight, smoothing, n, k, losses, curvature)
