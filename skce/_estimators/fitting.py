"""`fit` of both estimators: data in, a solver, what it found."""

import warnings
from dataclasses import replace
from typing import Self

import numpy as np
from scipy import sparse
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skce import _kernels
from skce._estimators.control import BY_CALLBACK, BY_PRUNING, CHECKS, NOISE, Control
from skce._estimators.decorators import fits_with_callbacks
from skce._estimators.held_out import given_rows, loss_shares, mean_loss, split
from skce._estimators.parts import Parts
from skce._estimators.parts_fitting import read_parts, refuse
from skce._estimators.predict import dense_rows
from skce._estimators.validation import check_coefficients, check_X, read_y, relative_weights
from skce._kernels.threads import one_blas_thread
from skce._solvers.auto import minimize
from skce._solvers.penalised import elastic_net
from skce._solvers.problem import Problem
from skce._solvers.result import Limits, Stopped
from skce._solvers.seen import Seen
from skce._solvers.sgd import run_epochs
from skce._solvers.stream import Stream

__all__ = ["OPTIMISERS", "FitMixin"]

OPTIMISERS = ("sdca", "lbfgs")
DIVERGED = 1.1  # times the loss at zero weights
TABLE = 1 << 28  # probabilities of a softmax, up to which "auto" looks for the optimum
OF_EARLY_STOPPING = ("validation_loss_curve_", "best_iteration_")


