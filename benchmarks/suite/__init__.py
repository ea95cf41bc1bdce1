"""The asv suite: fits, epochs and kernels over the problems of ``benchmarks/problems.py``.

    cd benchmarks; asv run --python=same --quick        (or a range of commits, then asv publish)

Real sets take part when SKCE_DATA names their folder. SKCE_BENCH_TINY=1 shrinks every problem, so
that `run_once` checks the whole suite in seconds.
"""

import importlib
import itertools
import pkgutil
import sys
from pathlib import Path

# asv imports this package alone, without the folder it lies in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

__all__ = ["run_once"]

PREFIXES = ("time_", "peakmem_")


def run_once():
    """Run every benchmark of the suite once with every parameter; return their names."""
    done = []
    for module in pkgutil.iter_modules(__path__):
        for cls in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(cls, type) and hasattr(cls, "params"):
                done += _run_class(cls)
    return done


def _run_class(cls):
    methods = [name for name in dir(cls) if name.startswith(PREFIXES)]
    for values in itertools.product(*cls.params):
        benchmark = cls()
        try:
            benchmark.setup(*values)
        except NotImplementedError:  # asv's way to skip a combination
            continue
        for name in methods:
            getattr(benchmark, name)(*values)
    return [f"{cls.__name__}.{name}" for name in methods]
