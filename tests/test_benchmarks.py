"""Every benchmark runs once at tiny size, and every public function of losses has one."""

import functools
import json
import os
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skce import losses

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
SETS = {"mnist": "multiclass", "20news": "multiclass", "bibtex": "multilabel", "ldl_movie": "soft"}
SCRIPTS = {
    "kernels": ["--quick"],
    "epoch": ["--quick", "--rounds", "1"],
    "predict": ["--rows", "300", "--columns", "5", "--classes", "3", "--rounds", "1"],
    "run_peers": ["--quick", "--sets", *SETS, "--peers", "SGDClassifier"],
}
PARTS = {"kernel_peers", "kernel_report", "peers", "problems", "timing"}  # of the scripts

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


def test_kernels_write_what_the_page_shows(tmp_path, data):
    pytest.importorskip("matplotlib")
    size = ["--classes", "1", "3", "--dtypes", "float64", "--threads", "1"]
    run(["kernels.py", "--quick", *size, "--write", str(tmp_path)], data)
    page = (FOLDER.parent / "docs" / "speed.rst").read_text(encoding="utf-8")
    shown = set(re.findall(r"speed/([\w.]+)", page))
    assert shown == {file.name for file in tmp_path.iterdir()}
    header = (tmp_path / "gradient.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.startswith("loss,K,dtype,skce,scikit-learn,")


def test_suite_runs(data):
    output = run(["-c", "import suite; print(*suite.run_once())"], data)
    for name in (
        *("Fit.time_fit", "PartialFit.time_partial_fit", "LossAndGrad.time_loss_and_grad"),
        *("Loss.time_loss", "Proba.time_proba"),
    ):
        assert name in output.split()


@pytest.fixture
def kernels(monkeypatch):
    """The modules of the kernels' benchmark."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import kernel_peers
    import kernel_report

    return SimpleNamespace(peers=kernel_peers, report=kernel_report)


def test_every_public_kernel_has_a_benchmark(kernels):
    from suite import bench_losses

    assert set(kernels.peers.FUNCTIONS) == set(losses.__all__)
    assert set(kernels.peers.functions()) == set(losses.__all__)  # those of the tables
    classes = [getattr(bench_losses, name) for name in bench_losses.__all__]
    assert {name for cls in classes for name in cls.params[0]} == set(losses.__all__)


@pytest.mark.parametrize("name", losses.__all__)
def test_a_benchmark_calls_its_function_and_peers_that_compute_the_same(name, kernels, monkeypatch):
    calls = []
    function = getattr(losses, name)

    @functools.wraps(function)
    def recorded(*args, **kwargs):
        calls.append(name)
        return function(*args, **kwargs)

    monkeypatch.setattr(losses, name, recorded)
    for n_classes in (1, 2, 7):
        if not kernels.peers.has_classes(name, n_classes):
            continue
        calls.clear()
        candidates = kernels.peers.candidates(name, n_classes, "float64", 70)
        assert not calls
        expected = deepcopy(candidates.pop("skce")())  # peers may write into its array
        assert calls == [name]
        del candidates["copy"]
        assert "NumPy/SciPy" in candidates
        for peer, call in candidates.items():
            result = call()
            if peer == "scikit-learn":
                result = as_skce(result, expected, 70 // n_classes)
            pairs = zip(result, expected, strict=True) if isinstance(expected, tuple) else None
            for theirs, ours in pairs or [(result, expected)]:
                assert_allclose(theirs, ours, rtol=1e-10, atol=1e-14, err_msg=peer)


def as_skce(result, expected, n):
    """What scikit-learn returns, reduced: losses of rows, gradients of them, two columns."""
    if isinstance(expected, tuple):
        row_losses, gradient = result
        return row_losses.sum() / n, gradient.reshape(expected[1].shape) / n
    if isinstance(expected, float):
        return np.sum(result) / (1 if np.ndim(result) == 0 else n)
    return result if result.shape == expected.shape else result[:, 1].reshape(expected.shape)


def test_summary_and_targets_are_those_of_the_measured_ratios(kernels):
    name = "softmax_cross_entropy_value_and_grad"
    cells = [
        kernels.report.Cell(name, 100, "float32", 10**6, {"skce": 1.0, "torch": 1.8}, {"skce": 2}),
        kernels.report.Cell(name, 100, "float64", 10**6, {"skce": 2.0, "torch": 2.0}, {"skce": 1}),
    ]
    assert kernels.report.target_lines(cells) == [
        "softmax K=100 float32: 1.8 x torch, target 2: met",
        "softmax K=100 float64: 1.0 x torch, target 2: missed",
    ]
    assert kernels.report.summary_rows(cells)[1] == [[name, "", "1.4", "", "2.00", "1.50"]]
