"""Fitting that both estimators share: the choice of the solver, partial_fit."""

import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skce import _kernels
from skce._engine.data import Problem
from skce._estimators.persistence import VersionMixin
from skce._estimators.predict import dense_rows, map_logits
from skce._estimators.targets import TargetsMixin
from skce._estimators.top_k import TopKMixin
from skce._estimators.validation import (
    Interval,
    SparseCoefMixin,
    StrOptions,
    _fit_context,
    check_sum,
    check_weights,
    check_X,
    one_blas_thread,
)
from skce._solvers.auto import find_optimum, in_double
from skce._solvers.problem import canonical
from skce._solvers.sgd import SGD, rounded_intercept, run_epochs

__all__ = ["BaseCrossEntropy", "Encoded"]

OPTIMISERS = ("sdca", "lbfgs")
DIVERGED = 1.1  # times the loss at zero weights
DIVERGED_IN_ORDER = 3.0  # the same where rows may be sorted
MOST_ROUNDED = 1e-5  # of the logits, by the dtype of X: from there the objective is told in double
LEAST_GOAL = 100.0  # roundings of the objective by that dtype: below it solvers work in double
TABLE_BYTES = 1 << 30  # of probabilities of all rows, up to which "auto" looks for the optimum


@dataclass
class Encoded:
    """What is fitted: targets are labels (n,) or CSR (n, k); weights include class weights."""

    X: Any
    kind: int
    targets: Any
    k: int
    weights: np.ndarray
    counts: np.ndarray  # weighted, of all calls of partial_fit
    attributes: dict
    pos_weight: np.ndarray | None = None
    notice: str | None = None  # for the user of `fit`
    exponent: int = 0  # weights · 2**exponent are those given

    def with_given_weights(self):
        """Return the same with weights that are not relative to each other."""
        with np.errstate(over="ignore"):
            weights = np.ldexp(self.weights, self.exponent)
        check_sum("sample_weight times class_weight", weights)
        return replace(self, weights=weights, exponent=0)


def _has_streams(model):
    """Tell whether there is a partial_fit; a wrong l1_ratio is left to the check of parameters."""
    return not (isinstance(model.l1_ratio, Real) and 0 < float(model.l1_ratio) <= 1)


