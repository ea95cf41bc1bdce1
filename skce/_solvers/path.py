"""Fits along a path of penalties, of all rows and of folds, and the loss of rows held out.

A fold is the same problem with other weights of the rows: X is neither copied nor centred anew.
"""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from scipy import sparse

from skce._engine.passes import Pass
from skce._kernels.threads import side_by_side
from skce._solvers.auto import minimize, power_of
from skce._solvers.columns import pieces
from skce._solvers.lazy import columns_of, on_columns
from skce._solvers.lbfgs import SAFEGUARD
from skce._solvers.objective import Objective
from skce._solvers.refresh import Refresh
from skce._solvers.result import Stopped
from skce._solvers.rounding import COARSE, ROUNDING, SUMMING, TINY, rounding_of

__all__ = ["Sweep", "filled", "proven", "scored", "strongest_alpha", "untold", "with_penalty"]

NEAR_ZERO = 0.1  # share of its value by which coefficients may lower the objective
THREADED = 1 << 21  # multiplications of a pass from which fits go on side by side; digits 1.28
# Of tol, for folds: what is left to fall has the same sign in all of them, and so in mean scores.
FOLD_TOL = 0.3  # 1: clinc150_minilm, 2,000 rows, by .19 of their standard error; .3: .07; .1: .06
OF_DATA = ("has_missing", "entry_weights")  # what weights do not change


