"""Seconds of the first iterate within a gap: skce's solvers beside the peers that show theirs.

    python benchmarks/trace_peers.py --data FOLDER [--sets letter] [--solver auto sdca] [--write F]
    python benchmarks/trace_peers.py --data FOLDER --peers --gaps 1e-2 1e-3 --rounds 3

For those who change a solver: this clock, "T", has no set-up of a process and leaves out how a
solver knows that it has arrived, and with it the noise of both (for a user's: `run_peers`). It
runs from the start of the fit, set-up included, less the time spent looking; iterates after the
40th are looked at in steps of 5 %. Each gap is the tol of a fit of skce's of its own, and "C" is
the time of the same fit, not looked at, from start to end. A trace ends after --budget seconds.
Each round runs every solver once; medians of the rounds. Plots show one round. "C / T" of all sets
follows, which is written to clocks.csv.
"""

import sys
import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from judge import timed
from peers import PEERS, SKCE_SOLVERS, set_threads, skce_peer
from report import markdown_table
from run_peers import SETS, options, run_sets
from runs import Run, clocks, trace_table, write
from threadpoolctl import threadpool_limits

__all__ = ["Trace", "main"]

GAPS = (1e-1, 1e-2, 1e-3, 1e-6)
ENDLESS = 10**5  # max_iter, which the trace ends
TRACED = tuple(name for name, peer in PEERS.items() if peer.traced)
QUICK = {"rounds": 1, "budget": 0.5, "gaps": (1e-1, 1e-3)}


class Finished(Exception):
    """Raised into a fit whose trace is complete."""


@dataclass
class Trace:
    """Gaps of a fit's iterates and when each was there; own time is not counted."""

    judge: object
    goal: float
    budget: float
    points: list = field(default_factory=list)  # (seconds, gap, iteration)

    def __post_init__(self):
        self.count, self.own = 0, 0.0
        self.start = time.perf_counter()

    def __call__(self, coef, intercept):
        """Note an iterate; raise Finished at the goal or over the budget."""
        now = time.perf_counter()
        self.count += 1
        elapsed = now - self.start - self.own
        if self.count <= 40 or self.count % (self.count // 20) == 0 or elapsed > self.budget:
            self.points.append((elapsed, self.judge.gap(coef, intercept), self.count))
            if self.points[-1][1] <= self.goal or elapsed > self.budget:
                raise Finished
        self.own += time.perf_counter() - now


def main(argv=None):
    """Print the tables."""
    parser = options(__doc__)
    parser.add_argument("--solver", nargs="*", default=("auto",), choices=SKCE_SOLVERS)
    parser.add_argument("--peers", nargs="*", default=TRACED, choices=TRACED)
    parser.add_argument("--gaps", nargs="+", type=float, default=GAPS)
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)  # what is given by name still counts
    args = parser.parse_args(argv)
    header, rows = clocks(run_sets(args, SETS, _compare, trace_table))
    print(f"\n{markdown_table(header, rows)}")
    if args.write:
        write(args.write / "clocks.csv", header, rows)


def _compare(judge, args, dtype, threads):
    """Runs of all solvers on one problem."""
    peers = {f"skce {solver}": skce_peer(solver) for solver in args.solver}
    peers |= {name: PEERS[name] for name in args.peers}
    peers = {n: peer for n, peer in peers.items() if peer.traced and peer.serves(judge.problem)}
    runs = {n: Run(dtype, threads, n, budget=args.budget) for n in peers}
    with threadpool_limits(limits=threads):
        set_threads(threads)
        for peer in peers.values():  # nothing of a first call is timed
            timed(lambda peer=peer: peer.fit(judge.problem, judge.alpha, max_iter=1))
        for seed in range(args.rounds):
            for name, peer in peers.items():
                if not name.startswith("skce "):
                    _trace(peer, judge, args.gaps, runs[name], seed=seed, max_iter=ENDLESS)
                    continue
                for tol in sorted(args.gaps, reverse=True):  # plots show the last one
                    _trace(peer, judge, [tol], runs[name], seed=seed, tol=tol)
                    plain = partial(peer.fit, judge.problem, judge.alpha, seed=seed, tol=tol)
                    seconds, *fitted = timed(plain)
                    fits = runs[name].ended.setdefault(tol, [])
                    fits.append((seconds, judge.gap(*fitted), np.nan))
    return list(runs.values())


def _trace(peer, judge, gaps, run, **params):
    """Time a fit by its iterates."""
    trace = Trace(judge, min(gaps), run.budget)
    params["observe"] = trace
    try:
        _, *result = timed(lambda: peer.fit(judge.problem, judge.alpha, **params))
        trace(*result)
    except Finished:
        pass
    run.curve = trace.points
    for gap in gaps:
        fits = run.tuned.setdefault(gap, [])
        first = next((point for point in trace.points if point[1] <= gap), None)
        if first:
            fits.append((first[0], first[2], 0))


if __name__ == "__main__":
    sys.exit(main())
