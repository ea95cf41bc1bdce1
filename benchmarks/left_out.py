"""Leave-one-out losses without refits beside those of exact refits.

    python benchmarks/left_out.py [--rows 250] [--write docs/selection]

Rows are the first of a seeded permutation. Each is left out once by a refit to 1e-10 that begins at
the coefficients of all rows; seconds are CPU seconds of all refits and of one `loo_log_loss`.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from problems import load, synthetic_multilabel
from report import markdown_table, write_table
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from skce import MultiLabelLogistic, MultinomialLogistic
from skce.inference import loo_log_loss
from skce.metrics import multilabel_log_loss

__all__ = ["main"]

SETS = ("digits_scaled", "iris", "breast_cancer_scaled", "wine_scaled", "labels")
ALPHAS = (0.1, 0.01, 0.001, 0.0001)
HEADER = ("data", "alpha", "training loss", "refits", "without", "off by", "refits s", "without s")
EXACT = {"tol": 1e-10, "max_iter": 10_000}


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=250)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--alphas", type=float, nargs="+", default=ALPHAS)
    parser.add_argument("--write", type=Path, help="folder of left_out.csv")
    args = parser.parse_args(argv)
    rows = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in args.sets:
            labels = name == "labels"
            problem = synthetic_multilabel(2 * args.rows, 10, 4) if labels else load(name)
            problem = problem.subset(args.rows)
            model = (MultiLabelLogistic if labels else MultinomialLogistic)(**EXACT)
            for alpha in args.alphas:
                found = _compare(clone(model).set_params(alpha=alpha), problem)
                rows.append((f"{name} ({problem.shape_text})", f"{alpha:g}", *found))
                print(*rows[-1], flush=True)
    print(markdown_table(HEADER, rows))
    if args.write:
        write_table(args.write / "left_out.csv", HEADER, rows)


def _compare(model, problem):
    """The cells of a model."""
    X, y = problem.X_train, problem.y_train
    model.fit(X, y)
    began = time.process_time()
    refits = [_row_loss(model, X, y, row) for row in range(len(X))]
    between = time.process_time()
    without = loo_log_loss(model, X, y)
    ended = time.process_time()
    training, exact = _loss(model, X, y), np.mean(refits)
    values = [f"{value:.4f}" for value in (training, exact, without)]
    seconds = [f"{value:.2g}" for value in (between - began, ended - between)]
    return *values, f"{100 * (without / exact - 1):+.2f} %", *seconds


def _row_loss(model, X, y, row):
    rest = np.delete(np.arange(len(X)), row)
    start = {"coef_init": model.coef_, "intercept_init": model.intercept_}
    return _loss(clone(model).fit(X[rest], y[rest], **start), X[[row]], y[[row]])


def _loss(model, X, y):
    """The mean loss."""
    if y.ndim == 2:
        return multilabel_log_loss(y, model.predict_proba(X))
    log_proba = model.predict_log_proba(X)
    return -np.mean(log_proba[np.arange(len(X)), np.searchsorted(model.classes_, y)])


if __name__ == "__main__":
    main()
