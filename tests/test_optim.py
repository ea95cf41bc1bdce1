"""Schedules against their formulas."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skce.optim import constant, cosine, inverse_scaling

SCHEDULES = {
    "constant": (constant(0.3), lambda t: 0.3),
    "inverse square root": (inverse_scaling(2.0), lambda t: 2 / (1 + t) ** 0.5),
    "inverse": (inverse_scaling(0.5, 1.0, 10.0), lambda t: 0.5 / (1 + t / 10)),
    "cosine": (cosine(2.0, 8), lambda t: 1 + np.cos(np.pi * min(t, 8) / 8)),
    "cosine to 1": (cosine(3.0, 5, end=1.0), lambda t: 1 + 2 * np.cos(np.pi * min(t, 5) / 10) ** 2),
}


@pytest.mark.parametrize(("schedule", "formula"), SCHEDULES.values(), ids=SCHEDULES)
def test_schedule_is_its_formula(schedule, formula):
    steps = np.arange(12)
    expected = [formula(t) for t in steps]
    assert_allclose(schedule(steps), expected, rtol=1e-14, atol=1e-15)
    assert schedule(steps).dtype == np.float64
    assert_array_equal(pickle.loads(pickle.dumps(schedule))(steps), schedule(steps))
    for t in steps:
        assert_array_equal(schedule(t), schedule(steps)[t])
