"""Extension modules of skce; everything else is in pyproject.toml.

SKCE_DEBUG=1 builds with bounds checks and C assertions, without optimisation; SKCE_OPENMP=0 builds
without threads. Modules are compiled on all cores; ``build_ext --parallel 1`` takes one.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("SKCE_DEBUG", "0") not in ("", "0")
MSVC = sys.platform == "win32"
UTILITY = "skce._cyutility"  # Cython's own code, once for all modules
MODULES = (  # those that take longest first, so that all cores end together
    *("_engine.products", "_engine.sdca", "_engine.sgd", "_engine.passes"),
    *("_kernels.arrays", "_kernels.blocks", "_kernels.proba", "_engine.data", "_engine.pairs"),
    "_kernels.cpu",
)


def openmp_flags():
    """Compiler and linker flags of OpenMP, empty where a test program does not build."""
    if os.environ.get("SKCE_OPENMP") == "0":
        return [], []
    if MSVC:
        return ["/openmp"], []
    compiler = os.environ.get("CC", "cc").split()
    program = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(program)
        command = [*compiler, "-fopenmp", str(source), "-o", str(Path(folder, "probe"))]
        try:
            built = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            built = False
    return (["-fopenmp"], ["-fopenmp"]) if built else ([], [])


def extensions():
    """List the extension modules with their flags."""
    compile_flags, link_flags = openmp_flags()
    if MSVC:
        compile_flags += ["/O2", "/std:c11"]
    elif DEBUG:
        compile_flags += ["-O1", "-g", "-UNDEBUG"]
    else:
        compile_flags += [
            "-O3",
            "-DNDEBUG",
            "-fopenmp-simd",
            "-fno-math-errno",
            "-fno-trapping-math",
            "-Wno-psabi",
        ]
    headers = [str(path) for path in Path("skce/_kernels/c").iterdir()]
    utility = Extension(UTILITY, ["skce/_cyutility.c"], extra_compile_args=compile_flags)
    return [
        *(
            Extension(
                f"skce.{name}",
                [f"skce/{name.replace('.', '/')}.pyx"],
                depends=headers,
                include_dirs=["skce/_kernels"],
                extra_compile_args=compile_flags,
                extra_link_args=link_flags,
            )
            for name in MODULES
        ),
        utility,
    ]


setup(
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython-debug" if DEBUG else "build/cython",
        shared_utility_qualified_name=UTILITY,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "initializedcheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
        },
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
