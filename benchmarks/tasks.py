"""What skce is for: one task a row, its default estimator beside what people use today.

    python benchmarks/tasks.py [--data FOLDER] [--sets 20news bibtex] [--write docs/tasks]

Without a data folder: digits alone.
Both are plain calls at their defaults, but for the penalty, which is alpha = 1/n for skce and the
default C = 1 of LogisticRegression: the same. Seconds are of fit, on one thread, medians of
interleaved rounds; losses are of the test rows. The peer of each task:

- soft labels: rows repeated once for each class, weighted by its share;
- raw columns: a StandardScaler before, which skce does without;
- several labels: one-vs-rest;
- a stream: SGDClassifier(loss="log_loss") in the same calls of partial_fit, 1,000 rows each.
"""

import argparse
import csv
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from judge import mean_loss
from problems import add_data_option, data_folder, few_rows, load
from report import interleaved_medians, markdown_table
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skce import MultiLabelLogistic, MultinomialLogistic

__all__ = ["main"]

STREAM = "_stream"
TASKS = {
    "clinc150_minilm": "embeddings of sentences",
    "mnist": "pixels",
    "20news": "text, CSR",
    "bibtex": "tags, CSR",
    "ldl_movie": "soft labels",
    "covtype": "raw columns",
    "brown_pos_stream": "a stream, CSR",
}
CALL = 1000
HEADER = ("task", "data (n x p, K)", "skce s", "loss", "beside it", "s", "loss", "times")
QUICK = {"sets": ("digits", "digits_stream"), "rounds": 1, "rows": 300}


def main(argv=None):
    """Print the table; write it with a picture where that is asked for."""
    args = _parse(argv)
    rows = []
    with threadpool_limits(limits=1):
        for name in args.sets:
            rows.append(compare(name, args))
    print(markdown_table(HEADER, rows))
    if args.write:
        args.write.mkdir(parents=True, exist_ok=True)
        with open(args.write / "tasks.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])
        draw(rows, args.write / "tasks.svg")


def compare(name, args):
    """Return one row of the table."""
    problem = load(name.removesuffix(STREAM), data=data_folder(args.data), dtype=np.float32)
    if args.rows:
        problem = few_rows(problem, args.rows)
    X, y, task = problem.X_train, problem.y_train, problem.task
    model = MultiLabelLogistic if task == "multilabel" else MultinomialLogistic
    ours, given, learn = model(alpha=1 / X.shape[0], random_state=0), (X, y), fit
    if name.endswith(STREAM):
        beside, learn = "SGDClassifier", stream
        peer = SGDClassifier(loss="log_loss", alpha=1 / X.shape[0], random_state=0)
    else:
        peer, beside, given = _peer(name, X, y, task)
    found: dict = {}
    calls = {
        "skce": partial(learn, found, "skce", ours, X, y),
        "peer": partial(learn, found, "peer", peer, *given),
    }
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        seconds = interleaved_medians(calls, rounds=args.rounds)
        losses = [_test_loss(found[each], problem) for each in calls]
    return (
        TASKS.get(name, name),
        f"{name} ({problem.shape_text})",
        f"{seconds['skce']:.3g}",
        f"{losses[0]:.4g}",
        beside,
        f"{seconds['peer']:.3g}",
        f"{losses[1]:.4g}",
        f"{seconds['peer'] / seconds['skce']:.2g}",
    )


def fit(found, name, model, *given):
    """Keep a copy of the model, fitted."""
    found[name] = clone(model).fit(*given)


def stream(found, name, model, X, y):
    """Keep a copy of the model after one pass in calls of partial_fit."""
    found[name], classes = clone(model), np.unique(y)
    for first in range(0, X.shape[0], CALL):
        rows = slice(first, first + CALL)
        found[name].partial_fit(X[rows], y[rows], classes)


def _peer(name, X, y, task):
    """Return what people use for a task, its name, and what its fit is given."""
    peer = LogisticRegression()
    if task == "multilabel":
        return OneVsRestClassifier(peer), "OneVsRest(LogisticRegression)", (X, y)
    if task == "soft":
        n, k = y.shape
        rows, labels = X[np.repeat(np.arange(n), k)], np.tile(np.arange(k), n)
        return peer, "LogisticRegression, rows repeated", (rows, labels, y.ravel())
    if name == "covtype":
        return make_pipeline(StandardScaler(), peer), "StandardScaler, LogisticRegression", (X, y)
    return peer, "LogisticRegression", (X, y)


def _test_loss(model, problem):
    if isinstance(model, OneVsRestClassifier):
        found = [each.decision_function(problem.X_test) for each in model.estimators_]
        logits = np.column_stack(found)
    elif isinstance(model, SGDClassifier):  # its probabilities are one-vs-rest's, made to sum to 1
        logits = np.log(np.maximum(model.predict_proba(problem.X_test), 1e-15))
    else:
        logits = np.asarray(model.decision_function(problem.X_test))
        logits = logits[:, None] if logits.ndim == 1 else logits
    return mean_loss(logits, problem.y_test, problem.task)


def draw(rows, path):
    """Draw the seconds of both, a pair of bars for each task, with their losses."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    places = np.arange(len(rows))
    fig, ax = plt.subplots(figsize=(8, 0.7 * len(rows) + 1), layout="constrained")
    for shift, column, label in ((-0.2, 2, "skce"), (0.2, 5, "what people use today")):
        seconds = [float(row[column]) for row in rows]
        bars = ax.barh(places + shift, seconds, 0.38, label=label)
        ax.bar_label(bars, [f"{row[column]} s, loss {row[column + 1]}" for row in rows], padding=3)
    ax.set(xscale="log", xlabel="seconds of a default fit, one thread", yticks=places)
    ax.set_yticklabels([f"{row[0]}\n{row[1].split(' ')[0]}" for row in rows])
    ax.set_xlim(right=ax.get_xlim()[1] * 10)
    ax.invert_yaxis()
    ax.legend(loc="upper right")
    fig.savefig(path)


def _parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", help="names of problems.load")
    parser.add_argument("--rows", type=int, help="training rows at most (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="of both")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="where table and picture go")
    parser.add_argument("--quick", action="store_true", help="few rows, one round")
    args = parser.parse_args(argv)
    if args.quick:
        vars(args).update(QUICK)
    if not args.sets:
        args.sets = TASKS if data_folder(args.data) else QUICK["sets"]
    return args


if __name__ == "__main__":
    main()
