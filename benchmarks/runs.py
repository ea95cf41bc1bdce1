"""Tables and plots of `run_peers` and `trace_peers`."""

import os
import platform
from dataclasses import dataclass, field

import numpy as np
from report import figure, versions, write_table

__all__ = ["Run", "clocks", "plain_table", "summary", "title", "trace_table", "write"]

COLOURS = ("#c44e00", "#d9a400", "#1f6fb4", "#6a3d9a", "#3a9a3a", "#888888", "#8c564b", "#17a2b8")
LEAST_GAP = 1e-9  # below it are the errors of F* and of rounding
NONE = "–"


@dataclass
class Run:
    """Fits of one solver at one dtype and number of threads: lists of (seconds, gap, test loss)."""

    dtype: str
    threads: int
    name: str
    plain: list = field(default_factory=list)
    tuned: dict = field(default_factory=dict)  # gap: fits that reach it
    ended: dict = field(default_factory=dict)  # gap: plain fits of skce with it for tol
    curve: list = field(default_factory=list)  # (seconds, gap, ...) of one round
    goal: float | None = None  # gap that others are tuned to: a fit of skce's
    budget: float = np.inf  # seconds after which a fit was ended

    def median(self, fits):
        """Seconds, gap and test loss: nan if one failed, inf if it was ended or never there."""
        failed = any(np.isnan(fit[0]) for fit in (*self.plain, *self.curve))
        return np.median(fits, axis=0) if fits else np.full(3, np.nan if failed else np.inf)

    def to_gap_of(self, ours):
        """Seconds to the gap of a fit of skce's; None for another one that ended before it."""
        if self.goal is None:
            return self.median(self.tuned.get(ours.goal))[0]
        return self.median(self.plain)[0] if self.goal <= ours.goal else None


def title(args):
    """What was run, on what."""
    names = ("numpy", "scipy", "scikit-learn", "scikit-learn-intelex", "snapml", "torch")
    return (
        f"{args.rounds} rounds, a budget of {args.budget:g} s, {os.cpu_count()} CPUs "
        f"({platform.machine()}), {versions(*names)}"
    )


def plain_table(runs):
    """Header and rows of `run_peers`: a row for each solver, dtype and number of threads."""
    first = [run for run in runs if run.goal is not None and _same(run, runs[0])]
    header = ["dtype", "threads", "solver", "plain s", "x", "gap", "test loss"]
    for run in first:
        header += [f"s to the gap of {run.name}", "x"]
    return header, [_plain_row(run, _ours(run, runs)) for run in runs]


def trace_table(runs):
    """Header and rows of `trace_peers`: seconds and iterations to each gap, and of whole fits."""
    gaps = sorted({gap for run in runs for gap in run.tuned}, reverse=True)
    header = ["dtype", "threads", "solver"]
    for gap in gaps:
        header += [f"T: s to {gap:g}", "iterations", "C: s of the fit", "C / T"]
    rows = []
    for run in runs:
        row = [run.dtype, run.threads, run.name]
        for gap in gaps:
            seconds, iterations, _ = run.median(run.tuned.get(gap))
            row += [_seconds(seconds, run), f"{iterations:g}" if seconds < np.inf else NONE]
            whole = run.median(run.ended[gap])[0] if gap in run.ended else None
            row += [_seconds(whole, run), _ratio(whole, seconds, run)]
        rows.append(row)
    return header, rows


def clocks(runs):
    """Header and rows: C / T of skce at each tol, a row for each set, and their medians."""
    columns, cells = {}, {}
    for label, all_runs in runs.items():
        for run in all_runs:
            for tol, fits in sorted(run.ended.items(), reverse=True):
                first, whole = run.median(run.tuned[tol])[0], run.median(fits)[0]
                column = f"{run.name}, {run.dtype}, threads={run.threads}, tol={tol:g}"
                ratio = whole / first if first < np.inf else np.nan
                columns.setdefault(column, []).append(ratio)
                cells.setdefault(label, []).append(_ratio(ratio, 1, run))
    middle = [f"{np.nanmedian(ratios):.3g}" for ratios in columns.values()]
    rows = [(label.split(" ")[0], *ratios) for label, ratios in cells.items()]
    return ("data", *columns), [*rows, ("median", *middle)]


