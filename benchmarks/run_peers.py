"""Seconds to the same objective value: skce's solvers beside others, printed as markdown.

    python benchmarks/run_peers.py --data FOLDER [--sets letter 20news] [--peers lbfgs saga]
    python benchmarks/run_peers.py --data FOLDER --write docs/fits
    python benchmarks/run_peers.py --data FOLDER --defaults

Without a data folder: scikit-learn's small sets, unscaled. A gap is (F - F*) / F*, F evaluated in
float64 on the values of X, F* from `optima`. The clock of a peer at a gap is that of its fit with
the smallest max_iter that gets there, set-up included; a peer that shows its iterates is timed by
them, less the time spent looking ("T" for skce, whose tol is the smallest gap). "C" is the time of
skce's plain fit at tol=1e-3. Each round runs every solver once; medians of the rounds. "x" is the
time of the fastest scikit-learn solver there, divided by this one's.

--defaults: held-out loss of the default estimators beside LogisticRegression's, alpha = 1e-4.
"""

import argparse
import os
import statistics
import time
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from optima import optimum
from peer_report import Run, table, title, write
from peers import DEFAULT, PEERS, SKCE_SOLVERS, logistic_regression, skce_peer, skce_solver, torch
from problems import add_data_option, data_folder, load
from scipy import sparse, special
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits
from timing import markdown_table

from skce import MultinomialLogistic

__all__ = ["Judge", "Trace", "find_iterations", "main", "mean_loss"]

SETS = (
    *("letter", "mnist", "covtype", "covtype_scaled", "20news", "clinc150", "clinc150_minilm"),
    *("kddcup99", "bibtex", "tmc2007", "iris", "wine", "breast_cancer", "digits"),
)
WITHOUT_DATA = ("iris", "wine", "breast_cancer", "digits")
GAPS = (1e-1, 1e-2, 1e-3, 1e-6)
AT = 1e-3  # the gap of the test loss and of the plain fit's tol
ENDLESS = 10**5  # max_iter of a traced peer, which its trace ends
QUICK = {"rounds": 1, "budget": 0.5, "gaps": (1e-1, 1e-3)}
QUICK_ROWS = 300
DEFAULTS_SETS = ("mnist", "20news", "bibtex", "ldl_movie")
DEFAULTS_ALPHA = 1e-4
DEFAULTS_SEEDS = (0, 1, 2)


class Finished(Exception):
    """Raised into a fit whose trace is complete."""


class Judge:
    """F, its gap and the held-out loss of coefficients, in float64."""

    def __init__(self, problem, alpha, best):
        self.problem, self.alpha, self.best = problem, alpha, best
        self.X, self.X_test = (X.astype(np.float64, copy=False) for X in _both(problem))

    def gap(self, coef, intercept):
        """(F - F*) / F*, inf for what is not finite."""
        with np.errstate(all="ignore"):
            coef = coef.astype(np.float64)
            loss = mean_loss(self.X @ coef.T + intercept, self.problem.y_train, self.problem.task)
            gap = (loss + self.alpha / 2 * np.sum(coef**2)) / self.best - 1
        return float(gap) if np.isfinite(gap) else np.inf

    def test_loss(self, coef, intercept):
        """Mean cross-entropy of the test rows."""
        logits = self.X_test @ coef.astype(np.float64).T + intercept
        return mean_loss(logits, self.problem.y_test, self.problem.task)


