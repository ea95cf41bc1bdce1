import numpy as np

def loss_and_residuals(
    loss: int,
    logits: np.ndarray,
    labels: np.ndarray | None,
    targets: np.ndarray | None,
    pos_weight: np.ndarray | None,
    weights: np.ndarray | None,
    weight: float,
    smoothing: float,
    residuals: np.ndarray | None,
    losses: np.ndarray | None,
    n_threads: int,
) -> float: ...
def extent(values: np.ndarray) -> tuple[float, float]: ...
def softmax_inplace(logits: np.ndarray, n_threads: int) -> None: ...
def sigmoid_inplace(logits: np.ndarray, n_threads: int) -> None: ...
