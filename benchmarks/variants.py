"""What `ablate` changes: heuristics that are switched off, constants halved and doubled.

A switch is a line of SWITCHES; the constants are found, in the modules of MODULES.
"""

import ast
import functools
import importlib
import inspect
import pkgutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np

import skce
from skce._solvers.columns import draw
from skce._solvers.sums import Drawn

__all__ = ["MODULES", "SWITCHES", "UNMODIFIED", "Variant", "constants", "switches"]

SOLVERS = "skce._solvers."
CHOICE, STEPS, SDCA, ASCENT, METRIC, PROBLEM, SPAN, PAIRS, REFRESH = (
    SOLVERS + name
    for name in (
        *("auto", "lbfgs", "sdca", "ascent", "preconditioners", "problem", "span", "pairs"),
        "refresh",
    )
)
MODULES = (
    *(CHOICE, SPAN, STEPS, PAIRS, REFRESH, METRIC, SDCA, ASCENT, PROBLEM),
    *(SOLVERS + name for name in ("newton", "stopping", "objective", "cholesky", "whole")),
    *(SOLVERS + name for name in ("columns", "certificate", "rounding", "sgd")),
    *("skce._estimators.base", "skce._estimators.fitting"),
)
NEVER = 10**18


def _uniform_rows(problem, most, rng):
    rows, n = draw(problem.rows, most, rng), problem.n_weighted
    if len(rows) == n:
        return Drawn(None, None, n)
    return Drawn(rows, np.full(len(problem.weights), n / len(rows)), len(rows))


def _step_without_products(self, goal):
    moved = self.step(True)
    self.by_newton = True  # else the estimate would end no fit
    return moved


# what a heuristic becomes when it is off: {(module, name or Class.name): value}
SWITCHES = {
    "start at zero": {
        (PROBLEM, "Problem.constants"): lambda self: np.zeros((self.X.shape[1] + 1, self.k))
    },
    "no samples": {(STEPS, "ROWS_PER_WEIGHT"): NEVER},
    "no refresh": {(REFRESH, "Refresh.is_due"): lambda self, passes: False},
    "metric at zero only": {(REFRESH, "Refresh.renew"): lambda self, *args, **kwargs: None},
    "one matrix for all classes": {(METRIC, "MATRICES_SIZE"): 0},
    "metric of diagonals": {(METRIC, "MOST_COLUMNS"): 0},
    "metric of all rows": {
        (PROBLEM, "Problem.draw"): lambda problem, most, rng: Drawn(None, None, problem.n_weighted)
    },
    "metric of uniform rows": {(PROBLEM, "Problem.draw"): _uniform_rows},
    "singular directions not told": {
        (SOLVERS + "cholesky", "singular_directions"): lambda A: np.zeros((len(A), 0))
    },
    "rows flat at once": {(REFRESH, "LEAST_CURVATURE"): 0.0},
    "no Newton step": {(STEPS, "LBFGS.newton_step"): _step_without_products},
    "estimate without caution": {
        (PAIRS, "Pairs.estimate"): lambda self, product, unmet, scale=0.0: product / 2
    },
    "no outliers": {(PAIRS, "OUTLIERS"): 0.0},
    "scale never bounded": {(PAIRS, "MOST_SCALE"): np.inf},
    "estimates unsafe": {(SOLVERS + "stopping", "SAFETY"): 1.0},
    "estimates at any tol": {(SOLVERS + "stopping", "LOOSEST"): 1e18},
    "products never again in double": {(METRIC, "COARSE"): 0.0},
    "no span": {(SPAN, "is_wide"): lambda problem: False},
    "never again in double": {(CHOICE, "MOST_MOVED"): np.inf, (CHOICE, "COARSE"): 0.0},
    "no sdca": {(CHOICE, "_prefers_sdca"): lambda problem, *_: False},
    "sdca always": {(CHOICE, "_prefers_sdca"): lambda problem, *_: problem.alpha > 0},
    "sdca never slow": {(SOLVERS + "stopping", "is_slow"): lambda gaps, goal: False},
    "q never adapted": {(ASCENT, "SDCA._adapt_q"): lambda self, gap, move: None},
    "certificate after each pass": {(SDCA, "NEAR"): NEVER},
    "q never grows": {(ASCENT, "TIMID"): 0.0},
    "q never falls": {(ASCENT, "BOLD"): np.inf},
    "labels in one group": {(SDCA, "GROUP"): NEVER},
    "dense rows one by one": {(ASCENT, "BATCH"): 1},
    "sdca for few columns": {(CHOICE, "FEW_COLUMNS"): 0},
}


