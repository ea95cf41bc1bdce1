"""Losses, gradients and probabilities of skce.losses beside scikit-learn, torch, NumPy and SciPy.

    python benchmarks/kernels.py [--what gradient] [--losses softmax] [--classes 3 10] [--quick]
    python benchmarks/kernels.py --write docs/speed

prints a table of ns per logit for each public function, a summary and what became of the targets;
``--write`` also makes the tables and the plots of the documentation. ``kernel_peers.py`` says what
each library is asked to do. ``--clock cpu --threads 1`` is for a machine that has other work: it
counts the seconds of the CPU.
"""

import argparse
import sys
import time

import numpy as np
from kernel_peers import LOSSES, WHATS, candidates, functions, has_classes
from kernel_report import Cell, summary_rows, table_rows, target_lines, write
from threadpoolctl import threadpool_limits
from timing import interleaved_medians, markdown_table

try:
    import torch
except ImportError:
    torch = None

__all__ = ["main", "measure"]

CLASSES = (1, 2, 3, 10, 32, 100, 1000, 32000)
WINDOW = 0.1  # seconds: other processes disturb two threads for some milliseconds
CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}
QUICK = {"classes": (1, 3, 40), "size": 4000.0, "rounds": 1}


def main(argv=None):
    """Print the tables of the chosen functions, classes and dtypes, and write them where asked."""
    args = _parse(argv)
    problems = [
        (name, n_classes, dtype)
        for what in args.what
        for name in functions([what], args.losses)
        for n_classes in args.classes
        for dtype in args.dtypes
        if has_classes(name, n_classes)
    ]
    cells = []
    for problem in problems:
        cells.append(measure(*problem, args))
        print(cells[-1], file=sys.stderr)
    first, last = args.threads[0], args.threads[-1]
    conditions = (
        f"ns per logit, {first} thread(s), about {args.size:.0f} logits, medians of {args.rounds} "
        f"interleaved rounds, {args.clock} clock"
    )
    if first != last:
        conditions += f"; speed-up: the time on {first} over that on {last} thread(s)"
    conditions += "."
    print(conditions)
    for what in args.what:
        print(f"\n{what}\n\n{markdown_table(*table_rows(cells, what))}")
    print(f"\nsummary: medians of ratios\n\n{markdown_table(*summary_rows(cells))}\n")
    print("\n".join(target_lines(cells)))
    if args.write:
        write(args.write, cells, conditions)


def measure(function, n_classes, dtype, args):
    """Time ``function`` and its peers on one problem.

    A gradient is also timed on the last number of threads, each library against itself alone:
    the waiting threads of one library's pool would slow down the others. Calls in a row for about
    WINDOW seconds, as a solver makes them, after one that wakes the threads.
    """
    problem = (function, n_classes, dtype, args.size)
    first, last = args.threads[0], args.threads[-1]
    calls = candidates(*problem, threads=first)
    n_logits = max(1, int(args.size) // n_classes) * n_classes
    with threadpool_limits(limits=first):
        _set_torch_threads(first)
        medians = interleaved_medians(calls, rounds=args.rounds, clock=CLOCKS[args.clock])
    speedup = {}
    if first != last and function in functions(["gradient"]):
        more = candidates(*problem, threads=last)
        for name in calls.keys() - {"NumPy/SciPy", "copy"}:
            pair = {
                threads: _on_torch_threads(threads, call[name])
                for threads, call in ((first, calls), (last, more))
            }
            calls_in_row = max(2, round(WINDOW / medians[name]))
            seconds = interleaved_medians(pair, rounds=2 * args.rounds, calls=calls_in_row)
            speedup[name] = seconds[first] / seconds[last]
    ns = {name: seconds / n_logits * 1e9 for name, seconds in medians.items()}
    return Cell(function, n_classes, np.dtype(dtype).name, n_logits, ns, speedup)


def _set_torch_threads(threads):
    if torch is not None:
        torch.set_num_threads(threads)


def _on_torch_threads(threads, call):
    def wrapped():
        _set_torch_threads(threads)
        return call()

    return wrapped


def _parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", nargs="+", choices=WHATS, default=WHATS)
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES)
    parser.add_argument("--classes", nargs="+", type=int, default=CLASSES)
    parser.add_argument("--dtypes", nargs="+", default=("float32", "float64"))
    parser.add_argument("--size", type=float, default=2e6, help="number of logits")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--threads", nargs="+", type=int, default=(1, 2), help="of the table; then of the ratio"
    )
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of one thread")
    parser.add_argument("--write", metavar="FOLDER", help="where tables and plots go")
    parser.add_argument("--quick", action="store_true", help="tiny problems, one round")
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)  # what is given by name still counts
    args = parser.parse_args(argv)
    if args.clock == "cpu" and set(args.threads) != {1}:
        parser.error("--clock cpu needs --threads 1")
    return args


if __name__ == "__main__":
    main()
