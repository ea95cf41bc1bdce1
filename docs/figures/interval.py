import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skce import MultinomialLogistic

X, y = load_digits(return_X_y=True)
X = X / 16
alpha = 1 / len(X)
least = MultinomialLogistic(alpha=alpha, tol=1e-10).fit(X, y).objective_
model = MultinomialLogistic(alpha=alpha, solver="sdca", tol=1e-10, random_state=0)
warnings.simplefilter("ignore")  # max_iter ends each fit
passes = np.arange(1, 17)
found = []
for m in passes:
    model.set_params(max_iter=m).fit(X, y)
    found.append((model.objective_, model.dual_gap_))
objective, gap = np.array(found).T
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(passes, objective, "o-", label="F, the objective")
ax.plot(passes, objective - gap, "s-", label="F less dual_gap_")
ax.fill_between(passes, objective - gap, objective, alpha=0.15)
ax.axhline(least, color="k", lw=1, ls="--", label="the minimum")
ax.set(xlabel="passes of dual ascent over the digits", ylim=(0, 1.1 * objective.max()))
ax.legend()
