"""Plain fits of skce beside plain and tuned fits of others, printed as markdown.

    python benchmarks/run_peers.py --data FOLDER [--sets letter 20news] [--peers lbfgs saga]
    python benchmarks/run_peers.py --data FOLDER --write docs/fits
    python benchmarks/run_peers.py --data FOLDER --defaults

Without a data folder: scikit-learn's small sets, unscaled. Clocks run from before an estimator is
made until fit returns. "plain": all but the penalty at its defaults, and skce at each of --tols
too. "to the gap of": a peer's fit with the smallest max_iter that reaches the gap at which that
fit of skce ended, or 1e-6 where that was less. A gap is (F - F*) / F*, F evaluated in float64 on
the values of X, F* from `optima`. "x" is seconds over those of that fit of skce.

Each solver has a process of its own, which has fitted once. A round runs every fit once; medians of
the rounds count, and fits that have had half of the budget are not repeated. "> 4": not there after
the budget of 4 s, which is --budget or three of skce's plain fits; a longer fit is ended.

--defaults: held-out loss of the default estimators beside LogisticRegression's, alpha = 1e-4.
"""

import argparse
import os
import statistics
import sys
import time
import warnings
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from judge import Judge, timed
from optima import optimum
from peers import DEFAULT, PEERS, logistic_regression, set_threads, skce_solver
from problems import add_data_option, data_folder, few_rows, load
from report import Forked, markdown_table
from runs import Run, plain_table, summary, title, write
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from skce import MultinomialLogistic

__all__ = ["Candidate", "find_iterations", "main", "options", "run_sets"]

SETS = (
    *("digits", "letter_scaled", "a9a", "covtype", "covtype_scaled", "mnist", "20news"),
    *("clinc150", "clinc150_minilm", "bibtex", "tmc2007"),
)
WITHOUT_DATA = ("iris", "wine", "breast_cancer", "digits")
TOLS = (1e-3, 1e-2)
FLOOR = 1e-6  # no peer has to come nearer
LEAST_RATIO = 3  # budget over skce's plain fit
QUICK = {"rounds": 1, "budget": 0.2}
DEFAULTS_SETS = ("mnist", "20news", "bibtex", "ldl_movie")
DEFAULTS_ALPHA = 1e-4
DEFAULTS_SEEDS = (0, 1, 2)


class Candidate:
    """Fits of the judge's problem in a process of its own: (seconds, gap, held-out loss).

    (inf, inf, inf) of one that the limit ended, (nan, nan, nan) of one that failed.
    """

    def __init__(self, fit, judge, threads=1):
        def call(**params):
            with threadpool_limits(limits=threads):
                set_threads(threads)
                return timed(lambda: fit(judge.problem, judge.alpha, **params))

        self.judge, self.forked = judge, Forked(call)

    def __call__(self, limit=None, **params):
        """Fit; a new process has fitted before."""
        try:
            cold = self.forked.process is None
            answer = None
            if not cold or self.forked(limit, max_iter=1):
                answer = self.forked(limit, **params)
        except RuntimeError as error:
            print(f"{self.judge.problem.name}, {params}: {error}", file=sys.stderr)
            self.close()
            return (np.nan,) * 3
        if answer is None:
            return (np.inf,) * 3
        seconds, *fitted = answer
        return seconds, self.judge.gap(*fitted), self.judge.test_loss(*fitted)

    def close(self):
        """End the process."""
        self.forked.close()


def main(argv=None):
    """Run the comparison with command-line arguments."""
    parser = options(__doc__)
    parser.add_argument("--tols", nargs="+", type=float, default=TOLS, help="of skce's fits")
    parser.add_argument("--peers", nargs="*", default=DEFAULT, choices=tuple(PEERS))
    parser.add_argument("--defaults", action="store_true", help="losses of default estimators")
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)  # what is given by name still counts
    args = parser.parse_args(argv)
    if args.defaults:
        print(f"{_defaults_title(args)}\n", flush=True)
        with threadpool_limits(limits=1):
            _print_defaults(args)
        return
    runs = run_sets(args, SETS, _compare, plain_table)
    header, rows = summary(runs)
    print(f"\nPlain and tuned fits over skce's:\n\n{markdown_table(header, rows)}")
    if args.write:
        write(args.write / "summary.csv", header, rows)


