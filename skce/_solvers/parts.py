"""Problems whose rows are in parts, one in memory at a time or each elsewhere.

What a `PartsProblem` needs of the world is a source: ``len(source)`` is the number of parts, and
``source.each(view, function, args)`` yields ``part.run(view, function, args)`` of every `Part`, in
their order, which is one round trip. ``view`` is (dtype or None, power): X is seen in that dtype
and over 2**power. Functions are those of `sums` and of this module, so they can be sent by name;
what comes back is (p + 1, k) sums, matrices (k, p + 1, p + 1) or a bounded sample of rows, and is
no longer the part's.

A `Part` that is lost is made anew by its `load`: a `Table` carries the weights it was made at, and
what was changed since.
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from typing import Any

import numpy as np

from skce._engine.passes import Pass
from skce._solvers.columns import PIECE, SAMPLE_BYTES, divided, is_mapped, some_rows, stacked
from skce._solvers.part import DrawnOfParts, InTurn, Leverages, Part, Room, Rows, Some, Table
from skce._solvers.penalised import Penalised
from skce._solvers.sums import Drawn, column_squares, target_sums

__all__ = ["InTurn", "Part", "PartsProblem", "Rows", "Table", "in_double", "joined"]

BLOCK_BYTES = 1 << 26  # of an array whose rows are read, and go to double, together
SAME = ("kind", "k", "smoothing", "alpha", "l1_ratio", "fit_intercept", "centre")  # in all parts


def run_pass(problem, kind, W, table, scale, shift):
    """Return the two numbers and the sum (p + 1, k) of a pass."""
    out = np.empty(W.shape)
    return *problem.full_pass(kind, W, out, table, scale, shift), out


def picked(problem, rows):
    """Return the problem of some rows."""
    return problem.of_rows(rows, problem.weights[rows])


def facts(problem, most):
    """Return what is asked of each part first, with rows of at most about so many entries."""
    X, nnz = problem.X, problem.X.nnz if problem.is_sparse else None
    with np.errstate(all="ignore"):  # squares that overflow are made anew, of X over a power of two
        squares = column_squares(problem)
    return {
        "same": {name: getattr(problem, name) for name in SAME},
        "X": Rows(X.shape, X.dtype, nnz),
        "sizes": problem.n_weighted,
        "weight": problem.total_weight,
        "has_missing": problem.has_missing,
        "weighs_entries": problem.weighs_entries,
        "target_sums": target_sums(problem),
        "column_squares": squares,
        "some_rows": some_rows(X, most),
    }


@dataclass(frozen=True)
class PartsProblem(Penalised):
    """A problem whose rows are in parts: the sums of `sums` are made there and added here."""

    source: Any
    X: Rows
    kind: int
    k: int
    smoothing: float
    alpha: float
    l1_ratio: float
    fit_intercept: bool
    centre: np.ndarray | None
    sizes: list  # of each part: rows with a weight
    part_weights: list
    has_missing: bool
    weighs_entries: bool
    some_rows: Any
    power: int = 0

    @classmethod
    def of(cls, source):
        """Return the problem of a source, for which every part is asked once."""
        most = max(PIECE // len(source), 1)
        found = list(source.each((None, 0), facts, (most,)))
        every = {name: [each[name] for each in found] for name in found[0]}
        X = found[0]["X"]
        shape = sum(rows.shape[0] for rows in every["X"]), X.shape[1]
        nnz = None if X.nnz is None else sum(rows.nnz for rows in every["X"])
        problem = cls(
            source=source,
            X=Rows(shape, X.dtype, nnz),
            **found[0]["same"],
            sizes=every["sizes"],
            part_weights=every["weight"],
            has_missing=any(every["has_missing"]),
            weighs_entries=any(every["weighs_entries"]),
            some_rows=stacked(every["some_rows"]),
        )
        vars(problem)["_sums"] = _total(target_sums, every["target_sums"])
        vars(problem)["_squares"] = every["column_squares"]
        return problem

    @property
    def is_sparse(self):
        """Whether X is CSR."""
        return self.X.nnz is not None

    @property
    def n_weighted(self):
        """The number of rows with a weight."""
        return sum(self.sizes)

    @property
    def total_weight(self):
        """The weight of all rows."""
        return sum(self.part_weights)

    @cached_property
    def column_squares(self):
        """Weighted sums of the squares of the centred columns (p,)."""
        return sum(self._squares)

    @cached_property
    def _squares(self):
        return list(self._each(column_squares))

    def _each(self, function, *args):
        return self.source.each((self.X.dtype, self.power), function, args)

    def sum(self, function, *args):
        """Return the sum over the parts of a function of `sums`."""
        return _total(function, self._each(function, *args))

    def full_pass(self, kind, W, out, table=None, scale=None, shift=None):
        """Do what `Problem.full_pass` does."""
        W = np.array(W, self.X.dtype, order="C")
        if kind == Pass.LOSS and table is not None:
            table.stamp, table.W, table.changes = next(Table.numbers), W, ()
            table = Room(table.slot, table.stamp)
        total, loss, out[:] = self.sum(run_pass, kind, W, table, scale, shift)
        return total, loss

    def new_table(self):
        """Return the name of room for the curvature of each row."""
        return Table()

    def change(self, function, table, *args):
        """Return the table that a function of `sums` makes of another one."""
        slot = table.slot if table.changes else None
        return Table(table.W, (*table.changes, (function, *args)), slot, table.stamp)

    def draw(self, most, rng):
        """Draw about so many rows for second moments, of each part by its share of them."""
        if self.n_weighted <= most:
            return Drawn(None, None, self.n_weighted)
        known, shares = self._leverages
        rows = np.ceil(most * shares / shares.sum()).astype(int)
        return DrawnOfParts(rows.tolist(), rng.randint(2**31 - 1), most, known)

    @cached_property
    def _leverages(self):
        """Leverages of the rows, and the weighted sum of those of each part."""
        squares = self.column_squares
        inverse = 1 / np.where(squares > 0, squares, np.inf)
        return Leverages(squares), np.array(self.part_weights) + np.array(self._squares) @ inverse

    def samples(self, sizes, rng):
        """Yield problems of so many rows, in arrays, of at most SAMPLE_BYTES."""
        width = self.X.nnz / self.X.shape[0] * 2 if self.is_sparse else self.X.shape[1]
        most = int(SAMPLE_BYTES / (max(width, 1) * self.X.dtype.itemsize))
        sizes = sorted({min(size, most) for size in sizes})
        if not sizes:
            return
        ends = np.cumsum([0, *self.sizes]) * (sizes[-1] / self.n_weighted)
        some = Some(np.diff(np.round(ends).astype(int)).tolist(), rng.randint(2**31 - 1))
        largest = joined(list(self._each(picked, some)))
        total = max(largest.weights.sum(), np.finfo(float).tiny)
        largest = replace(largest, weights=largest.weights * (self.total_weight / total))
        yield from largest.samples(sizes, rng)

    def gathered(self):
        """Return the problem in arrays."""
        return joined(list(self._each(picked, Some(None))))

    def in_double(self):
        """Return the same with X in double."""
        dtype = np.dtype(np.float64)
        return self._seen_as(X=replace(self.X, dtype=dtype), some_rows=self.some_rows.astype(dtype))

    def divided(self, power):
        """Return the same with X over 2**power."""
        rows = divided(self.some_rows, power)
        centre = None if self.centre is None else divided(self.centre, power)
        return self._seen_as(power=self.power + power, some_rows=rows, centre=centre)

    def _seen_as(self, **changes):
        other = replace(self, **changes)
        vars(other)["_sums"] = self._sums  # of the targets
        return other


def _total(function, found):
    """Return the sum of what a function has found of each part."""
    total = reduce(_added, found)
    if function is target_sums:  # rounding may exceed it
        return np.minimum(total[0], total[1]), *total[1:]
    return total


def _added(total, found):
    """Return the sum of two results, in place of the first."""
    if isinstance(total, tuple):
        return tuple(_added(*both) for both in zip(total, found, strict=True))
    total += found
    return total


def joined(problems):
    """Return the problem, or the Encoded data, of the rows of several."""
    names = ["X", "targets", "weights"] + ["entry_weight"] * (problems[0].entry_weight is not None)
    whole = {name: stacked([getattr(each, name) for each in problems]) for name in names}
    return replace(problems[0], **whole)


def in_double(problem):
    """Return the problem with X in double; of a large memory map that is not copied, in parts."""
    X = problem.X
    if not is_mapped(X) or X.nbytes <= SAMPLE_BYTES:
        return problem.in_double()
    size, found = max(1, BLOCK_BYTES // (X.shape[1] * X.itemsize)), []
    for number, first in enumerate(range(0, len(X), size)):
        rows = slice(first, first + size)
        found.append(Part(number, partial(problem.of_rows, rows, problem.weights[rows])))
    return PartsProblem.of(InTurn(found)).in_double()
