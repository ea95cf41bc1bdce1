"""Random fits of every loss and solver, judged in double at the coefficients as published.

The oracle is plain NumPy: `Plain.objective` on the stored X, and Newton's method for the minimum.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from plain import Plain, draw_targets
from registry import then_long
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skce import MultiLabelLogistic, MultinomialLogistic

FITS = 50  # of a block, of which the default ring makes BLOCKS
BLOCKS, MORE_BLOCKS = 6, 34
EXACT = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 1e-5}  # relative, of objective_
SOLVERS = ["auto", "auto", "auto", "lbfgs", "lbfgs", "sdca", "sdca", "sgd", "adagrad", "adam"]
KINDS = {  # of targets, for each loss
    "labels": ("softmax", "labels"),
    "two labels": ("sigmoid", "labels"),
    "shares": ("softmax", "shares"),
    "bce": ("bce", "indicator"),
    "bce fractions": ("bce", "fractions"),
    "bce missing": ("bce", "missing"),
    "1/M": ("1/M", "indicator"),
    "1/M masses": ("1/M", "masses"),
    "1/M missing": ("1/M", "missing"),
}


@dataclass
class Fit:
    """What was drawn, the fitted model, and the same problem in plain NumPy."""

    says: str
    model: object
    plain: Plain
    centred: Plain

    @property
    def W(self):
        """The published coefficients, in double."""
        return np.vstack([self.model.coef_.T, self.model.intercept_]).astype(float)


def draw_columns(rng, n):
    """X of any scale, offset, rank, storage and dtype."""
    p = int(rng.integers(1, 6))
    X = rng.standard_normal((n, p)) * 10.0 ** (rng.uniform(-2, 2, p) * (rng.random() < 0.5))
    dtype = np.dtype(rng.choice(["f4", "f8"]))
    if rng.random() < 0.25:  # one-hot, no level left out
        X = np.hstack([X, np.eye(3)[rng.integers(3, size=n)]])
    if rng.random() < 0.35:
        return sparse.csr_array(np.where(rng.random(X.shape) < 0.6, X, 0).astype(dtype))
    if rng.random() < 0.4:
        X = X + rng.choice([1.0, 1e2, 1e4, 1e6])
    return X.astype(dtype)


def draw(seed):
    """Draw a problem, fit it, and return the Fit."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice(list(KINDS)))
    loss, kind = KINDS[name]
    n, k = int(rng.integers(6, 45)), 2 if name == "two labels" else int(rng.integers(3, 6))
    X = draw_columns(rng, n)
    T = draw_targets(rng, kind, n, k)
    T = T.astype(X.dtype) if kind not in ("labels", "indicator") else T
    weights = None
    if rng.random() < 0.5:
        weights = rng.uniform(0.1, 3, n) * (rng.random(n) < 0.8) * 10.0 ** rng.integers(-6, 7)
        weights[:k] = 1.0
    options = {
        "solver": str(rng.choice(SOLVERS)),
        "alpha": 0.0 if rng.random() < 0.15 else 10.0 ** rng.uniform(-9, 3),
        "fit_intercept": bool(rng.random() < 0.8),
        "label_smoothing": float(rng.choice([0.0, 0.0, 0.1])),
        "tol": 10.0 ** rng.uniform(-9, -1),
        "max_iter": int(rng.choice([1, 5, 20, 100])),
        "random_state": seed,
    }
    options["alpha"] += 1e-4 * (options["solver"] == "sdca" and options["alpha"] == 0)
    q = None
    if loss == "bce" and rng.random() < 0.6:
        q = options["pos_weight"] = 10.0 ** rng.uniform(-2, 6, k if rng.random() < 0.7 else ())
    if name in ("labels", "two labels", "shares"):
        model, y = MultinomialLogistic(**options), T.argmax(axis=1) if kind == "labels" else T
    else:
        model = MultiLabelLogistic(loss="bce" if loss == "bce" else "softmax", **options)
        y = T.astype(int) if kind == "indicator" else T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y, sample_weight=weights)
    q = None if q is None else np.broadcast_to(q, k).astype(X.dtype)
    form = {
        "pos_weight": q,
        "smoothing": options["label_smoothing"],
        "alpha": options["alpha"],
        "fit_intercept": options["fit_intercept"],
    }
    T = T[:, 1:] if name == "two labels" else T
    weights = np.ones(n) if weights is None else weights
    about = ("sigmoid" if loss == "bce" else loss, X, T, weights)
    A = X.toarray() if sparse.issparse(X) else X
    centre = A.astype(float).mean(axis=0) if options["fit_intercept"] else None
    says = f"{seed}: {name}, {type(X).__name__} {X.shape} {X.dtype}, {options}"
    return Fit(says, model, Plain(*about, **form), Plain(*about, **form, centre=centre))


def faults(fit):
    """Return the laws that the fit breaks."""
    model, value = fit.model, fit.plain.objective(fit.W)
    at_zero = fit.plain.objective(np.zeros(fit.W.shape))
    largest = 1 + (np.abs(fit.plain.Z) @ np.abs(fit.W)).max()  # logits of the oracle round too
    rounding = 1e-15 * largest * at_zero
    slack = EXACT[model.coef_.dtype] * abs(value) + rounding
    found = []
    if not abs(model.objective_ - value) <= slack:
        found.append(f"objective_ {model.objective_} is {value} at the coefficients")
    if not value <= at_zero + EXACT[model.coef_.dtype] * at_zero:
        found.append(f"{value} is above {at_zero}, that of zero weights")
    if model.solver in ("auto", "lbfgs", "sdca") and model.alpha > 0:
        true = value - fit.centred.optimum()[1]
        rounding += 4 * np.finfo(model.coef_.dtype).eps * abs(value)
        if not model.dual_gap_ >= true - rounding:
            found.append(f"dual_gap_ {model.dual_gap_} is below {true}")
    return found


@pytest.mark.filterwarnings("ignore:y has labels of one value")
@pytest.mark.parametrize("block", then_long(range(BLOCKS + MORE_BLOCKS), BLOCKS))
def test_what_a_fit_says_of_itself_is_true(block):
    broken = []
    for seed in range(block * FITS, (block + 1) * FITS):
        fit = draw(seed)
        broken += [f"{fit.says}: {fault}" for fault in faults(fit)]
    assert not broken, "\n".join(broken)
