"""Losses, gradients and probabilities of skce.losses beside scikit-learn, torch, NumPy and SciPy.

    python benchmarks/kernels.py [--what gradient] [--losses softmax] [--classes 3 10] [--quick]
    python benchmarks/kernels.py --write docs/speed

prints a table of ns per logit for each public function, a summary and what became of the targets;
``--write`` also makes the tables and the plots of the documentation. ``kernel_peers.py`` says what
each library is asked to do. ``--clock cpu --threads 1`` is for a machine that has other work: it
counts the seconds of the CPU.
"""

import argparse
import math
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from kernel_peers import COLUMNS, FUNCTIONS, LOSSES, WHATS, candidates, functions, has_classes
from report import figure, interleaved_medians, markdown_table, versions, write_table
from threadpoolctl import threadpool_limits

try:
    import torch
except ImportError:
    torch = None

__all__ = ["Cell", "main", "measure", "summary_rows", "target_lines"]

CLASSES = (1, 2, 3, 10, 32, 100, 1000, 32000)
CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}
QUICK = {"classes": (1, 3, 40), "size": 4000.0, "rounds": 1, "window": 0.0}
PEERS = COLUMNS[1:-1]
SLACK = 0.85  # a shared machine moves ratios by about 15 %
# Times as fast as the peer, one thread, softmax loss with gradient: K, peer, (float32, float64).
SOFTMAX_TARGETS = (
    (3, "scikit-learn", (5, 5)),
    (10, "scikit-learn", (5, 3)),
    (100, "scikit-learn", (6, 3)),
    (100, "torch", (2, 2)),
    (1000, "scikit-learn", (8, 3.5)),
    (1000, "torch", (2, 2)),
    (32000, "scikit-learn", (8, 3.5)),
    (32000, "torch", (2, 2)),
)
SIGMOID_TARGETS = (("scikit-learn", 8), ("torch", 2.5))
SOFTMAX, SIGMOID = "softmax_cross_entropy_value_and_grad", "sigmoid_cross_entropy_value_and_grad"
PLOTS = {
    "softmax": {
        SOFTMAX: "loss and gradient",
        "softmax_cross_entropy": "loss alone",
        "softmax": "probabilities",
    },
    "sigmoid": {
        SIGMOID: "loss and gradient",
        "sigmoid_cross_entropy": "loss alone",
        "sigmoid": "probabilities",
    },
}
# Okabe and Ito's colours, told apart by colour-blind readers; markers differ for print.
LINES = {
    "skce": {"color": "#D55E00", "marker": "o", "linewidth": 2.5},
    "scikit-learn": {"color": "#0072B2", "marker": "s"},
    "torch": {"color": "#009E73", "marker": "^"},
    "NumPy/SciPy": {"color": "#CC79A7", "marker": "D"},
    "copy": {"color": "#666666", "marker": "", "linestyle": "--", "label": "copy of the logits"},
}


@dataclass(frozen=True)
class Cell:
    """One function at one K and dtype; ``ns`` per logit and ``speedup`` by threads, by library."""

    function: str
    n_classes: int
    dtype: str
    n_logits: int
    ns: dict
    speedup: dict

    @property
    def what(self):
        return FUNCTIONS[self.function][0]

    @property
    def label(self):
        """The loss; of a function of probabilities its name."""
        return self.function if self.what == "proba" else FUNCTIONS[self.function][1]

    def ratio(self, peer):
        """How many times as long the peer takes, or None where there is none."""
        return self.ns[peer] / self.ns["skce"] if peer in self.ns else None

    def __str__(self):
        figures = ", ".join(f"{name} {ns:.2f}" for name, ns in self.ns.items())
        return f"{self.function}, K={self.n_classes}, {self.dtype}: {figures}"


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
    the waiting threads of one library's pool would slow down the others. Calls in a row for
    about args.window seconds, as a solver makes them, after one that wakes the threads.
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
            calls_in_row = max(2, round(args.window / medians[name]))
            seconds = interleaved_medians(pair, rounds=2 * args.rounds, calls=calls_in_row)
            speedup[name] = seconds[first] / seconds[last]
    ns = {name: seconds / n_logits * 1e9 for name, seconds in medians.items()}
    return Cell(function, n_classes, np.dtype(dtype).name, n_logits, ns, speedup)


def table_rows(cells, what):
    """Header and rows of the table of one of "gradient", "loss" and "proba"."""
    cells = [cell for cell in cells if cell.what == what]
    threaded = sorted({name for cell in cells for name in cell.speedup}, key=COLUMNS.index)
    header = [
        "function" if what == "proba" else "loss",
        *("K", "dtype", *COLUMNS),
        *(f"{peer} / skce" for peer in PEERS),
        *(f"speed-up, {name}" for name in threaded),
    ]
    rows = [
        [
            *(cell.label, cell.n_classes, cell.dtype),
            *(_text(cell.ns.get(name), 2) for name in COLUMNS),
            *(_text(cell.ratio(peer)) for peer in PEERS),
            *(_text(cell.speedup.get(name), 2) for name in threaded),
        ]
        for cell in cells
    ]
    return header, rows


