"""Tables and plots of `run_peers`."""

import csv
import os
import platform
import statistics
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import numpy as np

__all__ = ["Run", "gap_text", "table", "title", "write"]

TEST_GAP = 1e-3
COLOURS = ("#c44e00", "#d9a400", "#1f6fb4", "#6a3d9a", "#3a9a3a", "#888888", "#8c564b", "#17a2b8")


@dataclass
class Run:
    """Times of one solver at one dtype and number of threads."""

    dtype: str
    threads: int
    name: str
    from_sklearn: bool
    ends_at: float | None = None  # gap of a solver that has no max_iter to choose
    seconds: dict = field(default_factory=dict)  # gap: one for each round
    iterations: dict = field(default_factory=dict)
    test_loss: float = float("nan")  # at a gap of 1e-3
    curve: list = field(default_factory=list)  # (seconds, gap, iterations) of one round
    plain: list = field(default_factory=list)  # (seconds, gap) of plain fits

    def note(self, gap, seconds, iterations):
        """Add a time."""
        self.seconds.setdefault(gap, []).append(seconds)
        self.iterations.setdefault(gap, []).append(iterations)

    def median(self, gap):
        """Median seconds to the gap, None if it was not reached."""
        return statistics.median(self.seconds[gap]) if gap in self.seconds else None


def gap_text(gap):
    """A gap as 0.1, 0.01 or 1e-06."""
    return f"{gap:.3g}"


def title(args):
    """What was run, on what."""
    names = ("numpy", "scipy", "scikit-learn", "torch")
    versions = ", ".join(filter(None, map(_version, names)))
    return (
        f"{args.rounds} rounds, a budget of {args.budget:g} s, {os.cpu_count()} CPUs "
        f"({platform.machine()}), Python {platform.python_version()}, {versions}."
    )


def table(runs, gaps):
    """Header and rows: a row for each solver, dtype and number of threads."""
    ends = any(run.ends_at is not None for run in runs)
    header = ["dtype", "threads", "solver"]
    for text in [*map(gap_text, gaps), *["one-vs-rest's"] * ends]:
        header += [f"s to {text}", "x"]
    header += ["iterations to 0.001", "test loss there", "C s", "C gap"]
    return header, [_row(run, runs, gaps, ends) for run in runs]


def write(folder, name, label, runs, args):
    """Write NAME.csv, NAME.svg and the conditions."""
    folder.mkdir(parents=True, exist_ok=True)
    header, rows = table(runs, args.gaps)
    with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    (folder / "conditions.txt").write_text(title(args) + "\n", encoding="utf-8")
    _plot(folder / f"{name}.svg", label, runs)


def _version(name):
    try:
        return f"{name} {version(name).split('+')[0]}"
    except PackageNotFoundError:
        return ""


def _row(run, runs, gaps, ends):
    same = [r for r in runs if (r.dtype, r.threads) == (run.dtype, run.threads)]
    where = next((r.ends_at for r in same if r.ends_at is not None), None)
    cells = [run.dtype, run.threads, run.name]
    for gap in [*gaps, *[where] * ends]:
        cells += _cells(run, same, gap)
    iterations = run.iterations.get(TEST_GAP)
    cells.append(f"{statistics.median(iterations):g}" if iterations else "")
    cells.append(f"{run.test_loss:.5f}" if np.isfinite(run.test_loss) else "")
    if not run.plain:
        return [*cells, "", ""]
    seconds, gap = (statistics.median(values) for values in zip(*run.plain, strict=True))
    return [*cells, _seconds(seconds), f"{gap:.1e}"]


def _cells(run, same, gap):
    """Seconds and ratio at one gap."""
    seconds = run.median(gap)
    if seconds is None:
        return "", ""
    theirs = [r.median(gap) for r in same if r.from_sklearn or r.ends_at is not None]
    theirs = [s for s in theirs if s is not None]
    return _seconds(seconds), f"{min(theirs) / seconds:.2f}" if theirs else ""


def _seconds(seconds):
    return f"{seconds:.3g}"


def _plot(path, label, runs):
    """Gap against seconds on log-log axes, one panel a dtype, at the fewest threads."""
    import matplotlib
    from matplotlib.figure import Figure

    dtypes = list(dict.fromkeys(run.dtype for run in runs))
    names = list(dict.fromkeys(run.name for run in runs))
    threads = min(run.threads for run in runs)
    # a fixed salt and no date: equal figures are equal files
    with matplotlib.rc_context({"font.size": 11, "svg.hashsalt": "skce"}):
        figure = Figure(figsize=(0.6 + 4.6 * len(dtypes), 4.4), layout="constrained")
        axes = figure.subplots(1, len(dtypes), sharex=True, sharey=True, squeeze=False)[0]
        for ax, dtype in zip(axes, dtypes, strict=True):
            for run in runs:
                if (run.dtype, run.threads) == (dtype, threads):
                    _draw(ax, run, COLOURS[names.index(run.name) % len(COLOURS)])
            ax.set(xscale="log", yscale="log", xlabel="seconds", title=f"{label}, {dtype}")
            ax.title.set_fontsize(10)
            ax.grid(color="#dddddd", linewidth=0.8)
        axes[0].set_ylabel("(F − F*) / F*")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, metadata={"Date": None})


def _draw(ax, run, colour):
    points = [(s, gap) for s, gap, *_ in run.curve if 1e-9 < gap < np.inf]
    marker = "o" if len(points) < 12 else ""
    width = 2.4 if run.name.startswith("skce") else 1.4
    seconds, gaps = zip(*points, strict=True) if points else ((), ())
    ax.plot(seconds, gaps, marker=marker, ms=4, lw=width, color=colour, label=run.name)
