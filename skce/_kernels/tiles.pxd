"""Tiles, in which a block is worked on: how many rows they have, and how they lie."""

from skce._kernels.simd cimport SKCE_LANES

cdef enum:
    CHUNK = 1024    # logits of a tile, half of it with class-major ones, which are copied
    SMALL = 31      # classes up to which a tile is class-major


cdef inline Py_ssize_t tile_rows(Py_ssize_t k) noexcept nogil:
    if k <= SMALL:
        return CHUNK // 2 // k // SKCE_LANES * SKCE_LANES
    return max(CHUNK // k, 1)


cdef inline Py_ssize_t tile_stride(Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """Stride of a class-major tile of n rows, 0 for a row-major one."""
    return (n + SKCE_LANES - 1) // SKCE_LANES * SKCE_LANES if k <= SMALL else 0
