"""
Rare classes: weights change the probabilities
==============================================

``class_weight="balanced"`` finds more of a rare class, but the probabilities no longer say how
often it comes. Without weights they do, and a threshold finds as much.
"""

import matplotlib.pyplot as plt
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import make_classification
from sklearn.metrics import precision_score, recall_score
from sklearn.model_selection import train_test_split

from skce import MultinomialLogistic

X, y = make_classification(
    20000, 20, n_informative=8, weights=[0.95], class_sep=0.7, random_state=0
)
X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)
plain = MultinomialLogistic(alpha=1e-3).fit(X, y)
balanced = MultinomialLogistic(alpha=1e-3, class_weight="balanced").fit(X, y)
share = y.mean()

# %%
# Weights of "balanced" move the boundary to where the rare class has its base rate.

for name, found in (
    ("no weights, 0.5", plain.predict(X_test)),
    ("balanced, 0.5", balanced.predict(X_test)),
    ("no weights, threshold at the base rate", plain.predict_proba(X_test)[:, 1] > share),
):
    precision, recall = precision_score(y_test, found), recall_score(y_test, found)
    print(f"{name:40} precision {precision:.3f}, recall {recall:.3f}")

# %%
fig, ax = plt.subplots(layout="constrained")
for name, model in (("no weights", plain), ("balanced", balanced)):
    CalibrationDisplay.from_estimator(
        model, X_test, y_test, n_bins=10, strategy="quantile", name=name, ax=ax
    )
