"""One plain SGD epoch of skce beside NumPy's products (mnist) and SGDClassifier (20news).

    python benchmarks/epoch.py --data FOLDER [--parts dense sparse] [--rounds 7]

Without a data folder: synthetic problems of the same shapes.

One thread, interleaved, medians. Dense: NumPy computes, over the same batches of 256 rows, the
logits X[b] @ W, a softmax and the gradient X[b].T @ R, and updates nothing; once with slices of X
in storage order and once with the rows of a permutation, as an SGD must read them. CSR: an epoch of
SGDClassifier(loss="log_loss") is 20 binary passes.

"epoch" is skce's compiled loop alone. "pass" is what one more pass costs in a fit, of
MultinomialLogistic(solver="sgd") with its automatic metric and averaging and of SGDClassifier,
without the checks and set-up: (time of 3 passes - time of 1) / 2. "fit" is SGDClassifier with
max_iter=1, all included.
"""

import argparse
import warnings

import numpy as np
from problems import add_data_option, data_folder, load, synthetic_dense, synthetic_sparse
from report import interleaved_medians, markdown_table
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from threadpoolctl import threadpool_limits

from skce import MultinomialLogistic
from skce._engine.data import EpochData
from skce._engine.sgd import Rule, sgd_run
from skce._kernels import Loss

__all__ = ["main", "skce_epoch"]

BATCH = 256
ALPHA = 1e-4


def skce_epoch(X, y, n_classes, batch):
    """Return a callable that does one plain SGD epoch with L2 over shuffled batches of X."""
    n, p = X.shape
    problem = EpochData(Loss.SOFTMAX, X, y.astype(np.int32), n_classes, np.ones(n), None, 0.0)
    rng = np.random.default_rng(0)
    W, metric = np.zeros((p + 1, n_classes), X.dtype), np.ones(p + 1, X.dtype)
    ends = np.append(np.arange(0, n, batch), n)
    steps, sizes = np.full(len(ends) - 1, 0.1), np.diff(ends).astype(float)
    state = np.empty((0, p + 1, n_classes), X.dtype)
    stamps, slots = (
        (np.zeros((p, 2)), np.full(p, -1, np.intc)) if problem.X.sparse else (None, None)
    )

    def call():
        sgd_run(
            problem, rng.permutation(n), ends, steps, sizes, ends.astype(float), W, None, metric,
            ALPHA, 0.0, Rule.SGD, 0.0, 0.0, state, 0, None, np.zeros(5), stamps, slots, None, None,
            None, None,
        )  # fmt: skip
        if stamps is not None:
            stamps[:] = 0

    return call


def main(argv=None):
    """Print the tables of both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument(
        "--parts", nargs="+", choices=("dense", "sparse"), default=("dense", "sparse")
    )
    parser.add_argument("--dtypes", nargs="+", default=("float32", "float64"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="small synthetic problems")
    args = parser.parse_args(argv)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for part in args.parts:
            print({"dense": _dense_table, "sparse": _sparse_table}[part](args) + "\n")


def _dense_table(args):
    rows = []
    for dtype in args.dtypes:
        problem = _problem("mnist", dtype, args)
        X, y, K = problem.X_train, problem.y_train, problem.n_classes
        calls = {
            "skce epoch": skce_epoch(X, y, K, BATCH),
            "NumPy slices": numpy_epoch(X, y, K, BATCH, shuffled=False),
            "NumPy shuffled": numpy_epoch(X, y, K, BATCH, shuffled=True),
            **_two_fits("skce pass", _skce, X, y),
        }
        times = _with_passes(interleaved_medians(calls, rounds=args.rounds))
        rows.append(_row(problem, dtype, times, "NumPy slices", "NumPy shuffled"))
    return _table("NumPy slices", "NumPy shuffled", rows)


def _sparse_table(args):
    rows = []
    for dtype in args.dtypes:
        problem = _problem("20news", dtype, args)
        X, y, K = problem.X_train, problem.y_train, problem.n_classes
        calls = {
            "skce epoch": skce_epoch(X, y, K, BATCH),
            **_two_fits("SGDClassifier pass", _sgd_classifier, X, y),
            **_two_fits("skce pass", _skce, X, y),
        }
        times = _with_passes(interleaved_medians(calls, rounds=args.rounds))
        times["SGDClassifier fit"] = times["SGDClassifier pass 1"]
        rows.append(_row(problem, dtype, times, "SGDClassifier pass", "SGDClassifier fit"))
    return _table("SGDClassifier pass", "SGDClassifier fit", rows)


def _two_fits(name, make, X, y):
    """Fits of one pass and of three, from which `_with_passes` takes the time of a pass."""
    return {f"{name} 1": lambda: make(1).fit(X, y), f"{name} 3": lambda: make(3).fit(X, y)}


def _with_passes(times):
    names = [name[:-2] for name in times if name.endswith(" 3")]
    return times | {name: (times[f"{name} 3"] - times[f"{name} 1"]) / 2 for name in names}


def _row(problem, dtype, times, *peers):
    ms = [f"{1e3 * times[name]:.1f}" for name in ("skce epoch", "skce pass", *peers)]
    ratios = [f"{times['skce epoch'] / times[peer]:.2f}" for peer in peers]
    return (f"{problem.name} ({problem.shape_text})", dtype, *ms, *ratios)


def _table(*peers_and_rows):
    *peers, rows = peers_and_rows
    ms = [f"{name} ms" for name in ("skce epoch", "skce pass", *peers)]
    return markdown_table(("data", "dtype", *ms, *(f"skce epoch / {p}" for p in peers)), rows)


def _skce(max_iter):
    return MultinomialLogistic(
        solver="sgd", alpha=ALPHA, max_iter=max_iter, tol=0, n_iter_no_change=1000, random_state=0
    )


def _problem(name, dtype, args):
    """Load the set; without a data folder draw one of its shape, for a quick run a small one."""
    if data_folder(args.data) and not args.quick:
        return load(name, data=args.data, dtype=np.dtype(dtype))
    if name == "mnist":
        return synthetic_dense(*(() if args.quick else (60_000, 784, 10)), dtype=dtype)
    shape = () if args.quick else (11_314, 130_108, 20)
    return synthetic_sparse(*shape, density=0.01 if args.quick else 0.0012, dtype=dtype)


def _sgd_classifier(max_iter):
    return SGDClassifier(
        loss="log_loss", alpha=ALPHA, max_iter=max_iter, tol=None, random_state=0, n_jobs=1
    )


def numpy_epoch(X, y, n_classes, batch, *, shuffled):
    """Return a callable that does the products and the softmax of one epoch in NumPy."""
    n, p = X.shape
    rng = np.random.default_rng(0)
    W = (0.01 * rng.standard_normal((p, n_classes))).astype(X.dtype)
    order = rng.permutation(n)

    def call():
        for start in range(0, n, batch):
            rows = order[start : start + batch] if shuffled else slice(start, start + batch)
            X_b = X[rows]
            X_b.T @ _residuals(X_b @ W, y[rows])

    return call


def _residuals(logits, labels):
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    logits[np.arange(len(labels)), labels] -= 1
    return logits


if __name__ == "__main__":
    main()
