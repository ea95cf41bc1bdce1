"""Fits of Dask collections: the optimum of all partitions, with the certificate of one machine."""

from skce.dask._estimators import MultiLabelLogistic, MultinomialLogistic

__all__ = ["MultiLabelLogistic", "MultinomialLogistic"]
