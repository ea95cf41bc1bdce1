"""Cross-validation of the penalty, which both estimators share."""

import copy
import time
import warnings
from contextlib import closing
from functools import partial
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted

from skce._estimators.base import BaseCrossEntropy
from skce._estimators.decorators import fits_with_callbacks
from skce._estimators.fitting import OPTIMISERS
from skce._estimators.fold_scores import deviation, first_best, is_worse, strongest, with_scores
from skce._estimators.penalty import penalty_name
from skce._estimators.targets import listed
from skce._estimators.validation import (
    Interval,
    StrOptions,
    check_X,
    read_y,
    routed_params,
    rows_of,
    told_labels,
)
from skce._kernels.threads import one_blas_thread
from skce._solvers.path import Sweep, filled, proven, scored, strongest_alpha, untold, with_penalty
from skce._solvers.problem import Problem
from skce._solvers.result import Limits, Result
from skce.losses._read import NUMBERS, read_array

__all__ = ["SHARED", "CrossValidatedMixin", "constraints_with_cv", "path_alphas"]

PER_DECADE = 2  # default alphas
FOLDS = 5  # by default
PATIENCE = 2  # alphas in a row, worse than the best, after which weaker ones are given up
NO_NUMBERS = (
    "scoring must give numbers, got NaN of scoring={!r}: each fold needs rows held out that it is "
    "defined for, so shuffle or stratify the rows."
)
SHARED = (
    *("fit_intercept", "class_weight", "label_smoothing"),
    *("loss", "pos_weight", "threshold", "top_k"),
    *("max_iter", "tol", "random_state", "verbose"),
)


def constraints_with_cv(estimator):
    """Return the constraints of an estimator's parameters that its CV has too, and of its own."""
    given = estimator._parameter_constraints
    return {
        **{name: given[name] for name in SHARED if name in given},
        "alphas": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "l1_ratios": ["array-like", None],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "one_standard_error": ["boolean"],
        "refit": ["boolean"],
        "solver": [StrOptions({"auto", *OPTIMISERS})],
    }


def path_alphas(alphas, problem, l1_ratios):
    """Return the alphas of a path, from strong to weak; of a number of them, the default ones."""
    if isinstance(alphas, Integral):
        if alphas < 1:
            raise ValueError(f"alphas must be at least 1, or numbers above 0, got {alphas}.")
        first = max(strongest_alpha(problem, ratio) for ratio in l1_ratios)
        values = first * 10.0 ** (-np.arange(int(alphas)) / PER_DECADE)
        if not (values[-1] >= np.finfo(float).tiny and first < np.inf):
            raise ValueError(
                f"X must be nearer to 1 in size, or alphas given, got X whose {alphas} alphas "
                f"would go from {first:.3g} to {values[-1]:.3g}."
            )
        return values
    return -np.unique(-share_vector("alphas", alphas, np.inf))


def share_vector(name, values, most, zero=False):
    """Return positive numbers, or 0 where that is allowed, up to the most, as a vector."""
    values = read_array(name, values)
    least = 0 if zero else np.finfo(float).tiny
    good = values.ndim == 1 and len(values) > 0 and values.dtype.kind in NUMBERS
    values = values.astype(np.float64) if good else values
    if not good or not ((values >= least) & (values <= most) & (values < np.inf)).all():
        above = "at least" if zero else "above"
        upper = f" and at most {most:g}" if most < np.inf else ""
        raise ValueError(f"{name} must be numbers {above} 0{upper}, got {values}.")
    return values


def _left_out(folds):
    """Say which folds (n_folds,) the means leave out."""
    means = f"the means of scores are of the {np.count_nonzero(~folds)} other folds"
    return f"no number for the rows held out in fold {listed(np.flatnonzero(folds))}: {means}"