def summary(runs):
    """Header and rows: a row for each set, dtype and number of threads, a column for each peer."""
    peers = [run.name for all_runs in runs.values() for run in all_runs if run.goal is None]
    peers = list(dict.fromkeys(peers))
    rows = []
    for label, all_runs in runs.items():
        firsts = {(run.dtype, run.threads): run for run in reversed(all_runs) if run.goal}
        for ours in reversed(firsts.values()):
            seconds, gap, _ = ours.median(ours.plain)
            cells = dict.fromkeys(peers, NONE)
            for run in all_runs:
                if run.goal is None and _same(run, ours):
                    both = run.median(run.plain)[0] if run.plain else None, run.to_gap_of(ours)
                    cells[run.name] = " / ".join(_ratio(each, seconds, run) for each in both)
            data = label.split(" ")[0]
            rows.append(
                (data, ours.dtype, ours.threads, f"{seconds:.3g}", _gap(gap), *cells.values())
            )
    return ("data", "dtype", "threads", "skce s", "gap", *peers), rows


def write(path, header, rows, label="", runs=()):
    """Write a table as CSV, and a plot of its runs beside it."""
    write_table(path, header, rows)
    if runs:
        _plot(path.with_suffix(".svg"), label, runs)


def _same(run, other):
    return (run.dtype, run.threads) == (other.dtype, other.threads)


def _ours(run, runs):
    return [other for other in runs if other.goal is not None and _same(run, other)]


def _plain_row(run, ours):
    base = ours[0].median(ours[0].plain)[0]
    cells = [run.dtype, run.threads, run.name, NONE, NONE, NONE, NONE]
    if run.plain:
        seconds, gap, test_loss = run.median(run.plain)
        cells[3:5] = _seconds(seconds, run), _ratio(seconds, base, run)
        if seconds < np.inf:
            cells[5:] = _gap(gap), f"{test_loss:.5f}"
    for other in ours:
        seconds = run.to_gap_of(other)
        cells += _seconds(seconds, run), _ratio(seconds, other.median(other.plain)[0], run)
    return cells


def _seconds(seconds, run):
    if seconds is None:
        return NONE
    if np.isnan(seconds):
        return "failed"
    return f"{seconds:.3g}" if seconds < np.inf else f"> {run.budget:.3g}"


def _gap(gap):
    return f"{gap:.1e}" if gap >= LEAST_GAP else f"< {LEAST_GAP:.0e}"


def _ratio(seconds, base, run):
    if seconds is None or np.isnan(seconds):
        return NONE
    return f"{seconds / base:.3g}" if seconds < np.inf else f"> {run.budget / base:.3g}"


def _plot(path, label, runs):
    """Gap against seconds on log-log axes, one panel a dtype, at the fewest threads."""
    dtypes = list(dict.fromkeys(run.dtype for run in runs))
    names = list(dict.fromkeys(run.name for run in runs))
    threads = min(run.threads for run in runs)
    size = 0.6 + 4.6 * len(dtypes), 4.4
    with figure(path, 1, len(dtypes), size) as (drawn, (axes,)):
        for ax, dtype in zip(axes, dtypes, strict=True):
            for run in runs:
                if run.curve and (run.dtype, run.threads) == (dtype, threads):
                    _draw(ax, run, COLOURS[names.index(run.name) % len(COLOURS)])
            ax.set(xscale="log", yscale="log", xlabel="seconds", title=f"{label}, {dtype}")
            ax.title.set_fontsize(10)
            ax.grid(color="#dddddd", linewidth=0.8)
        axes[0].set_ylabel("(F − F*) / F*")
        handles, labels = axes[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)


def _draw(ax, run, colour):
    points = [(s, max(gap, LEAST_GAP)) for s, gap, *_ in run.curve if gap < np.inf]
    marker = "o" if len(points) < 12 else ""
    width = 2.4 if run.name.startswith("skce") else 1.4
    seconds, gaps = zip(*points, strict=True) if points else ((), ())
    ax.plot(seconds, gaps, marker=marker, ms=4, lw=width, color=colour, label=run.name)
    seconds, gap, _ = run.median(run.plain)
    if gap < np.inf:
        ax.plot(seconds, max(gap, LEAST_GAP), marker="D", ms=8, mec="black", color=colour)
