"""The objective with its derivatives, and what stands in for its Hessian in Newton's method.

The preconditioner is the Hessian of a row sample: all of it, damped at times, where p * k is small,
else one matrix, weighted by the curvature of the rows, for all classes; for many features its
diagonal.
"""

from functools import cached_property

import numpy as np
from scipy import linalg, sparse

from skce._canonical import in_threads, pieces
from skce._certificate import certificate, intercept_step
from skce._gradient import Kind
from skce._metric import (
    GRAM_ROWS,
    SUSPECT,
    Metric,
    cholesky,
    mirror,
    summable,
    to_unit,
    weighted_gram,
    without,
)

__all__ = ["Objective"]

FULL_SIZE = 1000  # p * k up to which the preconditioner may be the whole Hessian
LARGE_SIZE = 3000  # and where there are rows enough
HESSIAN_ROWS = 20  # of it, for each weight
HESSIAN_WORK = 1e11  # multiplications that a sample of rows may cost
WHOLE_HESSIAN = 1e9  # multiplications that the Hessian of all rows may cost in any case
CHEAP_PASSES = 120  # as which it may cost to be worth making
GRAM_SIZE = 4000  # p up to which it is a matrix
BLOCK_COLUMNS = 64  # of a whole Hessian that are made together
MANY_PRODUCTS = 12  # in a step, from which a better preconditioner pays


