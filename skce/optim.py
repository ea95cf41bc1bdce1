"""Step-size schedules.

A schedule is a plain function of the step number: it takes an integer array of steps
(0, 1, 2, ...) and returns their step sizes.
"""

from functools import partial

import numpy as np

__all__ = ["constant", "cosine", "inverse_scaling"]


def _constant(step, value):
    return np.full(np.shape(step), value, dtype=np.float64)


def _inverse_scaling(step, value, power, scale):
    return value / (1 + np.asarray(step) / scale) ** power


def _cosine(step, value, decay_steps, end):
    progress = np.minimum(np.asarray(step) / decay_steps, 1)
    return end + (value - end) * (1 + np.cos(np.pi * progress)) / 2


def constant(value):
    """Return a schedule that is the same at every step.

    Parameters
    ----------
    value : float
        Step size.

    Returns
    -------
    schedule : callable
        Function of an array of step numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skce.optim import constant
    >>> constant(0.1)(np.arange(3))
    array([0.1, 0.1, 0.1])
    """
    return partial(_constant, value=value)


def inverse_scaling(value, power=0.5, scale=1.0):
    """Return the schedule value / (1 + step / scale)**power.

    Parameters
    ----------
    value : float
        First step size.
    power : float, default=0.5
        Exponent of the decay.
    scale : float, default=1.0
        Steps after which the decay sets in.

    Returns
    -------
    schedule : callable
        Function of an array of step numbers.

    Raises
    ------
    ValueError
        If scale is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from skce.optim import inverse_scaling
    >>> inverse_scaling(1.0)(np.arange(4)).round(3)
    array([1.   , 0.707, 0.577, 0.5  ])
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}.")
    return partial(_inverse_scaling, value=value, power=power, scale=scale)


def cosine(value, decay_steps, end=0.0):
    """Return the schedule that falls from value to end along half a cosine.

    Parameters
    ----------
    value : float
        First step size.
    decay_steps : int
        Steps until `end`; it stays there.
    end : float, default=0.0
        Last step size.

    Returns
    -------
    schedule : callable
        Function of an array of step numbers.

    Raises
    ------
    ValueError
        If decay_steps is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from skce.optim import cosine
    >>> cosine(1.0, 2)(np.arange(4)).round(3)
    array([1. , 0.5, 0. , 0. ])
    """
    if not decay_steps > 0:
        raise ValueError(f"decay_steps must be positive, got {decay_steps}.")
    return partial(_cosine, value=value, decay_steps=decay_steps, end=end)
