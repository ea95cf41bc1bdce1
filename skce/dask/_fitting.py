"""`fit` over the partitions of a Dask collection: y is encoded where it lies, then L-BFGS runs."""

import warnings
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import check_random_state

from skce._estimators.base import BaseCrossEntropy
from skce._estimators.classes import class_weights, read_classes
from skce._estimators.control import Control
from skce._estimators.encoded import Encoded
from skce._estimators.parts_fitting import refuse
from skce._estimators.targets import balanced_pos_weight, constant_labels
from skce._estimators.thresholds import sample_step
from skce._kernels.threads import one_blas_thread
from skce._solvers.columns import PIECE, centre_of
from skce._solvers.parts import PartsProblem, joined
from skce._solvers.seen import Seen
from skce.dask import _rows
from skce.dask._rounds import Source, rounds_of

__all__ = ["Partitions", "PartitionsMixin", "partitions_of"]


def partitions_of(X, **others):
    """Return lists of delayed partitions of X and of the others, None for what is None."""
    if isinstance(X, da.Array):
        if X.ndim != 2:
            raise ValueError(f"X must have two dimensions, got shape {X.shape}.")
        found = [_blocks(X)]
    elif hasattr(X, "map_partitions"):
        found = [X.to_delayed()]
    else:
        raise ValueError(f"X must be a dask array or dataframe, got {type(X).__name__}.")
    sizes = X.chunks[0] if isinstance(X, da.Array) else (np.nan,)
    n = len(found[0])
    for name, values in others.items():
        if values is None:
            found.append([None] * n)
            continue
        if not hasattr(values, "to_delayed"):
            if np.isnan(sizes).any():
                raise ValueError(
                    f"{name} must be a dask collection where the chunk sizes of X are not known, "
                    f"got {type(values).__name__}."
                )
            values = da.from_array(values if sparse.issparse(values) else np.asarray(values))
        if isinstance(values, da.Array):
            if not np.isnan([*sizes, *values.chunks[0]]).any():
                if values.shape[0] != X.shape[0]:
                    raise ValueError(
                        f"{name} must have the {X.shape[0]} rows of X, got {values.shape[0]}."
                    )
                values = values.rechunk({0: sizes})
            blocks = _blocks(values)
        else:
            blocks = values.to_delayed()
        if len(blocks) != n:
            raise ValueError(f"{name} must have the {n} partitions of X, got {len(blocks)}.")
        found.append(blocks)
    return found


def _blocks(array):
    """Return the delayed blocks of rows."""
    if array.ndim > 1 and array.numblocks[1] > 1:
        array = array.rechunk({1: -1})
    return array.to_delayed().ravel().tolist()