class Objective:
    """The objective of a problem with its derivatives at the last W that was evaluated."""

    def __init__(self, problem):
        self.problem, self.passes = problem, 0
        self.n = problem.X.shape[0]
        self.decay = np.append(np.full(problem.X.shape[1], problem.alpha), 0.0)[:, None]
        self.fitted = np.append(np.ones(problem.X.shape[1]), float(problem.fit_intercept))[:, None]
        self.table = None
        self.rounding = float(np.finfo(problem.X.dtype).eps)
        self.size = self.decay.size * problem.k  # of a whole Hessian
        # the whole Hessian is soon factored
        self.is_small = problem.X.shape[1] * problem.k <= FULL_SIZE
        cost = self.hessian_rows * self.size / self.n  # passes
        self.can_know_hessian = self.size <= LARGE_SIZE and cost <= CHEAP_PASSES
        self.full = self.knows_hessian = self.is_small and self.can_know_hessian
        self.whole, self.solves = None, False  # a Hessian that was made; whether of all rows
        self.dense = None  # all rows, where they are one piece
        self.products_in = problem.X.dtype  # of a whole Hessian
        self.damping, self.raised = 0.0, 0.0  # the Hessian's diagonal counts 1 + damping times

    def value_and_gradient(self, W, remember=True):
        """Return the objective and its gradient at W; remember the curvature there."""
        gradient = np.empty(W.shape)
        if remember and self.table is None:
            self.table = np.empty((self.n, self.problem.k), self.problem.X.dtype)
        table = self.table if remember else None
        loss, _ = self.problem.full_pass(Kind.LOSS, W, gradient, table)
        self.passes += 1
        value = loss + self.problem.penalty(W)
        return value if np.isfinite(value) else np.inf, gradient * self.fitted + self.decay * W

    def product(self, v):
        """Return the Hessian, damped as the preconditioner was, times v."""
        out = np.empty(v.shape)
        self.problem.full_pass(Kind.PRODUCT, v, out, self.table)
        self.passes += 1
        return out * self.fitted + (self.decay + self.raised) * v

    def bound(self, gradient):
        """Return what bounds the gap where the intercepts are best."""
        alpha = self.problem.alpha
        return np.inf if alpha == 0 else float(np.sum(gradient[:-1] ** 2)) / (2 * alpha)

    def certified(self, W, gradient=None):
        """Return W as it rounds to the dtype of X, the objective there and the bound of the gap.

        The bound is looser where the intercept is not the best: it is improved before, unless the
        gradient at W is given, which saves two passes.
        """
        problem, dtype = self.problem, self.problem.X.dtype
        W = W.astype(dtype).astype(np.float64)
        improve = gradient is None or (problem.missing.any() and not problem.sigmoid)
        if improve:
            value, gradient = self.value_and_gradient(W)
        if improve and problem.fit_intercept:
            better = W.copy()
            better[-1] -= intercept_step(problem, self.table, gradient[-1])
            better = better.astype(dtype).astype(np.float64)
            found = self.value_and_gradient(better)
            if found[0] <= value + self.rounding * abs(value):
                W, (value, gradient) = better, found
            else:
                self.value_and_gradient(W)
        if problem.alpha == 0:
            return W, value, np.nan
        return W, *certificate(problem, W, None, self.sums(gradient))

    def steepest(self, gradient):
        """Return the largest entry of the gradient, in standardised columns."""
        return float(np.abs(gradient * self.unit).max())

    def sums(self, gradient):
        """Return the weighted sums of the probabilities, as `certificate` takes them."""
        return self.problem.masses[0] + gradient[-1]

    def preconditioner(self, rng, products, fresh=True):
        """Return the function that divides by an approximation of the Hessian.

        `fresh` asks for a whole one at the last W; else that made before may be damped anew.
        """
        able = self.is_small or self.can_know_hessian
        self.full = self.full or (able and products >= MANY_PRODUCTS)
        if self.problem.X.shape[1] > GRAM_SIZE:
            divide = self._diagonal()
        elif self.full:
            divide = self._damped(rng, fresh)
        else:
            divide = Metric(self.problem, rng, self._mean_curvature()).divide
        if self.problem.sigmoid:
            return lambda r: divide(r) * self.fitted

        def apply(r):
            z = divide(r - r.mean(axis=1, keepdims=True)) * self.fitted
            return z - z.mean(axis=1, keepdims=True)

        return apply

    def mean_curvature(self, W):
        """Return the weight * curvature of each row at W (n,), averaged over the classes."""
        self.value_and_gradient(W)
        return self._mean_curvature()

    def _mean_curvature(self):
        mean = np.empty(self.n)
        for rows in pieces(self.n, self.problem.k):
            mean[rows] = self._row_curvature(rows).mean(axis=1, dtype=np.float64)
        return mean

    def _row_curvature(self, rows):
        table = self.table[rows]
        if self.problem.sigmoid:
            return table
        weights = self.problem.weights[rows].astype(table.dtype)[:, None]
        return weights * table * (1 - table)

    @cached_property
    def unit(self):
        """1 over the scale of each column, 1 for the intercept (p + 1, 1)."""
        weights = self.problem.weights / self.problem.weights.sum()
        square = 4 * self.problem.alpha
        for rows, squares in self.problem.squares():
            square = square + squares.T @ weights[rows]
        return np.append(1 / np.sqrt(np.where(square > 0, square, 1.0)), 1.0)[:, None]

    @cached_property
    def _lengths(self):
        """Squared lengths (n,) of the rows with the constant, in columns of one scale."""
        lengths = np.empty(self.n)
        for rows, squares in self.problem.squares():
            lengths[rows] = 1 + squares @ self.unit[:-1, 0] ** 2
        return lengths

    def _diagonal(self):
        diagonal = np.zeros((self.problem.X.shape[1] + 1, self.problem.k))
        for rows, squares in self.problem.squares():
            curvature = self._row_curvature(rows)
            diagonal[:-1] += squares.T @ curvature
            diagonal[-1] += curvature.sum(axis=0, dtype=np.float64)
        diagonal += self.decay
        diagonal = np.maximum(diagonal, max(1e-12 * diagonal.max(), 1e-300))
        return lambda r: r / diagonal

    def _whole(self, rng):
        """Return the Hessian of all rows or a sample, its diagonal and the scale d, class-major.

        The Hessian has a diagonal of 1, and its lower triangle only.
        """
        problem = self.problem
        p, k = problem.X.shape[1] + 1, problem.k
        rows, scale = None, np.ones(self.n) if problem.sigmoid else problem.weights.copy()
        self.solves = self.hessian_rows == self.n
        if not self.solves:
            rows, times = self.heavy_rows(self.hessian_rows, rng)
            scale[rows] *= times
            if not self.is_small:
                self.passes += len(rows) * p * k / self.n

        H, own = np.zeros((p * k, p * k)), np.zeros((k, p, p))
        several = 1 if problem.sigmoid else max(1, BLOCK_COLUMNS // p)  # classes at a time

        def fill(c):
            """Add the columns of some classes, from c on."""
            last = min(c + several, k)
            columns, width = H[c * p :, c * p : last * p], (last - c) * p
            start = width if last == c + 1 else 0
            for part in problem.pieces(rows, k):
                X, table = self._with_constant(part), self.table[part, c:]
                weights = scale[part].astype(X.dtype)
                for j in range(last - c):
                    share = 1 if problem.sigmoid else 1 - table[:, j]
                    own[c + j] += weighted_gram(X, weights * table[:, j] * share)
                if not problem.sigmoid:
                    shares = (table[:, :, None] * X[:, None, :]).reshape(len(X), -1)
                    columns[start:] -= shares[:, start:].T @ (weights[:, None] * shares[:, :width])
            for j in range(last - c):
                columns[j * p : (j + 1) * p, j * p : (j + 1) * p] = own[c + j]

        list(in_threads(fill, range(0, k, several), p * p * k * several * H.itemsize))
        H[np.diag_indices_from(H)] += np.tile(self.decay[:, 0], k)
        diagonal = H.diagonal().copy()
        if not problem.sigmoid:  # curvature for the equal shift of all classes, which has none
            for j in range(p):
                H[j::p, j::p] += diagonal[j::p].max() / k
        return H, diagonal, to_unit(H)

    def _damped(self, rng, fresh):
        """Return the function that divides by the whole Hessian, its diagonal damped."""
        if fresh or self.whole is None:
            self.whole = None  # one at a time
            self.whole = self._whole(rng)
        H, diagonal, d = self.whole
        k = self.problem.k
        self.raised = (self.damping * diagonal).reshape(k, -1).T
        mirror(H)  # where the factor of before is
        factor, flat, least = cholesky(H, 1 + self.damping * (d * diagonal * d))
        if least < SUSPECT and self.products_in < np.dtype(np.float64):
            self.products_in, self.dense = np.dtype(np.float64), None
            return self._damped(rng, True)

        def divide(r):
            scaled = without(flat, r.T.ravel() * d)
            z = linalg.cho_solve(factor, scaled, check_finite=False) * d
            return z.reshape(k, -1).T

        return divide

    @property
    def hessian_rows(self):
        """The rows that a whole Hessian takes, about."""
        if self.n * self.size**2 <= WHOLE_HESSIAN:
            return self.n
        most = min(HESSIAN_ROWS * self.size, int(HESSIAN_WORK / self.size**2))
        return min(self.n, max(GRAM_ROWS, most))

    def heavy_rows(self, most, rng):
        """Draw about so many rows by their share of the Hessian's trace in columns of one scale.

        Return them and what each stands for. Rows that hold much of the trace are certain.
        """
        trace = self._mean_curvature() * self._lengths
        ordered = np.sort(trace)[::-1]
        rest = np.maximum(np.cumsum(ordered[::-1])[::-1], 1e-300)  # of a row and those after it
        left = most - np.arange(self.n)
        certain = int(np.argmax(left * ordered <= rest))
        chance = np.minimum(left[certain] / rest[certain] * trace, 1.0)
        rows = np.flatnonzero(rng.random_sample(self.n) < chance)
        return rows, 1 / chance[rows]

    def _with_constant(self, rows):
        """Return the centred rows, dense, and the constant; those of a small problem are kept."""
        if isinstance(rows, slice) and rows == slice(0, self.n) and self.dense is not None:
            return self.dense
        Z = self.problem.X[rows]
        X = np.empty((Z.shape[0], Z.shape[1] + 1), Z.dtype)
        if sparse.issparse(Z):
            X[:, :-1] = Z.toarray()
        else:
            np.subtract(Z, self.problem.centre_in_dtype, out=X[:, :-1])
        X[:, -1] = self.problem.fit_intercept
        X = summable(X, self.products_in)
        if len(X) == self.n:
            self.dense = X
        return X
