"""predict_proba beside LogisticRegression's: time, and memory beyond X and the result.

    python benchmarks/predict.py [--rows 100000] [--columns 200] [--classes 3 10 100] [--threads 1]

float32, interleaved, medians, on --threads threads (all by default). Both predict with the same
coefficients. Memory is the peak resident size of a fresh process that predicts, less that of one
that makes the result only.
"""

import argparse
import resource
import subprocess
import sys
import warnings

import numpy as np
from report import interleaved_medians, markdown_table
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from skce import MultinomialLogistic

__all__ = ["main"]


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--classes", nargs="+", type=int, default=(3, 10, 100))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.memory:
        print(_peak(args, args.memory[0], int(args.memory[1])))
        return
    rows = []
    for n_classes in args.classes:
        X, ours, theirs = _fitted(args, n_classes)
        with threadpool_limits(limits=args.threads):
            calls = {
                "skce": lambda ours=ours, X=X: ours.predict_proba(X),
                "peer": lambda theirs=theirs, X=X: theirs.predict_proba(X),
            }
            times = interleaved_medians(calls, rounds=args.rounds)
        none, *peaks = (_memory(args, name, n_classes) for name in ("none", "skce", "peer"))
        extra = [f"{(peak - none) / 1024:.0f}" for peak in peaks]
        ms = [f"{1e3 * seconds:.1f}" for seconds in times.values()]
        rows.append((n_classes, *ms, f"{times['peer'] / times['skce']:.1f}", *extra))
    peer = "LogisticRegression"
    header = ("K", "skce ms", f"{peer} ms", "ratio", "skce MiB", f"{peer} MiB")
    print(markdown_table(header, rows))


def _fitted(args, n_classes):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((args.rows, args.columns), dtype=np.float32)
    y = np.arange(10 * n_classes) % n_classes
    theirs = LogisticRegression(max_iter=5).fit(X[: len(y)], y)
    ours = MultinomialLogistic(solver="sgd", max_iter=1).fit(X[: len(y)], y)
    ours.coef_, ours.intercept_ = theirs.coef_.copy(), theirs.intercept_.copy()
    return X, ours, theirs


def _memory(args, name, n_classes):
    """Peak KiB of a process that predicts by `name` ("none" makes the result alone)."""
    sizes = ("--rows", str(args.rows), "--columns", str(args.columns))
    command = (sys.executable, __file__, *sizes, "--memory", name, str(n_classes))
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _peak(args, name, n_classes):
    X, ours, theirs = _fitted(args, n_classes)
    if name == "none":
        np.zeros((args.rows, n_classes), np.float32)[:] = 1
    else:
        {"skce": ours, "peer": theirs}[name].predict_proba(X)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        main()
