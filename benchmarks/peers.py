"""The models that are compared, one function per peer with one signature.

``peer(problem, alpha, *, seed=0, **params)`` fits on the training rows and returns a dict:
``test_loss`` (mean cross-entropy of the test rows; for labels: binary cross-entropy summed over the
labels), ``seconds`` (of ``fit`` alone), ``objective`` (see below, NaN where the peer minimises
something else), ``iterations`` (the most, of several fits), ``converged`` (no ConvergenceWarning)
and ``accuracy``, ``micro_f1`` or ``kl``, by task.

All are asked to minimise F(W, b) = mean loss of the training rows + alpha/2 |W|^2, the intercept
not penalised; each docstring says how that reads in the peer's own parameters.
"""

import time
import warnings

import numpy as np
from scipy import sparse, special
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier

from skce import MultiLabelLogistic, MultinomialLogistic

__all__ = ["PEERS", "expand", "logistic_regression", "mean_loss", "sgd_classifier", "skce_default"]


def skce_default(problem, alpha, *, seed=0, **params):
    """Fit skce's estimator for the task with its defaults; alpha is the alpha of F."""
    cls = MultiLabelLogistic if problem.task == "multilabel" else MultinomialLogistic
    model = cls(alpha=alpha, random_state=seed, **params)
    result = _timed_fit(model, problem.X_train, problem.y_train)
    return result | {"objective": _objective(problem, model, alpha)} | _scores(problem, model)


def logistic_regression(problem, alpha, *, seed=0, tol=1e-8, max_iter=20_000, **params):
    """Fit scikit-learn's LogisticRegression (lbfgs), C = 1/(alpha n) with n training rows.

    Labels of a multi-label problem: OneVsRestClassifier, the same C. Soft targets: each row once
    per class of positive weight t_ic (`expand`), n still the number of rows before. The fit has no
    random part: ``seed`` is not used.
    """
    C = 1 / (alpha * problem.X_train.shape[0])
    model = LogisticRegression(C=C, tol=tol, max_iter=max_iter, **params)
    model, result = _fit_for_task(problem, model)
    return result | {"objective": _objective(problem, model, alpha)} | _scores(problem, model)


def sgd_classifier(problem, alpha, *, seed=0, **params):
    """Fit scikit-learn's SGDClassifier(loss="log_loss"), which has the same alpha.

    Several classes are K binary fits whose sigmoids are divided by their sum: not the softmax of
    F, so the objective is NaN. Its penalty counts once per row, so `expand`-ed rows take
    alpha n / (number of expanded rows).
    """
    if problem.task == "soft":
        alpha = alpha * problem.X_train.shape[0] / np.count_nonzero(problem.y_train)
    model = SGDClassifier(loss="log_loss", alpha=alpha, random_state=seed, **params)
    model, result = _fit_for_task(problem, model)
    return result | {"objective": float("nan")} | _scores(problem, model)


PEERS = {
    "skce": skce_default,
    "LogisticRegression": logistic_regression,
    "SGDClassifier": sgd_classifier,
}


def expand(X, targets):
    """Rows repeated once per class of positive target: (X, labels, weights)."""
    rows, labels = np.nonzero(targets)
    return X[rows], labels, targets[rows, labels].astype(np.float64)


def mean_loss(logits, y, task):
    """Mean cross-entropy of logits, in double; of labels: summed over the labels of a row."""
    s = np.asarray(logits, dtype=np.float64)
    if task == "multilabel":
        return float((np.logaddexp(0, s) - _dense(y) * s).sum(axis=1).mean())
    if s.ndim == 1:
        s = np.column_stack([np.zeros_like(s), s])
    log_proba = special.log_softmax(s, axis=1)
    if task == "soft":
        return float(-(y * log_proba).sum(axis=1).mean())
    return float(-log_proba[np.arange(len(y)), y].mean())


def _timed_fit(model, X, y, **fit_params):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        model.fit(X, y, **fit_params)
        seconds = time.perf_counter() - start
    bounds = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    for other in caught:
        if other not in bounds:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    fitted = model.estimators_ if isinstance(model, OneVsRestClassifier) else [model]
    iterations = int(max(np.max(estimator.n_iter_) for estimator in fitted))
    return {"seconds": seconds, "iterations": iterations, "converged": not bounds}


def _fit_for_task(problem, model):
    """Fit a scikit-learn classifier of 1-d labels to any task; (model, result of the fit)."""
    if problem.task == "multilabel":
        model = OneVsRestClassifier(model)
        # OneVsRestClassifier mispredicts with int8 labels.
        return model, _timed_fit(model, problem.X_train, _dense(problem.y_train))
    if problem.task == "soft":
        X, y, weights = expand(problem.X_train, problem.y_train)
        return model, _timed_fit(model, X, y, sample_weight=weights)
    return model, _timed_fit(model, problem.X_train, problem.y_train)


def _objective(problem, model, alpha):
    """F at the fitted coefficients."""
    if isinstance(model, OneVsRestClassifier):
        norm2 = sum(float((est.coef_**2).sum()) for est in model.estimators_)
    else:
        norm2 = float((model.coef_.astype(np.float64) ** 2).sum())
    logits = model.decision_function(problem.X_train)
    return mean_loss(logits, problem.y_train, problem.task) + alpha / 2 * norm2


def _scores(problem, model):
    proba, y = model.predict_proba(problem.X_test), problem.y_test
    eps = np.finfo(proba.dtype).eps
    log_p = np.log(np.clip(proba, eps, 1 - eps).astype(np.float64))
    if problem.task == "multilabel":
        y = _dense(y)
        log_q = np.log(np.clip(1 - proba, eps, 1 - eps).astype(np.float64))
        loss = float(-(y * log_p + (1 - y) * log_q).sum(axis=1).mean())
        return {"test_loss": loss, "micro_f1": float(f1_score(y, proba >= 0.5, average="micro"))}
    if problem.task == "soft":
        loss = float(-(y * log_p).sum(axis=1).mean())
        return {"test_loss": loss, "kl": loss - float(special.entr(y).sum(axis=1).mean())}
    loss = float(-log_p[np.arange(len(y)), y].mean())
    return {"test_loss": loss, "accuracy": float((proba.argmax(axis=1) == y).mean())}


def _dense(y):
    return (y.toarray() if sparse.issparse(y) else np.asarray(y)).astype(np.int64)
