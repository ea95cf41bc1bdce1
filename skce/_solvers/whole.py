"""The whole Hessian as the preconditioner of L-BFGS, where the weights are few."""

import numpy as np

from skce._solvers.preconditioners import Preconditioner, inverse_root, told_apart
from skce._solvers.rounding import SUMMING, TINY
from skce._solvers.sums import hessian

__all__ = ["WholeHessian", "is_small"]

# Most weights, with the intercepts. Times of 0: iris and wine 1.4, breast_cancer 1.2, segment 2.1.
MOST_WEIGHTS = 150  # 250: satimage 2.2, satimage_scaled 3.4


class WholeHessian(Preconditioner):
    """The Hessian at the W that an objective remembers, plus the penalty, factored.

    With the constant among the columns x of a row of weight w and probabilities q it is, of a
    softmax, the sum of w xx' (x) (diag(q) - qq'); Böhning (1992), "Multinomial logistic
    regression algorithm". It is 0 where all classes shift alike, as gradients are: there it is
    given the mean of its diagonal.
    """

    def __init__(self, objective):
        problem = objective.problem
        k, self.shifts, self.flat, self.gains = problem.k, problem.k > 1, [], []
        A = problem.sum(hessian, objective.table)
        square = A.reshape(2 * (problem.X.shape[1] + 1, k))
        if not problem.fit_intercept:
            square[-1], square[:, :, -1] = 0, 0
            square[-1, :, -1] = np.eye(k)
        if self.shifts:
            shift = np.einsum("jcjc->j", square) / k**2
            blocks = np.einsum("jcjd->jcd", square)
            blocks += shift[:, None, None]
        scale, flat, _ = inverse_root(A, problem, k)
        self.C = A[None]
        if flat is None or not flat.size:
            return

        def told(V):
            products = []
            for W in V.T.reshape(-1, problem.X.shape[1] + 1, k):
                product = objective.product(W)
                product[:-1] -= problem.alpha * W[:-1]
                products.append(product.ravel())
            return V.T @ np.column_stack(products)

        self.flat = [(slice(None), *told_apart(flat, scale, problem, told, k))]
        self.gains = self._gains(None)

    def _columns(self, W):
        return W.reshape(-1, 1)


def is_small(problem):
    """Tell whether the whole Hessian is cheap, and does not vanish: not all rows have one class."""
    size = (problem.X.shape[1] + 1) * problem.k
    if problem.alpha == 0 or (problem.sigmoid and problem.k > 1) or size > MOST_WEIGHTS:
        return False
    shares = problem.target_sums / np.maximum(problem.label_weights, TINY)
    return bool((np.minimum(shares, 1 - shares) > SUMMING).any())
