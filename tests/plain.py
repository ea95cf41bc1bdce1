"""Problems of skce in plain float64: EQUATIONS E1, E2 and the dual of E4, and random ones.

Nothing here is shared with skce but the containers that it takes.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse, special

from skce import _kernels
from skce._estimators.encoded import Encoded
from skce._solvers.problem import Problem

__all__ = ["KINDS", "NUMBERS", "Case", "Plain", "draw_targets", "random_case", "stored_targets"]

NUMBERS = {
    "softmax": _kernels.Loss.SOFTMAX,
    "1/M": _kernels.Loss.MULTILABEL_SOFTMAX,
    "sigmoid": _kernels.Loss.SIGMOID,
}
KINDS = {  # loss and kind of targets
    "labels": ("softmax", "labels"),
    "shares": ("softmax", "shares"),
    "1/M": ("1/M", "indicator"),
    "1/M masses": ("1/M", "masses"),
    "1/M missing": ("1/M", "missing"),
    "bce": ("sigmoid", "indicator"),
    "bce fractions": ("sigmoid", "fractions"),
    "bce missing": ("sigmoid", "missing"),
}


class Plain:
    """Value, derivatives and dual; W (p + 1, k) belongs to the columns less centre and a constant.

    T (n, k) holds the targets, NaN where missing; the weights are divided by their sum, or what
    divisor says.
    """

    def __init__(
        self, loss, X, T, weights, *, pos_weight=None, smoothing=0.0, alpha=0.0,
        fit_intercept=True, centre=None, divisor=None,
    ):  # fmt: skip
        X = X.toarray() if sparse.issparse(X) else X
        X = X.astype(float) - (0 if centre is None else np.asarray(centre, float))
        self.Z = np.column_stack([X, np.ones(len(X))])
        self.alpha, self.fit_intercept, self.sigmoid = alpha, fit_intercept, loss == "sigmoid"
        w = np.asarray(weights, float)[:, None] / (np.sum(weights) if divisor is None else divisor)
        T = np.asarray(T, float)
        self.seen = ~np.isnan(T)
        T = np.where(self.seen, T, 0)
        if self.sigmoid:
            t = (1 - smoothing) * T + smoothing / 2
            positive = t * (1 if pos_weight is None else np.asarray(pos_weight, float))
            self.omega = w * np.where(self.seen, 1 - t + positive, 0)
            self.B = w * np.where(self.seen, positive, 0)
        else:
            if loss == "1/M":
                T = T / np.maximum((T > 0).sum(axis=1, keepdims=True), 1)
            mass, known = T.sum(axis=1, keepdims=True), self.seen.sum(axis=1, keepdims=True)
            smooth = (1 - smoothing) * T + smoothing * mass / np.maximum(known, 1)
            self.omega = np.broadcast_to(w * mass, T.shape)
            self.B = w * np.where(self.seen, smooth, 0)
        self.tau = np.divide(self.B, self.omega, out=np.zeros_like(T), where=self.omega > 0)
        self.decay = np.append(np.full(X.shape[1], alpha), 0.0)[:, None]
        self.shape = (self.Z.shape[1], T.shape[1])

    def logits(self, W):
        s = self.Z @ W
        return s if self.sigmoid else np.where(self.seen, s, -np.inf)

    def proba(self, W):
        if self.sigmoid:
            return special.expit(self.Z @ W)
        live = self.seen.any(axis=1)
        proba = np.zeros(self.seen.shape)
        proba[live] = special.softmax(self.logits(W)[live], axis=1)
        return proba

    def partition(self, W):
        """Softplus of the entries, or the share of each entry in lse of its row."""
        if self.sigmoid:
            return np.logaddexp(0, self.Z @ W)
        lse = np.zeros((len(self.Z), 1))
        live = self.seen.any(axis=1)
        lse[live] = special.logsumexp(self.logits(W)[live], axis=1, keepdims=True)
        return np.broadcast_to(lse, self.seen.shape)

    def loss(self, W):
        s = self.Z @ W
        whole = self.omega * self.partition(W)
        return (whole if self.sigmoid else whole[:, :1]).sum() - (self.B * s).sum()

    def penalty(self, W):
        return 0.5 * np.sum(self.decay * W**2)

    def objective(self, W):
        return self.loss(W) + self.penalty(W)

    def loss_gradient(self, W):
        return self.Z.T @ (self.omega * self.proba(W) - self.B)

    def gradient(self, W):
        gradient = self.loss_gradient(W) + self.decay * W
        gradient[-1] *= self.fit_intercept
        return gradient

    def product(self, W, D):
        """Derivative of loss_gradient along D: the Hessian of the loss times D."""
        proba, change = self.proba(W), self.Z @ D
        if self.sigmoid:
            return self.Z.T @ (self.omega * proba * (1 - proba) * change)
        mean = (proba * change).sum(axis=1, keepdims=True)
        return self.Z.T @ (self.omega * proba * (change - mean))

    def young(self, W, pi):
        """Sum of the weighted Fenchel-Young losses of the probabilities pi."""
        s = self.Z @ W
        terms = special.xlogy(pi, pi) - pi * s
        if self.sigmoid:
            terms = terms + special.xlogy(1 - pi, 1 - pi) + self.partition(W)
            return (self.omega * terms).sum()
        rows = terms.sum(axis=1) + self.partition(W)[:, 0]
        return self.omega[:, 0] @ rows

    def dual_vector(self, pi):
        return self.Z.T @ (self.omega * pi - self.B)

    def sums(self, pi):
        """What `certificate` takes."""
        return (self.omega * np.where(self.seen, pi, 0)).sum(axis=0)

    def entropy(self):
        terms = special.entr(self.tau) + (special.entr(1 - self.tau) if self.sigmoid else 0)
        return (self.omega * terms).sum()

    def hessian(self, W):
        size = W.size
        unit = np.eye(size).reshape(size, *W.shape)
        H = np.array([self.product(W, D).ravel() for D in unit])
        return H + np.diag(np.broadcast_to(self.decay, W.shape).ravel())

    def optimum(self):
        """Newton's method to the last digits; returns W and the objective."""
        W = np.zeros(self.shape)
        free = np.ones(self.shape)
        free[-1] = self.fit_intercept
        free = np.flatnonzero(free)
        value = self.objective(W)
        for _ in range(100):
            g = self.gradient(W).ravel()[free]
            H = self.hessian(W)[np.ix_(free, free)]
            d = 1 / np.sqrt(np.maximum(H.diagonal(), 1e-250))
            step = np.zeros(W.size)
            step[free] = -d * np.linalg.lstsq(H * d[:, None] * d, d * g, rcond=1e-13)[0]
            slope, step, length = step[free] @ g, step.reshape(W.shape), 1.0
            if -slope < 1e-15 * abs(value):
                break
            while length > 1e-9 and not self.objective(W + length * step) < value:
                length /= 2
            if length <= 1e-9:
                break
            W = W + length * step
            value = self.objective(W)
        return W, value


