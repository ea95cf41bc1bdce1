"""MultiLabelLogistic with the penalty chosen by cross-validation."""

from typing import ClassVar

from skce._estimators.cv import SHARED, CrossValidatedMixin, constraints_with_cv
from skce._estimators.multilabel import MultiLabelLogistic

__all__ = ["MultiLabelLogisticCV"]


class MultiLabelLogisticCV(CrossValidatedMixin, MultiLabelLogistic):
    """MultiLabelLogistic whose penalty is chosen by cross-validation, for the price of a few fits.

    Parameters
    ----------
    alphas : int or array-like of shape (n_alphas,), default=10
        Penalties, tried from strong to weak; of a number of them, two a decade from one that leaves
        the coefficients near zero (see Notes).
    loss : {"bce", "softmax"}, default="bce"
        "bce" gives each label its own probability; "softmax" gives shares that sum to 1 over the
        labels of a row: they rank labels and are not probabilities of a label.
    pos_weight : float, array-like of shape (n_labels,) or "balanced", default=None
        Weight of the positive entries of each label, for "bce". "balanced" is the weighted number
        of negatives over that of positives, of the observed entries; 1 for a label that has but one
        of them.
    threshold : float, array-like of shape (n_labels,) or "f1", default=None
        A label is on where its probability or share is above this, and off at it. None is 0.5 for
        "bce"; for "softmax" a label is on where share · `mean_labels_` is above 0.5, since a share
        is the probability of the label divided by the number of labels in such rows (see Notes).
        "f1" learns `threshold_` in `fit`: the threshold of the highest F1 of each label, on
        probabilities of rows held out, each third of them by a fit of the others (three more fits);
        a scorer of the folds sees the thresholds of None. A label that no training row shows, all
        NaN, is off. None where y has one dimension.
    top_k : int, default=None
        `predict` gives the `top_k` best labels of each row, fewer only where no more were observed,
        in place of those above a threshold, which then must be None. None where y has one
        dimension.
    cv : int, splitter or iterable, default=None
        Folds, as in scikit-learn, stratified for labels (n,); None is 5, or as many as a class has
        rows.
    scoring : str or callable, default=None
        Scorer of the rows held out. None is minus their mean loss, the one that the model minimises
        but without `label_smoothing`: weights, soft targets and missing entries count as they do in
        a fit.
    l1_ratios : array-like of shape (n_l1_ratios,), default=None
        Shares of the L1 norm in the penalty to try, in [0, 1]; None is 0 alone.
    refit : bool, default=True
        Whether the coefficients are those of all rows. If False they are the mean of the folds' at
        the chosen penalty: `n_iter_` is then 0 and `gap_estimate_` tells how far they are from the
        optimum of all rows.
    one_standard_error : bool, default=False
        Whether to take, in place of the best penalty, the strongest one whose score is within a
        standard error of the best, over the folds.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    label_smoothing : float, default=0.0
        ε in [0, 1]: targets become (1 − ε)·t + ε/2 ("bce"), or after the division
        (1 − ε)·t + ε·T/K ("softmax"), T being the sum of the row and K its observed labels.
    solver : {"auto", "sdca", "lbfgs"}, default="auto"
        As in MultiLabelLogistic; "auto" and "sdca" take L1 penalties.
    max_iter : int, default=100
        Most passes of a fit; "lbfgs" may make 20 · max_iter.
    tol : float, default=1e-4
        The fits of all rows stop within this share of their optimum, as in MultiLabelLogistic;
        those of folds within three tenths of it, as their errors have one sign and add up in the
        mean; L-BFGS scores them one step further.
    random_state : int, RandomState instance or None, default=None
        Order of the rows, and samples of them.
    verbose : int, default=0
        1 prints a line for each penalty.

    Attributes
    ----------
    alpha_ : float
        The chosen penalty.
    l1_ratio_ : float
        Its share of the L1 norm.
    alphas_ : ndarray of shape (n_alphas,)
        Penalties, falling.
    l1_ratios_ : ndarray of shape (n_l1_ratios,)
        Shares of the L1 norm, None where the parameter is None.
    scores_ : ndarray of shape (n_folds, n_l1_ratios, n_alphas)
        Score of each fold, higher is better; NaN for penalties that were given up, and for folds
        whose rows held out the score is not defined for, which means leave out with a warning.
    scores_std_ : ndarray of shape (n_l1_ratios, n_alphas)
        Standard deviation over the folds, with n_folds − 1; over √n_folds the standard error.
    best_score_ : float
        Mean score at the chosen penalty.
    classes_ : ndarray of shape (n_labels,)
        Numbers of the labels; the labels where y has one dimension.
    coef_ : ndarray of shape (n_labels, n_features)
        Weights.
    intercept_ : ndarray of shape (n_labels,)
        Intercepts.
    threshold_ : ndarray of shape (n_labels,)
        Thresholds that `fit` has learnt, with ``threshold="f1"``.
    mean_labels_ : float
        Mean number of labels of the training rows that have any, targets above 1 counting as 1; 0
        if none has. Of rows with missing entries an estimate, see Notes.
    objective_ : float
        Objective of all rows, penalty included.
    dual_gap_ : float
        Bound of `objective_` − its minimum, however loose.
    gap_estimate_ : float
        Estimate of the same.
    n_iter_ : int
        Passes of the fit of all rows at the chosen penalty, from where the one before had ended.
    loss_curve_ : list of float
        Objective after each of these.
    converged_ : bool
        Whether that fit ended by `tol`.
    certified_ : bool
        Whether `dual_gap_` proves that `tol` holds.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has them.
    label_names_ : ndarray of shape (n_labels,)
        Names of the columns of y, where it is a frame that has them.

    See Also
    --------
    MultiLabelLogistic : The model with a given penalty.
    path : Coefficients along a path of penalties.
    CVDisplay : Plot of the scores.

    Notes
    -----
    All fits are one sweep. That of all rows goes first at each penalty and begins at the last one;
    each fold begins at its own last coefficients plus the way that it went last, as many times as
    long as all rows went this time. A fold is a mask of row weights: X is not copied. "balanced"
    weights and the classes are those of all rows. Folds are fitted side by side in as many threads
    as OpenMP allows, but of small data; no bits depend on their number. Scorers and callbacks are
    called by the thread that called `fit`, which may call them of a model after the next has begun.
    The labels are not fitted in groups: a search holds two coefficients of float64 for each fold,
    and a number for each row and label in each fit. With 10,000 labels and columns and five folds
    the first are 9.6 GB: choose `alpha` on some of the labels there.
    Penalties weaker than the best are given up after two in a row that score worse by more than the
    standard error of the difference over the folds; the means of folds are compared.

    The first of the default penalties is ‖G‖² / (0.2 F0), where coefficients lower the objective F0
    of the best intercepts by about a tenth, G being its gradient. Where columns have different
    scales the largest would tell all of it: so their squares are averaged geometrically, each
    weighted by the share of F0 that its column explains alone. For L1: ``max |G|``, above which
    all coefficients are 0, less by the square root of the same factor.

    Examples
    --------
    >>> from sklearn.datasets import make_multilabel_classification
    >>> from skce import MultiLabelLogisticCV
    >>> X, Y = make_multilabel_classification(random_state=0)
    >>> model = MultiLabelLogisticCV(cv=3).fit(X, Y)
    >>> model.scores_.shape
    (3, 1, 10)
    >>> model.coef_.shape
    (5, 20)
    """

    _parameter_constraints: ClassVar[dict] = constraints_with_cv(MultiLabelLogistic)

    def __init__(
        self,
        alphas=10,
        *,
        loss="bce",
        pos_weight=None,
        threshold=None,
        top_k=None,
        cv=None,
        scoring=None,
        l1_ratios=None,
        refit=True,
        one_standard_error=False,
        fit_intercept=True,
        label_smoothing=0.0,
        solver="auto",
        max_iter=100,
        tol=1e-4,
        random_state=None,
        verbose=0,
    ):
        self.alphas = alphas
        self.loss = loss
        self.pos_weight = pos_weight
        self.threshold = threshold
        self.top_k = top_k
        self.cv = cv
        self.scoring = scoring
        self.l1_ratios = l1_ratios
        self.refit = refit
        self.one_standard_error = one_standard_error
        self.fit_intercept = fit_intercept
        self.label_smoothing = label_smoothing
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    def _checked(self):
        self._check_threshold()

    def _without_threshold(self):
        params = {name: getattr(self, name) for name in (*SHARED, "solver") if hasattr(self, name)}
        params |= {"threshold": None, "verbose": 0}
        return MultiLabelLogistic(alpha=self.alpha_, l1_ratio=self.l1_ratio_, **params)
