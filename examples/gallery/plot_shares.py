"""
1/M softmax: shares are not marginals
=====================================

``MultiLabelLogistic(loss="softmax")`` models how the labels of a row share one unit, where
``loss="bce"`` models each label. Both rank labels; only the second gives their probabilities.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_multilabel_classification
from sklearn.model_selection import train_test_split

from skce import MultiLabelLogistic
from skce.metrics import ndcg_at_k, precision_at_k

X, Y = make_multilabel_classification(
    n_samples=4000, n_features=40, n_classes=10, n_labels=3, length=100, random_state=0
)
some = Y.any(axis=1)
X, X_test, Y, Y_test = train_test_split(X[some], Y[some], random_state=0)
fig, ax = plt.subplots(layout="constrained")
edges = np.linspace(0, 1, 11)
for loss in ("bce", "softmax"):
    P = MultiLabelLogistic(alpha=1e-3, loss=loss).fit(X, Y).predict_proba(X_test)
    print(
        f"{loss:8} precision at 1 {precision_at_k(Y_test, P, k=1):.3f}, "
        f"nDCG at 3 {ndcg_at_k(Y_test, P, k=3):.3f}, mean row sum {P.sum(axis=1).mean():.2f}"
    )
    bins = np.digitize(P.ravel(), edges[1:-1])
    rate = [Y_test.ravel()[bins == b].mean() for b in range(10) if (bins == b).sum() > 20]
    mean = [P.ravel()[bins == b].mean() for b in range(10) if (bins == b).sum() > 20]
    ax.plot(mean, rate, marker="o", label=f'loss="{loss}"')
ax.plot([0, 1], [0, 1], color="black", linestyle=":", label="probability of the label")
ax.set(xlabel="predicted", ylabel="share of such labels that are on")
_ = ax.legend()
