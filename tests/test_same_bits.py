"""tools/same_bits.py: what it fits, and that it tells what differs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "same_bits.py"
SOME = "classes, csr, float64, lbfgs"  # of a name: two fits of each of two kinds of targets

pytestmark = pytest.mark.skipif(not TOOL.is_file(), reason="no tools in an installed package")


def run(*args):
    command = [sys.executable, str(TOOL), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def saved(tmp_path):
    file = tmp_path / "bits.npz"
    done = run("save", file, "--only", SOME)
    assert done.stdout == "4 fits and streams saved\n", done.stderr
    return file


def change(file, name, value):
    with np.load(file) as loaded:
        arrays = dict(loaded)
    np.savez(file, **arrays | {name: value(arrays[name])})


def test_fits_of_the_same_code_have_the_same_bits(saved):
    done = run("compare", saved, "--only", SOME)
    assert (done.returncode, done.stdout) == (0, "4 fits and streams, 0 of them differ\n")


def test_one_changed_bit_is_named(saved):
    change(saved, f"{SOME}, weights: coef_", lambda coef: np.nextafter(coef, np.inf))
    done = run("compare", saved, "--only", SOME)
    assert done.returncode == 1
    first, last = done.stdout.splitlines()
    assert first.startswith(f"{SOME}, weights: coef_: largest difference ")
    assert last == "4 fits and streams, 1 of them differ"


def test_a_file_of_another_machine_is_refused(saved):
    change(saved, "machine", lambda machine: np.array("another"))
    done = run("compare", saved)
    assert done.returncode == 2
    assert "another machine" in done.stdout


@pytest.mark.long
def test_fits_enter_every_branch_of_auto():
    pytest.importorskip("coverage")
    done = run("coverage")
    assert done.returncode == 0, done.stdout + done.stderr
