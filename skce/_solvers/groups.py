"""Labels in groups, one after another: a group is a problem of its own, with its own table."""

from collections import deque
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any

import numpy as np
from scipy import sparse

from skce._kernels.threads import side_by_side, thread_count
from skce._solvers import auto, sdca
from skce._solvers.objective import Objective
from skce._solvers.problem import Problem
from skce._solvers.result import Limits, Result

__all__ = ["minimize", "too_large"]

LABELS = 2 * sdca.GROUP - 1  # of a group at most: SDCA splits more
# Entries of table and weights of all labels, up to which they are fitted together: half a GiB of
# float32, which SDCA holds three to four times.
TOGETHER = 1 << 27
OF_ROWS = ("rows", "centre_in_dtype", "sums_of_squares")  # what labels do not change, for CSR
OF_DENSE_ROWS = ("rows", "centre_in_dtype", "column_squares")


def too_large(data):
    """Tell whether labels of Encoded data are fitted in groups for the sake of memory."""
    return data.k > LABELS and sum(data.X.shape) * data.k > TOGETHER


@dataclass
class Labels:
    """Coefficients of all labels, zero until their group is fitted.

    Attributes
    ----------
    problem : Problem
        That of all labels; nothing is made of it for all labels at once.
    prune : float or None
        Coefficients of at most this size become 0, and `coef` is CSR.
    """

    problem: Problem
    prune: float | None

    def __post_init__(self):
        X, k = self.problem.X, self.problem.k
        self.coef: Any = []  # CSR of the groups done
        if self.prune is None:  # as predictions take it
            swap, shape = sparse.issparse(X), (k, X.shape[1])
            self.coef = np.zeros(shape[::-1], X.dtype).T if swap else np.zeros(shape, X.dtype)
        self.intercept, self.done = np.zeros(k), 0

    def put(self, group, coef, intercept):
        """Take the coefficients of the next group."""
        self.intercept[group], self.done = intercept, group.stop
        if self.prune is None:
            self.coef[group] = coef
        else:
            self.coef.append(coef)

    def read(self):
        """Return coef (k, p) in the dtype of X, and intercept (k,) in double."""
        if self.prune is None:
            return self.coef, self.intercept
        k, p = self.problem.k, self.problem.X.shape[1]
        rest = sparse.csr_array((k - self.done, p), dtype=self.problem.X.dtype)
        parts = [*self.coef, rest] if self.done < k else self.coef
        return sparse.vstack(parts, format="csr"), self.intercept


def minimize(problem, start, rng, limits, solver, prune=None):
    """Minimise the Problem of a sigmoid, group after group of its labels, in threads.

    Parameters
    ----------
    problem : Problem
        What to minimise.
    start : tuple of coef (k, p), dense or CSR, and intercept (k,), or None
        Where to begin; None is zero.
    rng : RandomState
        Gives each group a seed.
    limits : Limits
        When a group ends. `report` is called after each with the passes over all labels so far, the
        objective while later labels are zero, and a function that returns coef and intercept.
    solver : {"auto", "sdca", "lbfgs"}
        What is allowed.
    prune : float, default=None
        See `Labels`.

    Returns
    -------
    found : tuple of coef (k, p) in the dtype of X and intercept (k,) in double
        The best seen.
    result : Result
        Of all labels, without W: its numbers are sums over the groups, also after pruning.

    Notes
    -----
    A group knows nothing of the others, so bits do not depend on the number of threads.
    """
    groups = _groups(problem.k)
    seeds = [rng.randint(2**31 - 1) for _ in groups]
    targets = sparse.csc_array(problem.targets)
    with np.errstate(over="ignore"):  # squares that do are made anew, of X over a power of two
        shared = {
            name: getattr(problem, name)
            for name in (OF_ROWS if sparse.issparse(problem.X) else OF_DENSE_ROWS)
        }
    # The goal of a group is tol * max(A, B); the sum of these may be twice tol * max(ΣA, ΣB).
    tol = limits.tol / 2 if limits.certified else limits.tol
    quiet = replace(limits, report=Limits.report, tol=tol)

    def fit(group, seed):
        with np.errstate(all="ignore"):  # each thread has its own
            part = problem.labels(group, targets[:, group])
            vars(part).update(shared)
            W = part.constants()  # rare labels are many passes away from an intercept of 0
            if start is not None:
                coef = start[0][group]
                coef = coef.toarray() if sparse.issparse(coef) else coef
                W = part.to_centred(coef, start[1][group])
            found = auto.minimize(part, W, np.random.RandomState(seed), quiet, solver)
            if prune is not None:
                found = _pruned(part, found, prune)
            coef, intercept = part.from_centred(found.W)
            coef = coef.astype(problem.X.dtype)
            if prune is not None:  # its transpose is contiguous
                coef = sparse.csr_array(coef.T).T.tocsr()
            return coef, intercept, part.at_zero, replace(found, W=None, engine=None)

    labels, results = Labels(problem, prune), []
    value, passes, curve = problem.at_zero, 0.0, []
    with side_by_side(len(groups)) as begin:
        waiting: deque = deque()
        calls = (begin(fit, *call) for call in zip(groups, seeds, strict=True))
        for group in groups:  # no more are under way than have a thread, and one that waits
            waiting.extend(islice(calls, thread_count() + 1 - len(waiting)))
            *coefficients, at_zero, found = waiting.popleft()()
            labels.put(group, *coefficients)
            results.append(found)
            value += found.objective - at_zero
            passes += found.passes * (group.stop - group.start) / problem.k
            curve.append(value)
            estimate = sum(found.estimate for found in results)
            limits.report("groups of labels", passes, value, labels.read, estimate)
    return labels.read(), _sum(results, curve, passes)


def _groups(k):
    """Return slices of the labels, of at most LABELS each."""
    ends = np.linspace(0, k, -(-k // LABELS) + 1).astype(int).tolist()
    return [slice(first, last) for first, last in pairwise(ends)]


def _pruned(problem, found, prune):
    """Return what was found without coefficients of at most a size, judged again.

    The minimum is as far below the objective as it was found to be, and below that of the
    coefficients left by what these lose.
    """
    W = found.W.copy()
    W[:-1][np.abs(W[:-1]) <= prune] = 0
    if (W == found.W).all():
        return found
    value = problem.objective(W)
    lost = max(value - found.objective, 0.0) + Objective(problem).noise(value)
    gap, estimate = found.gap + lost, found.estimate + lost
    return replace(found, W=W, objective=value, gap=gap, estimate=estimate)


def _sum(results, curve, passes):
    """Return the Result of all labels from those of the groups."""
    value, gap, estimate = (
        float(sum(getattr(found, name) for found in results))
        for name in ("objective", "gap", "estimate")
    )
    failed = [found.ended for found in results if found.ended is not None]
    ended = None
    if failed:
        ended = f"in {len(failed)} of {len(results)} groups of labels, first: {failed[0]}"
    return Result(None, value, gap, estimate, curve, passes, ended)
