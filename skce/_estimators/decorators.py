"""Decorators of methods that fit, which keep what type checkers know of them."""

from collections.abc import Callable
from typing import TypeVar, cast

from sklearn.callback import with_callbacks

from skce._estimators.validation import _fit_context

__all__ = ["fits", "fits_with_callbacks"]

Method = TypeVar("Method", bound=Callable)


def fits(method: Method) -> Method:
    """Decorate a method that fits: parameters are validated first."""
    return cast(Method, _fit_context(prefer_skip_nested_validation=True)(method))


def fits_with_callbacks(method: Method) -> Method:
    """Decorate such a method that calls callbacks too."""
    return cast(Method, with_callbacks(fits(method)))
