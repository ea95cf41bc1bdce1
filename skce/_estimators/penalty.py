"""Names and strengths of penalties, as scikit-learn has them."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from numbers import Real
from typing import TypeVar, cast

from skce.losses._read import shown

__all__ = ["alpha_from_C", "penalty_name", "without_C"]

Init = TypeVar("Init", bound=Callable)


def without_C(init: Init) -> Init:
    """Return an `__init__` that tells those who give C of alpha."""

    @wraps(init)
    def told(self, *args, **params):
        if "C" in params:
            raise TypeError(
                f"{type(self).__name__} has alpha in place of C, got C={shown(params['C'])}: "
                "alpha=skce.alpha_from_C(C, n_samples)."
            )
        init(self, *args, **params)

    vars(told)["__signature__"] = signature(init)  # which each fit asks for, and is slow to tell
    return cast(Init, told)


def penalty_name(l1_ratio):
    """Return scikit-learn's name of the penalty with a share of the L1 norm."""
    return "l1" if l1_ratio == 1 else "elasticnet" if l1_ratio > 0 else "l2"


def alpha_from_C(C: float, n_samples: float) -> float:
    """Return the `alpha` that is ``LogisticRegression(C=C)``: 1 / (C · n_samples).

    scikit-learn multiplies the sum of the losses by C and leaves the penalty alone; our loss is a
    mean, so that alpha means the same for any number of rows.

    Parameters
    ----------
    C : float
        Inverse of the penalty, above 0; infinity is no penalty.
    n_samples : float
        Number of rows of the fit, with weights the sum of the effective ones: sample weights times
        class weights.

    Returns
    -------
    alpha : float
        For both estimators and any `l1_ratio`.

    Raises
    ------
    ValueError
        If C or n_samples is not a number above 0.

    Examples
    --------
    >>> from skce import alpha_from_C
    >>> alpha_from_C(10.0, 150)
    0.0006666666666666666
    """
    for name, value in (("C", C), ("n_samples", n_samples)):
        if not (isinstance(value, Real) and float(value) > 0):
            raise ValueError(f"{name} must be a number above 0, got {shown(value)}.")
    return 1 / (C * n_samples)
