"""Arrays of other libraries, under scikit-learn's array API dispatch and without it."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skce import MultiLabelLogistic, MultinomialLogistic

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4)).astype(np.float32)
LABELS = np.arange(60) % 3
Y = (X[:, :3] > 0).astype(np.int64)
MODELS = [(MultinomialLogistic(), LABELS), (MultiLabelLogistic(), Y)]


@pytest.mark.parametrize(("model", "y"), MODELS)
def test_tensors_are_read_as_arrays(model, y):
    torch = pytest.importorskip("torch")
    expected = model.fit(X, y).predict_proba(X)
    found = model.fit(torch.tensor(X), torch.tensor(y)).predict_proba(torch.tensor(X))
    assert type(found) is np.ndarray
    assert found.dtype == np.float32
    assert_array_equal(found, expected)


@pytest.mark.parametrize("change", ["requires_grad_", "bfloat16"])
@pytest.mark.parametrize(("model", "y"), MODELS)
def test_tensors_that_numpy_cannot_read_are_named(model, y, change):
    torch = pytest.importorskip("torch")
    tensor = getattr(torch.tensor(X), change)()
    hint = "detach" if change == "requires_grad_" else r"tensor\.float\(\)"
    with pytest.raises(ValueError, match=rf"X must convert to an array, got Tensor: .*{hint}"):
        model.fit(tensor, y)


PROGRAM = """
import numpy as np, sklearn, torch
from skce import MultinomialLogistic
X = np.random.default_rng(0).normal(size=(60, 4)).astype("f")
y = np.arange(60) % 3
expected = MultinomialLogistic().fit(X, y).predict_proba(X)
with sklearn.config_context(array_api_dispatch=True):
    model = MultinomialLogistic().fit(torch.tensor(X), torch.tensor(y))
    found = model.predict_proba(torch.tensor(X))
print(type(found) is np.ndarray and (found == expected).all())
"""


def test_results_are_numpys_under_dispatch_too(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr
