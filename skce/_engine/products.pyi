from typing import NamedTuple

import numpy as np

from skce._engine.data import Matrix

def uses_blas(X: Matrix, k: int) -> bool: ...
def aligned_zeros(rows: int, columns: int, dtype: np.dtype) -> np.ndarray: ...

class Squares(NamedTuple):
    columns: np.ndarray
    entries: np.ndarray
    rows: np.ndarray
    weighted: np.ndarray

def squares(X: Matrix, weights: np.ndarray) -> Squares: ...
def row_squares(X: Matrix, scale: np.ndarray) -> np.ndarray: ...
def weighted_grams(X: Matrix, weights: np.ndarray) -> np.ndarray: ...
def dense_grams(X: np.ndarray, mean: np.ndarray, weights: np.ndarray) -> np.ndarray: ...
def decision(
    X: Matrix,
    coef: np.ndarray,
    intercept: np.ndarray,
    out: np.ndarray,
    softmax: bool,
    n_threads: int,
) -> None: ...
