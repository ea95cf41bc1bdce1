"""Test losses of penalties chosen for columns of different scales: optima beside fits cut short.

    python benchmarks/stopped_early.py [--splits 20] [--write docs/selection]

breast_cancer as it is, split in 426 rows and 143 again and again; the same eight alphas, five folds
and score for all searches. scikit-learn's newton-cholesky ends at the optimum, its default lbfgs
after 100 steps. Means over the splits, with the standard error of the difference from the first.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from report import markdown_table, write_table
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skce import MultinomialLogistic, MultinomialLogisticCV

__all__ = ["main"]

HEADER = ("search", "columns", "test loss", "more than the first", "standard error")


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--write", type=Path, help="folder of stopped_early.csv")
    args = parser.parse_args(argv)
    X, y = load_breast_cancer(return_X_y=True)
    losses: dict = {}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(args.splits):
            for name, loss in _losses(*train_test_split(X, y, random_state=seed)):
                losses.setdefault(name, []).append(loss)
    first = np.array(next(iter(losses.values())))
    rows = []
    for name, found in losses.items():
        more = np.array(found) - first
        error = more.std(ddof=min(1, len(more) - 1)) / np.sqrt(len(more))
        rows.append((*name, f"{np.mean(found):.4f}", f"{more.mean():+.4f}", f"{error:.4f}"))
    print(markdown_table(HEADER, rows))
    if args.write:
        write_table(args.write / "stopped_early.csv", HEADER, rows)


def _losses(A, B, a, b):
    """Yield the name of each search and the loss of its model on the test rows."""
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(A, a))
    for columns in ("raw", "standardised"):

        def pipe(model, columns=columns):
            return model if columns == "raw" else make_pipeline(StandardScaler(), model)

        Z = A if columns == "raw" else StandardScaler().fit_transform(A)
        alphas = MultinomialLogisticCV(8, cv=folds[:1], tol=1.0).fit(Z, a).alphas_
        Cs = 1 / (alphas * len(folds[0][0]))
        given = {"Cs": Cs, "cv": folds, "scoring": "neg_log_loss", "l1_ratios": (0,)}
        given["use_legacy_attributes"] = False
        searches = {
            "skce": MultinomialLogisticCV(alphas, cv=folds),
            "skce, one standard error": MultinomialLogisticCV(
                alphas, cv=folds, one_standard_error=True
            ),
            "scikit-learn, newton-cholesky": LogisticRegressionCV(
                **given, solver="newton-cholesky", tol=1e-8, max_iter=1000
            ),
            "scikit-learn, lbfgs": LogisticRegressionCV(**given),
        }
        for name, search in searches.items():
            model = pipe(search).fit(A, a)
            yield (name, columns), log_loss(b, model.predict_proba(B))
            if name == "skce":  # C multiplies a sum: for all rows its alpha is that much less
                alpha = (model if columns == "raw" else model[-1]).alpha_
                share = len(folds[0][0]) / len(a)
                model = pipe(MultinomialLogistic(alpha=share * alpha, tol=1e-6)).fit(A, a)
                yield ("skce, at the same C", columns), log_loss(b, model.predict_proba(B))


if __name__ == "__main__":
    main()
