# What the machine offers: the CPU level of the vector primitives, and threads.

import os

from skce._kernels.simd cimport skce_highest_level

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define skce_threads omp_get_max_threads
    #define skce_allow_threads omp_set_num_threads
    #else
    static int skce_threads(void) { return 0; }
    static void skce_allow_threads(int n) { (void)n; }
    #endif
    """
    int skce_threads()
    void skce_allow_threads(int n)

LEVELS = ("baseline", "avx2", "avx512")


def number_of(level):
    """Return the number of a CPU level, the highest of this machine for an empty name."""
    highest = skce_highest_level()
    levels = LEVELS[:highest + 1]
    if level and level not in levels:
        raise ImportError(
            f"The environment variable SKCE_CPU_LEVEL must be one of {', '.join(levels)} on this machine, "
            f"got {level!r}.")
    return levels.index(level) if level else highest


level_number = number_of(os.environ.get("SKCE_CPU_LEVEL", ""))
level = LEVELS[level_number]


def max_threads():
    """Return the number of threads OpenMP allows, 0 in a build without it."""
    return skce_threads()


def allow_threads(int n):
    """Let OpenMP take at most n threads where the calling thread asks it."""
    skce_allow_threads(n)


cdef int threads_for(int n_threads, double work, double enough, Py_ssize_t blocks) noexcept:
    """Return the threads to use: 1 for less work than enough; n_threads 0 is what OpenMP allows."""
    if work < enough:
        return 1
    return max(1, min(n_threads if n_threads else skce_threads(), <int>min(blocks, 1 << 16)))
