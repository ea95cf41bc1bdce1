from typing import Any

import numpy as np
from typing_extensions import disjoint_base

from skce._engine.products import Matrix

@disjoint_base
class Problem:
    X: Matrix
    Y: Matrix
    soft: bool
    n_outputs: int
    pos_weight: np.ndarray | None
    def __new__(
        cls,
        loss: int,
        X: Any,
        targets: Any,
        n_outputs: int,
        weights: np.ndarray,
        pos_weight: np.ndarray | None,
        smoothing: float,
    ) -> Problem: ...