@dataclass
class Trace:
    """Gaps of a fit's iterates and when each was there; own time is not counted.

    Iterates after the 40th are judged at steps of 5 %.
    """

    judge: Judge
    goal: float
    budget: float
    points: list = field(default_factory=list)  # (seconds, gap, iteration)
    test_loss: float = float("nan")

    def __post_init__(self):
        self.count, self.own = 0, 0.0
        self.start = time.perf_counter()

    def __call__(self, coef, intercept):
        """Note an iterate; raise Finished at the goal or over the budget."""
        now = time.perf_counter()
        self.count += 1
        elapsed = now - self.start - self.own
        if self.count <= 40 or self.count % (self.count // 20) == 0 or elapsed > self.budget:
            gap = self.judge.gap(coef, intercept)
            if gap <= AT and not self.test_loss > 0:
                self.test_loss = self.judge.test_loss(coef, intercept)
            self.points.append((elapsed, gap, self.count))
            if gap <= self.goal or elapsed > self.budget:
                raise Finished
        self.own += time.perf_counter() - now


def main(argv=None):
    """Run the comparison with command-line arguments."""
    args = _parse(argv)
    if args.defaults:
        print(f"{_defaults_title(args)}\n", flush=True)
        with threadpool_limits(limits=1):
            _print_defaults(args)
        return
    print(title(args), flush=True)
    for name in args.sets or (SETS if data_folder(args.data) else WITHOUT_DATA):
        for strength in args.alphas:
            _run_set(name, strength, args)


def mean_loss(logits, y, task):
    """Mean cross-entropy of logits (n, K); one column of a multi-class task is the sigmoid's."""
    s = np.asarray(logits, dtype=np.float64)
    if task == "multilabel":
        y = y.toarray() if sparse.issparse(y) else np.asarray(y)
        return float((np.logaddexp(0, s) - y * s).sum(axis=1).mean())
    if s.shape[1] == 1:
        s = np.column_stack([np.zeros_like(s), s])
    total = special.logsumexp(s, axis=1)
    if task == "soft":
        return float((total - (y * s).sum(axis=1)).mean())
    return float((total - s[np.arange(len(y)), y]).mean())


def find_iterations(fit, judge, gaps, budget):
    """Smallest max_iter of a fit that reaches each gap, {gap: max_iter}, and the fits tried.

    By doubling, for at most ``budget`` seconds, then by bisection to 4 %, for as long again.
    """
    tried = {}  # max_iter: (seconds, gap)
    spent, m = 0.0, 1
    while True:
        seconds, coef, intercept = _timed(fit, max_iter=m)
        tried[m] = (seconds, judge.gap(coef, intercept))
        spent += seconds
        level = m > 4 and tried[m][1] == tried[m // 2][1]
        if tried[m][1] <= min(gaps) or level or spent + 2 * seconds > budget:
            break
        m *= 2
    found = {}
    for gap in gaps:
        reached = [m for m in tried if tried[m][1] <= gap]
        while reached:
            most = min(reached)
            least = max([m for m in tried if m < most], default=0)
            if most - least <= max(1, most // 25) or spent > 2 * budget:
                found[gap] = most
                break
            middle = (least + most) // 2
            seconds, coef, intercept = _timed(fit, max_iter=middle)
            tried[middle] = (seconds, judge.gap(coef, intercept))
            spent += seconds
            if tried[middle][1] <= gap:
                reached.append(middle)
    return found, [(*tried[m], m) for m in sorted(tried)]


def _parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", help="names of problems.load")
    parser.add_argument("--alphas", nargs="+", type=float, default=(1.0,), help="times 1/n")
    parser.add_argument("--dtypes", nargs="+", default=("float32", "float64"))
    parser.add_argument("--threads", nargs="+", type=int, default=(1,))
    parser.add_argument("--solver", nargs="*", default=("auto",), choices=SKCE_SOLVERS)
    parser.add_argument("--peers", nargs="*", default=DEFAULT, choices=tuple(PEERS))
    parser.add_argument("--gaps", nargs="+", type=float, default=GAPS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds a solver may search")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="where CSV and plots go")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS} rows, one round")
    parser.add_argument("--defaults", action="store_true", help="losses of default estimators")
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)  # what is given by name still counts
    return parser.parse_args(argv)


def _both(problem):
    return problem.X_train, problem.X_test


def _run_set(name, strength, args):
    problem = load(name, data=args.data)
    if args.quick:
        problem = _quick(problem)
    alpha = strength / problem.X_train.shape[0]
    best = optimum(problem, strength)
    runs = []
    for dtype in args.dtypes:
        part = problem if dtype == "float64" else load(name, data=args.data, dtype=np.dtype(dtype))
        if args.quick:
            part = _quick(part)
        judge = Judge(part, alpha, best["objective"])
        for threads in args.threads:
            with threadpool_limits(limits=threads):
                if torch is not None:
                    torch.set_num_threads(threads)
                runs += _compare(judge, args, dtype, threads)
    error = best["bound"] / best["objective"]
    label = f"{name} ({problem.shape_text}), alpha = {strength:g}/n"
    heading = f"{label}: F* = {best['objective']:.10g}, at most {error:.1g} of it too high."
    header, rows = table(runs, args.gaps)
    print(f"\n{heading}\n\n{markdown_table(header, rows)}", flush=True)
    if args.write:
        write(args.write, name if strength == 1 else f"{name}_{strength:g}", label, runs, args)


def _quick(problem):
    """A few rows, and of these the classes or labels that a fit can tell apart."""
    part = problem.subset(QUICK_ROWS)
    y, y_test = part.y_train, part.y_test
    if part.task == "multilabel":
        mean = np.asarray(y.mean(axis=0)).ravel()
        kept = np.flatnonzero((mean > 0) & (mean < 1))
        return replace(part, y_train=y[:, kept], y_test=y_test[:, kept])
    if part.task == "soft":
        return part
    classes, y = np.unique(y, return_inverse=True)
    rows = np.isin(y_test, classes)
    y_test = np.searchsorted(classes, y_test[rows])
    return replace(part, y_train=y, X_test=part.X_test[rows], y_test=y_test)


def _compare(judge, args, dtype, threads):
    """Runs of all solvers on one problem."""
    problem = judge.problem
    peers = {f"skce {solver}": skce_peer(solver) for solver in args.solver}
    peers |= {name: PEERS[name] for name in args.peers}
    peers = {name: peer for name, peer in peers.items() if peer.serves(problem)}
    runs = {
        name: Run(dtype, threads, name, peer.from_sklearn, ends_at=None)
        for name, peer in peers.items()
    }
    gaps = list(args.gaps)
    for name, peer in peers.items():
        if peer.fixed:  # the others are timed to where it ends too
            _, coef, intercept = _timed(_on(peer, judge))
            runs[name].ends_at = judge.gap(coef, intercept)
            gaps.append(runs[name].ends_at)
    found = {}
    for name, peer in peers.items():
        if peer.traced:  # nothing of a first call is timed
            _timed(_on(peer, judge), max_iter=1)
        elif not peer.fixed:
            found[name], runs[name].curve = find_iterations(
                _on(peer, judge), judge, gaps, args.budget
            )
    for seed in range(args.rounds):
        for name, peer in peers.items():
            if peer.traced:
                ours = {"tol": min(args.gaps)} if name.startswith("skce ") else {}
                _trace(_on(peer, judge, seed=seed, **ours), judge, gaps, args.budget, runs[name])
            else:
                _refit(_on(peer, judge), judge, gaps, found.get(name), runs[name])
            if name.startswith("skce "):
                _plain(judge, name.removeprefix("skce "), seed, runs[name])
    return list(runs.values())


def _on(peer, judge, **params):
    """Return the peer's fit to the judge's problem."""
    return lambda **more: peer.fit(judge.problem, judge.alpha, **params, **more)


def _timed(fit, **params):
    """Seconds, coefficients and intercepts of a fit that may warn."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        coef, intercept = fit(**params)
        return time.perf_counter() - start, coef, intercept


def _trace(fit, judge, gaps, budget, run):
    """Time a fit by its iterates."""
    trace = Trace(judge, min(gaps), budget)
    try:
        _, *result = _timed(fit, max_iter=ENDLESS, observe=trace)
        trace(*result)
    except Finished:
        pass
    run.curve = trace.points
    run.test_loss = trace.test_loss
    for gap in gaps:
        first = next((point for point in trace.points if point[1] <= gap), None)
        if first:
            run.note(gap, first[0], first[2])


def _refit(fit, judge, gaps, found, run):
    """Time the fits that end at each gap; one alone where max_iter is not ours to choose."""
    if found is None:
        seconds, coef, intercept = _timed(fit)
        run.curve = [(seconds, run.ends_at, 0)]
        found = {}
        for gap in gaps:
            if run.ends_at <= gap:
                run.note(gap, seconds, 0)
        run.test_loss = judge.test_loss(coef, intercept)
    for gap, m in found.items():
        seconds, coef, intercept = _timed(fit, max_iter=m)
        run.note(gap, seconds, m)
        if gap == AT:
            run.test_loss = judge.test_loss(coef, intercept)


def _plain(judge, solver, seed, run):
    """Clock C: the estimator as it comes, but for alpha, solver and seed."""
    params = {"max_iter": 100, "tol": AT, "n_iter_no_change": 5, "solver": solver, "seed": seed}
    fit = skce_solver
    seconds, coef, intercept = _timed(lambda: fit(judge.problem, judge.alpha, **params))
    run.plain.append((seconds, judge.gap(coef, intercept)))


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
            problem = _quick(problem)
        judge = Judge(problem, DEFAULTS_ALPHA, 1.0)
        peer = logistic_regression
        theirs = _loss_and_seconds(peer, judge, solver="lbfgs", tol=1e-8, max_iter=20_000)
        params = {"max_iter": 100, "tol": AT, "n_iter_no_change": 5}
        ours = [_loss_and_seconds(skce_solver, judge, seed=s, **params) for s in DEFAULTS_SEEDS]
        loss, seconds = max(o[0] for o in ours), statistics.median(o[1] for o in ours)
        ratio = f"{loss / theirs[0]:.4f}"
        shape = f"{name} ({problem.shape_text})"
        rows.append((shape, f"{loss:.5f}", ratio, f"{seconds:.2f}", f"{theirs[1]:.2f}"))
    header = ("data", "held-out loss", "/ LogisticRegression's", "skce s", "LogisticRegression s")
    print(f"{markdown_table(header, rows)}\n\n{_wine_line(DEFAULTS_SEEDS)}", flush=True)


def _loss_and_seconds(peer, judge, **params):
    seconds, *result = _timed(lambda: peer(judge.problem, judge.alpha, **params))
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
