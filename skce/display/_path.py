"""Plot of coefficients along a path of penalties."""

import numpy as np

from skce.display._artists import axes_of
from skce.losses._read import shown

__all__ = ["PathDisplay"]


class PathDisplay:
    """Coefficients of one output against alpha.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,)
        Penalties.
    coefs : array-like of shape (n_alphas, n_features)
        Coefficients at each.
    feature_names : array-like of shape (n_features,), default=None
        Names of the features; x0, x1, ... by default.
    n_features : int, default=10
        So many features that get the largest coefficients are drawn.
    name : str, default=None
        Name of the output, for the title.

    Attributes
    ----------
    ax_, figure_ : matplotlib artists
        Set by `plot`.
    lines_ : list
        A line for each feature that is drawn, the largest first.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skce import PathDisplay, path
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> display = PathDisplay.from_path(path(X / X.std(axis=0), y, 4, l1_ratio=1), n_features=3)
    >>> len(display.lines_)
    3
    """

    def __init__(self, *, alphas, coefs, feature_names=None, n_features=10, name=None):
        self.alphas = alphas
        self.coefs = coefs
        self.feature_names = feature_names
        self.n_features = n_features
        self.name = name

    @classmethod
    def from_path(cls, path, *, output=0, feature_names=None, n_features=10, ax=None):
        """Plot the coefficients of a path.

        Parameters
        ----------
        path : Bunch
            What `skce.path` has returned.
        output : int, default=0
            Number of the row of the coefficients: of the class or label.
        feature_names : array-like of shape (n_features,), default=None
            Names of the features; x0, x1, ... by default.
        n_features : int, default=10
            So many features that get the largest coefficients are drawn.
        ax : matplotlib axes, default=None
            Where to plot; new axes by default.

        Returns
        -------
        display : PathDisplay
            The plotted display.

        Raises
        ------
        ValueError
            If there is no such output.
        """
        k = path.coefs.shape[1]
        if not 0 <= output < k:
            raise ValueError(f"output must be in 0..{k - 1}, got {shown(output)}.")
        name = path.classes[output if k == len(path.classes) else -1]
        return cls(
            alphas=path.alphas,
            coefs=path.coefs[:, output],
            feature_names=feature_names,
            n_features=n_features,
            name=str(name),
        ).plot(ax)

    def plot(self, ax=None):
        """Plot the coefficients.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to plot; new axes by default.

        Returns
        -------
        display : PathDisplay
            This object, with its artists.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = axes_of(self, ax)
        data, self.lines_ = self.frame(), []
        alphas = data.pop("alpha")
        for feature, coef in data.items():
            self.lines_ += ax.plot(alphas, coef, marker=".", label=feature)
        ax.set_xscale("log")
        ax.set(xlabel="alpha", ylabel="Coefficient")
        if self.name:
            ax.set_title(f"Output {self.name}")
        ax.legend()
        return self

    def frame(self):
        """Return the data of the plot.

        Returns
        -------
        data : dict of ndarray
            Column "alpha" and one for each feature that is drawn; pandas.DataFrame takes it as it
            is.

        Raises
        ------
        ValueError
            If the names of the features do not fit.
        """
        coefs, names = np.asarray(self.coefs), self.feature_names
        if names is None:
            names = [f"x{j}" for j in range(coefs.shape[1])]
        if len({"alpha", *map(str, names)}) <= coefs.shape[1] or len(names) != coefs.shape[1]:
            raise ValueError(
                f"feature_names must be {coefs.shape[1]} distinct names, none of them 'alpha', got "
                f"{shown(list(names))}."
            )
        order = np.argsort(-np.abs(coefs).max(axis=0), kind="stable")[: self.n_features]
        return {"alpha": np.asarray(self.alphas), **{str(names[j]): coefs[:, j] for j in order}}
