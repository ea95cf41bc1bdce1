"""The functions of skce.losses: losses with gradients, losses alone, probabilities."""

import os

from kernel_peers import candidates, functions, has_classes, options_of

from skce import losses

__all__ = ["Loss", "LossAndGrad", "Proba"]

TINY = bool(os.environ.get("SKCE_BENCH_TINY"))
CLASSES = (1, 3, 40) if TINY else (1, 2, 3, 10, 32, 100, 1000, 32000)


class _Kernel:
    """About 2e6 logits at every K, as in ``kernels.py``."""

    param_names = ("function", "n_classes", "dtype", "threads")

    def setup(self, function, n_classes, dtype, threads):
        """Draw logits and targets."""
        threaded = options_of(getattr(losses, function), threads)
        if not has_classes(function, n_classes) or (threads > 1 and not threaded):
            raise NotImplementedError
        size = 100 if TINY else 2e6
        self.call = candidates(function, n_classes, dtype, size, threads=threads)["skce"]


def _params(what):
    return (functions([what]), CLASSES, ("float32", "float64"), (1, 2))


class LossAndGrad(_Kernel):
    """Mean loss and gradient into a given array."""

    params = _params("gradient")

    def time_loss_and_grad(self, function, n_classes, dtype, threads):
        """Compute the mean loss and its gradient."""
        self.call()


class Loss(_Kernel):
    """Mean loss without gradient."""

    params = _params("loss")

    def time_loss(self, function, n_classes, dtype, threads):
        """Compute the mean loss."""
        self.call()


class Proba(_Kernel):
    """Probabilities, their logarithms, and the losses of given probabilities."""

    params = _params("proba")

    def time_proba(self, function, n_classes, dtype, threads):
        """Call the function."""
        self.call()
