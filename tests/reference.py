"""Slow, obvious NumPy in extended precision for what skce does fast: DESIGN 2, EQUATIONS E1.

Each loss takes the arguments of its namesake in `skce.losses` and returns, for n rows,

- the losses of the rows (n,) and the residuals (n, K), both multiplied by the row's weights;
- the effective weights of the rows (n,), whose sum divides in a "mean".
"""

import numpy as np

__all__ = [
    "multilabel_softmax_cross_entropy",
    "reduced",
    "sgd_epoch",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
]

FLOAT = np.longdouble


def reduced(losses, residuals, weights, reduction):
    """Reduced loss and its gradient."""
    if reduction == "none":
        return losses, residuals
    divisor = weights.sum() if reduction == "mean" else 1
    if divisor == 0:
        return 0.0, np.zeros_like(residuals)
    return losses.sum() / divisor, residuals / divisor


def softmax_cross_entropy(
    logits, targets, sample_weight=None, class_weight=None, label_smoothing=0.0
):
    if np.ndim(targets) == 1:
        targets = np.eye(np.shape(logits)[1])[targets]
    return _softmax_rows(logits, targets, sample_weight, class_weight, label_smoothing)


def multilabel_softmax_cross_entropy(logits, targets, sample_weight=None, label_smoothing=0.0):
    targets = np.array(targets, dtype=FLOAT)
    for t in targets:
        n_positives = np.sum(t > 0)  # of the observed ones: NaN > 0 is False
        if n_positives > 0:
            t /= n_positives
    return _softmax_rows(logits, targets, sample_weight, None, label_smoothing)


def _softmax_rows(logits, targets, sample_weight, class_weight, label_smoothing):
    n, k = np.shape(logits)
    losses, residuals, weights = np.zeros(n, FLOAT), np.zeros((n, k), FLOAT), np.ones(n, FLOAT)
    class_weight = np.ones(k) if class_weight is None else class_weight
    sample_weight = np.ones(n) if sample_weight is None else sample_weight
    for i in range(n):
        seen = ~np.isnan(targets[i])  # missing entries leave
        s = np.asarray(logits[i], FLOAT)[seen]
        t = np.asarray(targets[i], FLOAT)[seen]
        if t.sum() > 0:
            weighted = np.asarray(class_weight, FLOAT)[seen] * t
            weights[i] = weighted.sum() / t.sum()
            t = (1 - label_smoothing) * weighted + label_smoothing * weighted.sum() / t.size
            losses[i], residuals[i, seen] = _softmax_row(s, t)
        losses[i] *= sample_weight[i]
        residuals[i] *= sample_weight[i]
        weights[i] *= sample_weight[i]
    return losses, residuals, weights


@np.errstate(all="ignore")
def _softmax_row(s, t):
    """T lse(s) - sum t s and T softmax(s) - t; the same after a shift of s. 0 inf = 0."""
    if np.sum(s == np.inf) == 1:  # certain, unless there is NaN
        s = np.where(s == np.inf, 0, np.where(np.isnan(s), s, -np.inf))
    z = s - s.max()  # NaN if s is all -inf, has several +inf or NaN
    others = np.delete(z, z.argmax())
    lse = np.log1p(np.sum(np.exp(others))) if z.max() == 0 else np.nan
    positive = t > 0
    loss = t.sum() * lse - np.sum(t[positive] * z[positive])
    return loss, t.sum() * np.exp(z - lse) - t


def sigmoid_cross_entropy(
    logits, targets, sample_weight=None, pos_weight=None, label_smoothing=0.0
):
    s, t = np.asarray(logits, FLOAT), np.asarray(targets, FLOAT)
    sample_weight = np.ones(len(s)) if sample_weight is None else sample_weight
    t = (1 - label_smoothing) * t + FLOAT(label_smoothing) / 2
    negative = 1 - t
    positive = t if pos_weight is None else np.asarray(pos_weight, FLOAT) * t
    with np.errstate(all="ignore"):
        losses = np.where(negative > 0, negative * _softplus(s), 0)
        losses += np.where(positive > 0, positive * _softplus(-s), 0)
        losses[np.isnan(s) & ~np.isnan(t)] = np.nan
        residuals = negative / (1 + np.exp(-s)) - positive / (1 + np.exp(s))
        residuals = np.where(np.isnan(t), 0, residuals)  # the losses are 0 there: NaN > 0 is False
    if s.ndim == 1:
        return losses * sample_weight, residuals * sample_weight, np.asarray(sample_weight, FLOAT)
    weights = np.asarray(sample_weight, FLOAT)
    return losses.sum(axis=1) * weights, residuals * weights[:, np.newaxis], weights


def _softplus(s):
    return np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))


def sgd_epoch(
    loss, X, order, batch_size, steps, W, mean, metric, alpha, rule, momentum_rate, state, count,
    average, blends, lazy,
):  # fmt: skip
    """One epoch on dense X, as `skce._engine.sgd.sgd_epoch`, which has these arguments.

    loss(logits, rows) returns what the losses above do. `rule` is the name of the update rule.
    Returns the summed loss, W, state and average.
    """
    X = np.asarray(X, FLOAT) if mean is None else np.asarray(X, FLOAT) - np.asarray(mean, FLOAT)
    X = np.column_stack([X, np.ones(len(X))])  # the last row of W is the intercept
    W, average = np.array(W, FLOAT), np.array(average, FLOAT)
    state = [np.array(s, FLOAT) for s in state]
    metric = np.asarray(metric, FLOAT)[:, np.newaxis]
    penalised = np.ones_like(metric)
    penalised[-1] = 0
    total, pending = FLOAT(0), FLOAT(0)
    for step, eta in enumerate(steps):
        rows = order[step * batch_size : (step + 1) * batch_size]
        losses, residuals, weights = loss(X[rows] @ W, rows)
        if weights.sum() > 0:
            total += losses.sum()
            gradient = X[rows].T @ residuals / len(rows)
            if rule == "SGD":  # the penalty waits for the sweep
                W -= eta * metric * gradient
                pending += eta
            else:
                gradient = metric * (gradient + alpha * penalised * W)
                count += 1
                W += _update(rule, eta, momentum_rate, metric, gradient, state, count)
        if rule != "SGD" or (step + 1) % lazy == 0 or step + 1 == len(steps):
            W /= 1 + pending * alpha * penalised * metric
            pending = FLOAT(0)
            average += blends[step] * (W - average)
    return total, W, state, average


def _update(rule, eta, momentum_rate, metric, gradient, state, count):
    """What a step adds to W. Its state changes."""
    if rule == "MOMENTUM":  # Nesterov's
        state[0] = momentum_rate * state[0] - eta * gradient
        return momentum_rate * state[0] - eta * gradient
    if rule == "ADAGRAD":
        state[0] += gradient**2
        return -eta * metric * gradient / (np.sqrt(state[0]) + 1e-8)
    state[0] = 0.9 * state[0] + (1 - FLOAT(0.9)) * gradient
    state[1] = 0.999 * state[1] + (1 - FLOAT(0.999)) * gradient**2
    mean = state[0] / (1 - FLOAT(0.9) ** count)
    square = state[1] / (1 - FLOAT(0.999) ** count)
    return -eta * metric * mean / (np.sqrt(square) + 1e-8)
