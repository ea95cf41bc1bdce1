"""Factors of matrices that may be singular but for rounding."""

import numpy as np
from scipy import linalg

from skce._solvers.rounding import COARSE, ROUNDING, SINGULAR, SUMMING

__all__ = ["cholesky", "singular_directions", "to_unit"]


def to_unit(A):
    """Scale A, in place, to a diagonal of 1; return the scale."""
    diagonal = A.diagonal()
    d = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    A *= d[:, None]
    A *= d
    return d


def cholesky(A):
    """Factor A, of unit diagonal, in place: return L, its lower triangle holds the factor.

    Directions that rounding cannot tell from singular ones get a curvature of 1: no step goes
    where it would be rounding divided by rounding. Also returned: a basis of them, or None, and
    the least square of a pivot.
    """
    ridge, N, least, diagonal = ROUNDING, None, 0.0, 1.0
    L, every = A.T, np.einsum("ii->i", A)  # LAPACK leaves the upper triangle of L as it is
    while True:
        every[:] = diagonal + ridge
        _, failed = linalg.lapack.dpotrf(L, lower=1, clean=0, overwrite_a=1)
        if N is None:
            least = 0.0 if failed else float(every.min()) ** 2
            if least > SINGULAR:
                return L, None, least
            _mirror(L)
            every[:] = 1.0
            N = singular_directions(L)
            L += N @ N.T
            diagonal = every.copy()
        elif failed:
            _mirror(L)
            ridge *= COARSE
        else:
            return L, N, least


def _mirror(L):
    """Copy the upper triangle of L to the lower one."""
    for j in range(len(L)):
        L[j + 1 :, j] = L[j, j + 1 :]


def singular_directions(A):
    """Return an orthonormal basis (p, m) of the null space of A, of unit diagonal, to rounding."""
    # centred in float32, collinear columns have squared pivots of ROUNDING times how many they are
    c, order, rank, _ = linalg.lapack.dpstrf(A, tol=SUMMING, lower=1)
    if rank == len(A):
        return np.zeros((len(A), 0))
    rest = linalg.solve_triangular(
        c[:rank, :rank], c[rank:, :rank].T, lower=True, trans="T", check_finite=False
    )
    N = np.empty((len(A), len(A) - rank))
    N[order - 1] = np.vstack([-rest, np.eye(len(A) - rank)])
    return linalg.qr(N, mode="economic", check_finite=False)[0]
