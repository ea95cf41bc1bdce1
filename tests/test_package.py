"""The layers, what importing does, the public names, and kernels cimported from elsewhere."""

import ast
import doctest
import graphlib
import importlib
import inspect
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose

import skce

SOURCES = Path(skce.__file__).parent
CYTHON, ARRAYS = {"cython", "cpython", "libc"}, {"numpy", "scipy"}
EVERYTHING = {*ARRAYS, "sklearn"}
# room, a folder or a module: (the rooms it may import, other packages beside the standard library)
ROOMS = {
    "_kernels": (set(), {*CYTHON, *ARRAYS, "threadpoolctl"}),
    "_engine": ({"_kernels"}, {*CYTHON, *ARRAYS}),
    "losses": ({"_kernels"}, ARRAYS),
    "optim": (set(), {"numpy"}),
    "_solvers": ({"_kernels", "_engine", "losses", "optim"}, ARRAYS),
    "_estimators": ({"_kernels", "_engine", "_solvers", "losses"}, {*EVERYTHING, "pyarrow"}),
    "metrics": ({"losses", "_estimators"}, EVERYTHING),
    "display": ({"losses", "_estimators"}, {*EVERYTHING, "matplotlib"}),
    "inference": ({"_kernels", "_solvers", "_estimators"}, EVERYTHING),
    "dask": (
        {"_kernels", "_solvers", "_estimators", "losses"},
        {*EVERYTHING, "dask", "distributed"},
    ),
    "onnx": ({"_estimators"}, {*EVERYTHING, "skl2onnx"}),
    "__init__": (
        {"_kernels", "losses", "optim", "_estimators", "metrics", "display", "inference"},
        {"threadpoolctl"},
    ),
}


def name_of(file):
    """The module that a file is a part of, without "skce." before it."""
    parts = file.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


# module: its files
MODULES = {}
for file in sorted(SOURCES.rglob("*.p[yx]*")):
    if file.suffix in (".py", ".pyx", ".pxd"):
        MODULES.setdefault(name_of(file), []).append(file)
PYTHON = [name for name, files in MODULES.items() if any(f.suffix == ".py" for f in files)]
PUBLIC = ["skce", "skce.losses", "skce.optim", "skce.metrics", "skce.inference", "skce.display"]


def python_imports(source):
    """(module, names) of the imports anywhere in Python source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, [alias.name for alias in node.names]


def cython_imports(source):
    """The same of imports and cimports of Cython source."""
    pattern = r"^\s*from\s+([\w.]+)\s+c?import\s+\(?([^)\n]*)|^\s*c?import\s+([\w.]+)"
    for module, names, alone in re.findall(pattern, source, re.MULTILINE):
        yield module or alone, [name.split()[0] for name in names.split(",") if name.strip()]


def imports(module):
    """(module, names) of the imports of a module of skce, of all its files."""
    for file in MODULES[module]:
        read = python_imports if file.suffix == ".py" else cython_imports
        yield from read(file.read_text(encoding="utf-8"))


def uses(module):
    """The modules of skce that it imports."""
    for origin, names in imports(module):
        if origin.split(".")[0] == "skce":
            inner = origin.removeprefix("skce").removeprefix(".")
            for name in names or [""]:
                full = f"{inner}.{name}".strip(".")
                yield full if full in MODULES else inner


def room_of(module):
    return module.split(".")[0]


def test_every_module_is_in_a_room():
    assert {room_of(module) for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("module", MODULES)
def test_rooms_import_what_stands_below_them(module):
    below, packages = ROOMS[room_of(module)]
    assert {room_of(used) for used in uses(module)} <= {*below, room_of(module)}
    for origin, _ in imports(module):
        package = origin.split(".")[0]
        assert package in {"skce", *packages} or package in sys.stdlib_module_names


def test_no_module_imports_itself_by_way_of_others():
    graph = {module: set(uses(module)) for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises for a circle


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"_estimators.validation"}))
def test_private_names_of_scikit_learn_are_in_one_file(module):
    for origin, names in imports(module):
        if origin.startswith("sklearn"):
            assert not any(part.startswith("_") for part in (*origin.split("."), *names))


def test_blas_is_in_one_file():
    using = [m for m in MODULES if any("cython_blas" in origin for origin, _ in imports(m))]
    assert using == ["_kernels.blas"]


def run_python(code, **environment):
    """Output of a fresh interpreter."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_leaves_floating_point_alone():
    output = run_python(
        """
import threading
import numpy as np
from numpy import float32, float64

def denormals():
    tiny = [float64(5e-324), float32(1e-45), float64(2.5e-308) / 4, float32(2e-38) / 8]
    sums = np.full(64, 1e-310).sum(), np.full(64, 1e-40, np.float32).sum()
    print(all(x != 0 and x * 1 != 0 for x in (*tiny, *sums)))

denormals()
import skce
denormals()
X = np.random.default_rng(0).standard_normal((60, 3))
skce.MultinomialLogistic(random_state=0).fit(X, np.arange(60) % 3)
skce.losses.softmax_cross_entropy(np.zeros((70_000, 3)), np.zeros(70_000, int))
denormals()
thread = threading.Thread(target=denormals)
thread.start()
thread.join()
"""
    )
    assert output.split() == 4 * ["True"]


