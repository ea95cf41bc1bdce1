"""What a fit tells beside its coefficients: leave-one-out loss and standard errors, from its rows.

Both stand on the inverse of the objective's Hessian at the optimum. A softmax has one matrix, of
the contrasts of classes 1 to K - 1 with class 0, in which nothing is flat; labels have one each.
"""

import copy
import warnings
from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy import linalg, sparse, special
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import check_is_fitted

from skce import _kernels
from skce._estimators.base import BaseCrossEntropy
from skce._estimators.predict import dense_rows
from skce._estimators.validation import check_weights, check_X
from skce._kernels.threads import one_blas_thread
from skce._solvers.cholesky import to_unit
from skce._solvers.problem import Problem

__all__ = ["loo_log_loss", "standard_errors"]

MOST_NUMBERS = 1 << 24  # of all matrices: 128 MiB, two or three of which are held
LEAST_PIVOT = 1e-7  # of the factor of a Hessian with diagonal 1, below which it counts as singular
MOST_LEFT = 0.01  # share of the objective that may be left to fall: not these rows, or no optimum
INTERPOLATES = 0.05  # training loss; left_out.py: wine is .7 % off at .048, 16 % at .012


def loo_log_loss(model, X, y, *, sample_weight=None) -> float:
    """Log loss of each row under the model fitted to all others, approximately and without refits.

    One step of Newton's method from the fit of all rows stands for each refit.

    Parameters
    ----------
    model : MultinomialLogistic, MultiLabelLogistic or a CV of them
        Fitted to X and y with an L2 penalty or none and no `entry_weight`; the loss must not be
        that of shares (1/M).
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows that it was fitted to.
    y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_classes)
        Their targets.
    sample_weight : array-like of shape (n_samples,), default=None
        The weights that they were fitted with; a row is left out with all of its weight.

    Returns
    -------
    loss : float
        Weighted mean over the rows, in nats, summed over labels and without `label_smoothing`.

    Raises
    ------
    ValueError
        If the penalty has an L1 part, the loss is that of shares, the Hessian has more than 2²⁴
        numbers or is singular, or X and y are not those of the fit.

    Warns
    -----
    UserWarning
        If the training loss is below 0.05: the model nearly interpolates, single rows decide, and
        the result may be far off.

    See Also
    --------
    standard_errors : Standard errors of the coefficients.
    skce.MultinomialLogisticCV : Chooses the penalty by folds.

    Notes
    -----
    With the gradient g and the Hessian C of a row's loss by its logits, both times its weight, and
    ``A = Xᵢᵀ H⁻¹ Xᵢ``, the logits without row i are ``zᵢ + (I - A C)⁻¹ A g``, here with the change
    of the mean that the penalty is added to [1]_ [2]_.

    References
    ----------
    .. [1] A. Beirami, M. Razaviyayn, S. Shahrampour and V. Tarokh, "On optimal generalizability in
       parametric learning", NeurIPS 2017.
    .. [2] K. Rad and A. Maleki, "A scalable estimate of the extra-sample prediction error via
       approximate leave-one-out", arXiv:1801.10243, 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skce import MultinomialLogistic
    >>> from skce.inference import loo_log_loss
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MultinomialLogistic(alpha=0.01).fit(X, y)
    >>> round(loo_log_loss(model, X, y), 2)
    0.15
    """
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        fit = _fit_of(model, X, y, sample_weight)
        if fit.loss < INTERPOLATES:
            message = f"The training loss is {fit.loss:.2g}: where a model nearly interpolates, "
            warnings.warn(f"{message}single rows decide and this may be far off.", stacklevel=2)
        return fit.left_out()


