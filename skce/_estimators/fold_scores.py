"""What the scores of folds tell of penalties: which is best, and which have lost."""

import numpy as np

__all__ = ["deviation", "first_best", "is_worse", "strongest", "with_scores"]


def with_scores(scores):
    """Tell which folds (n_folds,) have any score; all where none has.

    Others hold out nothing that the score is defined for, as roc_auc of one class.
    """
    some = ~np.isnan(scores).all(axis=tuple(range(1, scores.ndim)))
    return some | ~some.any()


def first_best(means):
    """Return the first index of the highest mean, which NaN is not, as a tuple."""
    best = np.argmax(np.where(np.isnan(means), -np.inf, means))
    return tuple(map(int, np.unravel_index(best, means.shape)))


def strongest(scores, r, a):
    """Return the numbers of the strongest penalty within a standard error of the best."""
    means = scores[:, r].mean(axis=0)
    error = deviation(scores[:, r, a]) / np.sqrt(len(scores))
    return r, int(np.argmax(means >= means[a] - error))


def deviation(scores):
    """Return the standard deviation over the folds, 0 of a single one."""
    return scores.std(axis=0, ddof=min(1, len(scores) - 1))


def is_worse(scores, top):
    """Tell whether scores are lower than others by more than the standard error of that."""
    lower = top - scores
    return lower.mean() > deviation(lower) / np.sqrt(len(lower))
