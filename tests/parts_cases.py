"""Rows for fits of parts, cut into them."""

from itertools import pairwise

import numpy as np
from scipy import sparse

from skce import Parts, losses

N, P, K = 150, 6, 3


def draw(targets, storage, dtype, weighted, seed=0):
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((N, P)) + rng.standard_normal(P)).astype(dtype)
    scores = X @ rng.standard_normal((P, K)) + rng.gumbel(size=(N, K))
    if storage == "csr":
        X = sparse.csr_array(X * (rng.random(X.shape) < 0.6))
    if targets in ("integers", "two classes"):
        y = scores[:, : 2 if targets == "two classes" else K].argmax(axis=1)
        y = np.sort(y) if seed else y
    elif targets == "names":
        y = np.array(["fig", "apple", "plum"])[scores.argmax(axis=1)]
    elif targets == "one-hot":
        y = np.eye(K, dtype=int)[scores.argmax(axis=1)]
    elif targets == "shares":
        y = losses.softmax(scores)
    else:
        y = (scores > 0.5).astype(float)
        y[:, 0] *= rng.random(N) if "fractions" in targets else 1
        if "missing" in targets:
            y[rng.random(y.shape) < 0.2] = np.nan
        if "csr" in targets:
            y = sparse.csr_array(y.astype(int))
    weights = rng.uniform(0.1, 3, N) * (rng.random(N) < 0.9) if weighted else None
    return X, y, weights


def cut(number, X, y, weights, form=lambda *part: part):
    edges = np.linspace(0, N, number + 1).astype(int)
    rows = [slice(*ends) for ends in pairwise(edges)]
    return Parts([form(X[r], y[r], None if weights is None else weights[r]) for r in rows])


def made(*part):
    return lambda: part
