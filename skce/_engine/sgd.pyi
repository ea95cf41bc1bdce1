from enum import IntEnum

import numpy as np

from skce._engine.data import EpochData

class Rule(IntEnum):
    SGD = 0
    MOMENTUM = 1
    ADAGRAD = 2
    ADAM = 3

SPREAD: int

def sgd_run(
    problem: EpochData,
    order: np.ndarray,
    ends: np.ndarray,
    steps: np.ndarray,
    rows: np.ndarray,
    times: np.ndarray,
    W: np.ndarray,
    mean: np.ndarray | None,
    metric: np.ndarray,
    l2: float,
    l1: float,
    rule: int,
    momentum_rate: float,
    curvature: float,
    state: np.ndarray,
    count: int,
    average: np.ndarray | None,
    clock: np.ndarray,
    stamps: np.ndarray | None,
    slots: np.ndarray | None,
    columns: np.ndarray | None,
    look: np.ndarray | None,
    seen: np.ndarray | None,
    sure: np.ndarray | None,
) -> tuple[float, int]: ...
