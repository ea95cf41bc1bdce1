"""What each heuristic and constant of the solvers earns: passes and seconds of fits without it.

    python benchmarks/ablate.py --data FOLDER --rows 6000 [--sets letter 20news] [--write FILE.csv]
    python benchmarks/ablate.py --data FOLDER --solver lbfgs --only "no refresh" REFRESH NEAR

A variant (`variants`) switches one heuristic off, or takes half or double of one number of a name
in capitals that a module of the solvers sets to a number, or to a tuple or dict of them; numbers
without a name are not tried. A cell is passes / seconds over those of unmodified fits in between,
medians of the seeds. Seconds are those of the CPU for one thread, as others may use the machine
too; the shortest of some repetitions counts where fits are short.

"-": not tried, as the unmodified fit calls no function that reads the name. "=": for every seed the
same passes and bits of the coefficients; with seconds where these differ all the same. "!" and a
gap: it did not converge or the gap is above tol; that is (F - F*) / F*, F in float64, F* the lowest
value known. "worse" and "better" count sets on which passes or seconds change by 5 % or "!" comes
or goes; seconds for every seed, and by more than the set's noise, which 90 % of the changes from
one unmodified fit to the next stay within. Where bits are kept seconds have to differ twice.
"""

import argparse
import csv
import functools
import json
import os
import sys
import threading
import time
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np
from judge import Judge
from optima import OPTIMA, key_of, optimum
from peers import SKCE_SOLVERS
from problems import add_data_option, data_folder, load
from report import markdown_table
from run_peers import WITHOUT_DATA
from threadpoolctl import threadpool_limits
from variants import UNMODIFIED, constants, switches

import skce

__all__ = ["Run", "main"]

SETS = (
    *("iris", "wine", "breast_cancer", "digits", "segment", "yeast", "satimage", "letter"),
    *("letter_scaled", "magic", "ldl_emotion6", "a9a", "ldl_movie", "hate_votes", "tmc2007"),
    *("kddcup99", "corel5k", "goemotions", "bibtex", "20news", "clinc150", "covtype"),
    *("covtype_scaled", "mnist", "clinc150_minilm"),
)
CHANGE = 1.05  # of passes or seconds, that counts
SHORT = 0.1  # seconds of all repetitions of a short fit
MOST_REPEATS = 15
FIELDS = ("passes", "seconds", "gap", "converged", "bits", "error")  # of the CSV
REFERENCE = {"tol": 1e-8, "max_iter": 1000, "solver": "auto"}  # of the fit that tells F*
QUICK_NAMES = ("start at zero", "no refresh", "NEAR", "REFRESH")
QUICK = {"rows": 200, "seeds": (0,), "only": QUICK_NAMES}


@dataclass
class Run:
    """One fit; ``base`` is the unmodified one of the same time."""

    passes: float = 0
    seconds: float = np.inf
    objective: float = np.inf
    converged: bool = False
    bits: int = 0
    error: str = ""
    gap: float = np.inf
    base: "Run | None" = field(default=None, repr=False)


@dataclass
class Cell:
    """A variant on one set: the text of the table, and whether it is worse or better."""

    text: str
    worse: bool = False
    better: bool = False


def main(argv=None):
    """Print the tables."""
    args = _parse(argv)
    variants = [*switches(), *constants()]
    for name in args.only or ():
        if not any(variant.is_named([name]) for variant in variants):
            raise SystemExit(f"--only must name switches or constants, got {name!r}")
    variants = [v for v in variants if not args.only or v.is_named(args.only)]
    print(
        f"skce {skce.__version__}, solver {args.solver}, {args.dtype}, alpha = {args.alpha:g}/n, "
        f"tol = {args.tol:g}, at most {args.rows or 'all'} rows, seeds {list(args.seeds)}, one "
        f"thread of {os.cpu_count()} CPUs; {len(variants)} variants\n",
        flush=True,
    )
    if args.write:
        there = ",".join(f"unmodified {key}" for key in FIELDS)
        args.write.write_text(f"set,seed,variant,kind,value,{','.join(FIELDS)},{there}\n")
    with threadpool_limits(limits=1):
        names = args.sets or (SETS if data_folder(args.data) else WITHOUT_DATA)
        cells = {name: _run_set(name, variants, args) for name in names}
    print(f"\n{_summary(cells, variants)}")


