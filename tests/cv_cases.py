"""Small problems of every kind that a search may have, with the loss of their logits."""

import numpy as np
from scipy import sparse

from skce import (
    MultiLabelLogistic,
    MultiLabelLogisticCV,
    MultinomialLogistic,
    MultinomialLogisticCV,
)
from skce.losses import (
    multilabel_softmax_cross_entropy,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)

__all__ = [
    "ALPHAS",
    "EXACT",
    "KINDS",
    "cv_of",
    "indicator",
    "labels",
    "random_x",
    "shares",
    "text",
    "two_logits",
    "with_missing",
]


ALPHAS = [0.1, 0.01, 0.001]
EXACT = {"tol": 1e-10, "max_iter": 2000, "random_state": 0}


def two_logits(logits):
    return np.column_stack([np.zeros(len(logits)), logits])


def random_x(rng, n=80, p=5):
    return rng.standard_normal((n, p))


def labels(rng, X, k=3):
    return (X[:, :k] + rng.gumbel(size=(len(X), k))).argmax(axis=1)


def indicator(rng, X):
    return (X[:, :4] + rng.logistic(size=(len(X), 4)) > 0.5).astype(float)


def with_missing(rng, X):
    Y = indicator(rng, X)
    Y[rng.random(Y.shape) < 0.2] = np.nan
    return Y


def shares(rng, X):
    return np.exp(X[:, :3]) / np.exp(X[:, :3]).sum(axis=1, keepdims=True)


# model with its CV, targets, loss of logits
KINDS = {
    "labels": (MultinomialLogistic, {}, labels, softmax_cross_entropy),
    "two classes": (
        MultinomialLogistic,
        {},
        lambda rng, X: labels(rng, X, 2),
        lambda logits, y, **options: softmax_cross_entropy(two_logits(logits), y, **options),
    ),
    "shares, smoothed": (
        MultinomialLogistic,
        {"label_smoothing": 0.1},
        shares,
        softmax_cross_entropy,
    ),
    "missing labels": (MultiLabelLogistic, {}, with_missing, sigmoid_cross_entropy),
    "pos_weight": (
        MultiLabelLogistic,
        {"pos_weight": 2.0},
        indicator,
        lambda *arrays, **options: sigmoid_cross_entropy(
            *arrays, pos_weight=np.full(4, 2.0), **options
        ),
    ),
    "1/M": (MultiLabelLogistic, {"loss": "softmax"}, indicator, multilabel_softmax_cross_entropy),
}


def cv_of(model, **params):
    return {MultinomialLogistic: MultinomialLogisticCV, MultiLabelLogistic: MultiLabelLogisticCV}[
        model
    ](**params)


def text(n=150, p=1000, k=10, seed=0):
    """Rows of few words, of classes that share most of them."""
    rng = np.random.default_rng(seed)
    topics, y = rng.dirichlet(np.full(p, 0.05), k), np.arange(n) % k
    common = rng.dirichlet(np.full(p, 0.3))
    words = rng.poisson(15 * (0.3 * topics[y] + 0.7 * common))
    return sparse.csr_array(np.log1p(words.astype(float))), y
