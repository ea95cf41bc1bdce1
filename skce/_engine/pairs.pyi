import numpy as np
from typing_extensions import disjoint_base

@disjoint_base
class Ring:
    S: np.ndarray
    Y: np.ndarray
    SY: np.ndarray
    inverse: np.ndarray
    most: int
    used: int
    newest: float
    def __new__(cls, most: int, size: int) -> Ring: ...
    def put(self, s: np.ndarray, y: np.ndarray, least: float) -> bool: ...
    def multiply(self, g: np.ndarray, scale: float) -> tuple[np.ndarray, float]: ...
