"""LightGBM with skce's cross-entropies as its objective: its own trees, then soft targets.

    python examples/lightgbm_objective.py

LightGBM's own objectives take p − t as the gradient of a row, and as its curvature
K / (K − 1) · p (1 − p) for K classes ("multiclass") and p (1 − p) for two ("binary"). With the same
factors our kernels grow the same trees, where the built-in objective starts at zero as a custom one
does: boost_from_average=False.
"""

import lightgbm
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits

from skce import losses

__all__ = ["main", "sigmoid_objective", "softmax_objective"]


def softmax_objective(targets=None):
    """Return an objective for integer labels of the data, or for targets (n, K) if given."""

    def objective(scores, data):
        y = data.get_label().astype(int) if targets is None else targets
        options = {"sample_weight": data.get_weight(), "reduction": "sum"}
        _, gradient = losses.softmax_cross_entropy_value_and_grad(scores, y, **options)
        curvature = losses.softmax_cross_entropy_hessian_diag(scores, y, **options)
        k = scores.shape[1]
        return gradient, k / (k - 1) * curvature

    return objective


def sigmoid_objective(scores, data):
    """Return gradient and curvature for labels 0 and 1, or probabilities, of the data."""
    y, options = data.get_label(), {"sample_weight": data.get_weight(), "reduction": "sum"}
    _, gradient = losses.sigmoid_cross_entropy_value_and_grad(scores, y, **options)
    return gradient, losses.sigmoid_cross_entropy_hessian_diag(scores, y, **options)


def train(X, y, objective, *, rounds=20, weight=None, **params):
    """Return the scores of the rows after some rounds, by a built-in objective or one of ours."""
    quiet = {"verbosity": -1, "num_threads": 1, "seed": 0, "deterministic": True}
    params = {"objective": objective, "boost_from_average": False, **quiet, **params}
    data = lightgbm.Dataset(X, y, weight=weight, params=quiet)
    return lightgbm.train(params, data, rounds).predict(X, raw_score=True)


def main():
    """Print how far the trees of the two objectives are apart, and fit soft targets."""
    X, y = load_digits(return_X_y=True)
    theirs = train(X, y, "multiclass", num_class=10)
    ours = train(X, y, softmax_objective(), num_class=10)
    apart = np.abs(losses.softmax(ours) - losses.softmax(theirs)).max()
    print(f"multiclass on digits, 20 rounds: probabilities differ by {apart:.1e} at most")
    X_two, y_two = load_breast_cancer(return_X_y=True)
    ours, theirs = (train(X_two, y_two, objective) for objective in (sigmoid_objective, "binary"))
    apart = np.abs(losses.sigmoid(ours) - losses.sigmoid(theirs)).max()
    print(f"binary on breast cancer, 20 rounds: {apart:.1e} at most")
    soft = 0.8 * np.eye(10)[y] + 0.02  # say, the votes of annotators
    scores = train(X, y, softmax_objective(soft), num_class=10)
    entropy = losses.cross_entropy(soft, soft)
    loss = losses.softmax_cross_entropy(scores, soft)
    print(f"soft targets of entropy {entropy:.4f}: cross-entropy {loss:.4f} after 20 rounds")


if __name__ == "__main__":
    main()
