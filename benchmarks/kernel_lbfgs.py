"""The peer that has skce's losses and none of its solvers: SciPy's L-BFGS-B on them."""

import numpy as np
from problems import dense_labels
from scipy import linalg, optimize, sparse

from skce import losses

__all__ = ["kernel_lbfgs"]


def kernel_lbfgs(problem, alpha, *, max_iter, observe=None, seed=0, whitened=False):
    """SciPy's L-BFGS-B on skce.losses and NumPy's products; alpha is the alpha of F.

    "whitened": in coordinates where the Hessian at W = 0 is about the identity, by the Gram matrix
    of standardised columns.
    """
    n, p = problem.X_train.shape
    K = problem.n_outputs
    dtype = problem.X_train.dtype
    sigmoid = problem.task == "multilabel" or K == 1
    if sigmoid:
        y = dense_labels(problem.y_train).reshape(n, -1).astype(dtype)
        value_and_grad = losses.sigmoid_cross_entropy_value_and_grad
    else:
        y, value_and_grad = problem.y_train, losses.softmax_cross_entropy_value_and_grad
    curvature = 0.25 if sigmoid else (K - 1) / K**2
    X, to_raw, to_gradient = _coordinates(problem.X_train, alpha, curvature, whitened)

    def fun(v):
        V = v.reshape(p + 1, K)
        W, b = to_raw(V)
        logits = X @ W.astype(dtype) + b.astype(dtype)
        loss, residuals = value_and_grad(logits, y, out=logits)
        total = residuals.sum(axis=0, dtype=np.float64)
        decay, at_W = to_gradient(V, (X.T @ residuals).astype(np.float64), total)
        return loss + decay, at_W.ravel()

    def callback(v):
        if observe is not None:
            observe(*to_raw(v.reshape(p + 1, K), raw=True))

    options = {"maxiter": max_iter, "maxfun": 10**9, "ftol": 0, "gtol": 0, "maxcor": 10}
    start = np.zeros((p + 1) * K)
    found = optimize.minimize(
        fun, start, jac=True, method="L-BFGS-B", callback=callback, options=options
    )
    return to_raw(found.x.reshape(p + 1, K), raw=True)


def _coordinates(X, alpha, curvature, whitened):
    """X or its columns standardised (dense), and the functions to and from its coordinates."""
    p = X.shape[1]
    if not whitened:

        def to_raw(V, raw=False):
            return (V[:-1].T, V[-1]) if raw else (V[:-1], V[-1])

        def to_gradient(V, gradient, total):
            W = V[:-1]
            return alpha / 2 * np.sum(W * W), np.vstack([gradient + alpha * W, total])

        return X, to_raw, to_gradient
    centre, scale, gram, X, shift, unit = _standardised(X)
    decay = alpha / scale**2
    gram = curvature * gram + np.diag(decay)
    gram[np.diag_indices(p)] += 1e-6 * curvature  # equal columns, float32
    root = linalg.cholesky(gram, lower=True)
    size = np.sqrt(curvature)

    def standard(V):
        return linalg.solve_triangular(root, V[:-1], trans=1, lower=True), V[-1] / size

    def to_raw(V, raw=False):
        W, b = standard(V)
        if raw:
            W = W / scale[:, None]
            return W.T, b - centre @ W
        W = W / unit[:, None]
        return W, b - shift @ W

    def to_gradient(V, gradient, total):
        W, _ = standard(V)
        at_W = (gradient - np.outer(shift, total)) / unit[:, None] + decay[:, None] * W
        at_V = linalg.solve_triangular(root, at_W, lower=True)
        return np.sum(decay[:, None] * W * W) / 2, np.vstack([at_V, total / size])

    return X, to_raw, to_gradient


def _standardised(X):
    """Centre, scale, Gram matrix of standardised columns; X to use, what is left to subtract.

    Dense X is standardised in a copy; CSR stays, and its centre and scale are left to divide by.
    """
    n, p = X.shape
    centre = np.asarray(X.mean(axis=0, dtype=np.float64)).ravel()
    if sparse.issparse(X):
        Z = X.astype(np.float64)  # the difference of two large numbers
        centre = np.asarray(Z.mean(axis=0)).ravel()
        gram = (Z.T @ Z).toarray() / n - np.outer(centre, centre)
        scale = np.sqrt(np.maximum(gram.diagonal(), 0))
        scale[scale == 0] = 1
        return centre, scale, gram / np.outer(scale, scale), X, centre, scale
    Z = X - centre.astype(X.dtype)
    scale = np.sqrt(np.einsum("ij,ij->j", Z, Z, dtype=np.float64) / n)
    scale[scale <= 1e-6 * np.abs(centre)] = 1
    Z /= scale.astype(X.dtype)
    gram = (Z.T @ Z).astype(np.float64) / n
    return centre, scale, gram, Z, np.zeros(p), np.ones(p)
