"""The way to the optimum: which solvers, in which order.

1. The start is that of a warm start, or zero where that is better.
2. SDCA, where it suits the data; it may give up where L-BFGS is faster, and does where its bound
   stands still: with a weak penalty that may be far from the gap, and rounding holds it there.
3. L-BFGS goes on from there, in the span of the rows where these are few.
4. Zero or the best constants, where these are no worse than what was found.
5. The same once more in double, where the dtype of X is too coarse for the logits or for tol.

Where squares of X overflow or, without a penalty, vanish, all is done for X over a power of two.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from skce._solvers import lbfgs, sdca
from skce._solvers.columns import MOST_MOVED, logit_sizes, peaks
from skce._solvers.objective import Objective
from skce._solvers.parts import in_double
from skce._solvers.result import Result
from skce._solvers.rounding import COARSE, TINY, rounding_of
from skce._solvers.span import Span, is_wide

__all__ = ["find_optimum", "minimize", "power_of"]

# Of two: squares, and sums of them, of entries within are normal numbers.
MOST_EXPONENT = (np.finfo(float).maxexp - np.finfo(float).nmant) // 2
# Up to so many columns L-BFGS is as fast as SDCA, and a fit is a function of the weighted rows.
FEW_COLUMNS = 256  # 0: a9a .91 s, yeast 1.20
NO_BETTER = "the objective did not fall below that of the best constants"
FAINT = 1e-12  # penalty that SDCA is given where there is none


def minimize(problem, start, rng, limits, solver, near=None):
    """Minimise a Problem, in the dtype of X or where that is too coarse in double.

    Parameters
    ----------
    problem : Problem
        What to minimise.
    start : ndarray of shape (p + 1, k)
        Where to begin, in the centred columns.
    rng : RandomState
        For samples and the order of rows.
    limits : Limits
        When to end.
    solver : {"auto", "sdca", "lbfgs"}
        What is allowed.
    near : Result, default=None
        That of nearly the same problem.

    Returns
    -------
    result : Result
        The best W seen, whose coefficients, but for the intercepts, are as they round to the dtype
        of X.
    """
    power = power_of(problem)
    if power < 0 and problem.alpha:  # it holds the weights at 0
        power = 0
    if power:
        scaled = replace(limits, report=_with_weights_times(limits.report, -power))
        found = minimize(_divided(problem, power), _times_power(start, power), rng, scaled, solver)
        return replace(found, W=_times_power(found.W, -power), engine=None)
    found = find_optimum(problem, start, rng, limits, solver, near)
    if problem.X.dtype != np.float64 and _is_rough(problem, found, limits.tol):
        found = _in_double(problem, found, rng, limits)
    if problem.alpha == 0 and found.ended is None and _has_lost_columns(problem, np.float64):
        return replace(found, ended="squares of a column of X vanish: scale its columns")
    return found


def power_of(problem):
    """Return the power of two that X is divided by, 0 where its squares are normal numbers."""
    if problem.X.dtype != np.float64:
        return 0
    sizes = peaks(problem.some_rows, problem.centre_in_dtype)
    power = int(np.frexp(sizes.max(initial=0))[1])
    if abs(power) <= MOST_EXPONENT:
        return 0
    return 0 if _vanishes(sizes, np.float64, power) else power


def _divided(problem, power):
    """Return the problem for X over 2**power, whose weights are that many times as large.

    No penalty vanishes: what it adds is below the rounding of the losses.
    """
    l1 = np.ldexp(problem.alpha * problem.l1_ratio, -power)
    l2 = np.ldexp(problem.alpha * (1 - problem.l1_ratio), -2 * power)
    alpha = max(l1 + l2, TINY) if problem.alpha else 0.0
    ratio = min(l1 / (alpha or 1.0), 1.0)
    return replace(problem.divided(power), alpha=alpha, l1_ratio=ratio)


def _has_lost_columns(problem, dtype):
    """Tell whether the squares of a column that is not constant vanish in a dtype."""
    sizes = peaks(problem.some_rows, problem.centre_in_dtype)
    return _vanishes(sizes.astype(np.float64), dtype)


def _vanishes(sizes, dtype, power=0):
    """Tell whether a size above 0, over 2**power, has a square below the normal numbers."""
    return bool(((sizes > 0) & (np.ldexp(sizes, -power) ** 2 < np.finfo(dtype).tiny)).any())


def _times_power(W, power):
    """Return W (p + 1, k) with weights times 2**power."""
    return np.vstack([np.ldexp(W[:-1], power), W[-1:]])


def _with_weights_times(report, power):
    def scaled(name, passes, value, W, gap):
        report(name, passes, value, lambda: _times_power(W(), power), gap)

    return scaled


def find_optimum(problem, start, rng, limits, solver, near=None):
    """Minimise a Problem in the dtype of X; parameters and result are those of `minimize`."""
    if not problem.total_weight:  # no row has a target
        return Result(np.zeros_like(start), 0.0, 0.0, 0.0, [0.0])
    if near is None and start[:-1].any():
        value, _ = Objective(problem).value_and_gradient(start, remember=False)
        start = start if problem.beats_zero(value) else np.zeros_like(start)
    found = Result(start, ended=sdca.GAVE_UP)
    if _prefers_sdca(problem, solver, limits):
        allowed = replace(limits, may_give_up=solver == "auto")
        faint = problem if problem.alpha else replace(problem, alpha=FAINT)
        found = sdca.minimize(faint, start, rng, allowed, near if start.any() else None)
        found = found if problem.alpha else replace(found, ended=sdca.GAVE_UP)
    if found.ended == sdca.GAVE_UP:
        found = _go_on(problem, found, rng, limits, near)
    return _settled(problem, found, partial(problem.goal, tol=limits.tol))


def _prefers_sdca(problem, solver, limits):
    """Tell whether SDCA is tried before L-BFGS.

    On rows held out its loss falls fastest, dense data or not.
    """
    if solver != "auto":
        return solver == "sdca"
    if problem.l1_ratio and problem.alpha:
        return True
    if problem.X.shape[1] <= FEW_COLUMNS:
        return False
    return limits.parts > 1 or (problem.alpha > 0 and (problem.is_sparse or problem.k > 1))


def _go_on(problem, before, rng, limits, near=None):
    """Run L-BFGS from what was found before, in the span of the rows where they are few."""
    if is_wide(problem):
        span = Span(problem.gathered())

        def report(name, passes, value, W, gap):
            limits.report(name, passes, value, lambda: span.outside(W()), gap)

        inside = replace(limits, report=report, prove=False)
        found = lbfgs.minimize(span.problem, span.inside(before.W), rng, inside)
        found = replace(found, W=span.outside(found.W), engine=None, in_double=True)
        if limits.prove:  # in double: the dtype of X hides what rounding W adds to the objective
            W = Objective(problem).rounded(found.W)
            W, value, gap = Objective(in_double(problem)).certified(W)
            estimate = found.estimate + max(value - found.objective, 0.0)
            found = replace(found, W=W, objective=value, gap=gap, estimate=estimate)
    else:
        engine = near.engine if near is not None and before.W.any() else None
        found = lbfgs.minimize(problem, before.W, rng, limits, engine)
    passes = int(np.ceil(found.passes + before.passes))
    return replace(found, curve=[*before.curve, *found.curve], passes=passes, q=before.q)


def _settled(problem, found, goal):
    """Return what was found, or the constants that are as good; a certificate is convergence."""
    if not problem.beats_zero(found.objective):
        found = _lower(found, np.zeros_like(found.W), problem.at_zero)
    if not problem.beats_constants(found.objective):
        W, value, gap = Objective(problem).certified(problem.constants())
        found = _lower(found, W, value)
        found = replace(found, gap=np.fmin(found.gap, gap), estimate=np.fmin(found.estimate, gap))
        if not found.estimate <= goal(value):
            ended = found.ended or f"{NO_BETTER}: scale the columns of X"
            found = replace(found, ended=ended)
    if found.gap <= goal(found.objective):
        return replace(found, ended=None)
    return found


def _lower(found, W, value):
    """Return a result at other weights, whose objective is less by what its gap is then less."""
    above, share = found.objective - value, rounding_of(np.float32)  # what is left of a difference
    gap = max(found.gap - above, share * found.gap)
    estimate = max(found.estimate - above, share * found.estimate)
    return replace(found, W=W, objective=value, gap=gap, estimate=estimate)


def _is_rough(problem, found, tol):
    """Tell whether the dtype of X is too coarse for the logits, or for tol."""
    if found.ended and not found.ran_out:  # no step lowered the objective
        return True
    eps = rounding_of(problem.X.dtype)
    goal = problem.goal(found.objective, tol)
    too_far = found.in_double and found.estimate > goal  # W was rounded
    if problem.alpha > 0 and (too_far or goal < COARSE * eps * found.objective):
        return True
    if problem.alpha == 0 and _has_lost_columns(problem, problem.X.dtype):
        return True
    return eps * logit_sizes(problem.some_rows, problem.centre_in_dtype, found.W) > MOST_MOVED


def _in_double(problem, found, rng, limits):
    """Judge what was found in double, and without L1 go on from there."""
    dtype, goal = problem.X.dtype, partial(problem.goal, tol=limits.tol)
    problem = in_double(problem)
    if not (problem.l1_ratio or found.in_double):
        found = _go_on(problem, found, rng, replace(limits, prove=False))
    W, estimate, ended = found.W.copy(), found.estimate, found.ended
    W[:-1] = W[:-1].astype(dtype)
    objective = Objective(problem)
    W, value, gap = objective.certified(W)
    estimate = gap if problem.l1_ratio else estimate + max(value - found.objective, 0.0)
    left, what = (gap, "bound of the gap") if limits.certified else (estimate, "gap")
    near = max(goal(value), objective.noise(value))
    if problem.alpha and not left <= near:
        ended = ended or (
            f"rounding of the coefficients left a {what} of about {left:.1g}: "
            "give X in float64, or a larger tol or alpha"
        )
    found = replace(found, W=W, objective=value, gap=gap, estimate=estimate, ended=ended)
    return _settled(problem, found, goal)
