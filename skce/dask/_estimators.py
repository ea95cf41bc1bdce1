"""The estimators of Dask collections."""

from typing import Any

from skce._estimators import multilabel, multinomial
from skce._estimators.decorators import fits_with_callbacks
from skce.dask._fitting import PartitionsMixin
from skce.dask._lazy import LazyMixin

__all__ = ["MultiLabelLogistic", "MultinomialLogistic"]


class MultinomialLogistic(PartitionsMixin, LazyMixin, multinomial.MultinomialLogistic):
    """`skce.MultinomialLogistic` whose `fit` takes Dask arrays and dataframes.

    Parameters and fitted attributes are those of the plain estimator, and so is the optimum: the
    mean loss over all rows, with the same certificate. The solver is "lbfgs".

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        As all fitted attributes, in NumPy, those of `skce.MultinomialLogistic`.

    See Also
    --------
    skce.MultinomialLogistic : The plain estimator, which `to_local` returns.

    Notes
    -----
    Each step of the solver is one round: the coefficients go out to the workers, from each
    partition a sum of the size of the coefficients comes back, and sums are added in the order of
    the partitions. So a result depends on the partitions, never on which worker is first. Rows,
    their targets and probabilities stay where they are. What is lost with a worker is made again;
    `persist` X before, or it is computed by the fit and kept by it.

    Without a client the partitions are read into this process.

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn.datasets import load_iris
    >>> from skce.dask import MultinomialLogistic
    >>> X, y = (da.from_array(a).rechunk(50) for a in load_iris(return_X_y=True))
    >>> model = MultinomialLogistic(random_state=0).fit(X, y)
    >>> model.predict(X).compute().shape
    (150,)
    >>> model.to_local()
    MultinomialLogistic(random_state=0)
    """

    _plain = multinomial.MultinomialLogistic

    @fits_with_callbacks
    def fit(  # type: ignore[override]
        self,
        X,
        y,
        sample_weight=None,
        *,
        classes=None,
        client=None,
        coef_init=None,
        intercept_init=None,
    ):
        """Fit the model to all partitions.

        Parameters
        ----------
        X : {dask array, dask dataframe} of shape (n_samples, n_features)
            Features; chunks of an array may be CSR, their sizes need not be known, and they may be
            empty.
        y : {dask array, dask dataframe, dask series, array-like} of shape (n_samples,) or \
                (n_samples, n_classes)
            Targets, as those of the plain estimator, in the partitions of X.
        sample_weight : {dask array, dask series, array-like} of shape (n_samples,), default=None
            Non-negative row weights.
        classes : array-like of shape (n_classes,), default=None
            All labels; None is those that occur.
        client : distributed.Client, default=None
            The cluster; None is the current client.
        coef_init : array-like of the shape of `coef_`, default=None
            Coefficients to begin with.
        intercept_init : array-like of the shape of `intercept_`, default=None
            Intercepts to begin with.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an argument or a combination of parameters does not fit, `l1_ratio` above 0 among
            them; rows that do not are told with the number of their partition.
        RuntimeError
            If a partition raises, the client closes, or there is no worker for a minute. The
            estimator is then as it was before the call.
        """
        start = coef_init, intercept_init
        return self._fit_partitions(X, y, sample_weight, start, classes, client)


class MultiLabelLogistic(PartitionsMixin, LazyMixin, multilabel.MultiLabelLogistic):
    """`skce.MultiLabelLogistic` whose `fit` takes Dask arrays and dataframes.

    Parameters and fitted attributes are those of the plain estimator, and so is the optimum: the
    mean loss over all rows, with the same certificate. The solver is "lbfgs". `threshold` must not
    be "f1".

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels,)
        As all fitted attributes, in NumPy, those of `skce.MultiLabelLogistic`.

    See Also
    --------
    MultinomialLogistic : One label a row; its notes tell how a fit runs.
    skce.MultiLabelLogistic : The plain estimator, which `to_local` returns.

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn.datasets import make_multilabel_classification
    >>> from skce.dask import MultiLabelLogistic
    >>> X, Y = make_multilabel_classification(random_state=0)
    >>> X, Y = da.from_array(X, chunks=(50, -1)), da.from_array(Y, chunks=(50, -1))
    >>> MultiLabelLogistic(random_state=0).fit(X, Y).predict_proba(X).compute().shape
    (100, 5)
    """

    _plain = multilabel.MultiLabelLogistic

    @fits_with_callbacks
    def fit(  # type: ignore[override]
        self,
        X,
        y,
        sample_weight=None,
        *,
        entry_weight=None,
        classes=None,
        client=None,
        coef_init=None,
        intercept_init=None,
    ):
        """Fit the model to all partitions.

        Parameters
        ----------
        X : {dask array, dask dataframe} of shape (n_samples, n_features)
            Features; chunks of an array may be CSR, their sizes need not be known, and they may be
            empty.
        y : {dask array, dask dataframe, array-like} of shape (n_samples, n_labels) or \
                (n_samples,)
            Targets, as those of the plain estimator, in the partitions of X; NaN is missing.
        sample_weight : {dask array, dask series, array-like} of shape (n_samples,), default=None
            Non-negative row weights.
        entry_weight : {dask array, array-like} of shape (n_samples, n_labels), default=None
            Non-negative weights of the entries of y, for "bce".
        classes : array-like of shape (n_labels,), default=None
            All labels; None is those that occur.
        client : distributed.Client, default=None
            The cluster; None is the current client.
        coef_init : array-like of the shape of `coef_`, default=None
            Coefficients to begin with.
        intercept_init : array-like of the shape of `intercept_`, default=None
            Intercepts to begin with.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an argument or a combination of parameters does not fit, `l1_ratio` above 0 among
            them; rows that do not are told with the number of their partition.
        RuntimeError
            If a partition raises, the client closes, or there is no worker for a minute. The
            estimator is then as it was before the call.
        """
        start: Any = coef_init, intercept_init
        given = (X, y, sample_weight, start, classes, client)
        return self._fit_partitions(*given, entry_weight=entry_weight)
