"""Plot of the loss curve of a fitted estimator."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

__all__ = ["LossCurveDisplay"]


class LossCurveDisplay:
    """Training objective against passes.

    Parameters
    ----------
    loss_curve : array-like of shape (n_iter,)
        Objective after each pass.
    name : str, default=None
        Name of the estimator, for the legend.

    Attributes
    ----------
    ax_, figure_, line_ : matplotlib artists
        Set by `plot`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skce import LossCurveDisplay, MultinomialLogistic
    >>> model = MultinomialLogistic(random_state=0).fit(*load_iris(return_X_y=True))
    >>> display = LossCurveDisplay.from_estimator(model)
    >>> list(display.frame())
    ['iteration', 'loss']
    """

    def __init__(self, *, loss_curve, name=None):
        self.loss_curve = loss_curve
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, *, name=None, ax=None):
        """Plot the loss curve of a fitted estimator.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `loss_curve_`, or a pipeline that ends in one.
        name : str, default=None
            Name in the legend; the class by default.
        ax : matplotlib axes, default=None
            Where to plot; new axes by default.

        Returns
        -------
        display : LossCurveDisplay
            The plotted display.
        """
        model = estimator[-1] if hasattr(estimator, "steps") else estimator
        check_is_fitted(model, "loss_curve_")
        return cls(loss_curve=model.loss_curve_, name=name or type(model).__name__).plot(ax=ax)

    def plot(self, ax=None):
        """Plot the curve.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to plot; new axes by default.

        Returns
        -------
        display : LossCurveDisplay
            This object, with `ax_`, `figure_` and `line_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                "LossCurveDisplay.plot needs matplotlib: pip install skce[plot]"
            ) from error
        if ax is None:
            _, ax = plt.subplots()
        data = self.frame()
        (self.line_,) = ax.plot(data["iteration"], data["loss"], marker=".", label=self.name)
        ax.set(xlabel="Pass or iteration", ylabel="Training objective")
        if self.name:
            ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def frame(self):
        """Return the data of the plot.

        Returns
        -------
        data : dict of ndarray
            Columns "iteration" (from 1) and "loss"; pandas.DataFrame takes it as it is.
        """
        loss = np.asarray(self.loss_curve, dtype=np.float64)
        return {"iteration": np.arange(1, len(loss) + 1), "loss": loss}
