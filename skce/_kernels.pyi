from enum import IntEnum

import numpy as np

class Loss(IntEnum):
    SOFTMAX = 0
    MULTILABEL_SOFTMAX = 1
    SIGMOID = 2

def loss_and_residuals(
    loss: int,
    logits: np.ndarray,
    labels: np.ndarray | None,
    targets: np.ndarray | None,
    pos_weight: np.ndarray | None,
    weights: np.ndarray,
    smoothing: float,
    losses: np.ndarray,
    n_threads: int,
) -> None: ...
def softmax_inplace(logits: np.ndarray) -> None: ...
def sigmoid_inplace(logits: np.ndarray) -> None: ...
