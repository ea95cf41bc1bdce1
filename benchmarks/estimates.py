"""How often a fit with ``converged_`` is within ``tol``, and what its other attributes are worth.

Random fits: 20 to 2000 rows, 2 to 100 columns, dense and CSR, float32 and float64, scales from 1e-4
to 1e4, labels, shares and tags, smoothed, missing, weighted or separable, alpha from 1e-10 to 1,
tol from 1e-6 to 0.1, by each solver. Minima are those of ``exact.py``.

    python benchmarks/estimates.py [--fits 3000] [--from 0] [--write docs/estimates.csv]
        [--keep FOLDER]

``--keep`` writes each fit to a file of a folder, and takes from there what was made before.
"""

import argparse
import csv
import json
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
from exact import Exact
from report import markdown_table
from scipy import sparse, special

from skce import MultiLabelLogistic, MultinomialLogistic

__all__ = ["draw", "judge", "main"]

ALPHAS = 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0  # bounds of the classes of alpha that are told apart
SOLVERS = "auto", "lbfgs", "sdca"
TOLD = (
    *("alpha", "tol", "solver", "converged_", "certified_"),
    *("n_iter_", "stop_reason_", "dual_gap_", "gap_estimate_"),
)
WORST = 10  # fits that are listed of a kind
HEADER = (
    *("alpha from, solver", "fits", "converged", "within tol", "within 3 tol"),
    *("estimate >= gap", "worst gap / goal"),
)
CHUNK = 100  # fits of a file


def draw(seed):
    """Return an estimator, X, y, weights or None, and the `Exact` objective of a random fit."""
    rng = np.random.default_rng(seed)
    n, p, k = int(10 ** rng.uniform(1.3, 3.3)), int(10 ** rng.uniform(0.3, 2)), rng.integers(2, 8)
    X = rng.standard_normal((n, p))
    if rng.random() < 0.5:
        X = X @ rng.standard_normal((p, p))
    X *= (10 ** rng.uniform(-4, 4, p)) ** (rng.random() < 0.4)
    X *= (10 ** rng.uniform(-4, 4)) ** (rng.random() < 0.3)
    X += (rng.random() < 0.3) * 5 * X.std(axis=0) * rng.standard_normal(p)
    if rng.random() < 0.3:
        X *= rng.random(X.shape) < 0.2
    X = X.astype(rng.choice([np.float32, np.float64], p=[0.4, 0.6]))
    size = 10 ** rng.uniform(-1, 2)  # of the logits: classes are separable where it is large
    Z = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-9)
    scores = size * Z @ rng.standard_normal((p, k)) / np.sqrt(p) + rng.gumbel(size=(n, k))
    weights = rng.integers(0, 4, n) * 10 ** rng.uniform(-2, 2, n) if rng.random() < 0.3 else None
    smoothing = 0.1 if rng.random() < 0.15 else 0.0
    params = {
        "alpha": float(10 ** rng.uniform(-10, 0)),
        "tol": float(10 ** rng.uniform(-6, -1)),
        "solver": SOLVERS[rng.integers(3)],
        "label_smoothing": smoothing,
        "max_iter": 3000,
        "random_state": 0,
    }
    form, of_rows = rng.integers(4), np.ones(n) if weights is None else weights
    of_rows = of_rows / of_rows.sum()
    sigmoid, missing = form == 2, form > 1 and rng.random() < 0.4
    if form > 1:
        loss = ("bce", "softmax")[form - 2]
        y = (scores > 1).astype(float)
        y[missing * rng.random(y.shape) > 0.8] = np.nan
        model, tau = MultiLabelLogistic(loss=loss, **params), y
        if not sigmoid:
            positives = np.nansum(y, axis=1)
            tau = y / np.maximum(positives, 1)[:, None]
            of_rows = of_rows * (positives > 0)
    else:
        y = special.softmax(scores / 2, axis=1) if form else scores.argmax(axis=1)
        model, labels = MultinomialLogistic(**params), np.unique(y)
        tau = y.copy() if form else (y[:, None] == labels).astype(float)
        sigmoid = tau.shape[1] == 2
        tau = tau[:, 1:] if sigmoid else tau
    if sigmoid:
        tau = (1 - smoothing) * tau + smoothing / 2
    else:
        tau = (1 - smoothing) * tau + smoothing / (~np.isnan(tau)).sum(axis=1, keepdims=True)
    X = sparse.csr_array(X) if rng.random() < 0.3 else X
    return model, X, y, weights, Exact(X, tau, of_rows, sigmoid, params["alpha"])


