"""
How strong a penalty
====================

``alpha`` multiplies the penalty of the mean loss, so its meaning does not change with the number
of rows. A plain validation curve over it, on standardised and on raw columns.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import validation_curve

from skce import MultinomialLogistic

X, y = load_breast_cancer(return_X_y=True)
alphas = np.logspace(-7, 1, 9)
fig, ax = plt.subplots(layout="constrained")
for name, columns in (("raw columns", X), ("standardised", (X - X.mean(0)) / X.std(0))):
    train, test = validation_curve(
        MultinomialLogistic(),
        columns,
        y,
        param_name="alpha",
        param_range=alphas,
        scoring="neg_log_loss",
    )
    line = ax.plot(alphas, -test.mean(axis=1), marker="o", label=f"{name}, held out")[0]
    ax.plot(alphas, -train.mean(axis=1), linestyle=":", color=line.get_color(), label="training")
    best = alphas[test.mean(axis=1).argmax()]
    print(f"{name}: best alpha {best:g}, held-out log loss {-test.mean(axis=1).max():.3f}")
ax.set(xscale="log", yscale="log", xlabel="alpha", ylabel="log loss (5 folds)")
_ = ax.legend()
