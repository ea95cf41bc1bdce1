"""What a solver is held to, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Limits", "Result", "Stopped"]


class Stopped(Exception):
    """Raised by `Limits.report` to end a fit: the reason, and the iterate that was reported."""


def _no_report(name, passes, value, W, gap):
    pass


@dataclass(frozen=True)
class Limits:
    """When a solver ends.

    Attributes
    ----------
    tol : float
        See `Problem.goal`; with alpha=0, of the gradient.
    max_iter : int
        Most passes of SDCA; L-BFGS may make twenty times as many.
    certified : bool
        Whether the duality gap alone ends a fit, and not an estimate.
    report : callable
        Called after each step with the solver's name, its passes, the objective there, a function
        that returns the iterate, and an estimate of the gap there. It may raise `Stopped`.
    may_give_up : bool
        Whether SDCA may leave a problem to L-BFGS.
    prove : bool
        Whether L-BFGS bounds the gap at its end; if not, its result has the gap infinity.
    parts : int
        Reports in a pass of SDCA, several where the loss on rows held out ends the fit.
    """

    tol: float
    max_iter: int
    certified: bool = False
    report: Callable = _no_report
    may_give_up: bool = False
    prove: bool = True
    parts: int = 1


@dataclass(frozen=True)
class Result:
    """What a solver found.

    Attributes
    ----------
    W : ndarray of shape (p + 1, k)
        Weights and intercepts of the centred columns, in double.
    objective : float
        Objective at W.
    gap : float
        Bound of how far that is above its minimum, NaN without a penalty.
    estimate : float
        An estimate of the same.
    curve : list of float
        Objective of each iterate.
    passes : float
        Passes made.
    ended : str or None
        Why it did not converge.
    engine : LBFGS or None
        L-BFGS at W, with which a fit of nearly the same problem may begin.
    q : float, list of float or None
        `SDCA.q` at the end, of each group of labels if there are several, with which a fit of
        nearly the same problem may begin.
    in_double : bool
        Whether it was found in double, whatever the dtype of X.
    held_out : float
        Loss of the rows that a fold holds out, where it was asked for.
    ran_out : bool
        Whether `Limits.max_iter` ended it.
    """

    W: np.ndarray
    objective: float = np.inf
    gap: float = np.inf
    estimate: float = np.inf
    curve: list[float] | tuple = ()
    passes: float = 0
    ended: str | None = None
    engine: Any = None
    q: Any = None
    in_double: bool = False
    held_out: float = np.nan
    ran_out: bool = False
