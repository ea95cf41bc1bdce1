"""The inverse Hessian of L-BFGS against the formula of BFGS."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skce._engine.pairs import Ring
from skce._solvers.pairs import Pairs


def bfgs(pairs, scale, size):
    """The inverse Hessian by the formula of Broyden, Fletcher, Goldfarb and Shanno."""
    H = scale * np.eye(size)
    for s, y in pairs:
        V = np.eye(size) - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    return H


@pytest.mark.parametrize("count", [0, 1, 5, 12, 25])
def test_pairs_are_the_bfgs_matrix(count):
    rng, size = np.random.default_rng(count), 12
    A = rng.standard_normal((size, size))
    A = A @ A.T / size + 0.5 * np.eye(size)
    pairs, known = Pairs(size), []
    for _ in range(count):
        s = rng.standard_normal(size)
        known.append((s, A @ s))
        pairs.add(*known[-1])
    pairs.add(s, -A @ s) if count else None  # no curvature: not taken
    known = known[-pairs.most :]
    assert pairs.most == size
    assert pairs.used == len(known)
    H, g = bfgs(known, pairs.scale, size), rng.standard_normal(size)
    direction, rest = pairs.divide(g)
    assert_allclose(direction, H @ g, rtol=1e-8, atol=1e-8)
    # with another curvature of the rest
    more = bfgs(known, max(pairs.cautious_scale, pairs.scale), size)
    assert_allclose(pairs.estimate(g @ direction, rest), g @ more @ g / 2, rtol=1e-7)
    met = [s @ s / (s @ y) for s, y in known]
    assert pairs.cautious_scale == pytest.approx(max([1.0, *met]))


@pytest.mark.parametrize("room", [(0, 5), (3, 0), (-1, 3)])
def test_a_ring_has_room_for_a_pair(room):
    with pytest.raises(ValueError, match=r"most and size must be at least 1, got -?\d and \d"):
        Ring(*room)


def test_a_ring_takes_vectors_of_its_size_alone():
    ring = Ring(2, 3)
    for s, y in [(np.ones(3), np.ones(4)), (np.ones(2), np.ones(3))]:
        with pytest.raises(ValueError, match="s and y must have 3 entries"):
            ring.put(s, y, 0.0)
    with pytest.raises(ValueError, match="g must have 3 entries, got 2"):
        ring.multiply(np.ones(2), 1.0)
