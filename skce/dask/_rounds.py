"""Functions of partitions on the workers of a Dask cluster: all of them at once are a round.

1. What the workers keep are plain futures, and no worker is chosen: what is lost with a worker the
   scheduler makes again from the graph of the collection, and a new worker is given its share.
2. The arguments of a round are pickled once and lie within its tasks: a round is one message to the
   scheduler, and one back. On two workers, four partitions and 63 kB that took 31 ms; with a task
   for each `submit`, which pickles each, 79 ms.
3. What comes back is pickled by the worker, so that its arrays begin where NumPy's begin: those
   that Dask unpacks lie anywhere, and sums of the same numbers then differ in their last bits.
4. Second moments, K matrices (p, p) of each partition, are added on the workers, by halves in the
   order of the partitions: 49 MB of mnist come back once, and not from each. They stay arrays:
   to add numbers two by two gives the same bits wherever they lie.
5. The driver never waits without a look at whether the cluster is still there.
"""

import operator
import pickle
import time
from contextlib import contextmanager
from uuid import uuid4

import dask
import numpy as np
from distributed import CancelledError, Client
from distributed.client import default_client

from skce._estimators.parts import named
from skce._estimators.parts_fitting import itself
from skce._solvers.sums import second_moments

__all__ = ["Here", "Rounds", "Source", "packed", "rounds_of"]

LARGE = 1 << 20  # bytes of arguments from which they are a task of their own, sent once
LOOK = 5.0  # seconds after which a round that has not ended looks at the cluster
WITHOUT_WORKERS = 60.0  # seconds without a worker, or an answer of the scheduler, that end a fit


class Rounds:
    """Rounds on the workers of a client; `numbers` are those of the partitions in the errors."""

    def __init__(self, client, numbers):
        self.client, self.numbers = client, numbers

    def of(self, numbers):
        """Return the rounds of partitions of these numbers."""
        return Rounds(self.client, numbers)

    def compute(self, partitions):
        """Return futures of delayed partitions."""
        with self._told():
            return self.client.compute(partitions)

    def map(self, function, *arguments):
        """Return futures of a function of each partition, of lists of arguments."""
        # A group of tasks for each round: of a group that grows the scheduler believes that its
        # tasks need no rows, and sends these about.
        group = f"skce-{function.__name__}-{uuid4().hex}"
        keys = [(group, number) for number in range(len(arguments[0]))]
        with self._told():
            return self.client.map(function, *arguments, pure=False, key=keys)

    def same(self, argument):
        """Return an argument of all partitions, pickled: a future where it is large."""
        sent = packed(argument)
        if len(sent) < LARGE:
            return sent
        with (
            self._told(),
            dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TiB"}),
        ):
            return self.client.submit(itself, sent, pure=False)

    def total(self, futures):
        """Return a future of the sum of arrays in a list."""
        return _by_halves(futures, lambda one, other: self.map(operator.add, one, other))

    def gather(self, futures, of_each=None):
        """Return what futures have found; raise what one has raised, with its number.

        `of_each` are the futures of the partitions, where these are others.
        """
        silent_since = None
        while True:
            try:
                with self._told(of_each or futures):
                    return self.client.sync(self.client.gather, futures, callback_timeout=LOOK)
            except TimeoutError:
                workers = self._workers()
            now = time.monotonic()
            silent_since = None if workers else silent_since or now
            if silent_since is not None and now - silent_since >= WITHOUT_WORKERS:
                lost = "the scheduler has not answered" if workers is None else "there is no worker"
                raise RuntimeError(
                    f"{lost} for {WITHOUT_WORKERS:g} s, and the fit has ended."
                ) from None

    def _workers(self):
        """Return the number of workers, None where the scheduler does not answer."""
        try:
            with self._told():
                return len(self.client.sync(self.client.scheduler.ncores, callback_timeout=LOOK))
        except (OSError, TimeoutError):
            return None

    @contextmanager
    def _told(self, futures=()):
        """Let an error tell which partition has failed, or that the client has closed."""
        try:
            yield
        except (Exception, CancelledError) as error:
            for number, future in zip(self.numbers, futures, strict=False):
                if future.status == "error":
                    raised, trace = future.exception(timeout=LOOK), future.traceback(timeout=LOOK)
                    try:
                        with named(number):
                            raise raised from None
                    finally:  # the client keeps them; with our frames they would keep the rows
                        error.__traceback__, raised.__traceback__ = None, trace
            if self.client.status in ("closing", "closed", "newly-created"):
                raise RuntimeError("the client has closed, and the fit has ended.") from error
            if isinstance(error, CancelledError):
                raise RuntimeError(
                    "partitions of the fit are cancelled or lost: they must be made by tasks that "
                    "can run again, not scattered."
                ) from error
            raise


class Here:
    """The same in this process, one partition after another."""

    def __init__(self, numbers):
        self.numbers = numbers

    def of(self, numbers):
        """Return the rounds of partitions of these numbers."""
        return Here(numbers)

    def compute(self, partitions):
        """Return the partitions."""
        return dask.compute(*partitions)

    def map(self, function, *arguments):
        """Return what a function finds of each partition."""
        found = []
        for number, given in zip(self.numbers, zip(*arguments, strict=True), strict=True):
            with named(number):
                found.append(function(*given))
        return found

    def same(self, argument):
        """Return an argument of all partitions, pickled."""
        return packed(argument)

    def total(self, found):
        """Return the sum of arrays in a list."""
        return _by_halves(found, lambda one, other: [*map(operator.add, one, other)])

    def gather(self, found, of_each=None):
        """Return what was found."""
        return found


class Source:
    """The source of a `PartsProblem`: each is one round."""

    def __init__(self, rounds, parts):
        self.rounds, self.parts = rounds, parts

    def __len__(self):
        return len(self.parts)

    def each(self, view, function, args):
        """Return what each part finds, in their order; of second moments the sum alone."""
        sent, rounds = [self.rounds.same((view, function, args))] * len(self), self.rounds
        if function is second_moments:
            of_each = rounds.map(run, self.parts, sent)
            return map(np.array, rounds.gather(rounds.total(of_each), of_each))
        return map(pickle.loads, rounds.gather(rounds.map(run_packed, self.parts, sent)))


def rounds_of(client, number):
    """Return the rounds of so many partitions on a client, the current one, or here for none."""
    numbers = range(number)
    if client is None:
        try:
            client = default_client()
        except ValueError:
            return Here(numbers)
    if not isinstance(client, Client):
        raise ValueError(
            f"client must be a distributed.Client or None, got {type(client).__name__}: of an "
            "address, Client(address)."
        )
    if client.asynchronous:
        raise ValueError("client must not be asynchronous: fit waits for what it finds.")
    return Rounds(client, numbers)


def run(part, sent):
    """Run what was sent on a part."""
    with np.errstate(all="ignore"):  # what overflows is never the best
        return part.run(*pickle.loads(sent))


def run_packed(part, sent):
    """Run what was sent on a part; return bytes."""
    return packed(run(part, sent))


def _by_halves(values, total):
    while len(values) > 1:
        even = len(values) // 2 * 2
        values = [*total(values[0:even:2], values[1:even:2]), *values[even:]]
    return values


def packed(value):
    """Return a value as bytes."""
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
