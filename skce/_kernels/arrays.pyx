# The kernels over whole arrays, for Python: checks, tiles, threads.
#
# A thread takes whole tiles, whose number depends on the shape only, so no result depends on the
# number of threads or on who takes which; the one that has a core to itself takes more.

from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.float cimport DBL_MAX, FLT_MAX
from libc.math cimport NAN
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

import numpy as np

from skce._kernels import cpu

from skce._kernels.blocks cimport Loss, xent, xent_alone
from skce._kernels.cpu cimport threads_for
from skce._kernels.proba cimport log_softmax_into as log_softmax, proba_xent, softmax_into as softmax
from skce._kernels.simd cimport (
    extent as extent_of, log_logistic_to, logistic_to, minus_log, outside, row_sums, skce_set_level)
from skce._kernels.tiles cimport CHUNK, tile_rows

skce_set_level(cpu.level_number)

cdef enum:
    THREADED = 1 << 16  # logits from which waking threads pays
    APART = 32          # entries between what two threads write: a pair of cache lines
    LABELLED = 8        # logits that take as long as the probability of a label


def loss_and_residuals(
    Loss loss, const floating[:, ::1] logits not None, const int[::1] labels,
    const floating[:, ::1] targets, double upper, const floating[::1] pos_weight,
    const floating[:, ::1] entry_weight, const double[::1] weights, double weight, double smoothing,
    floating[:, ::1] residuals, double[::1] losses, int n_threads,
):
    """Return the sum of the weighted losses; fill residuals (n, K) and losses (n,) unless None.

    labels (n,) or targets (n, K) is None, and pos_weight (K,) and entry_weight (n, K), of a sigmoid,
    may be; weights None means `weight` for each row. residuals may be the logits. A thread takes whole
    tiles, whose sums are added in order, so the result does not depend on n_threads. A tile is checked
    before the kernel runs on it:
    ValueError for labels outside 0..K-1 or targets outside [0, upper]; residuals and losses may have
    been filled in part by then, but for residuals that are the logits of targets.
    """
    cdef:
        Py_ssize_t n = logits.shape[0], k = logits.shape[1], rows, room, tile, tiles, i
        const int *label = NULL
        const floating *target = NULL
        const floating *positive = NULL
        const floating *of_entries = NULL
        const double *row_weight
        double equal[CHUNK]
        Py_ssize_t weight_step = 0
        double *row_loss = NULL
        double[:, ::1] sums  # of the losses, and the extent of the labels or targets
        floating *out = NULL
        floating *scratch = NULL
        double total = 0, low = 0, high = 0
    if loss < 0 or loss > Loss.SIGMOID or n_threads < 0:
        raise ValueError(f"loss must be a Loss and n_threads not negative, got {loss} and {n_threads}.")
    if (weights is not None and weights.shape[0] != n) or (losses is not None and losses.shape[0] != n):
        raise ValueError(f"weights and losses must have one entry for each of the {n} rows.")
    if (labels is None) == (targets is None) or (labels is not None and loss != Loss.SOFTMAX):
        raise ValueError("Either targets, or for the softmax labels, must be given.")
    if pos_weight is not None and pos_weight.shape[0] != k:
        raise ValueError(f"pos_weight must have {k} entries, got {pos_weight.shape[0]}.")
    if entry_weight is not None and (entry_weight.shape[0] != n or entry_weight.shape[1] != k):
        raise ValueError(f"entry_weight must have shape ({n}, {k}), got another.")
    if residuals is not None and (residuals.shape[0] != n or residuals.shape[1] != k):
        raise ValueError(
            f"residuals must have shape ({n}, {k}), got ({residuals.shape[0]}, {residuals.shape[1]}).")
    if labels is not None and labels.shape[0] != n:
        raise ValueError(f"labels must have {n} entries, got {labels.shape[0]}.")
    if targets is not None and (targets.shape[0] != n or targets.shape[1] != k):
        raise ValueError(
            f"targets must have shape ({n}, {k}), got ({targets.shape[0]}, {targets.shape[1]}).")
    if n == 0 or k == 0:
        if losses is not None:
            losses[:] = 0
        return 0.0
    rows = tile_rows(k)
    room = rows * k + APART
    tiles = (n + rows - 1) // rows
    n_threads = threads_for(n_threads, <double>n * k, THREADED, tiles)
    if labels is not None:
        label = &labels[0]
    else:
        target = &targets[0, 0]
    if pos_weight is not None:
        positive = &pos_weight[0]
    if entry_weight is not None:
        of_entries = &entry_weight[0, 0]
    if weights is not None:
        row_weight = &weights[0]
        weight_step = 1
    else:
        row_weight = equal
        for i in range(CHUNK):
            equal[i] = weight
    if losses is not None:
        row_loss = &losses[0]
    sums = np.empty((tiles, 3))
    if residuals is not None:
        out = &residuals[0, 0]
        if out == &logits[0, 0] and targets is not None:
            low, high = extent(np.asarray(targets).reshape(-1), n_threads)
            check_extent("targets", low, high, upper)
            check_mass("targets", np.asarray(targets), high)
            low = high = 0
    else:
        scratch = <floating *>malloc(n_threads * room * sizeof(floating))
        if scratch == NULL:
            raise MemoryError()
    for tile in prange(tiles, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=16):
        one_tile(loss, tile * rows, min(rows, n - tile * rows), k, &logits[0, 0], label,
                 target, upper, positive, of_entries, row_weight + tile * rows * weight_step, smoothing, out,
                 scratch + threadid() * room, row_loss, &sums[tile, 0])
    free(scratch)
    for tile in range(tiles):
        total += sums[tile, 0]
        low = min(low, sums[tile, 1])
        high = max(high, sums[tile, 2])
    if labels is None:
        check_extent("targets", low, high, upper)
        check_mass("targets", np.asarray(targets), high)
    elif low < 0 or high >= k:
        raise ValueError(f"targets must be labels in 0..{k - 1}, got {low:.0f} to {high:.0f}.")
    return total


