"""The benchmark of two versions, `user_clock`, and its workers."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from small_sets import FOLDER, needs_benchmarks, small_sets

pytestmark = needs_benchmarks


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_sets(tmp_path_factory.mktemp("data"))


@pytest.fixture
def clock(monkeypatch, data):
    """The benchmark of two versions, on the small sets."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("SKCE_DATA", str(data))
    import user_clock

    return user_clock


def clock_table(clock, capsys, *args):
    """Exit status, cells of the rows by set, and the last lines."""
    status = clock.main(["--quick", "--dtypes", "float64", *args])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]
    table = {row[0].split(" ")[0]: dict(zip(clock.HEADER, row, strict=False)) for row in rows}
    return status, table, "\n".join(line for line in lines if not line.startswith("|"))


def test_two_versions_are_compared_on_every_task_and_a_set_that_fails_is_named(
    clock, tmp_path, capsys
):
    sets = ["nowhere", "bibtex", "ldl_movie"]
    file = tmp_path / "raw.csv"
    args = ["--old", sys.executable, "--allow", "1e6", "--write", str(file), "--sets", *sets]
    status, table, last = clock_table(clock, capsys, *args)
    assert status == 0
    assert list(table) == sets
    assert "no data set" in table.pop("nowhere")["old s"]
    assert "Not run: nowhere, float64." in last
    for cells in table.values():
        assert float(cells["new/old"]) > 0  # one round: no standard error
        assert float(cells["sklearn/new"]) > 0
        excess = [float(cells[f"F {name}"]) for name in clock.NAMES]
        assert min(excess) == 0
        assert max(excess) < 0.1
        assert 0.9 < float(cells["held-out new/sklearn"]) < 1.1
    rows = file.read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 2 * 3


def test_a_version_that_does_not_run_is_named_and_the_others_go_on(clock, tmp_path, capsys):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no skce here >&2\nexit 1\n", encoding="utf-8")
    python.chmod(0o755)
    args = ["--old", str(python), "--check", "--sets", "iris"]
    status, table, _ = clock_table(clock, capsys, *args)
    assert status == 1  # nothing was compared
    assert table["iris"]["old s"] == "no skce here"
    assert float(table["iris"]["sklearn/new"]) > 0


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_matrix])
def test_one_vs_rest_gets_labels_of_a_type_that_it_fits_right(storage, clock, tmp_path):
    problem = clock.load("bibtex")
    few_bits = replace(problem, y_train=storage(problem.y_train.astype(np.uint8)))
    _, _, rows = joblib.load(clock._write_jobs(few_bits, tmp_path)["sklearn"])
    assert rows["y"].dtype == np.int64
    assert_allclose(rows["y"], problem.y_train)


def fake_worker(*seconds, failure=""):
    answers = [{"seconds": s, "cpu_seconds": s, "calls": 1, "warned": False} for s in seconds]
    return SimpleNamespace(
        answers=[a | {"objective": 1.0, "held_out": 1.0} for a in answers],
        failure=failure,
        median=lambda key: 1.0,
    )


@pytest.mark.parametrize(
    ("first", "again", "status"),
    [
        ([1.04, 1.04, 2.0], [], 0),  # the median counts
        ([1.07, 1.06, 1.0], [1.07, 1.01, 0.9], 0),  # the median of the later ones counts
        ([1.07, 1.06, 1.0], [1.07, 1.01, 1.06], 1),
        ([], [1.0, None, None], 1),  # new fails alone
    ],
)
def test_check_fails_where_new_is_slower_than_allowed(
    first, again, status, clock, monkeypatch, capsys
):
    def row(seconds):
        new = fake_worker(*seconds, failure="" if seconds else "> 60")
        workers = {"old": fake_worker(1.0, 1.0, 1.0), "new": new, "sklearn": fake_worker(2.0)}
        return clock.Row(("iris (112 x 4, 3)", "float64"), workers=workers)

    again = [row([ratio] if ratio else []) for ratio in again]
    rows = [row([1.0, 1.0, 1.0]), row(first), *again]
    monkeypatch.setattr(clock, "measured", lambda *args: rows.pop(0))
    monkeypatch.setattr(clock, "conditions", lambda *args: "")
    args = ["--old", sys.executable, "--check", "--sets", "wine", "iris"]
    found, _, last = clock_table(clock, capsys, *args)
    assert found == status
    assert not rows
    assert ("more than 5 %: none" in last) == (status == 0)


def test_a_fit_over_the_limit_is_ended(clock, capsys):
    _, table, _ = clock_table(clock, capsys, "--limit", "0.0002", "--sets", "iris")
    assert table["iris"]["new s"] == table["iris"]["sklearn s"] == "> 0.0002"


def test_answers_of_a_worker_are_json_whatever_a_fit_prints_or_raises(tmp_path):
    code = """
import os
import clock_worker
import joblib
from sklearn.linear_model import LogisticRegression

class Loud(LogisticRegression):
    def fit(self, X, y):
        print("a line")
        os.write(1, b"another")
        return super().fit(X, y)

clock_worker.PEERS = {"Loud": Loud}
joblib.dump(("Loud", {}, {"X": [[0.0], [1.0]], "y": [0, 1]}), "job")
clock_worker.main("job")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input='{"seed": 0}\n{"seed": 0, "fitted": "no/folder"}\n{"seed": 1}\n',
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(FOLDER)},
    )
    _, first, failed, last = map(json.loads, done.stdout.splitlines())
    assert first["seconds"] > 0
    assert last["calls"] >= 1
    assert failed["error"].startswith("FileNotFoundError")
    assert "a line" in done.stderr
