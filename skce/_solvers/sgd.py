"""The stochastic phase of a fit."""

import copy
import time

import numpy as np
from scipy import sparse

from skce._engine.passes import Kind, full_pass
from skce._engine.sgd import Rule, sgd_epoch
from skce._solvers.columns import Moments, smoothness
from skce.optim import constant

__all__ = ["SGD", "rounded_intercept", "run_epochs"]

MOST_MOVED = 1e-6  # of a logit, by rounding an intercept
AVERAGE_POWER = 3  # iterates enter the average with weights growing like step**3
MOST_METRIC = 1e30  # finite in float32
STALE_BEFORE_HALVING = 2
ROW_CURVATURE = 0.25  # of the loss of one row in one logit, at most
RULES = {"sgd": Rule.SGD, "adagrad": Rule.ADAGRAD, "adam": Rule.ADAM}
STATES = {Rule.SGD: 0, Rule.MOMENTUM: 1, Rule.ADAGRAD: 1, Rule.ADAM: 2}
FIRST_STEP = {Rule.ADAGRAD: 0.5, Rule.ADAM: 0.02}  # per standard deviation of a column


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
        if self.rule == Rule.SGD and params["momentum"] > 0:
            self.rule = Rule.MOMENTUM
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

    def copy(self):
        """Return a copy that shares no array that is written to."""
        twin = copy.copy(self)
        for name in ("W", "state", "centre", "metric", "average", "moments"):
            setattr(twin, name, copy.deepcopy(getattr(self, name)))
        return twin

    def start_from(self, coef, intercept):
        """Begin at coef (K, p) and intercept (K,)."""
        for W in self._iterates():
            W[:-1] = coef.T
            W[-1] = intercept + coef @ self.centre if self.params["fit_intercept"] else 0

    def prepare(self, X, weights, curvature, rng):
        """Learn the scale of X, and with it the metric and the step size, unless they are given."""
        if self.auto:
            with np.errstate(over="ignore", invalid="ignore"):  # such a pass will be undone
                self._prepare(X, weights, curvature, rng)

    def _prepare(self, X, weights, curvature, rng):
        self.moments.update(X, weights, rng)
        centre = np.zeros(X.shape[1])
        # where the penalty's curvature exceeds the loss's it sets the scale
        scale = self.moments.scale() + self.params["alpha"] / curvature
        if self.params["fit_intercept"] and not sparse.issparse(X):
            centre = self.moments.mean.astype(X.dtype).astype(np.float64)
        else:
            scale = scale + self.moments.mean**2
        for W in self._iterates():  # the same function of the uncentred columns as before
            W[-1] += (centre - self.centre) @ W[:-1]
        self.centre = centre
        if self.rule in FIRST_STEP:
            self.metric[:-1] = np.clip(1 / np.sqrt(scale), 1 / MOST_METRIC, MOST_METRIC)
            self.first_step = FIRST_STEP[self.rule]
            return
        self.metric[:-1] = np.clip(1 / scale, 1 / MOST_METRIC, MOST_METRIC)
        batch = self._batch_rows(X.shape[0], sparse.issparse(X))
        largest, rest = smoothness(X, weights, self.centre, self.metric[:-1], rng)
        found = curvature * largest + ROW_CURVATURE * rest / batch
        self.smoothness = max(found, (self.smoothness + found) / 2)
        self.first_step = (1 - self.params["momentum"]) / self.smoothness

    def run_pass(self, problem, order, limit=np.inf):
        """Run over the rows `order` once; return the sum of their weighted losses.

        A pass that overflows, or whose loss exceeds both limit and what it was at the start, is
        undone and returns inf: back to its start, or to zero if even that exceeds limit. Averages
        and moments then start anew.
        """
        before = self.W.copy()
        n_steps = self._n_steps(problem, order)
        lazy = self._lazy(problem.X, len(order), n_steps)
        numbers = np.arange(1, n_steps + 1)
        sweeps = self.sweeps + np.cumsum((numbers % lazy == 0) | (numbers == n_steps))
        blends = (AVERAGE_POWER + 1) / (sweeps + AVERAGE_POWER)
        loss, steps = self._epoch(problem, order, self._step_sizes(n_steps), self.W, blends, lazy)
        finite = np.isfinite(loss) and np.isfinite(self.W).all()
        if not (finite and loss <= limit):
            start = self.loss(problem, before)
            if not (finite and loss < start):
                for W in self._iterates():
                    W[:] = before if start <= limit else 0
                self.state[:] = 0
                self.sweeps = 0
                return np.inf
        self.steps = steps
        self.sweeps = int(sweeps[-1])
        return loss

    def loss(self, problem, W=None):
        """Return the sum of the weighted losses, at W or the result."""
        W = self._iterates()[-1] if W is None else W
        centre = self.centre.astype(W.dtype) if self.centre.any() else None
        unused = np.empty(W.shape)
        return full_pass(*(Kind.LOSS, problem, W, centre, unused, None, None, None, 0))[0]

    def _epoch(self, problem, order, steps, W, blends, lazy):
        """Call sgd_epoch."""
        dtype = W.dtype
        return sgd_epoch(
            problem,
            order,
            self._batch_rows(len(order), problem.X.sparse),
            steps,
            W,
            self.centre.astype(dtype) if self.centre.any() else None,
            self.metric.astype(dtype),
            self.params["alpha"],
            self.rule,
            self.params["momentum"],
            self.state,
            self.steps,
            self.average,
            blends,
            lazy,
        )

    @property
    def divergence(self):
        """What a fit that diverged says."""
        return f"the loss diverged with learning_rate={self.params['learning_rate']!r}"

    def penalty(self):
        """Return the penalty at the last iterate."""
        with np.errstate(over="ignore"):
            squares = np.square(self.W[:-1], dtype=np.float64).sum()
        return self.params["alpha"] / 2 * float(squares)

    def result(self):
        """Return coef (K, p) and intercept (K,)."""
        W = self._iterates()[-1]
        coef = np.ascontiguousarray(W[:-1].T)
        return coef, rounded_intercept(W[-1] - coef.astype(np.float64) @ self.centre, W.dtype)

    def _iterates(self):
        """Return the last iterate and, if there is one, the average: the last is the result."""
        return [self.W] if self.average is None else [self.W, self.average]

    def _batch_rows(self, n, is_sparse):
        """Return the rows of a step: "auto" makes about 100 steps a pass, of 16 to 256 rows."""
        if self.params["batch_size"] != "auto":
            return min(self.params["batch_size"], n)
        return int(np.clip(n // 100, 16, 64 if is_sparse else 256))

    def _n_steps(self, problem, order):
        return -(-len(order) // self._batch_rows(len(order), problem.X.sparse))

    def _lazy(self, X, n, n_steps):
        """Return the steps between sweeps over W, which should cost less than the steps."""
        if not X.sparse or self.rule != Rule.SGD:
            return 1
        touched = max(X.nnz / X.shape[0] * n / n_steps, 1)
        return max(1, min(int(2 * X.shape[1] / touched), n_steps // 4))

    def _step_sizes(self, n_steps):
        if self.auto:
            return np.full(n_steps, self.first_step * self.reduction)
        rate = self.params["learning_rate"]
        schedule = rate if callable(rate) else constant(rate)
        steps = np.asarray(schedule(self.steps + np.arange(n_steps)))
        numbers = steps.dtype.kind in "iuf"
        if steps.shape != (n_steps,) or not (numbers and np.all((steps >= 0) & (steps < np.inf))):
            raise ValueError(
                "learning_rate must return one finite step size, not negative, for each step "
                f"number, got {steps!r}."
            )
        return steps.astype(np.float64)


def rounded_intercept(intercept, dtype):
    """Return intercepts in dtype, in double where columns far from 0 make that move logits."""
    intercept = np.asarray(intercept, np.float64)
    rounded = intercept.astype(dtype)
    return rounded if np.abs(rounded - intercept).max(initial=0) <= MOST_MOVED else intercept


def run_epochs(sgd, problem, limit, rng, *, tol, max_iter, n_iter_no_change, verbose):
    """Run epochs until the loss stalls; return the loss curve, and why they ended otherwise."""
    n = problem.X.shape[0]
    curve, best, stale = [], np.inf, 0
    for epoch in range(max_iter):
        start = time.perf_counter()
        order = rng.permutation(n).astype(np.intp)
        loss = sgd.run_pass(problem, order, limit if sgd.auto else np.inf)
        curve.append(loss / n + sgd.penalty())
        if verbose:
            seconds = time.perf_counter() - start
            print(f"epoch {epoch + 1}: loss {curve[-1]:.6g}, {seconds:.3g} s")
        if loss == np.inf:  # this pass was undone
            if not sgd.auto:
                return curve, sgd.divergence
            sgd.reduction /= 4
        elif curve[-1] < best - tol * abs(best) or best == np.inf:
            best, stale = curve[-1], 0
        else:
            stale += 1
            if stale >= n_iter_no_change:
                return curve, sgd.divergence if loss > limit else None
            if sgd.auto and stale % STALE_BEFORE_HALVING == 0:
                sgd.reduction /= 2
    if loss > limit:
        return curve, sgd.divergence
    return curve, f"max_iter={max_iter} was reached"