def summary_rows(cells):
    """Header and rows of the medians over K and dtype, a row for each function."""
    header = ["function", *(f"{peer} / skce" for peer in PEERS), "float64 / float32, K ≥ 32"]
    threaded = any(cell.speedup for cell in cells)
    header += ["speed-up by threads"] * threaded
    rows = []
    for name in dict.fromkeys(cell.function for cell in cells):
        mine = [cell for cell in cells if cell.function == name]
        ns = {(cell.n_classes, cell.dtype): cell.ns["skce"] for cell in mine}
        widths = [
            value / ns[k, "float32"]
            for (k, dtype), value in ns.items()
            if k >= 32 and dtype == "float64" and (k, "float32") in ns
        ]
        # fewer logits are over before a second thread has begun
        threads = [cell.speedup.get("skce") for cell in mine if cell.n_logits >= 1e6]
        ratios = [_median([cell.ratio(peer) for cell in mine]) for peer in PEERS]
        rows.append([name, *map(_text, ratios), _text(_median(widths), 2)])
        rows[-1] += [_text(_median(threads), 2)] * threaded
    return header, rows


def target_lines(cells):
    """One line for each target that was measured: "met", or "missed" by more than the slack."""
    by_key = {(cell.function, cell.n_classes, cell.dtype): cell for cell in cells}
    wanted = [
        (SOFTMAX, k, dtype, peer, target)
        for k, peer, targets in SOFTMAX_TARGETS
        for dtype, target in zip(("float32", "float64"), targets, strict=True)
    ]
    wanted += [
        (SIGMOID, 1, dtype, *target)
        for target in SIGMOID_TARGETS
        for dtype in ("float32", "float64")
    ]
    lines = []
    for name, k, dtype, peer, target in wanted:
        ratio = by_key[name, k, dtype].ratio(peer) if (name, k, dtype) in by_key else None
        lines.append(_target_line(f"{FUNCTIONS[name][1]} K={k} {dtype}", peer, target, ratio))
    for peer, target in SIGMOID_TARGETS:
        median = _median([cell.ratio(peer) for cell in cells if cell.function == SIGMOID])
        lines.append(_target_line("sigmoid, median", peer, target, median))
    return [line for line in lines if line]


def write(folder, cells, conditions):
    """Write a CSV table for each group, the summary, the conditions and the plots."""
    tables = {what: table_rows(cells, what) for what in dict.fromkeys(c.what for c in cells)}
    for name, table in {**tables, "summary": summary_rows(cells)}.items():
        write_table(folder / f"{name}.csv", *table)
    text = f"{conditions} {versions('numpy', 'scipy', 'scikit-learn', 'torch')}\n"
    (folder / "conditions.txt").write_text(text, encoding="utf-8")
    for kind in PLOTS:
        _plot(folder / f"{kind}.svg", kind, cells)


def _target_line(name, peer, target, ratio):
    if ratio is None:
        return ""
    verdict = "met" if ratio >= SLACK * target else "missed"
    return f"{name}: {ratio:.1f} x {peer}, target {target:g}: {verdict}"


def _text(value, digits=1):
    if value is None:
        return ""
    return f"{value:.{digits if value >= 1 else 2}f}"


def _median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def _plot(path, kind, cells):
    """Ns per logit against K on log-log axes: a row for each function, a column for each dtype."""
    measured = {cell.function for cell in cells}
    shown = {name: text for name, text in PLOTS[kind].items() if name in measured}
    dtypes = list(dict.fromkeys(cell.dtype for cell in cells))
    if not shown:
        return
    lowest = min(min(cell.ns.values()) for cell in cells if cell.function in shown)
    size = 4.6 * len(dtypes), 0.8 + 3 * len(shown)
    with figure(path, len(shown), len(dtypes), size) as (drawn, axes):
        for row, (name, text) in zip(axes, shown.items(), strict=True):
            for ax, dtype in zip(row, dtypes, strict=True):
                _draw(ax, [cell for cell in cells if (cell.function, cell.dtype) == (name, dtype)])
                ax.set_title(f"{text}, {dtype}", fontsize=12)
            row[0].set_ylabel("ns per logit")
        axes[0, 0].set_ylim(bottom=10.0 ** math.floor(math.log10(lowest)))
        for ax in axes[-1]:
            ax.set_xlabel("number of classes K" if kind == "softmax" else "number of labels K")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)


def _draw(ax, cells):
    for library, style in LINES.items():
        points = [(cell.n_classes, cell.ns[library]) for cell in cells if library in cell.ns]
        if points:
            ax.plot(*zip(*sorted(points), strict=True), **{"label": library, **style})
    ax.set(xscale="log", yscale="log")
    ticks = sorted({cell.n_classes for cell in cells})
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter("{x:g}")
    ax.grid(color="#dddddd", linewidth=0.8)


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
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="where tables and plots go")
    parser.add_argument("--quick", action="store_true", help="tiny problems, one round")
    # other processes disturb two threads for some milliseconds
    parser.set_defaults(window=0.1)  # seconds
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)  # what is given by name still counts
    args = parser.parse_args(argv)
    if args.clock == "cpu" and set(args.threads) != {1}:
        parser.error("--clock cpu needs --threads 1")
    return args


if __name__ == "__main__":
    main()
