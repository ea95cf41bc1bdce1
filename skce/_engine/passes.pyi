from enum import IntEnum

import numpy as np

from skce._engine.data import EpochData

class Pass(IntEnum):
    LOSS = 0
    PRODUCT = 1
    DUAL = 2

def run(
    kind: int,
    data: EpochData,
    W: np.ndarray,
    mean: np.ndarray | None,
    gradient: np.ndarray,
    table: np.ndarray | None,
    scale: np.ndarray | None,
    shift: np.ndarray | None,
    n_threads: int,
) -> tuple[float, float]: ...