def judge(seed):
    """Return what is told of one random fit, None where there is but one class."""
    model, X, y, weights, exact = draw(seed)
    if np.ndim(y) == 1 and len(np.unique(y if weights is None else y[weights > 0])) < 2:
        return None
    model.fit(X, y, sample_weight=weights)
    value = exact.published(model.coef_, model.intercept_)
    shares = exact.weights @ exact.tau
    total = exact.weights @ exact.seen if exact.sigmoid else shares.sum()
    of_constants = special.entr(shares / total)
    if exact.sigmoid:
        of_constants += special.entr(1 - shares / total)
    floor = float(np.finfo(X.dtype).eps) ** 0.5 * float((total * of_constants).sum())
    goal = model.tol * max(value - exact.entropy, floor)
    start = exact.inner(model.coef_, model.intercept_)
    least, left = exact.minimum(start, 1e-3 * goal)
    gap = max(value - least, 0.0)
    kind = "labels" if np.ndim(y) == 1 else getattr(model, "loss", "shares")
    return {
        "seed": seed,
        "kind": f"{type(model).__name__} {kind}",
        "shape": [*X.shape, exact.tau.shape[1]],
        "dtype": str(X.dtype) + (" CSR" if sparse.issparse(X) else ""),
        **{name: getattr(model, name) for name in TOLD},
        "value": value,
        "gap": gap,
        "goal": goal,
        "left": left,
        "error": model.objective_ - value,
    }


def kept(first, fits, folder):
    """Yield what `judge` returns of so many fits, by way of files in a folder."""
    for start in range(first, first + fits, CHUNK):
        seeds = range(start, min(start + CHUNK, first + fits))
        path = None if folder is None else Path(folder, f"{seeds[0]}-{seeds[-1]}.json")
        if path is not None and path.exists():
            yield from json.loads(path.read_text(encoding="utf-8"))
            continue
        found = [each for each in map(judge, seeds) if each]
        if path is not None:
            path.write_text(json.dumps(found), encoding="utf-8")
        yield from found


def main(argv=None):
    """Make the fits and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=3000)
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--keep", type=Path, help="a folder for what was found")
    parser.add_argument("--write", type=Path, help="a file for the table, as CSV")
    args = parser.parse_args(argv)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(kept(args.first, args.fits, args.keep))
    groups = {
        f"{low:g}": [f for f in found if low <= f["alpha"] < high] for low, high in pairwise(ALPHAS)
    }
    groups |= {solver: [f for f in found if f["solver"] == solver] for solver in SOLVERS}
    rows = [[name, *shares(some)] for name, some in {**groups, "all": found}.items() if some]
    print(markdown_table(HEADER, rows))
    tell_wrong(found)
    if args.write:
        with open(args.write, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])


def shares(some):
    """Return the cells of some fits."""
    ended = [f for f in some if f["converged_"]]
    of_goal = np.array([f["gap"] / f["goal"] for f in ended] or [np.nan])
    above = np.mean([f["gap_estimate_"] >= f["gap"] for f in ended] or [np.nan])
    parts = len(ended) / len(some), (of_goal <= 1).mean(), (of_goal <= 3).mean(), above
    return [len(some), *(f"{part:.2%}" for part in parts), f"{of_goal.max():.3g}"]


def tell_wrong(found):
    """Print the fits for which a promise fails."""
    worst = sorted(found, key=lambda f: -f["gap"] / f["goal"])
    wrong = {
        "the minimum is not known to .01 of the goal": lambda f: f["left"] > 0.01 * f["goal"],
        "converged_ beyond tol": lambda f: f["converged_"] and f["gap"] > f["goal"],
        "not converged_": lambda f: not f["converged_"],
        "certified_ beyond tol": lambda f: f["certified_"] and f["gap"] > 1.0001 * f["goal"],
        "dual_gap_ below the gap": lambda f: (
            f["dual_gap_"] < 0.9999 * f["gap"] - 1e-15 * f["value"]
        ),
        "objective_ beyond rounding and .01 of the goal": _is_off,
    }
    for title, fails in wrong.items():
        some = [f for f in worst if fails(f)]
        print(f"\n{title}: {len(some)}")
        for f in some[:WORST]:
            print({name: f"{v:.3g}" if isinstance(v, float) else v for name, v in f.items()})


def _is_off(f):
    rounding = 1e-6 if "32" in f["dtype"] else 1e-12  # of sums of losses, in the dtype of X
    return abs(f["error"]) > max(rounding * f["value"], 0.01 * f["goal"])


if __name__ == "__main__":
    main()
