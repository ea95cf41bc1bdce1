import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import TfidfTransformer

from skce import MultinomialLogistic


def words():
    """Counts of words of 10 topics, as tf-idf."""
    rng = np.random.default_rng(0)
    n, p, k = 2000, 5000, 10
    topics = 0.2 * rng.dirichlet(np.full(p, 0.01), size=k) + 0.8 * rng.dirichlet(np.full(p, 0.3))
    y = rng.integers(0, k, n)
    columns = np.concatenate([rng.choice(p, size=40, p=topics[c]) for c in y])
    places = np.repeat(np.arange(n), 40), columns
    return TfidfTransformer().fit_transform(sparse.csr_array((np.ones(n * 40), places), (n, p))), y


def embeddings():
    """Rows of unit length, digits through random features."""
    X, y = load_digits(return_X_y=True)
    E = np.tanh(X @ np.random.default_rng(0).normal(size=(64, 384)) / 64)
    return E / np.linalg.norm(E, axis=1, keepdims=True), y


fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
warnings.simplefilter("ignore")  # max_iter ends most fits
for ax, (title, (X, y)) in zip(axes, {"CSR": words(), "dense": embeddings()}.items(), strict=True):
    for factor, colour in ((1, "C0"), (0.01, "C1")):
        alpha = factor / X.shape[0]
        best = MultinomialLogistic(alpha=alpha, solver="lbfgs", tol=1e-10).fit(X, y).objective_
        model = MultinomialLogistic(alpha=alpha, solver="sdca", random_state=0)
        passes = [1, 2, 3, 4, 6, 9, 13, 18]
        found = []
        for m in passes:
            model.set_params(max_iter=m, tol=1e-10).fit(X, y)
            found.append((model.objective_ - best, model.dual_gap_))
        gaps, bounds = np.maximum(np.array(found).T / best, 1e-10)
        ax.semilogy(passes, gaps, "o-", color=colour, label=f"gap, alpha={factor:g}/n")
        ax.semilogy(passes, bounds, ":", color=colour, label="its bound")
    ax.set(title=f"{title}, {X.shape[0]} x {X.shape[1]}", xlabel="passes")
axes[0].set_ylabel("of the least objective")
axes[0].legend()
