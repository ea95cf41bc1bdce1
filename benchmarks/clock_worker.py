"""A process of `user_clock` that makes plain fits when asked; any version of skce will do.

    PYTHON benchmarks/clock_worker.py JOB

JOB is a file: the estimator's name, its parameters and the arguments of fit. Each line of stdin
asks for a measurement, {"seed": 0, "fitted": file for the coefficients or null}, and each line of
stdout answers, or has an "error". Without JOB there is one line, of versions.
"""

import gc
import hashlib
import json
import os
import platform
import sys
import time
import warnings
from functools import partial
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

__all__ = ["clocked", "main", "versions"]

# Seconds of a measurement. Short ones vary no more than long ones (two processes of one version,
# iris_scaled: 19 % for single fits of 6 ms and for 20 ms), so further rounds serve better.
LEAST = 0.01
PEERS = {
    "LogisticRegression": LogisticRegression,
    "OneVsRestClassifier": lambda: OneVsRestClassifier(LogisticRegression()),
}


def main(job=None):
    """Answer each line of stdin."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a fit prints is no answer
    if job is None:
        print(json.dumps(versions()), file=answers, flush=True)
        return
    name, params, rows = joblib.load(job)
    make = PEERS.get(name) or partial(_public(name), **params)
    gc.collect()
    gc.freeze()  # to go through all that was imported takes longer than some fits
    print(json.dumps({}), file=answers, flush=True)
    for line in sys.stdin:
        try:
            answer = clocked(lambda: make().fit(**rows), **json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)


def versions():
    """Versions in words, and a digest of skce's code."""
    import skce

    files = Path(skce.__file__).parent.rglob("*")
    code = sorted(file for file in files if file.suffix in {".py", ".so", ".pyd"})
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in code)).hexdigest()[:8]
    peers = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn"))
    text = f"skce {version('skce')} ({digest}), Python {platform.python_version()}, {peers}"
    return {"digest": digest, "text": text}


def clocked(fit, seed, fitted=None):
    """Seconds of a fit, or of one of as many as take LEAST seconds, and how the last one ended."""
    np.random.seed(seed)  # noqa: NPY002 (what random_state=None draws from)
    calls = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start, cpu_start = time.perf_counter(), time.process_time()
        while not calls or time.perf_counter() - start < LEAST:
            model = fit()
            calls += 1
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    parts = getattr(model, "estimators_", [model])
    if fitted:
        coef = np.vstack([part.coef_ for part in parts])
        joblib.dump((coef, np.hstack([part.intercept_ for part in parts])), fitted)
    return {
        "seconds": seconds / calls,
        "cpu_seconds": cpu_seconds / calls,
        "calls": calls,
        "n_iter": max(int(np.max(part.n_iter_)) for part in parts),
        "warned": any(issubclass(each.category, ConvergenceWarning) for each in caught),
    }


def _public(name):
    import skce

    return getattr(skce, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
