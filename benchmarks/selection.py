"""Choosing the penalty: `MultinomialLogisticCV` and its like beside grid searches.

    python benchmarks/selection.py [--data FOLDER] [--sets digits letter] [--rounds 3]

Eight alphas, skce's default ones (or `--alphas`), and five folds for all. One thread; seconds are
CPU seconds, medians of the rounds, in turns. LogisticRegressionCV has its defaults but the grid,
the folds and scoring="neg_log_loss"; several labels are a GridSearchCV of OneVsRestClassifier. Of
bibtex and text it is given one fold, and that time is multiplied by five. The other columns are a
GridSearchCV of skce, and 12 default fits at the chosen alpha; numbers above 1 are in favour of the
sweep, but the last, which is the sweep in such fits.

The second table judges the choice: the largest distance of mean scores from those of fits to 1e-8,
in their standard errors, the best alpha of both, and log losses on the test rows.
"""

import argparse
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
)
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
TIMES = ("data (n x p, K)", "sweep s", "scikit-learn", "grid of skce", "in default fits")
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
                write_table(args.write / "times.csv", TIMES, times)
                write_table(args.write / "choices.csv", CHOICE, choices)
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
    theirs = _theirs(task, alphas, folds[:1] if part else folds, len(folds[0][0]), not part)
    scoring = make_scorer(LOSSES[task], greater_is_better=False, response_method="predict_proba")
    grid = GridSearchCV(model(random_state=0), {"alpha": alphas}, scoring=scoring, cv=folds)
    candidates = {"sweep": lambda: search(alphas, cv=folds, random_state=0).fit(X, y)}
    candidates["fits"] = lambda: model(alpha=chosen.alpha_, random_state=0).fit(X, y)
    found = interleaved_medians(candidates, rounds=args.rounds, clock=time.process_time)
    slow = {}
    if theirs is not None:
        dense = dense_labels(y) if several else y
        slow["theirs"] = lambda: theirs.fit(X, dense)
    if not args.no_grid:
        slow["grid"] = lambda: grid.fit(X, y)
    seconds = {name: _once(call) for name, call in slow.items()}
    ratio = {name: f"{value / found['sweep']:.1f}" for name, value in seconds.items()}
    if part and "theirs" in seconds:
        ratio["theirs"] = f"{5 * seconds['theirs'] / found['sweep']:.0f} (1 of 5 folds, times 5)"
    row = (f"{problem.name} ({problem.shape_text})", f"{found['sweep']:.2f}")
    row += (ratio.get("theirs", ""), ratio.get("grid", ""))
    row += (f"{found['sweep'] / found['fits']:.1f}",)
    loss = LOSSES[task]
    test = [loss(problem.y_test, chosen.predict_proba(problem.X_test))]
    if theirs is not None and not part:
        test.append(loss(problem.y_test, theirs.predict_proba(problem.X_test)))
    choice = [problem.name, "", f"{chosen.alpha_:.2g}", "", *(f"{value:.4f}" for value in test)]
    if not args.no_exact:
        exact = search(alphas, cv=folds, random_state=0, tol=1e-8, max_iter=1000).fit(X, y)
        means, at = chosen.scores_.mean(axis=0)[0], exact.scores_.mean(axis=0)[0]
        error = exact.scores_std_[0] / np.sqrt(len(folds))
        choice[1], choice[3] = f"{np.nanmax(abs(means - at) / error):.3f}", f"{exact.alpha_:.2g}"
    return row, choice


def _theirs(task, alphas, folds, rows, refit):
    """The search of scikit-learn; None where it takes no such targets."""
    Cs = 1 / (np.asarray(alphas) * rows)
    if task == "multiclass":
        return LogisticRegressionCV(
            Cs=Cs,
            cv=folds,
            scoring="neg_log_loss",
            l1_ratios=(0,),
            use_legacy_attributes=False,
            refit=refit,
        )
    if task == "soft":
        return None
    scorer = make_scorer(
        multilabel_log_loss, greater_is_better=False, response_method="predict_proba"
    )
    model = OneVsRestClassifier(LogisticRegression())
    return GridSearchCV(model, {"estimator__C": Cs}, scoring=scorer, cv=folds, refit=refit)


def _once(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def _parse(argv):
    parser = argparse.ArgumentParser(description=__doc__)
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", default=[*ROWS])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, help="at most so many training rows")
    parser.add_argument("--alphas", type=float, nargs="+", help="default: eight of skce's")
    parser.add_argument("--no-grid", action="store_true", help="leave out the grid of skce")
    parser.add_argument("--no-exact", action="store_true", help="leave out the fits to 1e-8")
    parser.add_argument("--write", type=Path, help="folder of times.csv and choices.csv")
    parser.add_argument("--quick", action="store_true", help="100 rows of each set")
    args = parser.parse_args(argv)
    args.rounds = 1 if args.quick else args.rounds
    return args


if __name__ == "__main__":
    main()