def draw_targets(rng, kind, n, k):
    """Targets (n, k), every class in them where n allows."""
    if kind == "labels":
        labels = rng.integers(k, size=n)
        labels[:k] = np.arange(k)[:n]
        return np.eye(k)[labels]
    if kind == "shares":
        T = rng.dirichlet(np.full(k, 0.5), size=n)
        T[0] = np.eye(k)[0]
        return T
    T = (rng.random((n, k)) < 0.4).astype(float)
    if kind == "fractions":
        T *= rng.random((n, k))
    if kind == "masses":
        T *= 3 * rng.random((n, k))
    if kind == "missing":
        hole = rng.random((n, k)) < 0.3
        hole[rng.random(n) < 0.6] = False
        T[hole] = np.nan
        T[1:2] = np.nan
    return T


def stored_targets(loss, kind, T, dtype):
    """The same as skce's solvers take them."""
    if kind == "labels":
        return T.argmax(axis=1).astype(np.intc)
    return sparse.csr_array(T.astype(dtype))


@dataclass
class Case:
    """A problem for skce's solvers, and the same in plain float64."""

    name: str
    encoded: object
    problem: object
    plain: Plain
    rng: object

    def near(self, W, spread):
        """A point near W that the dtype of X holds."""
        W = W + spread * self.rng.standard_normal(W.shape) * (np.abs(W) + 0.01)
        W[-1] *= self.plain.fit_intercept
        return W.astype(self.problem.X.dtype).astype(float)


def random_case(
    seed, *, names=tuple(KINDS), n=(6, 60), p=(1, 5), k=(2, 6), dtype=None, storage=None,
    alpha=None, scales=3, zeros=True,
):  # fmt: skip
    """Draw a problem: loss, targets, weights with zeros, scales of the columns, storage, dtype."""
    rng = np.random.default_rng(seed)
    name = names[seed % len(names)]
    loss, kind = KINDS[name]
    n, p, k = (int(rng.integers(*bounds)) for bounds in (n, p, k))
    dtype = dtype or rng.choice([np.float32, np.float64])
    X = rng.standard_normal((n, p)) + rng.standard_normal(p)
    X = (X * 10.0 ** rng.uniform(-scales, scales, p) * rng.integers(1, 3, (n, 1))).astype(dtype)
    if storage == "csr" or (storage is None and rng.random() < 0.4):
        X = sparse.csr_array(X * (rng.random(X.shape) < 0.6))
    T = draw_targets(rng, kind, n, k).astype(dtype)
    weights = rng.uniform(0.1, 3, n)
    if zeros:
        weights[rng.random(n) < 0.2] = 0
        weights[0] = 1.0
    smoothing = float(rng.choice([0.0, 0.1]))
    fit_intercept = bool(rng.random() < 0.75)
    pos_weight = None
    if loss == "sigmoid" and rng.random() < 0.5:
        pos_weight = rng.uniform(0.2, 4, k).astype(dtype)
    if alpha is None:
        alpha = 10.0 ** rng.uniform(-2, 2) / n
    targets = stored_targets(loss, kind, T, dtype)
    encoded = Encoded(X, NUMBERS[loss], targets, k, weights, None, {}, pos_weight)
    problem = Problem.of(encoded, smoothing, alpha, 0.0, fit_intercept, np.random.RandomState(seed))
    plain = Plain(
        loss, X, T, weights, pos_weight=pos_weight, smoothing=smoothing, alpha=alpha,
        fit_intercept=fit_intercept,
        centre=None if problem.centre is None else problem.centre_in_dtype,
    )  # fmt: skip
    return Case(f"{name} {seed}", encoded, problem, plain, rng)
