import numpy as np

def loss_and_residuals(
    loss: int,
    logits: np.ndarray,
    labels: np.ndarray | None,
    targets: np.ndarray | None,
    upper: float,
    pos_weight: np.ndarray | None,
    entry_weight: np.ndarray | None,
    weights: np.ndarray | None,
    weight: float,
    smoothing: float,
    residuals: np.ndarray | None,
    losses: np.ndarray | None,
    n_threads: int,
) -> float: ...
def extent(values: np.ndarray, n_threads: int) -> tuple[float, float]: ...
def check_extent(name: str, low: float, high: float, upper: float) -> None: ...
def narrow(labels: np.ndarray, out: np.ndarray, k: int, n_threads: int) -> bool: ...
def check_mass(name: str, targets: np.ndarray, high: float) -> None: ...
def softmax_into(logits: np.ndarray, out: np.ndarray, logarithm: bool, n_threads: int) -> None: ...
def sigmoid_into(logits: np.ndarray, out: np.ndarray, logarithm: bool, n_threads: int) -> None: ...
def proba_losses(
    binary: bool,
    proba: np.ndarray,
    labels: np.ndarray | None,
    targets: np.ndarray | None,
    upper: float,
    weights: np.ndarray | None,
    losses: np.ndarray | None,
    n_threads: int,
) -> float: ...
