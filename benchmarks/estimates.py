"""How often a fit by L-BFGS ends within ``tol``, and how often its estimate is not below the gap.

Random fits: 20 to 2000 rows, 2 to 100 columns, dense and CSR, of unlike scales, labels and tags,
alpha from 1e-10 to 0.1, tol from 1e-5 to 0.1. The minimum is that of a fit with tol=1e-11.

    python benchmarks/estimates.py [--fits 1200] [--write docs/estimates.csv]
"""

import argparse
import csv
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
from report import markdown_table
from scipy import sparse, special

from skce import MultiLabelLogistic, MultinomialLogistic

__all__ = ["draw", "judge", "main"]

ALPHAS = 1e-10, 1e-7, 1e-5, 1e-3, 1.0  # bounds of the classes of alpha that are told apart


def draw(seed):
    """Return an estimator's class, X, y, alpha, tol and the objective of the best intercept."""
    rng = np.random.default_rng(seed)
    n, p = int(10 ** rng.uniform(1.3, 3.3)), int(10 ** rng.uniform(0.3, 2))
    k = int(rng.integers(2, 8))
    X = rng.standard_normal((n, p))
    if rng.random() < 0.5:
        X = X @ rng.standard_normal((p, p))
    X = X * (10 ** rng.uniform(-2, 2, p)) ** (rng.random() < 0.5)
    X = X + (rng.random() < 0.3) * 5 * rng.standard_normal(p)
    if rng.random() < 0.3:
        X = X * (rng.random(X.shape) < 0.2)
    size = 10 ** rng.uniform(-1, 2)  # of the logits: classes are separable where it is large
    Z = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-9)
    scores = size * Z @ rng.standard_normal((p, k)) / np.sqrt(p) + rng.gumbel(size=(n, k))
    alpha = 10 ** rng.uniform(-10, -1)
    X = sparse.csr_array(X) if rng.random() < 0.3 else X
    tagged, tol = rng.random() >= 0.6, 10 ** rng.uniform(-5, -1)
    if tagged:
        y, estimator = (scores > 1).astype(float), MultiLabelLogistic
        share = y.mean(axis=0)
        best = (special.entr(share) + special.entr(1 - share)).sum()
    else:
        y, estimator = scores.argmax(axis=1), MultinomialLogistic
        best = special.entr(np.bincount(y) / n).sum()
    return estimator, X, y, alpha, tol, float(best)


def judge(seed):
    """Return alpha, the gap over the goal and over the estimate of one random fit."""
    estimator, X, y, alpha, tol, best = draw(seed)
    params = {"alpha": alpha, "solver": "lbfgs", "max_iter": 3000, "random_state": 0}
    model = estimator(**params, tol=tol).fit(X, y)
    least = estimator(**params, tol=1e-11).fit(X, y).objective_
    goal = tol * max(model.objective_, np.sqrt(np.finfo(float).eps) * best)
    gap = max(model.objective_ - least, 0.0)
    return alpha, gap / goal, gap / model.gap_estimate_


def main(argv=None):
    """Make the fits and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=1200)
    parser.add_argument("--write", type=Path, help="a file for the table, as CSV")
    args = parser.parse_args(argv)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn = range(args.fits)
        found = [judge(seed) for seed in drawn if len(np.unique(draw(seed)[2])) > 1]
    alpha, of_goal, of_estimate = np.array(found).T
    rows = []
    for low, high in [*pairwise(ALPHAS), (ALPHAS[0], ALPHAS[-1])]:
        some = (alpha >= low) & (alpha < high)
        if some.any():
            within, above = (of_goal[some] <= 1).mean(), (of_estimate[some] <= 1).mean()
            worst = of_goal[some].max()
            name = f"{low:g}" if high < ALPHAS[-1] or low == ALPHAS[-2] else "all"
            rows.append([name, some.sum(), f"{within:.1%}", f"{above:.1%}", f"{worst:.3g}"])
    header = "alpha from", "fits", "within tol", "estimate >= gap", "worst gap / goal"
    print(markdown_table(header, rows))
    if args.write:
        with open(args.write, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    main()
