"""
Votes of a crowd as targets
===========================

Five annotators vote on each row, and often disagree. The usual way keeps the majority's class and
forgets how sure it was. `MultinomialLogistic` takes the shares of the votes themselves.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from skce import MultinomialLogistic
from skce.metrics import soft_log_loss

rng = np.random.default_rng(0)
n, p, k, annotators = 600, 20, 4, 5
X = rng.normal(size=(n + 5000, p))
truth = softmax(X @ rng.normal(scale=0.4, size=(p, k)), axis=1)  # what the votes are drawn from
votes = rng.multinomial(annotators, truth)
shares, majority = votes / annotators, votes.argmax(axis=1)

# %%
# Both are fitted on growing numbers of rows and judged by the cross-entropy with the true
# probabilities of 5,000 other rows. Its least value is the entropy of these.

sizes = (50, 100, 200, 400, 600)
curves = {"shares of the votes": [], "majority class": []}
for size in sizes:
    soft = MultinomialLogistic(alpha=1e-2).fit(X[:size], shares[:size])
    curves["shares of the votes"].append(soft_log_loss(truth[n:], soft.predict_proba(X[n:])))
    hard = LogisticRegression(C=1 / (1e-2 * size)).fit(X[:size], majority[:size])
    curves["majority class"].append(soft_log_loss(truth[n:], hard.predict_proba(X[n:])))
for name, losses in curves.items():
    print(f"{name:20}", np.round(losses, 3))

# %%
fig, ax = plt.subplots(layout="constrained")
for name, losses in curves.items():
    ax.plot(sizes, losses, marker="o", label=name)
entropy = soft_log_loss(truth[n:], truth[n:])
ax.axhline(entropy, color="black", linestyle=":", label="entropy of the truth")
ax.set(xlabel="training rows", ylabel="cross-entropy with the truth", xscale="log")
_ = ax.legend()
