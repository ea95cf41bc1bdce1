"""What the displays share: matplotlib, the model in a pipeline, its names."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

__all__ = ["axes_of", "class_names_of", "fitted_model", "pyplot"]


def pyplot(display):
    """Return matplotlib.pyplot."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        name = type(display).__name__
        raise ImportError(f"{name}.plot needs matplotlib: pip install skce[plot]") from error
    return plt


def axes_of(display, ax):
    """Return the axes that are given, or new ones; the display keeps them and their figure."""
    plt = pyplot(display)
    if ax is None:
        _, ax = plt.subplots()
    display.ax_, display.figure_ = ax, ax.figure
    return ax


def fitted_model(estimator, attribute):
    """Return a fitted estimator that has the attribute, the last step of a pipeline."""
    model = estimator[-1] if hasattr(estimator, "steps") else estimator
    check_is_fitted(model, attribute)
    return model


def class_names_of(model):
    """Return the names of the classes or labels of a fitted model."""
    return np.asarray(getattr(model, "label_names_", model.classes_))
