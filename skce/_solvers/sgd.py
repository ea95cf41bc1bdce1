"""The epochs of a stochastic fit."""

import numpy as np

from skce._solvers.undo import is_finite, restore, save

__all__ = ["run_epochs"]

STALE_BEFORE_HALVING = 2  # passes without progress after which steps are halved


def run_epochs(
    stream, problem, data, weights, limit, rng, *, tol, max_iter, n_iter_no_change, parts, report
):
    """Pass over shuffled rows until the loss stalls; return why it ended, None for by tol.

    report(passes, value) is called after each of the equal parts of a pass, and may raise
    `Stopped`. A pass whose weights overflow is undone.
    """
    n = len(weights)
    best, stale = np.inf, 0
    diverged = f"the loss diverged with learning_rate={stream.params['learning_rate']!r}"
    for epoch in range(max_iter):
        before, total = save(stream, data.X), 0.0
        order = rng.permutation(n).astype(np.intp)
        for part, rows in enumerate(np.array_split(order, parts), 1):
            loss = stream.run(problem, data, weights, rows)
            if not (np.isfinite(loss) and is_finite(stream, data.X)):
                restore(stream, before)
                return diverged
            total += loss
            mean = loss / max(weights[rows].sum(), 1e-300)
            report(epoch + part / parts, mean + stream.penalty())
        mean = total / n + stream.penalty()
        if mean < best - tol * abs(best) or best == np.inf:
            best, stale = mean, 0
            continue
        stale += 1
        if stale >= n_iter_no_change:
            return diverged if total > limit else None
        if stream.auto and stale % STALE_BEFORE_HALVING == 0:
            stream.reduction /= 2
    return diverged if total > limit else f"max_iter={max_iter} was reached"
