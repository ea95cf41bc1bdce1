"""Thresholds of labels of the highest F1, of all labels or of each."""

import warnings

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold
from sklearn.utils import check_random_state

from skce.losses._checks import check_proba, check_targets, some_row_weight
from skce.losses._read import read_targets

__all__ = [
    "best_thresholds",
    "expected_f1",
    "labelled",
    "labelled_sample",
    "sample_step",
    "thresholds_of_folds",
]

SAMPLE = 1 << 20  # probabilities that tell of the F1 to expect
LEAST_ROWS = 64  # of them, however many labels
FOLDS = 3  # three more fits; not measured against other numbers


def best_thresholds(y_true, y_proba, *, sample_weight=None) -> np.ndarray:
    """Return for each label the threshold of the highest F1.

    For `threshold` of `skce.MultiLabelLogistic`, on rows that no fit has seen: on those it is too
    sure.

    Parameters
    ----------
    y_true : {array-like, sparse matrix} of shape (n_samples, n_labels)
        Indicator, or values in [0, 1]; NaN marks a missing entry, which does not count.
    y_proba : array-like of shape (n_samples, n_labels)
        Probability or share of each label.
    sample_weight : array-like of shape (n_samples,), default=None
        Row weights.

    Returns
    -------
    thresholds : ndarray of shape (n_labels,)
        In the dtype of `y_proba`: a label is on above its threshold, off at it. Half-way between
        the last probability that is to be on and the first that is not, or 0. Of equal F1 the
        highest threshold; 1, never on, for a label without positives.

    Raises
    ------
    ValueError
        If shapes or values do not fit.

    Examples
    --------
    >>> from skce.metrics import best_thresholds
    >>> best_thresholds([[1], [1], [0], [0]], [[0.9], [0.4], [0.2], [0.1]])
    array([0.3])
    """
    proba = check_proba(y_proba, "y_proba")
    targets = read_targets("y_true", y_true)
    if targets.shape != proba.shape:
        raise ValueError(f"y_true must have shape {proba.shape}, got {targets.shape}.")
    columns = targets.tocsc() if sparse.issparse(targets) else targets
    weight = some_row_weight(sample_weight, len(proba))
    return _best_thresholds(columns, proba, np.broadcast_to(weight[:, np.newaxis], proba.shape))


def _best_thresholds(columns, proba, weights):
    """Return the thresholds for targets (n, K), dense or CSC, and weights (n, K) of the entries."""
    result = np.ones(proba.shape[1], proba.dtype)
    for j in range(proba.shape[1]):
        of_label = (len(proba), 1)
        y = check_targets(columns[:, [j]], of_label, np.float64, upper=1, name="y_true").ravel()
        here = ~np.isnan(y) & (weights[:, j] > 0)
        result[j] = _best_threshold(y[here], proba[here, j], weights[here, j])
    return result


def _best_threshold(y, proba, weight):
    order = np.argsort(-proba)
    proba, y, weight = proba[order], y[order], weight[order]
    hits, on = np.cumsum(weight * y), np.cumsum(weight)
    if not len(y) or hits[-1] == 0:
        return 1.0
    below = np.append(proba[1:], proba.dtype.type(0))
    f1 = np.where(proba > below, 2 * hits / (on + hits[-1]), -1)  # cuts between equal ones: none
    best = np.argmax(f1)
    if f1[best] < 0:  # all probabilities are 0
        return 0.0
    middle = (proba[best] + below[best]) / 2
    return middle if middle < proba[best] else below[best]


def thresholds_of_folds(model, X, y, weights, entry_weight=None):
    """Return the best thresholds for probabilities of rows that fits of the others give.

    The model is not fitted itself. X, CSR y (n, K), weights (n,) and those of the entries (n, K)
    are checked; entries count by the product of both.
    """
    rows = np.flatnonzero(weights)
    if len(rows) < 2:
        raise ValueError(f'y must have two rows with a weight for threshold="f1", got {len(rows)}.')
    folds = KFold(
        min(FOLDS, len(rows)), shuffle=True, random_state=check_random_state(model.random_state)
    )
    held_out = np.empty(y.shape, X.dtype)
    for fitted, others in folds.split(rows):
        part, rest = rows[fitted], rows[others]
        twin = clone(model)
        with warnings.catch_warnings():  # the fit of all rows warns
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", UserWarning)
            given = {} if entry_weight is None else {"entry_weight": entry_weight[part]}
            twin.fit(X[part], y[part], weights[part], **given)
        held_out[rest] = twin.predict_proba(X[rest])
    y, held_out, weights = y[rows].tocsc(), held_out[rows], weights[rows, np.newaxis]
    if entry_weight is not None:
        weights = weights * entry_weight[rows]
    return _best_thresholds(y, held_out, np.broadcast_to(weights, y.shape))


def labelled(y, weights):
    """Return the rows of CSR y (n, K) that have a weight and a label."""
    has_label = np.diff(np.append(0, np.cumsum(y.data > 0))[y.indptr]) > 0
    return np.flatnonzero(has_label & (weights > 0))


def sample_step(n, k):
    """Return every how manieth of n labelled rows of k labels is in a sample of them."""
    return -(-n // max(SAMPLE // k, LEAST_ROWS)) or 1


def labelled_sample(y, weights):
    """Return some of the labelled rows, spread evenly."""
    rows = labelled(y, weights)
    return rows[:: sample_step(len(rows), y.shape[1])]


def expected_f1(proba, weights):
    """Return the highest F1 of one threshold to expect if proba (n, K) are right; 0 for no rows.

    With labels on above t it is 2 S(t) / (N(t) + S(0)), S summing probabilities above t and N
    counting them, both weighted. It is highest at half of itself: Dinkelbach's method.
    """
    best, last = 0.0, -1.0
    total = float(weights @ proba.sum(axis=1))
    while best > last:
        last, on = best, proba > best / 2
        hits = float(weights @ np.where(on, proba, 0).sum(axis=1))
        best = 2 * hits / ((float(weights @ on.sum(axis=1)) + total) or 1.0)
    return last
