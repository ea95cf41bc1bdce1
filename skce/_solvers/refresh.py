"""When the preconditioner of L-BFGS is made anew, and of which rows."""

from skce._solvers.columns import rows_enough
from skce._solvers.preconditioners import Preconditioner, Unscaled, has_matrices
from skce._solvers.rounding import TINY
from skce._solvers.whole import WholeHessian, is_small

__all__ = ["REFRESH", "Refresh"]

# Least passes between two preconditioners.
REFRESH = 10  # 1: letter_scaled and segment 1.4 s; 20: satimage 1.8; one alone: digits 5.8
# Times as many to the one after it, but for the whole Hessian, with which segment then takes 1.29.
LONGER = 2  # 1: digits 1.2 s, at 1e-4/n 1.6 s; 1.5: 1.28, 1.0; covtype: all within 1.05
WEIGHTS_PER_PASS = 8  # so many make the whole Hessian as dear as a pass; 4: segment 1.15; 16: 1.25
# Share of the mean curvature of its class that a row is given at least, once steps bent much more
# than the preconditioner told.
LEAST_CURVATURE = 0.01  # 0: kddcup99 is at .098 after 85 passes, and not at .005 after 1000


class Refresh:
    """Makes a preconditioner anew once as many passes were made as that costs."""

    def __init__(self, problem, rng):
        X, self.problem, self.rng = problem.X, problem, rng
        self.n, p = problem.n_weighted, X.shape[1]
        self.for_each = has_matrices(problem)
        self.least = min(self.n, rows_enough(p))
        self.whole = is_small(problem)
        if self.whole:
            self.cost = (p + 1) * problem.k / WEIGHTS_PER_PASS
            self.wait = max(1.0, self.cost)
        else:
            # a row of CSR costs what its pairs of non-zeros do: kddcup99 2.5 passes, a9a 5.5
            width = min(p, 2 * X.nnz / X.shape[0]) if problem.is_sparse else p
            self.cost = width / (4 * (1 if self.for_each else problem.k))  # passes, of all rows
            self.wait = max(REFRESH, self.cost * self.least / max(self.n, 1))
        self.last = self.spent = self.least_curvature = 0.0

    def first(self, renewed):
        """Return a preconditioner of the curvature at the best constants, None for the Hessian.

        One that is to be renewed before the first step need not be made: with a penalty, flat
        directions are seen at any curvature. With one it is a diagonal where a matrix, one for
        all classes, costs more passes than lie before the next one: mnist, 1,000 rows, .73 of the
        time, 2,000 x 500 drawn, 10 classes, .65, 400 x 300, 2 classes, .44.
        """
        if self.whole:
            return None
        if renewed and self.problem.alpha:
            return Unscaled()
        drawn, k = self.rows(REFRESH), self.problem.k if self.for_each else 1
        dear = self.cost / k * drawn.number > REFRESH * self.n
        diagonal = bool(self.problem.alpha) and dear
        return Preconditioner(self.problem, drawn, diagonal=diagonal)

    def rows(self, passes):
        """Draw the rows of a preconditioner that may cost so many passes."""
        most = max(self.least, int(passes / max(self.cost, TINY) * self.n))
        return self.problem.draw(most, self.rng)

    def is_due(self, passes):
        """Tell whether so many passes are enough."""
        return passes - self.last >= self.wait

    def renew(self, engine, passes=None, stuck=False):
        """Give the engine a preconditioner of the curvature where it is, for so many passes.

        None is as many as were made since the last one. Where steps bend far more than the last
        preconditioner told, or lead nowhere, rows that are flat here are not taken for flat there.
        """
        if stuck or engine.pairs.scale < LEAST_CURVATURE:
            self.least_curvature = LEAST_CURVATURE
        passes = engine.passes - self.last if passes is None else passes
        engine.know()
        if self.whole:
            engine.renew(WholeHessian(engine.objective), exact=True)
            rows = self.n
        else:
            curvature = engine.objective.curvature(self.for_each, self.least_curvature)
            drawn, old = self.rows(passes), engine.preconditioner
            flat = None if old.is_diagonal else old.flat
            preconditioner = Preconditioner(self.problem, drawn, curvature, flat)
            of_all = drawn.rows is None and not self.least_curvature
            exact = of_all and self.problem.sigmoid and self.for_each
            engine.renew(preconditioner, exact)
            rows = drawn.number
            self.wait *= LONGER
        self.spent += self.cost * rows / max(self.n, 1)
        self.last = engine.passes

    def for_newton(self, engine):
        """Give the engine a preconditioner of the curvature alone, which estimates need.

        Where one direction did not end the fit, it is made anew for the next one once LONGER times
        its cost was made in passes: 20,000 rows of raw kddcup99 take 850 passes for 3,552.
        """
        old = engine.passes - self.last >= LONGER * self.cost
        if self.least_curvature or (engine.by_newton and old):
            self.least_curvature = 0.0
            self.renew(engine)
