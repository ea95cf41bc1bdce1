"""Rounds, bytes and CPU of fits on a Dask cluster beside one process; what 100 workers would do.

    python benchmarks/dask_rounds.py --data FOLDER [--write docs/dask]

Two workers of one thread on loopback, the scheduler in a process of its own. Rounds are all trips
to the workers of a fit, at the default tol; CPU seconds are those of the fit, without the start of
the cluster, and a fit before has imported what the workers need. "KB" are those of one partition in
a pass, sent to it and back; "MB once" is what the driver gets in all other rounds. CPU is that of
driver, scheduler, its nannies and workers, once in all and once less what these take while nothing
runs ("less idle"), which is told below: it grows with the time by the clock, so with the load of
the machine. "work" is the CPU of one process over the number of partitions. --times repeats the
rows of each set, to tell of large partitions, and writes large.csv alone; workers make their rows.
The second table is a model: a round takes the work of a pass over the workers and, at most, the CPU
of driver and scheduler, a line in the number of partitions that the first table gives.
"""

import argparse
import itertools
import multiprocessing
import time
import warnings
from pathlib import Path

import numpy as np
from problems import load
from report import markdown_table, write_table

from skce import MultinomialLogistic

__all__ = ["main"]

HEADER = (
    *("data", "partitions", "passes of one process", "passes", "other rounds", "rounds / passes"),
    *("objective off", "driver ms a pass", "scheduler ms a round", "KB sent", "KB back"),
    *("MB once", "work s", "CPU / one process", "less idle"),
)
MODEL = ("one pass takes", "partitions", "ms of driver and scheduler", "speed-up", "best number")
WORK = (0.1, 1.0, 10.0, 100.0)  # seconds of one thread in a pass
WORKERS = 100
IDLE = 5.0  # seconds in which nothing runs


def main(argv=None):
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder of NAME.npz")
    parser.add_argument("--sets", nargs="+", default=["mnist", "letter_scaled"])
    parser.add_argument("--partitions", nargs="+", type=int, default=[2, 4, 8, 16])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", type=Path, help="folder of the tables as CSV")
    args = parser.parse_args(argv)
    if args.quick:
        args.partitions, args.seeds = [1, 2], 1
    rows, costs = [], []
    with _Cluster() as client, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in args.sets:
            given = name, args.data, args.times
            X, y = _rows(*given, 0, None)
            k = len(np.unique(y))
            for number in args.partitions:
                cells, cost = _row(client, X, y, given, number, args.seeds)
                size = f"{len(y):,} rows, {X.shape[1] * k:,} weights"
                rows.append((f"{name} ({size})", number, *cells))
                costs.append((number, cost))
                print(*rows[-1], flush=True)
    print(markdown_table(HEADER, rows))
    if args.times > 1:
        if args.write:
            write_table(args.write / "large.csv", HEADER, rows)
        return
    workers = _model(*np.transpose(costs))
    print(markdown_table(MODEL, workers))
    if args.write:
        write_table(args.write / "rounds.csv", HEADER, rows)
        write_table(args.write / "workers.csv", MODEL, workers)


def _rows(name, data, times, first, last):
    """Return the rows first..last of a set that is repeated so many times."""
    problem = load(name, data=data, dtype=np.float32)
    rows = np.arange(times * len(problem.y_train))[first:last] % len(problem.y_train)
    return problem.X_train[rows], problem.y_train[rows]


