"""
A threshold for each label
==========================

Where a label is rare, 0.5 is rarely the threshold of the best F1. `best_thresholds` finds one for
each label on rows held out, and `ThresholdDisplay` shows what it trades.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from skce import MultiLabelLogistic, ThresholdDisplay
from skce.metrics import best_thresholds

X, Y = make_multilabel_classification(
    n_samples=4000, n_features=40, n_classes=12, n_labels=2, length=60, random_state=0
)
X, X_rest, Y, Y_rest = train_test_split(X, Y, test_size=0.5, random_state=0)
X_valid, X_test, Y_valid, Y_test = train_test_split(X_rest, Y_rest, test_size=0.5, random_state=0)

model = MultiLabelLogistic(alpha=1e-3).fit(X, Y)
thresholds = best_thresholds(Y_valid, model.predict_proba(X_valid))
rare = int(Y.mean(axis=0).argmin())
for name, threshold in (("0.5", 0.5), ("best on held-out rows", thresholds)):
    labels = model.predict_proba(X_test) > threshold
    print(f"macro-F1 with {name:22} {f1_score(Y_test, labels, average='macro'):.3f}")
print("thresholds", np.round(thresholds, 2))

# %%
# The rarest label: precision falls and recall rises as the threshold is lowered.

fig, ax = plt.subplots(layout="constrained")
_ = ThresholdDisplay.from_estimator(model, X_valid, Y_valid, label=rare, ax=ax)
