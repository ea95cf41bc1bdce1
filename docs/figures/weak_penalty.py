import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from skce import MultinomialLogistic

X, X_test, y, y_test = train_test_split(
    *load_digits(return_X_y=True), test_size=0.5, random_state=0
)
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
passes = range(1, 61)
for alpha, colour in ((1e-2, "C0"), (1e-6, "C1")):
    stream = MultinomialLogistic(alpha=alpha)
    held_out = [
        log_loss(y_test, stream.partial_fit(X, y, classes=range(10)).predict_proba(X_test))
        for _ in passes
    ]
    optimum = MultinomialLogistic(alpha=alpha).fit(X, y)
    ax.plot(passes, held_out, color=colour, label=f"averaged SGD, alpha={alpha:g}")
    optimum = log_loss(y_test, optimum.predict_proba(X_test))
    ax.axhline(optimum, color=colour, ls="--", label=f"the optimum, alpha={alpha:g}: {optimum:.3f}")
ax.set(xlabel="passes over the training rows", ylabel="log loss of other rows", xscale="log")
ax.legend()
