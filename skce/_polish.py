"""The polish of small problems: Newton's method and L-BFGS on the fused kernels."""

from functools import partial

import numpy as np
from scipy import linalg, optimize, sparse
from scipy.sparse import linalg as linalg_sparse

from skce import _kernels, _parallel
from skce._arrays import check_threads
from skce.losses import sigmoid, softmax

__all__ = ["Objective", "polish", "polishes"]

POLISH_SIZE = 1e7  # n * p * K up to which "auto" polishes
NEWTON_SIZE = 1000  # p * K up to which the polish is Newton's method
GRADIENT_TOLERANCE = 1e-10
ROUNDING_TOLERANCE = 1e-6  # a gradient that rounding may leave


def polishes(solver, X, k):
    """Tell whether "auto" goes on to the polish: n * p * K is small."""
    return solver == "auto" and X.shape[0] * X.shape[1] * k <= POLISH_SIZE


class Objective:
    """The objective in double precision and standardised coordinates z = (x - centre) / scale.

    Its argument V (p + 1, K) holds the weights of z and the intercept. CSR is scaled only. Rows
    are weighted so that the losses sum to their weighted mean.
    """

    def __init__(self, X, kind, targets, weights, pos_weight, smoothing, alpha, fit_intercept):
        self.X = X.astype(np.float64, copy=False)
        self.kind, self.smoothing = kind, smoothing
        self.labels = None if sparse.issparse(targets) else targets
        self.targets = None if self.labels is not None else targets.toarray().astype(np.float64)
        self.weights = weights / weights.sum()
        self.pos_weight = None if pos_weight is None else pos_weight.astype(np.float64)
        self.fit_intercept = fit_intercept
        if sparse.issparse(X):
            mean = np.zeros(X.shape[1])
            variance = np.asarray(self.X.multiply(self.X).T @ self.weights).ravel()
        else:
            mean = self.weights @ self.X if fit_intercept else np.zeros(X.shape[1])
            with np.errstate(over="ignore"):
                variance = np.minimum(self.weights @ (self.X - mean) ** 2, 1e300)
        # a constant column has the variance of its rounding; 4 is one over the sigmoid's curvature
        variance = np.where(variance > (1e-13 * mean) ** 2, variance, 0.0) + 4 * alpha
        self.centre, self.scale = mean, np.sqrt(np.where(variance > 0, variance, 1.0))
        self.decay = alpha / self.scale[:, None] ** 2

    def to_scaled(self, coef, intercept):
        """Return V for coef (K, p) and intercept (K,)."""
        return np.vstack([coef.T * self.scale[:, None], intercept + coef @ self.centre])

    def from_scaled(self, V):
        """Return coef and intercept."""
        coef = np.ascontiguousarray((V[:-1] / self.scale[:, None]).T)
        return coef, V[-1] - coef @ self.centre

    def logits(self, V):
        """Return the logits (n, K)."""
        coef, intercept = self.from_scaled(V)
        return np.ascontiguousarray(self.X @ coef.T + intercept)

    def value_and_grad(self, V):
        """Return the objective and its gradient (p + 1, K)."""
        residuals = self.logits(V)
        loss = _parallel.loss_and_residuals(
            self.kind,
            residuals,
            self.labels,
            self.targets,
            self.pos_weight,
            self.weights,
            1.0,
            self.smoothing,
            residuals,
            None,
            check_threads(None),
        )
        value = loss + 0.5 * np.sum(self.decay * V[:-1] ** 2)
        return value, self._to_gradient(residuals, V)

    def hessian(self, V):
        """Return the Hessian ((p + 1) K, (p + 1) K).

        Directions without curvature get the curvature 1: an intercept that is not fitted, and
        the equal shift of all classes of a softmax, along which the gradient is zero.
        """
        q, k = V.shape
        H = np.zeros((q * k, q * k))
        logits = self.logits(V)
        for first in range(0, len(logits), 256):
            rows = slice(first, first + 256)
            X = self.X[rows].toarray() if sparse.issparse(self.X) else self.X[rows]
            intercept = np.full(len(X), float(self.fit_intercept))
            Z = np.column_stack([(X - self.centre) / self.scale, intercept])
            diagonal, outer = self._curvature(logits[rows], rows)
            for c in range(k):
                H[c::k, c::k] += (Z * diagonal[:, c, None]).T @ Z
            if outer is not None:
                part = (Z[:, :, None] * outer[:, None, :]).reshape(len(Z), -1)
                H -= part.T @ part
        H[np.diag_indices(q * k)] += np.append(np.repeat(self.decay, k), np.zeros(k))
        H[-k:, -k:] += (not self.fit_intercept) * np.eye(k)
        if self.kind != _kernels.Loss.SIGMOID:
            for j in range(0, q * k, k):
                H[j : j + k, j : j + k] += 1 / k
        return H

    def hessian_product(self, V):
        """Return the function that multiplies the Hessian at V with an array of V's shape."""
        diagonal, outer = self._curvature(self.logits(V), slice(None))

        def product(v):
            change = self.logits(v)
            residuals = diagonal * change
            if outer is not None:
                residuals -= outer * np.sum(outer * change, axis=1, keepdims=True)
            return self._to_gradient(residuals, v)

        return product

    def _to_gradient(self, residuals, V):
        """Return the gradient (p + 1, K) of what has these residuals, and of the penalty at V."""
        total = residuals.sum(axis=0)
        gradient = (self.X.T @ residuals - np.outer(self.centre, total)) / self.scale[:, None]
        return np.vstack([gradient + self.decay * V[:-1], total * self.fit_intercept])

    def _curvature(self, logits, rows):
        """Return D and U, the Hessian of row i in its logits being diag(D_i) - U_i U_iT."""
        weights = self.weights[rows, None]
        targets = None if self.targets is None else self.targets[rows]
        if self.kind == _kernels.Loss.SIGMOID:
            keep = (1 - self.smoothing) * targets + self.smoothing / 2
            mass = 1 - keep + keep * (1 if self.pos_weight is None else self.pos_weight)
            return weights * np.nan_to_num(mass) * sigmoid(logits) * sigmoid(-logits), None
        mass = 1.0
        if targets is not None:
            logits = np.where(np.isnan(targets), -np.inf, logits)
            mass = np.nansum(targets, axis=1, keepdims=True)
            if self.kind == _kernels.Loss.MULTILABEL_SOFTMAX:
                observed = (np.nan_to_num(targets) != 0).sum(axis=1, keepdims=True)
                mass = mass / np.maximum(observed, 1)
        weights = weights * mass
        proba = np.where(weights > 0, softmax(logits), 0.0)
        return weights * proba, np.sqrt(weights) * proba


