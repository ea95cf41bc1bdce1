"""The layers, what importing does, the public names, and kernels cimported from elsewhere."""

import ast
import doctest
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
EVERYTHING = {"numpy", "scipy", "sklearn"}
# module: (the modules of skce it may import, other packages beside the standard library)
LAYERS = {
    # 0 C, 1 kernels
    "_simd": (set(), {"cython"}),
    "_blas": (set(), {"cython", "scipy.linalg.cython_blas"}),
    "_cpu": ({"_simd"}, {"cython"}),
    "_kernels": ({"_simd", "_cpu"}, {"cython", "libc"}),
    "_parallel": ({"_simd", "_cpu", "_kernels"}, {"cython", "libc", "numpy"}),
    "_linear": (
        {"_simd", "_blas", "_cpu", "_kernels"},
        {"cpython", "cython", "libc", "numpy", "scipy"},
    ),
    # 2 engine; _read, _arrays and _proba are parts of losses
    "_problem": ({"_kernels", "_linear"}, {"scipy"}),
    "_gradient": (
        {"_simd", "_cpu", "_kernels", "_linear", "_problem"},
        {"cython", "libc", "numpy"},
    ),
    "_sdca": ({"_simd", "_cpu", "_kernels", "_linear"}, {"cython", "libc", "numpy", "scipy"}),
    "_sgd": (
        {"_simd", "_cpu", "_kernels", "_linear", "_problem"},
        {"cython", "libc", "numpy", "scipy"},
    ),
    "_read": (set(), {"numpy", "scipy"}),
    "_arrays": ({"_parallel", "_read"}, {"numpy", "scipy"}),
    "_proba": ({"_parallel", "_arrays", "_read"}, {"numpy"}),
    "losses": ({"_kernels", "_arrays", "_proba", "_read"}, {"numpy"}),
    "optim": ({"_linear"}, {"numpy", "scipy"}),
    # 3 contract
    "_validation": ({"_arrays", "_read"}, EVERYTHING),
    # 4 base
    "_solvers": ({"_gradient", "_sgd", "optim"}, {"numpy", "scipy"}),
    "_targets": ({"_validation"}, EVERYTHING),
    "_predict": ({"_linear", "_arrays", "_validation"}, {"numpy", "scipy"}),
    "_canonical": (
        {"_cpu", "_kernels", "_linear", "_problem", "_gradient", "_arrays"},
        {"numpy", "scipy"},
    ),
    "_certificate": ({"_gradient", "_canonical"}, {"numpy", "scipy"}),
    "_metric": ({"_canonical"}, {"numpy", "scipy"}),
    "_objective": ({"_gradient", "_certificate"}, {"numpy", "scipy"}),
    "_lbfgs": ({"_metric", "_objective"}, {"numpy", "scipy"}),
    "_dual": (
        {"_gradient", "_linear", "_sdca", "losses", "_canonical", "_certificate"},
        {"numpy", "scipy"},
    ),
    "_optimum": ({"_objective", "_lbfgs", "_dual"}, {"numpy", "scipy"}),
    "_base": (
        {
            *("_kernels", "_problem", "_validation", "_targets"),
            *("_predict", "_solvers", "_canonical", "_optimum"),
        },
        EVERYTHING,
    ),
    # 5 estimators
    "_multinomial": ({"_kernels", "_validation", "_predict", "_base", "losses"}, EVERYTHING),
    "_multilabel": (
        {"_kernels", "_arrays", "_validation", "_predict", "_base", "losses"},
        EVERYTHING,
    ),
    # 6 satellites
    "metrics": ({"_read", "_arrays", "_validation", "losses"}, EVERYTHING),
    "display": (set(), {*EVERYTHING, "matplotlib"}),
    # 7 package
    "__init__": (
        {"_cpu", "losses", "metrics", "optim", "_multinomial", "_multilabel", "display"},
        {"threadpoolctl"},
    ),
}
PYTHON = sorted(file.stem for file in SOURCES.glob("*.py"))
PUBLIC = ["skce", "skce.losses", "skce.optim", "skce.metrics", "skce.display"]
# of optim, for the solvers
NOT_PUBLIC = {"Moments", "sample_rows", "smoothness"}


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


def imports(stem):
    """(module, names) of the imports of a module of skce, of all its files."""
    for file in SOURCES.glob(f"{stem}.*"):
        if file.suffix == ".py":
            yield from python_imports(file.read_text(encoding="utf-8"))
        elif file.suffix in (".pyx", ".pxd"):
            yield from cython_imports(file.read_text(encoding="utf-8"))


