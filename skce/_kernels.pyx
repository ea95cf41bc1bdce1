# The losses of skce, fused with their gradients.
#
# 1. A kernel works on a row block: logits in, weighted residuals out in place (see _kernels.pxd).
#    The mathematics is here; _simd.h holds vector primitives, none of which knows a whole loss.
# 2. Blocks are cut into tiles of CHUNK logits that stay in the first-level cache. Up to SMALL classes a
#    tile is copied to class-major order, where every loop runs over rows: the transposes cost .2 to
#    .5 ns a logit, short rows 3 to 6 ns. Longer rows are worked on in place.
# 3. Only differences of logits from the maximum of their row enter a softmax, in the loss taken in
#    double, so no finite logit overflows and nothing large cancels.
# 4. A factor that is exactly zero is skipped, not multiplied: 0 * inf is 0 here (zero target on a
#    logit of -inf; zero weight on any row).
# 5. Losses are sums of terms that are never negative, accumulated in double.

import os

from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from skce._simd cimport (
    SKCE_LANES, dots, exp_rows, extent as extent_of, hide, logistic, pack, prefetch, ratios, residuals, row_max, row_sums, scale_rows,
    skce_highest_level, skce_set_level, softplus_mix, tally, unpack, vlog, weigh)

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define skce_threads omp_get_max_threads
    #else
    static int skce_threads(void) { return 0; }
    #endif
    """
    int skce_threads()

cdef enum:
    CHUNK = 1024        # logits of a tile
    SMALL = 31          # classes up to which a tile is class-major
    THREADED = 1 << 16  # logits from which waking threads pays



LEVELS = ("baseline", "avx2", "avx512")


def use_level(name):
    """Use the vectors of a CPU level, the highest that this machine has for an empty name."""
    highest = skce_highest_level()
    if name and name not in LEVELS[:highest + 1]:
        raise ImportError(
            f"SKCE_CPU_LEVEL must be one of {LEVELS[:highest + 1]} on this machine, got {name!r}.")
    level = LEVELS.index(name) if name else highest
    skce_set_level(level)
    return LEVELS[level]


cpu_level = use_level(os.environ.get("SKCE_CPU_LEVEL", ""))


def max_threads():
    """Return the number of threads OpenMP allows, 0 in a build without it."""
    return skce_threads()


cdef int threads_for(int n_threads, Py_ssize_t logits, Py_ssize_t blocks) noexcept:
    """Return the threads to use; n_threads 0 means as many as OpenMP allows."""
    if logits < THREADED:
        return 1
    return max(1, min(n_threads if n_threads else skce_threads(), <int>min(blocks, 1 << 16)))


cdef inline Py_ssize_t tile_rows(Py_ssize_t k) noexcept nogil:
    if k <= SMALL:
        return CHUNK // k // SKCE_LANES * SKCE_LANES
    return max(CHUNK // k, 1)


cdef inline Py_ssize_t tile_stride(Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """Stride of a class-major tile of n rows, 0 for a row-major one."""
    return (n + SKCE_LANES - 1) // SKCE_LANES * SKCE_LANES if k <= SMALL else 0


cdef void softmax_labels(
    floating *s, const int *labels, const double *weight, double smoothing, Py_ssize_t n,
    Py_ssize_t k, double *loss,
) noexcept nogil:
    """Softmax cross-entropy of one tile with integer labels."""
    cdef:
        double total[CHUNK]
        floating top[CHUNK]
        floating scale[CHUNK]
        floating shift[CHUNK]
        floating tile[CHUNK]
        floating *x = s
        floating *shift_or_null = NULL
        floating on = <floating>(1 - smoothing), off = <floating>(smoothing / k)
        Py_ssize_t i, weightless, stride = tile_stride(n, k)
    if stride:
        x = tile
        pack(s, n, k, stride, tile)
    row_max(x, n, k, stride, top)
    if smoothing > 0:
        shift_or_null = shift
        row_sums(x, n, k, stride, top, total)
        for i in range(n):
            loss[i] = smoothing / k * total[i]
            shift[i] = <floating>weight[i] * off
            if smoothing < 1:
                loss[i] += (1 - smoothing) * (<double>s[i * k + labels[i]] - top[i])
    else:
        for i in range(n):
            loss[i] = <double>s[i * k + labels[i]] - top[i]
    exp_rows(x, n, k, stride, top, total)
    weightless = ratios(scale, n, weight, <double *>NULL, total)
    for i in range(n, stride):
        scale[i] = shift[i] = 0
    scale_rows(x, n, k, stride, scale, shift_or_null)
    if stride:
        unpack(tile, n, k, stride, s)
    for i in range(n):
        s[i * k + labels[i]] -= <floating>weight[i] * on
    vlog(total, n)
    weigh(loss, n, weight, total)
    if weightless:
        clear_weightless(s, weight, n, k, loss)


cdef void softmax_targets(
    floating *s, const floating *targets, bint divide, const double *weight, double smoothing,
    Py_ssize_t n, Py_ssize_t k, double *loss,
) noexcept nogil:
    """Softmax cross-entropy of one tile with dense targets; NaN marks a missing entry."""
    cdef:
        double total[CHUNK]
        double mass[CHUNK]
        double keep[CHUNK]      # smoothed target = keep * target + spread where observed
        double spread[CHUNK]
        floating known[CHUNK]
        floating positive[CHUNK]
        floating top[CHUNK]
        floating scale[CHUNK]
        floating tile[CHUNK]
        floating target_tile[CHUNK]
        floating *x = s
        const floating *t = targets
        Py_ssize_t i, stride = tile_stride(n, k), missing = 0, massless = 0, weightless
    if stride:
        x = tile
        t = target_tile
        pack(s, n, k, stride, tile)
        pack(targets, n, k, stride, target_tile)
    tally(t, n, k, stride, mass, known, positive)
    for i in range(n):
        keep[i] = 1.0 / positive[i] if divide and positive[i] > 0 else 1.0
        mass[i] *= keep[i]
        keep[i] *= 1 - smoothing
        spread[i] = smoothing * mass[i] / max(known[i], <floating>1)
        missing += known[i] < k
    for i in range(n, stride):
        keep[i] = spread[i] = 0
    if missing:
        hide(x, (stride if stride else n) * k, t)
    row_max(x, n, k, stride, top)
    dots(x, n, k, stride, t, top, keep, spread, loss if stride == 0 else total)
    if stride:
        memcpy(loss, total, n * sizeof(double))
    exp_rows(x, n, k, stride, top, total)
    weightless = ratios(scale, n, weight, mass, total)
    for i in range(n):
        known[i] = <floating>(weight[i] * keep[i])
        positive[i] = <floating>(weight[i] * spread[i])
    for i in range(n, stride):
        scale[i] = known[i] = positive[i] = 0
    residuals(x, n, k, stride, t, scale, known, positive)
    if stride:
        unpack(tile, n, k, stride, s)
    vlog(total, n)
    for i in range(n):
        total[i] *= mass[i]
    weigh(loss, n, weight, total)
    if weightless:
        clear_weightless(s, weight, n, k, loss)
    for i in range(n):
        massless += mass[i] == 0
    if massless:
        clear_weightless(s, mass, n, k, loss)


cdef inline void clear_weightless(
    floating *s, const double *weight, Py_ssize_t n, Py_ssize_t k, double *loss,
) noexcept nogil:
    """Make residuals and losses of rows without weight zero, whatever their logits."""
    cdef Py_ssize_t i
    for i in range(n):
        if weight[i] == 0:
            loss[i] = 0
            memset(s + i * k, 0, k * sizeof(floating))


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
        Py_ssize_t rows = tile_rows(k), block, i, m
        double total = 0
    for block in range((n + rows - 1) // rows):
        i = block * rows
        m = min(rows, n - i)
        if labels != NULL:
            softmax_labels(s + i * k, labels + i, weight + i, smoothing, m, k, loss + i)
        else:
            softmax_targets(s + i * k, targets + i * k, divide, weight + i, smoothing, m, k, loss + i)
    row_sums(loss, 1, n, 0, <double *>NULL, &total)
    return total


cdef double sigmoid_xent(
    floating *logits_nk, const int *labels_n, const floating *targets_nk, const floating *pos_weight_k,
    const double *weight_n, double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss_n,
) noexcept nogil:
    cdef:
        Py_ssize_t rows = tile_rows(k), block, piece, i, m, first
        const floating *positive = NULL
        double total = 0
    memset(loss_n, 0, n * sizeof(double))
    for block in range((n + rows - 1) // rows):
        i = block * rows
        m = min(rows, n - i)
        for piece in range((k + CHUNK - 1) // CHUNK):  # more than one only for a single row
            first = piece * CHUNK
            if pos_weight_k != NULL:
                positive = pos_weight_k + first
            sigmoid_tile(logits_nk + i * k + first, targets_nk + i * k + first, positive, weight_n + i,
                         smoothing, m, min(<Py_ssize_t>CHUNK, k - first), loss_n + i)
    row_sums(loss_n, 1, n, 0, <double *>NULL, &total)
    return total


cdef void sigmoid_tile(
    floating *s, const floating *targets, const floating *pos_weight, const double *weight,
    double smoothing, Py_ssize_t n, Py_ssize_t k, double *loss,
) noexcept nogil:
    """Add to loss the sigmoid cross-entropy of n rows by k labels, n * k <= CHUNK."""
    cdef:
        double total[CHUNK]
        floating entries[CHUNK]
        floating tile[CHUNK]
        floating factor[CHUNK]
        const floating *positive = NULL
        Py_ssize_t i, stride = tile_stride(n, k)
        bint equal
    if pos_weight != NULL:
        positive = factor
        for i in range(n):
            memcpy(factor + i * k, pos_weight, k * sizeof(floating))
    softplus_mix(s, n * k, targets, positive, 1 - smoothing, smoothing / 2, entries)
    factor[0] = <floating>weight[0]
    equal = memcmp(weight, weight + 1, (n - 1) * sizeof(double)) == 0
    if k == 1 and weight[0] > 0 and equal:
        scale_rows(s, 1, n, 0, factor, <floating *>NULL)
        for i in range(n):
            loss[i] = weight[0] * entries[i]
        return
    if stride:
        pack(entries, n, k, stride, tile)
        row_sums(tile, n, k, stride, <floating *>NULL, total)
    else:
        row_sums(entries, n, k, 0, <floating *>NULL, total)
    if weight[0] > 0 and equal:
        scale_rows(s, 1, n * k, 0, factor, <floating *>NULL)
        for i in range(n):
            loss[i] += weight[0] * total[i]
        return
    for i in range(n):
        factor[i] = <floating>weight[i]
        loss[i] += weight[i] * total[i]
    scale_rows(s, n, k, 0, factor, <floating *>NULL)
    clear_weightless(s, weight, n, k, loss)


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
    Loss loss, const floating[:, ::1] logits not None, const int[::1] labels,
    const floating[:, ::1] targets, const floating[::1] pos_weight, const double[::1] weights,
    double weight, double smoothing, floating[:, ::1] residuals, double[::1] losses, int n_threads,
):
    """Return the sum of the weighted losses; fill residuals (n, K) and losses (n,) unless None.

    labels (n,) or targets (n, K) is None, and pos_weight (K,) may be; weights None means `weight`
    for each row. residuals may be the logits. A thread takes whole tiles, whose sums are added in
    order, so the result does not depend on n_threads.
    """
    cdef:
        Py_ssize_t n = logits.shape[0], k = logits.shape[1], rows, tile, tiles, i
        int outside = 0
        const int *label = NULL
        const floating *target = NULL
        const floating *positive = NULL
        const double *row_weight
        double equal[CHUNK]
        Py_ssize_t weight_step = 0
        double *row_loss = NULL
        double *sums
        floating *out = NULL
        floating *scratch = NULL
        double total = 0
    if loss < 0 or loss > Loss.SIGMOID or n_threads < 0:
        raise ValueError(f"loss must be a Loss and n_threads not negative, got {loss} and {n_threads}.")
    if (weights is not None and weights.shape[0] != n) or (losses is not None and losses.shape[0] != n):
        raise ValueError(f"weights and losses must have one entry for each of the {n} rows.")
    if (labels is None) == (targets is None) or (labels is not None and loss != Loss.SOFTMAX):
        raise ValueError("Either targets, or for the softmax labels, must be given.")
    if pos_weight is not None and pos_weight.shape[0] != k:
        raise ValueError(f"pos_weight must have {k} entries, got {pos_weight.shape[0]}.")
    if residuals is not None and (residuals.shape[0] != n or residuals.shape[1] != k):
        raise ValueError(
            f"residuals must have shape ({n}, {k}), got ({residuals.shape[0]}, {residuals.shape[1]}).")
    if labels is not None:
        if labels.shape[0] != n:
            raise ValueError(f"labels must have {n} entries, got {labels.shape[0]}.")
        for i in range(n):
            outside |= (labels[i] < 0) | (labels[i] >= k)
        if outside:
            raise ValueError(
                f"targets must be labels in 0..{k - 1}, got others.")
    elif targets.shape[0] != n or targets.shape[1] != k:
        raise ValueError(
            f"targets must have shape ({n}, {k}), got ({targets.shape[0]}, {targets.shape[1]}).")
    if n == 0 or k == 0:
        if losses is not None:
            losses[:] = 0
        return 0.0
    rows = tile_rows(k)
    tiles = (n + rows - 1) // rows
    n_threads = threads_for(n_threads, n * k, tiles)
    if labels is not None:
        label = &labels[0]
    else:
        target = &targets[0, 0]
    if pos_weight is not None:
        positive = &pos_weight[0]
    if weights is not None:
        row_weight = &weights[0]
        weight_step = 1
    else:
        row_weight = equal
        for i in range(CHUNK):
            equal[i] = weight
    if losses is not None:
        row_loss = &losses[0]
    sums = <double *>malloc(tiles * sizeof(double))
    if residuals is not None:
        out = &residuals[0, 0]
    else:
        scratch = <floating *>malloc(n_threads * rows * k * sizeof(floating))
    if sums == NULL or (residuals is None and scratch == NULL):
        free(sums)
        free(scratch)
        raise MemoryError()
    for tile in prange(tiles, nogil=True, num_threads=n_threads, schedule="static"):
        sums[tile] = one_tile(loss, tile * rows, min(rows, n - tile * rows), k, &logits[0, 0], label,
                              target, positive, row_weight + tile * rows * weight_step, smoothing, out,
                              scratch + threadid() * rows * k, row_loss)
    for tile in range(tiles):
        total += sums[tile]
    free(sums)
    free(scratch)
    return total


cdef double one_tile(
    Loss loss, Py_ssize_t first, Py_ssize_t n, Py_ssize_t k, const floating *logits, const int *labels,
    const floating *targets, const floating *pos_weight, const double *weights, double smoothing,
    floating *residuals, floating *scratch, double *losses,
) noexcept nogil:
    """Kernel for the rows from first on; what may be missing is NULL."""
    cdef:
        double row_losses[CHUNK]
        floating *out = scratch
    logits += first * k
    if residuals != NULL:
        out = residuals + first * k
    prefetch(logits + n * k, n * k)
    if out != logits:
        memcpy(out, logits, n * k * sizeof(floating))
        prefetch(out + n * k, n * k)
    if targets != NULL:
        prefetch(targets + first * k + n * k, n * k)
    if labels != NULL:
        labels += first
    else:
        targets += first * k
    if losses != NULL:
        losses += first
    else:
        losses = row_losses
    return xent(loss, out, labels, targets, pos_weight, weights, smoothing, n, k, losses)


def extent(const floating[::1] values not None):
    """Return the smallest and largest of 0 and the values, NaN apart."""
    cdef double low = 0, high = 0
    if values.shape[0]:
        extent_of(&values[0], values.shape[0], &low, &high)
    return low, high


def softmax_inplace(floating[:, ::1] logits not None, int n_threads):
    """Replace each row of logits (n, K) by its softmax."""
    cdef Py_ssize_t n = logits.shape[0], k = logits.shape[1], rows, block, blocks
    if n == 0 or k == 0:
        return
    rows = 16 * tile_rows(k)
    blocks = (n + rows - 1) // rows
    n_threads = threads_for(n_threads, n * k, blocks)
    for block in prange(blocks, nogil=True, num_threads=n_threads, schedule="static"):
        softmax(&logits[block * rows, 0], min(rows, n - block * rows), k)


cdef void softmax(floating *s, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    cdef:
        double total[CHUNK]
        floating top[CHUNK]
        floating scale[CHUNK]
        floating tile[CHUNK]
        floating *x
        Py_ssize_t rows = tile_rows(k), block, first, i, m, stride
    for block in range((n + rows - 1) // rows):
        first = block * rows
        m = min(rows, n - first)
        stride = tile_stride(m, k)
        x = s + first * k
        if stride:
            x = tile
            pack(s + first * k, m, k, stride, tile)
        row_max(x, m, k, stride, top)
        exp_rows(x, m, k, stride, top, total)
        for i in range(m):
            scale[i] = <floating>(1 / total[i])
        for i in range(m, stride):
            scale[i] = 0
        scale_rows(x, m, k, stride, scale, <floating *>NULL)
        if stride:
            unpack(tile, m, k, stride, s + first * k)


def sigmoid_inplace(floating[::1] logits not None, int n_threads):
    """Replace each logit by its sigmoid."""
    cdef Py_ssize_t n = logits.shape[0], rows = 16 * CHUNK, block, blocks = (n + rows - 1) // rows
    n_threads = threads_for(n_threads, n, blocks)
    for block in prange(blocks, nogil=True, num_threads=n_threads, schedule="static"):
        logistic(&logits[block * rows], min(rows, n - block * rows))