def polish(objective, coef, intercept, max_evaluations):
    """Minimise the objective from coef, intercept, or from zero if that is better.

    Newton's method if p * K is small, else, or where that gets stuck, L-BFGS and then Newton's
    method by conjugate gradients. Ends when the largest entry of the gradient, in standardised
    coordinates, is at most 1e-10 of what it is at zero, or when rounding admits no more progress.

    Returns
    -------
    coef, intercept : ndarray
        The minimiser.
    curve : list of float
        Objective after each iteration.
    evaluations : int
        Evaluations of objective and gradient, or products with the Hessian.
    ended : str or None
        What ended the search early.
    """
    V = objective.to_scaled(coef.astype(np.float64), intercept.astype(np.float64))
    if objective.kind != _kernels.Loss.SIGMOID:
        V -= V.mean(axis=1, keepdims=True)
    zero = np.zeros_like(V)
    at_zero, gradient = objective.value_and_grad(zero)
    unit = max(np.abs(gradient).max(), ROUNDING_TOLERANCE)  # zero may be the optimum
    if not objective.value_and_grad(V)[0] <= at_zero:
        V = zero
    methods = [lbfgs, partial(newton, direction=conjugate_direction)]
    if (V.shape[0] - 1) * V.shape[1] <= NEWTON_SIZE:
        methods.insert(0, partial(newton, direction=cholesky_direction))
    curve, evaluations, steepest = [], 0, np.inf
    for method in methods:
        left = max_evaluations - evaluations
        V, iterations, used, steepest = method(objective, V, GRADIENT_TOLERANCE * unit, left)
        curve += iterations
        evaluations += used
        done = GRADIENT_TOLERANCE if method is lbfgs else ROUNDING_TOLERANCE
        if steepest <= done * unit or evaluations >= max_evaluations:
            break
    ended = None
    if evaluations >= max_evaluations and steepest > GRADIENT_TOLERANCE * unit:
        ended = f"{max_evaluations} evaluations (10 * max_iter) were made"
    elif steepest > ROUNDING_TOLERANCE * unit:
        ended = f"rounding left a relative gradient of {steepest / unit:.1g}"
    return *objective.from_scaled(V), curve, evaluations, ended


