"""Who may run on how many threads: OpenMP's, BLAS's, and those of Python."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from threading import Lock

import numpy as np
from threadpoolctl import ThreadpoolController

from skce._kernels import cpu

__all__ = ["check_threads", "in_threads", "one_blas_thread", "side_by_side", "thread_count"]

MOST_WAITING = 1 << 25  # bytes of results that threads may hold
CPUS = os.cpu_count() or 1
_forked = False  # GNU OpenMP hangs in a forked child whose parent had threads


def check_threads(n_threads):
    """Return the number of threads in OpenMP's terms: 0 is as many as it allows."""
    if n_threads is None or _forked:
        return int(_forked)
    if not isinstance(n_threads, (int, np.integer)) or n_threads < 1:
        got = repr(n_threads) if isinstance(n_threads, str) else n_threads
        raise ValueError(f"n_threads must be None or a positive integer, got {got}.")
    return min(int(n_threads), CPUS)


def thread_count():
    """Return the threads that a pass may take."""
    return check_threads(None) or cpu.max_threads() or 1


def in_threads(function, parts, size):
    """Yield function(part), of `size` bytes, for each part in order, made by several threads."""
    parts, threads = list(parts), min(thread_count(), MOST_WAITING // max(size, 1))
    if min(threads, len(parts)) < 2:
        yield from map(function, parts)
        return
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(parts), threads):
            yield from pool.map(function, parts[first : first + threads])


@contextmanager
def side_by_side(calls):
    """Give a function that begins one of so many calls, and returns one that waits for its result.

    Threads share those of a pass. One makes the call when it is waited for.
    """
    threads = min(thread_count(), calls)
    if threads < 2:
        yield partial
        return
    share = partial(cpu.allow_threads, thread_count() // threads)
    with ThreadPoolExecutor(threads, initializer=share) as pool:
        try:
            yield lambda *call: pool.submit(*call).result
        finally:
            pool.shutdown(cancel_futures=True)


class _BlasLimit:
    """One BLAS thread for all fits under way in the process, whichever Python thread is last.

    threadpoolctl >= 3.8 lets only the thread that set a limit change it; the first fit to begin
    and the last to end take that right over.
    """

    def __init__(self):
        self.reset()

    def reset(self):
        """Forget all fits, as a forked child must."""
        self.lock = Lock()
        self.fits = 0
        self.limited = []

    def enter(self):
        """Set the limit, for the first of the fits that overlap."""
        with self.lock:
            if self.fits == 0:
                threads = [(library, library.get_num_threads()) for library in _libraries()]
                self.limited = [(library, before) for library, before in threads if before != 1]
                for library, _ in self.limited:
                    _release(library)
                    library.set_num_threads(1)
            self.fits += 1

    def leave(self):
        """Restore what was before, for the last of them."""
        with self.lock:
            self.fits -= 1
            if self.fits == 0:
                for library, before in self.limited:
                    _release(library)
                    library.set_num_threads(before)
                    _release(library)


def _release(library):
    if hasattr(library, "clear_controlling_thread"):
        library.clear_controlling_thread(force=True)


@cache
def _libraries():
    """Return the BLAS libraries loaded at the first fit: to look for them is slow."""
    return ThreadpoolController().select(user_api="blas").lib_controllers


_blas_limit = _BlasLimit()


@contextmanager
def one_blas_thread():
    """Keep BLAS on one thread, until the last of the fits that overlap has ended."""
    _blas_limit.enter()
    try:
        yield
    finally:
        _blas_limit.leave()


def _after_fork():
    global _forked
    _forked = True
    _blas_limit.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
