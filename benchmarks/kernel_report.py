"""Tables, summary, targets and plots of what ``kernels.py`` measured."""

import csv
import math
import platform
import statistics
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kernel_peers import COLUMNS, FUNCTIONS

__all__ = ["Cell", "summary_rows", "table_rows", "target_lines", "write"]

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
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tables = {what: table_rows(cells, what) for what in dict.fromkeys(c.what for c in cells)}
    for name, (header, rows) in {**tables, "summary": summary_rows(cells)}.items():
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])
    text = f"{conditions} {_versions()}\n"
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


def _versions():
    parts = [f"Python {platform.python_version()}"]
    for name in ("numpy", "scipy", "scikit-learn", "torch"):
        try:
            parts.append(f"{name} {version(name).split('+')[0]}")
        except PackageNotFoundError:
            continue
    return ", ".join(parts) + "."


def _plot(path, kind, cells):
    """Ns per logit against K on log-log axes: a row for each function, a column for each dtype."""
    import matplotlib
    from matplotlib.figure import Figure

    measured = {cell.function for cell in cells}
    shown = {name: text for name, text in PLOTS[kind].items() if name in measured}
    dtypes = list(dict.fromkeys(cell.dtype for cell in cells))
    if not shown:
        return
    lowest = min(min(cell.ns.values()) for cell in cells if cell.function in shown)
    # a fixed salt and no date: equal figures are equal files
    with matplotlib.rc_context({"font.size": 11, "svg.hashsalt": "skce"}):
        figure = Figure(figsize=(4.6 * len(dtypes), 0.8 + 3 * len(shown)), layout="constrained")
        axes = figure.subplots(len(shown), len(dtypes), sharex=True, sharey=True, squeeze=False)
        for row, (name, text) in zip(axes, shown.items(), strict=True):
            for ax, dtype in zip(row, dtypes, strict=True):
                _draw(ax, [cell for cell in cells if (cell.function, cell.dtype) == (name, dtype)])
                ax.set_title(f"{text}, {dtype}", fontsize=12)
            row[0].set_ylabel("ns per logit")
        axes[0, 0].set_ylim(bottom=10.0 ** math.floor(math.log10(lowest)))
        for ax in axes[-1]:
            ax.set_xlabel("number of classes K" if kind == "softmax" else "number of labels K")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        figure.savefig(path, metadata={"Date": None})


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