def test_import_needs_no_optional_package():
    optional = "matplotlib", "pandas", "polars", "torch", "skl2onnx", "skops", "dask", "mpmath"
    code = f"""
import sys
import scipy.optimize, scipy.sparse, sklearn.base, sklearn.metrics  # these load what they find
before = set(sys.modules)
import skce
print({{*{optional}}} & (set(sys.modules) - before))
"""
    assert run_python(code).strip() == "set()"


def test_import_changes_no_global_state():
    code = """
import gc, locale, os, random, signal, warnings
import numpy as np, scipy.optimize, scipy.sparse, sklearn.linear_model, sklearn.metrics
def state():
    return (np.geterr(), np.get_printoptions(), warnings.filters[:], random.getstate(),
            str(np.random.get_state()), signal.getsignal(signal.SIGINT), dict(os.environ),
            gc.get_threshold(), locale.getlocale())
before = state()
import skce
print(before == state())
"""
    assert run_python(code).strip() == "True"


@pytest.mark.parametrize("name", [name for name in PYTHON if name != "__init__"])
def test_every_module_lists_its_names(name):
    if name.startswith("dask"):
        pytest.importorskip("distributed")
    if name == "onnx":
        pytest.importorskip("skl2onnx")
    module = importlib.import_module(f"skce.{name}")
    assert module.__doc__
    if not any(imports(name)) and hasattr(module, "__path__"):
        return  # a folder that tells what is in it
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_listed_and_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for listed in module.__all__:
        value = getattr(module, listed)
        assert not listed.startswith("_")
        if not callable(value) or inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), listed
    own = {
        key
        for key, value in vars(module).items()
        if (getattr(value, "__module__", None) or "").startswith(name) and not key.startswith("_")
    }
    assert own <= set(module.__all__)


@pytest.mark.parametrize("name", skce.__all__)
def test_public_methods_are_documented(name):
    value = getattr(skce, name)
    if not inspect.isclass(value):
        return
    for key, member in inspect.getmembers(value):
        if not key.startswith("_") and (callable(member) or isinstance(member, property)):
            assert inspect.getdoc(member), key


@pytest.mark.parametrize("name", PYTHON)
def test_examples_run(name, capsys):
    if name.startswith("dask"):
        pytest.importorskip("distributed")
    if name == "onnx":
        pytest.importorskip("skl2onnx")
    if name == "__init__" or name.startswith("display"):
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("Agg")
    if name == "display._coefficients":
        pytest.importorskip("pandas")
    module = skce if name == "__init__" else importlib.import_module(f"skce.{name}")
    failed, _ = doctest.testmod(module)
    assert failed == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", PUBLIC[1:4])
def test_public_functions_have_examples(name):
    module = importlib.import_module(name)
    for listed in module.__all__:
        if inspect.isfunction(getattr(module, listed)):
            assert ">>> " in inspect.getdoc(getattr(module, listed)), listed


