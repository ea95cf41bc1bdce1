"""Losses with their gradients."""

import os

from kernels import candidates

__all__ = ["LossAndGrad"]

TINY = bool(os.environ.get("SKCE_BENCH_TINY"))


class LossAndGrad:
    """Mean loss and gradient into a given array, one thread; growth with K and the size."""

    params = (
        ("softmax", "softmax 1/M", "sigmoid"),
        (3, 10, 100, 1000),
        ("float32", "float64"),
        (1e4, 1e6),
    )
    param_names = ("loss", "n_classes", "dtype", "size")

    def setup(self, loss, n_classes, dtype, size):
        """Draw logits and targets."""
        self.call = candidates(loss, n_classes, dtype, 100 if TINY else size)["skce"]

    def time_loss_and_grad(self, loss, n_classes, dtype, size):
        """Compute the mean loss and its gradient on one thread."""
        self.call()
