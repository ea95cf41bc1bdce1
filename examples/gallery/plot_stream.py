"""
A stream: predict, then learn
=============================

``partial_fit`` takes batches of any size. Its loss on each batch before it learns from it is an
honest measure while the stream runs. skce carries the scale of the columns, the class frequencies
and its step from call to call, so the size of the calls hardly matters and nothing is tuned.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_classification
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

from skce import MultinomialLogistic

X, y = make_classification(
    4000, 30, n_informative=10, n_classes=4, class_sep=0.8, flip_y=0.1, random_state=0
)
X *= np.random.default_rng(0).lognormal(sigma=2, size=30)  # columns of all sizes
classes = np.arange(4)


def progressive(model, size):
    """Return the mean loss so far after each batch, each row judged before it is learnt."""
    losses, seen = [], []
    for first in range(0, len(X), size):
        rows = slice(first, first + size)
        if first:
            P = model.predict_proba(X[rows])
            losses.append(log_loss(y[rows], P, labels=classes) * len(P))
            seen.append(first + len(P))
        model.partial_fit(X[rows], y[rows], classes)
    return seen, np.cumsum(losses) / (np.array(seen) - size)


# %%
models = {
    "skce, calls of 10": (MultinomialLogistic(), 10),
    "skce, calls of 200": (MultinomialLogistic(), 200),
    "SGDClassifier(average=True), calls of 200": (
        SGDClassifier(loss="log_loss", average=True, random_state=0),
        200,
    ),
}
fig, ax = plt.subplots(layout="constrained")
for name, (model, size) in models.items():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen, losses = progressive(model, size)
    print(f"{name:44} {losses[-1]:.3f}")
    ax.plot(seen, losses, label=name)
ax.axhline(np.log(4), color="black", linestyle=":", label="knowing nothing")
ax.set(xlabel="rows seen", ylabel="progressive log loss", yscale="log")
_ = ax.legend()
