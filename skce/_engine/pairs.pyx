# Pairs of steps s and changes y of the gradient, and the inverse Hessian of L-BFGS that they tell.
#
# They stand in a ring, where a new pair takes the place of the oldest. In a step of a small fit the
# arithmetic takes a microsecond, and took twenty times as long as a dozen calls of NumPy.

import numpy as np

from libc.math cimport INFINITY, sqrt
from libc.string cimport memcpy

from skce._kernels.blas cimport dot, gemv


cdef class Ring:
    """At most so many pairs of vectors of a size, in double.

    Attributes
    ----------
    S, Y : ndarray of shape (most, size)
        Steps and changes.
    SY : ndarray of shape (most, most)
        s'y of the step of a row and a change that is no older.
    inverse : ndarray of shape (most,)
        s's / s'y.
    most, used : int
        How many places there are, and are taken.
    newest : float
        s'y / y'y of the newest pair.
    """

    cdef:
        readonly object S, Y, SY, inverse
        readonly Py_ssize_t most, used
        readonly double newest
        Py_ssize_t size, first  # which place has the oldest pair
        double[:, ::1] s, y, sy
        double[::1] u, v, rest

    def __cinit__(self, Py_ssize_t most, Py_ssize_t size):
        if most < 1 or size < 1:
            raise ValueError(f"most and size must be at least 1, got {most} and {size}.")
        self.most, self.size = most, size
        self.S, self.Y = np.empty((2, most, size))
        self.SY, self.inverse = np.zeros((most, most)), np.ones(most)
        self.s, self.y, self.sy = self.S, self.Y, self.SY
        self.u, self.v, self.rest = np.empty(most), np.empty(most), np.empty(size)

    cdef inline Py_ssize_t place(self, Py_ssize_t i) noexcept nogil:
        """Return where the pair is that is older by i than the oldest."""
        i += self.first
        return i if i < self.most else i - self.most

    def put(self, const double[::1] s not None, const double[::1] y not None, double least):
        """Take a pair for the oldest one, if s'y is more than least |s| |y|; tell whether."""
        cdef:
            double sy, ss, yy
            Py_ssize_t new, i
        if s.shape[0] != self.size or y.shape[0] != self.size:
            raise ValueError(f"s and y must have {self.size} entries, got {len(s)} and {len(y)}.")
        sy, ss, yy = dot(self.size, &s[0], &y[0]), dot(self.size, &s[0], &s[0]), dot(self.size, &y[0], &y[0])
        if not least * sqrt(ss * yy) < sy < INFINITY:
            return False
        if self.used < self.most:
            self.used += 1
        else:
            self.first = self.place(1)
        new = self.place(self.used - 1)
        memcpy(&self.s[new, 0], &s[0], self.size * sizeof(double))
        memcpy(&self.y[new, 0], &y[0], self.size * sizeof(double))
        gemv(False, self.used, self.size, 1, &self.s[0, 0], &y[0], 0, &self.v[0])
        for i in range(self.used):
            self.sy[i, new] = self.v[i]
        self.inverse[new], self.newest = ss / sy, sy / yy
        return True

    def multiply(self, const double[::1] g not None, double scale):
        """Return H g, and the square of the rest r; of no pair H is the scale."""
        cdef:
            Py_ssize_t n = self.size, m = self.used, i, j, a
            double[::1] u = self.u, v = self.v, rest = self.rest, out
        if g.shape[0] != n:
            raise ValueError(f"g must have {n} entries, got {len(g)}.")
        product = np.empty(n)
        out = product
        memcpy(&rest[0], &g[0], n * sizeof(double))
        if m:
            gemv(False, m, n, 1, &self.s[0, 0], &g[0], 0, &u[0])
            for i in range(m - 1, -1, -1):
                a = self.place(i)
                for j in range(i + 1, m):
                    u[a] -= self.sy[a, self.place(j)] * u[self.place(j)]
                u[a] /= self.sy[a, a]
            gemv(True, m, n, -1, &self.y[0, 0], &u[0], 1, &rest[0])
        for i in range(n):
            out[i] = scale * rest[i]
        if m:
            gemv(False, m, n, 1, &self.y[0, 0], &out[0], 0, &v[0])
            for i in range(m):
                a = self.place(i)
                v[a] = self.sy[a, a] * u[a] - v[a]
                for j in range(i):
                    v[a] -= self.sy[self.place(j), a] * v[self.place(j)]
                v[a] /= self.sy[a, a]
            gemv(True, m, n, 1, &self.s[0, 0], &v[0], 1, &out[0])
        return product, dot(n, &rest[0], &rest[0])
