"""Cross-entropies of logits, fused with their gradients, and of probabilities.

Names, formulas and what other libraries call them: the page "Which cross-entropy is which".
In all of them rows are samples, a loss is summed over the classes or labels of a row, and
``reduction="mean"`` divides by the sum of the row weights. Targets may be sparse or frames, too.

Infinite logits have the limits of the formulas, of each row (softmax) or entry (sigmoid) by itself,
and 0 · inf is 0: one logit of +inf in a row has the probability 1, logits of -inf have 0, and the
loss is infinite where a target above 0 meets the probability 0. Where there is no limit (several
logits of +inf in a row, or -inf alone) and wherever a logit is NaN, so is the whole row, or entry.
A row of weight 0 and a missing entry count as 0 whatever their logits. Probabilities are never NaN.
"""

from skce.losses._curvature import (
    multilabel_softmax_cross_entropy_hessian_diag,
    sigmoid_cross_entropy_hessian_diag,
    softmax_cross_entropy_hessian_diag,
)
from skce.losses._proba import (
    binary_cross_entropy,
    cross_entropy,
    log_sigmoid,
    log_softmax,
    sigmoid,
    softmax,
)
from skce.losses._sigmoid import sigmoid_cross_entropy, sigmoid_cross_entropy_value_and_grad
from skce.losses._softmax import (
    multilabel_softmax_cross_entropy,
    multilabel_softmax_cross_entropy_value_and_grad,
    softmax_cross_entropy,
    softmax_cross_entropy_value_and_grad,
)

__all__ = [
    "binary_cross_entropy",
    "cross_entropy",
    "log_sigmoid",
    "log_softmax",
    "multilabel_softmax_cross_entropy",
    "multilabel_softmax_cross_entropy_hessian_diag",
    "multilabel_softmax_cross_entropy_value_and_grad",
    "sigmoid",
    "sigmoid_cross_entropy",
    "sigmoid_cross_entropy_hessian_diag",
    "sigmoid_cross_entropy_value_and_grad",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_hessian_diag",
    "softmax_cross_entropy_value_and_grad",
]
