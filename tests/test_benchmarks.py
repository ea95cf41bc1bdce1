"""Every benchmark runs once at tiny size, and every public function of losses has one."""

import csv
import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing
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


def test_the_page_shows_what_a_run_of_all_sets_writes(fits):
    page = (FOLDER.parent / "docs" / "fits.rst").read_text(encoding="utf-8")
    tables = {f"{name}.{ending}" for name in fits.run.SETS for ending in ("csv", "svg")}
    assert set(re.findall(r"fits/([\w.]+)", page)) == {*tables, "summary.csv", "conditions.txt"}


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


@pytest.fixture
def fits(monkeypatch):
    """The modules of the fits' benchmark."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import judge
    import optima
    import peers
    import problems
    import report
    import run_peers
    import runs
    import trace_peers

    names = {"judge": judge, "optima": optima, "peers": peers, "problems": problems}
    return SimpleNamespace(run=run_peers, report=report, runs=runs, trace=trace_peers, **names)


def small_problem(fits, task):
    problems = fits.problems
    if task == "two classes":
        return problems.load("breast_cancer_scaled")
    if task == "CSR":
        return problems.synthetic_sparse(200, 60, 4, density=0.1)
    return problems.synthetic_multilabel(200, 10, 3) if task == "labels" else problems.load("iris")


@pytest.mark.parametrize("task", ["classes", "two classes", "labels", "CSR"])
def test_reference_is_the_optimum_of_the_objective_that_all_peers_minimise(task, fits):
    problem = small_problem(fits, task)
    alpha = 1 / problem.X_train.shape[0]
    entry, (W, b) = fits.optima.solve(problem, alpha)
    assert entry["bound"] <= 1e-10 * entry["objective"]
    judge = fits.judge.Judge(problem, alpha, entry["objective"])
    assert abs(judge.gap(W.T, b)) < 1e-12
    iterations = {"SGDClassifier": 100, "MLPClassifier": 300, "torch Adam": 200, "saga": 2000}
    slow = {"SGDClassifier": 0.1, "MLPClassifier": 2.0, "torch Adam": 2.0, "saga": 0.1}
    slow["snapml"] = 5e-5  # it penalises the intercept, and ends at about 1e-5
    for name, peer in fits.peers.PEERS.items():
        if not peer.serves(problem):
            continue
        fit = functools.partial(peer.fit, problem, alpha)
        _, *fitted = fits.judge.timed(fit, max_iter=iterations.get(name, 1000))
        assert -1e-9 <= judge.gap(*fitted) <= slow.get(name, 1e-5), name
        if peer.plain and slow.get(name, 0) < 0.1:
            _, *fitted = fits.judge.timed(fit)
            assert -1e-9 <= judge.gap(*fitted) <= 0.05, name


@pytest.mark.parametrize(("name", "package"), [("intelex", "sklearnex"), ("snapml", "snapml")])
def test_a_peer_whose_package_is_there_is_compared(name, package, fits):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"no {package}")
    assert name in fits.peers.DEFAULT


def test_a_peer_of_several_classes_that_minimises_another_objective_does_not_serve(fits):
    problem = small_problem(fits, "classes")
    for name in {"SGDClassifier", "liblinear", "snapml"} & set(fits.peers.PEERS):
        assert not fits.peers.PEERS[name].serves(problem)


def test_known_optima_have_small_bounds(fits):
    entries = json.loads(fits.optima.OPTIMA.read_text(encoding="utf-8"))
    for key, entry in entries.items():
        assert "python benchmarks/optima.py" in entry["command"]
        if key == "kddcup99 1/n raw":  # alpha n = 1 on columns up to 1e9: the bound says nothing
            assert 0 <= entry["decrement"] <= 0.02 * entry["objective"]
            continue
        assert 0 <= entry["bound"] <= 1e-9 * entry["objective"], key


def test_smallest_max_iter_is_found_for_each_gap(fits):
    found, tried = fits.run.find_iterations(lambda m: (0.1, 1 / m), (0.5, 0.11, 0.021), 60)
    assert found[0.5] == 2
    assert found[0.11] == 10
    assert 48 <= found[0.021] <= 50
    assert all(gap == 1 / m for _, gap, m in tried)


def test_search_ends_with_a_fit_of_about_the_budget(fits):
    def timed(m):
        return 5.0 + m, 1 / m

    found, tried = fits.run.find_iterations(timed, (0.1, 0.001), 60)
    assert found == {0.1: 10}
    assert 0.9 * 60 <= max(tried)[0] <= 60
    for end in (np.inf, np.nan):  # a fit that was ended, one that failed
        assert fits.run.find_iterations(lambda m, end=end: (end, end), (0.1,), 60)[0] == {}


def test_a_call_over_the_limit_is_ended_and_the_next_one_runs(fits):
    with closing(fits.report.Forked(lambda seconds: time.sleep(seconds) or os.getpid())) as forked:
        first = forked(0.5, seconds=0)
        assert forked(0.5, seconds=0) == first != os.getpid()
        assert forked(0.1, seconds=60) is None
        assert forked(0.5, seconds=0) not in (None, first)
        with pytest.raises(RuntimeError, match="ended with 1"):
            forked(seconds="long")


def test_a_fit_that_fails_is_named_in_the_table(fits, capfd):
    def fit(problem, alpha, **params):
        raise ValueError("no such fit")

    problem = fits.problems.load("iris")
    with closing(fits.run.Candidate(fit, fits.judge.Judge(problem, 0.1, 1.0))) as candidate:
        result = candidate(5)
    assert np.isnan(result).all()
    assert "no such fit" in capfd.readouterr().err
    run = fits.run.Run("float64", 1, "peer", plain=[result], curve=[(*result[:2], 1)])
    ours = fits.run.Run("float64", 1, "skce", plain=[(1.0, 1e-4, 0.5)], goal=1e-4)
    _, (_, cells) = fits.run.plain_table([ours, run])
    assert cells[3] == cells[7] == "failed"


def test_trace_does_not_count_the_time_spent_looking(fits, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(fits.trace.time, "perf_counter", lambda: clock[0])

    def gap(coef, intercept):
        clock[0] += 100
        return coef

    trace = fits.trace.Trace(SimpleNamespace(gap=gap), goal=1e-3, budget=60)
    for value in (0.5, 0.01):
        clock[0] += 1
        trace(value, 0)
    clock[0] += 1
    with pytest.raises(fits.trace.Finished):
        trace(1e-4, 0)
    assert trace.points == [(1, 0.5, 1), (2, 0.01, 2), (3, 1e-4, 3)]


def test_the_whole_fit_beside_a_first_iterate_is_the_same_fit_unwatched(fits, monkeypatch):
    seen = []

    def fit(problem, alpha, *, observe=None, **params):
        seen.append((observe is not None, params))
        return np.zeros((3, 4)), np.zeros(3)

    peer = fits.peers.Peer(fit, traced=True)
    monkeypatch.setattr(fits.trace, "skce_peer", lambda solver: peer)
    judge = fits.judge.Judge(fits.problems.load("iris"), 0.1, np.log(3))
    args = SimpleNamespace(solver=["auto"], peers=[], budget=1, rounds=2, gaps=[0.01, 0.1])
    (run,) = fits.trace._compare(judge, args, "float64", 1)
    both = [{"seed": seed, "tol": tol} for seed in (0, 1) for tol in (0.1, 0.01)]
    assert seen == [
        (False, {"max_iter": 1}),
        *((watched, params) for params in both for watched in (True, False)),
    ]
    assert all(len(run.tuned[tol]) == len(run.ended[tol]) == 2 for tol in args.gaps)


def test_clocks_are_ratios_of_medians_and_none_where_tol_is_never_met(fits):
    def at(first, whole):
        tuned, ended = ({0.1: [(s, 1, 0) for s in clock]} for clock in (first, whole))
        return [fits.runs.Run("float64", 1, "skce", tuned=tuned, ended=ended)]

    sets = {"a (2 x 2)": at([1, 9, 2], [3, 3, 8]), "b (3 x 3)": at([], [4]), "c": at([1], [2])}
    header, rows = fits.runs.clocks(sets)
    assert header == ("data", "skce, float64, threads=1, tol=0.1")
    assert rows == [("a", "1.5"), ("b", "–"), ("c", "2"), ("median", "1.75")]
