"""Newton's method and L-BFGS, where neither scale nor correlation of the columns matters.

1. L-BFGS works in the coordinates of a metric, from the start: many steps of one pass each. On many
   rows it begins on samples of them.
2. Newton's method by conjugate gradients follows, where the end is near or L-BFGS slow. A whole
   Hessian is damped as by Levenberg (1944) and Marquardt (1963) where steps had to be shortened.
"""

from typing import Any

import numpy as np
from scipy import optimize

from skce._objective import MANY_PRODUCTS, Objective

__all__ = ["NewtonCG", "lbfgs"]

MOST_PRODUCTS = 60
FORCING = (0.05, 0.3)  # least and most relative residual of a step
SMALLEST_STEP, NEAR_STEP = 1e-8, 0.1  # of Newton's; where rounding hides the fall
SUMMING = 1e-12  # relative error of sums in double
LEAST_DAMPING = (1e-10, 1e-3)  # below which there is none, and with which it begins
MOST_TRIALS = 6  # of other dampings in a step
MISLED, GOOD = 0.125, 0.375  # fall over -slope, half where the model is right: more, less damping
MEMORY = (10, 60)  # pairs of L-BFGS, as many as MEMORY_SIZE allows
MEMORY_SIZE = 1 << 21  # their numbers


def lbfgs(objective, metric, W, most, on_step):
    """Minimise by SciPy's L-BFGS-B in the coordinates of metric.

    Parameters
    ----------
    objective : Objective
        What to minimise.
    metric : Metric
        Coordinates.
    W : ndarray of shape (p + 1, k)
        Where to begin.
    most : int
        Most evaluations.
    on_step : callable
        Called with W, value and gradient of each iterate; returns True to stop.

    Returns
    -------
    W : ndarray of shape (p + 1, k)
        The last iterate.
    """
    last: dict[str, Any] = {}

    def value_and_gradient(u):
        V = metric.to_weights(u.reshape(W.shape))
        value, gradient = objective.value_and_gradient(V, remember=False)
        last.update(W=V, value=value, gradient=gradient)
        return min(value, 1e300), metric.to_gradient(gradient).ravel()

    def callback(intermediate_result):
        if last["value"] != intermediate_result.fun:
            value_and_gradient(intermediate_result.x)
        if on_step(last["W"], last["value"], last["gradient"]):
            raise StopIteration

    memory = int(np.clip(MEMORY_SIZE // W.size, *MEMORY))
    found = optimize.minimize(
        value_and_gradient,
        metric.to_coordinates(W).ravel(),
        jac=True,
        method="L-BFGS-B",
        callback=callback,
        options={"maxfun": most, "maxiter": most, "maxcor": memory, "ftol": 0, "gtol": 0},
    )
    return metric.to_weights(found.x.reshape(W.shape))


class NewtonCG:
    """Newton's method by preconditioned conjugate gradients.

    Parameters
    ----------
    problem : Canonical
        What to minimise.
    W : ndarray of shape (p + 1, k)
        Where to begin, in the centred columns.
    rng : RandomState
        Draws the rows of the preconditioner.
    exact : bool
        Whether steps come ever nearer to Newton's, for an optimum to the last digits.

    Attributes
    ----------
    W : ndarray of shape (p + 1, k)
        The iterate, in double.
    value : float
        Objective at W.
    passes : float
        Passes made, products with the Hessian included.
    gap : float
        Bound of the gap at W, inf where not known.
    decrement : float
        Fall of the objective that the last step promised.
    """

    name = "newton-cg"

    def __init__(self, problem, W, rng, *, exact=False):
        self.problem, self.rng, self.exact = problem, rng, exact
        # the equal shift of all classes of a softmax changes the penalty alone
        self.W = W if problem.sigmoid else W - W.mean(axis=1, keepdims=True)
        self.objective = Objective(problem)
        self.objective.full |= exact and self.objective.is_small
        self.value, self.gradient = self.objective.value_and_gradient(self.W)
        self.gap = self.decrement = np.inf
        self.found = None
        self.products, self.divide = 0, None

    @property
    def passes(self):
        """Passes made."""
        return self.objective.passes

    @property
    def damped(self):
        """Whether the next step is shorter than Newton's."""
        return self.objective.damping > 0

    def step(self):
        """Make one step; return False if no shorter step lowers the objective either."""
        for _ in range(MOST_TRIALS):
            if self._search(self._direction()) or self._search(-self.divide(self.gradient)):
                return True
            misled = self.decrement > abs(self.value)  # it promised more than there is
            if not self.objective.full or not (misled or self.damped):
                return False
            more = max(100 * self.objective.damping, LEAST_DAMPING[1])
            self.objective.damping, self.divide = more if misled else 0.0, None
        return False

    def _noise(self):
        """Return what rounding may change of the objective."""
        return max(4 * self.objective.rounding, SUMMING) * abs(self.value)

    def _search(self, direction):
        length, slope = 1.0, float(np.sum(self.gradient * direction))
        objective, near = self.objective, -slope < self._noise()
        self.gap = np.inf
        shortest = NEAR_STEP if near else SMALLEST_STEP
        while length > shortest and slope < 0:
            W = self.W + length * direction
            value, gradient = objective.value_and_gradient(W)
            fall = value <= self.value + 1e-4 * length * slope
            if near:
                fall = value <= self.value + self._noise() and (
                    objective.steepest(gradient) < 0.9 * objective.steepest(self.gradient)
                )
            if fall:
                self._damp(*(1, 1) if near else (length, (self.value - value) / -slope))
                self.W, self.value, self.gradient = W, value, gradient
                return True
            length /= 2
        return False

    def _damp(self, length, fall):
        """Adapt the damping of a whole Hessian to a step's length and its fall over -slope."""
        old = new = self.objective.damping
        if length < 1 or fall < MISLED:
            new = max((10 if length < 0.2 else 3) * old, LEAST_DAMPING[1])
        elif fall > GOOD:
            new = old / 10 if old > LEAST_DAMPING[0] else 0.0
        if new != old and self.objective.full:
            self.objective.damping, self.divide = new, None

    def _direction(self):
        """Return the step by conjugate gradients; set the fall of the objective it promises."""
        fresh = self.exact or self.products >= MANY_PRODUCTS
        if self.divide is None or fresh:
            self.divide = None  # one at a time
            self.divide = self.objective.preconditioner(self.rng, self.products, fresh)
        divide = self.divide
        if self.exact and self.objective.solves:
            x = divide(-self.gradient)
            self.decrement = -float(np.sum(self.gradient * x)) / 2
            return x
        x, r = np.zeros_like(self.W), -self.gradient
        z = divide(r)
        q, rz = z.copy(), float(np.sum(r * z))
        least = 1e-12 if self.exact else FORCING[0]
        expected = np.sqrt(max(rz, 0.0) / max(abs(self.value), 1e-300))
        goal = np.clip(expected, least, FORCING[1]) ** 2 * rz
        self.products = 0
        while self.products < MOST_PRODUCTS and rz > goal:
            Hq = self.objective.product(q)
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
        self.decrement = -float(np.sum(self.gradient * x)) / 2
        return x

    def relative_gradient(self):
        """The largest entry of the gradient in standardised columns, over what it was at zero."""
        if not hasattr(self, "_at_zero"):
            _, gradient = self.objective.value_and_gradient(np.zeros_like(self.W), remember=False)
            self._at_zero = max(self.objective.steepest(gradient), 1e-6)
        return self.objective.steepest(self.gradient) / self._at_zero

    def certify(self, goal):
        """Set `gap`, unless the gradient tells that it exceeds the goal by far."""
        if self.objective.bound(self.gradient) <= goal:
            self.found = self.objective.certified(self.W)
            self.gap = self.found[2]
