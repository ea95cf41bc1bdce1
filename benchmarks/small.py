"""Small problems, where set-up counts: plain fits of skce beside LogisticRegression().

    python benchmarks/small.py [--data FOLDER] [--sets letter letter_scaled] [--dtypes float64]

Without a data folder: scikit-learn's sets alone. One thread, seconds are medians of the rounds,
ratios above 1 are in skce's favour. Fits are those of `user_clock`: alpha = 1/n, the same
objective, from before the construction of the estimator until fit returns, a process each.
"F above" is skce's objective relative to LogisticRegression's, less 1, in float64. For sets that
are not standardised there is what a user can choose instead, by the smallest max_iter that comes
to a gap of 0.001 (`run_peers.find_iterations`): newton-cholesky and lbfgs.

Below: 20 rows, predictions of one row, a grid search, and rows that are repeated, which leaves the
optimum where it was. Each of them is timed in this process, in turns.
"""

import argparse
import warnings
from functools import partial
from sys import executable

import numpy as np
from judge import Judge
from optima import optimum
from peers import PEERS
from problems import BUILT_IN, SCALED, Problem, add_data_option, data_folder, few_rows, load
from report import interleaved_medians, markdown_table
from run_peers import Candidate, find_iterations
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits
from user_clock import conditions, measured, summary

from skce import MultinomialLogistic

__all__ = ["main"]

DATA_SETS = (
    *("segment", "satimage", "magic", "letter", "a9a_dense", "ldl_emotion6", "yeast"),
    "covtype_first20000",
)
TUNED = ("newton-cholesky", "lbfgs")
GAP = 1e-3
BUDGET = 4.0  # seconds of a tuned fit
CS = 10.0 ** np.arange(-3, 5)  # of the grid search
FOLDS = 5
REPEATS = (1, 2, 4, 8)
HEADER = (
    *("data (n x p, K)", "dtype", "skce s", "sklearn s", "sklearn/skce", "F above"),
    *(f"{name} s to {GAP:g}" for name in TUNED),
)
PAIR = ("skce ms", "sklearn ms", "sklearn/skce")
QUICK = {"sets": ("iris", "iris_scaled"), "dtypes": ("float64",), "rounds": 1, "rows": 60}
QUICK |= {"C": (1.0,), "repeats": (1, 2)}


def main(argv=None):
    """Print the tables."""
    args = _parse(argv)
    pythons = {"new": executable, "sklearn": executable}
    print(f"{conditions(pythons, args)}\n\n{markdown_table(HEADER, [])}", flush=True)
    rows = []
    for name in args.sets or [name + form for name in _names(args) for form in ("", SCALED)]:
        for dtype in args.dtypes:
            row = measured(name, dtype, pythons, args)
            cells = [
                *_cells(row),
                *([""] * len(TUNED) if SCALED in name else _tuned(name, dtype, args)),
            ]
            print(markdown_table(HEADER, [cells]).splitlines()[-1], flush=True)
            rows += [row] if SCALED in name else []
    print("\nStandardised:", *summary(rows, args), sep="\n", flush=True)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for header, table in ((("", "dtype", *PAIR), _tiny(args)), (("", *PAIR), _others(args))):
            print(f"\n{markdown_table(header, [])}", flush=True)
            for cells in table:
                print(markdown_table(header, [cells]).splitlines()[-1], flush=True)


def _parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", help="names of problems.load")
    parser.add_argument("--dtypes", nargs="+", default=("float32", "float64"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, help="training rows at most (default: all)")
    parser.add_argument("--C", nargs="+", type=float, default=CS, help="of the grid search")
    parser.add_argument("--repeats", nargs="+", type=int, default=REPEATS, help="of equal rows")
    parser.add_argument("--quick", action="store_true", help="few rows, one round")
    parser.set_defaults(threads=1, limit=60.0, clock="wall", budget=0.0, old=None)  # `user_clock`'s
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)  # what is given by name still counts
    return parser.parse_args(argv)


def _names(args):
    return (*sorted(BUILT_IN), *(DATA_SETS if data_folder(args.data) else ()))