def options(doc):
    """Parser of what all tables of fits take."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", help="names of problems.load")
    parser.add_argument("--alphas", nargs="+", type=float, default=(1.0,), help="times 1/n")
    parser.add_argument("--dtypes", nargs="+", default=("float32", "float64"))
    parser.add_argument("--threads", nargs="+", type=int, default=(1,))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=4.0, help="seconds of a fit")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="where CSV and plots go")
    parser.add_argument("--quick", action="store_true", help="few rows, one round")
    return parser


def run_sets(args, sets, compare, table):
    """Print, and write, the table of each set; return the runs of all by their labels."""
    start = time.perf_counter()
    print(title(args), flush=True)
    done = {}
    for name in args.sets or (sets if data_folder(args.data) else WITHOUT_DATA):
        for strength in args.alphas:
            label, best, runs = _run_set(name, strength, args, compare)
            done[label] = runs
            error = best["bound"] / best["objective"]
            header, rows = table(runs)
            heading = f"F* = {best['objective']:.10g}, at most {error:.1g} of it too high"
            took = f"{time.perf_counter() - start:.0f} s so far"
            print(f"\n{label}: {heading}; {took}.\n\n{markdown_table(header, rows)}", flush=True)
            if args.write:
                stem = name if strength == 1 else f"{name}_{strength:g}"
                write(args.write / f"{stem}.csv", header, rows, label, runs)
                (args.write / "conditions.txt").write_text(f"{title(args)}\n", encoding="utf-8")
    print(f"\nAll took {(time.perf_counter() - start) / 60:.1f} minutes.", flush=True)
    return done


def find_iterations(timed, gaps, budget):
    """Smallest max_iter that reaches each gap, {gap: max_iter}, and the fits tried.

    ``timed(max_iter)`` gives the seconds and the gap of a fit. By doubling until a fit takes about
    ``budget`` seconds or ends where the one before did, then by bisection to 4 %, half
    as long.
    """
    tried, m = {}, 1  # max_iter: (seconds, gap)
    while True:
        tried[m] = seconds, gap = timed(m)
        before = tried.get(m // 2, (0, np.nan))
        if gap <= min(gaps) or (m > 4 and gap == before[1]) or not seconds < 0.9 * budget:
            break
        rate = max((seconds - before[0]) / (m - m // 2), 1e-9)  # the set-up takes its own time
        m = max(m + 1, min(2 * m, int(m + (budget - seconds) / rate)))
    found, spent = {}, 0.0
    for gap in gaps:
        while reached := [m for m in tried if tried[m][1] <= gap]:
            most = min(reached)
            least = max([m for m in tried if m < most], default=0)
            if most - least <= max(1, most // 25) or spent > budget / 2:
                found[gap] = most
                break
            middle = (least + most) // 2
            tried[middle] = timed(middle)
            spent += tried[middle][0]
    return found, [(*tried[m], m) for m in sorted(tried)]


def _run_set(name, strength, args, compare):
    """Its label, optimum and runs."""
    cut = few_rows if args.quick else lambda problem: problem
    problem = cut(load(name, data=args.data))
    alpha = strength / problem.X_train.shape[0]
    best = optimum(problem, strength)
    runs = []
    for dtype in args.dtypes:
        part = cut(load(name, data=args.data, dtype=np.dtype(dtype)))
        judge = Judge(part, alpha, best["objective"])
        for threads in args.threads:
            runs += compare(judge, args, dtype, threads)
    return f"{name} ({problem.shape_text}), alpha = {strength:g}/n", best, runs


def _compare(judge, args, dtype, threads):
    """Runs of skce and of its peers on one problem."""
    peers = {name: PEERS[name] for name in args.peers if PEERS[name].serves(judge.problem)}
    fits = {"skce": skce_solver} | {name: peer.fit for name, peer in peers.items()}
    with ExitStack() as stack:
        for name, fit in fits.items():
            fits[name] = stack.enter_context(closing(Candidate(fit, judge, threads)))
        ours = {tol: Run(dtype, threads, f"skce, tol={tol:g}") for tol in args.tols}
        ours[args.tols[0]].name = "skce"
        for tol, run in ours.items():
            seconds, gap, _ = fits["skce"](tol=tol)
            run.goal = max(gap, FLOOR)
            run.curve = [(seconds, gap)]
        budget = max(args.budget, LEAST_RATIO * ours[args.tols[0]].curve[0][0])
        jobs = [(run.plain, "skce", {"tol": tol}) for tol, run in ours.items()]
        runs = [*ours.values()]
        goals = [run.goal for run in runs]
        for name, peer in peers.items():
            run = Run(dtype, threads, name)
            runs.append(run)
            found, run.curve = find_iterations(
                lambda m, fit=fits[name]: fit(budget, max_iter=m)[:2], goals, budget
            )
            run.tuned = {gap: [] for gap in found}
            jobs += [(run.tuned[gap], name, {"max_iter": m}) for gap, m in found.items()]
            if peer.plain:
                jobs.append((run.plain, name, {}))
        for seed in range(args.rounds):
            for results, name, params in jobs:
                if not results or sum(result[0] for result in results) < budget / 2:
                    limit = None if name == "skce" else budget
                    seeded = {} if "max_iter" in params else {"seed": seed}  # the found one's
                    results.append(fits[name](limit, **params, **seeded))
        for run in runs:
            run.budget = budget
    return runs


def _defaults_title(args):
    return (
        f"alpha = {DEFAULTS_ALPHA:g}, float64, seeds {list(DEFAULTS_SEEDS)} (worst loss, median "
        f"time), one thread of {os.cpu_count()} CPUs. Held-out loss and fit seconds of the default "
        "estimators\nand of LogisticRegression at tol=1e-8: each stops by its own rule."
    )


def _print_defaults(args):
    rows = []
    for name in args.sets or (DEFAULTS_SETS if data_folder(args.data) else WITHOUT_DATA):
        problem = load(name, data=args.data)
        if args.quick:
            problem = few_rows(problem)
        judge = Judge(problem, DEFAULTS_ALPHA, 1.0)
        peer = logistic_regression
        theirs = _loss_and_seconds(peer, judge, solver="lbfgs", tol=1e-8, max_iter=20_000)
        ours = [_loss_and_seconds(skce_solver, judge, seed=s) for s in DEFAULTS_SEEDS]
        loss, seconds = max(o[0] for o in ours), statistics.median(o[1] for o in ours)
        ratio = f"{loss / theirs[0]:.4f}"
        shape = f"{name} ({problem.shape_text})"
        rows.append((shape, f"{loss:.5f}", ratio, f"{seconds:.2f}", f"{theirs[1]:.2f}"))
    header = ("data", "held-out loss", "/ LogisticRegression's", "skce s", "LogisticRegression s")
    print(f"{markdown_table(header, rows)}\n\n{_wine_line(DEFAULTS_SEEDS)}", flush=True)


def _loss_and_seconds(peer, judge, **params):
    seconds, *result = timed(lambda: peer(judge.problem, judge.alpha, **params))
    return judge.test_loss(*result), seconds


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
