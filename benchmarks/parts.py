"""Fits of rows on disk, in parts, beside one fit of the same rows in memory.

    python benchmarks/parts.py [--gigabytes 8] [--columns 500] [--classes 10] [--folder FOLDER]
        [--ways WAY ...] [--write FILE.csv]

Writes a file of float32 rows, and the same as Parquet by row groups, and deletes both after. For
each way of reading them a process of its own tells: seconds of the fit, by the clock and of the
processor, passes, the gap as a share of the objective, the most anonymous memory while it ran
(RssAnon: pages of files do not count), and the processor's seconds for a row beside the first way,
a plain fit of as many rows as --memory holds.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from report import markdown_table, write_table

from skce import MultinomialLogistic, Parts

__all__ = ["WAYS", "main", "write"]

ALPHA = 1e-5
GROUP = 1 << 26  # bytes of a row group
FILES = 8  # parts of memory maps
WAYS = (
    *("in memory", "one memory map", "parts of memory maps"),
    *("Parquet by columns", "Parquet by columns, not spooled"),
    *("Parquet of lists", "Parquet of lists, not spooled"),
)


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=0.25)
    parser.add_argument("--memory", type=float, default=0.25, help="GB of rows fitted in memory")
    parser.add_argument("--columns", type=int, default=500)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--folder", default=None, help="where the files are written for a while")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--write", type=Path, help="a file for the table, as CSV")
    parser.add_argument("--quick", action="store_true", help="a few megabytes")
    parser.add_argument("--fit", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.fit:
        print(json.dumps(_fit(args.fit, Path(args.folder), args.shape, args.memory)))
        return
    if args.quick:
        args.gigabytes = args.memory = 0.004
        args.columns = 40
    n = int(args.gigabytes * 1e9 / (4 * args.columns))
    rows, per_row = [], {}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        write(Path(folder), n, args.columns, args.classes, args.ways)
        for way in args.ways:
            command = [sys.executable, __file__, "--fit", way, "--folder", folder, "--memory"]
            command += [str(args.memory), "--shape", str(n), str(args.columns)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            per_row[way] = found["cpu"] / found["rows"]
            ratio = per_row[way] / per_row[args.ways[0]]
            numbers = (f"{found['seconds']:.1f}", f"{found['cpu']:.1f}", found["passes"])
            memory = f"{found['anonymous']:.0f}"
            gap = f"{found['estimate']:.1e}"
            rows.append((way, f"{found['rows']:,}", *numbers, gap, memory, f"{ratio:.2f}"))
    header = ("way", "rows", "s", "CPU s", "passes", "gap", "anonymous MB", "CPU s a row, ratio")
    print(f"{n:,} rows of {args.columns} float32 columns, {args.classes} classes\n")
    print(markdown_table(header, rows) + "\n")
    if args.write:
        write_table(args.write, header, rows)


def write(folder, n, p, k, ways=WAYS):
    """Write X as float32 and y as int64, and X and y as Parquet, a row group at a time.

    Rows are turned from two blocks of normal ones, which takes less time than to draw them.
    """
    rng = np.random.default_rng(0)
    scale = (10 ** rng.uniform(-1, 1, p)).astype(np.float32)
    W = (2 * rng.standard_normal((p, k)) / np.sqrt(p)).astype(np.float32)
    y, size, writers = np.empty(n, np.int64), min(n, max(1, GROUP // (4 * p))), {}
    blocks = rng.standard_normal((2, size, p), np.float32)
    with (folder / "X").open("wb") as file:
        for first in range(0, n, size):
            m, angle = min(size, n - first), rng.uniform(0, 2 * np.pi)
            other = np.roll(blocks[1], rng.integers(size), axis=0)[:m]
            Z = np.float32(np.cos(angle)) * blocks[0, :m] + np.float32(np.sin(angle)) * other
            labels = (Z @ W + rng.gumbel(size=(m, k))).argmax(axis=1)
            X = Z * scale + scale
            y[first : first + m] = labels
            file.write(X.tobytes())
            for way in {_file_of(way) for way in ways} - {""}:
                _write_group(writers, folder, way, X, labels)
    for writer in writers.values():
        writer.close()
    np.save(folder / "y.npy", y)


def _file_of(way):
    return way.removesuffix(", not spooled") if way.startswith("Parquet") else ""


def _write_group(writers, folder, way, X, y):
    import pyarrow as pa
    from pyarrow import parquet

    if way.endswith("lists"):
        columns = {"x": pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), X.shape[1])}
    else:
        columns = {f"x{j}": X[:, j] for j in range(X.shape[1])}
    table = pa.table({**columns, "y": y})
    if way not in writers:
        options = {"compression": "none", "use_dictionary": False}
        writers[way] = parquet.ParquetWriter(folder / way, table.schema, **options)
    writers[way].write_table(table, row_group_size=len(y))


def _fit(way, folder, shape, memory):
    """Fit and tell: in a process of its own, whose memory is watched."""
    n, p = shape
    if way == "in memory":
        n = min(n, int(memory * 1e9 / (4 * p)))
        X = np.fromfile(folder / "X", np.float32, n * p).reshape(n, p)
        data = X, np.load(folder / "y.npy")[:n]
    elif way.startswith("Parquet"):
        spool = False if way.endswith("not spooled") else folder  # the default is that of tempfile
        data = (Parts.from_parquet(folder / _file_of(way), "y", spool=spool),)
    else:
        X, y = np.memmap(folder / "X", np.float32, "r", shape=(n, p)), np.load(folder / "y.npy")
        data = X, y
        if way.startswith("parts"):
            edges = np.linspace(0, n, FILES + 1).astype(int)
            parts = [slice(*ends) for ends in itertools.pairwise(edges)]
            data = (Parts([(X[rows], y[rows]) for rows in parts]),)
    model = MultinomialLogistic(alpha=ALPHA, solver="lbfgs", random_state=0)
    most, done = [0.0], threading.Event()
    watch = threading.Thread(target=_watch, args=(most, done))
    watch.start()
    began = time.perf_counter(), time.process_time()
    model.fit(*data)
    seconds, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    done.set()
    watch.join()
    told = {"seconds": seconds, "cpu": cpu, "rows": n, "passes": model.n_iter_}
    return {**told, "anonymous": most[0], "estimate": model.gap_estimate_ / model.objective_}


def _watch(most, done):
    """Note the most RssAnon, in MB, every 20 ms."""
    status = Path("/proc/self/status")
    while not done.wait(0.02):
        if status.exists():
            line = next(x for x in status.read_text().splitlines() if x.startswith("RssAnon"))
            most[0] = max(most[0], float(line.split()[1]) / 1024)


if __name__ == "__main__":
    main()
