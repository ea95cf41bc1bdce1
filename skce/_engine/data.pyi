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

@disjoint_base
class EpochData:
    X: Matrix
    Y: Matrix
    soft: bool
    n_outputs: int
    pos_weight: np.ndarray | None
    entry_weight: np.ndarray | None
    def __new__(
        cls,
        loss: int,
        X: Any,
        targets: Any,
        n_outputs: int,
        weights: np.ndarray,
        pos_weight: np.ndarray | None,
        smoothing: float,
        entry_weight: np.ndarray | None = None,
    ) -> EpochData: ...