def standard_errors(model, X, y, *, sample_weight=None, robust=False):
    """Standard errors of the coefficients, from the curvature of the objective at its optimum.

    Those of a softmax are of the contrasts with class 0: of its weights only these are determined.

    Parameters
    ----------
    model : MultinomialLogistic, MultiLabelLogistic or a CV of them
        Fitted to X and y with an L2 penalty or none and no `entry_weight`; the loss must not be
        that of shares (1/M).
        Rounding of float32 coefficients, and a loose `tol`, are in what is found.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows that it was fitted to.
    y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_classes)
        Their targets.
    sample_weight : array-like of shape (n_samples,), default=None
        How often each row was seen.
    robust : bool, default=False
        Whether the model need not be right: the sandwich of the Hessian's inverse and the outer
        products of the rows' gradients, HC0 in other libraries, with no correction of small n.

    Returns
    -------
    found : Bunch
        ``coef`` and ``coef_se`` of shape (K − 1, n_features) for a softmax, else of that of
        `coef_`; ``intercept`` and ``intercept_se`` of as many rows; ``covariance``, of shape
        (1, m, m) for a softmax, else (n_labels, m, m), of the coefficients and intercept, output
        by output. Where the model has no intercept its error is 0.

    Raises
    ------
    ValueError
        As `loo_log_loss` does, and where the loss is not a likelihood (`class_weight`,
        `pos_weight`, `label_smoothing`) unless `robust` is True.

    See Also
    --------
    loo_log_loss : Leave-one-out loss from the same matrix.

    Notes
    -----
    Without a penalty these are the errors of maximum likelihood. With one they are those about the
    optimum of the penalised objective: H⁻¹ is Laplace's approximation of the posterior covariance,
    and an interval does not cover the bias of the penalty.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skce import MultinomialLogistic
    >>> from skce.inference import standard_errors
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MultinomialLogistic(alpha=0, tol=1e-10).fit(X[50:], y[50:])
    >>> standard_errors(model, X[50:], y[50:]).coef_se.round(2)
    array([[2.39, 4.48, 4.74, 9.74]])
    """
    if not isinstance(robust, bool | np.bool_):
        raise ValueError(f"robust must be True or False, got {robust!r}.")
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        fit = _fit_of(model, X, y, sample_weight)
        weighted = {"class_weight", "pos_weight"} & {
            n for n, v in vars(model).items() if v is not None
        }
        if not robust and (weighted or model.label_smoothing):
            name = min(weighted, default="label_smoothing")
            raise ValueError(f"robust must be True with {name}, got False.")
        return fit.errors(check_weights(sample_weight, len(fit.weights), relative=False), robust)


def _fit_of(model, X, y, sample_weight):
    """Return the `_Optimum` of a model, on the rows that it was fitted to."""
    if not isinstance(model, BaseCrossEntropy):
        raise TypeError(
            "model must be a MultinomialLogistic or MultiLabelLogistic, got "
            f"{type(model).__name__}."
        )
    check_is_fitted(model)
    alpha, ratio = (
        getattr(model, f"{name}_", getattr(model, name, None)) for name in ("alpha", "l1_ratio")
    )
    if alpha and ratio:
        raise ValueError(f"model must have no L1 penalty, got l1_ratio={ratio:g}.")
    X = check_X(model, X, reset=False)
    data, _ = copy.copy(model)._weighted(X, y, sample_weight)
    if not np.array_equal(data.attributes["classes_"], model.classes_):
        raise ValueError(f"y must have the classes of the fit, {model.classes_}.")
    if data.kind == _kernels.Loss.MULTILABEL_SOFTMAX:
        raise ValueError("model must not have the loss of shares (1/M), got loss='softmax'.")
    matrices = data.k if data.kind == _kernels.Loss.SIGMOID else 1
    size = (X.shape[1] + 1) * (1 if data.kind == _kernels.Loss.SIGMOID else data.k - 1)
    if matrices * size**2 > MOST_NUMBERS:
        raise ValueError(
            f"X must have fewer columns, got a Hessian of {matrices} x {size} x {size} numbers; "
            f"at most {MOST_NUMBERS} are allowed."
        )
    if not sparse.issparse(data.targets):  # labels
        n = X.shape[0]
        ones = np.ones(n), data.targets, np.arange(n + 1)
        data = replace(data, targets=sparse.csr_array(ones, (n, data.k)))
    rng = check_random_state(0)
    problem = Problem.of(data, model.label_smoothing, alpha, 0.0, model.fit_intercept, rng)
    found = _Optimum(problem.in_double(), dense_rows(model.coef_), model.intercept_)
    left = float(np.sum(found.gradient * (found.inverse @ found.gradient))) / 2
    if not left <= MOST_LEFT * found.objective:
        raise ValueError(
            "X and y must be the rows that the model was fitted to until it converged, without "
            f"entry_weight, got ones whose objective of {found.objective:.3g} may fall by about "
            f"{left:.2g}."
        )
    return found


