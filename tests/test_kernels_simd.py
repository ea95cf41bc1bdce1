"""The vector primitives against NumPy and extended precision, at each CPU level of the machine."""

import ctypes
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from simd_probe import EXTENDED, LANES, TYPES, Simd, arguments, build, errors, slow_errors

from skce._kernels.cpu import LEVELS

# `make level-test` runs one level at a time
FORCED = os.environ.get("SKCE_CPU_LEVEL")
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = os.environ.get("CC", "cc").split()
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no C compiler: {compiler[0]} is not in PATH")
    return build(tmp_path_factory.mktemp("simd") / "probe.so", compiler)


@pytest.fixture(scope="module", params=LEVELS)
def level(request, library):
    if library.find(b"exp_f32_" + request.param.encode(), LEVELS.index(request.param)) is None:
        pytest.skip(f"this machine or build has no {request.param}")
    if FORCED and request.param != FORCED:
        pytest.skip(f"SKCE_CPU_LEVEL is {FORCED}")
    return request.param


@pytest.fixture(scope="module", params=TYPES, ids=TYPES.values())
def simd(request, library, level):
    return Simd(library, level, request.param)


def evaluate(simd, name, x):
    x, y = simd.array(x), simd.array(np.zeros(len(x)))
    simd(name, x, len(x), y)
    return np.array(x), np.array(y)


@pytest.mark.parametrize("name", ["exp", "log", "log1p", "log_any", "log1p_any"])
def test_functions_err_by_at_most_2_ulp(simd, name):
    x, y = evaluate(simd, name, arguments(name, simd.dtype))
    found = errors(name, x, y) if EXTENDED else slow_errors(name, x, y)
    assert not np.isnan(found).any()
    worst = np.argsort(found)[-300:]
    if EXTENDED:  # long double has 11 bits more than double: enough, as mpmath confirms
        assert_allclose(found[worst], slow_errors(name, x[worst], y[worst]), atol=2e-3)
    where = float(x[worst[-1]]).hex()
    label = f"{name} {TYPES[simd.dtype]} {simd.level}"
    print(f"{label}: {found.max():.3f} ulp at {where}, {len(x)} points")
    assert found.max() <= 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "ranges"),
    [
        # below 2^-25 exp is 1
        ("exp", [(2.0**-25, 70), (-(2.0**-25), -104)]),
        ("log", [(0.7071068, np.finfo(np.float32).max)]),
        ("log1p", [(0, 1)]),
    ],
)
def test_every_float_errs_by_at_most_2_ulp(library, level, name, ranges):
    simd, worst, step = Simd(library, level, np.float32), 0, 5 if level == "baseline" else 1
    at = simd.array([0])
    for pair in ranges:
        first, last = (int(b) for b in np.array(pair, np.float32).view(np.uint32))
        worst = max(worst, simd("scan_" + name, first, last, step, at, result=ctypes.c_double))
    where = f"{float(at[0]).hex()}, every {step} of the floats"
    print(f"{name} f32 {level}: {worst:.3f} ulp at {where}")
    assert 0.4 < worst <= 2


def test_functions_at_infinity_and_nan(simd):
    inf, nan = np.inf, np.nan
    _, y = evaluate(simd, "exp", [-inf, nan, 0, -0.0, -3e38])
    assert_array_equal(y, [0, nan, 1, 1, 0])
    assert_array_equal(evaluate(simd, "log", [inf, nan, 1])[1], [inf, nan, 0])
    assert_array_equal(evaluate(simd, "log1p", [0, nan])[1], [0, nan])
    assert_array_equal(evaluate(simd, "log_any", [inf, nan, 1, 0])[1], [inf, nan, 0, -inf])
    assert_array_equal(evaluate(simd, "log1p_any", [inf, nan, 0, -1])[1], [inf, nan, 0, -inf])
    x = simd.array([inf, nan, 1, 2.5, 1e30])
    simd("vlog", x, 5)
    assert_allclose(x, np.log([inf, nan, 1, 2.5, simd.dtype(1e30)]), rtol=2 * simd.eps)
    x = simd.array([-inf, inf, nan, 0, -3, 3, -80])
    simd("logistic_to", x, 7, x)
    e = np.exp(-3)
    expected = [0, 1, nan, 0.5, e / (1 + e), 1 / (1 + e), np.exp(-80)]
    assert_allclose(x, expected, rtol=5 * simd.eps)


