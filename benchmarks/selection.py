"""Choosing the penalty: `MultinomialLogisticCV` and its like beside grid searches.

    python benchmarks/selection.py [--data FOLDER] [--sets digits letter] [--rounds 3]

Eight alphas, skce's default ones (or `--alphas`), and five folds for all. One thread; seconds are
CPU seconds, medians of the rounds, in turns. The columns after them are times as long as the sweep:
LogisticRegressionCV with its defaults but the grid, the folds and scoring="neg_log_loss"; the same
with the largest tol, a power of ten, that leaves no model of the first fold farther above its
optimum than skce's tol; grid searches of skce and of LogisticRegression. Several labels are a
GridSearchCV of OneVsRestClassifier. All but the first are given one fold, and that time is
multiplied by five, and so is the first of bibtex and text; what takes more than `--budget` seconds
is ended. The last column is the sweep in default fits at the chosen alpha.

The second table judges the choice: the largest distance of mean scores from those of fits to 1e-8,
in their standard errors, the best alpha of both, and log losses on the test rows.
"""

import argparse
import csv
import signal
import time
import warnings
from pathlib import Path

import numpy as np
from problems import add_data_option, dense_labels, few_rows, load
from report import interleaved_medians, markdown_table, write_table
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import log_loss, make_scorer
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from threadpoolctl import threadpool_limits

from skce import (
    MultiLabelLogistic,
    MultiLabelLogisticCV,
    MultinomialLogistic,
    MultinomialLogisticCV,
    path,
)
from skce.losses import softmax_cross_entropy
from skce.metrics import multilabel_log_loss, soft_log_loss

__all__ = ["main"]

# Most training rows of each set, for the time that scikit-learn takes
ROWS = {
    "digits": 2000,
    "breast_cancer": 1000,
    "letter": 3000,
    "covtype": 3000,
    "mnist": 2000,
    "ldl_movie": 2000,
    "bibtex": 1000,
    "20news": 1000,
    "clinc150_minilm": 2000,
    "clinc150": 2000,
}
ONE_FOLD = {"bibtex", "20news", "clinc150"}  # of scikit-learn's is timed, without its refit
TIMES = (
    *("data (n x p, K)", "sweep s", "scikit-learn", "at the same gap"),
    *("grid of skce", "grid of scikit-learn", "in default fits"),
)
CHOICE = ("data", "distance / error", "alpha", "of exact fits", "test loss", "scikit-learn's")
LOSSES = {"multiclass": log_loss, "multilabel": multilabel_log_loss, "soft": soft_log_loss}


def main(argv=None):
    """Print both tables."""
    args = _parse(argv)
    times, choices = [], []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in args.sets:
            problem = load(name, data=args.data)
            most = args.rows or ROWS.get(name)
            problem = few_rows(problem, 100) if args.quick else problem
            problem = problem.subset(most) if most else problem
            row, choice = _compare(problem, args)
            print(row, choice, flush=True)
            times.append(row)
            choices.append(choice)
            if args.write:
                _update(args.write / "times.csv", TIMES, row)
                _update(args.write / "choices.csv", CHOICE, choice)
    print(markdown_table(TIMES, times), markdown_table(CHOICE, choices), sep="\n\n")


def _compare(problem, args):
    """The rows of both tables for a set."""
    X, y, task = problem.X_train, problem.y_train, problem.task
    several = task == "multilabel"
    search, model = (
        (MultiLabelLogisticCV, MultiLabelLogistic)
        if several
        else (MultinomialLogisticCV, MultinomialLogistic)
    )
    labels = task == "multiclass"
    cv = (StratifiedKFold if labels else KFold)(5, shuffle=True, random_state=0)
    folds = list(cv.split(X, y))
    alphas = args.alphas or search(8, cv=folds[:1], tol=1.0).fit(X, y).alphas_
    chosen = search(alphas, cv=folds, random_state=0).fit(X, y)
    part = not args.quick and problem.name in ONE_FOLD

    def theirs(cv, refit=False, **params):
        return _theirs(task, alphas, cv, len(folds[0][0]), refit=refit, **params)

    candidates = {"sweep": lambda: search(alphas, cv=folds, random_state=0).fit(X, y)}
    candidates["fits"] = lambda: model(alpha=chosen.alpha_, random_state=0).fit(X, y)
    found = interleaved_medians(candidates, rounds=args.rounds, clock=time.process_time)
    dense, sweep = dense_labels(y) if several else y, found["sweep"]
    full, ratios = None, [""] * 4

    def timed(call, one_fold=True):
        return _ratio(_seconds(call, args.budget), args.budget, sweep, one_fold)

    if task != "soft":
        full = theirs(folds[:1] if part else folds, refit=not part)
        ratios[0] = timed(lambda: full.fit(X, dense), part)
    if labels:
        seconds = _at_same_gap(theirs, alphas, X, y, folds[0], args.budget)
        ratios[1] = _ratio(seconds, args.budget, sweep, True)
    if not args.no_grid:
        scoring = make_scorer(
            LOSSES[task], greater_is_better=False, response_method="predict_proba"
        )
        params = {"scoring": scoring, "cv": folds[:1], "refit": False}
        grid = GridSearchCV(model(random_state=0), {"alpha": alphas}, **params)
        ratios[2] = timed(lambda: grid.fit(X, y))
        if labels:
            other = GridSearchCV(LogisticRegression(), {"C": _as_C(alphas, folds)}, **params)
            ratios[3] = timed(lambda: other.fit(X, y))
    row = (f"{problem.name} ({problem.shape_text})", f"{sweep:.2f}", *ratios)
    row += (f"{sweep / found['fits']:.1f}",)
    loss = LOSSES[task]
    test = [loss(problem.y_test, chosen.predict_proba(problem.X_test))]
    if hasattr(full, "predict_proba") and not part and not ratios[0].startswith(">"):
        test.append(loss(problem.y_test, full.predict_proba(problem.X_test)))
    test = [f"{value:.4f}" for value in test] + [""] * (2 - len(test))
    choice = [problem.name, "", f"{chosen.alpha_:.2g}", "", *test]
    if not args.no_exact:
        exact = search(alphas, cv=folds, random_state=0, tol=1e-8, max_iter=1000).fit(X, y)
        means, at = chosen.scores_.mean(axis=0)[0], exact.scores_.mean(axis=0)[0]
        error = exact.scores_std_[0] / np.sqrt(len(folds))
        choice[1], choice[3] = f"{np.nanmax(abs(means - at) / error):.3f}", f"{exact.alpha_:.2g}"
    return row, choice


