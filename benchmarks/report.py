"""What all benchmarks share: interleaved timing, medians, tables, plots, what they ran on."""

import csv
import gc
import multiprocessing
import platform
import statistics
import time
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

__all__ = ["Forked", "figure", "interleaved_medians", "markdown_table", "versions", "write_table"]


class Forked:
    """Calls of a function in a process of its own, forked at the first, which a limit ends."""

    def __init__(self, function):
        self.function, self.process = function, None

    def __call__(self, limit=None, **params):
        """Return its result, None after ``limit`` seconds; RuntimeError if it raises."""
        if self.process is None:
            fork = multiprocessing.get_context("fork")
            self.pipe, theirs = fork.Pipe()
            self.process = fork.Process(target=_serve, args=(theirs, self.function), daemon=True)
            self.process.start()
            theirs.close()
        self.pipe.send(params)
        try:
            if self.pipe.poll(limit):
                return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            raise RuntimeError(f"ended with {self.process.exitcode}") from None
        self.close()
        return None

    def close(self):
        """End the process; the next call forks another."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None


def _serve(pipe, function):
    gc.freeze()  # to go through all that was imported takes longer than some calls
    while True:
        try:
            params = pipe.recv()
        except EOFError:
            return
        pipe.send(function(**params))


def interleaved_medians(candidates, *, rounds=7, calls=1, clock=time.perf_counter):
    """Median seconds of one call of each candidate (a dict of name -> callable), by a clock.

    Every round runs each candidate once, so that all see the same machine. Where several calls in a
    row are timed, one before them wakes threads and fills caches.
    """
    for call in candidates.values():
        call()
    seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            if calls > 1:
                call()
            start = clock()
            for _ in range(calls):
                call()
            seconds[name].append((clock() - start) / calls)
    return {name: statistics.median(values) for name, values in seconds.items()}


def markdown_table(header, rows):
    """Markdown table of header and rows (sequences of cells)."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (header, *rows)]
    lines.insert(1, "|---" * len(header) + "|")
    return "\n".join(lines)


def write_table(path, header, rows):
    """Write header and rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def versions(*packages):
    """Versions of Python and of those packages that are there."""
    parts = [f"Python {platform.python_version()}"]
    for name in packages:
        try:
            parts.append(f"{name} {version(name).split('+')[0]}")
        except PackageNotFoundError:
            continue
    return ", ".join(parts) + "."


@contextmanager
def figure(path, rows, columns, size):
    """Yield a figure and its axes (rows, columns); save it, equal ones as equal files."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 11, "svg.hashsalt": "skce"}):
        drawn = Figure(figsize=size, layout="constrained")
        yield drawn, drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        drawn.savefig(path, metadata={"Date": None})
