"""Rows held out of a fit: which of them, those the user gives, and the loss there."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from skce import _kernels, losses
from skce._estimators.predict import map_logits
from skce._estimators.validation import check_weights, check_X, in_model_dtype
from skce._solvers.columns import rounded_intercept

__all__ = ["given_rows", "loss_shares", "mean_loss", "split"]

GIVEN = ("X_val", "y_val", "sample_weight_val")


def given_rows(model, data, X_val, y_val, sample_weight_val):
    """Return the Encoded rows that the user holds out, None where there are none.

    data is what the model is fitted to. Raise where the arguments do not go together.
    """
    given = dict(zip(GIVEN, (X_val, y_val, sample_weight_val), strict=True))
    passed = [name for name, value in given.items() if value is not None]
    if not passed:
        return None
    if X_val is None or y_val is None:
        raise ValueError(f"X_val and y_val must be given together, got {' and '.join(passed)}.")
    if not model.early_stopping:
        raise ValueError("early_stopping must be True where X_val and y_val are given, got False.")
    try:
        X = in_model_dtype(check_X(model, X_val, reset=False), data.X.dtype)
        weights = check_weights(sample_weight_val, X.shape[0])
        known = data.attributes["classes_"]
        model.label_names_ = data.attributes["label_names_"]  # those of y_val are held to them
        held = model._encode(X, y_val, weights, known, data.counts)
        if held.k != data.k or held.kind != data.kind:
            raise ValueError(f"y must have the form of the training y, with {data.k} outputs.")
        if not _telling(held).any():
            raise ValueError("y must have a target with weight, got none.")
    except ValueError as error:
        raise ValueError(f"X_val, y_val and sample_weight_val must fit X and y: {error}") from error
    return replace(held, pos_weight=data.pos_weight)


def split(data, fraction, rng):
    """Return the numbers of the rows held out, sorted.

    Labels keep their shares. A row of each label, if only one has it, is trained on, and so are
    rows without a target. (`train_test_split` takes ten times as long, half of a fit of covtype.)
    """
    live = rng.permutation(np.flatnonzero(_telling(data)))
    labels = _labels(data)
    if labels is not None:
        labels = labels[live].astype(np.min_scalar_type(data.k))
        order = np.argsort(labels, kind="stable")
        free, labels = live[order], labels[order]
        free = free[1:][labels[1:] == labels[:-1]]
    else:
        on = (data.targets[live] > 0).astype(np.int64)
        free = live[on @ (on.sum(axis=0) == 1).astype(np.int64) == 0]
    size = max(1, round(fraction * len(live)))
    if size > len(free) or size == len(live):
        raise ValueError(
            f"validation_fraction must leave rows to train on, got {fraction} of {len(live)} rows "
            f"of which {len(free)} can be held out."
        )
    # rows at equal distances from each other, one label after the other
    return np.sort(free[(rng.randint(len(free)) + np.arange(size) * len(free)) // size])


def _telling(data):
    """Return which rows (n,) have a weight and a target that the loss depends on."""
    telling = data.weights > 0
    if isinstance(data.targets, np.ndarray):
        return telling
    n, values = len(telling), data.targets.data
    rows = np.repeat(np.arange(n), np.diff(data.targets.indptr))
    if data.kind == _kernels.Loss.SIGMOID:
        return telling & (np.bincount(rows[np.isnan(values)], minlength=n) < data.k)
    return telling & (np.bincount(rows[values > 0], minlength=n) > 0)


def _labels(data):
    """Return the label (n,) of each row, None where rows have several, or shares of them."""
    if isinstance(data.targets, np.ndarray):
        return data.targets
    counts = np.diff(data.targets.indptr)
    if counts.max(initial=0) > 1 or not (data.targets.data == 1).all():
        return None
    labels = np.full(len(counts), data.k)
    labels[counts == 1] = data.targets.indices
    return labels


def mean_loss(data, smoothing, coef, intercept):
    """Return the weighted mean of the losses of Encoded rows, without a penalty."""
    return float(loss_shares(data, smoothing, coef, intercept).sum())


def loss_shares(data, smoothing, coef, intercept):
    """Return what each of the Encoded rows (n,) adds to that mean."""
    coef = coef.astype(data.X.dtype, copy=False)
    intercept = rounded_intercept(intercept, data.X.dtype)
    options = {"label_smoothing": smoothing, "reduction": "none"}
    function: Callable = losses.softmax_cross_entropy
    if data.kind == _kernels.Loss.SIGMOID:
        function, options["pos_weight"] = losses.sigmoid_cross_entropy, data.pos_weight
    elif data.kind == _kernels.Loss.MULTILABEL_SOFTMAX:
        function = losses.multilabel_softmax_cross_entropy
    at = 0

    def of_block(logits):
        nonlocal at
        rows = slice(at, at + len(logits))
        targets = data.targets[rows]
        if not isinstance(targets, np.ndarray):
            targets = targets.toarray()
        if data.entry_weight is not None:
            options["entry_weight"] = data.entry_weight[rows]
        at = rows.stop
        return function(logits, targets, sample_weight=data.weights[rows], **options)

    return map_logits(data.X, coef, intercept, of_block, False) / data.weights.sum()
