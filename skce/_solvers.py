"""The stochastic phase and the polish that may follow it; what "auto" chooses."""

import numpy as np
from scipy import linalg, optimize, sparse

from skce import _kernels, _sgd
from skce.losses import sigmoid, softmax
from skce.optim import Moments, constant, smoothness

__all__ = ["SGD", "polish", "polishes"]

AVERAGE_POWER = 3  # iterates enter the average with weights growing like step**3
POLISH_SIZE = 1e7  # n * p * K up to which "auto" polishes
NEWTON_SIZE = 1000  # p * K up to which the polish is Newton's method
GRADIENT_TOLERANCE = 1e-10
MOST_METRIC = 1e30  # finite in float32
ROW_CURVATURE = 0.25  # of the loss of one row in one logit, at most
RULES = {"sgd": _sgd.Rule.SGD, "adagrad": _sgd.Rule.ADAGRAD, "adam": _sgd.Rule.ADAM}
STATES = {_sgd.Rule.SGD: 0, _sgd.Rule.MOMENTUM: 1, _sgd.Rule.ADAGRAD: 1, _sgd.Rule.ADAM: 2}
FIRST_STEP = {_sgd.Rule.ADAGRAD: 0.5, _sgd.Rule.ADAM: 0.02}  # per standard deviation of a column