def test_show_versions_prints_the_versions(capsys):
    skce.show_versions()
    output = capsys.readouterr().out
    assert output.startswith(f"skce {skce.__version__}, Python 3.")
    for package in ("numpy", "scipy", "scikit-learn"):
        assert re.search(rf"\b{package} \d+\.\d+", output)


def test_folder_to_include_has_what_cython_needs():
    folder = Path(skce.get_include(), "_kernels")
    for name in ("__init__.pxd", "blocks.pxd", "simd.pxd", "c/skce_simd.h", "c/level.inc"):
        assert (folder / name).is_file()


EXTENSION = """
# cython: language_level=3, boundscheck=False
from cython cimport floating
from skce._kernels cimport Loss, xent


def run(kind, floating[:, ::1] logits, const int[::1] labels, const floating[:, ::1] targets,
        const floating[::1] pos_weight, const double[::1] weights, double smoothing,
        double[::1] losses):
    cdef:
        double total
        Py_ssize_t n = logits.shape[0], k = logits.shape[1]
        Loss loss = kind
        const floating *q = NULL if pos_weight is None else &pos_weight[0]
        const int *y = NULL if labels is None else &labels[0]
        const floating *t = NULL if targets is None else &targets[0, 0]
    with nogil:
        total = xent(loss, &logits[0, 0], &logits[0, 0], y, t, q, <const floating *>NULL,
                     &weights[0], smoothing, n, k, &losses[0])
    return total
"""
SETUP = """
import sys
from Cython.Build import cythonize
from setuptools import Extension, setup
setup(name="third", ext_modules=cythonize(
    [Extension("third", ["third.pyx"])], include_path=[sys.argv.pop()]))
"""


@pytest.fixture(scope="module")
def third(tmp_path_factory):
    """An extension of another project that cimports the kernels of the installed package."""
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("third")
    (folder / "third.pyx").write_text(EXTENSION)
    (folder / "setup.py").write_text(SETUP)
    include = str(Path(skce.get_include()).parent)
    command = [sys.executable, "setup.py", "build_ext", "--inplace", include]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "simd.h" not in (folder / "third.c").read_text()  # no header of ours is needed
    file = folder / f"third{sysconfig.get_config_var('EXT_SUFFIX')}"
    spec = importlib.util.spec_from_file_location("third", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["labels", "softmax", "multilabel softmax", "sigmoid"])
def test_kernels_serve_other_extensions(third, kind, dtype):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((9, 4)).astype(dtype)
    targets = (rng.random((9, 4)) < 0.5).astype(dtype)
    labels = rng.integers(4, size=9).astype(np.intc)
    weights, pos_weight = rng.random(9), rng.uniform(1, 2, 4).astype(dtype)
    options = {"sample_weight": weights, "label_smoothing": 0.1}
    y, t, q, number = None, targets, None, 0
    if kind == "labels":
        y, t = labels, None
        expected = reference.softmax_cross_entropy(logits, labels, **options)
    elif kind == "softmax":
        expected = reference.softmax_cross_entropy(logits, targets, **options)
    elif kind == "multilabel softmax":
        number = 1
        expected = reference.multilabel_softmax_cross_entropy(logits, targets, **options)
    else:
        q, number = pos_weight, 2
        expected = reference.sigmoid_cross_entropy(logits, targets, pos_weight=q, **options)
    losses, residuals = np.empty(9), logits.copy()
    total = third.run(number, residuals, y, t, q, weights, 0.1, losses)
    tolerance = 2e-6 if dtype == np.float32 else 1e-13
    assert_allclose(losses, expected[0].astype(float), rtol=tolerance, atol=tolerance)
    assert_allclose(residuals, expected[1].astype(float), rtol=tolerance, atol=tolerance)
    assert_allclose(total, losses.sum(), rtol=1e-14)


def test_unknown_level_is_refused_in_one_sentence():
    env = {**os.environ, "SKCE_CPU_LEVEL": "sse9"}
    command = [sys.executable, "-c", "import skce"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ImportError: The environment variable SKCE_CPU_LEVEL must be one of")
    assert "'sse9'" in message
    assert message.count(". ") == 0
