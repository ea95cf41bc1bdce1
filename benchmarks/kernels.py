"""Loss and gradient of skce.losses beside scikit-learn, torch and NumPy, in ns per logit.

    python benchmarks/kernels.py [--classes 3 10] [--losses softmax] [--size 2e6] [--threads 1]

Every candidate returns the loss of all rows and the gradient with respect to the logits. skce and
scikit-learn write the gradient into a given array; torch's time includes its backward pass. "copy"
copies the logits: the floor. scikit-learn's loss is the one inside its linear models
(sklearn._loss), which has no 1/M softmax.
"""

import argparse

import numpy as np
from sklearn._loss import HalfBinomialLoss, HalfMultinomialLoss
from threadpoolctl import threadpool_limits
from timing import interleaved_medians, markdown_table

from skce import losses

try:
    import torch
except ImportError:
    torch = None

__all__ = ["candidates", "main"]

LOSSES = ("softmax", "softmax 1/M", "sigmoid")
CLASSES = (1, 2, 3, 10, 32, 100, 1000)
COLUMNS = ("skce", "scikit-learn", "torch", "NumPy", "copy")


def main(argv=None):
    """Print the table for the chosen losses, classes and dtypes."""
    args = _parser().parse_args(argv)
    if torch is not None:
        torch.set_num_threads(args.threads)
    header = ("loss", "K", "dtype", *COLUMNS, "scikit-learn / skce", "torch / skce", "NumPy / skce")
    rows = []
    with threadpool_limits(limits=args.threads):
        for loss in args.losses:
            for n_classes in args.classes:
                if n_classes > 1 or loss == "sigmoid":
                    rows += [_row(loss, n_classes, dtype, args) for dtype in args.dtypes]
    print(f"ns per logit, {args.threads} thread(s), about {args.size:.0f} logits, medians of")
    print(f"{args.rounds} interleaved rounds.\n\n{markdown_table(header, rows)}")


def candidates(loss, n_classes, dtype, size, threads=1, seed=0):
    """Callables returning (loss, gradient), by name, for one seeded problem."""
    rng = np.random.default_rng(seed)
    n = max(1, int(size) // n_classes)
    logits = (2 * rng.standard_normal((n, n_classes))).astype(dtype)
    if loss == "softmax":
        labels = rng.integers(n_classes, size=n)
        labels[:n_classes] = np.arange(n_classes)[:n]
        calls = _softmax(logits, labels, threads)
    else:
        targets = (rng.random((n, n_classes)) < max(0.03, 1 / n_classes)).astype(dtype)
        calls = (_sigmoid if loss == "sigmoid" else _one_over_m)(logits, targets, threads)
    out = np.empty_like(logits)
    calls["copy"] = lambda: np.copyto(out, logits)
    return calls


def _parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES)
    parser.add_argument("--classes", nargs="+", type=int, default=CLASSES)
    parser.add_argument("--dtypes", nargs="+", default=("float32", "float64"))
    parser.add_argument("--size", type=float, default=2e6, help="number of logits")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def _row(loss, n_classes, dtype, args):
    calls = candidates(loss, n_classes, dtype, args.size, args.threads)
    medians = interleaved_medians(calls, rounds=args.rounds)
    logits = max(1, int(args.size) // n_classes) * n_classes
    ns = {name: seconds / logits * 1e9 for name, seconds in medians.items()}
    figures = [f"{ns[name]:.2f}" if name in ns else "" for name in COLUMNS]
    ratios = [f"{ns[name] / ns['skce']:.1f}" if name in ns else "" for name in COLUMNS[1:4]]
    return (loss, n_classes, dtype, *figures, *ratios)


def _softmax(logits, labels, threads):
    grad, row_losses = np.empty_like(logits), np.empty(len(logits), logits.dtype)
    value_and_grad = losses.softmax_cross_entropy_value_and_grad
    sklearn_loss = HalfMultinomialLoss(n_classes=logits.shape[1])
    labels_float = labels.astype(logits.dtype)

    def call_sklearn():
        return sklearn_loss.loss_gradient(
            labels_float, logits, loss_out=row_losses, gradient_out=grad, n_threads=threads
        )

    return {
        "skce": lambda: value_and_grad(logits, labels, out=grad, n_threads=threads),
        "scikit-learn": call_sklearn,
        "NumPy": lambda: _numpy_softmax(logits, labels),
        **_torch("cross_entropy", logits, labels, labels.size),
    }


def _one_over_m(logits, targets, threads):
    grad = np.empty_like(logits)
    value_and_grad = losses.multilabel_softmax_cross_entropy_value_and_grad
    shares = targets / np.maximum(targets.sum(axis=1, keepdims=True), 1)
    return {
        "skce": lambda: value_and_grad(logits, targets, out=grad, n_threads=threads),
        "NumPy": lambda: _numpy_one_over_m(logits, targets),
        **_torch("cross_entropy", logits, shares, len(logits)),
    }


def _sigmoid(logits, targets, threads):
    grad, entry_losses = np.empty_like(logits), np.empty(logits.size, logits.dtype)
    value_and_grad = losses.sigmoid_cross_entropy_value_and_grad
    sklearn_loss = HalfBinomialLoss()

    def call_sklearn():
        return sklearn_loss.loss_gradient(
            targets.ravel(),
            logits.ravel(),
            loss_out=entry_losses,
            gradient_out=grad.ravel(),
            n_threads=threads,
        )

    return {
        "skce": lambda: value_and_grad(logits, targets, out=grad, n_threads=threads),
        "scikit-learn": call_sklearn,
        "NumPy": lambda: _numpy_sigmoid(logits, targets),
        **_torch("binary_cross_entropy_with_logits", logits, targets, len(logits)),
    }


def _torch(name, logits, targets, n):
    """Torch's loss (sum over n rows divided by n) and its backward pass."""
    if torch is None:
        return {}
    function = getattr(torch.nn.functional, name)
    s, t = torch.from_numpy(logits.copy()).requires_grad_(), torch.from_numpy(targets)

    def call():
        s.grad = None
        loss = function(s, t, reduction="sum") / n
        loss.backward()
        return loss.item(), s.grad.numpy()

    return {"torch": call}


def _numpy_softmax(logits, labels):
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    true = shifted[rows, labels]
    grad = np.exp(shifted, out=shifted)
    sums = grad.sum(axis=1, keepdims=True)
    loss = (np.log(sums[:, 0]) - true).mean()
    grad /= sums
    grad[rows, labels] -= 1
    grad /= len(labels)
    return loss, grad


def _numpy_one_over_m(logits, targets):
    targets = targets / np.maximum(np.count_nonzero(targets, axis=1), 1)[:, None]
    targets = targets.astype(logits.dtype, copy=False)
    mass = targets.sum(axis=1, keepdims=True)
    shifted = logits - logits.max(axis=1, keepdims=True)
    true = np.einsum("nk,nk->n", targets, shifted)
    grad = np.exp(shifted, out=shifted)
    sums = grad.sum(axis=1, keepdims=True)
    loss = (mass[:, 0] * np.log(sums[:, 0]) - true).mean()
    grad *= mass / sums
    grad -= targets
    grad /= len(targets)
    return loss, grad


def _numpy_sigmoid(logits, targets):
    e = np.exp(-np.abs(logits))
    loss = (np.maximum(logits, 0) + np.log1p(e) - targets * logits).sum() / len(targets)
    grad = np.where(logits >= 0, 1, e) / (1 + e)
    grad -= targets
    grad /= len(targets)
    return loss, grad


if __name__ == "__main__":
    main()