def newton(objective, V, goal, max_evaluations, *, direction):
    """Newton's method with backtracking, the step from `direction`."""
    value, gradient = objective.value_and_grad(V)
    curve, evaluations, length = [float(value)], 1, 1.0
    while np.abs(gradient).max() > goal and evaluations < max_evaluations and length > 1e-10:
        step, products = direction(objective, V, gradient, max_evaluations - evaluations)
        evaluations += products
        slope, length = np.sum(step * gradient), 1.0
        while evaluations < max_evaluations and length > 1e-10:
            new_value, new_gradient = objective.value_and_grad(V - length * step)
            evaluations += 1
            fall = new_value <= value - 1e-4 * length * slope
            if slope < 1e-9 * abs(value):  # near the optimum rounding hides the fall
                smaller = np.abs(new_gradient).max() <= 0.5 * np.abs(gradient).max()
                level = smaller and new_value <= value + 1e-12 * abs(value)
                fall = level or (fall and slope > 1e-12 * abs(value))
            if fall:
                V, value, gradient = V - length * step, new_value, new_gradient
                curve.append(float(value))
                break
            length /= 2
    return V, curve, evaluations, np.abs(gradient).max()


def cholesky_direction(objective, V, gradient, _):
    """Return the Newton step, with a ridge that grows until the Hessian can be factored."""
    H = objective.hessian(V)
    diagonal = np.diag(H).copy()
    ridge = 0.0
    while True:
        try:
            factor = linalg.cho_factor(H)
            return linalg.cho_solve(factor, gradient.ravel()).reshape(V.shape), 0
        except linalg.LinAlgError:
            ridge = max(10 * ridge, 1e-12)
            H[np.diag_indices(len(H))] = diagonal + ridge * np.maximum(diagonal, 1.0)


def conjugate_direction(objective, V, gradient, max_products):
    """Return the Newton step to a relative residual of 1e-3, by conjugate gradients."""
    product, count = objective.hessian_product(V), [0]

    def counted(v):
        count[0] += 1
        return product(v.reshape(V.shape)).ravel()

    size = gradient.size
    operator = linalg_sparse.LinearOperator((size, size), matvec=counted, dtype=np.float64)
    step, _ = linalg_sparse.cg(operator, gradient.ravel(), rtol=1e-3, maxiter=max(max_products, 1))
    return step.reshape(V.shape), count[0]


def lbfgs(objective, V, goal, max_evaluations):
    """SciPy's L-BFGS-B, until its line search no longer sees the objective fall."""
    curve = []

    def fun(v):
        value, gradient = objective.value_and_grad(v.reshape(V.shape))
        return value, gradient.ravel()

    found = optimize.minimize(
        fun,
        V.ravel(),
        jac=True,
        method="L-BFGS-B",
        callback=lambda intermediate_result: curve.append(float(intermediate_result.fun)),
        options={
            "maxfun": max_evaluations,
            "maxiter": max_evaluations,
            "gtol": goal,
            "ftol": 0,
            "maxcor": 20,
        },
    )
    return found.x.reshape(V.shape), curve, found.nfev, np.abs(found.jac).max()
