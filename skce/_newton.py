"""Newton's method by preconditioned conjugate gradients, on growing samples of the rows.

1. The first steps see a random sample of the rows, which grows fourfold up to all of them once the
   expected gap of the sample is down to what sampling costs. The Hessian of a step comes from the
   sample before, until that no longer helps.
2. The preconditioner is the Hessian of a row sample: all of it where p * k is small, else one Gram
   matrix, weighted by the curvature of the rows, for all classes; for many features its diagonal.
   With it neither the scale nor the correlation of the columns matters.
3. The end is certified: see `_canonical.certificate`.
"""

import numpy as np
from scipy import linalg, sparse

from skce._canonical import certificate
from skce._gradient import Kind

__all__ = ["NewtonCG"]

FIRST_ROWS = 1000  # of the first sample, at least, and ROWS_PER_FEATURE for each feature
ROWS_PER_FEATURE = 8
GROWTH = 4
SAMPLE_STEPS = 8  # most steps on one sample
GRAM_ROWS = 2000  # of the preconditioner, at least
FULL_SIZE = 1000  # p * k up to which the preconditioner may be the whole Hessian
GRAM_SIZE = 4000  # p up to which it is a matrix
MANY_PRODUCTS = 25  # in a step, from which a better preconditioner pays
MOST_PRODUCTS = 60
FORCING = (0.05, 0.3)  # least and most relative residual of a step
SAMPLE_FORCING = 0.1  # least with the Hessian of a sample
SMALLEST_STEP = 1e-8


