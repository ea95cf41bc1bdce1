"""
Labels that nobody looked at
============================

In a multi-label table many entries are unknown. Counting them as negatives teaches the model that
labels are rare. NaN in ``y`` has no loss and no gradient: nothing is learnt from it, and nothing
wrong either.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_multilabel_classification
from sklearn.model_selection import train_test_split

from skce import MultiLabelLogistic
from skce.metrics import multilabel_log_loss

X, Y = make_multilabel_classification(
    n_samples=3000, n_features=40, n_classes=10, n_labels=3, length=100, random_state=0
)
X, X_test, Y, Y_test = train_test_split(X, Y, random_state=0)
rng = np.random.default_rng(0)

# %%
shares = (0.0, 0.2, 0.4, 0.6, 0.8)
curves = {"NaN": [], "taken for negatives": []}
for share in shares:
    seen = rng.random(Y.shape) >= share
    for name, hidden in (("NaN", np.nan), ("taken for negatives", 0.0)):
        model = MultiLabelLogistic(alpha=1e-2).fit(X, np.where(seen, Y, hidden))
        curves[name].append(multilabel_log_loss(Y_test, model.predict_proba(X_test)))
for name, losses in curves.items():
    print(f"{name:20}", np.round(losses, 3))

# %%
fig, ax = plt.subplots(layout="constrained")
for name, losses in curves.items():
    ax.plot(shares, losses, marker="o", label=f"unknown entries: {name}")
ax.set(xlabel="share of unknown entries", ylabel="held-out log loss, summed over labels")
_ = ax.legend()
