"""Fitting that both estimators share: the choice of the solver, partial_fit."""

import copy
import warnings
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from skce import _kernels
from skce._engine.data import EpochData
from skce._estimators.classes import class_numbers
from skce._estimators.decorators import fits
from skce._estimators.fitting import OPTIMISERS, FitMixin
from skce._estimators.parts import Parts, named
from skce._estimators.penalty import penalty_name
from skce._estimators.persistence import VersionMixin
from skce._estimators.predict import dense_rows, map_logits
from skce._estimators.targets import TargetsMixin
from skce._estimators.top_k import TopKMixin
from skce._estimators.validation import (
    Interval,
    SparseCoefMixin,
    StrOptions,
    check_weights,
    check_X,
    in_model_dtype,
    read_y,
)
from skce._kernels.threads import one_blas_thread
from skce._solvers.columns import rounded_intercept
from skce._solvers.lazy import columns_of, on_columns
from skce._solvers.seen import Seen
from skce._solvers.stream import Stream
from skce._solvers.undo import is_finite, restore, save

__all__ = ["BaseCrossEntropy"]

DIVERGED_IN_ORDER = 3.0  # as DIVERGED in `fitting`, in a stream, whose rows may be sorted
ROWS_BEFORE_WARNING = 100  # of which a stream's mean loss says little


def _same(array, other):
    """Tell whether two attributes are the same, None being absent."""
    return array is other or (
        isinstance(array, np.ndarray) and other is not None and np.array_equal(array, other)
    )