class NewtonCG:
    """Minimise a Canonical problem.

    Parameters
    ----------
    problem : Canonical
        What to minimise.
    W : ndarray of shape (p + 1, k)
        Where to begin, in the centred columns.
    rng : RandomState
        Draws the samples.
    warm : bool
        Whether to begin with all rows.
    exact : bool
        Whether steps come ever nearer to Newton's, for an optimum to the last digits.

    Attributes
    ----------
    W : ndarray of shape (p + 1, k)
        The iterate, in double.
    value : float
        Objective at W, over the rows of the present sample.
    whole : bool
        Whether that is all rows.
    passes : float
        Passes made, products with the Hessian included, those over a sample by its share.
    gap : float
        Bound of the gap at W, inf where not known.
    """

    name = "newton-cg"

    def __init__(self, problem, W, rng, *, warm=False, exact=False):
        self.problem, self.rng, self.exact = problem, rng, exact
        n, p = problem.X.shape
        sizes = [n]
        while not warm and sizes[0] >= GROWTH * max(FIRST_ROWS, ROWS_PER_FEATURE * p):
            sizes.insert(0, sizes[0] // GROWTH)
        order = rng.permutation(n) if len(sizes) > 1 else None
        self.samples = [None if size == n else np.sort(order[:size]) for size in sizes]
        self.W = W
        self.passes = 0.0
        self.gap = self.decrement_before = np.inf
        self.level = -1
        self.objective = None
        self._next_sample()

    @property
    def whole(self):
        """Whether the objective is that of all rows."""
        return self.level == len(self.samples) - 1

    def _next_sample(self):
        self.level += 1
        rows = self.samples[self.level]
        problem = self.problem if rows is None else self.problem.subset(rows)
        self.smaller, self.objective = self.objective, _Objective(problem, self)
        self.value, self.gradient = self.objective.value_and_gradient(self.W)
        self.steps_here, self.last_decrement, self.products = 0, np.inf, 0

    def step(self):
        """Make one step; return False if no shorter step lowers the objective either."""
        model = self.objective if self.smaller is None else self.smaller
        if model is self.smaller:
            model.value_and_gradient(self.W)
        direction, decrement = self._direction(model)
        length, slope = 1.0, float(np.sum(self.gradient * direction))
        moved = False
        while length > SMALLEST_STEP and slope < 0:
            W = self.W + length * direction
            value, gradient = self.objective.value_and_gradient(W)
            fall = value <= self.value + 1e-4 * length * slope
            if -slope < 1e-7 * abs(self.value):  # near the optimum rounding hides the fall
                level = value <= self.value + 4 * self.objective.rounding * abs(self.value)
                fall = level and _largest(gradient, model.unit) < 0.9 * _largest(
                    self.gradient, model.unit
                )
            if fall:
                self.W, self.value, self.gradient, moved = W, value, gradient, True
                break
            length /= 2
        self.steps_here += 1
        if self.smaller is not None and (not moved or decrement > 0.25 * self.last_decrement):
            self.smaller = None
            moved = True
        self.last_decrement = decrement
        exact_model = model is self.objective
        self.decrement_before = decrement if exact_model else np.inf
        self.gap = np.inf
        if not self.whole and self._sampled_enough(decrement, moved):
            self._next_sample()
            moved = True
        return moved

    def _sampled_enough(self, decrement, moved):
        n, p = self.objective.problem.X.shape
        sampling = p * max(1, self.problem.k - 1) / (2 * n)
        enough = decrement < 0.25 * min(sampling, 0.2 * abs(self.value))
        return enough or not moved or self.steps_here >= SAMPLE_STEPS

    def _direction(self, model):
        """Return the step by conjugate gradients, and the fall of the objective it promises."""
        divide = model.preconditioner(self.rng, self.products)
        x, r = np.zeros_like(self.W), -self.gradient
        z = divide(r)
        q, rz = z.copy(), float(np.sum(r * z))
        least = FORCING[0] if model is self.objective else SAMPLE_FORCING
        expected = np.sqrt(max(rz, 0.0) / max(abs(self.value), 1e-300))
        goal = np.clip(expected, 1e-12 if self.exact else least, FORCING[1]) ** 2 * rz
        self.products = 0
        while self.products < MOST_PRODUCTS and rz > goal:
            Hq = model.product(q)
            self.products += 1
            curvature = float(np.sum(q * Hq))
            if not curvature > 0:
                break
            x += rz / curvature * q
            r = r - rz / curvature * Hq
            z = divide(r)
            rz, before = float(np.sum(r * z)), rz
            q = z + rz / before * q
        if not x.any():
            x = z
        return x, -float(np.sum(self.gradient * x)) / 2

    def relative_gradient(self):
        """The largest entry of the gradient in standardised columns, over what it was at zero."""
        return _largest(self.gradient, self.objective.unit) / self.at_zero

    @property
    def at_zero(self):
        """The largest entry of the gradient at zero, in standardised columns."""
        if not hasattr(self, "_at_zero"):
            _, gradient = self.objective.value_and_gradient(np.zeros_like(self.W), remember=False)
            self._at_zero = max(_largest(gradient, self.objective.unit), 1e-6)
        return self._at_zero

    def converged_by_rounding(self, goal, rounding):
        """Tell whether a search that finds no fall any more is at the optimum."""
        return self.decrement_before <= goal or self.relative_gradient() <= rounding

    def evaluate(self):
        """Return the objective and the bound of the gap at W, as it rounds to the dtype of X."""
        W = self.W.astype(self.problem.X.dtype).astype(np.float64)
        objective = self.objective if self.whole else _Objective(self.problem, self)
        value, gradient = objective.value_and_gradient(W)
        if self.problem.alpha == 0:
            return value, np.nan
        return value, certificate(self.problem, W, None, objective.sums(gradient))[1]

    def certify(self, goal):
        """Set `gap`, unless the gradient tells that it exceeds the goal by far."""
        problem = self.problem
        residual = self.gradient[:-1]
        if problem.alpha == 0 or np.sum(residual**2) / (2 * problem.alpha) > 2 * goal:
            return
        W = self.W.astype(problem.X.dtype).astype(np.float64)
        self.passes += 1
        _, self.gap = certificate(problem, W, None, self.objective.sums(self.gradient))


def _largest(gradient, unit):
    return float(np.abs(gradient * unit).max())


class _Objective:
    """The objective of a problem with its derivatives at the last W that was evaluated."""

    def __init__(self, problem, owner):
        self.problem, self.owner = problem, owner
        self.n = problem.X.shape[0]
        self.share = self.n / owner.problem.X.shape[0]
        self.decay = np.append(np.full(problem.X.shape[1], problem.alpha), 0.0)[:, None]
        self.fitted = np.append(np.ones(problem.X.shape[1]), float(problem.fit_intercept))[:, None]
        self.table = np.empty((self.n, problem.k), problem.X.dtype)
        self.rounding = float(np.finfo(problem.X.dtype).eps)
        self.divide = None
        self.full = False

    def value_and_gradient(self, W, remember=True):
        """Return the objective and its gradient at W; remember the curvature there."""
        gradient = np.empty(W.shape)
        table = self.table if remember else None
        loss, _ = self.problem.full_pass(Kind.LOSS, W, gradient, table)
        self.owner.passes += self.share
        value = loss + self.problem.penalty(W)
        return value if np.isfinite(value) else np.inf, gradient * self.fitted + self.decay * W

    def product(self, v):
        """Return the Hessian times v."""
        out = np.empty(v.shape)
        self.problem.full_pass(Kind.PRODUCT, v, out, self.table)
        self.owner.passes += self.share
        return out * self.fitted + self.decay * v

    def sums(self, gradient):
        """Return the weighted sums of the probabilities, as `certificate` takes them."""
        problem = self.problem
        sums = problem.masses[0] + gradient[-1]
        if problem.sigmoid or not problem.missing.any():
            return sums
        weights = np.where(problem.missing, 0.0, problem.weights)
        return np.vstack([sums, weights @ self.table])

    def preconditioner(self, rng, products):
        """Return the function that divides by an approximation of the Hessian."""
        p, k = self.problem.X.shape[1], self.problem.k
        self.full = self.full or (products >= MANY_PRODUCTS and p * k <= FULL_SIZE)
        many = 10 * p if not self.full else 25 * p * k
        size = min(self.n, max(GRAM_ROWS, many))
        rows = slice(None) if size == self.n else np.sort(rng.choice(self.n, size, replace=False))
        curvature = self._row_curvature(rows)  # (rows, k), of weighted rows
        weight = np.maximum(self._row_curvature(slice(None)).sum(axis=0, dtype=np.float64), 1e-300)
        X = self.problem.X[rows]
        if p > GRAM_SIZE:
            divide = self._diagonal(X, curvature, self.n / size)
        else:
            X = X.toarray() if sparse.issparse(X) else X - self.problem.centre_in_dtype
            grow = self.n / size
            build = self._whole if self.full else self._gram
            divide = build(X, rows, curvature, grow)
        softmax = not self.problem.sigmoid

        def apply(r):
            if softmax:
                r = r - r.mean(axis=1, keepdims=True)
            last = r[-1] / weight * self.fitted[-1]
            z = np.vstack([divide(r[:-1]), last])
            return z - z.mean(axis=1, keepdims=True) if softmax else z

        return apply

    def _row_curvature(self, rows):
        table = self.table[rows]
        if self.problem.sigmoid:
            return table
        weights = self.problem.weights[rows].astype(table.dtype)[:, None]
        return weights * table * (1 - table)

    @property
    def unit(self):
        """1 over the scale of each column, 1 for the intercept (p + 1, 1)."""
        if not hasattr(self, "_unit"):
            problem = self.problem
            X, weights = problem.X, problem.weights / problem.weights.sum()
            if sparse.issparse(X):
                square = np.asarray(X.multiply(X).T @ weights).ravel().astype(np.float64)
            else:
                square = np.zeros(X.shape[1])
                for first in range(0, self.n, 4096):
                    part = X[first : first + 4096] - problem.centre_in_dtype
                    square += np.einsum(
                        "ij,ij,i->j", part, part, weights[first : first + 4096], dtype=np.float64
                    )
            square = square + 4 * problem.alpha
            self._unit = np.append(1 / np.sqrt(np.where(square > 0, square, 1.0)), 1.0)[:, None]
        return self._unit

    def _diagonal(self, X, curvature, grow):
        squares = X.multiply(X) if sparse.issparse(X) else X**2
        diagonal = grow * np.asarray(squares.T @ curvature, dtype=np.float64) + self.problem.alpha
        diagonal = np.maximum(diagonal, 1e-12 * diagonal.max())
        return lambda r: r / diagonal

    def _gram(self, X, rows, curvature, grow):
        weight = grow * curvature.mean(axis=1)
        A = _weighted_gram(X, weight)
        A[np.diag_indices_from(A)] += self.problem.alpha
        if grow > 1:
            reach = np.abs(X).max(axis=0).astype(np.float64) ** 2
            _damp(A, len(X), float(weight.sum()) * reach / (9 * X.shape[1]))
        factor, d = _factor(A)
        return lambda r: linalg.cho_solve(factor, r * d[:, None], check_finite=False) * d[:, None]

    def _whole(self, X, rows, curvature, grow):
        m, p = X.shape
        k = self.problem.k
        H = np.zeros((p * k, p * k))
        if self.problem.sigmoid:
            diagonal = grow * curvature
        else:
            weights = grow * self.problem.weights[rows].astype(X.dtype)[:, None]
            proba = self.table[rows]
            diagonal = weights * proba
            part = ((np.sqrt(weights) * proba)[:, :, None] * X[:, None, :]).reshape(m, -1)
            H -= part.T @ part
        for c in range(k):
            H[c * p : c * p + p, c * p : c * p + p] += _weighted_gram(X, diagonal[:, c])
        H[np.diag_indices_from(H)] += self.problem.alpha
        if grow > 1:
            _damp(H, m, 0.0)
        if not self.problem.sigmoid:  # curvature for the equal shift of all classes, which has none
            for j in range(p):
                H[j::p, j::p] += H[j::p, j::p].diagonal().max() / k
        factor, d = _factor(H)

        def divide(r):
            z = linalg.cho_solve(factor, r.T.ravel() * d, check_finite=False) * d
            return z.reshape(k, p).T

        return divide


def _weighted_gram(X, weight):
    Z = X * np.sqrt(np.maximum(weight, 0))[:, None].astype(X.dtype)
    return (Z.T @ Z).astype(np.float64)


def _damp(A, rows, more):
    """Shrink a matrix of few rows to its diagonal, and raise that by `more`."""
    share = 0.5 * len(A) / (rows + len(A))
    diagonal = A.diagonal().copy()
    A *= 1 - share
    A[np.diag_indices_from(A)] = diagonal + more


def _factor(A):
    """Return a Cholesky factor of A with diagonal 1, and the scale d: A is destroyed."""
    diagonal = A.diagonal()
    d = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    A *= d[:, None] * d
    A[np.diag_indices_from(A)] = 1.0
    ridge = 1e-12
    while True:
        B = A.copy()
        B[np.diag_indices_from(B)] += ridge
        try:
            return linalg.cho_factor(B, lower=True, overwrite_a=True, check_finite=False), d
        except linalg.LinAlgError:
            ridge *= 100
