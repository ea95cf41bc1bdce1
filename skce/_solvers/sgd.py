"""The epochs of a stochastic fit."""

import numpy as np

__all__ = ["run_epochs"]

STALE_BEFORE_HALVING = 2


def run_epochs(
    stream, problem, data, weights, limit, rng, *, tol, max_iter, n_iter_no_change, report
):
    """Pass over shuffled rows until the loss stalls; return the loss curve, and why it ended.

    Fits that end by tol return None for the reason. A pass whose weights overflow is undone.
    report(passes, value) may raise `Stopped`.
    """
    n = len(weights)
    curve: list = []
    best, stale = np.inf, 0
    diverged = f"the loss diverged with learning_rate={stream.params['learning_rate']!r}"
    for epoch in range(max_iter):
        before = stream.save(data.X)
        order = rng.permutation(n).astype(np.intp)
        loss = stream.run(problem, data, weights, order)
        if not (np.isfinite(loss) and stream.is_finite(data.X)):
            stream.restore(before)
            return [*curve, np.inf], diverged
        curve.append(loss / n + stream.penalty())
        report(epoch + 1, curve[-1])
        if curve[-1] < best - tol * abs(best) or best == np.inf:
            best, stale = curve[-1], 0
            continue
        stale += 1
        if stale >= n_iter_no_change:
            return curve, diverged if loss > limit else None
        if stream.auto and stale % STALE_BEFORE_HALVING == 0:
            stream.reduction /= 2
    return curve, diverged if loss > limit else f"max_iter={max_iter} was reached"
