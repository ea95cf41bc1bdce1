"""The objective with its derivatives at W."""

from functools import cached_property
from math import isfinite

import numpy as np

from skce._engine.passes import Pass
from skce._solvers.certificate import certificate
from skce._solvers.penalised import sum_of_squares
from skce._solvers.rounding import NOISE, SUMMING, rounding_of
from skce._solvers.sums import Curvature, curvature_sums

__all__ = ["Objective"]


class Objective:
    """The objective of a problem with its derivatives at the last W that was evaluated."""

    def __init__(self, problem):
        self.problem, self.passes, self.table = problem, 0, None
        self.rounding = rounding_of(problem.X.dtype)
        self.noisy = max(NOISE * self.rounding, SUMMING)

    def value_and_gradient(self, W, remember=True):
        """Return the objective and its gradient at W; remember the curvature there."""
        gradient = np.empty(W.shape)
        if remember and self.table is None:
            self.table = self.problem.new_table()
        table = self.table if remember else None
        loss, _ = self.problem.full_pass(Pass.LOSS, W, gradient, table)
        self.passes += 1
        value = loss + self.problem.penalty(W)
        return value if isfinite(value) else np.inf, self._with_penalty(gradient, W)

    def _with_penalty(self, out, V):
        """Add what the penalty makes of V to a sum over the rows."""
        out[:-1] += self.problem.alpha * V[:-1]
        if not self.problem.fit_intercept:
            out[-1] = 0
        return out

    def noise(self, value):
        """Return what rounding may change of an objective."""
        return self.noisy * abs(value)

    def product(self, v):
        """Return the Hessian, at the last W that was remembered, times v."""
        out = np.empty(v.shape)
        self.problem.full_pass(Pass.PRODUCT, v, out, self.table)
        self.passes += 1
        return self._with_penalty(out, v)

    def bound(self, gradient):
        """Return what bounds the gap where the intercepts are best."""
        alpha = self.problem.alpha
        return np.inf if alpha == 0 else sum_of_squares(gradient[:-1]) / (2 * alpha)

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
