"""Interleaved timing: every round runs each candidate once, so that all see the same machine."""

import statistics
import time

__all__ = ["interleaved_medians", "markdown_table"]


def interleaved_medians(candidates, *, rounds=7, calls=1):
    """Median seconds of one call of each candidate (a dict of name -> callable).

    Where several calls in a row are timed, one before them wakes threads and fills caches.
    """
    for call in candidates.values():
        call()
    seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            if calls > 1:
                call()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            seconds[name].append((time.perf_counter() - start) / calls)
    return {name: statistics.median(values) for name, values in seconds.items()}


def markdown_table(header, rows):
    """Markdown table of header and rows (sequences of cells)."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (header, *rows)]
    lines.insert(1, "|---" * len(header) + "|")
    return "\n".join(lines)
