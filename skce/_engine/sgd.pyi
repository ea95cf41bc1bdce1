from enum import IntEnum

import numpy as np

from skce._engine.data import EpochData as Problem

class Rule(IntEnum):
    SGD = 0
    MOMENTUM = 1
    ADAGRAD = 2
    ADAM = 3

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
