"""tools/constants.py: which numbers it counts."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import skce

TOOL = Path(__file__).resolve().parent.parent / "tools" / "constants.py"
PYTHON = '''
"""Of 7 rows."""
MEMORY, SIZE = (10, 60), 1 << 21  # 3 of them
SLOPES = {True: 0.5, False: 1.0}


def step(x, length=0.25):
    return 2 * x[4:] + 1e-300
'''
CYTHON = """
cpdef enum Rule:
    SGD = 0
    ADAM = 3

cdef enum:
    ROWS = 256
    FLUSH = 1 << 11

cdef double CUT = 2
cdef int x = 8
"""

pytestmark = pytest.mark.skipif(not TOOL.is_file(), reason="no tools in an installed package")


def test_numbers_are_counted_by_name_and_without(tmp_path):
    for folder, name, text in (("_solvers", "a.py", PYTHON), ("_engine", "b.pyx", CYTHON)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text, encoding="utf-8")
    command = [sys.executable, str(TOOL), "--list", str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[-1] == "8 named, 3 others"
    assert [line.split()[1:] for line in lines if line.startswith(" ")] == [
        *(["ROWS", "256"], ["FLUSH", "11"], ["CUT", "2"], ["-", "8"]),
        *(["MEMORY,", "SIZE", "10"], ["MEMORY,", "SIZE", "60"], ["MEMORY,", "SIZE", "21"]),
        *(["SLOPES", "0.5"], ["SLOPES", "1.0"], ["-", "0.25"], ["-", "1e-300"]),
    ]


def test_every_named_number_says_why():
    spec = importlib.util.spec_from_file_location("constants", TOOL)
    constants = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(constants)
    found = constants.table(Path(skce.__file__).parent, True)
    assert len(found) > 25
    assert not [row for row in found if not row[2]]
