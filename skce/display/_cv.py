"""Plot of the scores of a cross-validation against alpha."""

import numpy as np

from skce._estimators.fold_scores import deviation, with_scores
from skce.display._artists import axes_of, fitted_model

__all__ = ["CVDisplay"]


class CVDisplay:
    """Mean scores of the folds, with their standard errors, against alpha.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,)
        Penalties.
    scores : array-like of shape (n_folds, n_l1_ratios, n_alphas)
        Scores of the folds, NaN for penalties that were given up.
    l1_ratios : array-like of shape (n_l1_ratios,), default=None
        Shares of the L1 norm, for the legend and the frame; None is 0 alone.
    alpha : float, default=None
        The chosen penalty, to be marked.
    name : str, default=None
        What the score is.

    Attributes
    ----------
    ax_, figure_ : matplotlib artists
        Set by `plot`.
    lines_ : list
        A container of error bars for each l1_ratio.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skce import CVDisplay, MultinomialLogisticCV
    >>> model = MultinomialLogisticCV().fit(*load_iris(return_X_y=True))
    >>> display = CVDisplay.from_estimator(model)
    >>> list(display.frame())
    ['l1_ratio', 'alpha', 'score', 'error']
    """

    def __init__(self, *, alphas, scores, l1_ratios=None, alpha=None, name=None):
        self.alphas = alphas
        self.scores = scores
        self.l1_ratios = l1_ratios
        self.alpha = alpha
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Plot the scores of a fitted estimator.

        Parameters
        ----------
        estimator : object
            A fitted `MultinomialLogisticCV` or `MultiLabelLogisticCV`, or a pipeline that ends in
            one.
        ax : matplotlib axes, default=None
            Where to plot; new axes by default.

        Returns
        -------
        display : CVDisplay
            The plotted display.
        """
        model = fitted_model(estimator, "scores_")
        scoring = "minus the log loss" if model.scoring is None else model.scoring
        scoring = getattr(scoring, "__name__", str(scoring))
        return cls(
            alphas=model.alphas_,
            scores=model.scores_,
            l1_ratios=model.l1_ratios_,
            alpha=model.alpha_,
            name=scoring,
        ).plot(ax)

    def plot(self, ax=None):
        """Plot the scores.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to plot; new axes by default.

        Returns
        -------
        display : CVDisplay
            This object, with its artists.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = axes_of(self, ax)
        data, self.lines_ = self.frame(), []
        for ratio in np.unique(data["l1_ratio"]):
            own = data["l1_ratio"] == ratio
            columns = (data[column][own] for column in ("alpha", "score", "error"))
            label = f"l1_ratio {ratio:g}" if self.l1_ratios is not None else None
            self.lines_.append(ax.errorbar(*columns, marker=".", capsize=2, label=label))
        if self.alpha is not None:
            label = f"Chosen, {self.alpha:.3g}"
            ax.axvline(self.alpha, color="black", linestyle=":", label=label)
        ax.set_xscale("log")
        score = f"Score, {self.name}" if self.name else "Score"
        ax.set(xlabel="alpha", ylabel=f"{score} (mean and standard error of the folds)")
        if ax.get_legend_handles_labels()[1]:
            ax.legend()
        return self

    def frame(self):
        """Return the data of the plot.

        Returns
        -------
        data : dict of ndarray
            Columns "l1_ratio", "alpha", "score" and "error", the standard error, a row for each
            penalty that was not given up; pandas.DataFrame takes it as it is.
        """
        scores = np.asarray(self.scores, np.float64)
        scores = scores[with_scores(scores)]
        ratios = np.zeros(1) if self.l1_ratios is None else np.asarray(self.l1_ratios, np.float64)
        shape = scores.shape[1:]
        columns = {
            "l1_ratio": np.broadcast_to(ratios[:, None], shape),
            "alpha": np.broadcast_to(np.asarray(self.alphas, np.float64), shape),
            "score": scores.mean(axis=0),
            "error": deviation(scores) / np.sqrt(len(scores)),
        }
        made = ~np.isnan(columns["score"])
        return {name: column[made] for name, column in columns.items()}
