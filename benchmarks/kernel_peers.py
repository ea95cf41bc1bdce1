"""The functions of skce.losses and what other libraries offer in their place, as callables.

``candidates`` draws one seeded problem and returns a callable for each library:

- gradient: mean loss and gradient of the logits; torch's time includes its backward pass.
- loss: the loss alone; torch runs without recording a graph.
- proba: probabilities, their logarithms, and the losses of given probabilities.

Outputs are written into given arrays wherever a library takes one. scikit-learn's losses are those
inside its linear models (sklearn._loss): they return the losses of rows unreduced, have no 1/M
softmax, and their sigmoid takes one label, so that it gets all entries as one column. "copy" copies
the logits: the floor of whatever reads and writes each entry once.
"""

import inspect

import numpy as np
from scipy import special
from sklearn._loss import HalfBinomialLoss, HalfMultinomialLoss
from sklearn.metrics import log_loss

from skce import losses

try:
    import torch
except ImportError:
    torch = None

__all__ = ["COLUMNS", "FUNCTIONS", "LOSSES", "WHATS", "candidates", "functions", "has_classes"]

WHATS = ("gradient", "loss", "proba")
LOSSES = ("softmax", "softmax 1/M", "sigmoid")
COLUMNS = ("skce", "scikit-learn", "torch", "NumPy/SciPy", "copy")


def functions(whats=WHATS, kinds=LOSSES):
    """Names of the public functions that compute one of ``whats`` of one of the losses."""
    return [name for name, (what, kind, _) in FUNCTIONS.items() if what in whats and kind in kinds]


def has_classes(function, n_classes):
    """Whether the number of classes makes sense: the softmax of one class is 1."""
    return n_classes > 1 or FUNCTIONS[function][1] == "sigmoid"


