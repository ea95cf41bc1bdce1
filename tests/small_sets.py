"""Small data sets for the benchmarks, under the names and in the format of the real ones."""

import json
from pathlib import Path

import numpy as np
import pytest

__all__ = ["FOLDER", "SETS", "needs_benchmarks", "small_sets"]

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
SETS = {"mnist": "multiclass", "20news": "multiclass", "bibtex": "multilabel", "ldl_movie": "soft"}
needs_benchmarks = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no benchmarks in an installed package"
)


def small_sets(folder):
    """Write the sets to a folder; return it."""
    rng = np.random.default_rng(0)
    for name, task in SETS.items():
        X = rng.integers(255, size=(60, 6)) * (rng.random((60, 6)) < 0.8)
        y = {
            "multiclass": np.arange(60) % 3,
            "multilabel": (rng.random((60, 4)) < 0.4).astype(int),
            "soft": rng.dirichlet(np.ones(3), size=60),
        }[task]
        meta = np.frombuffer(json.dumps({"task": task}).encode(), np.uint8)
        parts = {"X_train": X[:40], "y_train": y[:40], "X_test": X[40:], "y_test": y[40:]}
        np.savez(folder / f"{name}.npz", meta=meta, **parts)
    return folder
