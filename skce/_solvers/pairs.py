"""The inverse Hessian that steps of L-BFGS tell, and what it estimates to be left to fall."""

import numpy as np
from scipy import linalg

from skce._solvers.rounding import ROUNDING

__all__ = ["Pairs"]

# Least and most pairs.
MEMORY = (10, 60)  # 15 at most: covtype_scaled, 60,000 rows, 1.30; 10: covtype 1.09, mnist 1.06
MEMORY_SIZE = 1 << 21  # numbers that all of them may hold
# Most inverse curvature where no pair has been: beyond 2 rounding there grows from step to step.
MOST_SCALE = 1.5  # no bound: ldl_movie 1.09, digits 1.05
# Share of the pairs, the flattest, that say nothing of what none has met.
OUTLIERS = 0.05  # 0: covtype and segment 1.09


class Pairs:
    """Pairs of steps s and changes y of the gradient, and the inverse Hessian that they tell.

    In the compact form of Byrd, Nocedal and Schnabel (1994), "Representations of quasi-Newton
    matrices and their use in limited memory methods", theorem 2.2: with the columns S and Y,
    R the upper triangle of S'Y, D its diagonal, u = R^-1 S'g and the rest r = g - Y u, it is

        H g = scale * r + S R^-T (D u - scale * Y'r),     g'H g = u'D u + scale * |r|^2.

    The rest is what no pair has met; `scale` is the curvature of the last pair there, and
    `cautious_scale` the least curvature of all pairs (both inverted).
    """

    def __init__(self, size):
        self.most = min(size, int(np.clip(MEMORY_SIZE // size, *MEMORY)))
        self.S, self.Y = np.empty((2, self.most, size))
        self.SY, self.inverse = np.zeros((self.most, self.most)), np.ones(self.most)
        self.order = np.zeros(0, np.intp)  # places of the pairs, the oldest first
        self.scale = self.cautious_scale = 1.0

    def add(self, s, y):
        """Take a pair for the oldest one, unless rounding hides its curvature."""
        sy, ss, yy = float(s @ y), float(s @ s), float(y @ y)
        if not _is_curved(sy, ss, yy):
            return
        used = len(self.order)
        if used < self.most:
            self.order, used = np.arange(used + 1), used + 1
        else:
            self.order = np.concatenate([self.order[1:], self.order[:1]])
        place = self.order[-1]
        self.S[place], self.Y[place] = s, y
        self.SY[:used, place] = self.S[:used] @ y
        self.inverse[place] = ss / sy
        self._tell_scales()

    def take(self, S, Y):
        """Take these pairs (m, size) for all, the oldest first, but for such ones."""
        sy, ss, yy = (np.einsum("ij,ij->i", A, B) for A, B in ((S, Y), (S, S), (Y, Y)))
        good = _is_curved(sy, ss, yy)
        used = np.count_nonzero(good)
        self.order = np.arange(used)
        self.S[:used], self.Y[:used] = S[good], Y[good]
        self.SY[:used, :used] = self.S[:used] @ self.Y[:used].T
        self.inverse[:used] = ss[good] / sy[good]
        if used:
            self._tell_scales()

    def _tell_scales(self):
        last, used = self.order[-1], len(self.order)
        y = self.Y[last]
        self.scale = min(self.SY[last, last] / float(y @ y), MOST_SCALE)
        flattest = np.sort(self.inverse[:used])[-1 - int(OUTLIERS * used)]
        self.cautious_scale = max(1.0, float(flattest))

    def divide(self, g):
        """Return H g, and the square of what no pair has met of g."""
        order, used = self.order, len(self.order)
        if not used:
            return g * self.scale, float(g @ g)
        S, Y, R = self.S[:used], self.Y[:used], self.SY[order[:, None], order]
        both = np.empty((2, used))
        both[0, order] = u = linalg.blas.dtrsv(R, (S @ g)[order])
        rest = g - both[0] @ Y
        v = R.diagonal() * u - self.scale * (Y @ rest)[order]
        both[1, order] = linalg.blas.dtrsv(R, v, trans=1)
        return self.scale * rest + both[1] @ S, float(rest @ rest)

    def estimate(self, product, unmet, scale=0.0):
        """Return Newton's decrement of g'H g and |r|^2, with `cautious_scale` for the rest."""
        return (product + max(self.cautious_scale - self.scale, scale - self.scale, 0) * unmet) / 2


def _is_curved(sy, ss, yy):
    """Tell where rounding does not hide the curvature of pairs, of their products."""
    return (ROUNDING * np.sqrt(ss * yy) < sy) & (sy < np.inf)
