"""
Words of a class
================

Documents drawn from topics, as counts of words in CSR. `CoefficientDisplay` shows the words that
speak most for each class; the L1 penalty keeps few of them.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.pipeline import make_pipeline

from skce import CoefficientDisplay, MultinomialLogistic

rng = np.random.default_rng(0)
n, p, k = 3000, 2000, 6
topics = rng.dirichlet(np.full(p, 0.05), size=k)
background = rng.dirichlet(np.full(p, 0.5))
y = rng.integers(0, k, n)
mixed = 0.12 * topics + 0.88 * background
X = sparse.csr_array([rng.multinomial(60, mixed[c]) for c in y])
words = np.array([f"word{j}" for j in range(p)])
names = np.array(["arts", "business", "health", "law", "science", "sports"])

# %%
train, test = slice(0, 2000), slice(2000, n)
for penalty, l1_ratio in (("L2", 0.0), ("L1", 1.0)):
    model = make_pipeline(
        TfidfTransformer(), MultinomialLogistic(alpha=1e-3, l1_ratio=l1_ratio, random_state=0)
    ).fit(X[train], names[y[train]])
    coef = model[-1].coef_
    print(
        f"{penalty}: accuracy {model.score(X[test], names[y[test]]):.3f}, "
        f"{np.mean(coef != 0):.1%} of the coefficients are not 0"
    )

# %%
display = CoefficientDisplay.from_estimator(model[-1], feature_names=words)
_ = plt.gcf().suptitle("L1: the words with the largest coefficients")