def test_every_module_has_a_layer():
    stems = {file.stem for file in SOURCES.iterdir() if file.suffix in (".py", ".pyx", ".pxd")}
    assert stems == set(LAYERS)


@pytest.mark.parametrize("stem", LAYERS)
def test_layers_import_downwards_only(stem):
    below, packages = LAYERS[stem]
    for module, names in imports(stem):
        if module == "skce":
            assert set(names) <= below
        elif module.startswith("skce."):
            assert module.split(".")[1] in below
        elif module.split(".")[0] not in sys.stdlib_module_names:
            assert module in packages or module.split(".")[0] in packages


def test_table_of_layers_has_no_cycle():
    order = list(LAYERS)
    for stem, (below, _) in LAYERS.items():
        assert all(order.index(other) < order.index(stem) for other in below)


@pytest.mark.parametrize("stem", sorted(set(LAYERS) - {"_validation"}))
def test_private_names_of_scikit_learn_are_in_one_file(stem):
    for module, names in imports(stem):
        if module.startswith("sklearn"):
            assert not any(part.startswith("_") for part in (*module.split("."), *names))


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
    optional = "matplotlib", "pandas", "polars", "torch", "rich", "pytest", "mpmath"
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


@pytest.mark.parametrize("stem", [stem for stem in PYTHON if stem != "__init__"])
def test_every_module_lists_its_names(stem):
    module = importlib.import_module(f"skce.{stem}")
    assert module.__doc__
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
        if getattr(value, "__module__", None) == name and not key.startswith("_")
    }
    assert own - NOT_PUBLIC <= set(module.__all__)


@pytest.mark.parametrize("name", skce.__all__)
def test_public_methods_are_documented(name):
    value = getattr(skce, name)
    if not inspect.isclass(value):
        return
    for key, member in inspect.getmembers(value):
        if not key.startswith("_") and (callable(member) or isinstance(member, property)):
            assert inspect.getdoc(member), key


@pytest.mark.parametrize("stem", PYTHON)
def test_examples_run(stem, capsys):
    if stem == "display":
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("Agg")
    module = skce if stem == "__init__" else importlib.import_module(f"skce.{stem}")
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
    names = os.listdir(skce.get_include())
    for name in ("_kernels.pxd", "_simd.pxd", "_simd.h", "_simd.inc", "_blas.pxd"):
        assert name in names


EXTENSION = """
# cython: language_level=3, boundscheck=False
from cython cimport floating
from skce._kernels cimport Loss, multilabel_softmax_xent, sigmoid_xent, softmax_xent, xent


def run(kind, floating[:, ::1] logits, const int[::1] labels, const floating[:, ::1] targets,
        const floating[::1] pos_weight, const double[::1] weights, double smoothing,
        double[::1] losses, bint by_number):
    cdef:
        double total
        Py_ssize_t n = logits.shape[0], k = logits.shape[1]
        Loss number = kind
        const floating *q = NULL if pos_weight is None else &pos_weight[0]
        const int *y = NULL if labels is None else &labels[0]
        const floating *t = NULL if targets is None else &targets[0, 0]
    with nogil:
        if by_number:
            total = xent(number, &logits[0, 0], y, t, q, &weights[0], smoothing, n, k, &losses[0])
        elif number == Loss.SOFTMAX:
            total = softmax_xent(
                &logits[0, 0], y, t, q, &weights[0], smoothing, n, k, &losses[0])
        elif number == Loss.MULTILABEL_SOFTMAX:
            total = multilabel_softmax_xent(
                &logits[0, 0], y, t, q, &weights[0], smoothing, n, k, &losses[0])
        else:
            total = sigmoid_xent(
                &logits[0, 0], y, t, q, &weights[0], smoothing, n, k, &losses[0])
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
    file = folder / f"third{sysconfig.get_config_var('EXT_SUFFIX')}"
    spec = importlib.util.spec_from_file_location("third", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("by_number", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["labels", "softmax", "multilabel softmax", "sigmoid"])
def test_kernels_serve_other_extensions(third, kind, dtype, by_number):
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
    total = third.run(number, residuals, y, t, q, weights, 0.1, losses, by_number)
    tolerance = 2e-6 if dtype == np.float32 else 1e-13
    assert_allclose(losses, expected[0].astype(float), rtol=tolerance, atol=tolerance)
    assert_allclose(residuals, expected[1].astype(float), rtol=tolerance, atol=tolerance)
    assert_allclose(total, losses.sum(), rtol=1e-14)
