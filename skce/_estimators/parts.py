"""Rows in parts, which a fit reads one after another."""

import numpy as np

__all__ = ["Parts", "named"]


class Parts:
    """Rows in parts, which `fit` reads one after another: more of them than memory holds.

    ``fit(Parts(...))`` of `MultinomialLogistic` and `MultiLabelLogistic` ends at the optimum of the
    parts put together, with the same certificate. It reads all parts in each pass, some ten to a
    hundred times, so they should lie on a disk that is near, or be made by something that is fast;
    sums are added in their order. The solver is "lbfgs".

    Parameters
    ----------
    parts : list
        Each is a tuple (X, y) or (X, y, sample_weight) in the forms of `fit`, or a function without
        arguments that returns one, the same each time it is called. One array or memory map of all
        rows may be a single part.
    spool : {bool, str, path}, default=False
        A folder for a temporary file, True for that of `tempfile`: dense rows that functions return
        are written there when they are first read, as many bytes as X would take, and mapped in all
        other passes. It pays where reading is slower than fitting, as with Parquet. Functions are
        called in each pass where it is False, for rows the folder has no room for, and where True
        finds no folder.

    See Also
    --------
    MultinomialLogistic.partial_fit : Learns from rows that are seen once.

    Notes
    -----
    In memory are, beside one part (two where a fit of float32 goes on in double) and
    256 MiB of sampled rows, the targets and weights of all rows and, up to 1 GiB, their
    probabilities, K numbers a row. Arrays are read in blocks of rows and memory maps are never
    copied: their pages are the kernel's, and it may drop them.

    `predict` and its like take Parts too, whose y may be None, and return what they would of all
    rows; a loop over the parts needs less memory.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skce import MultinomialLogistic, Parts
    >>> X, y = load_iris(return_X_y=True)
    >>> halves = [slice(0, None, 2), slice(1, None, 2)]
    >>> parts = Parts([(X[rows], y[rows]) for rows in halves])
    >>> model = MultinomialLogistic(random_state=0).fit(parts)
    >>> round(model.score(X, y), 2)
    0.98

    Functions read the rows when they are needed:

    >>> def half(rows):
    ...     X, y = load_iris(return_X_y=True)
    ...     return X[rows], y[rows]
    >>> from functools import partial
    >>> parts = Parts([partial(half, rows) for rows in halves])
    >>> MultinomialLogistic(random_state=0).fit(parts).coef_.shape
    (3, 4)
    """

    feature_names = label_names = None  # of columns that have them

    def __init__(self, parts, *, spool=False):
        if isinstance(parts, (tuple, np.ndarray)) or not hasattr(parts, "__len__"):
            raise ValueError(f"parts must be a list of parts, got a {type(parts).__name__}.")
        self.parts, self.spool = [*parts], spool
        if not self.parts:
            raise ValueError("parts must hold a part, got an empty list.")
        for number, part in enumerate(self.parts):
            if not callable(part):
                _three(number, part)

    @classmethod
    def from_parquet(cls, paths, y=None, *, columns=None, sample_weight=None, spool=True):
        """Return the parts of Parquet files: a row group is a part. Needs pyarrow.

        Parameters
        ----------
        paths : str, path or list of them
            Files of the same columns, in any order; that of the first file counts.
        y : str or list of str, default=None
            The column of labels, or columns of targets (n, K); one column of lists of fixed size
            holds rows of targets too. None is for predictions.
        columns : list of str, default=None
            Features, in this order, numbers without gaps; None is all other columns. A column of
            lists of fixed size is as many features. Where all are float32 so is X, else float64.
        sample_weight : str, default=None
            The column of row weights.
        spool : {bool, str, path}, default=True
            See `Parts`. Name a folder where that of `tempfile` lies in memory.

        Returns
        -------
        parts : Parts
            For `fit`; features that are no lists give it `feature_names_in_`, and a list of columns
            of targets `label_names_`.

        Raises
        ------
        ImportError
            If pyarrow is not installed.
        ValueError
            If a column is missing or holds no numbers, or files differ in them.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import pytest
        >>> pyarrow = pytest.importorskip("pyarrow")
        >>> from pyarrow import parquet
        >>> from sklearn.datasets import load_iris
        >>> from skce import MultinomialLogistic, Parts
        >>> frame = load_iris(as_frame=True).frame
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "iris.parquet"
        ...     parquet.write_table(pyarrow.Table.from_pandas(frame), path, row_group_size=50)
        ...     parts = Parts.from_parquet(path, "target")
        ...     model = MultinomialLogistic(random_state=0).fit(parts)
        >>> len(parts)
        3
        >>> model.feature_names_in_[0]
        'sepal length (cm)'
        """
        from skce._estimators.parquet import row_groups

        groups, *names = row_groups(paths, y, columns, sample_weight)
        parts = cls(groups, spool=spool)
        parts.feature_names, parts.label_names = names
        return parts

    def __len__(self):
        """Return the number of parts."""
        return len(self.parts)

    def __iter__(self):
        """Yield (X, y, sample_weight) of each part, None for what it has not."""
        return (self.read(number) for number in range(len(self)))

    def read(self, number):
        """Return (X, y, sample_weight) of a part, None for what it has not.

        Parameters
        ----------
        number : int
            Which part.

        Returns
        -------
        part : tuple
            What the part holds or its function returns.
        """
        part = self.parts[number]
        with named(number):
            return _three(number, part() if callable(part) else part)

    def read_X(self, number):
        """Return X of a part.

        Parameters
        ----------
        number : int
            Which part.

        Returns
        -------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Its features.
        """
        part = self.parts[number]
        if not hasattr(part, "read_X"):
            return self.read(number)[0]
        with named(number):
            return part.read_X()


def _three(number, part):
    if not isinstance(part, tuple) or not 2 <= len(part) <= 3:
        got = f"a tuple of {len(part)}" if isinstance(part, tuple) else f"a {type(part).__name__}"
        raise ValueError(
            f"parts must be tuples (X, y) or (X, y, sample_weight), or functions that return one, "
            f"got {got} as part {number}."
        )
    return (*part, None)[:3]


class named:
    """Let errors tell in which part they arose."""

    def __init__(self, number):
        self.number = number

    def __enter__(self):
        """Begin."""

    def __exit__(self, kind, error, trace):
        """Raise what was raised, with the number of the part unless it is there."""
        told = f"part {self.number}", "parts must"
        if not isinstance(error, Exception) or str(error).startswith(told):
            return
        if isinstance(error, ValueError):
            raise ValueError(f"part {self.number}: {error}") from error
        raise RuntimeError(f"part {self.number} raised {kind.__name__}: {error}") from error
