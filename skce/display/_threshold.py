"""Plot of precision, recall and F1 of a label against its threshold."""

import numpy as np
from scipy import sparse

from skce.display._artists import axes_of, class_names_of, fitted_model
from skce.losses._checks import check_proba, check_targets, float_array, some_row_weight
from skce.losses._read import read_targets, shown

__all__ = ["ThresholdDisplay"]

CURVES = ("precision", "recall", "f1")


class ThresholdDisplay:
    """Precision, recall and F1 of a label, on where its probability is above a threshold.

    Parameters
    ----------
    thresholds : array-like of shape (n_thresholds,)
        Thresholds, rising: 0 and every probability.
    precision, recall, f1 : array-like of shape (n_thresholds,)
        Their values from each threshold to the next.
    threshold : float, default=None
        The threshold in use, to be marked.
    name : str, default=None
        Name of the label.

    Attributes
    ----------
    ax_, figure_ : matplotlib artists
        Set by `plot`.
    lines_ : dict
        Curves by name.
    best_threshold_ : float
        Where F1 is highest; the lowest of several such thresholds.

    Examples
    --------
    >>> from skce import ThresholdDisplay
    >>> display = ThresholdDisplay.from_predictions([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1])
    >>> display.best_threshold_
    0.1
    """

    def __init__(self, *, thresholds, precision, recall, f1, threshold=None, name=None):
        self.thresholds = thresholds
        self.precision = precision
        self.recall = recall
        self.f1 = f1
        self.threshold = threshold
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, X, y, label, *, sample_weight=None, ax=None):
        """Plot the curves of a label on rows that should not be those of the fit.

        Parameters
        ----------
        estimator : object
            A fitted classifier with `predict_proba`, or a pipeline that ends in one.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_labels)
            Labels or an indicator, with NaN for missing entries.
        label : object
            A name of `label_names_`, or an entry of `classes_`.
        sample_weight : array-like of shape (n_samples,), default=None
            Row weights.
        ax : matplotlib axes, default=None
            Where to plot; new axes by default.

        Returns
        -------
        display : ThresholdDisplay
            The plotted display.

        Raises
        ------
        ValueError
            If the label is unknown, y has no column for each label, or nothing of it is observed.
        """
        model = fitted_model(estimator, "classes_")
        names, classes = class_names_of(model).tolist(), model.classes_.tolist()
        if label not in names and label not in classes:
            raise ValueError(f"label must be one of {shown(names)}, got {shown(label)}.")
        j = names.index(label) if label in names else classes.index(label)
        y, several = read_targets("y", y), getattr(model, "_form", None) is not None
        if y.ndim == 2 and y.shape[1] == 1 and not several:
            y = y.toarray()[:, 0] if sparse.issparse(y) else y[:, 0]
        if y.shape[1:] != (len(classes),) and (several or y.ndim != 1):
            raise ValueError(f"y must have a column for each of {names}, got shape {y.shape}.")
        if sparse.issparse(y):
            of_label = y.tocsc()[:, [j]].toarray().ravel()
        else:
            of_label = y[:, j] if y.ndim == 2 else y == model.classes_[j]
        proba = np.asarray(estimator.predict_proba(X))[:, j]
        largest = y.ndim == 1 and len(classes) > 2  # wins, at any threshold
        threshold = None if largest else _threshold_of(model, j, len(names))
        return cls.from_predictions(
            of_label,
            proba,
            sample_weight=sample_weight,
            threshold=threshold,
            name=str(names[j]),
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls, y_true, y_proba, *, sample_weight=None, threshold=None, name=None, ax=None
    ):
        """Plot the curves of one label.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            0 and 1, or values between; NaN marks a missing entry, which does not count.
        y_proba : array-like of shape (n_samples,)
            Probability or share of the label.
        sample_weight : array-like of shape (n_samples,), default=None
            Row weights.
        threshold : float, default=None
            The threshold in use, to be marked.
        name : str, default=None
            Name of the label.
        ax : matplotlib axes, default=None
            Where to plot; new axes by default.

        Returns
        -------
        display : ThresholdDisplay
            The plotted display.

        Raises
        ------
        ValueError
            If lengths differ, a value is out of range, or nothing is observed.
        """
        y, proba = float_array("y_true", y_true), float_array("y_proba", y_proba)
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        weight = float_array("sample_weight", weight)
        if not y.shape == proba.shape == weight.shape == (len(y),):
            raise ValueError(
                f"y_true, y_proba and sample_weight must have one shape (n_samples,), got "
                f"{y.shape}, {proba.shape} and {weight.shape}."
            )
        check_proba(proba[:, np.newaxis], "y_proba")
        y = check_targets(y[:, np.newaxis], (len(y), 1), np.float64, upper=1, name="y_true")[:, 0]
        weight = some_row_weight(weight, len(y))
        here = ~np.isnan(y) & (weight > 0)
        if not here.any():
            raise ValueError("y_true must have an observed entry in a row with weight, got none.")
        values, number = np.unique(np.append(proba[here], 0), return_inverse=True)
        on, hits = (
            np.bincount(number[:-1], entry[here], len(values)) for entry in (weight, weight * y)
        )
        positives = hits.sum()
        on, hits = (np.cumsum(part[::-1])[::-1] - part for part in (on, hits))  # above, not at
        on[-1] = hits[-1] = 0  # exactly: nothing is above the highest
        one = np.ones(len(values))
        return cls(
            thresholds=values,
            precision=np.divide(hits, on, out=one.copy(), where=on > 0),
            recall=hits / positives if positives else one,
            f1=2 * hits / (on + positives) if positives else np.zeros(len(values)),
            threshold=threshold,
            name=name,
        ).plot(ax)

    def plot(self, ax=None):
        """Plot the curves.

        Parameters
        ----------
        ax : matplotlib axes, default=None
            Where to plot; new axes by default.

        Returns
        -------
        display : ThresholdDisplay
            This object, with its artists.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = axes_of(self, ax)
        data, self.lines_ = self.frame(), {}
        for curve in CURVES:
            (self.lines_[curve],) = ax.plot(
                data["threshold"],
                data[curve],
                drawstyle="steps-post",
                linewidth=2.5 if curve == "f1" else 1.5,
                label="F1" if curve == "f1" else curve.capitalize(),
            )
        best = int(np.argmax(data["f1"]))
        self.best_threshold_ = float(data["threshold"][best])
        ax.plot(
            self.best_threshold_,
            data["f1"][best],
            "o",
            color=self.lines_["f1"].get_color(),
            label=f"Highest F1, {data['f1'][best]:.3f} at {self.best_threshold_:.3g}",
        )
        if self.threshold is not None:
            label = f"Threshold, {self.threshold:.3g}"
            ax.axvline(self.threshold, color="black", linestyle=":", label=label)
        ax.set(xlabel="Threshold", ylabel="Value", xlim=(0, None), ylim=(0, 1.05))
        if self.name:
            ax.set_title(f"Label {self.name}")
        ax.legend()
        return self

    def frame(self):
        """Return the data of the plot.

        Returns
        -------
        data : dict of ndarray
            Columns "threshold", "precision", "recall" and "f1"; pandas.DataFrame takes it as it is.
        """
        columns = {"threshold": self.thresholds, **{name: getattr(self, name) for name in CURVES}}
        return {name: np.asarray(column, np.float64) for name, column in columns.items()}


def _threshold_of(model, j, k):
    """Return the threshold that a fitted model of k labels has for label j, None for none."""
    if getattr(model, "top_k", None) is not None:
        return None
    threshold = getattr(model, "threshold", None)
    if isinstance(threshold, str):
        threshold = model._thresholds(np.float64)
    if threshold is None:
        threshold = getattr(model, "share_threshold_", 0.5)
    return float(np.broadcast_to(threshold, k)[j])
