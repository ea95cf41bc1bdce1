# What an epoch or a pass takes, checked once: a matrix, and data with a loss.

import numpy as np
from scipy.sparse import issparse

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from skce._kernels.blocks cimport Loss


cdef class Matrix:
    """A dense (C-contiguous) or CSR matrix of float32 or float64, checked once."""

    def __cinit__(self, matrix):
        cdef:
            const long long[::1] indptr
            Py_ssize_t i, nnz
        if len(matrix.shape) != 2 or matrix.shape[1] < 1:
            raise ValueError(f"A matrix must have two dimensions and a column, got shape {matrix.shape}.")
        self.shape = matrix.shape
        self.dtype = matrix.dtype
        self.rows.columns = matrix.shape[1]
        self.sparse = self.rows.sparse = issparse(matrix)
        values = np.ascontiguousarray(matrix.data if self.rows.sparse else matrix)
        self.rows.values = address(values)
        self.buffers = (values,)
        if not self.rows.sparse:
            return
        if matrix.format != "csr":
            raise ValueError(f"A sparse matrix must be CSR, got {matrix.format}.")
        nnz = self.nnz = matrix.indices.shape[0]
        indptr = matrix.indptr.astype(np.int64)
        if matrix.data.shape[0] != nnz or indptr.shape[0] != matrix.shape[0] + 1 or indptr[0] != 0:
            raise ValueError("indptr and indices of the CSR matrix must fit its shape and data.")
        for i in range(matrix.shape[0]):
            if not indptr[i] <= indptr[i + 1] <= nnz:
                raise ValueError("indptr of the CSR matrix must not decrease or exceed its data.")
        if matrix.indices.dtype not in (np.int32, np.int64):
            raise ValueError(f"indices of the CSR matrix must be int32 or int64, got {matrix.indices.dtype}.")
        if nnz and (matrix.indices.min() < 0 or matrix.indices.max() >= matrix.shape[1]):
            raise ValueError(f"indices of the CSR matrix must lie in 0..{matrix.shape[1] - 1}.")
        indices = np.ascontiguousarray(matrix.indices)
        self.rows.indices = address(indices)
        self.rows.indptr = &indptr[0]
        self.rows.wide = matrix.indices.dtype.itemsize == sizeof(long long)
        self.buffers = (values, indices, indptr)


cdef const void *address(array) except? NULL:
    """Return where the entries of a C-contiguous array begin; the caller keeps the array."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    return view.buf


cdef class EpochData:
    """Data and loss of an epoch: X, targets and weights, all checked here, once.

    Parameters
    ----------
    loss : Loss
        Kernel to use.
    X : ndarray or CSR matrix of shape (n, p)
        Features, float32 or float64; this is the dtype of everything but the weights.
    targets : ndarray of shape (n,) or CSR matrix of shape (n, K)
        Labels (int32, softmax only), or targets of X's dtype.
    n_outputs : int
        K.
    weights : ndarray of shape (n,)
        Row weights, float64.
    pos_weight : ndarray of shape (K,) or None
        Positive weights, of X's dtype.
    smoothing : float
        Label smoothing.
    entry_weight : ndarray of shape (n, K) or None
        Weights of the entries of a sigmoid, C-contiguous, of X's dtype, finite and not negative.
    """

    def __cinit__(
        self, Loss loss, X, targets, Py_ssize_t n_outputs, weights, pos_weight, double smoothing,
        entry_weight=None,
    ):
        cdef Py_ssize_t i
        if loss < 0 or loss > Loss.SIGMOID or n_outputs < 1:
            raise ValueError(f"loss must be a Loss and n_outputs positive, got {loss} and {n_outputs}.")
        self.X = Matrix(X)
        self.loss = loss
        self.n_outputs = n_outputs
        self.weights = weights
        self.smoothing = smoothing
        self.pos_weight = pos_weight
        if self.weights.shape[0] != X.shape[0] or targets.shape[0] != X.shape[0]:
            raise ValueError(f"targets and weights must have {X.shape[0]} rows.")
        if pos_weight is not None and (pos_weight.shape != (n_outputs,) or pos_weight.dtype != X.dtype):
            raise ValueError(f"pos_weight must be of shape ({n_outputs},) and dtype {X.dtype}.")
        if entry_weight is not None:
            if loss != Loss.SIGMOID or entry_weight.shape != (X.shape[0], n_outputs) or (
                    entry_weight.dtype != X.dtype):
                raise ValueError(f"entry_weight must be of shape (n, {n_outputs}) and dtype {X.dtype}.")
            self.entry_weight = np.ascontiguousarray(entry_weight)
            self.of_entries = address(self.entry_weight) if entry_weight.size else NULL
        self.soft = issparse(targets)
        if self.soft:
            self.Y = Matrix(targets)
            if not targets.has_canonical_format:
                raise ValueError("targets must hold each index once in a row.")
            if targets.shape[1] != n_outputs or targets.dtype != X.dtype:
                raise ValueError(f"targets must be of shape (n, {n_outputs}) and dtype {X.dtype}.")
            if n_outputs == 1:  # no smaller as CSR
                self.Y = Matrix(targets.toarray())
            return
        if loss != Loss.SOFTMAX:
            raise ValueError("Labels are for the softmax cross-entropy only.")
        self.labels = targets
        for i in range(self.labels.shape[0]):
            if self.labels[i] < 0 or self.labels[i] >= n_outputs:
                raise ValueError(f"labels must lie in 0..{n_outputs - 1}, got {self.labels[i]}.")
