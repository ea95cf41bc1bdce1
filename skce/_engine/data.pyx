# What a solver fits.

from scipy.sparse import issparse

from skce._engine.products cimport Matrix
from skce._kernels.blocks cimport Loss


cdef class Problem:
    """What an epoch fits: X, targets, weights and the loss; all checked here, once.

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
    """

    def __cinit__(self, Loss loss, X, targets, Py_ssize_t n_outputs, weights, pos_weight, double smoothing):
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
        self.soft = issparse(targets)
        if self.soft:
            self.Y = Matrix(targets)
            if not targets.has_canonical_format:
                raise ValueError("targets must hold each index once in a row.")
            if targets.shape[1] != n_outputs or targets.dtype != X.dtype:
                raise ValueError(f"targets must be of shape (n, {n_outputs}) and dtype {X.dtype}.")
            return
        if loss != Loss.SOFTMAX:
            raise ValueError("Labels are for the softmax cross-entropy only.")
        self.labels = targets
        for i in range(self.labels.shape[0]):
            if self.labels[i] < 0 or self.labels[i] >= n_outputs:
                raise ValueError(f"labels must lie in 0..{n_outputs - 1}, got {self.labels[i]}.")
