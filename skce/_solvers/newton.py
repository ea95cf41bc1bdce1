"""Newton's direction by conjugate gradients, preconditioned by the pairs of L-BFGS.

1. The first direction is that of L-BFGS, which costs nothing.
2. Each product with the Hessian gives the step along the direction, the residual left, and a pair
   for L-BFGS (Morales and Nocedal, 2002, "Enriched methods for large-scale unconstrained
   optimization").
3. The residual, divided by the Hessian that the pairs tell, estimates what is left to fall; where
   that is a share of the goal, or after MOST_PRODUCTS, the direction is good enough.

Everything is in the coordinates of the preconditioner (Nocedal and Wright, 2006, "Numerical
optimization", algorithm 7.1).
"""

import numpy as np

from skce._solvers.stopping import SAFETY

__all__ = ["direction"]

# Share of the estimate below which products of few weights are rounding alone; 0: with two classes
LEFT = 1e-3  # the direction of test_newton_step_falls_by_its_decrement_near_the_optimum is noise
MOST_PRODUCTS = 10  # of one direction; 5: covtype_scaled 1.10; no bound: segment 1.13


def direction(engine, goal):
    """Return Newton's direction at the iterate of an `LBFGS`, and the pairs met on the way.

    There are none where the curvature is not positive.
    """
    preconditioner, pairs, shape = engine.preconditioner, engine.pairs, engine.W.shape
    x, r, q, rz = np.zeros_like(engine.g), -engine.g, engine.direction, 2 * engine.left
    found: list[tuple] = []
    estimate, flattest = engine.estimate, 0.0
    least = max(goal / SAFETY, LEFT * estimate)
    while not found or (estimate > least and len(found) < MOST_PRODUCTS):
        Q = preconditioner.to_weights(q.reshape(shape))
        Hq = preconditioner.to_gradient(engine.objective.product(Q)).ravel()
        curvature = float(q @ Hq)
        if not 0 < curvature < np.inf:
            break
        found.append((q, Hq))
        x = x + rz / curvature * q
        r = r - rz / curvature * Hq
        z, unmet = pairs.divide(r)
        rz, before = float(r @ z), rz
        flattest = max(flattest, float(q @ q) / curvature)
        estimate = pairs.estimate(rz, unmet, flattest)
        q = z + rz / before * q
    return x, found