def candidates(function, n_classes, dtype, size, *, threads=1, seed=0):
    """Callables by library that do what ``function`` does, for ``size`` seeded logits.

    torch takes its number of threads from ``torch.set_num_threads``, all others from ``threads``.
    """
    rng = np.random.default_rng(seed)
    n = max(1, int(size) // n_classes)
    logits = (2 * rng.standard_normal((n, n_classes))).astype(dtype)
    _, kind, make = FUNCTIONS[function]
    if kind == "softmax":
        targets = rng.integers(n_classes, size=n)
        targets[:n_classes] = np.arange(n_classes)[:n]
    else:
        targets = (rng.random((n, n_classes)) < max(0.03, 1 / n_classes)).astype(dtype)
    calls = make(logits, targets, threads)
    out = np.empty_like(logits)
    calls["copy"] = lambda: np.copyto(out, logits)
    return calls if torch is not None else {k: v for k, v in calls.items() if k != "torch"}


def _softmax_gradient(logits, labels, threads):
    grad, row_losses = np.empty_like(logits), np.empty(len(logits), logits.dtype)
    skce = losses.softmax_cross_entropy_value_and_grad
    sklearn = HalfMultinomialLoss(n_classes=logits.shape[1]).loss_gradient
    labels_float = labels.astype(logits.dtype)
    outs = {"loss_out": row_losses, "gradient_out": grad}
    return {
        "skce": lambda: skce(logits, labels, out=grad, n_threads=threads),
        "scikit-learn": lambda: sklearn(labels_float, logits, **outs, n_threads=threads),
        "torch": _torch_gradient("cross_entropy", logits, labels),
        "NumPy/SciPy": lambda: _numpy_softmax(logits, labels),
    }


def _one_over_m_gradient(logits, targets, threads):
    grad = np.empty_like(logits)
    skce = losses.multilabel_softmax_cross_entropy_value_and_grad
    return {
        "skce": lambda: skce(logits, targets, out=grad, n_threads=threads),
        "torch": _torch_gradient("cross_entropy", logits, _shares(targets)),
        "NumPy/SciPy": lambda: _numpy_one_over_m(logits, targets),
    }


def _sigmoid_gradient(logits, targets, threads):
    grad, entry_losses = np.empty_like(logits), np.empty(logits.size, logits.dtype)
    skce = losses.sigmoid_cross_entropy_value_and_grad
    sklearn = HalfBinomialLoss().loss_gradient
    column, s = targets.ravel(), logits.ravel()
    outs = {"loss_out": entry_losses, "gradient_out": grad.ravel()}
    return {
        "skce": lambda: skce(logits, targets, out=grad, n_threads=threads),
        "scikit-learn": lambda: sklearn(column, s, **outs, n_threads=threads),
        "torch": _torch_gradient("binary_cross_entropy_with_logits", logits, targets),
        "NumPy/SciPy": lambda: _numpy_sigmoid(logits, targets),
    }


def _softmax_loss(logits, labels, threads):
    out = np.empty(len(logits), logits.dtype)
    skce = losses.softmax_cross_entropy
    sklearn = HalfMultinomialLoss(n_classes=logits.shape[1]).loss
    labels_float = labels.astype(logits.dtype)
    return {
        "skce": lambda: skce(logits, labels, reduction="mean", n_threads=threads),
        "scikit-learn": lambda: sklearn(labels_float, logits, loss_out=out, n_threads=threads),
        "torch": _torch_loss("cross_entropy", logits, labels),
        "NumPy/SciPy": lambda: _numpy_softmax(logits, labels, with_grad=False),
    }


def _one_over_m_loss(logits, targets, threads):
    skce = losses.multilabel_softmax_cross_entropy
    return {
        "skce": lambda: skce(logits, targets, reduction="mean", n_threads=threads),
        "torch": _torch_loss("cross_entropy", logits, _shares(targets)),
        "NumPy/SciPy": lambda: _numpy_one_over_m(logits, targets, with_grad=False),
    }


def _sigmoid_loss(logits, targets, threads):
    out = np.empty(logits.size, logits.dtype)
    skce, sklearn = losses.sigmoid_cross_entropy, HalfBinomialLoss().loss
    column, s = targets.ravel(), logits.ravel()
    return {
        "skce": lambda: skce(logits, targets, reduction="mean", n_threads=threads),
        "scikit-learn": lambda: sklearn(column, s, loss_out=out, n_threads=threads),
        "torch": _torch_loss("binary_cross_entropy_with_logits", logits, targets),
        "NumPy/SciPy": lambda: _numpy_sigmoid(logits, targets, with_grad=False),
    }


def _softmax_proba(logits, labels, threads):
    s, out = _tensor(logits), _tensor(np.empty_like(logits))
    skce, options = losses.softmax, options_of(losses.softmax, threads, np.empty_like(logits))
    sklearn = HalfMultinomialLoss(n_classes=logits.shape[1]).predict_proba
    return {
        "skce": lambda: skce(logits, **options),
        "scikit-learn": lambda: sklearn(logits),
        "torch": lambda: torch.softmax(s, 1, out=out).numpy(),
        "NumPy/SciPy": lambda: special.softmax(logits, axis=1),
    }


def _log_softmax(logits, labels, threads):
    s, out = _tensor(logits), _tensor(np.empty_like(logits))
    skce, options = (
        losses.log_softmax,
        options_of(losses.log_softmax, threads, np.empty_like(logits)),
    )
    return {
        "skce": lambda: skce(logits, **options),
        "torch": lambda: torch.log_softmax(s, 1, out=out).numpy(),
        "NumPy/SciPy": lambda: special.log_softmax(logits, axis=1),
    }


def _cross_entropy(logits, labels, threads):
    proba, rows = special.softmax(logits, axis=1), np.arange(len(labels))
    p, row, y = _tensor(proba), _tensor(rows), _tensor(labels)
    skce, classes = losses.cross_entropy, np.arange(logits.shape[1])
    options = options_of(skce, threads)
    return {
        "skce": lambda: skce(proba, labels, **options),
        "scikit-learn": lambda: log_loss(labels, proba, labels=classes),
        "torch": lambda: -p[row, y].log().mean().item(),
        "NumPy/SciPy": lambda: -np.log(proba[rows, labels]).mean(),
    }


def _sigmoid_proba(logits, targets, threads):
    buffer = np.empty_like(logits)
    s, out, column = _tensor(logits), _tensor(buffer.copy()), logits.ravel()
    skce, options = losses.sigmoid, options_of(losses.sigmoid, threads, buffer.copy())
    sklearn = HalfBinomialLoss().predict_proba
    return {
        "skce": lambda: skce(logits, **options),
        "scikit-learn": lambda: sklearn(column),
        "torch": lambda: torch.sigmoid(s, out=out).numpy(),
        "NumPy/SciPy": lambda: special.expit(logits, out=buffer),
    }


def _log_sigmoid(logits, targets, threads):
    s, out = _tensor(logits), np.empty_like(logits)
    skce, options = losses.log_sigmoid, options_of(losses.log_sigmoid, threads, out.copy())
    return {
        "skce": lambda: skce(logits, **options),
        "torch": lambda: torch.nn.functional.logsigmoid(s).numpy(),
        "NumPy/SciPy": lambda: special.log_expit(logits, out=out),
    }


def _binary_cross_entropy(logits, targets, threads):
    proba, n = special.expit(logits), len(logits)
    p, t, skce = _tensor(proba), _tensor(targets), losses.binary_cross_entropy
    options = options_of(skce, threads)

    def call_torch():
        return torch.nn.functional.binary_cross_entropy(p, t, reduction="sum").item() / n

    def call_scipy():
        entries = special.xlogy(targets, proba) + special.xlog1py(1 - targets, -proba)
        return -entries.sum() / n

    # log_loss of 2e6 binary entries takes many times as long: it is no peer.
    calls = {"skce": lambda: skce(proba, targets, **options)}
    return calls | {"torch": call_torch, "NumPy/SciPy": call_scipy}


def options_of(function, threads, out=None):
    """``n_threads`` and ``out`` for the functions that have them; others run on one thread."""
    options = {"n_threads": threads} | ({} if out is None else {"out": out})
    known = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in known}


