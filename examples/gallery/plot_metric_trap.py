"""
The metric that rewards the worst multi-label model
===================================================

scikit-learn's ``log_loss`` looks at the probabilities of the positives alone. On multi-label
targets a model that says 1 to every label is therefore the best. `multilabel_log_loss` counts
both sides.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from skce import MultiLabelLogistic
from skce.metrics import multilabel_log_loss

X, Y = make_multilabel_classification(n_samples=2000, n_classes=8, random_state=0)
X, X_test, Y, Y_test = train_test_split(X, Y, random_state=0)
fitted = MultiLabelLogistic(alpha=1e-3).fit(X, Y).predict_proba(X_test)

# %%
# Between the fitted model (0) and the one that says 1 to everything (1):

steps = np.linspace(0, 1, 21)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # "The y_prob values do not sum to one"
    theirs = [log_loss(Y_test, (1 - step) * fitted + step) for step in steps]
ours = [multilabel_log_loss(Y_test, (1 - step) * fitted + step) for step in steps[:-1]]
print(f"log_loss: {theirs[0]:.3f} of the fitted model, {theirs[-1]:.3f} of ones")
print(f"multilabel_log_loss: {ours[0]:.3f} of the fitted model")

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.plot(steps, theirs)
left.set(title="sklearn.metrics.log_loss", xlabel="share of ones in the mixture", ylabel="loss")
right.plot(steps[:-1], ours)
_ = right.set(title="skce.metrics.multilabel_log_loss", xlabel="share of ones in the mixture")
