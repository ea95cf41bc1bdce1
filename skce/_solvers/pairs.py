"""The inverse Hessian that steps of L-BFGS tell, and what it estimates to be left to fall."""

from skce._engine.pairs import Ring
from skce._solvers.rounding import ROUNDING

__all__ = ["Pairs"]

# Least and most pairs.
MEMORY = (10, 60)  # 15 at most: covtype_scaled, 60,000 rows, 1.30; 10: covtype 1.09, mnist 1.06
MEMORY_SIZE = 1 << 21  # numbers that all of them may hold
# Most inverse curvature where no pair has been: beyond 2 rounding there grows from step to step.
MOST_SCALE = 1.5  # no bound: ldl_movie 1.09, digits 1.05
# Share of the pairs, the flattest, that say nothing of what none has met.
OUTLIERS = 0.05  # 0, of 20,000 rows: covtype 1.14, covtype_scaled 1.07


class Pairs(Ring):
    """Pairs of steps s and changes y of the gradient, and the inverse Hessian that they tell.

    In the compact form of Byrd, Nocedal and Schnabel (1994), "Representations of quasi-Newton
    matrices and their use in limited memory methods", theorem 2.2: with the columns S and Y,
    R the upper triangle of S'Y, D its diagonal, u = R^-1 S'g and the rest r = g - Y u, it is

        H g = scale * r + S R^-T (D u - scale * Y'r),     g'H g = u'D u + scale * |r|^2.

    The rest is what no pair has met; `scale` is the curvature of the last pair there, and
    `cautious_scale` the least curvature of all pairs and `flattest`, that of pairs before them in
    other coordinates (all inverted).
    """

    def __new__(cls, size, *_):
        """Make room for as many as MEMORY_SIZE allows."""
        most = max(MEMORY[0], min(MEMORY_SIZE // size, MEMORY[1]))
        return super().__new__(cls, min(size, most), size)

    def __init__(self, size, flattest=1.0, most_scale=MOST_SCALE):
        self.scale, self.most_scale = 1.0, most_scale
        self.flattest = self.cautious_scale = flattest

    def add(self, s, y):
        """Take a pair for the oldest one, unless rounding hides its curvature."""
        if self.put(s, y, ROUNDING):
            inverse = self.inverse[: self.used].copy()
            inverse.sort()
            self.scale = min(self.newest, self.most_scale)
            flattest = float(inverse[-1 - int(OUTLIERS * self.used)])
            self.cautious_scale = max(self.flattest, flattest)

    def divide(self, g):
        """Return H g, and the square of what no pair has met of g."""
        return self.multiply(g, self.scale)

    def estimate(self, product, unmet, scale=0.0):
        """Return Newton's decrement of g'H g and |r|^2, with `cautious_scale` for the rest."""
        return (product + max(self.cautious_scale - self.scale, scale - self.scale, 0) * unmet) / 2
