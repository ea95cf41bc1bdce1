"""X, targets and weights as they are fitted."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skce._estimators.validation import check_sum

__all__ = ["Encoded"]


@dataclass
class Encoded:
    """What is fitted: targets are labels (n,) or CSR (n, k); weights include class weights."""

    X: Any
    kind: int
    targets: Any
    k: int
    weights: np.ndarray
    counts: np.ndarray  # weighted, of all calls of partial_fit
    attributes: dict
    pos_weight: np.ndarray | None = None
    notice: str | None = None  # for the user of `fit`
    exponent: int = 0  # weights · 2**exponent are those given
    power: int = 0  # counts · 2**power are of those
    entry_weight: np.ndarray | None = None  # (n, k), of X's dtype, for a sigmoid

    @property
    def in_parts(self):
        """Whether the rows are in parts, whose X makes the problem of all."""
        return hasattr(self.X, "problem")

    def with_given_weights(self):
        """Return the same with weights that are not relative to each other."""
        with np.errstate(over="ignore"):
            weights = np.ldexp(self.weights, self.exponent)
        check_sum("sample_weight times class_weight", weights)
        return replace(self, weights=weights, exponent=0)

    def rows(self, rows):
        """Return some of the rows."""
        names = ["X", "targets", "weights"] + ["entry_weight"] * (self.entry_weight is not None)
        parts = {name: getattr(self, name)[rows] for name in names}
        return replace(self, **parts)

    def without(self, rows):
        """Return the same with zero weights of some rows: a copy of the others would cost more."""
        weights = self.weights.copy()
        weights[rows] = 0
        return replace(self, weights=weights)