class SGD:
    """State of stochastic gradient descent; it outlives a call, so that `partial_fit` goes on.

    With ``learning_rate="auto"`` steps are taken in the diagonal metric of the (dense: centred)
    columns: 1 over the smoothness of a batch's loss, that is curvature * lambda + norm / (4 b),
    lambda the largest eigenvalue of the second moments, norm the rest of a row's mean square and
    b the rows (after Gower et al., 2019, "SGD: General analysis and improved rates"). `reduction`
    falls when the loss stalls. The result is the average of the iterates. Any other learning rate
    means the textbook update.
    """

    def __init__(self, params, p, k, dtype):
        self.params = params
        self.rule = RULES[params["solver"]]
        if self.rule == _sgd.Rule.SGD and params["momentum"] > 0:
            self.rule = _sgd.Rule.MOMENTUM
        self.auto = params["learning_rate"] == "auto"
        self.W = np.zeros((p + 1, k), dtype)
        self.state = np.zeros((STATES[self.rule], p + 1, k), dtype)
        self.centre = np.zeros(p)
        self.metric = np.append(np.ones(p), params["fit_intercept"])
        averaging = self.auto if params["average"] == "auto" else params["average"]
        self.average = self.W.copy() if averaging else None
        self.moments = Moments(p) if self.auto else None
        self.first_step = 1.0
        self.reduction = 1.0
        self.smoothness = 0.0
        self.steps = self.sweeps = 0

    def start_from(self, coef, intercept):
        """Begin at coef (K, p) and intercept (K,)."""
        for W in self._iterates():
            W[:-1] = coef.T
            W[-1] = intercept + coef @ self.centre

    def prepare(self, X, weights, curvature, rng):
        """Learn the scale of X, and with it the metric and the step size, unless they are given."""
        if not self.auto:
            return
        self.moments.update(X, weights, rng)
        centre = np.zeros(X.shape[1])
        # where the penalty's curvature exceeds the loss's it sets the scale
        scale = self.moments.scale() + self.params["alpha"] / curvature
        if self.params["fit_intercept"] and not sparse.issparse(X):
            centre = self.moments.mean.copy()
        else:
            scale = scale + self.moments.mean**2
        for W in self._iterates():  # the same function of the uncentred columns as before
            W[-1] += (centre - self.centre) @ W[:-1]
        self.centre = centre
        if self.rule in FIRST_STEP:
            self.metric[:-1] = np.minimum(1 / np.sqrt(scale), MOST_METRIC)
            self.first_step = FIRST_STEP[self.rule]
            return
        self.metric[:-1] = np.minimum(1 / scale, MOST_METRIC)
        batch = self._batch_rows(X.shape[0], sparse.issparse(X))
        largest, rest = smoothness(X, weights, self.centre, self.metric[:-1], rng)
        found = curvature * largest + ROW_CURVATURE * rest / batch
        self.smoothness = max(found, (self.smoothness + found) / 2)
        self.first_step = (1 - self.params["momentum"]) / self.smoothness

    def run_pass(self, problem, order, limit=np.inf):
        """Run over the rows `order` once; return the sum of their weighted losses.

        A pass that overflows or whose loss exceeds limit is undone, and returns inf; averages
        and moments then start anew.
        """
        before = self.W.copy()
        batch = self._batch_rows(len(order), problem.X.sparse)
        n_steps = -(-len(order) // batch)
        lazy = self._lazy(problem.X, batch, n_steps)
        numbers = np.arange(1, n_steps + 1)
        sweeps = self.sweeps + np.cumsum((numbers % lazy == 0) | (numbers == n_steps))
        dtype = self.W.dtype
        loss = _sgd.sgd_epoch(
            problem,
            order,
            batch,
            self._step_sizes(n_steps),
            self.W,
            self.centre.astype(dtype) if self.centre.any() else None,
            self.metric.astype(dtype),
            self.params["alpha"],
            self.rule,
            self.params["momentum"],
            self.state,
            self.steps,
            self.average,
            (AVERAGE_POWER + 1) / (sweeps + AVERAGE_POWER),
            lazy,
        )
        if not (loss <= limit and np.isfinite(self.W).all()):
            for W in self._iterates():
                W[:] = before
            self.state[:] = 0
            self.sweeps = 0
            return np.inf
        self.steps += n_steps
        self.sweeps = int(sweeps[-1])
        return loss

    def penalty(self):
        """Return the penalty at the current weights."""
        return self.params["alpha"] / 2 * float(np.sum(np.square(self.W[:-1], dtype=np.float64)))

    def result(self):
        """Return coef (K, p) and intercept (K,)."""
        W = self.W if self.average is None else self.average
        coef = np.ascontiguousarray(W[:-1].T)
        return coef, (W[-1] - coef @ self.centre).astype(W.dtype)

    def _iterates(self):
        return [self.W] if self.average is None else [self.W, self.average]

    def _batch_rows(self, n, is_sparse):
        """Return the rows of a step: "auto" makes about 100 steps a pass, of 16 to 256 rows."""
        if self.params["batch_size"] != "auto":
            return min(self.params["batch_size"], n)
        return int(np.clip(n // 100, 16, 64 if is_sparse else 256))

    def _lazy(self, X, batch, n_steps):
        """Return the steps between sweeps over W, which should cost less than the steps."""
        if not X.sparse or self.rule != _sgd.Rule.SGD:
            return 1
        touched = max(X.nnz / X.shape[0] * batch, 1)
        return max(1, min(int(2 * X.shape[1] / touched), n_steps // 4))

    def _step_sizes(self, n_steps):
        if self.auto:
            return np.full(n_steps, self.first_step * self.reduction)
        rate = self.params["learning_rate"]
        schedule = rate if callable(rate) else constant(rate)
        steps = np.asarray(schedule(self.steps + np.arange(n_steps)), dtype=np.float64)
        if steps.shape != (n_steps,) or not (np.isfinite(steps).all() and (steps >= 0).all()):
            raise ValueError(
                "learning_rate must return one finite step size, not negative, for each step "
                f"number, got {steps!r}."
            )
        return steps


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
            variance = self.weights @ (self.X - mean) ** 2
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
        losses = np.empty(len(residuals))
        _kernels.loss_and_residuals(
            self.kind,
            residuals,
            self.labels,
            self.targets,
            self.pos_weight,
            self.weights,
            self.smoothing,
            losses,
            1,
        )
        total = residuals.sum(axis=0)
        gradient = (self.X.T @ residuals - np.outer(self.centre, total)) / self.scale[:, None]
        gradient += self.decay * V[:-1]
        value = losses.sum() + 0.5 * np.sum(self.decay * V[:-1] ** 2)
        return value, np.vstack([gradient, total * self.fit_intercept])

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
    """Minimise the objective from coef, intercept by Newton's method or L-BFGS.

    Ends when the largest entry of the gradient, in standardised coordinates, is at most 1e-10 of
    what it is at zero, or when rounding admits no more progress.

    Returns
    -------
    coef, intercept : ndarray
        The minimiser.
    curve : list of float
        Objective after each evaluation that improved it.
    evaluations : int
        Evaluations of objective and gradient.
    bounded : bool
        Whether max_evaluations ended the search.
    """
    V = objective.to_scaled(coef.astype(np.float64), intercept.astype(np.float64))
    if objective.kind != _kernels.Loss.SIGMOID:
        V -= V.mean(axis=1, keepdims=True)
    at_zero = np.abs(objective.value_and_grad(np.zeros_like(V))[1]).max()
    goal = GRADIENT_TOLERANCE * at_zero
    method = newton if (V.shape[0] - 1) * V.shape[1] <= NEWTON_SIZE else lbfgs
    V, curve, evaluations, bounded = method(objective, V, goal, max_evaluations)
    return *objective.from_scaled(V), curve, evaluations, bounded


def newton(objective, V, goal, max_evaluations):
    """Newton's method with backtracking and, where the Hessian is singular, a growing ridge."""
    value, gradient = objective.value_and_grad(V)
    curve, evaluations, ridge = [value], 1, 0.0
    while np.abs(gradient).max() > goal:
        H = objective.hessian(V)
        diagonal = np.diag_indices(len(H))
        H[diagonal] *= 1 + ridge
        H[diagonal] += np.finfo(float).tiny
        try:
            step = linalg.cho_solve(linalg.cho_factor(H), gradient.ravel()).reshape(V.shape)
        except linalg.LinAlgError:
            ridge = max(10 * ridge, 1e-12)
            continue
        slope = np.sum(step * gradient)
        length, improved = 1.0, False
        while evaluations < max_evaluations and length > 1e-10:
            trial = objective.value_and_grad(V - length * step)
            evaluations += 1
            # near the optimum the decrease is below rounding: there the gradient decides
            close = trial[0] <= value + 1e-12 * abs(value) and slope < 1e-9 * abs(value)
            if trial[0] <= value - 1e-4 * length * slope or (
                close and np.abs(trial[1]).max() < 0.9 * np.abs(gradient).max()
            ):
                V, (value, gradient), improved = V - length * step, trial, True
                break
            length /= 2
        if not improved:
            return V, curve, evaluations, evaluations >= max_evaluations
        ridge /= 10
        curve.append(value)
    return V, curve, evaluations, False


def lbfgs(objective, V, goal, max_evaluations):
    """SciPy's L-BFGS-B."""
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
    return found.x.reshape(V.shape), curve or [float(found.fun)], found.nfev, found.status == 1
