"""
Which cross-entropy: the losses and their gradients
===================================================

The losses of one row as functions of one logit, with the gradients that the same call returns.
"""

import matplotlib.pyplot as plt
import numpy as np

from skce import losses

s = np.linspace(-6, 6, 121)

# %%
# **Softmax cross-entropy** of three classes, the other two logits 0. A row has one class, here the
# first or another one, or shares of classes.

rows = np.column_stack([s, np.zeros_like(s), np.zeros_like(s)])
targets = {
    "class 0": np.array([1.0, 0, 0]),
    "class 1": np.array([0, 1.0, 0]),
    "shares .5, .3, .2": np.array([0.5, 0.3, 0.2]),
}
fig, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for name, t in targets.items():
    loss = losses.softmax_cross_entropy(rows, np.tile(t, (len(s), 1)), reduction="none")
    _, gradient = losses.softmax_cross_entropy_value_and_grad(
        rows, np.tile(t, (len(s), 1)), reduction="sum"
    )
    axes[0].plot(s, loss, label=name)
    axes[1].plot(s, gradient[:, 0], label=name)
axes[0].set(xlabel="logit of class 0", ylabel="loss")
axes[1].set(xlabel="logit of class 0", ylabel="gradient in that logit")
_ = axes[0].legend()

# %%
# **Sigmoid cross-entropy** of one label: a yes, a no, and a yes that weighs three times.

fig, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for name, t, weight in (("1", 1.0, None), ("0", 0.0, None), ("1, pos_weight=3", 1.0, [3.0])):
    t = np.full((len(s), 1), t)
    call = {"pos_weight": weight}
    loss = losses.sigmoid_cross_entropy(s[:, None], t, reduction="none", **call)
    _, gradient = losses.sigmoid_cross_entropy_value_and_grad(
        s[:, None], t, reduction="sum", **call
    )
    axes[0].plot(s, np.ravel(loss), label=f"target {name}")
    axes[1].plot(s, gradient[:, 0])
axes[0].set(xlabel="logit", ylabel="loss")
axes[1].set(xlabel="logit", ylabel="gradient")
_ = axes[0].legend()

# %%
# **1/M softmax**: a row with labels 0 and 1. Its least loss, log 2, is where both share the row,
# so equal logits are best and one high logit is not.

loss = losses.multilabel_softmax_cross_entropy(
    rows, np.tile([1.0, 1.0, 0], (len(s), 1)), reduction="none"
)
fig, ax = plt.subplots(layout="constrained")
ax.plot(s, loss)
ax.axhline(np.log(2), color="black", linestyle=":")
_ = ax.set(xlabel="logit of label 0, those of the other labels being 0", ylabel="1/M softmax loss")