class Partitions:
    """What stands for X of `Encoded` data: rows that are elsewhere, in rounds over them."""

    def __init__(self, model, rounds, collections, classes):
        self.rounds = rounds
        together = [each for blocks in collections for each in blocks if each is not None]
        futures = iter(rounds.compute(together))
        columns = [[None if d is None else next(futures) for d in blocks] for blocks in collections]
        n = len(columns[0])
        self.rows = rounds.map(_rows.read, *columns, [model] * n, [classes] * n)
        facts = rounds.gather(rounds.map(_rows.look, self.rows))
        there = [i for i, fact in enumerate(facts) if fact["n"]]
        if not there:
            raise ValueError("X must have rows, got empty partitions alone.")
        self.rows = [self.rows[i] for i in there]
        self.facts = [facts[i] for i in there]
        rounds.numbers = [rounds.numbers[i] for i in there]
        first, *others = (fact["alike"] for fact in self.facts)
        for number, fact in zip(rounds.numbers[1:], others, strict=True):
            for name, value in fact.items():
                if value != first[name]:
                    raise ValueError(
                        f"part {number}: the {name} must be those of part {rounds.numbers[0]}, "
                        f"{first[name]}, got {value}."
                    )
        p, self.dtype = self.facts[0]["X"]
        self.shape = sum(fact["n"] for fact in self.facts), p
        self.is_sparse = first["format of X"] == "CSR"

    def __len__(self):
        return len(self.rows)

    def each(self, function, *arguments):
        """Return futures of a function of the rows, and of lists or a single argument."""
        given = [a if isinstance(a, list) else [a] * len(self) for a in arguments]
        return self.rounds.map(function, *given)

    def ask(self, function, *arguments):
        """Return what a function finds in each part."""
        return self.rounds.gather(self.each(function, *arguments))

    def plan(self, model, classes):
        """Return the Plan of y."""
        first = self.facts[0]
        of_each = [fact["classes"] for fact in self.facts]
        (*_, columns) = first["alike"]["columns of y"] or (None,)
        labels = columns is None
        if first["is_column"]:
            labels = classes is not None or all(found is not None for found in of_each)
        found = classes
        if labels and classes is None:
            found = np.unique(np.concatenate(of_each))
            if first["is_column"] and hasattr(model, "loss"):
                labels = len(found) > 1 or first["alike"]["values of y"] == "objects"
        forms = {fact["form"] for fact in self.facts}
        form = first["form"] if len(forms) == 1 else ("int64", first["form"][1])
        if not labels:
            found = np.arange(columns) if classes is None else classes
        largest = [fact["largest"] for fact in self.facts if fact["largest"] is not None]
        power = int(np.frexp(max(largest))[1]) if largest else 0
        return _rows.Plan(model, found, None if labels else form, labels, power)

    def encode(self, model, classes, rng):
        """Encode all rows where they are; return the `Encoded` data, of which this is X."""
        penalty = model.label_smoothing, model.alpha, 0.0, model.fit_intercept
        plan = self.plan(_without_balance(model), classes)
        self.power = plan.power
        coded = self.each(_rows.encode, self.rows, plan, 0)
        counted = self.ask(_rows.count, coded)
        counts = sum(found for found, _ in counted)
        seen: Any = 0
        if hasattr(model, "loss"):  # of the rate at which entries beside a label are on
            seen = [
                np.append((counts - found)[:2], np.zeros(len(counts) - 2)) for found, _ in counted
            ]
        weighed = _balanced(model, plan.known, counts, self.dtype)
        plan = replace(plan, model=weighed, as_rows=not all(are for _, are in counted))
        coded = self.each(_rows.encode, self.rows, plan, seen)
        seeds = [[int(rng.randint(2**31 - 1)), number] for number in range(len(self))]
        told = self.ask(_rows.tell, coded, max(PIECE // len(self), 1), seeds)
        weighing = [fact for fact in told if fact["weight"]]
        if not weighing:
            raise ValueError(
                "sample_weight and class_weight must leave a row with weight, got zero weight for "
                "every row."
            )
        top = max(fact["exponent"] for fact in weighing)
        for fact in told:
            fact["power"] = top - fact["exponent"] if fact["weight"] else 0
            fact["some"].weights = np.ldexp(fact["some"].weights, -fact["power"])
            fact["weight"] = float(np.ldexp(fact["weight"], -fact["power"]))
        self.told, one = told, told[0]["some"]
        self.total = sum(fact["weight"] for fact in told)
        self.sample = joined([fact["some"] for fact in told])
        centre = None
        if model.fit_intercept and not self.is_sparse:
            centre = centre_of(self.sample.X, self.sample.weights, rng)
        powers = [fact["power"] for fact in told]
        of_all = *penalty, None, self.total, centre
        parts = self.each(_rows.part_of, coded, _numbers(told), powers, *of_all)
        self.parts = [part for part, fact in zip(parts, told, strict=True) if fact["weight"]]
        counts = sum(fact["counts"] for fact in told)
        names = self.facts[0]["names"] if not plan.labels else None
        attributes = {**one.attributes, "classes_": plan.known, "label_names_": names}
        notice = None
        if hasattr(model, "loss"):
            attributes |= {"_form": plan.form, **model._told_by(counts, one.k)}
            if plan.form is not None:
                values = sum(fact["values"] for fact in told)
                listed = plan.known if names is None else names
                notice = constant_labels(values, counts[4 : 4 + one.k], listed, model.loss)
        return Encoded(
            *(self, one.kind, None, one.k, None, counts, attributes, one.pos_weight, notice),
            *(top + plan.power, plan.power),
        )

    def problem(self, data, rng):
        """Return the problem of the Encoded data that have these rows."""
        weighing = [
            n for n, fact in zip(self.rounds.numbers, self.told, strict=True) if fact["weight"]
        ]
        rounds = self.rounds.of(weighing)
        return PartsProblem.of(Source(rounds, self.parts))

    def proba_of_labelled(self, model):
        """Return probabilities of a sample of the labelled rows, and their weights."""
        counts = self.ask(_rows.count_labelled, self.rows)
        step, before = sample_step(sum(counts), len(model.classes_)), np.cumsum([0, *counts[:-1]])
        given = model, before.tolist(), step, self.power
        found = self.ask(_rows.labelled_proba, self.rows, *given)
        return map(np.concatenate, zip(*found, strict=True))

    def seen(self, data, fit_intercept):
        """Return what `Seen.of_rows` tells, of the sample in place of all rows."""
        sample = self.sample
        seen = Seen.of_rows(sample.X, sample.targets, sample.weights, data.k, fit_intercept)
        on = sum(np.ldexp(fact["positives"], -fact["power"]) for fact in self.told)
        seen.stand_for(sum(fact["rows"] for fact in self.told), self.total, on)
        return seen


def _numbers(told):
    """Return the numbers of the parts with a weight, -1 for others."""
    has = np.array([fact["weight"] > 0 for fact in told])
    return np.where(has, np.cumsum(has) - 1, -1).tolist()


def _without_balance(model):
    """Return the model with the weights that no counts are needed for."""
    model = clone(model)
    if hasattr(model, "class_weight"):
        model.class_weight = None
    elif isinstance(model.pos_weight, str) and model.loss == "bce":
        model.pos_weight = None
    return model


def _balanced(model, classes, counts, dtype):
    """Return the model with weights of its classes or labels in place of "balanced"."""
    model = clone(model)
    if getattr(model, "class_weight", None) is not None:
        weights = class_weights(model.class_weight, classes, counts)
        model.class_weight = dict(zip(classes.tolist(), weights.tolist(), strict=True))
    elif hasattr(model, "loss") and isinstance(model.pos_weight, str):
        model.pos_weight = balanced_pos_weight(counts[4 + (len(counts) - 4) // 3 :], dtype)
    return model


class PartitionsMixin(BaseCrossEntropy):
    """Part of the estimators of `skce.dask`."""

    _plain: Any  # the estimator of arrays
    loss: Any  # of the multi-label model
    _learn_from_proba: Any

    def to_local(self):
        """Return the plain estimator, with what was learnt.

        Returns
        -------
        model : object
            A `skce.MultinomialLogistic` or `skce.MultiLabelLogistic` that shares the arrays.
        """
        model = self._plain(**self.get_params())
        params = self.get_params(deep=False)
        vars(model).update({k: v for k, v in vars(self).items() if k not in params})
        return model

    def _fit_partitions(self, X, y, sample_weight, start, classes, client, **of_labels):
        context = self._init_callback_context(max_subtasks=None)
        with self._unchanged_on_error(), one_blas_thread():
            params = self._checked_params()
            refuse(self, {}, "partitions")
            rng = check_random_state(self.random_state)
            collections = partitions_of(
                X, y=y, sample_weight=sample_weight, entry_weight=of_labels.get("entry_weight")
            )
            model = self._plain(**self.get_params()).set_params(
                random_state=None, learning_rate="auto", verbose=0
            )
            classes = read_classes(classes)
            partitions = Partitions(
                model, rounds_of(client, len(collections[0])), collections, classes
            )
            data = partitions.encode(model, classes, rng)
            self.n_features_in_ = partitions.shape[1]
            self.__dict__.pop("feature_names_in_", None)
            if partitions.facts[0]["features"] is not None:
                self.__dict__["feature_names_in_"] = partitions.facts[0]["features"]
            begin = self._start(data, *start)
            weights = None if sample_weight is None else {"sample_weight": sample_weight}
            hooks = {"X": X, "y": y, "metadata": weights}
            control = Control(self, context, hooks, lambda *found: self._fitted(data, *found))
            coef, intercept = self._train(data, params, begin, rng, control)
            self._publish(data, coef, intercept)
            self.__dict__.pop("threshold_", None)
            if getattr(self, "_form", None) is not None and self.loss == "softmax":
                proba, weights = partitions.proba_of_labelled(self.to_local())
                if len(proba):
                    self._learn_from_proba(proba, weights)
            control.end(lambda: vars(self))
            if data.notice:
                warnings.warn(data.notice, UserWarning, stacklevel=4)
            self._tell_of_seen(data, partitions.seen(data, self.fit_intercept))
            self.__dict__.pop("_stream", None)
        return self