def _tells_nobody():
    return lambda found: None


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
        Called before each fit is waited for; returns a function that is called with its result.
    held_out : list, default=None
        What `scored` tells of the rows that each fold holds out: its results are to have their
        losses.

    Notes
    -----
    As many fits as there are threads go on side by side, each on its share of them: folds, and that
    of all rows at the next penalty. None knows of the order in which they end.
    """

    def __init__(self, problem, folds, rng, limits, solver, begin=_tells_nobody, held_out=None):
        self.held_out = held_out
        self.parts = [problem, *(_with_weights(problem, problem.weights * f) for f in folds)]
        self.seeds = [rng.randint(2**31 - 1) for _ in self.parts]
        self.solver, self.begin = solver, begin
        limits = replace(limits, report=self._go_on)
        least = min(limits.tol, COARSE * rounding_of(problem.X.dtype))  # for less they go to double
        of_fold = replace(limits, tol=max(FOLD_TOL * limits.tol, least))
        self.limits = [limits] + [of_fold] * len(folds)
        self.cancelled = False

    def path(self, alphas, l1_ratio):
        """Yield the results at each penalty: of all rows, then of each fold.

        All rows are first. Where their fit goes a multiple of the way that it went before, nearly
        so, a fold begins that multiple of its own last way ahead. Were it to begin with the step
        that all rows made, rows that it holds out would have had a part in it, and their scores be
        too good until its fit undid that: by .1 at tol=1e-4 (600 rows of clinc150_minilm).

        Folds of L-BFGS begin with the preconditioner of all rows, and so do all rows at the next
        penalty until as many passes went by it as a new one costs.
        """
        ends = [part.constants() for part in self.parts]
        ways = [np.zeros_like(ends[0])] * len(self.parts)
        rngs = [np.random.RandomState(seed) for seed in self.seeds]
        spans = np.maximum(-np.diff(np.log(alphas)), ROUNDING)
        self.cancelled, ahead, served = False, 0.0, 0.0
        worth = Refresh(self.parts[0], None).wait
        with self._threads() as later:

            def begin(part, start, a, near):
                return later(self._fit, part, start, alphas[a], l1_ratio, rngs[part], near)

            coming = begin(0, ways[0], 0, None)
            for a in range(len(alphas)):
                whole = self._waited_for(coming)
                way = whole.W - ends[0]
                times = _bounded(np.vdot(way, ways[0]) / max(np.vdot(ways[0], ways[0]), TINY))
                ends[0], ways[0] = whole.W, way
                waiting = [
                    begin(part, ends[part] + times * ways[part], a, whole)
                    for part in range(1, len(self.parts))
                ]
                if a + 1 < len(alphas):
                    if a > 1:  # the next way is as much longer as this one was, for its span
                        ahead = _bounded(times * spans[a] * spans[a - 2] / spans[a - 1] ** 2)
                    if whole.engine is not None:  # folds make about as many passes
                        served += whole.passes * len(self.parts)
                    last = whole if served < worth else replace(whole, engine=None)
                    served *= served < worth
                    coming = begin(0, whole.W + ahead * way, a + 1, last)
                folds = []
                for part, call in enumerate(waiting, 1):
                    found = self._waited_for(call)
                    ends[part], ways[part] = found.W, found.W - ends[part]
                    folds.append(found)
                yield replace(whole, engine=None), folds

    def _waited_for(self, call):
        end = self.begin()
        found = call()
        end(found)
        return found

    def _fit(self, part, start, alpha, l1_ratio, rng, near):
        problem = self.parts[part] = with_penalty(self.parts[part], alpha, l1_ratio)
        solver = self.solver
        if near is not None and near.engine is not None:
            solver = "lbfgs"
        elif part and solver == "auto" and near.q is not None and not near.in_double:
            solver = "sdca"  # folds do as all rows did
        with np.errstate(all="ignore"):  # each thread has its own
            found = minimize(problem, start, rng, self.limits[part], solver, near)
            if not part:
                return found
            found = _a_step_on(found)
            if self.held_out is None:
                return found
            weights, outputs = self.held_out[part - 1]
            loss = held_out_loss(problem, weights, outputs, found.W)
            return replace(found, held_out=loss)

    @contextmanager
    def _threads(self):
        """`side_by_side`, where passes are long enough; fits that nobody waits for end."""
        X = self.parts[0].X
        work = (X.nnz if self.parts[0].is_sparse else X.size) * self.parts[0].k
        with side_by_side(len(self.parts) if work >= THREADED else 1) as later:
            try:
                yield later
            finally:
                self.cancelled = True

    def _go_on(self, *args):
        """Raise in threads whose fits nobody waits for any more."""
        if self.cancelled:
            raise Stopped


def _bounded(times):
    """Return how many times a way goes on: of penalties nearly alike it is rounding."""
    return min(max(times, -SAFEGUARD), SAFEGUARD)


def _a_step_on(found):
    """Return a fold's result without its engine, one step on where that is known.

    It costs no pass, and scores are nearer to those of exact fits: letter, 3,000 rows, .04 of their
    standard error in place of .21.
    """
    engine = found.engine
    if engine is None or found.ended or (engine.objective.rounded(engine.W) != found.W).any():
        return replace(found, engine=None)
    return replace(found, W=engine.ahead(), engine=None)


def filled(problem):
    """Return the problem of the columns that have entries, and a function that reads its W.

    That returns coef (k, p) and intercept (k,) of all columns.

    Where these are no fewer than half, the problem itself: 20news, 2,000 rows, takes half of the
    time without the others.
    """
    X, p = problem.X, problem.X.shape[1]
    kept = columns_of(X) if sparse.issparse(X) else ()
    if not 0 < 2 * len(kept) <= p:
        return problem, problem.from_centred

    def read(W):
        out = np.zeros((p + 1, W.shape[1]))
        out[kept], out[-1] = W[:-1], W[-1]
        return problem.from_centred(out)

    return replace(problem, X=on_columns(X, kept)), read


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
    return replace(found, W=W, objective=value, gap=gap)


def untold(problem, train, test):
    """Return of which outputs (k,) some rows tell nothing, and others do; of both, the weights.

    No training row has that class, or all have that label or none has it: the best intercept is
    infinite, and so is the loss of some rows held out.
    """
    (on, off), (held_on, held_off) = (_told(_with_weights(problem, w)) for w in (train, test))
    lost = held_on & ~on
    if problem.sigmoid:
        lost = (lost | (held_off & ~off)) & (on | off)
    return lost & problem.fit_intercept


def _told(problem):
    """Return which outputs (k,) some rows have, and which some lack."""
    sums, total = problem.target_sums, problem.label_weights
    return sums > 0, total - sums > SUMMING * total


def scored(problem, weights, lost, shares):
    """Return the weights of rows held out, and the outputs of whose losses their sum is made.

    Rows of lost classes, and lost labels, are left out; the mean is over the other rows, by their
    shares (n,) in it. Where none is left there are no outputs.
    """
    if problem.sigmoid or not lost.any():
        return weights, np.flatnonzero(~lost)
    targets = problem.targets
    rows = (targets[:, lost] > 0).sum(axis=1) > 0 if sparse.issparse(targets) else lost[targets]
    left = shares[~rows].sum()
    weights = np.where(rows, 0.0, weights * (shares.sum() / max(left, TINY)))
    return weights, np.arange(problem.k if left else 0)


def held_out_loss(problem, weights, outputs, W):
    """Return the sum of the losses of some rows, times their weights (n,), at W (p + 1, k).

    Of a sigmoid, those of some outputs count; NaN where none does. Targets are not smoothed.
    Rows are copied a few at a time.
    """
    if not len(outputs):
        return np.nan
    if len(outputs) < problem.k:
        problem, W = problem.labels(outputs), W[:, outputs]
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
    power = power_of(problem)
    problem = problem.divided(power) if power else problem  # as fits do
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
    return float(min(np.ldexp(ridge, 2 * power), np.ldexp(lasso, power)))
