"""
What label smoothing does to probabilities
==========================================

A weak penalty lets a model be certain, and wrong with certainty. Smoothing the targets bounds what
a row can gain by that.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from skce import MultinomialLogistic

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
fig, ax = plt.subplots(layout="constrained")
for smoothing in (0.0, 0.05, 0.2):
    model = MultinomialLogistic(alpha=1e-5, label_smoothing=smoothing).fit(X_train, y_train)
    P = model.predict_proba(X_test)
    print(
        f"label_smoothing={smoothing}: held-out log loss {log_loss(y_test, P):.3f}, "
        f"accuracy {model.score(X_test, y_test):.3f}"
    )
    ax.hist(P.max(axis=1), np.linspace(0, 1, 31), histtype="step", label=str(smoothing))
ax.set(xlabel="largest probability of a held-out row", ylabel="rows", yscale="log")
_ = ax.legend(title="label_smoothing")
