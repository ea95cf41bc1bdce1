"""What rounding may do: the tolerances that the solvers share."""

import numpy as np

__all__ = ["COARSE", "NOISE", "ROUNDING", "SINGULAR", "SUMMING", "TINY", "rounding_of"]

TINY = 1e-300  # stands for 0 in a divisor: its inverse is a number
ROUNDING = 1e-14  # relative error of a few operations in double, and of squares in float32
SUMMING = 1e-12  # relative error of sums in double
NOISE = 4  # of the objective, in units of rounding: a smaller change says nothing
COARSE = 100  # units of rounding that no result may depend on: then it is found in double
SINGULAR = COARSE * SUMMING  # of a squared pivot, in a matrix of unit diagonal


def rounding_of(dtype):
    """Return the relative error of one operation."""
    return float(np.finfo(dtype).eps)
