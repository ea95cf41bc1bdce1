"""What every test starts from."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def seeded():
    """Estimators without a random_state draw from NumPy's global one: the same in every run."""
    np.random.seed(0)  # noqa: NPY002 - the one that scikit-learn draws from
