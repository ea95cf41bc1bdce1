"""A run of stochastic gradient descent, by skce and by the reference."""

from dataclasses import dataclass

import numpy as np
import reference
from numpy.testing import assert_allclose
from registry import INSTANCES, Instance
from scipy import sparse

from skce._engine.data import EpochData
from skce._engine.sgd import Rule, sgd_run
from skce._kernels import Loss

__all__ = ["LABELS", "MATRICES", "STATES", "K", "N", "P", "Run", "close", "encoded", "stored"]

KINDS = {
    "softmax_cross_entropy": Loss.SOFTMAX,
    "multilabel_softmax_cross_entropy": Loss.MULTILABEL_SOFTMAX,
    "sigmoid_cross_entropy": Loss.SIGMOID,
}
MATRICES = [i for i in INSTANCES if i.kind != "single"]
LABELS = next(i for i in MATRICES if i.kind == "labels")
STATES = {"SGD": 0, "MOMENTUM": 1, "ADAGRAD": 1, "ADAM": 2}
N, P, K = 23, 24, 5


def close(actual, expected, dtype):
    rtol = 2e-5 if dtype == np.float32 else 1e-11
    for a, e in zip(actual, expected, strict=True):
        e = np.array(e, float)
        assert_allclose(a, e, rtol=rtol, atol=rtol * np.max(np.abs(e), initial=1))


def stored(X, storage):
    """Dense X, or as CSR with indices of 32 or 64 bits."""
    if storage == "dense":
        return X
    X = sparse.csr_array(X)
    index = np.dtype(f"int{storage[-2:]}")
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    return X


def encoded(targets, dtype):
    """Targets as a Problem takes them."""
    return (
        targets.astype(np.int32) if targets.ndim == 1 else sparse.csr_array(targets.astype(dtype))
    )


@dataclass
class Run:
    """Arguments of a run: 5 batches of 4 of the 23 rows, the last of 3; X has an empty row."""

    instance: Instance
    rule: str
    dtype: type
    storage: str = "dense"
    k: int = K

    def __post_init__(self):
        rng = np.random.default_rng(7)
        problem = self.instance.problem(self.dtype, N, self.k)
        self.targets, self.weights = problem.targets, problem.sample_weight
        self.options = {k: v for k, v in problem.options.items() if k != "class_weight"}
        self.X = (rng.standard_normal((N, P)) * (rng.random((N, P)) < 0.3)).astype(self.dtype)
        self.X[3] = 0
        self.order = rng.permutation(N)[:19]
        self.order[-1] = 3
        self.count = 6
        self.cut(4)
        self.W = rng.standard_normal((P + 1, self.k)).astype(self.dtype)
        self.average = rng.standard_normal((P + 1, self.k)).astype(self.dtype)
        self.state = rng.random((STATES[self.rule], P + 1, self.k)).astype(self.dtype)
        self.metric = rng.uniform(0.5, 2, P + 1).astype(self.dtype)
        self.mean = None
        self.l2, self.l1, self.momentum_rate, self.curvature = 0.05, 0.0, 0.8, 0.0
        self.clock = np.array([2.0, 30.0, 12.0, -40.0, 30.0])
        sparse_ = self.storage != "dense"
        self.stamps = rng.uniform(0, 2, (P, 2)) * [1, 3] if sparse_ else None
        self.columns = None
        self.look = None
        self.sure = None

    def cut(self, size, seed=1):
        """Cut the order in batches of this size."""
        m, rng = len(self.order), np.random.default_rng(seed)
        self.ends = np.append(np.arange(0, m, size), m)
        n_steps = len(self.ends) - 1
        self.steps, self.rows = rng.uniform(0.05, 0.5, (2, n_steps))
        self.rows *= 10 * size
        self.times = 6 + np.append(0, np.cumsum(rng.uniform(1, 5, n_steps)))
        return self

    def changed(self, **changes):
        for name, value in changes.items():
            setattr(self, name, value)
        return self

    def learned(self):
        """The same, of CSR whose scales are learned."""
        rng = np.random.default_rng(3)
        counts = rng.integers(3, size=P)
        self.columns = np.stack([rng.uniform(0.1, 0.5, P) * (counts > 0), counts]).astype(float)
        self.metric[:-1] = 1
        return self

    def arguments(self):
        """Arguments of the Problem."""
        X, targets = stored(self.X, self.storage), encoded(self.targets, self.dtype)
        pos_weight = self.options.get("pos_weight")
        pos_weight = None if pos_weight is None else pos_weight.astype(self.dtype)
        smoothing = self.options.get("label_smoothing", 0.0)
        kind = KINDS[self.instance.loss]
        return [kind, X, targets, self.k, self.weights, pos_weight, smoothing]

    def run(self, arguments=None):
        """Summed loss, W, state, average, clock, stamps, columns and factor of skce."""
        W, state, clock = self.W.copy(), self.state.copy(), self.clock.copy()
        average, stamps, columns, sure = (
            None if a is None else a.copy()
            for a in (self.average, self.stamps, self.columns, self.sure)
        )
        slots = None if stamps is None else np.full(P, -1, np.int32)
        self.seen = None if self.look is None else np.zeros((4, P + 1))
        loss, _ = sgd_run(
            EpochData(*arguments or self.arguments()), self.order, self.ends, self.steps,
            self.rows, self.times, W, self.mean, self.metric, self.l2, self.l1,
            Rule[self.rule], self.momentum_rate, self.curvature, state, self.count, average,
            clock, stamps, slots, columns, self.look, self.seen, sure,
        )  # fmt: skip
        assert slots is None or (slots == -1).all()
        changed = (loss, W, state, average, clock, stamps, columns, sure)
        return [a for a in changed if a is not None]

    def reference(self):
        """The same of the reference."""
        function = getattr(reference, self.instance.loss)

        def loss(logits, rows):
            return function(
                logits, self.targets[rows], sample_weight=self.weights[rows], **self.options
            )

        total, W, state, *others = reference.sgd_run(
            loss, self.X, self.order, self.ends, self.steps, self.rows, self.times, self.W,
            self.mean, self.metric, self.l2, self.l1, self.rule, self.momentum_rate,
            self.curvature, self.state, self.count, self.average, self.clock, self.stamps,
            self.columns, self.sure,
        )  # fmt: skip
        others = [a for a in others if a is not None]
        return [total, W, np.reshape(state, self.state.shape), *others]
