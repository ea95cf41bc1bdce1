from enum import IntEnum
from typing import Any

import numpy as np

from skce._linear import Matrix

class Rule(IntEnum):
    SGD = 0
    MOMENTUM = 1
    ADAGRAD = 2
    ADAM = 3

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

def sgd_epoch(
    problem: Problem,
    order: np.ndarray,
    batch_size: int,
    steps: np.ndarray,
    W: np.ndarray,
    mean: np.ndarray | None,
    metric: np.ndarray,
    alpha: float,
    rule: int,
    momentum_rate: float,
    state: np.ndarray,
    count: int,
    average: np.ndarray | None,
    blends: np.ndarray,
    lazy: int,
) -> tuple[float, int]: ...
