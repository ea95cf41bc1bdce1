"""Plot of the largest coefficients of each class or label."""

import numpy as np
from scipy import sparse

from skce.display._artists import class_names_of, fitted_model, pyplot

__all__ = ["CoefficientDisplay"]

MOST_CLASSES = 25


class CoefficientDisplay:
    """The features of the largest coefficients of each class or label, as bars.

    Parameters
    ----------
    coef : array-like of shape (n_classes, n_features)
        Coefficients.
    class_names : array-like of shape (n_classes,)
        Titles of the plots.
    feature_names : array-like of shape (n_features,)
        Names beside the bars.
    n_features : int, default=10
        Number of features of each class.

    Attributes
    ----------
    axes_ : ndarray of shape (n_classes,)
        Axes of the classes, set by `plot`, as is `figure_`.

    Notes
    -----
    Coefficients compare where features share a scale: put a scaler before the estimator, or read
    them as the change of the logit when the feature grows by one unit.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skce import CoefficientDisplay, MultinomialLogistic
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> display = CoefficientDisplay.from_estimator(MultinomialLogistic().fit(X, y), n_features=2)
    >>> sorted(display.frame())
    ['class', 'coefficient', 'feature']
    """

    def __init__(self, *, coef, class_names, feature_names, n_features=10):
        self.coef = coef
        self.class_names = class_names
        self.feature_names = feature_names
        self.n_features = n_features

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        n_features=10,
        classes=None,
        class_names=None,
        feature_names=None,
        ax=None,
    ):
        """Plot the coefficients of a fitted linear classifier.

        Parameters
        ----------
        estimator : object
            A fitted estimator with `coef_`, or a pipeline that ends in one.
        n_features : int, default=10
            Number of features of each class.
        classes : list, default=None
            Names of the classes or labels to show, by default all, at most 25.
        class_names : array-like of shape (n_classes,), default=None
            Names of the classes: by default `label_names_` or `classes_`. Those of a
            ``MultiLabelBinarizer`` are its `classes_`.
        feature_names : array-like of shape (n_features,), default=None
            By default what the steps before put out, `feature_names_in_`, or x0, x1, ...
        ax : matplotlib axes or array of axes, default=None
            One for each class; new axes by default.

        Returns
        -------
        display : CoefficientDisplay
            The plotted display.

        Raises
        ------
        ValueError
            If a class is unknown, or numbers of classes, features or axes do not fit.
        """
        model = fitted_model(estimator, "coef_")
        coef = sparse.csr_array(model.coef_) if sparse.issparse(model.coef_) else model.coef_
        names = class_names_of(model) if class_names is None else np.asarray(class_names)
        if coef.shape[0] == 1 and len(names) == 2:  # one logit of two classes
            names = names[1:]
        if len(names) != coef.shape[0]:
            raise ValueError(f"class_names must have length {coef.shape[0]}, got {len(names)}.")
        if feature_names is None:
            feature_names = _feature_names(estimator, model)
        if len(feature_names) != coef.shape[1]:
            raise ValueError(
                f"feature_names must have length {coef.shape[1]}, got {len(feature_names)}."
            )
        if classes is not None:
            known = names.tolist()
            unknown = [name for name in classes if name not in known]
            if unknown:
                raise ValueError(f"classes must be among {known}, got {unknown}.")
            chosen = [known.index(name) for name in classes]
            coef, names = coef[chosen], names[chosen]
        if not 1 <= len(names) <= MOST_CLASSES:
            raise ValueError(f"classes must name 1 to {MOST_CLASSES} classes, got {len(names)}.")
        coef = coef.toarray() if sparse.issparse(coef) else np.asarray(coef)
        return cls(
            coef=coef, class_names=names, feature_names=feature_names, n_features=n_features
        ).plot(ax)

    def plot(self, ax=None):
        """Plot the bars, one axes for each class, the largest coefficient on top.

        Parameters
        ----------
        ax : matplotlib axes or array of axes, default=None
            One for each class; new axes by default.

        Returns
        -------
        display : CoefficientDisplay
            This object, with `axes_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the number of axes does not fit.
        """
        plt = pyplot(self)
        k = len(self.class_names)
        if ax is None:
            columns = min(k, 3)
            lines, shown = -(-k // columns), min(self.n_features, len(self.feature_names))
            size = (4 * columns, lines * (0.8 + 0.25 * shown))
            _, ax = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
            for unused in ax.ravel()[k:]:
                unused.remove()
            ax = ax.ravel()[:k]
        self.axes_ = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if len(self.axes_) != k:
            raise ValueError(f"ax must be one axes for each of {k} classes, got {len(self.axes_)}.")
        self.figure_ = self.axes_[0].figure
        data = self.frame()
        parts = np.split(np.arange(len(data["class"])), k)
        for axes, rows in zip(self.axes_, parts, strict=True):
            values = data["coefficient"][rows]
            colours = np.where(values < 0, "tab:red", "tab:blue")
            axes.barh(np.arange(len(rows)), values, color=colours.tolist())
            axes.set_yticks(np.arange(len(rows)), [str(name) for name in data["feature"][rows]])
            axes.invert_yaxis()
            axes.axvline(0, color="black", linewidth=0.8)
            axes.set(title=str(data["class"][rows[0]]), xlabel="Coefficient")
        return self

    def frame(self):
        """Return the data of the plot.

        Returns
        -------
        data : dict of ndarray
            Columns "class", "feature" and "coefficient", class by class, the largest coefficient
            (without its sign) first; pandas.DataFrame takes it as it is.
        """
        coef = np.asarray(self.coef, dtype=np.float64)
        names, features = (np.asarray(n) for n in (self.class_names, self.feature_names))
        top = np.argsort(-np.abs(coef), axis=1, kind="stable")[:, : self.n_features]
        return {
            "class": np.repeat(names, top.shape[1]),
            "feature": features[top].ravel(),
            "coefficient": np.take_along_axis(coef, top, axis=1).ravel(),
        }


def _feature_names(estimator, model):
    """Return the names of the features that the model has seen, x0, x1, ... without any."""
    if estimator is not model and len(estimator) > 1:
        try:
            return estimator[:-1].get_feature_names_out()
        except (AttributeError, ValueError):  # a step has none, or there are none to begin with
            pass
    given = getattr(model, "feature_names_in_", None)
    return [f"x{j}" for j in range(model.n_features_in_)] if given is None else given
