"""The rows of a part, where they are, and what passes between them and a `parts.PartsProblem`."""

from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from skce._engine.passes import Pass
from skce._solvers.columns import draw
from skce._solvers.sums import OF_TARGETS, draw_rows, leverages

__all__ = ["DrawnOfParts", "InTurn", "Leverages", "Part", "Room", "Rows", "Some", "Table"]

SLOTS = 2  # tables that a part keeps: of the iterate, and of a certificate


@dataclass(frozen=True)
class Rows:
    """What is known of X where its rows are not: shape, dtype, entries of CSR."""

    shape: tuple
    dtype: np.dtype
    nnz: int | None = None

    def astype(self, dtype, copy=False):
        """Return the same of another dtype."""
        return replace(self, dtype=np.dtype(dtype))


class Part:
    """The rows of a part, where they are.

    Parameters
    ----------
    number : int
        Which part it is.
    load : callable
        Returns the `Problem` of its rows, whose weights are shares of the weight of all parts.
    keeps : bool, default=True
        Whether tables are kept, and not made anew each time.
    targets : Problem, default=None
        The same whose X is `Rows`, for sums that need no X; None is that of `load`.
    """

    def __init__(self, number, load, keeps=True, targets=None):
        self.number, self.load, self.keeps = number, load, keeps
        self.targets = {} if targets is None else {targets.X.dtype: targets}
        self.tables: dict = {}
        self.leverages: dict = {}

    def run(self, view, function, args):
        """Return function(problem, *args) of the rows as (dtype, power of two) tell.

        What is an argument's own in each part, it gives by `of_part`.
        """
        if function in OF_TARGETS and self.targets:
            problem = self._of_targets(view[0])
        else:
            problem = self._of_rows(view)
        self.view = view
        args = [arg.of_part(self, problem) if hasattr(arg, "of_part") else arg for arg in args]
        return function(problem, *args)

    def _of_rows(self, view):
        problem, (dtype, power) = self.load(), view
        if dtype is not None and dtype != problem.X.dtype:  # None is float64 for NumPy
            problem = problem.in_double()
        return problem.divided(power) if power else problem

    def _of_targets(self, dtype):
        if dtype not in self.targets:
            self.targets[dtype] = next(iter(self.targets.values())).in_double()
        return self.targets[dtype]

    def new_table(self, problem, W):
        """Return the table at W."""
        if isinstance(problem.X, Rows):
            problem = self._of_rows(self.view)
        table = problem.new_table()
        problem.full_pass(Pass.LOSS, W, np.empty(W.shape), table)
        return table

    def kept_table(self, stamp, dtype):
        """Return the table of a stamp, None where it is not kept."""
        for known, table in self.tables.values():
            if known == stamp and table.dtype == dtype:
                return table
        return None

    def keep_table(self, slot, stamp, table):
        """Keep a table for the one in its slot, or for the oldest."""
        self.tables.pop(slot, None)
        if self.keeps:
            self.tables[slot] = stamp, table
        while len(self.tables) > SLOTS:
            del self.tables[next(iter(self.tables))]
        return table


class InTurn:
    """The source of parts that are here, of which each has its turn."""

    def __init__(self, parts):
        self.parts = parts

    def __len__(self):
        return len(self.parts)

    def each(self, view, function, args):
        """Yield what each part finds."""
        return (part.run(view, function, args) for part in self.parts)


class Table:
    """The name of a table whose rows stay with the parts, and how to make it where it is lost.

    It is that of the probabilities, or curvatures, at W, changed by functions of `sums`: the first
    makes another table, the others may change that one. `before` is the stamp without the last.
    """

    numbers = count()

    def __init__(self, W=None, changes=(), slot=None, before=None):
        self.slot = next(Table.numbers) if slot is None else slot
        self.stamp, self.before = next(Table.numbers), before
        self.W, self.changes = W, changes

    def of_part(self, part, problem):
        """Return the table (n, k) of a part."""
        changes: tuple = ()
        table = part.kept_table(self.stamp, problem.X.dtype)
        if table is not None:
            return table
        if self.changes:
            table, changes = part.kept_table(self.before, problem.X.dtype), self.changes[-1:]
        if table is None:
            table, changes = part.new_table(problem, self.W), self.changes
        for function, *args in changes:
            table = function(problem, table, *args)
        return part.keep_table(self.slot, self.stamp, table)


@dataclass(frozen=True)
class Room:
    """Room for a table that a pass fills."""

    slot: int
    stamp: int

    def of_part(self, part, problem):
        """Return the room (n, k) of a part, None where tables are not kept."""
        if not part.keeps:
            return None
        _, table = part.tables.get(self.slot, (None, None))
        if table is None or table.dtype != problem.X.dtype:
            table = problem.new_table()
        return part.keep_table(self.slot, self.stamp, table)


@dataclass(frozen=True)
class Leverages:
    """Those of the rows of a part, which keeps them, of the squares (p,) of all columns."""

    squares: np.ndarray

    def of_part(self, part, problem):
        """Return the leverages (n,)."""
        dtype = problem.X.dtype
        if dtype not in part.leverages:
            part.leverages = {dtype: leverages(problem, self.squares)}
        return part.leverages[dtype]


@dataclass(frozen=True)
class DrawnOfParts:
    """A `Drawn` of about `rows[number]` rows of each part."""

    rows: list
    seed: int
    number: int
    leverages: Leverages

    def of_part(self, part, problem):
        """Return the `Drawn` of a part."""
        rng = np.random.RandomState([self.seed, part.number])
        known = self.leverages.of_part(part, problem)
        return draw_rows(problem, self.rows[part.number], rng, known)


@dataclass(frozen=True)
class Some:
    """Rows with a weight, `counts[number]` of each part, or all rows."""

    counts: list | None
    seed: int = 0

    def of_part(self, part, problem):
        """Return the numbers of these rows."""
        if self.counts is None:
            return slice(None)
        rng = np.random.RandomState([self.seed, part.number])
        return draw(problem.rows, self.counts[part.number], rng)
