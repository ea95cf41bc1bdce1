"""The primitives of skce_simd.h, compiled from simd_probe.c; extended precision to judge them."""

import ctypes
import os
import subprocess
from pathlib import Path

import mpmath
import numpy as np

import skce
from skce._kernels.cpu import LEVELS

__all__ = ["EXTENDED", "LANES", "TYPES", "Simd", "arguments", "build", "errors", "slow_errors"]

# those of setup.py; the asserts are left on
FLAGS = ["-O3", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]
HEADERS = Path(skce.get_include(), "_kernels", "c")
TYPES = {np.float32: "f32", np.float64: "f64"}
LANES = 16  # SKCE_LANES
# where long double is double every point goes to mpmath: fewer points
EXTENDED = np.finfo(np.longdouble).nmant >= 63
POINTS = 300_000 if EXTENDED else 3000
MARGIN, CANARY = 19, 77
rng = np.random.default_rng(0)


def build(file, compiler):
    """The library of simd_probe.c with the flags of skce's own build."""
    source = Path(__file__).with_name("simd_probe.c")
    command = [*compiler, *os.environ.get("CFLAGS", "").split(), *FLAGS, f"-I{HEADERS}"]
    command += [str(source), "-o", str(file), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(file))
    library.find.restype = ctypes.c_void_p
    return library


class Simd:
    """The primitives of a level and a type. Arrays are passed by address, bool as int."""

    def __init__(self, library, level, dtype):
        self.library, self.level, self.dtype = library, level, dtype
        self.eps = float(np.finfo(dtype).eps)

    def find(self, name):
        name = f"{name}_{TYPES[self.dtype]}_{self.level}"
        return self.library.find(name.encode(), LEVELS.index(self.level))

    def array(self, values, dtype=None):
        """A copy between margins that nothing may write to, aligned to its entries only."""
        values = np.asarray(values, dtype or self.dtype)
        whole = np.full(values.size + 2 * MARGIN, CANARY, values.dtype)
        inner = whole[MARGIN:-MARGIN].reshape(values.shape)
        inner[...] = values
        return inner

    def __call__(self, name, *args, result=ctypes.c_ssize_t):
        c = {bool: ctypes.c_int, int: ctypes.c_ssize_t, float: ctypes.c_double}
        c |= {np.ndarray: lambda a: ctypes.c_void_p(a.ctypes.data), type(None): ctypes.c_void_p}
        output = ctypes.CFUNCTYPE(result)(self.find(name))(*(c[type(a)](a) for a in args))
        for a in args:
            if isinstance(a, np.ndarray):
                assert (a.base[:MARGIN] == CANARY).all()
                assert (a.base[-MARGIN:] == CANARY).all()
        return output

    def tile(self, x, stride):
        """x (n, k) as primitives want it: row-major where stride is 0, else class-major, padded."""
        return self.array(np.pad(x.T, ((0, 0), (0, stride - len(x)))) if stride else x)

    def column(self, values, stride, dtype=None):
        """A number for each row, padded like a tile."""
        return self.array(np.pad(values, (0, max(stride - len(values), 0))), dtype)


def near(centres, dtype, steps=30):
    """Numbers with their neighbours, up to `steps` units in the last place away."""
    integer = {np.float32: np.int32, np.float64: np.int64}[dtype]
    bits = np.asarray(centres, dtype).view(integer)[:, np.newaxis]
    return (bits + np.arange(-steps, steps + 1, dtype=integer)).view(dtype).ravel()


def arguments(name, dtype):
    """Points all over the domain of a function, more at its edges."""
    info = np.finfo(dtype)
    unsigned = {np.float32: np.uint32, np.float64: np.uint64}[dtype]
    smallest, highest = float(info.smallest_subnormal), float(info.max)
    n = np.arange(info.minexp - info.nmant - 2, info.maxexp + 2)
    low, high, edges = 0, 1, [smallest * 99, float(info.tiny), 1 / 3, 1, 0.5, float(info.eps)]
    if name == "exp":
        low, high = -1e4, {np.float32: 70, np.float64: 670}[dtype]
        lowest = np.log(np.longdouble(info.smallest_subnormal))
        edges = np.r_[n, n + 0.5] * np.log(2)
        edges = np.r_[edges, np.log(float(info.tiny)), float(lowest), -746, -104, 670, 70]
        edges = np.r_[edges, lowest - np.log(2), float(info.eps), -float(info.eps), 1e-300]
    elif name == "log":
        low, high = np.sqrt(0.5), highest
        power = 2.0 ** n[(n >= 0) & (n < info.maxexp)]
        edges = np.r_[power * np.sqrt(0.5), power, highest]
    elif name == "log_any":
        low, high = smallest, highest
        power = 2.0 ** n[n < info.maxexp]
        edges = np.r_[power, power * np.sqrt(0.5), highest]
    elif name == "log1p_any":
        low, high = np.nextafter(dtype(-1), dtype(0)), highest
        power = 2.0 ** n[(n >= -info.nmant) & (n < info.maxexp)]
        edges = np.r_[power, power * np.sqrt(0.5) - 1, -power[power < 1], smallest * 99, highest]
    bits = rng.integers(np.array(high, dtype).view(unsigned), size=POINTS, dtype=unsigned)
    x = np.r_[near(edges, dtype), bits.view(dtype), -bits.view(dtype)]
    top, bottom = (90, -105) if dtype == np.float32 else (711, -747)
    dense = 2 ** rng.uniform(-12, 0, POINTS) + (
        name in ("log", "log_any")
    )  # where the errors are largest
    spread = rng.uniform(max(low, bottom), min(high, top), POINTS)
    x = np.r_[x, dense.astype(dtype), spread.astype(dtype)]
    return x[(x >= low) & (x <= high)]


def last_place(exponent, dtype):
    """The exponent of the unit in the last place of numbers in [2^(exponent-1), 2^exponent)."""
    return np.maximum(exponent - 1, np.finfo(dtype).minexp) - np.finfo(dtype).nmant


def errors(name, x, y):
    """Errors of y in ulp by long double; infinity counts as the power after the largest number."""
    top = np.longdouble(2) ** np.finfo(x.dtype).maxexp
    name = name.removesuffix("_any")
    exact = np.minimum(getattr(np, name)(x.astype(np.longdouble)), top)
    exponent = np.where(exact == 0, -99999, np.frexp(exact)[1])
    got = np.minimum(y.astype(np.longdouble), top)
    return np.ldexp(abs(got - exact), -last_place(exponent, x.dtype)).astype(float)


def slow_errors(name, x, y):
    """The same by mpmath."""
    name = name.removesuffix("_any")
    with mpmath.workdps(40):
        top = mpmath.mpf(2) ** int(np.finfo(x.dtype).maxexp)
        exact = [min(getattr(mpmath, name)(mpmath.mpf(v)), top) for v in x.tolist()]
        exponent = [mpmath.frexp(e)[1] if e else -99999 for e in exact]
        unit = [mpmath.mpf(2) ** int(last_place(e, x.dtype)) for e in exponent]
        got = [min(mpmath.mpf(v), top) for v in y.tolist()]
        rows = zip(got, exact, unit, strict=True)
        return np.array([float(abs(a - b) / u) for a, b, u in rows])