def _row(client, X, y, given, number, seeds):
    """The cells of a number of partitions, means over the seeds, and the cost of a round in ms."""
    import dask.array as da
    from dask import delayed
    from distributed import wait

    from skce import dask as skce_dask

    edges = np.linspace(0, len(y), number + 1).astype(int).tolist()
    made = [delayed(_rows, nout=2)(*given, *ends) for ends in itertools.pairwise(edges)]
    parts = [
        da.concatenate(
            [
                da.from_delayed(rows[i], (last - first, *like.shape[1:]), like.dtype)
                for rows, (first, last) in zip(made, itertools.pairwise(edges), strict=True)
            ]
        )
        for i, like in enumerate((X, y))
    ]
    parts = client.persist(parts)
    wait(parts)
    skce_dask.MultinomialLogistic(random_state=0, max_iter=1).fit(*parts, client=client)
    before = _clocks(client)
    time.sleep(IDLE)
    idle = np.sum(np.subtract(_clocks(client), before)) / IDLE
    found = []
    for seed in range(seeds):
        began = time.process_time()
        one = MultinomialLogistic(solver="lbfgs", random_state=seed).fit(X, y)
        alone = time.process_time() - began
        with _Counted() as counted:
            before, clock = _clocks(client), time.perf_counter()
            model = skce_dask.MultinomialLogistic(random_state=seed).fit(*parts, client=client)
            times = np.subtract(_clocks(client), before)
            still = idle * (time.perf_counter() - clock)
        off = abs(model.objective_ / one.objective_ - 1)
        spent = alone, times[1], sum(times), sum(times) - still
        found.append((one.n_iter_, *counted.passes(), off, *spent))
    alone_passes, passes, others, sent, back, driver, once, off, *spent = np.mean(found, axis=0)
    alone, scheduler, total, working = spent
    rounds = passes + others
    cells = (
        *(f"{alone_passes:.0f}", f"{passes:.0f}", f"{others:.0f}", f"{rounds / alone_passes:.2f}"),
        *(f"{off:.0e}", f"{driver:.1f}", f"{1e3 * scheduler / rounds:.1f}"),
        *(f"{sent / 1e3:.0f}", f"{back / 1e3:.0f}", f"{once / 1e6:.1f}"),
        *(f"{alone / number:.2f}", f"{total / alone:.1f}", f"{working / alone:.1f}"),
    )
    return cells, driver + 1e3 * scheduler / rounds


def _model(partitions, cost):
    """Rows of the table of 100 workers: a round costs a + b * partitions."""
    b, a = np.maximum(np.polyfit(partitions, cost, 1), 1e-3)
    fixed, rows = a + b * WORKERS, []
    for work in WORK:
        alone = 1e3 * work
        best = max(1, round(np.sqrt(alone / b)))
        cells = f"{alone / (alone / WORKERS + fixed):.1f}", f"{best:,}"
        rows.append((f"{work:g} s", WORKERS, f"{fixed:.0f}", *cells))
    return rows


class _Counted:
    """What each round of a fit is, sends to a partition and brings back, and its driver's ms."""

    def __init__(self):
        self.rounds, self.last = [], time.process_time()

    def __enter__(self):
        from skce.dask import _rounds

        self.module, self.run, self.packed = _rounds, _rounds.Source.each, _rounds.packed
        sizes = []

        def packed(value):
            sent = self.packed(value)
            sizes.append(len(sent))
            return sent

        def each(source, view, function, args):
            gather = source.rounds.gather

            def counted(futures, of_each=None):
                found = gather(futures, of_each)
                sizes.append(sum(getattr(each, "nbytes", None) or len(each) for each in found))
                return found

            source.rounds.gather = counted
            found = list(self.run(source, view, function, args))
            self.parts = len(source)
            source.rounds.gather = gather
            now = time.process_time()
            self.rounds.append((function.__name__, *sizes[-2:], 1e3 * (now - self.last)))
            self.last = now
            return found

        _rounds.Source.each, _rounds.packed = each, packed
        return self

    def __exit__(self, *error):
        self.module.Source.each, self.module.packed = self.run, self.packed

    def passes(self):
        """Numbers of passes and of other rounds; of a pass bytes there and back, driver's ms."""
        passes = [row[1:] for row in self.rounds if row[0] == "run_pass"]
        others = [row for row in self.rounds if row[0] != "run_pass"]
        once = sum(row[2] for row in others)
        sent, back, driver = np.median(passes, axis=0)
        return len(passes), len(others), sent, back / self.parts, driver, once


class _Cluster:
    """A client of a cluster in a process of its own."""

    def __enter__(self):
        from distributed import Client

        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,))
        self.process.start()
        self.client = Client(self.pipe.recv())
        return self.client

    def __exit__(self, *error):
        self.client.close()
        self.pipe.send("end")
        self.process.join()


def _serve(pipe):
    from distributed import LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "memory_limit": 0}
    with LocalCluster(**options, dashboard_address=":0") as cluster:
        pipe.send(cluster.scheduler_address)
        pipe.recv()


def _clocks(client):
    """CPU seconds of driver, scheduler and workers."""
    workers = sum(client.run(time.process_time).values())
    return time.process_time(), client.run_on_scheduler(time.process_time), workers


if __name__ == "__main__":
    main()
