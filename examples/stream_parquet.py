"""Train from a Parquet file that need not fit in memory: predict each batch, then learn it.

    python examples/stream_parquet.py [--rows 20000] [--reader pyarrow|polars] [--plot FILE.png]

Writes a file of 8 numbers and a text a row, then streams it twice by batches: once the numbers,
once the hashed text. Prints the progressive log loss (each row before it is learnt) beside that of
the class frequencies. Needs pyarrow (polars reads too); the plot needs matplotlib.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from skce import MultinomialLogistic, losses

CLASSES = np.array(["arts", "science", "sport"])
COLUMNS = [f"x{j}" for j in range(8)]


def write(path, n, seed=0):
    """Write rows whose numbers and words depend on the class."""
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 8))
    with parquet.ParquetWriter(path, _schema(pa)) as writer:
        for first in range(0, n, 5000):
            y = rng.integers(3, size=min(5000, n - first))
            X = centres[y] + 1.5 * rng.normal(size=(len(y), 8))
            words = np.where(rng.random((len(y), 12)) < 0.2, 1000 * (y[:, None] + 1), 0)
            words = words + rng.zipf(1.5, size=words.shape) % 1000
            table = {name: X[:, j] for j, name in enumerate(COLUMNS)}
            table["text"] = [" ".join(f"w{w}" for w in row) for row in words]
            table["topic"] = CLASSES[y]
            writer.write_table(pa.table(table, schema=_schema(pa)))


def _schema(pa):
    fields = [(name, pa.float64()) for name in COLUMNS]
    return pa.schema([*fields, ("text", pa.string()), ("topic", pa.string())])


def by_pyarrow(path, rows):
    """Yield the columns of batches as a dict of arrays."""
    from pyarrow import parquet

    for batch in parquet.ParquetFile(path).iter_batches(batch_size=rows):
        yield {
            name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names
        }


def by_polars(path, rows):
    """The same, from a lazy frame."""
    import polars as pl

    frame, first = pl.scan_parquet(path), 0
    while len(batch := frame.slice(first, rows).collect()):
        yield {name: batch[name].to_numpy() for name in batch.columns}
        first += rows


def stream(model, batches, features):
    """Predict each batch, then learn it; return the rows seen and the mean loss so far."""
    rows, total, curve = 0, 0.0, []
    for batch in batches:
        X, y = features(batch), np.searchsorted(CLASSES, batch["topic"].astype(str))
        if rows:
            total += losses.softmax_cross_entropy(model.decision_function(X), y, reduction="sum")
        else:
            total += len(y) * np.log(len(CLASSES))
        model.partial_fit(X, CLASSES[y], classes=CLASSES)
        rows += len(y)
        curve.append((rows, total / rows))
    return curve


def main(argv=None):
    """Stream the file and print the losses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--reader", choices=("pyarrow", "polars"), default="pyarrow")
    parser.add_argument("--plot", help="where a plot goes")
    args = parser.parse_args(argv)
    reader = {"pyarrow": by_pyarrow, "polars": by_polars}[args.reader]
    hashing = HashingVectorizer(n_features=2**18, alternate_sign=False)
    kinds = {
        "numbers": lambda batch: np.column_stack([batch[name] for name in COLUMNS]),
        "hashed text": lambda batch: hashing.transform(batch["text"]),
    }
    curves = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.parquet")
        write(path, args.rows)
        for name, features in kinds.items():
            model = MultinomialLogistic(alpha=1e-6)
            curves[name] = stream(model, reader(path, 1000), features)
            seen = curves[name][:: max(1, len(curves[name]) // 5)]
            print(f"{name}: " + ", ".join(f"{loss:.3f} after {rows}" for rows, loss in seen))
    print(f"the class frequencies: {np.log(len(CLASSES)):.3f}")
    if args.plot:
        _plot(curves, args.plot)
    return curves


def _plot(curves, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    for name, curve in curves.items():
        pyplot.plot(*np.transpose(curve), label=name)
    pyplot.xlabel("rows seen")
    pyplot.ylabel("progressive log loss")
    pyplot.legend()
    pyplot.savefig(path)


if __name__ == "__main__":
    main()
