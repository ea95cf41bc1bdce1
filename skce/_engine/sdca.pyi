import numpy as np

from skce._engine.data import Matrix

def sdca_epoch(
    X: Matrix,
    order: np.ndarray,
    batch_size: int,
    weights: np.ndarray,
    leverage: np.ndarray,
    W: np.ndarray,
    mean: np.ndarray | None,
    inverse: np.ndarray,
    table: np.ndarray,
    negentropy: np.ndarray,
    entry_weights: np.ndarray | None,
    sigmoid: bool,
    Z: np.ndarray | None = None,
    threshold: np.ndarray | None = None,
) -> float: ...
