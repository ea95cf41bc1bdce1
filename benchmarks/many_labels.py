"""Thousands of labels: seconds, peak memory and precision of a fit, and of predicting the best.

    python benchmarks/many_labels.py [--data FOLDER] [--sets citeulike_t synthetic] [--labels 1000]

A fit at alpha = 1/n in a process of its own, whose peak resident size is told with what it was
before (data and imports); CPU seconds, and those of the clock on all threads. `--labels` takes the
first labels alone, and the seconds of all are then extrapolated. The peers fit `--peer-labels` of
the labels in a loop, OneVsRestClassifier on one thread; their seconds are for all labels,
extrapolated.

"synthetic" has 100,000 labels and 50,000 features, of which dense coefficients of float32 would
take 20 GB: it is fitted with `--prune`. A label has 20 words of its own, a row 5 to 15 labels, the
common ones more often, and 4 words of each beside 20 words of all texts; tf-idf.

The second table predicts the 5 best labels of the test rows on one thread, by `predict_top_k` and
by argpartition of `predict_proba`: seconds, and memory beyond that of the process with its model.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from problems import Problem, add_data_option, load
from report import Forked, markdown_table, write_table
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from threadpoolctl import threadpool_limits

from skce import MultiLabelLogistic

__all__ = ["main"]

SHAPE = {"rows": 10_000, "features": 50_000, "labels": 100_000}
PEERS = {"LogisticRegression": {}, "liblinear": {"solver": "liblinear"}}
FITS = (
    "data (n x p, labels)",
    "fit",
    "CPU s",
    "s",
    "of all labels, CPU s",
    "peak MB (before)",
    "passes",
    "gap / objective",
    "certified",
    "coefficients a label",
    "P@1",
    "P@5",
)
PREDICTIONS = (
    "data",
    "fit",
    "rows",
    "predict_top_k s",
    "its MB",
    "argpartition s",
    "the other's MB",
)


def main(argv=None):
    """Print both tables."""
    args = _parse(argv)
    if args.one:
        print(json.dumps(_one(args, json.loads(args.one))))
        return
    for name in args.sets:
        fits, predictions = [], []
        dtypes = args.dtypes if name != "synthetic" else []
        runs = [{"dtype": dtype, "prune": None} for dtype in dtypes]
        runs.append({"dtype": args.dtypes[0], "prune": args.prune})
        runs += [{"dtype": args.dtypes[0], "peer": peer} for peer in args.peers]
        for run in runs:
            command = [sys.executable, __file__, *(argv or sys.argv[1:])]
            one = json.dumps({"name": name, **run})
            done = subprocess.run([*command, "--one", one], stdout=subprocess.PIPE, check=True)
            told = json.loads(done.stdout)
            print(told, file=sys.stderr, flush=True)
            fits.append(told["fit"])
            predictions += [told["predictions"]] if "predictions" in told else []
        print(markdown_table(FITS, fits), markdown_table(PREDICTIONS, predictions), sep="\n\n")
        if args.write:
            write_table(Path(args.write) / f"{name}.csv", FITS, fits)
            write_table(Path(args.write) / f"{name}_top_k.csv", PREDICTIONS, predictions)


def _parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", default=["citeulike_t", "synthetic"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--labels", type=int, help="of a set to fit, from the first")
    parser.add_argument("--peers", nargs="*", default=[*PEERS], choices=PEERS)
    parser.add_argument("--peer-labels", type=int, default=200)
    parser.add_argument("--prune", type=float, default=0.1)
    parser.add_argument("--shape", nargs=3, type=int, default=[*SHAPE.values()], metavar=[*SHAPE])
    parser.add_argument("--write", help="folder for the tables as CSV")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _one(args, run):
    """Make a fit in this process, and predictions in forked ones; return the rows of the tables."""
    dtype = np.dtype(run["dtype"])
    if run["name"] == "synthetic":
        problem = _synthetic(*args.shape, dtype)
    else:
        problem = load(run["name"], data=args.data, dtype=dtype)
    X, Y, X_test, Y_test = problem.X_train, problem.y_train, problem.X_test, problem.y_test
    k_all = Y.shape[1]
    Y, Y_test = Y[:, : args.labels], Y_test[:, : args.labels]
    shape = f"{problem.name} ({X.shape[0]} x {X.shape[1]}, {k_all})"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "peer" in run:
            return {"fit": [shape, *_peer_row(run["peer"], X, Y, args.peer_labels, k_all)]}
        model = MultiLabelLogistic(alpha=1 / X.shape[0], prune=run["prune"], random_state=0)
        before, cpu, clock = _peak(), time.process_time(), time.perf_counter()
        model.fit(X, Y)
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    peak = _peak()
    found = {}
    for method in (_top_k, _argpartition):
        child = Forked(lambda method=method: _measured(method, model, X_test, Y_test))
        found[method] = child()
        child.close()
    pruned = run["prune"] is not None
    each = model.coef_.nnz / Y.shape[1] if pruned else X.shape[1]
    kind = f"{dtype}, prune={run['prune']}" if pruned else str(dtype)
    k = Y.shape[1]
    fit = [shape, f"{kind}, {k} labels", f"{cpu:.1f}", f"{clock:.1f}", f"{cpu * k_all / k:.0f}"]
    fit += [
        f"{peak:.0f} ({before:.0f})",
        model.n_iter_,
        f"{model.dual_gap_ / model.objective_:.1e}",
    ]
    fit += [str(model.certified_), f"{each:.0f}", *(f"{p:.3f}" for p in found[_top_k][2])]
    times = [
        f"{value:.2f}" if i == 0 else f"{value:.0f}"
        for m in found
        for i, value in enumerate(found[m][:2])
    ]
    predictions = [problem.name, f"{kind}, {k} labels", X_test.shape[0], *times]
    return {"fit": fit, "predictions": predictions}


def _peer_row(name, X, Y, size, k_all):
    """Return the row of OneVsRestClassifier on labels at equal distances, for all of them."""
    size = min(size, Y.shape[1])
    some = Y[:, np.linspace(0, Y.shape[1] - 1, size).astype(int)].toarray().astype(np.int64)
    before, cpu, clock = _peak(), time.process_time(), time.perf_counter()
    with threadpool_limits(1):
        OneVsRestClassifier(LogisticRegression(**PEERS[name])).fit(X, some)
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    row = [f"OneVsRest({name}), {size} labels", f"{cpu:.1f}", f"{clock:.1f}"]
    row += [f"{cpu * k_all / size:.0f}", f"{_peak():.0f} ({before:.0f})"]
    return row + [""] * (len(FITS) - 1 - len(row))


def _measured(method, model, X, Y):
    """Return CPU seconds, MB beyond those of the process, P@1 and P@5."""
    before, cpu = _resident(), time.process_time()
    with threadpool_limits(1):
        best = method(model, X)
    cpu = time.process_time() - cpu
    rows = np.repeat(np.arange(X.shape[0]), best.shape[1])
    hits = np.asarray(sparse.csr_array(Y)[rows, best.ravel()]).reshape(best.shape) > 0
    return cpu, max(_peak() - before, 0.0), (float(hits[:, 0].mean()), float(hits.mean()))


def _top_k(model, X):
    return model.predict_top_k(X, 5)[0]


def _argpartition(model, X):
    proba = model.predict_proba(X)
    best = np.argpartition(-proba, 4, axis=1)[:, :5]
    return np.take_along_axis(best, np.argsort(-np.take_along_axis(proba, best, 1), axis=1), 1)


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _synthetic(n, p, k, dtype, seed=0):
    """Draw texts with labels; a quarter of n is the test."""
    rng = np.random.default_rng(seed)
    total, own = n + n // 4, rng.integers(p, size=(k, 20))
    count = rng.integers(5, 16, size=total)
    rows = np.repeat(np.arange(total), count)
    labels = np.minimum(k * rng.random(len(rows)) ** 3, k - 1).astype(int)
    words = own[labels[:, None], rng.integers(20, size=(len(labels), 4))]
    common = np.minimum(p * rng.random((total, 20)) ** 3, p - 1).astype(int)
    at = np.concatenate([np.repeat(rows, 4), np.repeat(np.arange(total), 20)])
    to = np.concatenate([words.ravel(), common.ravel()])
    X = sparse.csr_matrix((np.ones(len(at), dtype), (at, to)), shape=(total, p))
    Y = sparse.csr_matrix((np.ones(len(rows), np.uint8), (rows, labels)), shape=(total, k))
    Y.data[:] = 1
    tfidf = TfidfTransformer(sublinear_tf=True).fit(X[:n])
    X = tfidf.transform(X).astype(dtype)
    return Problem("synthetic", X[:n], Y[:n], X[n:], Y[n:], "multilabel")


if __name__ == "__main__":
    main()
