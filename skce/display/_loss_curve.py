"""Plot of the loss curve of a fitted estimator."""

import numpy as np

from skce.display._artists import axes_of, fitted_model

__all__ = ["LossCurveDisplay"]


class LossCurveDisplay:
    """Training objective, validation loss, or distance to the optimum, against passes.

    Parameters
    ----------
    loss_curve : array-like of shape (n_iter,)
        Objective after each pass.
    validation_loss_curve : array-like of shape (n_iter,), default=None
        Loss of rows held out after each pass.
    lower_bound : float, default=None
        What the objective cannot be below; `loss_curve` above it is the gap.
    name : str, default=None
        Name of the estimator, for the legend.

    Attributes
    ----------
    ax_, figure_, line_ : matplotlib artists
        Set by `plot`, as is `validation_line_`, None without such a curve.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skce import LossCurveDisplay, MultinomialLogistic
    >>> model = MultinomialLogistic(random_state=0).fit(*load_iris(return_X_y=True))
    >>> display = LossCurveDisplay.from_estimator(model)
    >>> list(display.frame())
    ['iteration', 'loss', 'gap']
    """

    def __init__(self, *, loss_curve, validation_loss_curve=None, lower_bound=None, name=None):
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.lower_bound = lower_bound
        self.name = name

    @classmethod
    def from_estimator(
        cls, estimator, *, kind="loss", lower_bound=None, yscale=None, name=None, ax=None
    ):
        """Plot the curves of a fitted estimator; several share the `ax_` of the first.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `loss_curve_`, or a pipeline that ends in one. Its
            `validation_loss_curve_` is drawn too, if it has one.
        kind : {"loss", "gap"}, default="loss"
            What to plot: losses, or the training objective above `lower_bound`.
        lower_bound : float, default=None
            By default `objective_` less `gap_estimate_`, where the estimator has them. For several
            estimators take one, such as the `objective_` of a fit with ``tol=1e-10``.
        yscale : {"linear", "log"}, default=None
            Scale of the axis; by default linear for losses, logarithmic for the gap.
        name : str, default=None
            Name in the legend; the class by default.
        ax : matplotlib axes, default=None
            Where to plot; new axes by default.

        Returns
        -------
        display : LossCurveDisplay
            The plotted display.

        Raises
        ------
        ValueError
            If a gap is asked for and no bound is known.
        """
        model = fitted_model(estimator, "loss_curve_")
        if lower_bound is None:
            bound = getattr(model, "objective_", np.nan) - getattr(model, "gap_estimate_", np.nan)
            lower_bound = bound if np.isfinite(bound) else None
        return cls(
            loss_curve=model.loss_curve_,
            validation_loss_curve=getattr(model, "validation_loss_curve_", None),
            lower_bound=lower_bound,
            name=name or type(model).__name__,
        ).plot(ax, kind=kind, yscale=yscale)

    def plot(self, ax=None, *, kind="loss", yscale=None):
        """Plot the curves.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to plot; new axes by default.
        kind : {"loss", "gap"}, default="loss"
            What to plot: losses, or the training objective above `lower_bound`.
        yscale : {"linear", "log"}, default=None
            Scale of the axis; by default linear for losses, logarithmic for the gap.

        Returns
        -------
        display : LossCurveDisplay
            This object, with its artists.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If a gap is asked for and no bound is known.
        """
        if kind not in ("loss", "gap"):
            raise ValueError(f'kind must be "loss" or "gap", got {kind!r}.')
        if kind == "gap" and self.lower_bound is None:
            raise ValueError('lower_bound must be a number for kind="gap", got None.')
        ax = axes_of(self, ax)
        data = self.frame()
        (self.line_,) = ax.plot(data["iteration"], data[kind], marker=".", label=self.name)
        self.validation_line_ = None
        if kind == "loss" and self.validation_loss_curve is not None:
            label = f"{self.name}, validation" if self.name else "validation"
            (self.validation_line_,) = ax.plot(
                data["iteration"],
                data["validation_loss"],
                linestyle="--",
                color=self.line_.get_color(),
                label=label,
            )
        loss = "Training objective" if self.validation_line_ is None else "Loss"
        ax.set(xlabel="Pass or iteration", ylabel=loss if kind == "loss" else "Gap to the optimum")
        ax.set_yscale(yscale or {"loss": "linear", "gap": "log"}[kind])
        if ax.get_legend_handles_labels()[1]:
            ax.legend()
        return self

    def frame(self):
        """Return the data of the plot.

        Returns
        -------
        data : dict of ndarray
            Columns "iteration" (from 1) and "loss", and where they are known "validation_loss" and
            "gap", NaN where the objective is not above the bound; pandas.DataFrame takes it as it
            is.
        """
        loss = np.asarray(self.loss_curve, dtype=np.float64)
        data = {"iteration": np.arange(1, len(loss) + 1), "loss": loss}
        if self.validation_loss_curve is not None:
            data["validation_loss"] = np.asarray(self.validation_loss_curve, dtype=np.float64)
        if self.lower_bound is not None:
            data["gap"] = np.where(loss > self.lower_bound, loss - self.lower_bound, np.nan)
        return data