def _shares(targets):
    return targets / np.maximum(targets.sum(axis=1, keepdims=True), 1)


def _tensor(array):
    return None if torch is None else torch.from_numpy(array)


def _torch_gradient(name, logits, targets):
    """Torch's loss, summed over the rows and divided by their number, and its backward pass."""
    if torch is None:
        return None
    function, n = getattr(torch.nn.functional, name), len(logits)
    s, t = torch.from_numpy(logits.copy()).requires_grad_(), torch.from_numpy(targets)

    def call():
        s.grad = None  # else backward would add to it
        loss = function(s, t, reduction="sum") / n
        loss.backward()
        return loss.item(), s.grad.numpy()

    return call


def _torch_loss(name, logits, targets):
    if torch is None:
        return None
    function, n = getattr(torch.nn.functional, name), len(logits)
    s, t = torch.from_numpy(logits), torch.from_numpy(targets)

    def call():
        with torch.no_grad():
            return (function(s, t, reduction="sum") / n).item()

    return call


def _numpy_softmax(logits, labels, *, with_grad=True):
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    true = shifted[rows, labels]
    grad = np.exp(shifted, out=shifted)
    sums = grad.sum(axis=1, keepdims=True)
    loss = (np.log(sums[:, 0]) - true).mean()
    if not with_grad:
        return loss
    grad /= sums
    grad[rows, labels] -= 1
    grad /= len(labels)
    return loss, grad


def _numpy_one_over_m(logits, targets, *, with_grad=True):
    targets = targets / np.maximum(np.count_nonzero(targets, axis=1), 1)[:, None]
    targets = targets.astype(logits.dtype, copy=False)
    mass = targets.sum(axis=1, keepdims=True)
    shifted = logits - logits.max(axis=1, keepdims=True)
    true = np.einsum("nk,nk->n", targets, shifted)
    grad = np.exp(shifted, out=shifted)
    sums = grad.sum(axis=1, keepdims=True)
    loss = (mass[:, 0] * np.log(sums[:, 0]) - true).mean()
    if not with_grad:
        return loss
    grad *= mass / sums
    grad -= targets
    grad /= len(targets)
    return loss, grad


def _numpy_sigmoid(logits, targets, *, with_grad=True):
    e = np.exp(-np.abs(logits))
    loss = (np.maximum(logits, 0) + np.log1p(e) - targets * logits).sum() / len(targets)
    if not with_grad:
        return loss
    grad = np.where(logits >= 0, 1, e) / (1 + e)
    grad -= targets
    grad /= len(targets)
    return loss, grad


# Each public function of skce.losses: what it computes, of which loss, beside which peers.
FUNCTIONS = {
    "softmax_cross_entropy_value_and_grad": ("gradient", "softmax", _softmax_gradient),
    "multilabel_softmax_cross_entropy_value_and_grad": (
        "gradient",
        "softmax 1/M",
        _one_over_m_gradient,
    ),
    "sigmoid_cross_entropy_value_and_grad": ("gradient", "sigmoid", _sigmoid_gradient),
    "softmax_cross_entropy": ("loss", "softmax", _softmax_loss),
    "multilabel_softmax_cross_entropy": ("loss", "softmax 1/M", _one_over_m_loss),
    "sigmoid_cross_entropy": ("loss", "sigmoid", _sigmoid_loss),
    "softmax": ("proba", "softmax", _softmax_proba),
    "log_softmax": ("proba", "softmax", _log_softmax),
    "cross_entropy": ("proba", "softmax", _cross_entropy),
    "sigmoid": ("proba", "sigmoid", _sigmoid_proba),
    "log_sigmoid": ("proba", "sigmoid", _log_sigmoid),
    "binary_cross_entropy": ("proba", "sigmoid", _binary_cross_entropy),
}
