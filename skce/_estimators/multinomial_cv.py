"""MultinomialLogistic with the penalty chosen by cross-validation."""

from typing import ClassVar

from skce._estimators.cv import CrossValidatedMixin, constraints_with_cv
from skce._estimators.multinomial import MultinomialLogistic

__all__ = ["MultinomialLogisticCV"]


class MultinomialLogisticCV(CrossValidatedMixin, MultinomialLogistic):
    """MultinomialLogistic whose penalty is chosen by cross-validation, for the price of a few fits.

    Parameters
    ----------
    alphas : int or array-like of shape (n_alphas,), default=10
        Penalties, tried from strong to weak; of a number of them, two a decade from one that leaves
        the coefficients near zero (see Notes).
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
    class_weight : dict or "balanced", default=None
        Weights of the classes; "balanced" takes n / (K · count), with weighted counts. With
        probabilities p the weights multiply p.
    label_smoothing : float, default=0.0
        ε in [0, 1]: targets become (1 − ε)·t + ε/K.
    solver : {"auto", "sdca", "lbfgs"}, default="auto"
        As in MultinomialLogistic; "auto" and "sdca" take L1 penalties.
    max_iter : int, default=100
        Most passes of a fit; "lbfgs" may make 20 · max_iter.
    tol : float, default=1e-4
        The fits of all rows stop within this share of their optimum, as in MultinomialLogistic;
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
    classes_ : ndarray of shape (n_classes,)
        Labels; 0..K−1 where y has two dimensions.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights; one row for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; those of a softmax sum to zero.
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
    label_names_ : ndarray of shape (n_classes,)
        Names of the columns of y, where it is a frame that has them.

    See Also
    --------
    MultinomialLogistic : The model with a given penalty.
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
    Penalties weaker than the best are given up after two in a row that score worse by more than the
    standard error of the difference over the folds; the means of folds are compared.

    The first of the default penalties is ‖G‖² / (0.2 F0), where coefficients lower the objective F0
    of the best intercepts by about a tenth, G being its gradient. Where columns have different
    scales the largest would tell all of it: so their squares are averaged geometrically, each
    weighted by the share of F0 that its column explains alone. For L1: ``max |G|``, above which
    all coefficients are 0, less by the square root of the same factor.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skce import MultinomialLogisticCV
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MultinomialLogisticCV(cv=3).fit(X, y)
    >>> model.scores_.shape
    (3, 1, 10)
    >>> model.alpha_ in model.alphas_
    True
    """

    _parameter_constraints: ClassVar[dict] = constraints_with_cv(MultinomialLogistic)

    def __init__(
        self,
        alphas=10,
        *,
        cv=None,
        scoring=None,
        l1_ratios=None,
        refit=True,
        one_standard_error=False,
        fit_intercept=True,
        class_weight=None,
        label_smoothing=0.0,
        solver="auto",
        max_iter=100,
        tol=1e-4,
        random_state=None,
        verbose=0,
    ):
        self.alphas = alphas
        self.cv = cv
        self.scoring = scoring
        self.l1_ratios = l1_ratios
        self.refit = refit
        self.one_standard_error = one_standard_error
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose
