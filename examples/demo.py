"""Six tasks that skce is for, each beside the best that scikit-learn offers; a table and a picture.

    python examples/demo.py [--out build/demo.png]

Uses only data that scikit-learn ships or draws. Every model is at its defaults but for the penalty,
which is the same for all models of a task: alpha = 1 / (C n).
"""

import argparse
import statistics
import time
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from scipy import sparse
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    make_classification,
    make_multilabel_classification,
)
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import skce
from skce import MultiLabelLogistic, MultinomialLogistic
from skce.metrics import multilabel_log_loss, soft_log_loss

__all__ = ["main"]

SKCE = "skce"


def main(argv=None):
    """Run the tasks, print their table, save the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/demo.png"))
    args = parser.parse_args(argv)
    start = time.perf_counter()
    print(f"skce {skce.__version__}: cross-entropy linear models beside scikit-learn's.")
    print("Losses are of held-out rows; seconds are of fit (the stream's of all calls), medians of")
    print("three, one thread. All models of a task have the same penalty.\n")
    print(f"{'':46}{'loss':>8}{'seconds':>10}")
    figures = {}
    with threadpool_limits(limits=1):
        for task in (digits, raw_columns, text, votes, missing_labels, stream):
            title, models = task()
            print(title)
            for name, (fit, loss) in models.items():
                seconds, value = measured(fit, loss)
                figures[title, name] = seconds, value
                print(f"  {name:44}{value:8.4f}{seconds:10.4f}", flush=True)
    path = save_picture(figures, args.out)
    print(f"\nPicture: {path}\nSeconds in all: {time.perf_counter() - start:.1f}")


def measured(fit, loss, repeats=3):
    """Return the median seconds of a fit, and the loss of the fitted model."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lbfgs ends at max_iter on raw columns
            model = fit()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), loss(model)


def fitted(model, *given, **params):
    """Return the function that fits a copy of the model."""
    return lambda: clone(model).fit(*given, **params)


