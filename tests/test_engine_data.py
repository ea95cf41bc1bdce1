"""What an epoch takes is checked once: matrices, targets and weights that do not fit raise."""

import numpy as np
import pytest
from scipy import sparse
from sgd_case import LABELS, K, N, Run

from skce._engine.data import EpochData, Matrix
from skce._kernels import Loss


def broken(**parts):
    """A CSR matrix whose arrays do not fit."""
    X = sparse.csr_array(np.eye(3, 4))
    for name, value in parts.items():
        setattr(X, name, np.array(value) if isinstance(value, list) else value)
    return X


WRONG_MATRICES = {
    "negative index": {"indices": [0, -1, 2]},
    "large index": {"indices": [0, 4, 2]},
    "index of 64 bits beyond 32": {"indices": [0, 2**32, 2]},
    "short indptr": {"indptr": [0, 1, 2]},
    "long indptr": {"indptr": [0, 1, 2, 3, 3]},
    "indptr not from 0": {"indptr": [1, 1, 2, 3]},
    "falling indptr": {"indptr": [0, 2, 1, 3]},
    "indptr beyond the data": {"indptr": [0, 1, 2, 4]},
    "negative indptr": {"indptr": [0, -1, 2, 3]},
    "short data": {"data": np.ones(2)},
    "short indices": {"indices": [0, 1]},
    "indices of 16 bits": {"indices": np.arange(3, dtype=np.int16)},
    "indices of floats": {"indices": np.arange(3.0)},
}


@pytest.mark.parametrize("parts", WRONG_MATRICES.values(), ids=WRONG_MATRICES)
def test_wrong_csr_matrix_raises(parts):
    with pytest.raises(ValueError, match=r"indices|indptr"):
        Matrix(broken(**parts))


def targets_with(value, dtype=np.int32):
    targets = np.zeros(N, dtype)
    targets[N // 2] = value
    return targets


SIGMOID, Y = Loss.SIGMOID, np.zeros((N, K))
WRONG_PROBLEMS = [
    *({2: targets_with(y)} for y in (-1, K, 2**31 - 1)),
    *({2: targets_with(0, dtype)} for dtype in (np.int64, np.float64)),
    *({2: y} for y in (targets_with(0)[:-1], Y)),
    *({0: loss} for loss in (SIGMOID, Loss.MULTILABEL_SOFTMAX)),
    {0: SIGMOID, 2: Y},
    *({2: sparse.csr_array(y)} for y in (Y[:-1], Y[:, :-1], Y.astype(np.float32))),
    {3: 2},
    *({4: w} for w in (np.ones(N - 1), np.ones((N, 1)), np.ones(N, np.float32))),
    *({5: q} for q in (np.ones(K - 1), np.ones((1, K)), np.ones(K, np.float32))),
]


@pytest.mark.parametrize("changes", WRONG_PROBLEMS, ids=str)
def test_wrong_problem_raises(changes):
    arguments = Run(LABELS, "SGD", np.float64).arguments()
    for position, value in changes.items():
        arguments[position] = value
    with pytest.raises(ValueError, match=r"must|Buffer|Labels"):
        EpochData(*arguments)