cdef void one_tile(
    Loss loss, Py_ssize_t first, Py_ssize_t n, Py_ssize_t k, const floating *logits, const int *labels,
    const floating *targets, double upper, const floating *pos_weight, const floating *entry_weight,
    const double *weights, double smoothing, floating *residuals, floating *scratch, double *losses,
    double *sums,
) noexcept nogil:
    """sums <- the loss of the rows from first on and the extent of what they are told; NULL is None."""
    cdef:
        floating *out = scratch
        Py_ssize_t i
        bint fits
    logits += first * k
    if residuals != NULL:
        out = residuals + first * k
    sums[0] = sums[1] = sums[2] = 0
    if labels != NULL:
        labels += first
        for i in range(n):
            sums[1] = min(sums[1], <double>labels[i])
            sums[2] = max(sums[2], <double>labels[i])
        fits = sums[1] >= 0 and sums[2] < k
    else:
        targets += first * k
        extent_of(targets, n * k, sums + 1, sums + 2)
        fits = sums[1] >= 0 and sums[2] <= upper
    if losses != NULL:
        losses += first
    if entry_weight != NULL:
        entry_weight += first * k
    if fits and residuals != NULL:
        sums[0] = xent(
            loss, logits, out, labels, targets, pos_weight, entry_weight, weights, smoothing, n, k, losses)
    elif fits:
        sums[0] = xent_alone(
            loss, logits, out, labels, targets, pos_weight, entry_weight, weights, smoothing, n, k, losses)


def extent(const floating[::1] values not None, int n_threads):
    """Return the smallest and largest of 0 and the values, NaN apart."""
    cdef:
        Py_ssize_t n = values.shape[0], size = 16 * CHUNK, block, blocks = (n + size - 1) // size
        double[:, ::1] found = np.zeros((blocks + 1, 2))
    n_threads = threads_for(n_threads, n, THREADED, blocks)
    for block in prange(blocks, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=4):
        extent_of(&values[block * size], min(size, n - block * size), &found[block, 0], &found[block, 1])
    return np.min(found[:, 0]), np.max(found[:, 1])


def check_extent(str name, double low, double high, double upper):
    """Raise unless low..high is within [0, upper]; any finite number is, where upper is the largest."""
    if low < 0 or high > upper:
        bounds = "[0, 1]" if upper == 1 else "[0, inf)"
        raise ValueError(f"{name} must lie in {bounds}, got values from {low} to {high}.")


def check_mass(str name, targets, double high):
    """Raise where a row of targets (n, K), the largest of which is high, has no finite sum in their dtype."""
    limit = np.finfo(targets.dtype).max
    if targets.shape[targets.ndim - 1] * (high / limit) < 1:
        return
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.nansum(targets, axis=targets.ndim - 1))
    if not finite.all():
        raise ValueError(f"{name} must have finite row sums, got an overflow in row {finite.argmin()}.")


def narrow(const long long[::1] labels not None, int[::1] out not None, Py_ssize_t k, int n_threads):
    """Copy labels to out; return whether all lie in 0..k-1."""
    cdef:
        Py_ssize_t n = labels.shape[0], i, wrong = 0
    if out.shape[0] != n:
        raise ValueError(f"out must have {n} entries, got {out.shape[0]}.")
    n_threads = threads_for(n_threads, n, THREADED, n)
    for i in prange(n, nogil=True, num_threads=n_threads, schedule="static"):
        wrong += (labels[i] < 0) | (labels[i] >= k)
        out[i] = <int>labels[i]
    return wrong == 0


