"""What `fit` does with `Parts`: reads and checks each once, and makes the problem of them."""

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from errno import EDQUOT, EFBIG, ENOSPC
from functools import partial
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from scipy import sparse

from skce._estimators.parts import named
from skce._estimators.validation import check_rows, check_X, column_names, read_y
from skce._solvers.columns import PIECE, centre_of, draw_entries, is_mapped, stacked
from skce._solvers.parts import BLOCK_BYTES, InTurn, Part, PartsProblem, Rows
from skce._solvers.problem import Problem
from skce._solvers.seen import Seen, positives
from skce.losses._checks import check_weight, contiguous
from skce.losses._read import NUMBERS

__all__ = ["TABLE_BYTES", "RowsOfParts", "itself", "read_parts", "refuse"]

TABLE_BYTES = 1 << 30  # of probabilities that are kept; those of other rows are made anew
NO_ROOM = (ENOSPC, EDQUOT, EFBIG)


def refuse(model, given, kind="Parts", held_out=False):
    """Raise where a fit of Parts has not what is asked for; `given` are other arguments of fit.

    `held_out` tells whether there are rows held out.
    """
    passed = [name for name, value in given.items() if value is not None]
    if passed:
        raise ValueError(f"{passed[0]} must be None for Parts, which hold X, y and sample_weight.")
    whole = "False without X_val and y_val" if kind == "Parts" else "False"
    asked = {
        "solver": (model.solver in ("auto", "lbfgs"), "'auto' or 'lbfgs'"),
        "l1_ratio": (model.l1_ratio == 0, "0"),
        "early_stopping": (held_out or not model.early_stopping, whole),
        "prune": (getattr(model, "prune", None) is None, "None"),
        "threshold": (not isinstance(getattr(model, "threshold", None), str), "a number or None"),
    }
    for name, (fits, wanted) in asked.items():
        if not fits:
            got = getattr(model, name)
            raise ValueError(f"{name} must be {wanted} for a fit of {kind}, got {got!r}.")


@dataclass
class Block:
    """Rows first..last of all, which are the rows `own` of a part; X if it is at hand."""

    number: int
    first: int
    last: int
    own: slice
    X: Any = None


class RowsOfParts:
    """What stands for X of `Encoded` data: its shape and dtype, and how to read it."""

    def __init__(self, model, parts):
        self.model, self.parts = model, parts
        self.shape, self.dtype, self.is_sparse = (0, 0), None, False
        self.blocks: list[Block] = []
        self.sample, self.sampled = None, None  # some rows, and their numbers

    def take(self, X, block):
        """Count the rows X of a block among these; raise unless they are like those before."""
        if self.dtype is None:
            self.dtype, self.is_sparse = X.dtype, sparse.issparse(X)
        if X.dtype != self.dtype or sparse.issparse(X) != self.is_sparse:
            wanted, got = _kind(self.is_sparse, self.dtype), _kind(sparse.issparse(X), X.dtype)
            raise ValueError(f"X must be like that of part 0, {wanted}, got {got}.")
        self.shape = block.last, X.shape[1]
        self.blocks.append(block)

    def read(self, block):
        """Return X of a block."""
        if block.X is not None:
            return block.X
        with named(block.number):
            X = self.parts.read_X(block.number)
            X = X if block.own == slice(None) else X[block.own]
            known = isinstance(X, np.ndarray)
            if sparse.issparse(X):
                known = X.format == "csr" and X.has_canonical_format
            if known and X.dtype == self.dtype:  # these entries were checked before
                X = X if sparse.issparse(X) else contiguous(X)
            else:
                X = check_X(self.model, X, reset=False)
            shape = block.last - block.first, self.shape[1]
            if X.shape != shape or X.dtype != self.dtype or sparse.issparse(X) != self.is_sparse:
                wanted, got = _kind(self.is_sparse, self.dtype), _kind(sparse.issparse(X), X.dtype)
                raise ValueError(
                    f"X must be the same each time it is read, got shape {X.shape}, {got}, "
                    f"after {shape}, {wanted}."
                )
            return X

    def __getitem__(self, rows):
        """Return some rows, whose numbers rise."""
        found = []
        for block in self.blocks:
            here = rows[(rows >= block.first) & (rows < block.last)]
            if len(here):
                found.append(self.read(block)[here - block.first])
        return stacked(found)

    def problem(self, data, rng):
        """Return the problem of the Encoded data that have these rows."""
        model, centre = self.model, None
        if model.fit_intercept and not self.is_sparse:
            centre = centre_of(self.sample, data.weights[self.sampled], rng)
        loss = model.label_smoothing, model.alpha, 0.0, model.fit_intercept
        whole = Problem.of(data, *loss, None, data.weights.sum(), centre)
        row, found = data.k * self.dtype.itemsize, []
        for number, block in enumerate(self.blocks):
            rows = slice(block.first, block.last)
            shape = block.last - block.first, self.shape[1]
            names = ["targets", "weights"] + ["entry_weight"] * (data.entry_weight is not None)
            own = {name: getattr(whole, name)[rows] for name in names}
            small = replace(whole, X=Rows(shape, self.dtype), **own)
            load: Any = partial(self._problem, block, small)
            if block.X is not None:
                load = partial(itself, load())
            found.append(Part(number, load, block.last * row <= TABLE_BYTES, small))
        return PartsProblem.of(InTurn(found))

    def _problem(self, block, small):
        return replace(small, X=self.read(block))

    def seen(self, data):
        """Return what `Seen.of_rows` tells, of the sample in place of all rows."""
        targets, weights = data.targets[self.sampled], data.weights[self.sampled]
        seen = Seen.of_rows(self.sample, targets, weights, data.k, self.model.fit_intercept)
        rows, weight = int(np.count_nonzero(data.weights)), float(data.weights.sum())
        seen.stand_for(rows, weight, positives(data.targets, data.weights, data.k))
        return seen