SHAPES = [(n, k) for n in (1, 2, 7, 8, 9, 16, 19, 33) for k in (*range(1, 11), 15, 16, 17, 33, 40)]


@pytest.fixture(params=["class-major", "row-major"])
def shapes(request):
    """(n, k, stride)."""
    major = request.param == "class-major"
    return [(n, k, -(-n // LANES) * LANES if major else 0) for n, k in SHAPES]


def test_unpack_undoes_pack(simd):
    for n in (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33):
        for k in range(1, 41):
            x, stride = simd.array(rng.standard_normal((n, k))), -(-n // LANES) * LANES
            tile, back = simd.array(np.full((k, stride), 5)), simd.array(np.zeros((n, k)))
            simd("pack", x, n, k, stride, tile)
            assert_array_equal(tile, simd.tile(x, stride))
            simd("unpack", tile, n, k, stride, back)
            assert_array_equal(back, x)


def test_reductions_of_rows(simd, shapes):
    for n, k, stride in shapes:
        x = rng.standard_normal((n, k)).astype(simd.dtype)
        x[rng.random((n, k)) < 0.1] = -np.inf
        top = simd.column(np.zeros(n), stride)
        total = simd.column(np.zeros(n), stride, float)
        simd("row_max", simd.tile(x, stride), n, k, stride, top)
        # clang starts a maximum at the lowest finite number: test_exp_rows has rows of -inf
        lowest = np.finfo(simd.dtype).min
        assert_array_equal(np.maximum(top[:n], lowest), np.maximum(x.max(axis=1), lowest))
        x = np.maximum(x, -9).astype(float)
        for shift in (None, simd.column(rng.standard_normal(n), stride)):
            simd("row_sums", simd.tile(x, stride), n, k, stride, shift, total)
            expected = (x - (0 if shift is None else shift[:n, np.newaxis])).sum(axis=1)
            assert_allclose(total[:n], expected, rtol=1e-13, atol=1e-12)
        t = np.where(rng.random((n, k)) < 0.3, np.nan, 0)
        hidden = simd.array(x)
        simd("mask_missing", hidden, x.size, simd.array(t))
        assert_array_equal(hidden, np.where(t == t, x, -np.inf).astype(simd.dtype))


@pytest.mark.parametrize("divide", [0, 1])
@pytest.mark.parametrize("missing", [0, 1])
def test_tally_of_targets_whose_zeros_count_nothing(simd, shapes, divide, missing):
    for n, k, stride in shapes:
        x = rng.standard_normal((n, k)).astype(simd.dtype)
        t = rng.choice([0, 0, 0.25, 1, np.nan if missing else 2], (n, k))
        x[~(t > 0)] = -np.inf
        top = x.max(axis=1, initial=0)
        sums = [simd.column(np.zeros(n), stride, float) for _ in range(3)]
        arrays = simd.tile(x, stride), n, k, stride, simd.tile(t, stride), simd.column(top, stride)
        simd("target_sums", *arrays, divide, missing, *sums)
        known = np.nan_to_num(t)
        keep = 1 / np.maximum((known > 0).sum(axis=1), 1) if divide else np.ones(n)
        below = np.where(known > 0, x, 0).astype(float) - top[:, np.newaxis]
        for found, expected in zip(
            sums, (known.sum(axis=1), 1, (known * below).sum(axis=1)), strict=True
        ):
            assert_allclose(found[:n], keep * expected, rtol=1e-13)
        simd("target_sums", *arrays, divide, 0, *sums)
        assert_array_equal(np.isnan(sums[0][:n]), np.isnan(t).any(axis=1))


def test_dots_pass_over_zero_targets_and_nan(simd, shapes):
    for n, k, stride in shapes:
        x = rng.standard_normal((n, k)).astype(simd.dtype)
        t = rng.choice([0, 0.25, 1, np.nan], (n, k))
        keep, spread = rng.random(n), np.where(rng.random(n) < 0.5, 0, 0.125)
        q = keep[:, np.newaxis] * t + spread[:, np.newaxis]
        x[~(q > 0)] = -np.inf
        top = x.max(axis=1, initial=0)
        parts = (simd.column(v, stride, float) for v in (keep, spread, np.zeros(n)))
        keep, spread, dot = parts
        arrays = simd.tile(t, stride), simd.column(top, stride), keep, spread, dot
        simd("dots", simd.tile(x, stride), n, k, stride, *arrays)
        difference = np.where(q > 0, x, 0).astype(float) - top[:, np.newaxis]
        expected = np.where(q > 0, q * difference, 0).sum(axis=1)
        assert_allclose(dot[:n], expected, rtol=1e-13)


def test_exp_rows_and_their_sums(simd, shapes):
    for n, k, stride in shapes:
        x = (20 * rng.standard_normal((n, k))).astype(simd.dtype)
        x[0] = -np.inf
        if n > 2:
            x[1, -1], x[2, 0] = np.inf, np.nan
        special = 3 if n > 2 else 1
        tile, total = simd.tile(x, stride), simd.column(np.zeros(n), stride, float)
        rest = simd.column(np.zeros(n), stride, float)
        top = simd.column(np.zeros(n), stride)
        simd("row_max", tile, n, k, stride, top)
        simd("exp_rows", tile, tile, n, k, stride, top, total, rest)
        rows = (tile[:, :n].T if stride else tile)[special:]
        difference = x[special:] - top[special:n, np.newaxis]
        expected = np.exp(difference.astype(np.longdouble))
        assert_allclose(rows, expected.astype(float), rtol=3 * simd.eps, atol=3e-45)
        assert_allclose(total[special:n], rows.astype(float).sum(axis=1), rtol=1e-13)
        below = np.where(rows < 1, rows, 0).astype(float).sum(axis=1)
        near = total[special:n].min(initial=2) < 1 + 2**-10  # else the sum tells it well enough
        assert_allclose(
            rest[special:n], below if near else total[special:n] - 1, rtol=1e-13, atol=0
        )
        assert np.isnan(total[:special]).all()
        simd("exp_rows", simd.tile(x, stride), tile, n, k, stride, top, total, None)
        assert_allclose(total[special:n], 1 + rest[special:n], rtol=max(2 * simd.eps, 1e-13))


def test_scaled_rows_and_residuals(simd, shapes):
    for n, k, stride in shapes:
        x = rng.random((n, k)).astype(simd.dtype)
        t = np.where(rng.random((n, k)) < 0.2, np.nan, rng.random((n, k))).astype(simd.dtype)
        scale, keep, spread = (simd.column(rng.random(n), stride) for _ in range(3))
        a, b, c = (v[:n, np.newaxis].astype(float) for v in (scale, keep, spread))
        residuals = simd.tile(x, stride)
        arrays = simd.tile(t, stride), scale, keep, spread
        simd("residuals", residuals, n, k, stride, *arrays)
        expected = np.where(t == t, x * a - (b * t + c), 0)
        rows = residuals[:, :n].T if stride else residuals
        assert_allclose(rows, expected, atol=4 * simd.eps)
        for shift, value in ((None, 0), (spread, c)):
            scaled = simd.tile(x, stride)
            simd("scale_rows", scaled, n, k, stride, scale, shift)
            rows = scaled[:, :n].T if stride else scaled
            assert_allclose(rows, x * a - value, atol=2 * simd.eps)


@pytest.mark.parametrize("positive", [False, True])
def test_softplus_mix_is_the_loss_and_its_scaled_derivatives(simd, positive):
    for n in (1, 2, 15, 16, 17, 100):
        x = rng.choice([-100, -2.5, -0.0, 0, 1e-3, 0.5, 30, 80], n)
        t = rng.choice([0, 0.5, 1, np.nan], n)
        x[0], t[0] = -np.inf, 0
        weight = rng.uniform(0.5, 3, n).astype(simd.dtype) if positive else np.ones(n)
        s, t, loss = simd.array(x), simd.array(t), simd.array(np.zeros(n))
        x = s.astype(np.longdouble)
        positive_n = simd.array(weight) if positive else None
        bend = simd.array(np.zeros(n))
        simd("softplus_mix", s, s, bend, n, t, positive_n, 0.75, 0.125, 1.5, loss)
        q = 0.75 * t + 0.125
        expected = (1 - q) * np.logaddexp(0, x) + weight * q * np.logaddexp(0, -x)
        slope = (1 - q) / (1 + np.exp(-x)) - weight * q / (1 + np.exp(x))
        assert_allclose(loss, np.where(t == t, expected, 0).astype(float), rtol=8 * simd.eps)
        slope = np.where(t == t, 1.5 * slope, 0).astype(float)
        assert_allclose(s, slope, rtol=8 * simd.eps, atol=4 * simd.eps)
        curvature = (1 - q + weight * q) * np.exp(-abs(x)) / (1 + np.exp(-abs(x))) ** 2
        curvature = np.where(t == t, 1.5 * curvature, 0).astype(float)
        assert_allclose(bend, curvature, rtol=8 * simd.eps, atol=4 * simd.eps)


def wide(*arrays):
    """The arrays in double, then their magnitudes, which bound the rounding of products."""
    arrays = [a.astype(float) for a in arrays]
    return arrays, [abs(a) for a in arrays]


def test_packed_products(simd):
    if simd.find("packed_forward") is None:
        pytest.skip("built without vector types")
    for k in range(1, 33):
        for p in range(1, 71):
            n, stride = 1 + (k + p) % 9, -(-p // LANES) * LANES
            w = simd.array(np.pad(rng.standard_normal((k, p)), ((0, 0), (0, stride - p))))
            x = simd.array(rng.standard_normal((n, stride + 3)))  # w is zero where x is not its
            out = simd.array(rng.standard_normal((n, k)))
            expected, limit = (o + a[:, :stride] @ b.T for a, b, o in wide(x, w, out))
            ahead = simd.array(x.ctypes.data + np.arange(n) * x.strides[0], np.uintp)
            simd("packed_forward", x, n, stride + 3, stride, k, w, ahead, out)
            assert (abs(out - expected) <= (p + 2) * simd.eps * limit).all()
            x, before = simd.array(x[:, :stride]), w.copy()
            r = simd.array(rng.standard_normal((n, k + 2)))
            columns = LANES * (1 + k % (stride // LANES))
            expected, limit = (o + b[:, :k].T @ a for a, b, o in wide(x, r, w))
            simd("packed_backward", x, n, columns, stride, k, r, k + 2, w)
            assert (abs(w - expected) <= (n + 2) * simd.eps * limit)[:, :columns].all()
            assert_array_equal(w[:, columns:], before[:, columns:])


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_csr_products(simd, index):
    p, lengths = 150, np.array([0, 1, 5, 130, 0, 70, 64, 3, 0])
    columns = [rng.choice(p, size, replace=False) for size in lengths]
    indptr = simd.array(np.r_[0, np.cumsum(lengths)], np.int64)
    indices = simd.array(np.concatenate(columns), index)
    values = simd.array(rng.standard_normal(indices.size))
    dense = np.zeros((len(lengths), p), simd.dtype)
    dense[np.repeat(np.arange(len(lengths)), lengths), indices] = values
    metric = simd.array(rng.random(p))
    csr = indptr, indices, index is np.int64, values
    for k in range(1, 71):
        order = simd.array(rng.permutation(len(lengths))[: 1 + k % 9], np.intp)
        n, x = len(order), dense[order].astype(float)
        w, out = (simd.array(rng.standard_normal((rows, k))) for rows in (p, n))
        expected = out + x @ w
        known = 1 + k % n
        simd("csr_gather", w, p, k, known, n, order, *csr, out)  # the other rows are fetched
        simd("csr_gather", w, p, k, n - known, n - known, order[known:], *csr, out[known:])
        assert_allclose(out, expected, rtol=9 * simd.eps, atol=99 * simd.eps)
        for factor in (None, metric):
            expected = w + 0.5 * (1 if factor is None else factor[:, np.newaxis]) * (x.T @ out)
            simd("csr_scatter", w, p, k, n, order, *csr, 0.5, factor, out)
            assert_allclose(w, expected, rtol=9 * simd.eps, atol=99 * simd.eps)


PROX = [
    (k, q) for k in (1, 2, 3, 15, 16, 17, 40, 64, 65, 150) for q in (0, 0.3, 10, 1e3, 1e6, 1e30)
]


def prox_rows(k, simd, sigmoid):
    """Logits, old probabilities, and masks."""
    for scale, corner in ((0.1, False), (3, True), (40, False), (3000, True)):
        s = simd.array(scale * rng.standard_normal(k))
        mask = rng.random(k) < 0.7
        mask[k // 2] = True
        if sigmoid:
            old = rng.random(k) < 0.5 if corner else rng.random(k)
        else:
            old = np.eye(k)[k // 2] if corner else rng.dirichlet(np.ones(k)) * mask
            old = old / old.sum()
        yield s, old, None if scale == 0.1 and (sigmoid or mask.all()) else mask


def solves(root, start, q, s, eps):
    """The residual of the step is 5 % of its start or rounding."""
    return (abs(root) <= 0.051 * abs(start) + 99 * eps * (q + abs(s).max() + 1)).all()


def test_softmax_prox_solves_its_equation(simd):
    room = simd.array(np.zeros(8 * 160))
    for k, q in PROX:
        for s, probabilities, mask in prox_rows(k, simd, False):
            table, moved, entropy = simd.array(probabilities), simd.array(s), np.zeros(1)
            entropy = simd.array(entropy, float)
            seen = np.ones(k, bool) if mask is None else mask
            x, old, strength = s[seen].astype(float), table[seen].astype(float), min(q, 1e16)
            arrays = (None if mask is None else simd.array(mask), table, entropy, moved, room)
            gap = simd("softmax_prox", moved, k, float(q), 2.0, *arrays, result=ctypes.c_double)
            new, top = table[seen].astype(float), x.max()
            total = np.exp(x - top).sum()
            assert_allclose(gap, np.log(total) - old @ (x - top), rtol=9 * simd.eps, atol=1e-5)
            assert (table[~seen] == 0).all()
            assert (new >= 0).all()
            assert abs(new.sum() - 1) <= 99 * simd.eps
            assert_allclose(moved[seen], 2 * (new - old), atol=4 * simd.eps)
            positive = new[new > 0]
            limit = 200 * simd.eps * (1 + abs(np.log(positive)).max())
            assert_allclose(entropy[0], positive @ np.log(positive), rtol=0, atol=limit)
            large = new > 1e-30
            root = (np.log(new[large]) - x[large]) + strength * (new - old)[large]
            root -= (root.max() + root.min()) / 2
            start = np.abs(strength * (np.exp(x - top) / total - old)).max()
            if q > 0.05:
                assert solves(root, start, strength, x, simd.eps)


def test_sigmoid_prox_solves_its_equation(simd):
    for k, q in PROX:
        for s, probabilities, mask in prox_rows(k, simd, True):
            table, moved, entropy = simd.array(probabilities), simd.array(s), np.zeros(1)
            entropy = simd.array(entropy, float)
            mass = simd.array(np.ones(k) if mask is None else mask * rng.uniform(0.5, 2, k))
            x, old, wide = s.astype(float), table.astype(float), mass.astype(float)
            strength = min(q, 1e16) * wide
            arrays = (None if mask is None else mass, table, entropy, moved)
            gap = simd("sigmoid_prox", moved, k, float(q), 2.0, *arrays, result=ctypes.c_double)
            new, expected = table.astype(float), wide * (np.logaddexp(0, x) - old * x)
            limit = 99 * simd.eps * (1 + abs(x).max())
            assert_allclose(gap, expected.sum(), rtol=99 * simd.eps, atol=limit)
            assert (table[mass == 0] == old[mass == 0]).all()
            assert_allclose(moved, 2 * wide * (new - old), atol=9 * simd.eps)
            inside = (new > 1e-6) & (new < 1 - 1e-6)
            logits = np.log(new[inside]) - np.log1p(-new[inside])
            root = (logits - x[inside]) + (strength * (new - old))[inside]
            start = strength * (0.5 + 0.5 * np.tanh(x / 2) - old)
            floor = 99 * simd.eps * (strength[inside] + abs(x[inside]) + 1e6)
            solved = abs(root) <= 0.051 * abs(start[inside]) + floor
            assert solved[strength[inside] > 0.2].all()  # below, no step is needed


def test_soften(simd):
    for n in (1, 15, 16, 17, 40):
        z, w = simd.array(rng.standard_normal(n)), simd.array(np.zeros(n))
        simd("soft_threshold", w, n, 0.5, z)
        assert_allclose(w, np.sign(z) * np.maximum(abs(z) - simd.dtype(0.5), 0), rtol=simd.eps)


def test_variable_chooses_the_level(level):
    code = "import skce; from skce._kernels import cpu; print(cpu.level)"
    env = {**os.environ, "SKCE_CPU_LEVEL": level}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.stdout.split() == [level], done.stderr
