from typing import Any

import numpy as np

from skce._linear import Matrix

class Problem:
    X: Matrix
    Y: Matrix
    soft: bool
    n_outputs: int
    pos_weight: np.ndarray | None
    def __init__(
        self,
        loss: int,
        X: Any,
        targets: Any,
        n_outputs: int,
        weights: np.ndarray,
        pos_weight: np.ndarray | None,
        smoothing: float,
    ) -> None: ...