class BaseCrossEntropy(
    FitMixin, SparseCoefMixin, TopKMixin, TargetsMixin, ClassifierMixin, VersionMixin
):
    """Base of the estimators; they supply `_encode` and the predictions."""

    _seen: dict  # by a fit: attributes of a Seen
    _stream: Stream  # of partial_fit
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
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "allow_new_classes": ["boolean"],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @fits
    def partial_fit(self, X, y, classes=None, sample_weight=None) -> Self:
        """Make one pass over a batch of rows, in the order given.

        Rows are learnt as they come: calls of one row or of a million end alike. The model goes on
        from a `fit` before it, whose rows count. Rows sorted by class should be shuffled before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_classes)
            Targets.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever occur; needed in the first call with 1-d labels unless its y
            holds every one, or `allow_new_classes`.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative row weights. A call whose weights are all zero changes nothing.

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
        return self._partial_fit(X, y, classes, sample_weight)

    def _partial_fit(self, X, y, classes, sample_weight, **of_labels):
        """Do it; `of_labels` are arguments of the multi-label model's own."""
        first = "classes_" not in self.__dict__
        self._validate_params()  # which the decorator leaves out after the first call
        with self._unchanged_on_error(), one_blas_thread():
            params = self._checked_params(streaming=True)
            X = check_X(self, X, reset=first)
            X = X if first else in_model_dtype(X, self._dtype())
            weights = check_weights(sample_weight, X.shape[0], relative=False, allow_all_zero=True)
            known = self._known(classes, first)
            places = None
            if self.allow_new_classes:
                y = read_y(y)
                known = self._widened(known, y)
                if not first and len(known) > len(self.classes_):
                    places = class_numbers(self.classes_, known)
            counts = getattr(self, "_seen_counts", 0)
            if places is not None and np.ndim(counts):
                counts = self._grown_counts(counts, places, len(known))
            data = self._encode(X, y, weights, known, counts, **of_labels)
            data = data.with_given_weights()
            if not first and places is None and data.k != len(self.intercept_):
                raise ValueError(
                    f"y must have the form of the first call, with {len(self.intercept_)} outputs, "
                    f"got {data.k}."
                )
            self._learn(data, params, first, places)
        return self

    @property
    def penalty(self):
        """Name of the penalty: SelectFromModel takes a threshold of 1e-5 for "l1"."""
        return penalty_name(self.l1_ratio)

    def _learn(self, data, params, first, places):
        """Make the pass of partial_fit; as it was before if that fails."""
        done, loss = bool(data.weights.any()), 0.0
        if not (done or first or places is not None):
            return
        stream = self._resumed(params, data)
        if places is not None:
            stream = self._grown(stream, data, places)
        data = replace(data, X=stream.stored(data.X))
        saved = save(stream, data.X)
        try:
            if done:
                problem = self._problem(data, data.weights)
                rows = np.arange(len(data.weights), dtype=np.intp)
                with np.errstate(all="ignore"):  # such a pass is undone
                    loss = stream.run(problem, data, data.weights, rows, new=True)
                    done = bool(np.isfinite(loss) and is_finite(stream, data.X))
                if not done:
                    restore(stream, saved)
                    loss = np.inf
                self._warn_of(stream, data, loss)
            self._stream = stream
            self._publish_stream(data)
            if done or places is not None:
                self._seen_counts = data.counts
            self.n_iter_ = getattr(self, "n_iter_", 0) + done
            self.converged_ = self.certified_ = False
            self.stop_reason_ = "partial_fit"
            self.dual_gap_ = self.gap_estimate_ = np.nan
            curve = [*getattr(self, "loss_curve_", [])]
            if done:
                curve.append(loss / data.weights.sum())
                if self.verbose:
                    print(f"call {len(curve)}: loss {curve[-1]:.6g}")
            self.loss_curve_, self.objective_ = curve, (curve or [np.nan])[-1]
        except BaseException:
            restore(stream, saved)
            raise

    def _warn_of(self, stream, data, loss):
        """Warn once of a learning rate that is too large, or of values that overflow."""
        k, total = data.k, data.weights.sum()
        if not np.isfinite(loss):
            message = "the loss diverged, and this call is undone"
        else:
            at_zero = np.log(2) * k if data.kind == _kernels.Loss.SIGMOID else np.log(k)
            stream.losses += loss, at_zero * stream.positive * total
            if stream.auto or stream.seen.rows < ROWS_BEFORE_WARNING:
                return
            if stream.losses[0] <= DIVERGED_IN_ORDER * stream.losses[1]:
                return
            message = "the loss diverged"
        if not stream.warned:
            stream.warned = True
            message = f"Not converged: {message}, with learning_rate={self.learning_rate!r}."
            warnings.warn(message, ConvergenceWarning, stacklevel=6)

    def _publish_stream(self, data):
        """Set the fitted attributes; of CSR coef_ is made when it is read."""
        stream = self._stream
        if stream.stamps is None:
            self._publish(data, *stream.result())
        else:
            self._publish(data, None, stream.intercept())
            del self.coef_
        stream.published = self.__dict__.get("coef_"), self.intercept_

    def __getattr__(self, name):
        if name == "coef_" and "_stream" in self.__dict__:
            coef = self._stream.result()[0]
            coef.flags.writeable = False  # a copy: changes would be lost
            return coef
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _dtype(self):
        """Return the dtype of the coefficients."""
        return self.__dict__["coef_"].dtype if "coef_" in self.__dict__ else self._stream.W.dtype

    def _grown_counts(self, counts, places, k):
        """Return class counts of calls before, those of k classes now."""
        raise NotImplementedError

    def _scaled_counts(self, counts, power):
        """Return counts of rows whose weights are larger by so many powers of two."""
        return np.ldexp(counts, power)

    def _encode(self, X, y, weights, known, seen):
        """Return the Encoded data, for known classes or None, and class counts seen before."""
        raise NotImplementedError

    def _checked_params(self, streaming=False):
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
        takes_l1 = self.solver in ("auto", "sdca") or (streaming and self.solver != "lbfgs")
        if self.l1_ratio > 0 and not takes_l1:
            raise ValueError(f"l1_ratio must be 0 for solver={self.solver!r}, got {self.l1_ratio}.")
        names = ("alpha", "l1_ratio", "label_smoothing", "fit_intercept", "learning_rate")
        params = {
            name: getattr(self, name) for name in (*names, "momentum", "average", "batch_size")
        }
        stochastic = self.solver not in ("auto", *OPTIMISERS)
        params["solver"] = self.solver if stochastic else "auto" if streaming else "sgd"
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
        return EpochData(
            *(data.kind, data.X, data.targets, data.k, weights, data.pos_weight),
            *(self.label_smoothing, data.entry_weight),
        )

    def _resumed(self, params, data):
        """Return the state of partial_fit, or a new one that starts at the fitted coefficients."""
        stream = self.__dict__.get("_stream")
        keys = ("solver", "momentum", "average", "learning_rate", "fit_intercept")
        now = self.__dict__.get("coef_"), self.__dict__.get("intercept_")
        if stream is not None and all(stream.params[key] == params[key] for key in keys):
            if any(stream.params[key] != params[key] for key in ("alpha", "l1_ratio")):
                stream.settle()
            stream.params = params
            if all(_same(a, b) for a, b in zip(now, stream.published, strict=True)):
                return stream
            coef = self.coef_ if now[0] is None else now[0]  # one of them was set
            stream.start_from(dense_rows(coef), now[1])
            return stream
        seen = stream.seen if stream is not None else None
        if seen is None and "_seen" in self.__dict__:
            seen = Seen.of_state(self._seen)
        storage = sparse.issparse(data.X) if seen is None else seen.is_sparse
        k = data.k if now[1] is None else len(now[1])
        new = Stream(params, data.X.shape[1], k, data.X.dtype, storage)
        if now[1] is not None:
            new.start_from(dense_rows(self.coef_), now[1], seen, data.pos_weight)
        return new

    def _grown(self, stream, data, places):
        """Return a stream that has the outputs of new classes too; old ones are at `places`."""
        shared, k, n = data.kind != _kernels.Loss.SIGMOID, stream.W.shape[1], len(places)
        single = k == 1 and getattr(self, "_form", None) is None  # the logit of two classes
        signs: Any = np.eye(k)
        if single and data.k == 1:  # of one class and no other, now of two
            signs, places = [[-1.0 if places[0] == 1 else 1.0]], np.zeros(1, int)
        elif single:
            signs = [[-0.5 if shared and n == 2 else -1.0, 0.5 if shared else 1.0][:n]]
        stream = copy.deepcopy(stream)  # arrays change their shape
        stream.grow(places, data.k, signs, shared)
        return stream

    def _fitted(self, data, coef, intercept):
        """Return the attributes that make a model of coefficients."""
        if data.kind != _kernels.Loss.SIGMOID:
            intercept = intercept - intercept.mean()
        if coef is not None and not sparse.issparse(coef):
            # predictions of CSR take the coefficients of a column together
            layout = np.asfortranarray if sparse.issparse(data.X) else np.ascontiguousarray
            coef = layout(coef, data.X.dtype)
        return {
            "coef_": coef,
            "intercept_": rounded_intercept(intercept, data.X.dtype),
            **data.attributes,
        }

    def _publish(self, data, coef, intercept):
        """Set the fitted attributes."""
        for name, value in self._fitted(data, coef, intercept).items():
            setattr(self, name, value)
        if self.label_names_ is None:
            del self.label_names_

    def _map_logits(self, X, function, softmax=False):
        """Return function(logits) of the rows of X, or of their softmax, as `map_logits` does."""
        check_is_fitted(self)
        if isinstance(X, Parts):
            return self._map_parts(X, function, softmax)
        X = check_X(self, X, reset=False)
        if "coef_" not in self.__dict__ and sparse.issparse(X):  # the columns of X will do
            columns = columns_of(X)
            columns = columns if len(columns) else np.zeros(1, np.intp)
            coef, X = self._stream.weights(columns)[:-1].T, on_columns(X, columns)
            return map_logits(X, coef, self.intercept_, function, softmax)
        return map_logits(X, self.coef_, self.intercept_, function, softmax)

    def _map_parts(self, parts, function, softmax):
        """Return the same of all parts."""
        names, known = parts.feature_names, getattr(self, "feature_names_in_", None)
        if names is not None and known is not None and [*names] != [*known]:
            raise ValueError(f"X must have the columns of fit, {[*known]}, got {[*names]}.")
        found = []
        for number in range(len(parts)):
            X = parts.read_X(number)
            with named(number), warnings.catch_warnings():
                if names is not None:  # they are known, though X is an array
                    warnings.filterwarnings("ignore", "X does not have valid feature names")
                found.append(self._map_logits(X, function, softmax))
        return np.concatenate(found)

    def __sklearn_is_fitted__(self):
        return "classes_" in self.__dict__

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
