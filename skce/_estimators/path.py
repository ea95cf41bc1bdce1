"""Coefficients along a path of penalties."""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch, check_random_state

from skce._estimators.cv import CrossValidatedMixin, path_alphas
from skce._estimators.multilabel import MultiLabelLogistic
from skce._estimators.multinomial import MultinomialLogistic
from skce._estimators.validation import check_X
from skce._kernels.threads import one_blas_thread
from skce._solvers.path import Sweep, filled
from skce._solvers.problem import Problem
from skce._solvers.result import Limits

__all__ = ["path"]


def path(X, y, alphas=10, *, estimator=None, l1_ratio=None, sample_weight=None):
    """Fit a model at each of several penalties, each fit from where the one before ended.

    As scikit-learn's ``enet_path`` does for regression; no rows are held out.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Features.
    y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_classes)
        Targets, as `estimator` takes them.
    alphas : int or array-like of shape (n_alphas,), default=10
        Penalties, fitted from strong to weak; of a number of them, two a decade from one that
        leaves the coefficients near zero, as in `MultinomialLogisticCV`.
    estimator : MultinomialLogistic or MultiLabelLogistic, default=None
        The model and all other parameters, `tol` among them; it is not changed. None is
        ``MultinomialLogistic()``.
    l1_ratio : float, default=None
        Share of the L1 norm in the penalty, in [0, 1]; None is that of `estimator`.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative row weights.

    Returns
    -------
    path : Bunch
        ``alphas`` of shape (n_alphas,), falling; ``coefs`` of shape (n_alphas, n_outputs,
        n_features) and ``intercepts`` of shape (n_alphas, n_outputs), each like `coef_` and
        `intercept_` of a model; ``objectives``, ``dual_gaps``, which bound how far these are above
        their minima, and ``n_iters``, passes made, of shape (n_alphas,); ``classes``.

    Raises
    ------
    ValueError
        If the data or parameters do not fit, or the solver is a stochastic one.
    TypeError
        If `estimator` is of another class.

    See Also
    --------
    MultinomialLogisticCV : Chooses a penalty by cross-validation.
    PathDisplay : Plot of the coefficients.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skce import path
    >>> X, y = load_iris(return_X_y=True)
    >>> found = path(X, y, [0.1, 0.01, 0.5], l1_ratio=1)
    >>> found.alphas
    array([0.5 , 0.1 , 0.01])
    >>> (found.coefs != 0).sum(axis=(1, 2))
    array([1, 2, 4])
    """
    model = clone(MultinomialLogistic() if estimator is None else estimator)
    one_penalty = isinstance(model, (MultinomialLogistic, MultiLabelLogistic))
    if not one_penalty or isinstance(model, CrossValidatedMixin):
        raise TypeError(
            "estimator must be a MultinomialLogistic or MultiLabelLogistic, got "
            f"{type(model).__name__}."
        )
    if l1_ratio is not None:
        model.set_params(l1_ratio=l1_ratio)
    model._validate_params()
    if model.solver not in ("auto", "sdca", "lbfgs"):
        raise ValueError(f"solver must be 'auto', 'sdca' or 'lbfgs', got {model.solver!r}.")
    model._checked_params()
    with one_blas_thread(), np.errstate(all="ignore"):  # what overflows is never the best
        X = check_X(model, X, reset=True)
        data, _ = model._weighted(X, y, sample_weight)
        rng = check_random_state(model.random_state)
        penalty = 1.0, model.l1_ratio
        problem = Problem.of(data, model.label_smoothing, *penalty, model.fit_intercept, rng)
        problem, read = filled(problem)
        alphas = path_alphas(alphas, problem, [model.l1_ratio])
        limits = Limits(model.tol, model.max_iter, model.certified)
        sweep = Sweep(problem, [], rng, limits, model.solver)
        shape = len(alphas), data.k, data.X.shape[1]
        coefs, intercepts = np.empty(shape, data.X.dtype), np.empty(shape[:2])
        found = []
        for a, (whole, _) in enumerate(sweep.path(alphas, model.l1_ratio)):
            found.append(replace(whole, W=None))
            model._publish(data, *read(whole.W))
            coefs[a], intercepts[a] = model.coef_, model.intercept_
            if whole.ended:
                message = f"Not converged at alpha={alphas[a]:.3g}: {whole.ended}."
                warnings.warn(message, ConvergenceWarning, stacklevel=2)
    return Bunch(
        alphas=alphas,
        coefs=coefs,
        intercepts=intercepts.astype(model.intercept_.dtype),
        objectives=np.array([result.objective for result in found]),
        dual_gaps=np.array([result.gap for result in found]),
        n_iters=np.array([result.passes for result in found], dtype=int),
        classes=model.classes_,
    )
