"""The objective with its derivatives, and matrices that stand in for its Hessian.

The metric of L-BFGS is the columns' second moments and the penalty. The preconditioner of Newton's
method is the Hessian of a row sample: all of it where p * k is small, else one matrix, weighted by
the curvature of the rows, for all classes; for many features its diagonal. All of it may be damped.
"""

from functools import cached_property

import numpy as np
from scipy import linalg, sparse

from skce._canonical import in_threads, pieces
from skce._certificate import certificate, intercept_step
from skce._gradient import Kind

__all__ = ["Metric", "Objective"]

GRAM_ROWS = 2000  # of a metric, at least
FEATURES_PER_CLASS = 10  # up to which more of them cost less than the passes
FEW_ROWS, MORE_ROWS = 10, 300  # for each feature
FULL_SIZE = 1000  # p * k up to which the preconditioner may be the whole Hessian
LARGE_SIZE = 3000  # and where there are rows enough
HESSIAN_ROWS = 20  # of it, for each weight
HESSIAN_WORK = 1e11  # multiplications that a sample of rows may cost
WHOLE_HESSIAN = 1e9  # multiplications that the Hessian of all rows may cost in any case
CHEAP_PASSES = 120  # as which it may cost to be worth making
GRAM_SIZE = 4000  # p up to which it is a matrix
INTERCEPT = 0.5  # of its own curvature: mnist and MiniLM take 4/5 of the passes
MANY_PRODUCTS = 12  # in a step, from which a better preconditioner pays
HUGE = 1e15  # whose squares float32 does not sum


class Metric:
    """Second moments of the columns and the constant, times a curvature, plus the penalty.

    What a softmax's constant has of its own, which no column shares, counts INTERCEPT times.

    Parameters
    ----------
    problem : Canonical
        Gives columns and weights.
    rng : RandomState
        Draws the rows, where there are too many.
    curvature : ndarray of shape (n,), default=None
        Weight * mean curvature of each row; None is that of zero weights and the best intercept.
    """

    def __init__(self, problem, rng, curvature=None):
        X = problem.X
        p = X.shape[1]
        if curvature is None:
            sums, total, _ = problem.masses
            share = np.divide(sums, total, out=np.zeros(problem.k), where=total > 0)
            curvature = problem.weights * float(np.mean(share * (1 - share)))
        per_feature = MORE_ROWS if p <= FEATURES_PER_CLASS * problem.k else FEW_ROWS
        rows, size, grow = problem.sample(max(GRAM_ROWS, per_feature * p), rng)
        weights = curvature if rows is None else curvature[rows] * grow
        A, reach = np.zeros((p + 1, p + 1)), np.zeros(p)
        if sparse.issparse(X):
            Z = sparse.csr_array(X if rows is None else X[rows])
            for some in pieces(p, p):
                columns = Z[:, some]
                reach[some] = abs(columns).max(axis=0).toarray().ravel()
                weighted = sparse.diags_array(weights) @ columns
                A[some, :p] = (weighted.T.tocsr() @ Z).toarray()
            A[p, :p] = weights @ Z
        else:

            def moments(part):
                Z, weight = X[part] - problem.centre_in_dtype, curvature[part] * grow
                top = np.abs(Z).max(axis=0) if grow > 1 else reach
                return _weighted_gram(_summable(Z), weight), weight @ Z, top

            each = p * p * X.dtype.itemsize
            for gram, sums, top in in_threads(moments, problem.pieces(rows), each):
                A[:p, :p] += gram
                A[p, :p] += sums
                reach = np.maximum(reach, top)
                gram = None  # before the next one is made
        A[p, :p] *= problem.fit_intercept
        A[:p, p] = A[p, :p]
        total = max(float(weights.sum()), 1e-300)
        A[p, p] = total
        if grow > 1:
            _damp(A, size, np.append(total * reach.astype(np.float64) ** 2 / (9 * p), 0.0))
        A[np.arange(p), np.arange(p)] += problem.alpha
        if not np.isfinite(A.diagonal()).all():
            raise ValueError(f"X must have finite squares, got entries up to {abs(X).max():.1g}.")
        self.scale = _to_unit(A)
        self.factor, _ = _cholesky(A, 1.0)
        if not problem.sigmoid:
            self.factor[p, p] *= np.sqrt(INTERCEPT)

    def to_weights(self, U):
        """Return W (p + 1, k) of the coordinates U."""
        V = linalg.solve_triangular(self.factor, U, trans="T", lower=True, check_finite=False)
        return V * self.scale[:, None]

    def divide(self, gradient):
        """Return the gradient divided by the metric."""
        scale = self.scale[:, None]
        return linalg.cho_solve((self.factor, True), gradient * scale, check_finite=False) * scale

    def to_coordinates(self, W):
        """Return U of W."""
        return linalg.blas.dtrmm(1.0, self.factor, W / self.scale[:, None], lower=1, trans_a=1)

    def to_gradient(self, gradient):
        """Return the gradient in the coordinates U."""
        scaled = gradient * self.scale[:, None]
        return linalg.solve_triangular(self.factor, scaled, lower=True, check_finite=False)


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
        problem = self.problem
        sums = problem.masses[0] + gradient[-1]
        if problem.sigmoid or not problem.missing.any():
            return sums
        weights = np.where(problem.missing, 0.0, problem.weights)
        return np.vstack([sums, problem.weigh(weights, self.table)])

    def preconditioner(self, rng, products, fresh=True):
        """Return the function that divides by an approximation of the Hessian.

        `fresh` asks for a whole one at the last W; else that made before may be damped anew.
        """
        able = self.is_small or self.can_know_hessian
        self.full = self.full or (able and products >= MANY_PRODUCTS)
        if self.problem.X.shape[1] > GRAM_SIZE:
            divide = self._diagonal()
        elif self.full:
            if fresh or self.whole is None:
                self.whole = None  # one at a time
                self.whole = self._whole(rng)
            divide = self._damped()
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

        H = np.zeros((p * k, p * k))

        def fill(c):
            """Add the columns of class c, from its own block on."""
            columns = H[c * p :, c * p : (c + 1) * p]
            for part in problem.pieces(rows, k):
                X, table = self._with_constant(part), self.table[part, c:]
                weights = scale[part].astype(X.dtype) * table[:, 0]
                if problem.sigmoid:
                    columns[:p] += _weighted_gram(X, weights)
                    continue
                columns[:p] += _weighted_gram(X, weights * (1 - table[:, 0]))
                others = (table[:, 1:, None] * X[:, None, :]).reshape(len(X), -1)
                columns[p:] -= others.T @ (weights[:, None] * X)

        list(in_threads(fill, range(k), p * p * k * H.itemsize))
        H[np.diag_indices_from(H)] += np.tile(self.decay[:, 0], k)
        diagonal = H.diagonal().copy()
        if not problem.sigmoid:  # curvature for the equal shift of all classes, which has none
            for j in range(p):
                H[j::p, j::p] += diagonal[j::p].max() / k
        return H, diagonal, _to_unit(H)

    def _damped(self):
        """Return the function that divides by the whole Hessian, its diagonal damped."""
        H, diagonal, d = self.whole
        k = self.problem.k
        self.raised = (self.damping * diagonal).reshape(k, -1).T
        _mirror(H)  # where the factor of before is
        factor = _cholesky(H, 1 + self.damping * (d * diagonal * d))

        def divide(r):
            z = linalg.cho_solve(factor, r.T.ravel() * d, check_finite=False) * d
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
        X = _summable(X)
        if len(X) == self.n:
            self.dense = X
        return X


def _summable(X):
    """Return X, in double where float32 does not hold sums of its squares."""
    scale = float(np.abs(X).max(initial=0)) if X.dtype == np.float32 else 0.0
    return X.astype(np.float64) if scale > HUGE else X


def _weighted_gram(X, weight):
    Z = X * np.sqrt(np.maximum(weight, 0))[:, None].astype(X.dtype)
    return Z.T @ Z


def _damp(A, rows, more):
    """Shrink a matrix of few rows to its diagonal, and raise that by `more`."""
    share = 0.5 * len(A) / (rows + len(A))
    diagonal = A.diagonal().copy()
    A *= 1 - share
    A[np.diag_indices_from(A)] = diagonal + more


def _to_unit(A):
    """Scale A, in place, to a diagonal of 1; return the scale."""
    diagonal = A.diagonal()
    d = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    A *= d[:, None]
    A *= d
    return d


def _cholesky(A, diagonal):
    """Return the Cholesky factor of A with another diagonal, in A but for its lower triangle."""
    ridge = 1e-14
    while True:
        A[np.diag_indices_from(A)] = diagonal + ridge
        try:
            # LAPACK works in the lower triangle of the transpose, in place
            return linalg.cho_factor(A.T, lower=True, overwrite_a=True, check_finite=False)
        except linalg.LinAlgError:
            _mirror(A)
            ridge *= 100


def _mirror(A):
    """Copy the lower triangle of A to the upper one."""
    for j in range(len(A)):
        A[j, j + 1 :] = A[j + 1 :, j]
