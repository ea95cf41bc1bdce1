"""
Raw columns: no scaling, no learning rate
=========================================

The wine data have one column of thousands beside columns below one. A stochastic solver with one
learning rate breaks on them, and L-BFGS on raw columns runs out of iterations. skce measures the
columns and comes to the optimum of either problem. (These are two problems: the penalty weighs the
coefficients of large columns less.)
"""

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skce import MultinomialLogistic

X, y = load_wine(return_X_y=True)
folds = StratifiedKFold(5, shuffle=True, random_state=0)
models = {
    "skce": MultinomialLogistic(alpha=1e-2),
    'skce, solver="sgd"': MultinomialLogistic(alpha=1e-2, solver="sgd", random_state=0),
    "LogisticRegression": LogisticRegression(),
    "SGDClassifier": SGDClassifier(loss="log_loss", random_state=0),
}

# %%
# Held-out log loss of each model at its defaults, on the raw columns and behind a StandardScaler.

losses = {}
for name, model in models.items():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LogisticRegression ends at max_iter
        losses[name] = [
            -cross_val_score(m, X, y, cv=folds, scoring="neg_log_loss").mean()
            for m in (model, make_pipeline(StandardScaler(), model))
        ]
    print(f"{name:20} raw {losses[name][0]:7.4f}   scaled {losses[name][1]:7.4f}")

# %%
fig, ax = plt.subplots(layout="constrained")
for shift, column in ((-0.2, 0), (0.2, 1)):
    places = [i + shift for i in range(len(losses))]
    label = ("raw columns", "standardised")[column]
    ax.barh(places, [each[column] for each in losses.values()], 0.38, label=label)
ax.set(xscale="log", xlabel="held-out log loss (5 folds)", yticks=range(len(losses)))
ax.set_yticklabels(losses)
ax.invert_yaxis()
_ = ax.legend()