def digits():
    """Ten classes, standardised pixels: what everybody has."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)
    alpha = 1e-3
    return f"Digits, standardised ({X.shape[0]} x {X.shape[1]}, 10 classes)", {
        name: (fitted(make_pipeline(StandardScaler(), model), X, y), _log_loss(X_test, y_test))
        for name, model in {
            SKCE: MultinomialLogistic(alpha=alpha),
            "LogisticRegression": LogisticRegression(C=1 / (alpha * len(X))),
        }.items()
    }


def raw_columns():
    """Columns between .01 and 4000, as they come."""
    X, y = load_breast_cancer(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)
    alpha, judge = 1e-4, _log_loss(X_test, y_test)
    regression = LogisticRegression(C=1 / (alpha * len(X)))
    return f"Breast cancer, raw columns ({X.shape[0]} x {X.shape[1]}, 2 classes)", {
        SKCE: (fitted(MultinomialLogistic(alpha=alpha), X, y), judge),
        "LogisticRegression (ends at max_iter)": (fitted(regression, X, y), judge),
        'LogisticRegression("newton-cholesky")': (
            fitted(clone(regression).set_params(solver="newton-cholesky"), X, y),
            judge,
        ),
        "SGDClassifier": (fitted(SGDClassifier(loss="log_loss", alpha=alpha), X, y), judge),
    }


def text():
    """Documents of many classes, as counts of words."""
    rng = np.random.default_rng(0)
    n, p, k = 4000, 10_000, 40
    topics = 0.15 * rng.dirichlet(np.full(p, 0.01), size=k) + 0.85 * rng.dirichlet(np.full(p, 0.3))
    y = rng.integers(0, k, n)
    words = [rng.choice(p, size=40, p=topics[c]) for c in y]
    rows = np.repeat(np.arange(n), 40)
    counts = sparse.csr_array((np.ones(n * 40), (rows, np.concatenate(words))), (n, p))
    X = TfidfTransformer().fit_transform(counts)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    alpha, judge = 1e-4, _log_loss(X_test, y_test)
    return f"Sparse text, drawn ({X.shape[0]} x {p}, {k} classes)", {
        SKCE: (fitted(MultinomialLogistic(alpha=alpha), X, y), judge),
        "LogisticRegression": (fitted(LogisticRegression(C=1 / (alpha * X.shape[0])), X, y), judge),
    }


def votes():
    """Shares of votes as targets; the loss is of the probabilities that votes were drawn from."""
    rng = np.random.default_rng(0)
    n, p, k = 2000, 30, 5
    X = rng.normal(size=(2 * n, p))
    truth = softmax(X @ rng.normal(scale=0.4, size=(p, k)), axis=1)
    shares = rng.multinomial(5, truth[:n]) / 5
    alpha = 1e-3

    def judge(model):
        return soft_log_loss(truth[n:], model.predict_proba(X[n:]))

    regression = LogisticRegression(C=1 / (alpha * n))
    repeated = np.repeat(X[:n], k, axis=0), np.tile(np.arange(k), n), shares.ravel()
    return f"Votes of five annotators, drawn ({n} x {p}, {k} classes)", {
        SKCE: (fitted(MultinomialLogistic(alpha=alpha), X[:n], shares), judge),
        "LogisticRegression on the majority": (
            fitted(regression, X[:n], shares.argmax(axis=1)),
            judge,
        ),
        "LogisticRegression on weighted copies of rows": (fitted(regression, *repeated), judge),
    }


def missing_labels():
    """Several labels a row, half of the entries unknown."""
    X, Y = make_multilabel_classification(
        n_samples=3000, n_features=50, n_classes=20, n_labels=4, length=200, random_state=0
    )
    X, X_test, Y, Y_test = train_test_split(X.astype(float), Y, random_state=0)
    unknown = np.random.default_rng(0).random(Y.shape) < 0.5
    alpha = 1e-2

    def judge(model):
        return multilabel_log_loss(Y_test, model.predict_proba(X_test))

    regression = OneVsRestClassifier(LogisticRegression(C=1 / (alpha * len(X))))
    return f"Labels, half of them unknown, drawn ({X.shape[0]} x {X.shape[1]}, 20 labels)", {
        SKCE: (fitted(MultiLabelLogistic(alpha=alpha), X, np.where(unknown, np.nan, Y)), judge),
        "OneVsRest(LogisticRegression), unknown is no": (
            fitted(regression, X, np.where(unknown, 0, Y)),
            judge,
        ),
    }


def stream():
    """One pass over rows in calls of 50; the loss is of each call before it is learnt."""
    X, y = make_classification(
        6000, 30, n_informative=12, n_classes=5, class_sep=1.0, flip_y=0.05, random_state=0
    )
    X = X * np.random.default_rng(0).lognormal(sigma=1, size=30)
    classes, losses = np.arange(5), {}

    def passed(name, model, scale):
        def fit():
            learner, scaler, found = clone(model), StandardScaler(), []
            for first in range(0, len(X), 50):
                Z, t = X[first : first + 50], y[first : first + 50]
                if scale:
                    Z = scaler.partial_fit(Z).transform(Z)
                if first:
                    found.append(log_loss(t, learner.predict_proba(Z), labels=classes))
                learner.partial_fit(Z, t, classes)
            losses[name] = float(np.mean(found))

        return fit, lambda _: losses[name]

    sgd = SGDClassifier(loss="log_loss", random_state=0)
    average = clone(sgd).set_params(average=True)
    models = {
        SKCE: (MultinomialLogistic(), False),
        "SGDClassifier": (sgd, False),
        "StandardScaler, SGDClassifier(average=True)": (average, True),
    }
    return f"A stream in calls of 50, drawn ({len(X)} x 30, 5 classes)", {
        name: passed(name, *model) for name, model in models.items()
    }


def _log_loss(X, y):
    return lambda model: log_loss(y, model.predict_proba(X))


def save_picture(figures, path):
    """Draw the seconds and the loss of each model, tasks below each other; return the path."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    places, labels, before = [], [], None
    for title, name in figures:
        places.append((places[-1] + 1 if places else 0) + (title != before) * 1.3)
        labels.append(f"{title.split(' (')[0]}\n{name}" if title != before else name)
        before = title
    colours = ["tab:blue" if name == SKCE else "lightgrey" for _, name in figures]
    fig, axes = plt.subplots(1, 2, figsize=(12, 8), sharey=True, layout="constrained")
    for ax, column, label in zip(axes, (0, 1), ("seconds", "held-out loss"), strict=True):
        values = [figure[column] for figure in figures.values()]
        bars = ax.barh(places, values, color=colours)
        ax.bar_label(bars, [f"{value:.3g}" for value in values], padding=3, fontsize=8)
        ax.set(xscale="log", xlabel=label)
        ax.margins(x=0.1)
    axes[0].set_yticks(places, labels, fontsize=8)
    axes[0].invert_yaxis()
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=120)
    return path


if __name__ == "__main__":
    main()
