"""Extension modules of skce; everything else is in pyproject.toml.

SKCE_DEBUG=1 builds with bounds checks and C assertions, without optimisation; SKCE_OPENMP=0 builds
without threads.
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
    headers = [str(path) for path in Path("skce").glob("_*.[hi]*") if path.suffix in (".h", ".inc")]
    return [
        Extension(
            f"skce.{name}",
            [f"skce/{name}.pyx"],
            depends=headers,
            include_dirs=["skce"],
            extra_compile_args=compile_flags,
            extra_link_args=link_flags,
        )
        for name in (
            *("_cpu", "_kernels", "_parallel", "_linear", "_problem"),
            *("_gradient", "_sgd", "_sdca"),
        )
    ]


setup(
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython-debug" if DEBUG else "build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "initializedcheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
        },
    )
)
