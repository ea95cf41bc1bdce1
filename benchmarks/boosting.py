"""Gradient and curvature of boosting objectives: ours, NumPy's, XGBoost's and LightGBM's own.

    python benchmarks/boosting.py [--scores 1e6] [--classes 2 10 100] [--clock cpu] [--write OUT]

Milliseconds for float32 scores on one thread, medians of interleaved rounds. The libraries do not
let their objectives be called alone: theirs is the time of a round whose trees may not split, less
that of the same round with gradients that are given.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from report import interleaved_medians, markdown_table, write_table
from threadpoolctl import threadpool_limits

from skce import losses

__all__ = ["main"]

LIBRARIES = ("XGBoost", "LightGBM")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main(argv=None):
    """Print the table; write it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scores", type=float, default=1e6)
    parser.add_argument("--classes", nargs="+", type=int, default=(2, 10, 100))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args(argv)
    rows = []
    for k in args.classes:
        rng = np.random.default_rng(0)
        n = int(args.scores) // (k if k > 2 else 1)
        scores = rng.standard_normal((n, k) if k > 2 else n).astype(np.float32)
        labels = rng.integers(k, size=n)
        labels[:k] = np.arange(k)
        gradients = _skce(scores, labels)
        calls = {
            "skce": lambda s=scores, y=labels: _skce(s, y),
            "NumPy": lambda s=scores, y=labels: _numpy(s, y),
            **_xgboost(labels, k, *gradients),
            **_lightgbm(labels, k, *gradients),
        }
        with threadpool_limits(limits=1):
            seconds = interleaved_medians(calls, rounds=args.rounds, clock=CLOCKS[args.clock])
        own = [seconds[name] - seconds[f"{name}, given"] for name in LIBRARIES]
        times = (seconds["skce"], seconds["NumPy"], *own)
        rows.append((k, n, *(f"{1e3 * value:.2g}" for value in times)))
    header = ("classes", "rows", "skce", "NumPy", *LIBRARIES)
    print(markdown_table(header, rows))
    if args.write:
        write_table(args.write, header, rows)


def _skce(scores, labels):
    """Return gradient and curvature by our kernels."""
    options = {"reduction": "sum", "n_threads": 1}
    gradient = losses.softmax_cross_entropy_value_and_grad
    if scores.ndim == 1:
        labels = labels.astype(np.float32)
        gradient = losses.sigmoid_cross_entropy_value_and_grad
        curvature = losses.sigmoid_cross_entropy_hessian_diag
    else:
        curvature = losses.softmax_cross_entropy_hessian_diag
    return gradient(scores, labels, **options)[1], curvature(scores, labels, **options)


def _numpy(scores, labels):
    """Return them by NumPy, in float32."""
    if scores.ndim == 1:
        proba = 1 / (1 + np.exp(-scores))
        return proba - labels.astype(np.float32), proba * (1 - proba)
    proba = scores - scores.max(axis=1, keepdims=True)
    np.exp(proba, out=proba)
    proba /= proba.sum(axis=1, keepdims=True)
    curvature = proba * (1 - proba)
    proba[np.arange(len(proba)), labels] -= 1
    return proba, curvature


def _column(labels):
    return (np.arange(len(labels)) % 2).astype(np.float32)[:, np.newaxis]


def _xgboost(labels, k, gradient, curvature):
    """Return a round with XGBoost's objective, and one with what is given."""
    import xgboost

    data = xgboost.DMatrix(_column(labels), labels)
    params = {"objective": "binary:logistic", "nthread": 1, "gamma": 1e30, "base_score": 0.5}
    if k > 2:
        params |= {"objective": "multi:softprob", "num_class": k}
    own, given = (xgboost.Booster(params, [data]) for _ in range(2))
    return {
        "XGBoost": lambda: own.update(data, own.num_boosted_rounds()),
        "XGBoost, given": lambda: given.boost(
            data, given.num_boosted_rounds(), grad=gradient, hess=curvature
        ),
    }


def _lightgbm(labels, k, gradient, curvature):
    """Return a round with LightGBM's objective, and one with what is given."""
    import lightgbm

    quiet = {
        "verbosity": -1,
        "num_threads": 1,
        "min_gain_to_split": 1e30,
        "boost_from_average": False,
    }
    params = {**quiet, "objective": "multiclass" if k > 2 else "binary"}
    params |= {"num_class": k} if k > 2 else {}
    own, given = (
        lightgbm.Booster(chosen, lightgbm.Dataset(_column(labels), labels, params=quiet))
        for chosen in (params, {**params, "objective": "none"})
    )
    gradient, curvature = np.asfortranarray(gradient), np.asfortranarray(curvature)
    return {
        "LightGBM": own.update,
        "LightGBM, given": lambda: given.update(fobj=lambda *_: (gradient, curvature)),
    }


if __name__ == "__main__":
    main()