def _cells(row):
    """First cells of the table."""
    running = row.running()
    if row.failure or len(running) < 2:
        failures = [worker.failure for worker in row.workers.values()]
        return *row.label, row.failure or " ".join(failures), "", "", ""
    seconds = [f"{running[name].median('seconds'):.3g}" for name in ("new", "sklearn")]
    above = row.ratio("new", "sklearn", "objective") - 1
    return *row.label, *seconds, f"{row.ratio('sklearn', 'new'):.2f}", f"{above:.1e}"


def _tuned(name, dtype, args):
    """Seconds of the fits with the smallest max_iter that reaches the gap."""
    whole, problem = (load(name, data=args.data, dtype=np.dtype(d)) for d in ("float64", dtype))
    if args.rows:
        whole, problem = few_rows(whole, args.rows), few_rows(problem, args.rows)
    best = optimum(whole, 1.0)["objective"]
    judge = Judge(problem, 1 / problem.X_train.shape[0], best)
    for name in TUNED:
        fit = Candidate(PEERS[name].fit, judge)
        found, _ = find_iterations(lambda m, fit=fit: fit(BUDGET, max_iter=m)[:2], [GAP], BUDGET)
        times = [fit(max_iter=found[GAP])[0] for _ in range(args.rounds) if found]
        fit.close()
        yield f"{np.median(times):.3g}" if times else f"> {BUDGET:g}"


def _pair(ours, theirs, rounds, calls=1):
    """Cells of two candidates."""
    ms = interleaved_medians({"ours": ours, "theirs": theirs}, rounds=rounds, calls=calls).values()
    ours, theirs = (1e3 * seconds for seconds in ms)
    return f"{ours:.3g}", f"{theirs:.3g}", f"{theirs / ours:.2f}"


def _fits(X, y):
    """Plain fits of both."""
    return (
        lambda: MultinomialLogistic(alpha=1 / len(y)).fit(X, y),
        lambda: LogisticRegression().fit(X, y),
    )


def _tiny(args):
    """Fits of 20 rows, and predictions of one of them."""
    for dtype in args.dtypes:
        problem = load("iris_scaled", dtype=np.dtype(dtype))
        for first in (1, 0):
            rows = np.flatnonzero(problem.y_train >= first)[:20]
            X, y = problem.X_train[rows], problem.y_train[rows]
            label = f"20 rows, {len(np.unique(y))} classes"
            fits = _fits(X, y)
            yield f"{label}: fit", dtype, *_pair(*fits, args.rounds, calls=10)
            proba = [partial(fit().predict_proba, X[:1]) for fit in fits]
            yield f"{label}: predict_proba of 1", dtype, *_pair(*proba, args.rounds, calls=100)


def _others(args):
    """Grid searches, and fits of repeated rows."""
    names, folder = ["digits", "digits" + SCALED], data_folder(args.data)
    if folder and (folder / "satimage.npz").is_file():
        names.append("satimage" + SCALED)
    problems = [_texture_like(), *(load(name, data=args.data) for name in names)]
    if args.rows:
        problems = [few_rows(problem, 2 * args.rows) for problem in problems]
    for problem in problems[1:3]:
        X, y = problem.X_train, problem.y_train
        alphas = 1 / (np.array(args.C) * len(y) * (1 - 1 / FOLDS))
        ours = GridSearchCV(MultinomialLogistic(), {"alpha": alphas}, cv=FOLDS)
        theirs = GridSearchCV(LogisticRegression(), {"C": args.C}, cv=FOLDS)
        label = f"{problem.name}: GridSearchCV of {len(alphas)} alphas, {FOLDS} folds"
        yield label, *_pair(partial(ours.fit, X, y), partial(theirs.fit, X, y), args.rounds)
    for problem in (problems[0], *problems[2:]):
        for times in args.repeats:
            X, y = np.tile(problem.X_train, (times, 1)), np.tile(problem.y_train, times)
            label = f"{problem.name}: {problem.X_train.shape[0]} rows, {times} times"
            yield label, *_pair(*_fits(X, y), args.rounds)


def _texture_like():
    """Draw 5500 rows of 40 columns that depend on 8, 11 classes of which few rows are doubtful."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(5500) % 11)
    X = 1.5 * rng.standard_normal((11, 8))[y] + rng.standard_normal((5500, 8))
    X = X @ rng.standard_normal((8, 40)) + 0.1 * rng.standard_normal((5500, 40))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return Problem("texture-like", X, y, X[:11], y[:11], "multiclass")


if __name__ == "__main__":
    main()
