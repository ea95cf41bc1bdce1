"""Fits along a path of penalties, of all rows and of folds, and the loss of rows held out.

A fold is the same problem with other weights of the rows: X is neither copied nor centred anew.
Columns of CSR without entries are left out where they are many.
"""

from dataclasses import replace

import numpy as np
from scipy import sparse

from skce._engine.passes import Pass
from skce._solvers.auto import minimize
from skce._solvers.columns import pieces
from skce._solvers.lazy import columns_of, on_columns
from skce._solvers.objective import Objective
from skce._solvers.rounding import COARSE, TINY, rounding_of

__all__ = ["Sweep", "held_out_loss", "proven", "strongest_alpha", "with_penalty"]

NEAR_ZERO = 0.1  # share of its value by which coefficients may lower the objective
# Of tol, for folds by SDCA: each begins with a step that the rows it holds out had a part in, and
# until that is undone scores flatter. Steps of L-BFGS undo it as they end.
FOLD_TOL = 0.01  # 1: clinc150, 2,000 rows, by up to 1.2 standard errors; .1: .4; .01: .04
OF_DATA = ("missing", "plain", "entry_weights")  # what weights do not change


class Sweep:
    """Fits of all rows and of folds, each from where it ended at the penalty before.

    Parameters
    ----------
    problem : Problem
        All rows.
    folds : list of ndarray of shape (n,)
        What the weights of a fold's training rows are multiplied by; 0 for others.
    rng : RandomState
        For samples and the order of rows.
    limits : Limits
        When a fit ends.
    solver : {"auto", "sdca", "lbfgs"}
        What is allowed.
    begin : callable
        Called before each fit; returns a function that is called with its result.
    """

    def __init__(self, problem, folds, rng, limits, solver, begin=lambda: lambda found: None):
        self.columns, problem = _filled(problem)
        self.parts = [problem, *(_with_weights(problem, problem.weights * f) for f in folds)]
        self.rngs = [np.random.RandomState(rng.randint(2**31 - 1)) for _ in self.parts]
        self.solver, self.begin, tol = solver, begin, limits.tol
        rounding = COARSE * rounding_of(problem.X.dtype)
        of_fold = replace(limits, sdca_tol=max(FOLD_TOL * tol, min(tol, rounding)))
        self.limits = [limits] + [of_fold] * len(folds)
        self.restart()

    def restart(self):
        """Begin at zero again."""
        zero = np.zeros((self.parts[0].X.shape[1] + 1, self.parts[0].k))
        self.W = [zero] * len(self.parts)
        self.last = None  # result of all rows

    def fit(self, alpha, l1_ratio):
        """Return the results at a penalty: of all rows, then of each fold.

        All rows go first; each fold begins at its last weights plus the step that they made.
        """
        whole = self._fit_part(0, self.W[0], alpha, l1_ratio, self.last)
        step = whole.W - self.W[0]
        self.W[0], self.last = whole.W, replace(whole, engine=None)
        folds = []
        for part in range(1, len(self.parts)):
            found = self._fit_part(part, self.W[part] + step, alpha, l1_ratio, whole)
            self.W[part] = found.W
            folds.append(self._of_all_columns(replace(found, engine=None)))
        return self._of_all_columns(self.last), folds

    def _fit_part(self, part, start, alpha, l1_ratio, near):
        problem = with_penalty(self.parts[part], alpha, l1_ratio)
        end = self.begin()
        found = minimize(problem, start, self.rngs[part], self.limits[part], self.solver, near)
        end(self._of_all_columns(found))
        return found

    def _of_all_columns(self, found):
        """Return a result with weights of 0 for columns that were left out."""
        if self.columns is None:
            return found
        p, kept = self.columns
        W = np.zeros((p + 1, found.W.shape[1]))
        W[kept], W[-1] = found.W[:-1], found.W[-1]
        return replace(found, W=W)


def _filled(problem):
    """Return the number of columns and which have entries, and the problem of these alone.

    Where these are no fewer than half, None and the problem: 20news, 2,000 rows, takes half of
    the time without the others.
    """
    X, p = problem.X, problem.X.shape[1]
    kept = columns_of(X) if sparse.issparse(X) else ()
    if not 0 < 2 * len(kept) <= p:
        return None, problem
    return (p, kept), replace(problem, X=on_columns(X, kept))


def _with_weights(problem, weights):
    """Return the problem with other weights of the rows."""
    for name in OF_DATA:
        getattr(problem, name)
    other = replace(problem, weights=weights)
    vars(other).update({name: vars(problem)[name] for name in OF_DATA})
    return other


def with_penalty(problem, alpha, l1_ratio):
    """Return the problem with another penalty, on which nothing of what it remembers depends."""
    other = replace(problem, alpha=alpha, l1_ratio=l1_ratio)
    vars(other).update(vars(problem) | {"alpha": alpha, "l1_ratio": l1_ratio})
    return other


def proven(problem, found):
    """Return a result with the objective at its weights and the bound of the gap."""
    W, value, gap = Objective(problem).certified(found.W)
    return replace(found, W=W, objective=value, gap=gap, estimate=min(found.estimate, gap))


def held_out_loss(problem, weights, W):
    """Return the sum of the losses of some rows, times their weights (n,), at W (p + 1, k).

    Targets are not smoothed. Rows are copied a few at a time.
    """
    X, rows, total = problem.X, np.flatnonzero(weights), 0.0
    width = X.nnz // X.shape[0] + 1 if sparse.issparse(X) else X.shape[1]
    out = np.empty(W.shape)
    for some in pieces(len(rows), max(width, problem.k)):
        few = replace(problem.of_rows(rows[some], weights[rows[some]]), smoothing=0.0)
        total += few.full_pass(Pass.LOSS, W, out)[0]
    return total


def strongest_alpha(problem, l1_ratio):
    """Return an alpha at which the best coefficients are near zero.

    With the gradient G at the best constants, a strong L2 penalty leaves W = -G / alpha, which
    lowers the objective by |G|^2 / (2 alpha). |G|^2 is the sum over the columns of their square
    times the share that they could lower it by alone; where their scales differ, the largest
    columns tell all of it, so squares are averaged geometrically, weighted by these shares. L1 at
    an alpha of max|G| leaves no coefficient; where scales differ it is less by the same factor.
    """
    gradient = np.empty((problem.X.shape[1] + 1, problem.k))
    loss, _ = problem.full_pass(Pass.LOSS, problem.constants(), gradient)
    G, squares = gradient[:-1], problem.column_squares
    lengths = np.einsum("ij,ij->i", G, G)
    seen = (lengths > 0) & (squares > 0)
    if not seen.any():
        return 1.0
    shares = lengths[seen] / squares[seen]
    mean = np.exp(np.average(np.log(squares[seen]), weights=shares))
    evened = mean * shares.sum() / lengths.sum()
    ridge = evened * lengths.sum() / (2 * NEAR_ZERO * loss) / max(1 - l1_ratio, TINY)
    lasso = np.sqrt(evened) * np.abs(G).max() / max(l1_ratio, TINY)
    return float(min(ridge, lasso))