def _parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", help="names of problems.load")
    parser.add_argument("--rows", type=int, default=0, help="most training rows; 0: all")
    parser.add_argument("--alpha", type=float, default=1.0, help="times 1/n")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--solver", default="auto", choices=SKCE_SOLVERS)
    parser.add_argument("--tol", type=float, default=1e-3)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of switches and constants")
    parser.add_argument(
        "--budget", type=float, default=np.inf, help="seconds of a set, unless for its first seed"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="CSV of all fits")
    parser.add_argument("--quick", action="store_true", help="few rows, one seed, few variants")
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)  # what is given by name still counts
    return parser.parse_args(argv)


def _run_set(name, variants, args):
    """Run the variants that a set reaches, and print a line; return {variant: Cell}."""
    start = time.perf_counter()
    problem = _reduced(load(name, data=args.data, dtype=np.dtype(args.dtype)), args.rows)
    judge = Judge(problem, args.alpha / problem.X_train.shape[0], 1.0)
    seeds = []
    for seed in args.seeds:
        seeds.append(_run_seed(judge, variants, args, seed))
        spent = time.perf_counter() - start
        if spent * (1 + 1 / len(seeds)) > args.budget:
            break
    noise = _noise(seeds)
    _measure_again(judge, seeds, _cells(variants, seeds, args.tol, noise), args)
    best, source = _set_gaps(judge, [run for found in seeds for run in found.values()], args)
    cells = _cells(variants, seeds, args.tol, noise)
    print(
        f"{name} ({problem.shape_text}): {cells[UNMODIFIED].text}, noise {noise:.0%}, "
        f"F* = {best:.10g} from {source}; {len(seeds)} seeds, "
        f"{len(seeds[0]) - 1} variants, {spent:.0f} s",
        flush=True,
    )
    if args.write:
        _append(args.write, name, seeds, args.seeds)
    return cells


def _reduced(problem, n):
    """At most n training rows, and of these the classes or labels that a fit can tell apart."""
    if not n or n >= problem.X_train.shape[0]:
        return problem
    part = problem.subset(n)
    if part.task == "multilabel":
        mean = np.asarray(part.y_train.mean(axis=0)).ravel()
        return replace(part, y_train=part.y_train[:, np.flatnonzero((mean > 0) & (mean < 1))])
    if part.task == "soft":
        return part
    return replace(part, y_train=np.unique(part.y_train, return_inverse=True)[1])


def _run_seed(judge, variants, args, seed):
    """Return {variant: run}; two variants in turn share an unmodified fit."""
    fit = functools.partial(_fit, judge, args, seed)
    reached = _reached(fit)
    first = fit(UNMODIFIED)
    found = {UNMODIFIED: replace(first, base=first)}
    repeats = int(np.clip(SHORT / max(first.seconds, 1e-9), 1, MOST_REPEATS))
    tried = [variant for variant in variants if variant.is_reached(reached)]
    for pair in (tried[i : i + 2] for i in range(0, len(tried), 2)):
        order = [pair[0], UNMODIFIED, *pair[1:]]
        rounds = [list(map(fit, order)) for _ in range(repeats)]
        least = [min(runs, key=lambda run: run.seconds) for runs in zip(*rounds, strict=True)]
        base = least.pop(1)
        if base.bits != first.bits:
            raise AssertionError(f"{judge.problem.name}: the unmodified fit came out otherwise")
        found |= {v: replace(run, base=base) for v, run in zip(pair, least, strict=True)}
    return found


