"""Every benchmark runs once at tiny size, and every loss has one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skce import losses

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
SETS = {"mnist": "multiclass", "20news": "multiclass", "bibtex": "multilabel", "ldl_movie": "soft"}
SCRIPTS = {
    "kernels": ["--classes", "1", "3", "--size", "300", "--rounds", "1"],
    "epoch": ["--quick", "--rounds", "1"],
    "run_peers": ["--quick", "--sets", *SETS, "--peers", "SGDClassifier"],
}
PARTS = {"peers", "problems", "timing"}  # of the scripts

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no benchmarks in an installed package")


def run(command, folder, **environment):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SKCE_BENCH_TINY": "1", "SKCE_DATA": str(folder), **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Small sets under the names and in the format of the real ones."""
    folder = tmp_path_factory.mktemp("data")
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


def test_every_module_is_known():
    assert {file.stem for file in FOLDER.glob("*.py")} == {*SCRIPTS, *PARTS}


def test_every_module_can_be_imported_and_lists_its_names(data):
    names = sorted({*SCRIPTS, *PARTS})
    code = f"""
import importlib
for module in map(importlib.import_module, {names}):
    assert module.__doc__ and all(hasattr(module, name) for name in module.__all__), module
"""
    run(["-c", code], data)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_prints_a_table(name, data):
    lines = run([f"{name}.py", *SCRIPTS[name]], data).splitlines()
    assert sum(line.startswith("|") for line in lines) >= 3


def test_suite_runs(data):
    output = run(["-c", "import suite; print(*suite.run_once())"], data)
    for name in ("Fit.time_fit", "PartialFit.time_partial_fit", "LossAndGrad.time_loss_and_grad"):
        assert name in output.split()


def test_every_loss_has_a_benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    called = set()

    def recorded(name, function):
        def call(*args, **kwargs):
            called.add(name)
            return function(*args, **kwargs)

        return call

    gradients = {name for name in losses.__all__ if name.endswith("_value_and_grad")}
    for name in gradients:
        monkeypatch.setattr(losses, name, recorded(name, getattr(losses, name)))
    import kernels

    for name in kernels.LOSSES:
        calls = kernels.candidates(name, 3, "float64", 60)
        loss, gradient = calls["skce"]()
        for peer in set(calls) & {"NumPy", "torch"}:  # they compute the same
            peer_loss, peer_gradient = calls[peer]()
            assert_allclose(peer_loss, loss, rtol=1e-12)
            assert_allclose(peer_gradient, gradient, rtol=1e-10, atol=1e-14)
    assert called == gradients
