"""Train skce's two estimators beside scikit-learn's, print a table, save a loss-curve picture.

    python examples/demo.py [--out build/demo_loss_curve.png]

Uses only data that scikit-learn ships or draws. Every model sits in the same Pipeline with a
StandardScaler and takes the best of the same three penalties by 5-fold grid search.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import skce
from skce.metrics import multilabel_log_loss, neg_multilabel_log_loss_scorer

__all__ = ["main"]

ALPHAS = (1e-4, 1e-3, 1e-2)


class Task(NamedTuple):
    """One comparison: its data, the models with the name of their penalty, and the scores."""

    title: str
    data: list
    models: dict
    scoring: Any
    folds: Any
    scores: dict


def main(argv=None):
    """Run both comparisons and save the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/demo_loss_curve.png"))
    args = parser.parse_args(argv)
    start = time.perf_counter()
    digits, labels = digits_task(), multilabel_task()
    print(f"skce {skce.__version__}: cross-entropy linear models beside scikit-learn's.")
    print(f"Each model: StandardScaler, then the best of alpha = {', '.join(map(str, ALPHAS))} by")
    print("5-fold log loss; C of LogisticRegression is 1 / (alpha n). Scores on held-out rows;")
    print("fit seconds: median of five fits of the chosen pipeline, one thread. Each stops by its")
    print("own rule: skce's default within 0.1 % of the optimum, LogisticRegression at a gradient")
    print('of 1e-4; solver="sgd" is stochastic alone, as on larger data.')
    with threadpool_limits(limits=1):
        for task in (digits, labels):
            compare(task)
    path = save_picture(digits, labels, args.out)
    print(f"\nLoss curves: {path}\nSeconds in all: {time.perf_counter() - start:.1f}")


def digits_task():
    """Compare the classifiers of one class a row."""
    X, y = load_digits(return_X_y=True)
    return Task(
        title="Digits, one of 10 classes",
        data=train_test_split(X, y, test_size=0.25, stratify=y, random_state=0),
        models={
            "skce.MultinomialLogistic": (skce.MultinomialLogistic(random_state=0), "alpha"),
            '  solver="sgd"': (
                skce.MultinomialLogistic(solver="sgd", max_iter=500, random_state=0),
                "alpha",
            ),
            "LogisticRegression": (LogisticRegression(max_iter=10_000), "C"),
            'SGDClassifier(loss="log_loss")': (_sgd(), "alpha"),
        },
        scoring="neg_log_loss",
        folds=StratifiedKFold(5, shuffle=True, random_state=0),
        scores={"log loss": _log_loss, "accuracy": _accuracy},
    )


def multilabel_task():
    """Compare the classifiers of several labels a row."""
    X, y = make_multilabel_classification(
        n_samples=2000, n_features=50, n_classes=10, n_labels=3, length=200, random_state=0
    )
    regression = OneVsRestClassifier(LogisticRegression(max_iter=10_000))
    return Task(
        title="Drawn set, any of 10 labels (log loss summed over the labels)",
        data=train_test_split(X, y, test_size=0.25, random_state=0),
        models={
            "skce.MultiLabelLogistic": (skce.MultiLabelLogistic(random_state=0), "alpha"),
            '  solver="sgd"': (
                skce.MultiLabelLogistic(solver="sgd", max_iter=500, random_state=0),
                "alpha",
            ),
            "OneVsRest(LogisticRegression)": (regression, "estimator__C"),
            "OneVsRest(SGDClassifier)": (OneVsRestClassifier(_sgd()), "estimator__alpha"),
        },
        scoring=neg_multilabel_log_loss_scorer,
        folds=KFold(5, shuffle=True, random_state=0),
        scores={"log loss": _multilabel_log_loss, "micro-F1": _micro_f1},
    )


def compare(task):
    """Search, refit and score every model of a task; print the table."""
    X_train, X_test, y_train, y_test = task.data
    n, p = X_train.shape
    print(f"\n{task.title}: {n} x {p} training rows, {len(X_test)} test rows.")
    print(f"Predicting the class frequencies has log loss {_prior_loss(y_train, y_test):.4f}.\n")
    columns = ("alpha", *task.scores, "fit seconds")
    print(f"{'model':32}" + "".join(f"{column:>13}" for column in columns))
    print("-" * (32 + 13 * len(columns)))
    for name, (model, parameter) in task.models.items():
        search = GridSearchCV(
            Pipeline([("scale", StandardScaler()), ("model", model)]),
            {f"model__{parameter}": _grid(parameter, n)},
            scoring=task.scoring,
            cv=task.folds,
        ).fit(X_train, y_train)
        held_out = [score(search, X_test, y_test) for score in task.scores.values()]
        seconds = _fit_seconds(search.best_estimator_, X_train, y_train)
        figures = "".join(f"{value:13.4f}" for value in (*held_out, seconds))
        print(f"{name:32}{ALPHAS[search.best_index_]:13g}{figures}", flush=True)


def save_picture(digits, labels, path):
    """Draw the loss curves of the stochastic solvers on both tasks; return the path."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for ax, task in zip(axes, (digits, labels), strict=True):
        _draw_curves(ax, task)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path


def _draw_curves(ax, task):
    X, y = StandardScaler().fit_transform(task.data[0]), task.data[2]
    model = clone(next(iter(task.models.values()))[0]).set_params(alpha=1e-3)
    for solver in ("sgd", "adagrad", "adam"):
        fitted = clone(model).set_params(solver=solver).fit(X, y)
        skce.LossCurveDisplay.from_estimator(fitted, name=f'solver="{solver}"', ax=ax)
    optimum = model.fit(X, y).loss_curve_[-1]
    ax.axhline(optimum, color="black", linestyle=":", label='optimum (solver="auto")')
    ax.set(title=f"{type(model).__name__}, alpha = {model.alpha:g}", yscale="log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:.2g}")
    ax.legend()


def _sgd():
    return SGDClassifier(loss="log_loss", random_state=0)


def _grid(parameter, n):
    return [1 / (alpha * n) if parameter.endswith("C") else alpha for alpha in ALPHAS]


def _fit_seconds(pipeline, X, y, repeats=5):
    seconds = []
    for _ in range(repeats):
        model = clone(pipeline)
        start = time.perf_counter()
        model.fit(X, y)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _prior_loss(y_train, y_test):
    if y_train.ndim == 2:
        return multilabel_log_loss(y_test, np.tile(y_train.mean(axis=0), (len(y_test), 1)))
    return log_loss(y_test, np.tile(np.bincount(y_train) / len(y_train), (len(y_test), 1)))


def _log_loss(model, X, y):
    return log_loss(y, model.predict_proba(X))


def _multilabel_log_loss(model, X, y):
    return multilabel_log_loss(y, model.predict_proba(X))


def _accuracy(model, X, y):
    return accuracy_score(y, model.predict(X))


def _micro_f1(model, X, y):
    return f1_score(y, np.asarray(model.predict(X)), average="micro")


if __name__ == "__main__":
    main()
