import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from skce import MultinomialLogistic

X, y = load_digits(return_X_y=True)
unlike = X.copy()
unlike[:, 20] *= 1000
warnings.simplefilter("ignore")  # textbook steps on unlike columns diverge
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
for ax, (title, Z) in zip(axes, {"raw pixels": X, "one times 1,000": unlike}.items(), strict=True):
    Z, Z_test, t, t_test = train_test_split(Z, y, random_state=0)
    for solver, rate in (("sgd", "auto"), ("adagrad", "auto"), ("adam", "auto"), ("sgd", 1e-3)):
        model = MultinomialLogistic(solver=solver, learning_rate=rate, alpha=1e-3)
        held_out = [
            log_loss(t_test, model.partial_fit(Z, t, classes=range(10)).predict_proba(Z_test))
            for _ in range(20)
        ]
        ax.plot(range(1, 21), held_out, label=f"{solver}, {rate}")
    ax.set(title=title, xlabel="passes", xscale="log", yscale="log")
axes[0].set_ylabel("log loss of other rows")
axes[0].legend(title="solver, learning_rate")
