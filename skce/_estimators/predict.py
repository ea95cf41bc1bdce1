"""Predictions, a block of rows at a time."""

from contextlib import nullcontext

import numpy as np
from scipy import sparse

from skce import losses
from skce._engine import products
from skce._engine.data import Matrix
from skce._kernels.threads import check_threads, one_blas_thread

__all__ = ["best_class", "dense_rows", "map_logits"]

BLOCK = 1 << 22  # logits, or entries of X to convert, that a prediction works on at once


def map_logits(X, coef, intercept, function, softmax):
    """Return function(logits) of the rows of X, or of their softmax, a block of rows at a time.

    function may change its argument and return it.
    """
    n, p = X.shape
    k = coef.shape[0]
    single = X.dtype == coef.dtype == np.asarray(intercept).dtype == np.float32
    dtype = np.dtype(np.float32 if single else np.float64)
    is_sparse, pruned = sparse.issparse(X), sparse.issparse(coef) and k * p > BLOCK
    if pruned:
        coef = sparse.csr_array(coef.T if is_sparse else coef, dtype=dtype)
    else:
        coef = dense_rows(coef)
        coef = np.ascontiguousarray(coef.T if is_sparse else coef, dtype)
    intercept = np.full(k, intercept, dtype)
    entries = X.nnz / n if is_sparse else p  # of a row that has to be converted
    size = max(1, int(BLOCK // max(k, entries if X.dtype != dtype else 0)))
    work, out, threads = np.empty((min(n, size), k), dtype), None, check_threads(None)
    for first in range(0, n, size):
        rows = X if size >= n else X[first : first + size]
        rows = rows.astype(dtype, copy=False)
        logits = work[: rows.shape[0]]
        if pruned:
            _decision(rows, coef, intercept, logits, softmax and k > 1)
        else:
            rows = Matrix(rows)
            with one_blas_thread() if products.uses_blas(rows, k) else nullcontext():
                products.decision(rows, coef, intercept, logits, softmax and k > 1, threads)
        result = function(logits)
        if size >= n:
            return result
        if out is None:
            out = np.empty((n, *result.shape[1:]), result.dtype)
        if not np.may_share_memory(result, out):
            out[first : first + size] = result
        if result is logits:
            work = out[first + size :][:size]  # no copy from here on
    return out


def _decision(X, coef, intercept, logits, shared):
    """Fill logits (n, k), or their softmax, by CSR coefficients: (p, k) for CSR, (k, p) else."""
    if sparse.issparse(X):
        (sparse.csr_array(X) @ coef).toarray(out=logits)
    else:
        logits[:] = (coef @ X.T).T
    logits += intercept
    if shared:
        losses.softmax(logits, out=logits)


def dense_rows(coef):
    """Return coefficients as an array, also after `sparsify`."""
    return coef.toarray() if sparse.issparse(coef) else coef


def best_class(logits):
    """Return the number of the largest logit; a single one is that of class 1."""
    return logits.argmax(axis=1) if logits.shape[1] > 1 else (logits[:, 0] > 0).astype(int)
