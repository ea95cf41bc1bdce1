"""Multi-label logistic regression."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np

from skce._estimators.base import BaseCrossEntropy
from skce._estimators.label_encoding import LabelEncodingMixin
from skce._estimators.label_fitting import LabelFitMixin
from skce._estimators.label_predictions import LabelPredictionsMixin
from skce._estimators.penalty import without_C
from skce._estimators.validation import Interval, StrOptions

__all__ = ["MultiLabelLogistic"]


class MultiLabelLogistic(
    LabelFitMixin, LabelEncodingMixin, LabelPredictionsMixin, BaseCrossEntropy
):
    """Logistic regression for several labels a row, one model and one pass over X for all.

    Minimises Σ w_i loss_i / Σ w_i + alpha ((1 − l1_ratio)/2 ‖W‖² + l1_ratio ‖W‖₁), the intercept
    not penalised. The loss of a row is the sigmoid cross-entropy summed over the labels ("bce": the
    same optimum as one ``LogisticRegression(C=1 / (alpha · Σ w_i))`` for each label), or the
    softmax cross-entropy of the targets divided by their number M ("softmax").

    Parameters
    ----------
    loss : {"bce", "softmax"}, default="bce"
        "bce" gives each label its own probability; "softmax" gives shares that sum to 1 over the
        labels of a row: they rank labels and are not probabilities of a label.
    pos_weight : float, array-like of shape (n_labels,) or "balanced", default=None
        Weight of the positive entries of each label, for "bce". "balanced" is the weighted number
        of negatives over that of positives, of the observed entries, in `partial_fit` those seen so
        far; 1 for a label that has but one of them.
    threshold : float, array-like of shape (n_labels,) or "f1", default=None
        A label is on where its probability or share is above this, and off at it. None is 0.5 for
        "bce", and for "softmax" `share_threshold_`, since a share is the probability of the label
        divided by the number of labels in such rows (see Notes).
        "f1" learns `threshold_` in `fit`: the threshold of the highest F1 of each label, on
        probabilities of rows held out, each third of them by a fit of the others (three more fits);
        not for `partial_fit`. A label that no training row shows, all NaN, is off. None where y has
        one dimension.
    top_k : int, default=None
        `predict` gives the `top_k` best labels of each row, fewer only where no more were observed,
        in place of those above a threshold, which then must be None. None where y has one
        dimension.
    prune : float, default=None
        For "bce" with very many labels: labels are fitted group after group, in which coefficients
        of at most this size become 0; `coef_` is CSR, as after `sparsify`, and never held dense. 0
        drops the zeros of an L1 penalty alone. `objective_` and `dual_gap_` are those of the
        coefficients that are left. For "auto", "sdca" and "lbfgs", without `early_stopping`.
    alpha : float, default=1e-4
        Weight of the penalty.
    l1_ratio : float, default=0.0
        Share of the L1 norm in the penalty, in [0, 1]; above 0 for "auto", "sdca" and
        `partial_fit`. Coefficients of 0 are exact.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    label_smoothing : float, default=0.0
        ε in [0, 1]: targets become (1 − ε)·t + ε/2 ("bce"), or after the division
        (1 − ε)·t + ε·T/K ("softmax"), T being the sum of the row and K its observed labels.
    solver : {"auto", "sdca", "lbfgs", "sgd", "adagrad", "adam"}, default="auto"
        "sdca" (dual coordinate ascent, alpha > 0) and "lbfgs" (L-BFGS, with Newton's step near the
        end) need no learning rate and tell how near the optimum is; the last three are stochastic
        gradient descent. "auto" is "sdca" for an L1 penalty and, where the data suggest it, for
        more than 256 columns; "sgd" for more than 2²⁸ shares of training rows and labels
        (``loss="softmax"``, no L1, not `certified`); else "lbfgs".
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
    classes_ : ndarray of shape (n_labels,)
        Numbers of the labels; the labels where y has one dimension.
    coef_ : ndarray of shape (n_labels, n_features)
        Weights; a CSR matrix with `prune`.
    intercept_ : ndarray of shape (n_labels,)
        Intercepts.
    threshold_ : ndarray of shape (n_labels,)
        Thresholds that `fit` has learnt, with ``threshold="f1"``.
    share_threshold_ : float
        Threshold of the shares, with ``loss="softmax"``.
    mean_labels_ : float
        Mean number of labels of the training rows that have any, targets above 1 counting as 1; 0
        if none has. Of rows with missing entries an estimate, see Notes.
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
        averaged over the pass for "sgd", "adagrad" and "adam". Of labels in groups (see Notes)
        after each group, the coefficients of later ones being 0. `partial_fit` appends the mean
        loss of its rows, each before it was learnt, without the penalty and, on CSR, without the
        factor of the weights.
    converged_ : bool
        Whether the fit ended by `tol` or `early_stopping`, and `prune` left it there; False after
        `partial_fit`.
    stop_reason_ : str
        What ended the fit: "tol", "prune" (a larger gap is what that left), "validation loss"
        (`early_stopping`), "callback", "partial_fit", or the sentence of the ConvergenceWarning.
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
    label_names_ : ndarray of shape (n_labels,)
        Names of the columns of y, where it is a frame that has them; a frame of other names, or of
        these in another order, is an error in `partial_fit` and `score`.

    See Also
    --------
    MultinomialLogistic : One label a row.

    Notes
    -----
    y of `fit` is an indicator (n, K), array or CSR matrix of any real dtype; for "bce" its values
    may lie anywhere in [0, 1], for "softmax" at 0 or above, and NaN marks a missing entry. A
    row without labels counts K negatives with "bce"; with "softmax" its loss is 0, and it counts as
    a row of the mean. `predict` returns the container and dtype of y (int64 for fractional values
    or NaN). One dense column is labels, but an indicator where it has NaN, fractions or a single
    value.

    The 1/M loss is least at shares of P(c on | x) · E[1/M | c on, x], in rows that have a label: it
    sees no others. The mean of 1/M over all labels of the training rows, each once, is their number
    of labelled rows divided by their number of labels, 1/`mean_labels_`, so share · `mean_labels_`
    stands for the probability that the label is on in a row that has any. In a row with missing
    entries M is its observed labels and, for each missing entry, the rate at which entries observed
    beside a label are on. The threshold of such probabilities that is best for F1 is half of the F1
    that it reaches [8]_: `share_threshold_` is that of the F1 to expect in labelled rows of the
    training data, if these probabilities are right, divided by `mean_labels_`. A row of equal
    shares stays off unless its labels are more likely on than off. Without a `fit`, by
    `partial_fit` alone, it is 0.5 / `mean_labels_`, where a label is as likely on as off.

    Labels (n,) are read one-vs-rest: `predict` gives the best label, `predict_proba` rows are
    divided by their sum, two labels are one sigmoid.

    With `prune`, and for "bce" where (n_samples + n_features) · n_labels is above 2²⁷, labels are
    fitted in groups of at most 127, one after another on each thread, whose bits do not depend on
    the number of threads: beside `coef_` a thread holds no more than some arrays of the size of
    (n_samples + n_features) · 127. `tol` and `max_iter` hold for each group, of which `objective_`,
    `dual_gap_` and `gap_estimate_` are sums and `n_iter_` the mean; callbacks and verbose lines are
    told after each. `early_stopping` needs all labels after each pass, and the memory for it.

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
    .. [8] Z. C. Lipton, C. Elkan and B. Naryanaswamy, "Optimal thresholding of classifiers to
       maximize F1 measure", ECML PKDD, 2014.

    Examples
    --------
    >>> from sklearn.datasets import make_multilabel_classification
    >>> from skce import MultiLabelLogistic
    >>> X, Y = make_multilabel_classification(random_state=0)
    >>> model = MultiLabelLogistic(random_state=0).fit(X, Y)
    >>> model.predict_proba(X).shape
    (100, 5)
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseCrossEntropy._parameter_constraints,
        "loss": [StrOptions({"bce", "softmax"})],
        "pos_weight": [
            Interval(Real, 0, None, closed="left"),
            StrOptions({"balanced"}),
            "array-like",
            None,
        ],
        "threshold": [
            Interval(Real, None, None, closed="neither"),
            StrOptions({"f1"}),
            "array-like",
            None,
        ],
        "top_k": [Interval(Integral, 1, None, closed="left"), None],
        "prune": [Interval(Real, 0, None, closed="left"), None],
    }

    @without_C
    def __init__(
        self,
        *,
        loss: str = "bce",
        pos_weight: Any = None,
        threshold: Any = None,
        top_k: int | None = None,
        prune: float | None = None,
        alpha: float = 1e-4,
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
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
        self.loss = loss
        self.pos_weight = pos_weight
        self.threshold = threshold
        self.top_k = top_k
        self.prune = prune
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
