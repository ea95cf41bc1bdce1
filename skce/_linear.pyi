from typing import Any

import numpy as np

class Matrix:
    dtype: np.dtype
    shape: tuple[int, int]
    sparse: bool
    nnz: int
    def __init__(self, matrix: Any) -> None: ...

def uses_blas(X: Matrix, k: int) -> bool: ...
def aligned_zeros(rows: int, columns: int, dtype: np.dtype) -> np.ndarray: ...
def decision(
    X: Matrix, coef: np.ndarray, intercept: np.ndarray, out: np.ndarray, n_threads: int
) -> None: ...