class CrossValidatedMixin(BaseCrossEntropy):
    """Fits a path of penalties and takes the one whose models of folds score best on other rows."""

    allow_new_classes = False
    alphas: Any
    l1_ratios: Any
    cv: Any
    scoring: Any
    solver: str
    refit: bool
    one_standard_error: bool

    @property
    def partial_fit(self):  # type: ignore[override]
        """Not there: an estimator with the chosen `alpha_` learns from streams."""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute 'partial_fit'")

    @property
    def penalty(self):
        """Name of the chosen penalty: SelectFromModel takes a threshold of 1e-5 for "l1"."""
        check_is_fitted(self)
        return penalty_name(self.l1_ratio_)

    @fits_with_callbacks
    def fit(self, X, y=None, sample_weight=None, **params) -> Self:
        """Fit all penalties, choose one, and fit all rows with it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features. float32 is kept, anything else becomes float64; C-ordered arrays and CSR
            are not copied.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_classes)
            Targets, as the class's docstring tells.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative row weights, of the fits and of the rows held out; with metadata routing a
            scorer has to ask for them.
        **params : dict
            ``groups`` for the splitter; with metadata routing whatever the splitter and the scorer
            ask for.

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
        context = self._init_callback_context(max_subtasks=None)
        ignored = np.errstate(all="ignore")  # what overflows is never the best
        with self._unchanged_on_error(), one_blas_thread(), ignored:
            routed = routed_params(self, sample_weight, params)
            ratios = [0.0] if self.l1_ratios is None else self.l1_ratios
            ratios = share_vector("l1_ratios", ratios, 1.0, zero=True)
            if ratios.any() and self.solver == "lbfgs":
                raise ValueError(f"l1_ratios must be 0 for solver='lbfgs', got {ratios.tolist()}.")
            self._checked()
            given, X = X, check_X(self, X, reset=True)
            data, weights = self._weighted(X, y, sample_weight)
            rows = read_y(y)
            if rows.ndim == 2 and rows.shape[1] == 1 and data.attributes.get("_form") is None:
                rows = rows.ravel()
            folds = self._folds(X, rows, data.weights, routed.splitter.split)
            rng = check_random_state(self.random_state)
            penalty = 1.0, 0.0
            problem = Problem.of(data, self.label_smoothing, *penalty, self.fit_intercept, rng)
            problem, read = filled(problem)
            self.l1_ratios_ = None if self.l1_ratios is None else ratios
            self.alphas_ = path_alphas(self.alphas, problem, ratios)
            to_score = dict(routed.scorer.score)
            if to_score.get("sample_weight") is not None:
                to_score["sample_weight"] = weights
            named = given if hasattr(given, "columns") else X  # names of the features are checked
            score = self._scores_of(data, read, named, rows, to_score, weights)
            metadata = None if sample_weight is None else {"sample_weight": weights}
            told = {"estimator": self, "X": X, "y": rows, "metadata": metadata}
            context.call_on_fit_task_begin(**told)
            stops: list = []
            begin = partial(self._begin_model, context, told, data, read, stops)
            self._search(problem, read, folds, ratios, score, rng, data, begin, stops)
            self._finish(X, y, weights)
            context.call_on_fit_task_end(**told, reconstruction_attributes=lambda: vars(self))
            if data.notice:
                warnings.warn(data.notice, UserWarning, stacklevel=4)
        return self

    def _checked(self):
        """Raise where parameters do not go together."""

    def _begin_model(self, context, told, data, read, stops):
        """Tell callbacks that a model begins; return a function of its result to tell of its end.

        That one adds to `stops` whether they want the search to end.
        """
        if not hasattr(self, "_skl_callbacks"):
            return lambda found: None
        task = context.subcontext(task_name="model").call_on_fit_task_begin(**told)

        def end(found):
            def reached():
                return self._fitted(data, *read(found.W))

            if task.call_on_fit_task_end(**told, reconstruction_attributes=reached):
                stops.append(found)

        return end

    def _folds(self, X, y, weights, params):
        """Return the test rows, and what each training and test row counts times its weight."""
        n, total, folds = X.shape[0], weights.sum(), []
        number = self.cv
        if number is None:
            most = np.unique(y, return_counts=True)[1].max() if y.ndim == 1 else n
            number = max(2, min(FOLDS, int(most)))
        cv = check_cv(number, y if y.ndim == 1 else None, classifier=True)
        for split in cv.split(X, y, **params):
            train, test = (np.arange(n)[rows] for rows in split)
            times = [np.bincount(rows, minlength=n) for rows in (train, test)]
            sums = [weights @ counts for counts in times]
            if not all(sums):
                raise ValueError(
                    "cv must leave training and test rows with weight in each split, got a split "
                    f"with {sums[0]:.3g} and {sums[1]:.3g}."
                )
            folds.append((test, *(c * (total / s) for c, s in zip(times, sums, strict=True))))
        if not folds:
            raise ValueError("cv must give a split, got none.")
        return folds

    def _scores_of(self, data, read, X, y, params, weights):
        """Return a function of a fold and its result: the score of the rows that it holds out."""
        if self.scoring is None:
            return lambda fold, found: -found.held_out
        scorer = check_scoring(self, scoring=self.scoring)
        if y.ndim == 1:
            scorer = told_labels(scorer, data.attributes["classes_"])

        def score(fold, found):
            model = self._scored()
            model._publish(data, *read(found.W))
            model._learn_shares(data.X, y, weights * fold[1])
            of_rows = {name: rows_of(value, fold[0]) for name, value in params.items()}
            return scorer(model, rows_of(X, fold[0]), rows_of(y, fold[0]), **of_rows)

        return score

    def _scored_rows(self, problem, folds, data):
        """Return the numbers of the folds that count, and without a scorer what is scored of them.

        Warn of what the scores leave out.
        """
        weights = [[problem.weights * times for times in fold[1:]] for fold in folds]
        lost = [untold(problem, *each) for each in weights]
        numbers, tests = np.arange(len(folds)), None
        ends = "of which its log losses are arbitrary"
        if self.scoring is None:
            tests = [
                scored(problem, test, own, data.weights * fold[2])
                for (_, test), own, fold in zip(weights, lost, folds, strict=True)
            ]
            some = np.array([len(outputs) > 0 for _, outputs in tests])
            numbers, tests = numbers[some], [tests[f] for f in numbers[some]]
            ends = "which its score leaves out"
            if 0 < len(tests) < len(folds):
                ends += f", and {_left_out(~some)}"
        classes = data.attributes["classes_"]
        names = [listed(classes[own] if len(own) == len(classes) else classes) for own in lost]
        told = [f"{names[f]} in fold {f}" for f, own in enumerate(lost) if own.any()]
        if told:
            message = f"cv leaves training rows that tell nothing of {', '.join(told)}, {ends}."
            warnings.warn(message, UserWarning, stacklevel=6)
        if not len(numbers):
            raise ValueError(NO_NUMBERS.format(self.scoring))
        return numbers, tests

    def _search(self, problem, read, folds, ratios, score, rng, data, begin, stops):
        """Fit the path and set the attributes; end early where `stops` is not empty."""
        limits = Limits(self.tol, self.max_iter, prove=False)
        numbers, tests = self._scored_rows(problem, folds, data)
        folds, every = [folds[f] for f in numbers], len(folds)
        masks = [fold[1] for fold in folds]
        sweep = Sweep(problem, masks, rng, limits, self.solver, begin, tests)
        self.scores_ = np.full((every, len(ratios), len(self.alphas_)), np.nan)
        kept: dict = {}
        failed: list = []
        made, began = 0, time.perf_counter()
        for r, ratio in enumerate(ratios):
            lost = 0
            with closing(sweep.path(self.alphas_, ratio)) as fits:
                for a, (whole, parts) in enumerate(fits):
                    made += 1 + len(parts)
                    ends = [found.ended for found in (whole, *parts) if found.ended]
                    failed += [(self.alphas_[a], ended) for ended in ends]
                    scores = [score(f, found) for f, found in zip(folds, parts, strict=True)]
                    self.scores_[numbers, r, a] = scores
                    counts = with_scores(self.scores_)
                    own = self.scores_[counts]
                    if self.verbose:
                        seconds = time.perf_counter() - began
                        print(
                            f"l1_ratio {ratio:.3g}, alpha {self.alphas_[a]:.3g}: "
                            f"score {own[:, r, a].mean():.6g}, {seconds:.3g} s"
                        )
                    kept[r, a] = (
                        whole if self.refit else Result(sum(f.W for f in parts) / len(parts))
                    )
                    best = first_best(own.mean(axis=0))
                    if not self.one_standard_error:
                        kept = {best: kept[best]}
                    top = own[:, r, first_best(own[:, r].mean(axis=0))[0]]
                    lost = lost + 1 if is_worse(own[:, r, a], top) else 0
                    if lost == PATIENCE or stops:
                        break
            kept = {key: kept[key] for key in kept if key[0] == best[0]}
            if stops:
                break
        if np.isnan(own.mean(axis=0)).all():
            raise ValueError(NO_NUMBERS.format(self.scoring))
        if len(own) < len(folds):
            message = f"scoring={self.scoring!r} gives {_left_out(~counts)}."
            warnings.warn(message, UserWarning, stacklevel=5)
        if failed:
            where = ", ".join(f"{alpha:.3g}" for alpha in sorted({a for a, _ in failed})[::-1])
            message = (
                f"Not converged: {len(failed)} of {made} fits, whose scores may be far off, at "
                f"alpha={where}; the first: {failed[0][1]}."
            )
            warnings.warn(message, ConvergenceWarning, stacklevel=5)
        r, a = strongest(own, *best) if self.one_standard_error else best
        self.alpha_, self.l1_ratio_ = float(self.alphas_[a]), float(ratios[r])
        self.scores_std_ = deviation(own)
        self.best_score_ = float(own[:, r, a].mean())
        problem = with_penalty(problem, self.alpha_, self.l1_ratio_)
        found = proven(problem, kept[r, a])
        self._tell_of(problem, found)
        self._publish(data, *read(found.W))

    def score(self, X, y, sample_weight=None):
        """Return the score by `scoring`, the accuracy where that is None.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_classes)
            Targets in one of the forms of `fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            Row weights.

        Returns
        -------
        score : float
            Higher is better.
        """
        if self.scoring is None:
            return super().score(X, y, sample_weight)
        params = {} if sample_weight is None else {"sample_weight": sample_weight}
        return check_scoring(self, scoring=self.scoring)(self._scored(), X, y, **params)

    def _scored(self):
        """Return what a scorer gets, which may ask for the accuracy by `score`."""
        model = copy.copy(self)
        model.scoring = None
        return model

    def get_metadata_routing(self):
        """Return what `fit` passes to the splitter and to the scorer.

        Returns
        -------
        routing : MetadataRouter
            The routing of scikit-learn.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        to_split = MethodMapping().add(caller="fit", callee="split")
        router.add(splitter=self.cv, method_mapping=to_split)
        if self.scoring is not None:
            to_score = MethodMapping().add(caller="fit", callee="score")
            router.add(scorer=check_scoring(self, scoring=self.scoring), method_mapping=to_score)
        return router
