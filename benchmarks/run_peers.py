"""Default estimators of skce beside LogisticRegression on real data, printed as markdown.

    python benchmarks/run_peers.py --data FOLDER [--sets mnist 20news] [--seeds 0 1 2] [--quick]

Without a data folder: scikit-learn's digits and wine, unscaled.

Every model gets the same matrices and the same alpha; `peers` says what alpha is for each. One
thread. A ratio below 1 means a lower loss than LogisticRegression's.
"""

import argparse
import json
import os
import statistics
import warnings
from pathlib import Path

import numpy as np
import sklearn
from peers import PEERS, skce_default
from problems import add_data_option, data_folder, load
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits
from timing import markdown_table

from skce import MultinomialLogistic

__all__ = ["main"]

SETS = ("mnist", "20news", "bibtex", "ldl_movie")
WITHOUT_DATA = ("digits", "wine")
REFERENCE = "LogisticRegression"
QUICK_ROWS = 1000
COLUMNS = (
    *("data", "model", "seed", "test loss", "ratio", "objective", "ratio", "metric"),
    *("iterations", "fit s", "times faster"),
)


def main(argv=None):
    """Run the comparison with command-line arguments."""
    args = _parser().parse_args(argv)
    seeds = args.seeds[:1] if args.quick else args.seeds
    args.sets = args.sets or (SETS if data_folder(args.data) else WITHOUT_DATA)
    with threadpool_limits(limits=1):
        print(_title(args, seeds))
        for name in args.sets:
            _print_set(name, args, seeds)
        if not args.no_wine:
            print("\n" + _wine_line(seeds))


def _parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", help="names of problems.load")
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--alpha", type=float, default=1e-4)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--solver", default="auto", help="solver of the skce estimators")
    parser.add_argument(
        "--peers", nargs="*", default=(), choices=[p for p in PEERS if p not in ("skce", REFERENCE)]
    )
    parser.add_argument("--quick", action="store_true", help="one seed, 1000 rows of each set")
    parser.add_argument("--peer-cache", type=Path, help="JSON file that keeps the peers' results")
    parser.add_argument("--no-wine", action="store_true", help="leave out the load_wine line")
    return parser


def _title(args, seeds):
    versions = f"scikit-learn {sklearn.__version__}, numpy {np.__version__}"
    rows = f", {QUICK_ROWS} training rows at most" if args.quick else ""
    return (
        f"alpha = {args.alpha:g}, {args.dtype}, solver {args.solver!r}, seeds {list(seeds)}, "
        f"one thread of {os.cpu_count()} CPUs, {versions}{rows}.\n"
        f"Ratios are to the test loss and objective of {REFERENCE} at tol=1e-8; "
        "every model stops\nby its own rule, so times are not to the same objective.\n\n"
        f"{markdown_table(COLUMNS, [])}"
    )


def _print_set(name, args, seeds):
    problem = load(name, data=args.data, dtype=np.dtype(args.dtype))
    if args.quick:
        problem = problem.subset(QUICK_ROWS)
    model, reference = _cached_peer(REFERENCE, problem, args)
    print(_row(f"{name} ({problem.shape_text})", model, "", reference, reference), flush=True)
    for peer in args.peers:
        model, result = _cached_peer(peer, problem, args)
        print(_row(name, model, 0, result, reference), flush=True)
    runs = []
    for seed in seeds:
        runs.append(skce_default(problem, args.alpha, seed=seed, solver=args.solver))
        print(_row(name, "skce", seed, runs[-1], reference), flush=True)
    print(_summary(name, runs, reference), flush=True)


def _row(label, model, seed, result, reference):
    metric = next(key for key in ("accuracy", "micro_f1", "kl") if key in result)
    cells = (
        label,
        model,
        seed,
        f"{result['test_loss']:.5f}",
        f"{result['test_loss'] / reference['test_loss']:.4f}",
        *_objective_cells(result, reference),
        f"{metric} {result[metric]:.4f}",
        f"{result['iterations']}{'' if result['converged'] else ' (the limit)'}",
        f"{result['seconds']:.2f}",
        f"{reference['seconds'] / result['seconds']:.1f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _objective_cells(result, reference):
    if np.isnan(result["objective"]):
        return "another", ""
    return f"{result['objective']:.6f}", f"{result['objective'] / reference['objective']:.4f}"


def _summary(name, runs, reference):
    ratio = max(run["test_loss"] for run in runs) / reference["test_loss"]
    seconds = statistics.median(run["seconds"] for run in runs)
    return (
        f"| **{name}** | skce, worst loss, median time | | | **{ratio:.4f}** | | | | | "
        f"**{seconds:.2f}** | **{reference['seconds'] / seconds:.1f}** |"
    )


def _cached_peer(peer, problem, args):
    """Label and result of a peer, read from or added to the cache file when there is one."""
    n = problem.X_train.shape[0]
    key = f"{peer} {problem.name} n={n} {args.dtype} alpha={args.alpha:g} {sklearn.__version__}"
    cache = {}
    if args.peer_cache and args.peer_cache.exists():
        cache = json.loads(args.peer_cache.read_text())
    if key in cache:
        return f"{peer} (earlier run)", cache[key]
    cache[key] = PEERS[peer](problem, args.alpha)
    if args.peer_cache:
        args.peer_cache.write_text(json.dumps(cache, indent=1))
    return peer, cache[key]


def _wine_line(seeds):
    """Held-out log loss of unscaled load_wine, solver "sgd", five stratified folds."""
    X, y = load_wine(return_X_y=True)
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y))
    fits = [[_wine_fold(X, y, fold, seed) for fold in folds] for seed in seeds]
    losses, at_limit = np.moveaxis(np.array(fits), -1, 0)
    means = ", ".join(f"{mean:.4f}" for mean in losses.mean(axis=1))
    return (
        'Unscaled load_wine, solver="sgd", StratifiedKFold(5, shuffle=True, random_state=0): '
        f"mean held-out log loss {means} (seeds {list(seeds)}), worst fold {losses.max():.4f}; "
        f"{at_limit.sum():.0f} of {at_limit.size} fits ended at max_iter."
    )


def _wine_fold(X, y, fold, seed):
    """Held-out log loss, and whether max_iter ended the fit."""
    train, test = fold
    model = MultinomialLogistic(solver="sgd", random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X[train], y[train])
    loss = log_loss(y[test], model.predict_proba(X[test]), labels=model.classes_)
    return loss, not model.converged_


if __name__ == "__main__":
    main()
