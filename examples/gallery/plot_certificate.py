"""
How near the optimum: estimate and proof
========================================

A fit tells how far its objective may be above the minimum: ``gap_estimate_`` by the curvature that
it met, ``dual_gap_`` as a bound that holds whatever happened. Both are compared here with the true
gap to a fit that was solved to the last digits.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skce import MultinomialLogistic

X, y = load_digits(return_X_y=True)
least = MultinomialLogistic(alpha=1e-2, tol=1e-12).fit(X, y).objective_
tols = np.logspace(-1, -8, 15)
rows = []
for tol in tols:
    model = MultinomialLogistic(alpha=1e-2, tol=tol).fit(X, y)
    rows.append((model.objective_ - least, model.gap_estimate_, model.dual_gap_))
true, estimate, bound = np.array(rows).T / least
print("every bound holds:", bool(np.all(bound >= true - 1e-12)))

# %%
fig, ax = plt.subplots(layout="constrained")
ax.plot(tols, tols, color="black", linestyle=":", label="tol")
for name, gaps in (("true gap", true), ("gap_estimate_", estimate), ("dual_gap_", bound)):
    ax.plot(tols, np.maximum(gaps, 1e-16), marker="o", label=name)
ax.set(xscale="log", yscale="log", xlabel="tol", ylabel="gap over the minimum")
ax.invert_xaxis()
_ = ax.legend()
