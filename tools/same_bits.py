"""Fits and streams whose results stay the same bits while code only moves.

    python tools/same_bits.py save FILE.npz       # with the Python of the old version
    python tools/same_bits.py compare FILE.npz    # with that of the new one
    python tools/same_bits.py coverage            # what of the way of "auto" no fit enters

The first two use public names of skce alone, and ``--only TEXT`` keeps the fits whose name holds
the text. Bits depend on the processor, NumPy, SciPy and BLAS too: a file of others is refused.
"""

import argparse
import io
import os
import platform
import re
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import scipy
from same_bits_cases import cases
from threadpoolctl import threadpool_info

import skce

__all__ = ["main", "run"]

# files of skce that choose and follow the way of solver="auto"; no fit was found that enters the
# guard against an objective above that of the best constants
AUTO = tuple(
    f"_solvers/{name}.py"
    for name in (
        *("auto", "span", "lbfgs", "pairs", "newton", "refresh", "stopping"),
        *("preconditioners", "cholesky"),
    )
)


def main(argv=None):
    """Run one of the commands; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("save", "compare", "coverage"))
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--only", default="", metavar="TEXT")
    args = parser.parse_args(argv)
    if args.command == "coverage":
        return _coverage(args.only)
    if args.file is None:
        parser.error(f"{args.command} needs a file")
    if args.command == "save":
        found = run(args.only)
        np.savez_compressed(args.file, machine=_machine(), **found)
        print(f"{_count(found)} fits and streams saved")
        return 0
    with np.load(args.file) as file:
        before = dict(file)
    if str(before.pop("machine")) != _machine():
        print(f"{args.file} is of another machine: its bits say nothing here")
        return 2
    return _compare({key: before[key] for key in before if args.only in key}, run(args.only))


def run(only=""):
    """Run the fits whose name holds a text; return {"name: field": array}."""
    found = {}
    for name, fit in cases().items():
        if only not in name:
            continue
        printed = redirect_stdout(io.StringIO())  # of verbose fits: it holds seconds
        with warnings.catch_warnings(record=True) as caught, printed:
            warnings.simplefilter("always")
            found |= {f"{name}: {key}": np.asarray(value) for key, value in fit().items()}
        words = [re.sub(" at 0x[0-9a-f]+", "", str(warning.message)) for warning in caught]
        found[f"{name}: warnings"] = np.array(words)
    return found


def _machine():
    """Return what the bits depend on beside skce."""
    blas = sorted({f"{lib['internal_api']} {lib.get('architecture')}" for lib in threadpool_info()})
    packages = f"numpy {np.__version__}, scipy {scipy.__version__}"
    return f"{platform.machine()}, {packages}, {', '.join(blas)}"


def _count(found):
    return sum(key.endswith(": converged_") for key in found)


def _compare(before, after):
    """Print what differs; return 1 if anything does."""
    differ = Counter()
    for key in sorted({*before, *after}):
        name = key.rsplit(": ", 1)[0]
        if key not in before or key not in after:
            print(f"{key}: only {'after' if key in after else 'before'}")
        elif _same(before[key], after[key]):
            continue
        else:
            print(f"{key}: {_difference(before[key], after[key])}")
        differ[name] += 1
    print(f"{_count(after)} fits and streams, {len(differ)} of them differ")
    return int(bool(differ))


def _same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _difference(a, b):
    """Say how two arrays differ."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{a.dtype} {a.shape} before, {b.dtype} {b.shape} after"
    if a.dtype.kind not in "fiub":
        return f"{a} before, {b} after"
    if a.size == 1:
        return f"{a.item()!r} before, {b.item()!r} after"
    a, b = a.astype(float), b.astype(float)
    largest = np.nanmax(np.abs(a - b)) / max(np.nanmax(np.abs(a)), 1e-300)
    return f"largest difference {largest:.1e} of the largest entry"


def _coverage(only):
    """Report the branches of AUTO that no fit enters; return 2 for more than two in a hundred."""
    folder = Path(skce.__file__).parent
    files = "--include=" + ",".join(str(folder / name) for name in AUTO)
    tool = [sys.executable, "-m", "coverage"]
    with tempfile.TemporaryDirectory() as kept:
        own = f"--data-file={kept}/coverage", f"--rcfile={os.devnull}"
        saving = [__file__, "save", f"{kept}/bits.npz", "--only", only]
        subprocess.run([*tool, "run", *own, "--branch", files, *saving], check=True)
        report = [*tool, "report", *own, files, "--show-missing", "--fail-under=98"]
        return subprocess.run(report, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
