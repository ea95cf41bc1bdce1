"""Pickles carry the version of skce that made them, and hold no private classes."""

import warnings
from importlib.metadata import version
from inspect import signature

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning as SklearnInconsistentVersionWarning

from skce._engine.sgd import Rule
from skce._solvers.seen import Seen
from skce._solvers.stream import Stream

__all__ = ["InconsistentVersionWarning", "VersionMixin"]

VERSION = version("skce")
KEY = "_skce_version"


class InconsistentVersionWarning(SklearnInconsistentVersionWarning):
    """Warning of an estimator that another version of skce has pickled.

    Parameters
    ----------
    estimator_name : str
        Class of the estimator.
    current_version : str
        Version of skce that runs.
    original_version : str
        Version of skce that pickled.

    Examples
    --------
    >>> import warnings
    >>> import skce
    >>> warnings.simplefilter("error", skce.InconsistentVersionWarning)
    """

    def __init__(self, *, estimator_name, current_version, original_version):
        super().__init__(
            estimator_name=estimator_name,
            current_sklearn_version=current_version,
            original_sklearn_version=original_version,
        )
        self.current_version = current_version
        self.original_version = original_version

    def __str__(self):
        return (
            f"{self.estimator_name} was pickled by skce {self.original_version} and is loaded by "
            f"skce {self.current_version}: it may fail or predict otherwise; better fit it again, "
            "or load it with the version that made it."
        )


class VersionMixin(BaseEstimator):
    """Part of the base of the estimators."""

    def __getstate__(self):
        state = {**super().__getstate__(), KEY: VERSION}
        if "_stream" in state:
            stream = state["_stream"]
            seen = vars(stream.seen)
            state["_stream"] = {**vars(stream), "rule": int(stream.rule), "seen": seen}
        return state

    def __setstate__(self, state):
        made_by = state.get(KEY, "of unknown version")
        if made_by != VERSION:
            warning = InconsistentVersionWarning(
                estimator_name=type(self).__name__,
                current_version=VERSION,
                original_version=made_by,
            )
            warnings.warn(warning, stacklevel=2)
        state = {key: value for key, value in state.items() if key != KEY}
        for name, parameter in signature(type(self)).parameters.items():  # one that is newer
            state.setdefault(name, parameter.default)
        if "_stream" in state:
            stream, kept = Stream.__new__(Stream), state["_stream"]
            rule, seen = Rule(kept["rule"]), Seen.of_state(kept["seen"])
            sure = np.append(kept["sure"], [0.0, 0.0])[:5]  # of three in 0.1.0
            stream.__dict__.update({"borne_out": seen.rows, **kept})
            stream.__dict__.update(rule=rule, seen=seen, sure=sure)
            state["_stream"] = stream
        super().__setstate__(state)
