"""`fit` of the multi-label model: with weights of entries and thresholds that are learnt."""

from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import clone

from skce import _kernels
from skce._estimators.base import BaseCrossEntropy
from skce._estimators.control import BY_PRUNING
from skce._estimators.decorators import fits, fits_with_callbacks
from skce._estimators.fitting import OPTIMISERS
from skce._estimators.predict import map_logits
from skce._estimators.thresholds import expected_f1, labelled_sample, thresholds_of_folds
from skce._estimators.validation import read_y
from skce._solvers import groups
from skce._solvers.problem import Problem
from skce._solvers.result import Limits, Stopped
from skce.losses._checks import check_entry_weight

__all__ = ["LabelFitMixin"]


class LabelFitMixin(BaseCrossEntropy):
    """Part of `MultiLabelLogistic`."""

    loss: str
    threshold: Any
    top_k: Any
    prune: Any
    mean_labels_: float
    share_threshold_: float
    predict_proba: Any
    _form: Any

    @fits_with_callbacks
    def fit(
        self,
        X,
        y=None,
        sample_weight=None,
        *,
        entry_weight=None,
        coef_init=None,
        intercept_init=None,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features. float32 is kept, anything else becomes float64; C-ordered arrays and CSR
            are not copied. `Parts` hold features and targets in parts.
        y : {array-like, sparse matrix} of shape (n_samples, n_labels) or (n_samples,)
            Targets, as the class's docstring tells; None for `Parts`.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative row weights: a weight of 2 means the same as the row twice.
        entry_weight : array-like of shape (n_samples, n_labels), default=None
            Non-negative weights of the entries of y, for "bce": the loss of a row is the sum of its
            entries' losses times these. As `pos_weight`, they do not enter the divisor Σ w_i, so
            that weights of c everywhere are ``alpha / c``. 0 is a missing entry. Losses on X_val
            have none. Of `Parts` it is that of all their rows.
        coef_init : array-like of the shape of `coef_`, default=None
            Coefficients to begin with, in place of those of `warm_start`; zeros if only
            `intercept_init` is given.
        intercept_init : array-like of the shape of `intercept_`, default=None
            Intercepts to begin with; zeros if only `coef_init` is given.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Rows held out, for `early_stopping`; all rows of X are then trained on. In a pipeline,
            ``Pipeline(..., transform_input=["X_val"])`` transforms them like X.
        y_val : {array-like, sparse matrix} of shape (n_val, n_labels) or (n_val,), default=None
            Their targets, in the form of y.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an argument or a combination of parameters does not fit; the estimator is then as it
            was before the call.
        """
        held_out = (X_val, y_val, sample_weight_val)
        start = coef_init, intercept_init
        return self._fit(X, y, sample_weight, start, held_out, entry_weight=entry_weight)

    @fits
    def partial_fit(self, X, y, classes=None, sample_weight=None, *, entry_weight=None) -> Self:
        """Make one pass over a batch of rows, in the order given.

        Rows are learnt as they come: calls of one row or of a million end alike. The model goes on
        from a `fit` before it, whose rows count. Rows sorted by class should be shuffled before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        y : {array-like, sparse matrix} of shape (n_samples, n_labels) or (n_samples,)
            Targets.
        classes : array-like of shape (n_labels,), default=None
            All labels that will ever occur; needed in the first call with 1-d labels unless its y
            holds every one, or `allow_new_classes`.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative row weights. A call whose weights are all zero changes nothing.
        entry_weight : array-like of shape (n_samples, n_labels), default=None
            Non-negative weights of the entries of y, as in `fit`.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If the data do not fit, or y holds a class that the first call did not announce and
            `allow_new_classes` is False.
        """
        return self._partial_fit(X, y, classes, sample_weight, entry_weight=entry_weight)

    def _optimise(self, data, start, rng, control):
        """Find the optimum, of labels that are too many at once group after group."""
        several = self._is_pruned() or groups.too_large(data)
        together = control.held_out is not None or data.in_parts
        if data.kind != _kernels.Loss.SIGMOID or together or not several:
            return super()._optimise(data, start, rng, control)
        penalty = self.alpha, self.l1_ratio, self.fit_intercept
        problem = Problem.of(data, self.label_smoothing, *penalty, rng)
        limits = Limits(self.tol, self.max_iter, self.certified, control)
        try:
            weights, found = groups.minimize(problem, start, rng, limits, self.solver, self.prune)
        except Stopped as stopped:
            reason, weights = stopped.args
            self._tell_nothing_of(control.curve[-1])
            return *weights, control.passes, reason, None
        self._tell_of(problem, found)
        near = problem.is_within(found.estimate, found.objective, self.tol)
        reason = BY_PRUNING if self._is_pruned() and not near else None
        return *weights, found.passes, reason, found.ended

    def _is_pruned(self):
        return getattr(self, "prune", None) is not None

    def _finish(self, X, y, weights, entry_weight=None, **of_labels):
        """Learn what is learnt after the coefficients: thresholds."""
        self.__dict__.pop("threshold_", None)
        if self._is_pruned():
            self.sparsify()
        self._learn_shares(X, y, weights)
        if isinstance(self.threshold, str):
            y = sparse.csr_array(read_y(y))
            entry_weight = check_entry_weight(entry_weight, y.shape, X.dtype)
            model = self._without_threshold()
            self.threshold_ = thresholds_of_folds(model, X, y, weights, entry_weight)

    def _learn_shares(self, X, y, weights):
        """Learn the threshold of the shares of a softmax."""
        if self.loss != "softmax":
            self.__dict__.pop("share_threshold_", None)
        elif self._form is not None:
            self._learn_share_threshold(X, sparse.csr_array(read_y(y)), weights)

    def _without_threshold(self):
        """Return the model, not fitted, that tells the probabilities of rows held out."""
        quiet = {"threshold": None, "warm_start": False, "verbose": 0}
        return clone(self).set_params(**quiet).set_callbacks()

    def _learn_share_threshold(self, X, y, weights):
        rows = labelled_sample(y, weights)
        if len(rows):
            self._learn_from_proba(self._labelled_proba(X[rows]), weights[rows])

    def _labelled_proba(self, X):
        """Return the probabilities (n, K) of labels that shares stand for in rows that have any."""
        shares = map_logits(X, self.coef_, self.intercept_, self._proba, False)
        return np.minimum(shares * self.mean_labels_, 1)

    def _learn_from_proba(self, proba, weights):
        """Learn the threshold of shares of such probabilities."""
        best = expected_f1(proba, weights) / 2 / self.mean_labels_
        self.share_threshold_ = max(best, min(self.share_threshold_, 1 / proba.shape[1]))

    def _fitted(self, data, coef, intercept):
        fitted = super()._fitted(data, coef, intercept)
        if isinstance(self.threshold, str):  # for callbacks, until it is learnt
            half = fitted["share_threshold_"] if self.loss == "softmax" else 0.5
            fitted["threshold_"] = np.full(data.k, half)
        return fitted

    def _checked_params(self, streaming=False):
        params = super()._checked_params(streaming)
        if streaming and isinstance(self.threshold, str):
            raise ValueError('threshold must not be "f1" in partial_fit: it takes a fit to learn.')
        self._check_threshold()
        if self._is_pruned():
            self._check_prune(streaming)
        return params

    def _check_prune(self, streaming):
        if streaming:
            raise ValueError("prune must be None in partial_fit, which holds all coefficients.")
        takes = self.loss == "bce" and self.solver in ("auto", *OPTIMISERS)
        if self.early_stopping or not takes:
            raise ValueError(
                'prune must be None but for loss="bce" without early_stopping and the solvers '
                f"'auto', 'sdca' and 'lbfgs', got {self.prune} with loss={self.loss!r}, "
                f"early_stopping={self.early_stopping} and solver={self.solver!r}."
            )

    def _check_threshold(self):
        if self.threshold is not None and self.top_k is not None:
            raise ValueError(
                f"top_k must be None with a threshold, got {self.top_k} and {self.threshold!r}."
            )
