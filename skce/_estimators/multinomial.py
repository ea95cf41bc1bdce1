"""Multinomial logistic regression."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from skce import _kernels
from skce._estimators.base import BaseCrossEntropy
from skce._estimators.classes import class_weights, encode_labels, same_classes
from skce._estimators.encoded import Encoded
from skce._estimators.penalty import without_C
from skce._estimators.predict import best_class
from skce._estimators.validation import (
    StrOptions,
    check_rows,
    label_column,
    label_rows,
    probability_rows,
    read_y,
    scaled_weights,
)
from skce.losses import log_sigmoid, log_softmax, sigmoid, softmax

__all__ = ["MultinomialLogistic"]


class MultinomialLogistic(BaseCrossEntropy):
    """Multinomial (softmax) logistic regression on labels, one-hot rows or probabilities.

    Minimises Σ w_i loss_i / Σ w_i + alpha ((1 − l1_ratio)/2 ‖W‖² + l1_ratio ‖W‖₁), the loss being
    the softmax cross-entropy and w_i the effective weight of a row, class weight included; the
    intercept is not penalised.
    ``alpha = 1 / (C · Σ w_i)`` is ``LogisticRegression(C=C)``. Two classes are fitted as one
    sigmoid.

    Parameters
    ----------
    alpha : float, default=1e-4
        Weight of the penalty.
    l1_ratio : float, default=0.0
        Share of the L1 norm in the penalty, in [0, 1]; above 0 for "auto", "sdca" and
        `partial_fit`. Coefficients of 0 are exact.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    class_weight : dict or "balanced", default=None
        Weights of the classes; "balanced" takes n / (K · count), with weighted counts, in
        `partial_fit` those seen so far. With probabilities p the weights multiply p.
    label_smoothing : float, default=0.0
        ε in [0, 1]: targets become (1 − ε)·t + ε/K.
    solver : {"auto", "sdca", "lbfgs", "sgd", "adagrad", "adam"}, default="auto"
        "sdca" (dual coordinate ascent, alpha > 0) and "lbfgs" (L-BFGS, with Newton's step near the
        end) need no learning rate and tell how near the optimum is; the last three are stochastic
        gradient descent. "auto" is "sdca" for an L1 penalty and, where the data suggest it, for
        more than 256 columns; "sgd" for more than 2²⁸ probabilities of training rows and classes
        (no L1, not `certified`); else "lbfgs".
    learning_rate : "auto", float or callable, default="auto"
        Of "sgd", "adagrad", "adam" and `partial_fit`, as are the next three. "auto" needs neither
        tuning nor scaled features: steps come from the rows seen, their number and the scale of
        the columns; `fit` halves them when the loss stalls. A number or a schedule of
        :mod:`skce.optim` is the textbook step on the features as they are.
    momentum : float, default=0.0
        Nesterov momentum of "sgd".
    average : bool or "auto", default="auto"
        Whether the result is the average of the iterates, later ones weighing more (like the square
        of the rows seen); "auto" is True with ``learning_rate="auto"``, but for AdaGrad on CSR.
    batch_size : int or "auto", default="auto"
        Rows of a step; "auto" is a 64th of the rows seen, up to 64, one row for AdaGrad on CSR,
        and 16 with a `learning_rate` that is given.
    max_iter : int, default=100
        Most passes over the data; "lbfgs" may make 20 · max_iter, products with the Hessian
        included, and as many again where a fit of float32 goes on in double; "sdca" ends
        as "lbfgs" where its duality gap proves nothing.
    tol : float, default=1e-3
        "sdca" and "lbfgs" stop within this share of the optimum, at a gap of at most
        tol · max(F − H, √ε · F0): H is the entropy of the targets (0 for labels), F0 the objective
        of the best intercept alone, ε of the dtype of X. The gap is the duality gap or, for
        "lbfgs", an estimate, whichever is there first. 1e-10 solves to the last digits. With
        alpha=0 "lbfgs" stops where the largest entry of the gradient, in standardised columns, is
        this share of that at zero. "sgd", "adagrad" and "adam" stop after `n_iter_no_change`
        passes without a training loss (averaged over the pass) lower by this share of its best
        value.
    certified : bool, default=False
        Whether the duality gap alone ends a fit, which proves that `tol` holds. With a weak penalty
        on dense data that may take several times as long. Not for "sgd", "adagrad", "adam" and
        alpha=0.
    early_stopping : bool, default=False
        Whether rows are held out, and the coefficients of the pass with the least loss on them are
        the result. The loss on them is looked at after each quarter of a pass, or step of "lbfgs".
        A fit then ends after 2 · `n_iter_no_change` looks without a loss lower by the share `tol`
        of its best value; "sdca" and "lbfgs" go on where it rose by no more than twice the standard
        error of that rise, and also end by `tol` on the objective. "auto" begins with "sdca" for
        more than 256 columns, dense or not: its held-out loss falls fastest. `partial_fit` holds
        no rows out.
    validation_fraction : float, default=0.1
        Share of the rows that `early_stopping` holds out where `fit` gets no `X_val`; classes keep
        their shares if they have the rows.
    n_iter_no_change : int, default=5
        See `tol` and `early_stopping`.
    allow_new_classes : bool, default=False
        Whether `partial_fit` takes up classes that it meets for the first time, of labels (n,) or
        as more columns of y, in place of an error. Until then they are one row of all seen.
    warm_start : bool, default=False
        Whether `fit` starts at the coefficients of the previous call; "sdca" and "lbfgs" start at
        zero where that is better. `fit` also takes coefficients to start at.
    random_state : int, RandomState instance or None, default=None
        Order of the rows, and samples of them.
    verbose : int, default=0
        1 prints a line for each pass or step. `set_callbacks` takes scikit-learn's callbacks, such
        as a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels; 0..K−1 where y has two dimensions.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights; one row for two classes. In a stream of CSR they are made when they are read.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; those of a softmax sum to zero.
    objective_ : float
        Objective of the last `fit`, penalty included; after `partial_fit` the last entry of
        `loss_curve_`, NaN without one.
    dual_gap_ : float
        Bound of `objective_` − its minimum, however loose; NaN for "sgd", "adagrad", "adam", for
        alpha=0, after `partial_fit` and, unless `certified` or found by "sdca", with
        `early_stopping`.
    gap_estimate_ : float
        Estimate of the same, times 3 to be safe, or the bound where that is less. NaN for "sgd",
        "adagrad", "adam" and after `partial_fit`.
    n_iter_ : int
        Passes made, evaluations and products with the Hessian included; `partial_fit` adds 1.
    loss_curve_ : list of float
        Objective after each pass or step: an estimate from the pass for "sdca", with the loss
        averaged over the pass for "sgd", "adagrad" and "adam". `partial_fit` appends the mean loss
        of its rows, each before it was learnt, without the penalty and, on CSR, without the factor
        of the weights.
    converged_ : bool
        Whether the fit ended by `tol` or `early_stopping`; False after `partial_fit`.
    stop_reason_ : str
        What ended the fit: "tol", "validation loss" (`early_stopping`), "callback", "partial_fit",
        or the sentence of the ConvergenceWarning.
    validation_loss_curve_ : list of float
        With `early_stopping`, the loss on the rows held out after each pass or step: that of the
        objective, weights and smoothing included, without the penalty.
    best_iteration_ : int
        With `early_stopping`, which of them is least, counted from 1: that of the coefficients; 0
        where the start was better.
    certified_ : bool
        Whether `dual_gap_` proves that `tol` holds.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has them.
    label_names_ : ndarray of shape (n_classes,)
        Names of the columns of y, where it is a frame that has them; a frame of other names, or of
        these in another order, is an error in `partial_fit` and `score`.

    See Also
    --------
    MultiLabelLogistic : Several labels a row.

    Notes
    -----
    y of `fit` is labels (n,) of any type; or an array or CSR matrix (n, K >= 2) whose rows sum to
    1 within 1e-3: integers must be one-hot, floats are probabilities. With such a y, `predict`
    gives the column number and `score` the accuracy against the largest entry of each row.

    "sdca" is after [1]_ and [2]_, "lbfgs" after [3]_ and [4]_; the duality gap is a sum of
    Fenchel-Young losses [5]_. The estimate is Newton's decrement ½ g'H⁻¹g ([6]_, section 9.5), H⁻¹
    being what steps and products with the Hessian have told. A solve that is cut short gives too
    little: the decrement of the directions tried. So the rest of g counts with the least curvature
    met, and the whole thrice, which also covers that F is no quadratic while logits have little way
    to go [7]_. Where few rows have many columns, gᵀg / (2 alpha) of the weights and the decrement
    thrice are less, and count. It is no proof: where classes are nearly separable and alpha is tiny
    it may be too low.

    References
    ----------
    .. [1] S. Shalev-Shwartz and T. Zhang, "Stochastic dual coordinate ascent methods for
       regularized loss minimization", JMLR 14, 2013.
    .. [2] S. Shalev-Shwartz and T. Zhang, "Accelerated proximal stochastic dual coordinate ascent
       for regularized loss minimization", Mathematical Programming 155, 2016.
    .. [3] R. H. Byrd, J. Nocedal and R. B. Schnabel, "Representations of quasi-Newton matrices and
       their use in limited memory methods", Mathematical Programming 63, 1994.
    .. [4] J. L. Morales and J. Nocedal, "Enriched methods for large-scale unconstrained
       optimization", Computational Optimization and Applications 21, 2002.
    .. [5] M. Blondel, A. F. T. Martins and V. Niculae, "Learning with Fenchel-Young losses",
       JMLR 21, 2020.
    .. [6] S. Boyd and L. Vandenberghe, "Convex Optimization", Cambridge University Press, 2004.
    .. [7] F. Bach, "Self-concordant analysis for logistic regression", Electronic Journal of
       Statistics 4, 2010.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skce import MultinomialLogistic
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MultinomialLogistic(random_state=0).fit(X, y)
    >>> round(model.score(X, y), 2)
    0.98
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseCrossEntropy._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    @without_C
    def __init__(
        self,
        *,
        alpha: float = 1e-4,
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        class_weight: dict | str | None = None,
        label_smoothing: float = 0.0,
        solver: str = "auto",
        learning_rate: float | str | Callable = "auto",
        momentum: float = 0.0,
        average: bool | str = "auto",
        batch_size: int | str = "auto",
        max_iter: int = 100,
        tol: float = 1e-3,
        certified: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        allow_new_classes: bool = False,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.solver = solver
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.average = average
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.certified = certified
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.allow_new_classes = allow_new_classes
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def _encode(self, X, y, weights, known, seen):
        names = self._column_names(y, reset=known is None)
        y = read_y(y)
        check_rows(X, y)
        if y.ndim == 2 and y.shape[1] == 1 and not sparse.issparse(y):
            y = label_column(y)
        rows = None
        if y.ndim == 1:
            names = None
            classes, labels = encode_labels(
                y, known, 1 if known is not None and self.allow_new_classes else 2
            )
        else:
            rows = probability_rows(y)
            classes = np.arange(rows.shape[1])
            if known is not None and not same_classes(known, classes):
                raise ValueError(
                    f"y must have a column for each class {known}, got {len(classes)}."
                )
            if rows.nnz == rows.shape[0]:  # one-hot
                labels, rows = rows.indices, None
        if rows is None:
            counts = np.bincount(labels, weights, len(classes)) + seen
        else:
            counts = rows.T @ weights + seen
        exponent = 0
        if rows is not None or self.class_weight is not None:
            factors, scale = scaled_weights(class_weights(self.class_weight, classes, counts), 1.0)
            if rows is None:
                factors = factors[labels]
            else:
                rows.data *= factors[rows.indices]
                factors = rows.sum(axis=1)
                rows.data /= np.repeat(np.where(factors > 0, factors, 1), np.diff(rows.indptr))
            weights, exponent = scaled_weights(weights, factors)
            exponent += scale
        if len(classes) > 2:
            targets = labels.astype(np.intc) if rows is None else rows.astype(X.dtype)
            kind, k = _kernels.Loss.SOFTMAX, len(classes)
        else:
            rows = label_rows(labels, 1, X.dtype) if rows is None else rows[:, [1]]
            targets = rows.astype(X.dtype, copy=False)
            kind, k = _kernels.Loss.SIGMOID, 1
        attributes = {"classes_": classes, "label_names_": names}
        return Encoded(X, kind, targets, k, weights, counts, attributes, exponent=exponent)

    def _grown_counts(self, counts, places, k):
        grown = np.zeros(k)
        grown[places] = counts
        return grown

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the one of ``classes_[1]``.
        """
        logits = self._map_logits(X, np.asarray)
        return logits.ravel() if logits.shape[1] == 1 else logits

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Entries of `classes_`.
        """
        best = self._map_logits(X, best_class)
        return self.classes_[best % len(self.classes_)]  # of one class it is the same

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Rows sum to 1.
        """
        return self._map_logits(X, partial(self._by_class, np.asarray, sigmoid), softmax=True)

    def _proba(self, logits):
        return self._by_class(softmax, sigmoid, logits)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the probabilities, from the logits: never −inf.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            In nats.
        """
        return self._map_logits(X, partial(self._by_class, log_softmax, log_sigmoid))

    def _by_class(self, rowwise, entrywise, logits):
        """Return rowwise(logits), or entrywise for the classes of one logit; one class is sure."""
        if logits.shape[1] > 1:
            return rowwise(logits)
        if len(self.classes_) == 1:
            return entrywise(np.full_like(logits, np.inf))
        return entrywise(logits * np.array([-1, 1], logits.dtype))

    def _is_right(self, predicted, y):
        if y.ndim == 2 and y.shape[1] > 1:
            rows = probability_rows(y)
            if rows.shape[1] != len(self.classes_):
                raise ValueError(
                    f"y must have a column for each class {self.classes_}, got {rows.shape[1]}."
                )
            return self.classes_[rows.argmax(axis=1)] == predicted
        return super()._is_right(predicted, y)
