from typing import Any

import numpy as np
from typing_extensions import disjoint_base

@disjoint_base
class Matrix:
    dtype: np.dtype
    shape: tuple[int, int]
    sparse: bool
    nnz: int
    def __new__(cls, matrix: Any) -> Matrix: ...

def uses_blas(X: Matrix, k: int) -> bool: ...
def aligned_zeros(rows: int, columns: int, dtype: np.dtype) -> np.ndarray: ...
def squares(X: Matrix, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def row_squares(X: Matrix, scale: np.ndarray) -> np.ndarray: ...
def decision(
    X: Matrix,
    coef: np.ndarray,
    intercept: np.ndarray,
    out: np.ndarray,
    softmax: bool,
    n_threads: int,
) -> None: ...