def _noise(seeds):
    """Return what 90 % of the changes from one unmodified fit to the next stay within."""
    bases = [[run.base.seconds for run in found.values()][2::2] for found in seeds]
    steps = zip(*(np.divide(some[1:], some[:-1]) for some in bases), strict=False)
    return float(np.quantile([abs(median(step) - 1) for step in steps] or [0.0], 0.9))


def _measure_again(judge, seeds, cells, args):
    """Run again what changes the seconds alone; of both times the nearer to the unmodified counts.

    Most of it is chance where many variants are tried.
    """
    doubtful = [variant for variant, cell in cells.items() if cell.text.startswith("= /")]
    for seed, found in zip(args.seeds, seeds, strict=False):
        again = _run_seed(judge, doubtful, args, seed) if doubtful else {}
        for v in again.keys() & found.keys():
            found[v] = min(found[v], again[v], key=lambda run: abs(np.log(_slower(run))))


def _reached(fit):
    """Return the functions of skce that a fit calls, and "read NAME" for the names in them."""
    found = set()

    def note(frame, event, arg):
        module, code = frame.f_globals.get("__name__", ""), frame.f_code
        if event == "call" and module.startswith("skce."):
            found.add((module, code.co_qualname))
            found.update((module, f"read {name}") for name in code.co_names)

    threading.setprofile(note)  # the threads of SplitSDCA
    sys.setprofile(note)
    try:
        fit(UNMODIFIED)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return found