def softmax_into(
    const floating[:, ::1] logits not None, floating[:, ::1] out not None, bint logarithm, int n_threads,
):
    """Fill out (n, K) with the softmax of each row of logits, or its logarithm.

    out may be the logits of a softmax; else they do not overlap.
    """
    cdef Py_ssize_t n = logits.shape[0], k = logits.shape[1], rows, block, blocks, m
    if out.shape[0] != n or out.shape[1] != k:
        raise ValueError(f"out must have shape ({n}, {k}), got ({out.shape[0]}, {out.shape[1]}).")
    if n == 0 or k == 0:
        return
    rows = tile_rows(k)
    rows *= 16 if n * k >= THREADED else 1
    blocks = (n + rows - 1) // rows
    n_threads = threads_for(n_threads, <double>n * k, THREADED, blocks)
    for block in prange(blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
        m = min(rows, n - block * rows)
        if logarithm:
            log_softmax(&logits[block * rows, 0], &out[block * rows, 0], m, k)
        else:
            softmax(&logits[block * rows, 0], &out[block * rows, 0], m, k)


def sigmoid_into(
    const floating[::1] logits not None, floating[::1] out not None, bint logarithm, int n_threads,
):
    """Fill out with the sigmoid of each logit, or its logarithm; out may be logits."""
    cdef Py_ssize_t n = logits.shape[0], size = 16 * CHUNK, block, blocks = (n + size - 1) // size, m
    if out.shape[0] != n:
        raise ValueError(f"out must have {n} entries, got {out.shape[0]}.")
    n_threads = threads_for(n_threads, n, THREADED, blocks)
    for block in prange(blocks, nogil=True, num_threads=n_threads, schedule="dynamic"):
        m = min(size, n - block * size)
        if logarithm:
            log_logistic_to(&logits[block * size], m, &out[block * size])
        else:
            logistic_to(&logits[block * size], m, &out[block * size])


def proba_losses(
    bint binary, const floating[:, ::1] proba not None, const long long[::1] labels,
    const floating[:, ::1] targets, double upper, const double[::1] weights, double[::1] losses,
    int n_threads,
):
    """Return the sum of the weighted cross-entropies of rows of probabilities; fill losses unless None.

    labels (n,) or targets (n, K), in [0, upper], are None; weights may be. NaN where a label, a target, a
    row's sum of targets or a probability that counts is not what it must be, or a target is missing that
    is not binary.
    """
    cdef:
        Py_ssize_t n = proba.shape[0], k = proba.shape[1], rows, tile, tiles, i
        const long long *label = NULL
        const floating *target = NULL
        const double *weight = NULL
        double *row_loss = NULL
        double[::1] sums
        double total = 0
    if (labels is None) == (targets is None):
        raise ValueError("Either labels or targets must be given.")
    if targets is not None and (targets.shape[0] != n or targets.shape[1] != k):
        raise ValueError(f"targets must have shape ({n}, {k}).")
    if (labels is not None and labels.shape[0] != n) or (weights is not None and weights.shape[0] != n) or (
            losses is not None and losses.shape[0] != n):
        raise ValueError(f"labels, weights and losses must have {n} entries.")
    if n == 0 or k == 0:
        if losses is not None:
            losses[:] = 0
        return NAN if n and labels is not None else 0.0
    if labels is not None:
        label = &labels[0]
        rows = CHUNK
    else:
        target = &targets[0, 0]
        rows = tile_rows(k)
    if weights is not None:
        weight = &weights[0]
    if losses is not None:
        row_loss = &losses[0]
    tiles = (n + rows - 1) // rows
    n_threads = threads_for(n_threads, <double>n * (k if labels is None else LABELLED), THREADED, tiles)
    sums = np.empty(tiles)
    for tile in prange(tiles, nogil=True, num_threads=n_threads, schedule="dynamic", chunksize=4):
        sums[tile] = proba_tile(
            binary, &proba[0, 0], label, target, upper, weight, tile * rows, min(rows, n - tile * rows), k,
            row_loss)
    for i in range(tiles):
        total += sums[i]
    return total


cdef double proba_tile(
    bint binary, const floating *proba, const long long *labels, const floating *targets, double upper,
    const double *weights, Py_ssize_t first, Py_ssize_t n, Py_ssize_t k, double *losses,
) noexcept nogil:
    """Do proba_losses for the n rows from first on; NULL is None."""
    cdef:
        double row_loss[CHUNK]
        floating picked[CHUNK]
        double total, low = 0, high = 0
        Py_ssize_t i
        bint wrong = False
    proba += first * k
    if labels != NULL:
        labels += first
        for i in range(n):
            wrong |= <unsigned long long>labels[i] >= <unsigned long long>k
        if wrong:
            return NAN
        for i in range(n):
            picked[i] = proba[i * k + labels[i]]
        if outside(<const floating *>picked, n):
            return NAN
        minus_log(<floating *>picked, n)
        for i in range(n):
            row_loss[i] = picked[i]
    else:
        targets += first * k
        extent_of(targets, n * k, &low, &high)
        if low < 0 or high > upper or outside(proba, n * k):
            return NAN
        if high * k > largest(proba) and not sums_fit(targets, n, k):
            return NAN
        proba_xent(binary, proba, targets, n, k, row_loss)
    row_sums(<const double *>row_loss, 1, n, 0, <const double *>NULL, &total)
    if weights != NULL and total == total:
        for i in range(n):
            row_loss[i] = weights[first + i] * row_loss[i] if weights[first + i] > 0 else 0
        row_sums(<const double *>row_loss, 1, n, 0, <const double *>NULL, &total)
    if losses != NULL:
        memcpy(losses + first, row_loss, n * sizeof(double))
    return total


cdef inline double largest(const floating *values) noexcept nogil:
    return FLT_MAX if floating is float else DBL_MAX


cdef bint sums_fit(const floating *targets, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """Return whether the sums of the rows of targets, NaN apart, are finite in their type."""
    cdef:
        Py_ssize_t i, c
        double total
    for i in range(n):
        total = 0
        for c in range(k):
            if targets[i * k + c] > 0:
                total += targets[i * k + c]
        if total > largest(targets):
            return False
    return True
