import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skce import MultinomialLogistic, losses

X, y = load_breast_cancer(return_X_y=True)
alpha = 1 / len(X)
warnings.simplefilter("ignore")  # max_iter ends most fits
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for name, Z, colour in (
    ("raw", X, "C0"),
    ("standardised", StandardScaler().fit_transform(X), "C1"),
):
    fit = MultinomialLogistic(alpha=alpha, solver="lbfgs", tol=1e-10).fit(Z, y)
    best = fit.objective_
    gaps = np.maximum(np.array(fit.loss_curve_) / best - 1, 1e-9)
    ax.semilogy(range(1, len(gaps) + 1), gaps, "o-", color=colour, label=f"skce, {name} columns")
    theirs = []
    steps = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    for m in steps:
        other = LogisticRegression(C=1.0, max_iter=m, tol=1e-12).fit(Z, y)
        loss = losses.sigmoid_cross_entropy(other.decision_function(Z), y)
        theirs.append((loss + alpha / 2 * (other.coef_**2).sum()) / best - 1)
    theirs = np.maximum(theirs, 1e-9)
    ax.semilogy(steps, theirs, "s:", color=colour, label=f"LogisticRegression, {name} columns")
ax.set(xlabel="steps", ylabel="gap, of the least objective", xscale="log")
ax.legend(loc="center right")