def _fit(judge, args, seed, variant, **params):
    """Fit once."""
    problem = judge.problem
    cls = skce.MultiLabelLogistic if problem.task == "multilabel" else skce.MultinomialLogistic
    params = {"alpha": judge.alpha, "tol": args.tol, "solver": args.solver} | params
    model = cls(random_state=seed, **params)
    with variant.applied(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        try:
            model.fit(problem.X_train, problem.y_train)
        except Exception as error:
            if variant is UNMODIFIED:
                raise
            return Run(error=type(error).__name__)
        seconds = time.process_time() - start
    objective = 1 + judge.gap(model.coef_, model.intercept_)
    bits = hash((model.n_iter_, model.coef_.tobytes(), model.intercept_.tobytes()))
    return Run(model.n_iter_, seconds, objective, model.converged_, bits)


def _set_gaps(judge, runs, args):
    """Set the gaps of all runs; return the lowest objective known, and where it is from."""
    problem = judge.problem
    known = json.loads(OPTIMA.read_bytes()).get(key_of(problem.name, args.alpha), {"n": 0})
    if known["n"] == problem.X_train.shape[0]:
        best, source = optimum(problem, args.alpha)["objective"], OPTIMA.name
    else:
        double = replace(problem, X_train=problem.X_train.astype(np.float64))
        run = _fit(Judge(double, judge.alpha, 1.0), args, 0, UNMODIFIED, **REFERENCE)
        best, source = run.objective, f"{'' if run.converged else 'unconverged '}fit in double"
    least = min(run.objective for run in runs)
    source = "a variant" if least < best * (1 - 1e-9) else source
    best = min(least, best)
    for run in [*runs, *(run.base for run in runs)]:
        run.gap = run.objective / best - 1
    return best, source


def _slower(run):
    """Seconds over those of the unmodified fit."""
    return run.seconds / max(run.base.seconds, 1e-9)


def _cells(variants, seeds, tol, noise):
    """{variant: Cell} of one set."""
    runs = {v: [found[v] for found in seeds if v in found] for v in (UNMODIFIED, *variants)}
    plain = Cell(_plain_text(runs.pop(UNMODIFIED), tol))
    return {UNMODIFIED: plain} | {v: _cell(some, tol, noise) for v, some in runs.items()}


def _cell(runs, tol, noise):
    """Judge a variant's runs on one set, one for each seed."""
    if not runs or any(run.error for run in runs):
        return Cell(f"error: {max(run.error for run in runs)}", worse=True) if runs else Cell("-")
    passes = median(run.passes / max(run.base.passes, 1) for run in runs)
    each = list(map(_slower, runs))
    seconds, limit = median(each), 1 + noise
    good = sum((not _mark([run], tol)) - (not _mark([run.base], tol)) for run in runs)
    worse = passes >= CHANGE or good < 0 or (min(each) >= CHANGE and seconds >= limit)
    better = passes <= 1 / CHANGE or good > 0 or (max(each) <= 1 / CHANGE and seconds <= 1 / limit)
    if all(run.bits == run.base.bits for run in runs):
        return Cell(f"= / {seconds:.2f}" if worse or better else "=", worse, better)
    return Cell(f"{passes:.2f} / {seconds:.2f}{_mark(runs, tol)}", worse, better)


def _plain_text(runs, tol):
    """Passes and seconds of unmodified fits."""
    passes, seconds = (median(getattr(run, name) for run in runs) for name in ("passes", "seconds"))
    return f"{passes:g} / {seconds:.3g} s{_mark(runs, tol)}"


def _mark(runs, tol):
    """Return the largest gap of the runs that do not keep what tol promises, and "!"."""
    bad = [run.gap for run in runs if not (run.converged and run.gap <= tol)]
    return f" {max(bad):.1g}!" if bad else ""


def _summary(cells, variants):
    """Table of variants and sets, table of constants, and what changed nothing."""
    rows, kinds, same, missed = [], {}, [], []
    for v in variants:
        row = [some[v] for some in cells.values()]
        texts = [cell.text for cell in row]
        if set(texts) <= {"-", "="}:
            (same if "=" in texts else missed).append(v)
            continue
        counts = np.array([(cell.worse, cell.better) for cell in row])
        rows.append((v.label, v.text, *texts, *counts.sum(axis=0)))
        if v.kind != "off":
            kinds.setdefault(v.label, {})[v.kind] = counts
    plain = ("unmodified", "", *(some[UNMODIFIED].text for some in cells.values()), "", "")
    header = ("constant", "half: worse, better on", "double: worse, better on", "verdict")
    return "\n\n".join(
        (
            markdown_table(("variant", "value", *cells, "worse", "better"), [plain, *rows]),
            markdown_table(header, [_verdict(label, counts) for label, counts in kinds.items()]),
            f"Reached, but no bit changed: {_labels(same)}.",
            f"Not reached: {_labels(missed)}.",
        )
    )


def _verdict(label, kinds):
    """Row of a constant: on how many sets half or double of it is worse, and better."""
    worse = int(np.any([counts[:, 0] for counts in kinds.values()], axis=0).sum())
    verdict = "earns" if worse >= 2 else "earns on one set" if worse else "earns nothing"
    cells = []
    for kind in ("half", "double"):
        counts = kinds[kind].sum(axis=0) if kind in kinds else (0, 0)
        cells.append(f"{counts[0]}, {counts[1]}")
        verdict += f", {kind} is better" if counts[1] > counts[0] else ""
    return label, *cells, verdict


def _labels(variants):
    """Labels in one line; of half or double alone this is said."""
    kinds = {}
    for v in variants:
        kinds.setdefault(v.label, []).append(v.kind)
    both = {"off", "half double"}
    texts = {label: " ".join(of) for label, of in kinds.items()}
    return ", ".join(k if t in both else f"{k} ({t})" for k, t in texts.items()) or "none"


def _append(file, name, seeds, numbers):
    """Append all fits of a set, each with the unmodified one beside it."""
    with open(file, "a", encoding="utf-8", newline="") as out:
        for seed, found in zip(numbers, seeds, strict=False):
            for v, run in found.items():
                values = [getattr(of, key) for of in (run, run.base) for key in FIELDS]
                row = (name, seed, v.label, v.kind, v.text, *values)
                csv.writer(out, lineterminator="\n").writerow(row)


if __name__ == "__main__":
    main()
