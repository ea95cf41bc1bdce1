"""XGBoost with skce's cross-entropies as its objective: its own trees, then soft targets.

    python examples/xgboost_objective.py

XGBoost's own objectives take p − t as the gradient of a row, and as its curvature 2 p (1 − p) for
many classes ("multi:softprob") and p (1 − p) for two ("binary:logistic"), at least 1e-16. With the
same factors our kernels grow the same trees. A custom objective starts at base_score as it is; the
built-in "binary:logistic" takes it for a probability, so 0.5 there is 0 here.
"""

import numpy as np
import xgboost
from sklearn.datasets import load_breast_cancer, load_digits

from skce import losses

__all__ = ["main", "sigmoid_objective", "softmax_objective"]

LEAST = np.float32(1e-16)


def softmax_objective(targets=None):
    """Return an objective for integer labels of the data, or for targets (n, K) if given."""

    def objective(margins, data):
        y = data.get_label().astype(int) if targets is None else targets
        weight = data.get_weight() if data.get_weight().size else None
        options = {"sample_weight": weight, "reduction": "sum"}
        _, gradient = losses.softmax_cross_entropy_value_and_grad(margins, y, **options)
        curvature = losses.softmax_cross_entropy_hessian_diag(margins, y, **options)
        return gradient, np.maximum(2 * curvature, LEAST)

    return objective


def sigmoid_objective(margins, data):
    """Return gradient and curvature for labels 0 and 1, or probabilities, of the data."""
    y, weight = data.get_label(), data.get_weight() if data.get_weight().size else None
    options = {"sample_weight": weight, "reduction": "sum"}
    _, gradient = losses.sigmoid_cross_entropy_value_and_grad(margins, y, **options)
    curvature = losses.sigmoid_cross_entropy_hessian_diag(margins, y, **options)
    return gradient, np.maximum(curvature, LEAST)


def train(X, y, objective, *, rounds=20, weight=None, **params):
    """Return the margins of the rows after some rounds, by a built-in objective or one of ours."""
    data = xgboost.DMatrix(X, y, weight=weight)
    params = {"max_depth": 4, "tree_method": "hist", "nthread": 1, "seed": 0, **params}
    if isinstance(objective, str):
        params["objective"], objective = objective, None
    model = xgboost.train(params, data, rounds, obj=objective)
    return model.predict(data, output_margin=True)


def main():
    """Print how far the trees of the two objectives are apart, and fit soft targets."""
    X, y = load_digits(return_X_y=True)
    theirs = train(X, y, "multi:softprob", num_class=10, base_score=0.5)
    ours = train(X, y, softmax_objective(), num_class=10, base_score=0.5)
    apart = np.abs(losses.softmax(ours) - losses.softmax(theirs)).max()
    print(f"multi:softprob on digits, 20 rounds: probabilities differ by {apart:.1e} at most")
    X_two, y_two = load_breast_cancer(return_X_y=True)
    theirs = train(X_two, y_two, "binary:logistic", base_score=0.5)
    ours = train(X_two, y_two, sigmoid_objective, base_score=0.0)
    apart = np.abs(losses.sigmoid(ours) - losses.sigmoid(theirs)).max()
    print(f"binary:logistic on breast cancer, 20 rounds: {apart:.1e} at most")
    soft = 0.8 * np.eye(10)[y] + 0.02  # say, the votes of annotators
    margins = train(X, y, softmax_objective(soft), num_class=10, base_score=0.5)
    entropy = losses.cross_entropy(soft, soft)
    loss = losses.softmax_cross_entropy(margins, soft)
    print(f"soft targets of entropy {entropy:.4f}: cross-entropy {loss:.4f} after 20 rounds")


if __name__ == "__main__":
    main()
