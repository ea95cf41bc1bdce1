"""Slow, obvious NumPy in extended precision for what skce does fast: DESIGN 2, EQUATIONS E1.

Each loss takes the arguments of its namesake in `skce.losses` and returns, for n rows,

- the losses of the rows (n,) and the residuals (n, K), both multiplied by the row's weights;
- the effective weights of the rows (n,), whose sum divides in a "mean".
"""

import itertools

import numpy as np

__all__ = [
    "multilabel_softmax_cross_entropy",
    "reduced",
    "sgd_run",
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


def sgd_run(  # noqa: C901 (a loop, told step by step)
    loss, X, order, ends, steps, rows, times, W, mean, metric, l2, l1, rule, momentum_rate,
    curvature, state, count, average, clock, stamps, columns, sure=None,
):  # fmt: skip
    """A run on dense X, as `skce._engine.sgd.sgd_run`, which has these arguments.

    loss(logits, rows) returns what the losses above do. `rule` is the name of the update rule. With
    stamps X stands for CSR, of which a step moves the columns that its batch holds; with columns
    their scale is learned, and with `sure` the factor of the weights. Returns the summed loss, and
    what the run changes.
    """
    X = np.asarray(X, FLOAT) if mean is None else np.asarray(X, FLOAT) - np.asarray(mean, FLOAT)
    W, average, clock = (np.array(a, FLOAT) for a in (W, average, clock))
    state = [np.array(s, FLOAT) for s in state]
    stamps = None if stamps is None else np.array(stamps, FLOAT)
    columns = None if columns is None else np.array(columns, FLOAT)
    metric = np.array(metric, FLOAT)
    rooted = rule in ("ADAGRAD", "ADAM")
    total, typical = FLOAT(0), clock[3] / clock[4]

    def rate(step):
        eta = FLOAT(steps[step])
        if columns is not None and rooted:
            eta = eta / np.sqrt(clock[1] / clock[2])
        return eta, eta if rule == "ADAGRAD" and curvature > 0 else 0

    for step, (start, end) in enumerate(itertools.pairwise(ends)):
        batch, scale = order[start:end], 1 / FLOAT(rows[step])
        Z = X[batch]
        weights = loss(np.zeros((end - start, W.shape[1])), batch)[2]
        if weights.sum() <= 0:
            continue
        count += 1
        slow = rate(step)[1]
        met = np.arange(X.shape[1]) if stamps is None else np.flatnonzero(np.any(Z != 0, axis=0))
        if columns is not None:
            for row in Z[weights > 0]:
                for j in np.flatnonzero(row):
                    before = columns[0, j]
                    columns[:, j] = _scale_with(row[j] ** 2, *columns[:, j])
                    clock[3:] += np.log(columns[0, j]), 1
                    if rooted and before > 0:
                        W[j] *= np.sqrt(
                            _scale_square(before, typical) / _scale_square(columns[0, j], typical)
                        )
            known, typical = columns[0] > 0, clock[3] / clock[4]
            squares = _scale_square(columns[0][known], typical)
            metric[:-1][known] = squares ** (-0.5 if rooted else -1)
        if stamps is not None:
            for j in met:
                lag = clock[0] - stamps[j, 0]
                W[j] = _shrunk(W, state, j, lag, metric, l2, l1, rule, momentum_rate, count, slow)
                average[j] += _share(stamps[j, 1], times[step]) * (W[j] - average[j])
                stamps[j] = clock[0], times[step + 1]
        if sure is not None:
            for i in range(len(batch)):
                length = Z[i] ** 2 @ metric[:-1] ** (2 if rooted else 1) + metric[-1]
                if sure[2] > 0 and weights[i] > 0 and length * clock[2] <= 10 * clock[1]:
                    penalty = (l1 + l2) * times[step] * clock[2] / clock[1] / np.exp(typical)
                    logits, row = Z[i : i + 1] @ W[:-1], batch[i : i + 1]
                    sure = _surer(*sure, loss, logits, W[-1], row, scale, penalty)
        losses, residuals, _ = loss(Z @ W[:-1] + W[-1], batch)
        total += losses.sum()
        if columns is not None:
            usual = 2 * np.sqrt(columns[0])
            Z = np.clip(Z, -usual, usual)
        Z = np.column_stack([Z, np.ones(len(Z))])
        eager = np.ones(len(W))
        if columns is not None and rule == "ADAGRAD":
            eager[:-1] += 2 / np.sqrt(np.where(columns[1] > 0, columns[1], np.inf))
        factor = metric.copy()
        if columns is not None and rooted:
            factor = factor**2  # norms are of scaled columns
        norms = (Z[:, :-1] ** 2) @ factor[:-1] + metric[-1]
        if stamps is not None:
            clock[1:3] += weights @ norms, weights.sum()
        eta, slow = rate(step)
        positive = weights > 0
        unheld = np.sum(residuals[positive] ** 2 / weights[positive, None])
        if curvature > 0:
            for i, row in enumerate(Z):
                if columns is not None and rooted:
                    residuals[i] *= min(1, 2 * clock[1] / clock[2] / norms[i]) ** 2
                if rule == "ADAGRAD":
                    c = np.argmax(np.abs(residuals[i]))
                    roots = np.sqrt(state[0]) + slow * state[0] + FLOAT(1e-8)
                    roots = roots.mean(axis=1) if stamps is None else roots[:, c]
                    there = np.append(row[:-1] != 0, True)
                    pulls = eager * row**2 * metric**2 / roots
                    pull = eta * scale * weights[i] * np.sum(pulls[there])
                    residuals[i] *= _implicit(abs(residuals[i, c]) / (weights[i] or 1), pull)
                else:
                    length = eta * scale * curvature * weights[i] * norms[i]
                    residuals[i] /= 1 + length / _divisor(rule, momentum_rate)
        gradient = Z.T @ residuals
        if curvature > 0 and stamps is None and not rooted:  # of rows that are alike
            squares = np.sum(metric[:, np.newaxis] * gradient**2)
            held = np.sum(residuals[positive] ** 2 / weights[positive, None])
            bound = squares * eta * scale * curvature / _divisor(rule, momentum_rate)
            shorter = min(1, np.sqrt(unheld * held) / bound) if bound > 0 else 1
        else:
            shorter = 1
        gradient = metric[:, np.newaxis] * gradient * scale
        moved = np.append(met, X.shape[1])
        new = [s[moved] for s in state]
        W[moved] += eager[moved, None] * _update(
            rule,
            shorter * eta,
            momentum_rate,
            metric[moved, None],
            gradient[moved],
            new,
            count,
            slow,
        )
        for old, changed in zip(state, new, strict=True):
            old[moved] = changed
        length = eta * weights.sum() * scale
        if stamps is None:
            for j in met:
                W[j] = _shrunk(
                    W, state, j, length, metric, l2, l1, rule, momentum_rate, count, slow
                )
        clock[0] += length
        average[moved] += _share(times[step], times[step + 1]) * (W[moved] - average[moved])
    return total, W, state, average, clock, stamps, columns, sure


def _surer(factor, curvature, rows, against, looked, loss, Z, intercept, batch, scale, penalty):
    """The factor of the weights after Newton's step of a row, its curvature, the rows left, how
    much better the intercept alone foretold them, and the rows looked at.
    """
    factors = (factor, 1.1 * factor, 0)
    found = [loss(f * Z + intercept, batch) for f in factors]
    slopes = [np.sum(r * scale * f * Z) for f, (_, r, _) in zip(factors, found, strict=True)]
    weight = found[0][2][0] * scale
    against += np.clip((found[0][0][0] - found[2][0][0]) * scale, -weight, weight)
    curvature += max(slopes[1] - slopes[0], 0) / np.log(FLOAT(1.1))
    slope = slopes[0] + penalty * np.log(factor)
    step = np.clip(-slope / (curvature + (looked + 1) * penalty), -0.2, 0.2)
    return np.array([factor * np.exp(step), curvature, rows - 1, against, looked + 1])


def _scale_with(square, usual, hits):
    """The mean square of a column of CSR with one more value, and the number of its values."""
    if usual == 0:
        return square, 1
    if square > 4 * usual:
        return usual * (1 + 3 * FLOAT(16) / (hits + 16)), hits
    share = max(1 / (hits + 1), min(1 / FLOAT(16), 16 / (hits + 1)))
    return usual + (square - usual) * share, hits + 1


def _scale_square(square, typical):
    """The square by which a column of CSR is scaled."""
    away = np.log(square) - typical
    return np.exp(typical + away**3 / (away**2 + 16))


def _share(before, after):
    """Share of the time from before to after in an average weighted by time**2."""
    return 1 - (FLOAT(before) / FLOAT(after)) ** 3 if after > 0 else 0


def _divisor(rule, momentum_rate):
    return 1 - FLOAT(momentum_rate) if rule == "MOMENTUM" else FLOAT(1)


def _shrunk(W, state, j, length, metric, l2, l1, rule, momentum_rate, count, slow):
    """Row j of W after the proximal step of the penalty."""
    length = length * metric[j] / _divisor(rule, momentum_rate)
    if rule in ("ADAGRAD", "ADAM"):
        square = state[-1][j]
        if rule == "ADAM":
            square = square / (1 - FLOAT(0.999) ** count)
        length = np.where(square > 0, length / (np.sqrt(square) + slow * square + FLOAT(1e-8)), 0)
    return np.sign(W[j]) * np.maximum(np.abs(W[j]) - l1 * length, 0) / (1 + l2 * length)


def _implicit(residual, pull):
    """The residual after an implicit step of the logistic loss over that before: ten halvings."""
    if not 0 < residual < 1:
        return 1 / (1 + pull / 4)
    odds = (1 - residual) / residual
    low, high = FLOAT(0), min(pull * residual, max(1, np.log(pull / odds)))
    for _ in range(10):
        middle = (low + high) / 2
        if middle * (1 + odds * np.exp(middle)) < pull:
            low = middle
        else:
            high = middle
    return (low + high) / 2 / (pull * residual)


def _update(rule, eta, momentum_rate, metric, gradient, state, count, slow):
    """What a step adds to W. Its state changes."""
    if rule == "SGD":
        return -eta * gradient
    if rule == "MOMENTUM":  # Nesterov's
        state[0] = momentum_rate * state[0] - eta * gradient
        return momentum_rate * state[0] - eta * gradient
    if rule == "ADAGRAD":
        state[0] += gradient**2
        return -eta * metric * gradient / (np.sqrt(state[0]) + slow * state[0] + 1e-8)
    state[0] = 0.9 * state[0] + (1 - FLOAT(0.9)) * gradient
    state[1] = 0.999 * state[1] + (1 - FLOAT(0.999)) * gradient**2
    mean = state[0] / (1 - FLOAT(0.9) ** count)
    square = state[1] / (1 - FLOAT(0.999) ** count)
    return -eta * metric * mean / (np.sqrt(square) + 1e-8)
