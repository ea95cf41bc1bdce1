"""The objective with its derivatives at W."""

from functools import cached_property

import numpy as np

from skce._engine.passes import Pass
from skce._solvers.certificate import certificate
from skce._solvers.rounding import NOISE, SUMMING, rounding_of
from skce._solvers.sums import Curvature, curvature_sums

__all__ = ["Objective"]


class Objective:
    """The objective of a problem with its derivatives at the last W that was evaluated."""

    def __init__(self, problem):
        self.problem, self.passes = problem, 0
        self.decay = np.append(np.full(problem.X.shape[1], problem.alpha), 0.0)[:, None]
        self.fitted = np.append(np.ones(problem.X.shape[1]), float(problem.fit_intercept))[:, None]
        self.table = None
        self.rounding = rounding_of(problem.X.dtype)

    def value_and_gradient(self, W, remember=True):
        """Return the objective and its gradient at W; remember the curvature there."""
        gradient = np.empty(W.shape)
        if remember and self.table is None:
            self.table = self.problem.new_table()
        table = self.table if remember else None
        loss, _ = self.problem.full_pass(Pass.LOSS, W, gradient, table)
        self.passes += 1
        value = loss + self.problem.penalty(W)
        return value if np.isfinite(value) else np.inf, gradient * self.fitted + self.decay * W

    def noise(self, value):
        """Return what rounding may change of an objective."""
        return max(NOISE * self.rounding, SUMMING) * abs(value)

    def product(self, v):
        """Return the Hessian, at the last W that was remembered, times v."""
        out = np.empty(v.shape)
        self.problem.full_pass(Pass.PRODUCT, v, out, self.table)
        self.passes += 1
        return out * self.fitted + self.decay * v

    def bound(self, gradient):
        """Return what bounds the gap where the intercepts are best."""
        alpha = self.problem.alpha
        return np.inf if alpha == 0 else float(np.sum(gradient[:-1] ** 2)) / (2 * alpha)

    def rounded(self, W):
        """Return W, in double, as it rounds to the dtype of X."""
        return W.astype(self.problem.X.dtype).astype(np.float64)

    def certified(self, W, gradient=None):
        """Return W as it rounds to the dtype of X, the objective there and the bound of the gap.

        The gradient at W, if it is given, saves a pass. The bound is loose where the intercepts
        are not the best for the weights.
        """
        W = self.rounded(W)
        if self.problem.alpha == 0:
            return W, self.problem.objective(W), np.nan
        if gradient is None:
            _, gradient = self.value_and_gradient(W, remember=False)
        return W, *certificate(self.problem, W, None, self.sums(gradient))

    def largest_scaled_gradient(self, gradient):
        """Return the largest entry of the gradient, in standardised columns."""
        return float(np.abs(gradient * self.column_scale).max())

    def sums(self, gradient):
        """Return the weighted sums of the probabilities, as `certificate` takes them."""
        return self.problem.target_sums + gradient[-1]

    def curvature(self, each, share):
        """Return the `Curvature` there, for each class or their mean.

        A row has at least a share of the mean of its class: a step may bring it to where it bends
        again.
        """
        least = np.zeros(self.problem.k)
        if share:
            total = self.problem.sum(curvature_sums, self.table)
            least = share * total / self.problem.total_weight
        least = np.maximum(least, self.rounding)
        return Curvature(self.table, least, each)

    @cached_property
    def column_scale(self):
        """1 over the scale of each column, 1 for the intercept (p + 1, 1)."""
        problem = self.problem
        square = problem.column_squares / problem.total_weight + 4 * problem.alpha
        varies = square > problem.constant_squares
        return np.append(1 / np.sqrt(np.where(varies, square, 1.0)), 1.0)[:, None]