@dataclass(frozen=True)
class Variant:
    """One change of the solvers; ``patches`` as in SWITCHES."""

    label: str
    kind: str  # "off", "half", "double"; "" for none
    text: str
    patches: dict = field(hash=False, compare=False)

    def is_named(self, names):
        """Whether a name means it, that of a constant with or without module and place."""
        return not {self.label, self.label.split(".")[-1].split("[")[0]}.isdisjoint(names)

    def is_reached(self, reached):
        """Whether a fit called or read what is changed."""
        homes = [home for place in self.patches for home in _homes(*place)]
        return any(
            (module, path if callable(_current(module, path)) else f"read {path.split('.')[-1]}")
            in reached
            for module, path in homes
        )

    def applied(self):
        """Return a context in which the change is made, wherever the names are imported."""
        stack = ExitStack()
        for place, value in self.patches.items():
            for home in _homes(*place):
                stack.enter_context(mock.patch.object(*_owner(*home), value, create=True))
        return stack


UNMODIFIED = Variant("unmodified", "", "", {})


def switches():
    """Return a variant for each switch; exit where what it changes is not there."""
    for label, patches in SWITCHES.items():
        for module, path in patches:
            if not _exists(module, path):
                raise SystemExit(f"switch {label!r}: {module} has no {path}; SWITCHES is too old")
    return [Variant(label, "off", "", patches) for label, patches in SWITCHES.items()]


def constants():
    """Return two variants for each number of the modules' constants, half and double."""
    found = []
    for module in MODULES:
        for name in _assigned(module):
            value = _current(module, name)
            for keys, number in _numbers(value):
                label = f"{module.removeprefix('skce.')}.{name}{''.join(f'[{k}]' for k in keys)}"
                half = max(1, number // 2) if isinstance(number, int) else number / 2
                for kind, new in (("half", half), ("double", 2 * number)):
                    patches = {(module, name): _replaced(value, keys, new)}
                    if new != number:
                        found.append(Variant(label, kind, f"{number:g} to {new:g}", patches))
    return found


def _assigned(module):
    """Names in capitals that the module sets itself."""
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    nodes = [node for node in body if isinstance(node, ast.Assign | ast.AnnAssign)]
    targets = [t for node in nodes for t in getattr(node, "targets", None) or [node.target]]
    names = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
    return [name for name in dict.fromkeys(names) if name.isupper()]


def _numbers(value, keys=()):
    """Yield where each number of a constant stands in it, and the number."""
    if type(value) in (int, float):  # neither a bool nor an enumeration
        yield keys, value
    elif isinstance(value, dict | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(part, (*keys, key))


def _replaced(value, keys, number):
    """Return a copy of the constant with another number in that place."""
    if not keys:
        return number
    parts = dict(value) if isinstance(value, dict) else list(value)
    parts[keys[0]] = _replaced(parts[keys[0]], keys[1:], number)
    return parts if isinstance(value, dict) else tuple(parts)


def _owner(module, path):
    """Return the module or class that holds the last name of path, and that name."""
    *classes, name = path.split(".")
    return functools.reduce(getattr, classes, importlib.import_module(module)), name


def _current(module, path):
    """Return what is there, None for an attribute of instances."""
    return getattr(*_owner(module, path), None)


def _exists(module, path):
    """Whether it is there; an attribute of instances is where its class sets it."""
    try:
        owner, name = _owner(module, path)
    except (ImportError, AttributeError):
        return False
    return hasattr(owner, name) or ("." in path and f"self.{name} = " in inspect.getsource(owner))


@functools.cache
def _imports():
    """{(module, name): places} to which skce imports a name, by ``from module import name``."""
    found = {}
    for info in pkgutil.walk_packages(skce.__path__, "skce."):
        file = Path(importlib.util.find_spec(info.name).origin)
        body = ast.parse(file.read_bytes()).body if file.suffix == ".py" else ()
        for node in (node for node in body if isinstance(node, ast.ImportFrom)):
            for name in node.names:
                place = info.name, name.asname or name.name
                found.setdefault((node.module, name.name), []).append(place)
    return found


def _homes(module, path):
    """Yield each place at which the name stands."""
    yield module, path
    for place in _imports().get((module, path), ()):
        yield from _homes(*place)
