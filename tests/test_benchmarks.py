"""Every benchmark runs once at tiny size, and every public function of losses has one."""

import csv
import functools
import importlib.util
import os
import re
import subprocess
import sys
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from small_sets import FOLDER, SETS, needs_benchmarks, small_sets

from skce import losses

# second derivatives are NumPy on the kernels of probabilities
KERNELS = [name for name in losses.__all__ if not name.endswith("_hessian_diag")]
SCRIPTS = {  # those that fork come first: a child has none of the threads of its parent
    "run_peers": ["--quick", "--sets", "mnist", "bibtex", "iris"],
    "trace_peers": ["--quick", "--budget", "0.1", "--sets", "mnist", "bibtex", "iris"],
    "small": ["--quick"],
    "user_clock": ["--quick", "--dtypes", "float64", "--sets", "iris"],
    "ablate": ["--quick", "--sets", "mnist", "bibtex", "iris"],
    "epoch": ["--quick", "--rounds", "1"],
    "estimates": ["--fits", "6"],
    "optima": ["--sets", "mnist", "wine", "--write", os.devnull],
    "left_out": ["--rows", "30", "--sets", "iris", "labels", "--alphas", "0.1", "1"],
    "selection": ["--quick", "--sets", "mnist", "bibtex", "iris", "ldl_movie", "--no-exact"],
    "stopped_early": ["--splits", "1"],
    "predict": ["--rows", "300", "--columns", "5", "--classes", "3", "--rounds", "1"],
    "parts": ["--quick"],
    "dask_rounds": ["--quick", "--sets", "iris"],
    "streams": ["--quick", "--sets", "mnist", "clinc150", "--calls", "100"],
    "tasks": ["--quick"],
    "many_labels": [
        *("--sets", "synthetic", "--shape", "60", "40", "20"),
        *("--dtypes", "float32", "--peer-labels", "3"),
    ],
    "kernels": ["--quick"],
    "boosting": ["--scores", "3000", "--classes", "2", "3", "--rounds", "1"],
}
PARTS = {
    "clock_worker",
    "exact",
    "judge",
    "kernel_lbfgs",
    "kernel_peers",
    "peers",
    "problems",
    "report",
    "runs",
    "variants",
}

for name, packages in (("dask_rounds", ["distributed"]), ("boosting", ["xgboost", "lightgbm"])):
    if None in map(importlib.util.find_spec, packages):
        PARTS.add(name)
        del SCRIPTS[name]

pytestmark = needs_benchmarks


def run(command, folder, **environment):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SKCE_DATA": str(folder), **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_sets(tmp_path_factory.mktemp("data"))


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


def test_every_script_prints_a_table(data):
    code = f"""
import importlib
for name, args in {SCRIPTS}.items():  # in one process: to import the peers takes seconds
    print("script", name, flush=True)
    importlib.import_module(name).main(args)
"""
    output = run(["-c", code], data)
    for name, text in zip(SCRIPTS, output.split("script ")[1:], strict=True):
        assert text.startswith(name)
        assert sum(line.startswith("|") for line in text.splitlines()) >= 3, name


def test_exact_minima_are_those_of_scikit_learn(data):
    code = """
import numpy as np
from exact import Exact
from sklearn.datasets import load_iris, load_breast_cancer
from sklearn.linear_model import LogisticRegression
for load, alpha in ((load_iris, 1e-3), (load_breast_cancer, 1e-6)):
    X, y = load(return_X_y=True)
    w = np.random.default_rng(0).uniform(0, 2, len(y))
    w[::7] = 0
    tau = (y[:, None] == np.unique(y)).astype(float)
    tau = tau[:, 1:] if tau.shape[1] == 2 else tau
    exact = Exact(X, tau, w / w.sum(), tau.shape[1] == 1, alpha)
    value, left = exact.minimum(np.zeros((X.shape[1] + 1, tau.shape[1])), 1e-13)
    C = 1 / (alpha * w.sum())
    peer = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    peer.fit(X, y, sample_weight=w)
    assert left <= 1e-13
    assert -1e-11 <= exact.published(peer.coef_, peer.intercept_) - value <= 1e-8, load
"""
    run(["-W", "ignore", "-c", code], data)


def test_default_estimators_are_compared_on_every_task(data):
    lines = run(["run_peers.py", "--defaults", "--quick", "--sets", *SETS], data).splitlines()
    for name in SETS:
        assert any(line.startswith(f"| {name} ") for line in lines)


def test_peers_write_tables_without_an_empty_cell_and_a_plot(tmp_path, data):
    pytest.importorskip("matplotlib")
    size = ["--quick", "--sets", "wine", "--peers", "lbfgs", "saga", "--tols", "1e-3", "0.5"]
    run(["run_peers.py", *size, "--write", str(tmp_path)], data)
    tables = {"summary.csv", "wine.csv"}
    assert {file.name for file in tmp_path.iterdir()} == {"conditions.txt", "wine.svg", *tables}
    for name in tables:
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert all(len(row) == len(header) and all(row) for row in rows)
        if name == "wine.csv":
            solvers = ["skce", "skce, tol=0.5", "lbfgs", "saga"]
            assert [row[:3:2] for row in rows] == [
                [dtype, solver] for dtype in ("float32", "float64") for solver in solvers
            ]
            for cells in (dict(zip(header, row, strict=True)) for row in rows):
                at_gap = cells["s to the gap of skce"]
                if cells["solver"].startswith("skce"):
                    assert float(cells[f"s to the gap of {cells['solver']}"]) > 0
                    assert (at_gap == "–") == (cells["solver"] != "skce")  # ended before it
                elif cells["solver"] == "saga":
                    assert at_gap.startswith("> ")


def test_kernels_write_what_the_page_shows(tmp_path, data):
    pytest.importorskip("matplotlib")
    size = ["--classes", "1", "3", "--dtypes", "float64", "--threads", "1"]
    run(["kernels.py", "--quick", *size, "--write", str(tmp_path)], data)
    page = (FOLDER.parent / "docs" / "speed.rst").read_text(encoding="utf-8")
    shown = set(re.findall(r"speed/([\w.]+)", page))
    assert shown == {file.name for file in tmp_path.iterdir()}
    header = (tmp_path / "gradient.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.startswith("loss,K,dtype,skce,scikit-learn,")


@pytest.fixture
def kernels(monkeypatch):
    """The modules of the kernels' benchmark."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import kernel_peers
    import kernels

    return SimpleNamespace(peers=kernel_peers, run=kernels)


def test_every_public_kernel_has_a_benchmark(kernels):
    assert set(kernels.peers.FUNCTIONS) == set(KERNELS)
    assert set(kernels.peers.functions()) == set(KERNELS)  # those of the tables


@pytest.mark.parametrize("name", KERNELS)
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
        kernels.run.Cell(name, 100, "float32", 10**6, {"skce": 1.0, "torch": 1.8}, {"skce": 2}),
        kernels.run.Cell(name, 100, "float64", 10**6, {"skce": 2.0, "torch": 2.0}, {"skce": 1}),
    ]
    assert kernels.run.target_lines(cells) == [
        "softmax K=100 float32: 1.8 x torch, target 2: met",
        "softmax K=100 float64: 1.0 x torch, target 2: missed",
    ]
    assert kernels.run.summary_rows(cells)[1] == [[name, "", "1.4", "", "2.00", "1.50"]]