def _theirs(task, alphas, folds, rows, *, refit, **params):
    """The search of scikit-learn."""
    Cs = 1 / (np.asarray(alphas) * rows)
    if task == "multiclass":
        params |= {"use_legacy_attributes": False, "refit": refit, "l1_ratios": (0,)}
        return LogisticRegressionCV(Cs=Cs, cv=folds, scoring="neg_log_loss", **params)
    scorer = make_scorer(
        multilabel_log_loss, greater_is_better=False, response_method="predict_proba"
    )
    model = OneVsRestClassifier(LogisticRegression())
    return GridSearchCV(model, {"estimator__C": Cs}, scoring=scorer, cv=folds, refit=refit)


def _as_C(alphas, folds):
    return 1 / (np.asarray(alphas) * len(folds[0][0]))


def _at_same_gap(theirs, alphas, X, y, fold, budget):
    """Seconds of a fold at the largest tol, a power of ten, whose models are as near as skce's."""
    train = fold[0]
    model = MultinomialLogistic(tol=1e-6, max_iter=1000, random_state=0)
    least = path(X[train], y[train], alphas, estimator=model).objectives
    for power in range(4, 9):
        search = theirs([fold], tol=10.0**-power, max_iter=10_000)
        seconds = _seconds(lambda search=search: search.fit(X, y), budget)
        if seconds is None:
            return None
        coefs = search.coefs_paths_.reshape(len(alphas), -1, X.shape[1] + 1)
        here = [_objective(X[train], y[train], *each) for each in zip(coefs, alphas, strict=True)]
        if (np.array(here) <= (1 + MultinomialLogistic().tol) * least).all():
            return seconds
    return None


def _objective(X, y, coef, alpha):
    logits = X @ coef[:, :-1].T + coef[:, -1]
    if len(coef) == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    loss = softmax_cross_entropy(logits, np.unique(y, return_inverse=True)[1])
    return loss + alpha / 2 * np.sum(coef[:, :-1] ** 2)


def _ratio(seconds, budget, sweep, one_fold):
    """Say how many times as long as the sweep a search takes, one fold of it times five."""
    folds = 5 if one_fold else 1
    if seconds is None:
        return f"> {folds * budget / sweep:.0f}"
    return f"{folds * seconds / sweep:.1f}"


def _seconds(call, budget):
    """CPU seconds of a call, None where these are more than a budget."""

    def end(*args):
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, budget)
    start = time.process_time()
    try:
        call()
        return time.process_time() - start
    except TimeoutError:
        return None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _update(file, header, row):
    """Write a row to a table, in the place of that of the same set."""
    rows = []
    if file.exists():
        with file.open(newline="") as lines:
            rows = list(csv.reader(lines))[1:]
    names = [each[0].split(" ")[0] for each in rows]
    name = row[0].split(" ")[0]
    at = names.index(name) if name in names else len(rows)
    rows[at : at + 1] = [row]
    write_table(file, header, rows)


def _parse(argv):
    parser = argparse.ArgumentParser(description=__doc__)
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", default=[*ROWS])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, help="at most so many training rows")
    parser.add_argument("--alphas", type=float, nargs="+", help="default: eight of skce's")
    parser.add_argument("--no-grid", action="store_true", help="leave out the grid searches")
    parser.add_argument("--budget", type=float, default=60.0, help="most CPU seconds of a peer")
    parser.add_argument("--no-exact", action="store_true", help="leave out the fits to 1e-8")
    parser.add_argument("--write", type=Path, help="folder of times.csv and choices.csv")
    parser.add_argument("--quick", action="store_true", help="100 rows of each set")
    args = parser.parse_args(argv)
    args.rounds = 1 if args.quick else args.rounds
    return args


if __name__ == "__main__":
    main()