class _Optimum:
    """The objective to the second order, at coefficients.

    Its outputs are the logits, for a softmax less that of class 0. Columns are centred; the last is
    the constant if there is an intercept. Matrices are of shape (1, m, m) with m = outputs *
    columns for a softmax, else (outputs, columns, columns).
    """

    def __init__(self, problem, coef, intercept):
        self.problem, self.weights, self.joint = problem, problem.weights, not problem.sigmoid
        self.width = problem.X.shape[1] + problem.fit_intercept
        W = problem.to_centred(coef, intercept)
        if self.joint:
            coef, intercept = coef[1:] - coef[0], intercept[1:] - intercept[0]
            W -= W.mean(axis=1, keepdims=True)
        self.coef, self.intercept, penalty = coef, intercept, problem.penalty(W)
        decay = problem.alpha * np.append(W[:-1], 0 * W[-1:], axis=0)[: self.width]
        W = W[: self.width]
        if self.joint:
            W, decay = W[:, 1:] - W[:, :1], decay[:, 1:]
        self.size = W.size if self.joint else self.width
        self.logits = np.vstack([Z @ W for _, Z in self._pieces()])
        self.targets = self._targets(problem)
        self.plain = self._targets(replace(problem, smoothing=0.0))
        self.proba = special.expit(self.logits)
        if self.joint:
            self.proba = np.exp(self.logits - _log_sum(self.logits)[:, None])
        tau, mass = self.targets
        self.residuals = mass * (self.proba - tau)
        self.loss = self.weights @ self._losses(self.plain, self.logits)
        self.objective = self.weights @ self._losses(self.targets, self.logits) + penalty
        self.decay = decay.T.reshape(-1, self.size, 1)
        gradient = sum(
            Z.T @ (self.weights[part, None] * self.residuals[part]) for part, Z in self._pieces()
        )
        self.gradient = gradient.T.reshape(-1, self.size, 1) + self.decay

    def _pieces(self):
        """Yield parts of the rows, and their columns."""
        X, p = self.problem.X, self.problem.X.shape[1]
        for part in self.problem.pieces(copies=2):
            Z = np.ones((part.stop - part.start, self.width))
            Z[:, :p] = (
                X[part].toarray() if sparse.issparse(X) else X[part] - self.problem.centre_in_dtype
            )
            yield part, Z

    def _targets(self, problem):
        """Return tau of the outputs and the weights of the entries."""
        parts = [(tau, mass) for _, tau, mass in problem.dense_targets()]
        return [np.vstack(part)[:, int(self.joint) :] for part in zip(*parts, strict=True)]

    def _losses(self, targets, logits):
        """Return the loss of each row."""
        tau, mass = targets
        if self.joint:
            return _log_sum(logits) - (tau * logits).sum(axis=1)
        return (mass * (np.logaddexp(0, logits) - tau * logits)).sum(axis=1)

    def _curvature(self, part, c, d):
        """Return the second derivatives of the rows' losses by two of the outputs."""
        proba = self.proba[part]
        return self.targets[1][part, c] * proba[:, c] * ((c == d) - proba[:, d])

    def _sum(self, weigh):
        """Return the sums of the rows' outer products times weigh(rows, output, output)."""
        q, k = self.width, self.logits.shape[1]
        out = np.zeros((k, q, k if self.joint else 1, q))
        for part, Z in self._pieces():
            for c in range(k):
                for d in range(c + 1) if self.joint else [c]:
                    out[c, :, d if self.joint else 0] += Z.T @ (weigh(part, c, d)[:, None] * Z)
        if self.joint:
            for c in range(k):
                out[:c, :, c] = out[c, :, :c].swapaxes(0, 1)
        return out.reshape(-1, self.size, self.size)

    @cached_property
    def inverse(self):
        """The inverse of the Hessian."""
        k = self.logits.shape[1]
        H = self._sum(lambda part, c, d: self.weights[part] * self._curvature(part, c, d))
        columns = np.diag(np.arange(self.width) < self.problem.X.shape[1])
        H += self.problem.alpha * np.kron(np.eye(k) - 1 / (k + 1) if self.joint else [[1]], columns)
        if not np.isfinite(H).all():
            raise ValueError("X must have finite squares, got a Hessian that overflows.")
        for A in H:
            scale = to_unit(A)
            L, failed = linalg.lapack.dpotrf(A, lower=1)
            if failed or L.diagonal().min() < LEAST_PIVOT:
                raise ValueError(
                    "X must have no collinear columns, and y no label without a known entry, got "
                    "a singular Hessian."
                )
            lower = linalg.lapack.dpotri(L, lower=1)[0]
            A[:] = np.tril(lower) + np.tril(lower, -1).T
            A *= scale[:, None] * scale
        return H

    def left_out(self):
        """Return the mean loss of the rows, each left out."""
        moves = [(self.inverse @ b).reshape(-1, self.width).T for b in (self.decay, self.gradient)]
        k, total = self.logits.shape[1], 0.0
        inverse = self.inverse.reshape(k, self.width, -1, self.width)
        for part, Z in self._pieces():
            w = self.weights[part, None]
            A = np.empty((len(Z), k, inverse.shape[2]))
            C = np.empty_like(A)
            for c in range(k):
                for d in range(A.shape[2]):
                    A[:, c, d] = np.einsum("ij,ij->i", Z @ inverse[c, :, d], Z)
                    C[:, c, d] = w[:, 0] * self._curvature(part, c, d if self.joint else c)
            g = (w * self.residuals[part])[:, :, None]
            change = (w * (Z @ moves[0]) - Z @ moves[1])[:, :, None]
            if self.joint:
                change = np.linalg.solve(np.eye(k) - A @ C, A @ g + change)
            else:
                change = (A * g + change) / (1 - A * C)
            losses = self._losses(
                [t[part] for t in self.plain], self.logits[part] + change[:, :, 0]
            )
            total += self.weights[part] @ losses
        return float(total)

    def errors(self, weights, robust):
        """Return what `standard_errors` does, for the weights (n,) that were given."""
        covariance = self.inverse / weights.sum()
        if robust:
            times = self.weights**2 / np.where(weights > 0, weights, 1)
            r = self.residuals
            squares = self._sum(lambda part, c, d: times[part] * r[part, c] * r[part, d])
            covariance = self.inverse @ squares @ self.inverse
        if self.problem.centre is not None:  # the intercept is that of columns as they are
            q, centre = self.width, self.problem.centre
            blocks = covariance.reshape(len(covariance), -1, q, self.size // q, q)
            blocks[..., -1] -= blocks[..., :-1] @ centre
            blocks[:, :, -1] -= np.einsum("bcjde,j->bcde", blocks[:, :, :-1], centre)
        errors = np.sqrt(np.einsum("bii->bi", covariance)).reshape(-1, self.width)
        p = self.problem.X.shape[1]
        errors = np.pad(errors, ((0, 0), (0, p + 1 - self.width)))
        found = {"coef": self.coef, "coef_se": errors[:, :p], "covariance": covariance}
        return Bunch(**found, intercept=self.intercept, intercept_se=errors[:, p])


def _log_sum(logits):
    """Return the logarithm of the softmax's denominator, with the logit 0 of class 0."""
    return np.logaddexp(0, special.logsumexp(logits, axis=1))
