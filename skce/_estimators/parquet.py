"""Row groups of Parquet files as arrays."""

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

__all__ = ["row_groups"]

PIECE_BYTES = 1 << 20  # of rows that are turned together: they stay in cache


def row_groups(paths, y, columns, sample_weight):
    """Return functions that read the row groups, names of the features and of labels, or None."""
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError("Parts.from_parquet needs pyarrow: pip install pyarrow") from error

    paths = [paths] if isinstance(paths, (str, PathLike)) else [*paths]
    if not paths:
        raise ValueError("paths must name a file, got none.")
    groups, first = [], None
    targets = [] if y is None else [y] if isinstance(y, str) else [*y]
    for path in paths:
        file = pq.ParquetFile(path)
        schema, metadata = file.schema_arrow, file.metadata
        file.close()
        chosen = columns
        if chosen is None:
            chosen = [name for name in schema.names if name not in (*targets, sample_weight)]
        known = _types(path, schema, [*chosen], [*targets, *filter(None, [sample_weight])])
        first = first or known
        if known != first:
            raise ValueError(f"paths must hold files of the same columns, got others in {path}.")
        wide = any(kind != "float" for kind, _ in known.values())
        dtype = np.dtype(np.float64 if wide else np.float32)
        names = tuple(first)  # in the order of the first file
        of_y = y if y is None or isinstance(y, str) else tuple(y)
        groups += [
            RowGroup(str(path), group, names, dtype, of_y, sample_weight)
            for group in range(metadata.num_row_groups)
            if metadata.row_group(group).num_rows
        ]
    if not groups:
        raise ValueError("paths must hold rows, got none.")
    listed = any(size for _, size in first.values())
    features = None if listed else np.array([*first], dtype=object)
    return groups, features, np.array(targets, dtype=object) if isinstance(of_y, tuple) else None


def _types(path, schema, features, others):
    """Return the type of the numbers of each feature and, of a list of fixed size, that size."""
    from pyarrow import types

    known = {}
    for name in (*features, *others):
        if name not in schema.names:
            raise ValueError(f"columns must be those of the file, got {name!r}, not in {path}.")
    for name in features:
        kind, size = schema.field(name).type, 0
        if types.is_fixed_size_list(kind):
            kind, size = kind.value_type, kind.list_size
        number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
        if not number:
            raise ValueError(f"columns must hold numbers, got {kind} in {name!r} of {path}.")
        known[name] = (str(kind), size)
    if not known:
        raise ValueError(f"columns must name a feature, got none in {path}.")
    return known


@dataclass(frozen=True)
class RowGroup:
    """A row group, read when it is called."""

    path: str
    group: int
    features: tuple
    dtype: np.dtype
    y: Any
    sample_weight: Any

    def _read(self, names):
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path, memory_map=True) as file:
            return file.read_row_group(self.group, columns=[*names])

    def read_X(self):
        """Return the features (n, p), C-ordered."""
        return _matrix(self._read(self.features), self.features, self.dtype)

    def __call__(self):
        """Return X, y and sample_weight."""
        y = () if self.y is None else (self.y,) if isinstance(self.y, str) else self.y
        weight = () if self.sample_weight is None else (self.sample_weight,)
        table = self._read([*dict.fromkeys([*self.features, *y, *weight])])
        X = _matrix(table, self.features, self.dtype)
        targets = None
        if y:
            listed = len(y) > 1 or _size(table, y[0])
            targets = _matrix(table, y, None) if not isinstance(self.y, str) or listed else None
            targets = _labels(table, y[0]) if targets is None else targets
        return X, targets, *(table.column(name).to_numpy() for name in weight)


def _size(table, name):
    return getattr(table.schema.field(name).type, "list_size", 0)


def _labels(table, name):
    """Return a column of labels (n,)."""
    column = table.column(name)
    if hasattr(column.type, "value_type"):  # a dictionary
        column = column.cast(column.type.value_type)
    return column.to_numpy()


def _matrix(table, names, dtype):
    """Return columns as rows (n, p), C-ordered; dtype None is that of the numbers."""
    columns = []
    for name in names:
        column = table.column(name).combine_chunks()
        for chunk in getattr(column, "chunks", [column]):
            if size := _size(table, name):
                if chunk.null_count:
                    raise ValueError(f"column {name!r} must have no gaps, got a missing list")
                columns.append(chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, size))
            else:
                columns.append(chunk.to_numpy(zero_copy_only=False)[:, None])
    dtype = np.result_type(*columns) if dtype is None else dtype
    if len(columns) == 1:
        return np.ascontiguousarray(columns[0], dtype)
    n, p = table.num_rows, sum(column.shape[1] for column in columns)
    out, step = np.empty((n, p), dtype), max(1, PIECE_BYTES // (p * dtype.itemsize))
    for first in range(0, n, step):
        rows = slice(first, first + step)
        if p == len(columns):
            np.copyto(out[rows], np.stack([column[rows, 0] for column in columns]).T)
        else:
            np.concatenate([column[rows] for column in columns], axis=1, out=out[rows])
    return out