class BaseCrossEntropy(SparseCoefMixin, TopKMixin, TargetsMixin, ClassifierMixin, VersionMixin):
    """Base of the estimators; they supply `_encode` and the predictions."""

    _sgd: SGD  # of partial_fit
    _observe = None  # a benchmark may take each iterate: a method of coef (K, p), intercept (K,)

    _parameter_constraints: ClassVar[dict] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "label_smoothing": [Interval(Real, 0, 1, closed="both")],
        "solver": [StrOptions({"auto", "sdca", "lbfgs", "sgd", "adagrad", "adam"})],
        "learning_rate": [
            StrOptions({"auto"}),
            Interval(Real, 0, None, closed="neither"),
            callable,
        ],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "average": [StrOptions({"auto"}), "boolean"],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "certified": ["boolean"],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features. float32 is kept, anything else becomes float64; C-ordered arrays and CSR
            are not copied.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_classes)
            Targets, as the class's docstring tells.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative row weights: a weight of 2 means the same as the row twice.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If X, y, sample_weight or a combination of parameters does not fit; the estimator is
            then as it was before the call.
        """
        with self._unchanged_on_error(), one_blas_thread():
            params = self._checked_params()
            X = check_X(self, X, reset=True)
            weights = check_weights(sample_weight, X.shape[0])
            data = self._encode(X, y, weights, None, 0)
            if not data.weights.any():
                raise ValueError(
                    "sample_weight and class_weight must leave a row with weight, got zero weight "
                    "for every row."
                )
            coef, intercept = self._train(data, params)
            self._publish(data, coef, intercept)
            if data.notice:
                warnings.warn(data.notice, UserWarning, stacklevel=3)
            for state in ("_sgd", "_seen_counts"):
                self.__dict__.pop(state, None)
        return self

    @available_if(_has_streams)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Make one pass over a batch of rows, in the order given.

        Always trains by stochastic gradient descent ("sgd" for "auto", "sdca" and "lbfgs"), which
        takes no L1 penalty: with `l1_ratio` above 0 there is no such method. Rows sorted by class
        should be shuffled before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_classes)
            Targets.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever occur; needed in the first call with 1-d labels unless its y
            holds every one.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative row weights. A call whose weights are all zero changes nothing.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If the data do not fit, or y holds a class that the first call did not announce.
        """
        first = not hasattr(self, "coef_")
        self._validate_params()  # which the decorator leaves out after the first call
        with self._unchanged_on_error(), one_blas_thread():
            params = self._checked_params()
            X = check_X(self, X, reset=first)
            X = X if first else X.astype(self.coef_.dtype, copy=False)
            weights = check_weights(sample_weight, X.shape[0], relative=False, allow_all_zero=True)
            data = self._encode(
                X, y, weights, self._known(classes, first), getattr(self, "_seen_counts", 0)
            )
            data = data.with_given_weights()
            if not first and data.k != self.coef_.shape[0]:
                raise ValueError(
                    f"y must have the form of the first call, with {self.coef_.shape[0]} outputs, "
                    f"got {data.k}."
                )
            sgd = self._resumed(params, data)
            curve = list(getattr(self, "loss_curve_", []))
            done = data.weights.any() and self._stream(sgd, data, curve)
            if done or first:
                self._publish(data, *sgd.result())
                self.n_iter_ = getattr(self, "n_iter_", 0) + bool(done)
                self.loss_curve_, self.objective_ = curve, (curve or [np.nan])[-1]
                self.converged_ = self.certified_ = False
                self.dual_gap_ = self.gap_estimate_ = np.nan
            if done:
                self._seen_counts = data.counts
        return self

    @property
    def penalty(self):
        """Name of the penalty: SelectFromModel takes a threshold of 1e-5 for "l1"."""
        return "l1" if self.l1_ratio == 1 else "elasticnet" if self.l1_ratio > 0 else "l2"

    def _stream(self, sgd, data, curve):
        """Make the pass of partial_fit; return False if it diverged and was given up."""
        rows = np.arange(data.X.shape[0], dtype=np.intp)
        problem = self._problem(data, data.weights)
        sgd.prepare(
            data.X, data.weights, self._curvature(data), check_random_state(self.random_state)
        )
        limit = DIVERGED_IN_ORDER * sgd.loss(problem, np.zeros_like(sgd.W))
        loss = sgd.run_pass(problem, rows, limit if sgd.auto else np.inf)
        if loss == np.inf or (loss > limit and not sgd.auto):
            message = f"Not converged: {sgd.divergence} in this call."
            warnings.warn(message, ConvergenceWarning, stacklevel=4)
        if loss == np.inf:
            if hasattr(self, "_sgd"):  # all of the call is undone, but for shorter steps
                self._sgd = self._sgd.copy()
                self._sgd.reduction /= 4
            return False
        sgd.reduction = min(2 * sgd.reduction, 1.0)
        self._sgd = sgd
        curve.append(loss / data.weights.sum() + sgd.penalty())
        if self.verbose:
            print(f"call {len(curve)}: loss {curve[-1]:.6g}")
        return True

    def _encode(self, X, y, weights, known, seen):
        """Return the Encoded data, for known classes or None, and class counts seen before."""
        raise NotImplementedError

    def _checked_params(self):
        """Return the solver's parameters; raise where they do not go together."""
        if self.momentum > 0 and self.solver in ("adagrad", "adam"):
            raise ValueError(f"momentum must be 0 for solver={self.solver!r}, got {self.momentum}.")
        if self.solver == "sdca" and self.alpha == 0:
            raise ValueError(f"alpha must be positive for solver='sdca', got {self.alpha}.")
        if self.certified and (self.alpha == 0 or self.solver not in ("auto", *OPTIMISERS)):
            raise ValueError(
                "certified must be False for alpha=0 and the solvers 'sgd', 'adagrad' and 'adam', "
                f"which have no duality gap, got True with alpha={self.alpha} and "
                f"solver={self.solver!r}."
            )
        if self.l1_ratio > 0 and self.solver not in ("auto", "sdca"):
            raise ValueError(f"l1_ratio must be 0 for solver={self.solver!r}, got {self.l1_ratio}.")
        names = ("alpha", "fit_intercept", "learning_rate", "momentum", "average", "batch_size")
        params = {name: getattr(self, name) for name in names}
        params["solver"] = "sgd" if self.solver in ("auto", *OPTIMISERS) else self.solver
        return params

    @contextmanager
    def _unchanged_on_error(self):
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _problem(self, data, weights):
        return Problem(
            data.kind, data.X, data.targets, data.k, weights, data.pos_weight, self.label_smoothing
        )

    def _curvature(self, data):
        """Return the largest curvature of the mean loss in one logit at the class frequencies."""
        if isinstance(data.targets, np.ndarray):
            share = np.bincount(data.targets, data.weights, data.k)
        else:
            rows = data.targets.copy()
            rows.data = np.nan_to_num(rows.data)
            share = rows.T @ data.weights
        if data.kind == _kernels.Loss.SIGMOID:
            share = share / data.weights.sum()
        else:
            share = share / max(share.sum(), np.finfo(float).tiny)
        most = np.max(share * (1 - share))
        if data.pos_weight is not None:
            most *= max(1.0, data.pos_weight.max())
        return float(np.clip(most, 1e-3, None))

    def _train(self, data, params):
        """Run the solver; set the attributes of the run and return coef, intercept."""
        rng = check_random_state(self.random_state)
        start = self._start(data)
        table = data.X.shape[0] * data.k * data.X.dtype.itemsize
        fits = table <= TABLE_BYTES or self.l1_ratio > 0 or self.certified
        if self.solver in OPTIMISERS or (self.solver == "auto" and fits):
            return self._optimise(data, start, rng)
        return self._descend(data, params, start, rng)

    def _start(self, data):
        """Return coef and intercept to begin with, None for zero."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        shape = (data.k, data.X.shape[1])
        if self.coef_.shape != shape:
            raise ValueError(
                f"warm_start needs coefficients of shape {shape}, got {self.coef_.shape}."
            )
        return dense_rows(self.coef_), self.intercept_

    def _optimise(self, data, start, rng):
        """Find the optimum."""
        dtype = data.X.dtype
        problem = canonical(
            *(data, self.label_smoothing, self.alpha, self.l1_ratio, self.fit_intercept, rng)
        )
        W = np.zeros((data.X.shape[1] + 1, data.k))
        if start is not None:
            W = problem.to_centred(*start)
        began = time.perf_counter()

        def report(engine):
            if self._observe is not None:
                self._observe(*problem.from_centred(engine.W))
            if self.verbose:
                seconds = time.perf_counter() - began
                print(
                    f"{engine.name}, pass {engine.passes:.0f}: "
                    f"loss {engine.value:.6g}, {seconds:.3g} s"
                )

        with np.errstate(all="ignore"):  # what overflows is never the best
            limits = {"tol": self.tol, "max_iter": self.max_iter, "certified": self.certified}
            found = find_optimum(problem, self.solver, W, rng, report=report, **limits)
            if dtype != np.float64 and self._is_rough(problem, found):
                found = in_double(problem, found, self.solver, rng, report=report, **limits)
        W = found.W.astype(np.float64)  # the intercept belongs to rounded coefficients
        W[:-1] = W[:-1].astype(dtype)
        if found.ended:
            warnings.warn(f"Not converged: {found.ended}.", ConvergenceWarning, stacklevel=5)
        self.loss_curve_, self.n_iter_, self.converged_ = found.curve, found.passes, not found.ended
        self.objective_, self.dual_gap_ = float(found.objective), float(found.gap)
        self.gap_estimate_ = float(found.estimate)
        self.certified_ = bool(problem.is_within(found.gap, found.objective, self.tol))
        return problem.from_centred(W)

    def _is_rough(self, problem, found):
        """Tell whether the dtype of X is too coarse for the logits, or for tol."""
        eps = np.finfo(problem.X.dtype).eps
        goal = problem.goal(found.objective, self.tol)
        if self.alpha > 0 and goal < LEAST_GOAL * eps * found.objective:
            return True
        return eps * problem.reach(found.W) > MOST_ROUNDED

    def _descend(self, data, params, start, rng):
        """Run stochastic gradient descent."""
        weights = data.weights / data.weights.mean()
        sgd = SGD(params, data.X.shape[1], data.k, data.X.dtype)
        problem = self._problem(data, weights)
        rows = np.arange(problem.X.shape[0], dtype=np.intp)
        at_zero = sgd.loss(problem, np.zeros_like(sgd.W))  # where X has no centre to overflow
        if start is not None:
            sgd.start_from(*start)
        sgd.prepare(data.X, weights, self._curvature(data), rng)
        curve, ended = run_epochs(
            *(sgd, problem, DIVERGED * at_zero, rng),
            **{"tol": self.tol, "max_iter": self.max_iter, "verbose": self.verbose},
            n_iter_no_change=self.n_iter_no_change,
        )
        coef, intercept = sgd.result()
        n = rows.shape[0]
        with np.errstate(over="ignore"):
            penalty = self.alpha / 2 * float(np.sum(np.square(coef, dtype=np.float64)))
        objective = sgd.loss(problem) / n + penalty
        if not objective <= at_zero / n:
            ended = sgd.divergence
            if sgd.auto:
                coef[:], intercept[:] = 0, 0
                objective = at_zero / n
                ended = "the loss did not fall below that of zero coefficients"
        if ended:
            warnings.warn(f"Not converged: {ended}.", ConvergenceWarning, stacklevel=5)
        self.loss_curve_, self.n_iter_, self.converged_ = curve, len(curve), ended is None
        self.objective_, self.certified_ = objective, False
        self.dual_gap_ = self.gap_estimate_ = np.nan
        return coef, intercept

    def _resumed(self, params, data):
        """Return the state of partial_fit, or a new one that starts at the fitted coefficients."""
        sgd = getattr(self, "_sgd", None)  # copied, so that an interrupted call changes nothing
        keys = ("solver", "momentum", "average", "learning_rate", "fit_intercept")
        if sgd is not None and all(sgd.params[key] == params[key] for key in keys):
            sgd = sgd.copy()
            sgd.params = params
            return sgd
        sgd = SGD(params, data.X.shape[1], data.k, data.X.dtype)
        if hasattr(self, "coef_"):
            sgd.start_from(dense_rows(self.coef_), self.intercept_)
        return sgd

    def _publish(self, data, coef, intercept):
        """Set the fitted attributes."""
        if data.kind != _kernels.Loss.SIGMOID:
            intercept = intercept - intercept.mean()
        self.coef_ = np.ascontiguousarray(coef, dtype=data.X.dtype)
        self.intercept_ = rounded_intercept(intercept, data.X.dtype)
        for name, value in data.attributes.items():
            setattr(self, name, value)
        if self.label_names_ is None:
            del self.label_names_

    def _map_logits(self, X, function, softmax=False):
        """Return function(logits) of the rows of X, or of their softmax, as `map_logits` does."""
        check_is_fitted(self)
        X = check_X(self, X, reset=False)
        return map_logits(X, self.coef_, self.intercept_, function, softmax)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