def itself(value):
    """Return the value, where a function that can be pickled is wanted."""
    return value


def read_parts(model, parts, rng):
    """Read all parts once; return `RowsOfParts`, y and weights of all rows, label names."""
    X = RowsOfParts(model, parts)
    targets: list[tuple] = []
    weights, drawn, weighted, matrices = [], [], False, True
    spooled: list[tuple] = []
    with _file_of(parts.spool) as file:
        for number in range(len(parts)):
            given, y, weight = parts.read(number)
            with named(number):
                if y is None:
                    raise ValueError("y must be given, got None.")
                matrices &= isinstance(y, sparse.csr_matrix)  # predictions are as y was
                targets.append((read_y(y), column_names(y)))
                _check_alike(*targets[0], *targets[-1])
                check_rows(given, targets[-1][0])
                n = targets[-1][0].shape[0]
                weighted |= weight is not None
                weight = np.ones(n) if weight is None else check_weight("sample_weight", weight, n)
                weights.append(weight)
                for block, rows in _blocks_of(X, number, given, n, file, spooled):
                    weighing = weight[block.own]
                    most = PIECE * len(weighing) / (len(parts) * n)
                    some = draw_entries(rows, weighing, most, rng)
                    drawn.append((rows[some], some + block.first))
        if spooled:  # the map outlives the file; one for all, since each would keep it open
            whole = np.memmap(file, np.uint8, "r")
            for block, at, shape in spooled:
                size = math.prod(shape) * X.dtype.itemsize
                block.X = whole[at : at + size].view(X.dtype).reshape(shape)
    X.sample = stacked([rows for rows, _ in drawn])
    X.sampled = np.concatenate([numbers for _, numbers in drawn])
    y = [y for y, _ in targets]
    y = sparse.vstack(y, format="csr") if any(map(sparse.issparse, y)) else np.concatenate(y)
    y = sparse.csr_matrix(y) if matrices else y
    names = targets[0][1] if parts.label_names is None else parts.label_names
    return X, y, np.concatenate(weights) if weighted else None, names


def _file_of(spool):
    """Return a temporary file, None without `spool` or where True finds no folder for it."""
    if not spool:
        return nullcontext()
    try:
        return TemporaryFile(buffering=0, dir=None if spool is True else spool)
    except OSError:
        if spool is not True:
            raise
    return nullcontext()


def _blocks_of(X, number, given, n, file, spooled):
    """Yield the blocks of a part and their rows, once these are checked and taken.

    What is written to the file is added to `spooled`: block, place in the file and shape.
    """
    is_read = callable(X.parts.parts[number])
    for block in _blocks(number, given, n, X.shape[0], is_read):
        rows = given if block.own == slice(None) else given[block.own]
        checked = check_X(X.model, rows, reset=X.dtype is None)
        X.take(checked, block)
        read_again = is_read or (is_mapped(rows) and not np.may_share_memory(rows, checked))
        if not read_again:
            block.X = checked
        elif file is not None and not X.is_sparse:
            at = _written(checked, file)
            if at is not None:
                spooled.append((block, at, checked.shape))
        yield block, checked


def _written(X, file):
    """Write X at the end of a file; return where that is, None where there is no room for it."""
    at, left = file.seek(0, 2), memoryview(X).cast("B")
    try:
        while left:  # a call writes 2 GiB at most
            left = left[file.write(left) :]
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        file.truncate(at)
        return None
    return at


def _blocks(number, given, n, first, is_read):
    """Yield the blocks of a part: of an array that stays, and is large, several."""
    size = n
    if isinstance(given, np.ndarray) and given.ndim == 2 and not is_read:
        size = max(1, BLOCK_BYTES // max(given.shape[1] * given.itemsize, 1))
    if size >= n:
        yield Block(number, first, first + n, slice(None))
        return
    for start in range(0, n, size):
        end = min(start + size, n)
        yield Block(number, first + start, first + end, slice(start, end))


def _check_alike(first, names, y, others):
    """Raise unless y of a part, and the names of its columns, go with those of the first."""
    if first.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"y must have the form of that of part 0, {first.shape}, got shape {y.shape}."
        )
    if (first.dtype.kind in NUMBERS) != (y.dtype.kind in NUMBERS):
        raise ValueError(f"y must be like that of part 0, {first.dtype}, got {y.dtype}.")
    if list([] if names is None else names) != list([] if others is None else others):
        raise ValueError(f"y must have the label columns of part 0, {names}, got {others}.")


def _kind(is_sparse, dtype):
    return f"{'CSR' if is_sparse else 'dense'} of {dtype}"