class FitMixin(CallbackSupportMixin):
    """Part of the base of the estimators."""

    @fits_with_callbacks
    def fit(
        self,
        X,
        y=None,
        sample_weight=None,
        *,
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
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_classes)
            Targets, as the class's docstring tells; None for `Parts`.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative row weights: a weight of 2 means the same as the row twice.
        coef_init : array-like of the shape of `coef_`, default=None
            Coefficients to begin with, in place of those of `warm_start`; zeros if only
            `intercept_init` is given.
        intercept_init : array-like of the shape of `intercept_`, default=None
            Intercepts to begin with; zeros if only `coef_init` is given.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Rows held out, for `early_stopping`; all rows of X are then trained on. In a pipeline,
            ``Pipeline(..., transform_input=["X_val"])`` transforms them like X.
        y_val : {array-like, sparse matrix} of shape (n_val,) or (n_val, n_classes), default=None
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
        return self._fit(X, y, sample_weight, (coef_init, intercept_init), held_out)

    def _fit(self, X, y, sample_weight, start, held_out, **of_labels):
        """Fit the model; `of_labels` are arguments of the multi-label model's own."""
        context = self._init_callback_context(max_subtasks=None)
        with self._unchanged_on_error(), one_blas_thread():
            params = self._checked_params()
            rng = check_random_state(self.random_state)
            parts = X if isinstance(X, Parts) else None
            if parts is None:
                X = check_X(self, X, reset=True)
            else:
                given = {"y": y, "sample_weight": sample_weight}
                refuse(self, given, held_out=held_out[0] is not None)
                X, y, sample_weight, names = read_parts(self, parts, rng)
            data, weights = self._weighted(X, y, sample_weight, **of_labels)
            if parts is not None:
                of_columns = names is not None and len(names) == data.k
                data.attributes["label_names_"] = names if of_columns else None
            begin = self._start(data, *start)
            data, held = self._hold_out(data, rng, *held_out)
            hooks = self._hooks(data, y, None if sample_weight is None else weights)

            def attributes(coef, intercept):  # of an iterate that changes, unless it is CSR
                coef = coef if sparse.issparse(coef) else coef.copy(order="K")
                return self._fitted(data, coef, intercept)

            control = Control(self, context, hooks, attributes, held)
            coef, intercept = self._train(data, params, begin, rng, control)
            self._publish(data, coef, intercept)
            self._finish(X, y, weights, **of_labels)
            control.end(lambda: vars(self))
            if data.notice:
                warnings.warn(data.notice, UserWarning, stacklevel=5)
            seen = (data.X, data.targets, data.weights, data.k, self.fit_intercept)
            seen = Seen.of_rows(*seen) if parts is None else X.seen(data)
            self._tell_of_seen(data, seen)
            if parts is not None and parts.feature_names is not None:
                self.feature_names_in_ = parts.feature_names
            self.__dict__.pop("_stream", None)
        return self

    def _weighted(self, X, y, sample_weight, **of_labels):
        """Return the Encoded data and the row weights; raise where no row has a weight."""
        weights, power = relative_weights(sample_weight, X.shape[0])
        data = self._encode(X, y, weights, None, 0, **of_labels)
        data.exponent, data.power = data.exponent + power, power
        if not data.weights.any():
            raise ValueError(
                "sample_weight and class_weight must leave a row with weight, got zero weight for "
                "every row."
            )
        return data, weights

    def _tell_of_seen(self, data, seen):
        """Keep what a stream goes on from, in units of the weights given, unless too large."""
        counts = data.counts
        with np.errstate(over="ignore", under="ignore"):
            square = np.ldexp(seen.weight, data.exponent) ** 2
        if np.finfo(float).tiny <= square < np.inf:
            seen.scale(data.exponent)
            counts = self._scaled_counts(counts, data.power)
        self._seen, self._seen_counts = vars(seen), counts

    def _finish(self, X, y, weights, **of_labels):
        """Learn what is learnt after the coefficients."""

    def _learn_shares(self, X, y, weights):
        """Learn the part of it that is cheap."""

    def _hold_out(self, data, rng, X_val, y_val, sample_weight_val):
        """Return the data to train on, and the loss on the rows held out or None."""
        held = given_rows(self, data, X_val, y_val, sample_weight_val)
        if held is None and self.early_stopping:
            rows = split(data, self.validation_fraction, rng)
            held, data = data.rows(rows), data.without(rows)
        if held is None:
            return data, None
        return data, lambda *found: loss_shares(held, self.label_smoothing, *found)

    def _hooks(self, data, y, weights):
        """Return what callbacks are told of the rows trained on."""
        told = {"X": getattr(data.X, "parts", data.X), "y": y}
        if self.early_stopping and not (data.in_parts or data.weights.all()):
            rows = np.flatnonzero(data.weights)
            told = {"X": lambda: data.X[rows], "y": lambda: read_y(y)[rows]}
            weights = None if weights is None else weights[rows]
        return {**told, "metadata": None if weights is None else {"sample_weight": weights}}

    def _start(self, data, coef_init, intercept_init):
        """Return coef and intercept to begin with, None for zero."""
        shape = (data.k, data.X.shape[1])
        if coef_init is not None or intercept_init is not None:
            coef = check_coefficients("coef_init", coef_init, shape)
            intercept = check_coefficients("intercept_init", intercept_init, shape[:1])
            if intercept.any() and not self.fit_intercept:
                raise ValueError("intercept_init must be 0 for fit_intercept=False.")
            return coef, intercept
        if not (self.warm_start and "classes_" in self.__dict__):
            return None
        if self.coef_.shape != shape:
            raise ValueError(
                f"warm_start needs coefficients of shape {shape}, got {self.coef_.shape}."
            )
        coef = self.coef_ if self._is_pruned() else dense_rows(self.coef_)
        return coef, self.intercept_ * bool(self.fit_intercept)

    def _is_pruned(self):
        """Tell whether `coef_` is to be CSR."""
        return False

    def _train(self, data, params, start, rng, control):
        """Run the solver; set the attributes of the run and return coef, intercept."""
        for name in OF_EARLY_STOPPING:
            self.__dict__.pop(name, None)
        fits = data.kind == _kernels.Loss.SIGMOID or data.X.shape[0] * data.k <= TABLE
        proves = self.l1_ratio > 0 or self.certified
        optimises = self.solver in OPTIMISERS
        if self.solver == "auto":
            optimises = fits or proves or data.in_parts
        if control.held_out is not None:
            shape, dtype = (data.k, data.X.shape[1]), data.X.dtype
            start = control.begin(start, (np.zeros(shape, dtype), np.zeros(shape[:1], dtype)))
        if optimises:
            *found, passes, reason, ended = self._optimise(data, start, rng, control)
        else:
            *found, passes, reason, ended = self._descend(data, params, start, rng, control)
        if control.held_out is not None:
            self.validation_loss_curve_, passes = control.validation_curve, control.passes
            self.best_iteration_ = control.best[0]
        if ended:
            warnings.warn(f"Not converged: {ended}.", ConvergenceWarning, stacklevel=6)
        self._ended(reason, ended, control.curve, passes)
        return found

    def _optimise(self, data, start, rng, control):
        """Find the optimum."""
        loss = self.label_smoothing, self.alpha, self.l1_ratio, self.fit_intercept
        solver = self.solver
        if data.in_parts:
            problem, solver = data.X.problem(data, rng), "lbfgs"
        else:
            problem = Problem.of(data, *loss, rng)
        W = np.zeros((data.X.shape[1] + 1, data.k))
        if start is not None:
            W = problem.to_centred(*start)

        def report(name, passes, value, W, gap):
            control(name, passes, value, lambda: problem.from_centred(W()), gap)

        limits, reason = Limits(self.tol, self.max_iter, self.certified, report), None
        if control.held_out is not None:
            limits = replace(limits, prove=self.certified, parts=CHECKS)
            control.noise = NOISE
        with np.errstate(all="ignore"):  # what overflows is never the best
            try:
                found = minimize(problem, W, rng, limits, solver)
                if not control.curve:
                    report("start", 0, found.objective, lambda: found.W, found.gap)
                coef, intercept = self._run_of(problem, found)
                ended, passes = found.ended, found.passes
            except Stopped as stopped:
                reason, (coef, intercept) = stopped.args
                ended, passes = None, control.passes
            best, _, weights = control.best
            if reason or (weights and (ended or best < len(control.curve))):  # not the solver's end
                coef, intercept = weights or (coef, intercept)
                if data.in_parts:
                    objective = problem.objective(problem.to_centred(coef, intercept))
                else:
                    objective = self._objective(data, coef, intercept)
                self._tell_nothing_of(objective)
        return coef, intercept, passes, reason, ended

    def _run_of(self, problem, found):
        """Set the attributes of the run that found the optimum; return coef and intercept."""
        self._tell_of(problem, found)
        return problem.from_centred(found.W)

    def _tell_of(self, problem, found):
        """Set the attributes of the run that found the optimum."""
        self.objective_ = float(found.objective)
        self.dual_gap_ = float(found.gap) if np.isfinite(found.gap) else np.nan
        self.gap_estimate_ = float(np.fmin(found.estimate, found.gap))
        self.certified_ = bool(problem.is_within(found.gap, found.objective, self.tol))
        self._ended(None, found.ended, found.curve, found.passes)

    def _tell_nothing_of(self, objective):
        """Set these attributes where nothing is known of the gap."""
        self.objective_, self.certified_ = objective, False
        self.dual_gap_ = self.gap_estimate_ = np.nan

    def _ended(self, reason, problem, curve, passes):
        """Set what tells how the fit ended: the reason to stop it, or what kept it from tol."""
        self.stop_reason_ = problem or reason or "tol"
        self.converged_ = not problem and reason not in (BY_CALLBACK, BY_PRUNING)
        self.loss_curve_, self.n_iter_ = [*map(float, curve)], int(np.ceil(passes))

    def _objective(self, data, coef, intercept):
        """Return the objective of coefficients."""
        loss = mean_loss(data, self.label_smoothing, coef, intercept)
        return loss + self.alpha * elastic_net(coef, self.l1_ratio)

    def _descend(self, data, params, start, rng, control):
        """Run stochastic gradient descent."""
        X, weights = data.X, data.weights / data.weights.mean()
        stream = Stream(params, X.shape[1], data.k, X.dtype, sparse.issparse(X))
        inner = replace(data, X=stream.stored(X))
        problem = self._problem(inner, weights)
        zero = np.zeros((data.k, X.shape[1]), X.dtype), np.zeros(data.k, X.dtype)
        reason, name = None, stream.rule.name.lower()
        diverged = f"the loss diverged with learning_rate={self.learning_rate!r}"

        def report(passes, value):
            control(name, passes, value, stream.result)

        with np.errstate(all="ignore"):  # a pass that overflows is undone
            at_zero = mean_loss(data, self.label_smoothing, *zero)
            if start is not None:
                centred = self.fit_intercept
                seen = Seen.of_rows(X, data.targets, weights, data.k, centred)
                stream.start_from(start[0], start[1], seen, data.pos_weight)
                if self.warm_start:  # steps as small as those it ended with
                    stream.reduction = getattr(self, "_reduction", 1.0)
            try:
                ended = run_epochs(
                    *(stream, problem, inner, weights, DIVERGED * at_zero * len(weights), rng),
                    **{"tol": self.tol, "max_iter": self.max_iter, "report": report},
                    n_iter_no_change=self.n_iter_no_change if control.held_out is None else np.inf,
                    parts=1 if control.held_out is None else CHECKS,
                )
                coef, intercept = stream.result()
            except Stopped as stopped:
                reason, (coef, intercept) = stopped.args
                ended = None
                if reason != BY_CALLBACK and not min(control.curve) <= DIVERGED * at_zero:
                    ended = diverged
            if control.best[2] is not None:
                coef, intercept = control.best[2]
            objective = self._objective(data, coef, intercept)
        if control.held_out is None and not objective <= at_zero:
            ended = diverged
            if stream.auto:
                coef[:], intercept[:] = 0, 0
                objective = at_zero
                ended = "the loss did not fall below that of zero coefficients"
        self._tell_nothing_of(objective)
        self._reduction = stream.reduction
        return coef, intercept, control.passes, reason, ended
