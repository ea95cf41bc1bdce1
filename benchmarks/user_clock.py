"""Plain default fits, start to end: an old and a new version of skce beside scikit-learn.

    python benchmarks/user_clock.py --old OLD/bin/python [--new NEW/bin/python] [--data FOLDER]
    python benchmarks/user_clock.py --old OLD/bin/python --sets letter a9a --check --write raw.csv

OLD and NEW are environments with a version of skce each (NEW: by default that of this command);
scikit-learn is NEW's. Without --old there are the new version and scikit-learn alone. Without a
data folder: scikit-learn's small sets. ``--sets all`` is every set of the folder too.

The clock runs from before the construction of the estimator until fit returns. skce has
alpha = 1/n and defaults otherwise, scikit-learn is LogisticRegression() (labels: one-vs-rest of
it; soft targets: a weighted row for each class): C = 1 is the same objective,

    F(W, b) = mean loss of the training rows + |W|^2 / (2 n).

Each candidate has a process of its own for each set and dtype (`clock_worker`). A round runs every
candidate once, one at a time, in an order that changes; its fits draw from the same seed. Then
come rounds of the two versions alone, until the standard error of new/old, shown beside it, is
1 % or --budget seconds are over. Two processes of one version differ too, by up to 4 %: a set
beyond --allow is measured three times more, by new processes, and the median of these counts.
Seconds are medians of the rounds, ratios are medians of the ratios of the rounds. Objectives are
evaluated in float64 and shown as (F - F') / F', F' the lowest of the row. "*": a fit gave a
ConvergenceWarning. "> 60": it was ended after that many seconds.

--clock cpu takes the ratios from the seconds of the CPU, for a machine that has other work.

--check: exit status 1 where the new version is slower than the old one by more than --allow
percent, or fails where the old one does not, where a set could not be loaded, and without ratios.
"""

import argparse
import csv
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import joblib
import numpy as np
from judge import mean_loss
from peers import expand
from problems import BUILT_IN, SCALED, add_data_option, data_folder, load
from report import markdown_table
from scipy import sparse

__all__ = ["Row", "Worker", "conditions", "main", "measured", "summary"]

WORKER = Path(__file__).with_name("clock_worker.py")
SMALL = tuple(name + form for name in BUILT_IN for form in ("", SCALED))
REAL = (
    *("segment", "segment_scaled", "satimage", "satimage_scaled", "magic", "magic_scaled"),
    *("letter", "letter_scaled", "yeast", "yeast_scaled", "ldl_emotion6", "ldl_emotion6_scaled"),
    *("a9a", "covtype"),
)
QUICK = {"rounds": 1, "budget": 0, "rows": 60, "sets": ("iris", "wine_scaled")}
PRECISE = 0.01  # standard error of new/old that is enough
AGAIN = 3  # measurements of a set that seems slower
STARTING = 300  # seconds that a worker may take to load its rows
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CLOCKS = {"wall": "seconds", "cpu": "cpu_seconds"}
MEASURED = (*CLOCKS.values(), "calls", "n_iter", "warned", "objective", "held_out")
NAMES = ("old", "new", "sklearn")
HEADER = (
    *("data (n x p, K)", "dtype", *(f"{name} s" for name in NAMES), "new/old", "sklearn/new"),
    *(*(f"F {name}" for name in NAMES), "held-out new/sklearn"),
)


class Worker:
    """A process of one interpreter that fits when asked, its answers and why it failed."""

    def __init__(self, python, threads, *job):
        env = os.environ | dict.fromkeys(THREADS, str(threads))
        env.pop("PYTHONPATH", None)  # it would give all of them one skce
        self.answers, self.failure = [], ""
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen([python, WORKER, *job], **pipes, text=True, env=env)

    def read(self, limit):
        """Return its next answer; None if it fails or takes longer, and then it has ended."""
        start = time.monotonic()
        timer = threading.Timer(limit, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        late = not line and time.monotonic() - start >= limit
        answer = json.loads(line) if line else {"error": self._last_words()}
        self.failure = f"> {limit:g}" if late else answer.get("error", "")
        return None if self.failure else answer

    def ask(self, limit, **request):
        """Let it fit; return its answer, None if it fails now or has failed before."""
        if self.failure:
            return None
        with suppress(OSError):  # one that has ended is read to its end
            print(json.dumps(request), file=self.process.stdin, flush=True)
        return self.read(limit)

    def median(self, key):
        """Median of the rounds."""
        return statistics.median(answer[key] for answer in self.answers if key in answer)

    def close(self):
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def _last_words(self):
        code = self.process.wait()
        self.errors.seek(0)
        words = self.errors.read().strip().splitlines()
        return words[-1] if words and code > 0 else f"ended with {code}"


@dataclass
class Row:
    """Workers of one set and dtype by name, or why there are none."""

    label: tuple  # data and dtype
    clock: str = "seconds"
    workers: dict = field(default_factory=dict)
    failure: str = ""

    def running(self):
        """Workers that have not failed."""
        return {name: worker for name, worker in self.workers.items() if not worker.failure}

    def ratios(self, over, under, key=None):
        """Ratios of the rounds that both have."""
        key, workers = key or self.clock, self.running()
        if over not in workers or under not in workers:
            return []
        pairs = zip(workers[over].answers, workers[under].answers, strict=False)
        return [a[key] / b[key] for a, b in pairs if key in a and key in b]

    def ratio(self, over, under, key=None):
        """Median of the ratios, None without one."""
        ratios = self.ratios(over, under, key)
        return statistics.median(ratios) if ratios else None

    def error(self):
        """Standard error of the median new/old, by the median deviation of the rounds."""
        logs = np.log(self.ratios("new", "old"))
        if len(logs) < 3:
            return np.inf
        deviation = 1.48 * np.median(np.abs(logs - np.median(logs)))
        return float(1.25 * deviation / np.sqrt(len(logs)))

    def slower(self, allow):
        """Whether new is slower than old by more than the percentage, or fails alone."""
        ratio = self.ratio("new", "old")
        return "old" in self.running() if ratio is None else ratio > 1 + allow / 100

    def cells(self):
        """One line of the table."""
        if self.failure:
            return *self.label, self.failure, *[""] * (len(HEADER) - 3)
        goals = {name: worker.median("objective") for name, worker in self.running().items()}
        lowest = min(goals.values(), default=None)
        error = self.error()
        return (
            *(*self.label, *map(self._seconds, NAMES)),
            _text(self.ratio("new", "old"), ".3f") + (f" ±{error:.3f}" if error < np.inf else ""),
            _text(self.ratio("sklearn", "new"), ".2f"),
            *(_text(goals[name] / lowest - 1, ".1g") if name in goals else "" for name in NAMES),
            _text(self.ratio("new", "sklearn", "held_out"), ".4f"),
        )

    def raw(self):
        """Every measurement, and what failed."""
        for name, worker in self.workers.items():
            for i, answer in enumerate(worker.answers):
                yield *self.label, name, i, *map(answer.get, MEASURED), ""
            if worker.failure:
                yield *self.label, name, "", *[""] * len(MEASURED), worker.failure

    def _seconds(self, name):
        worker = self.workers.get(name)
        if worker is None or worker.failure:
            return _short(worker.failure) if worker else ""
        warned = any(answer["warned"] for answer in worker.answers)
        return f"{worker.median('seconds'):.3g}{'*' * warned}"


def main(argv=None):
    """Print the table; return the exit status."""
    args = _parse(argv)
    pythons = {"old": args.old} if args.old else {}
    pythons |= {"new": args.new, "sklearn": args.new}
    print(f"{conditions(pythons, args)}\n\n{markdown_table(HEADER, [])}", flush=True)
    rows = []
    with args.write.open("w", 1, newline="") if args.write else nullcontext() as file:
        raw = csv.writer(file, lineterminator="\n") if file else None
        if raw:
            raw.writerow(("data", "dtype", "candidate", "round", *MEASURED, "error"))
        for name, dtype in itertools.product(_sets(args), args.dtypes):
            row = measured(name, dtype, pythons, args)
            if row.slower(args.allow):
                again = [measured(name, dtype, pythons, args) for _ in range(AGAIN)]
                row = sorted(again, key=lambda row: row.ratio("new", "old") or np.inf)[AGAIN // 2]
            print(markdown_table(HEADER, [row.cells()]).splitlines()[-1], flush=True)
            if raw:
                raw.writerows(row.raw())
            rows.append(row)
    print("", *summary(rows, args), sep="\n")
    compared = any(row.ratios("new", "old") for row in rows)
    beyond = any(row.failure or row.slower(args.allow) for row in rows)
    return int(args.check and (beyond or not compared))


def _parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--old", metavar="PYTHON", help="interpreter with the old version")
    parser.add_argument("--new", metavar="PYTHON", default=sys.executable, help="with the new one")
    parser.add_argument("--sets", nargs="+", help='names of problems.load; "all" is every one')
    parser.add_argument("--dtypes", nargs="+", default=("float32", "float64"))
    parser.add_argument("--rows", type=int, help="training rows at most (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="of all candidates")
    parser.add_argument("--budget", type=float, default=5.0, help="seconds for further rounds")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="of the ratios")
    parser.add_argument("--threads", type=int, default=1, help="of OpenMP and BLAS")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that a fit may take")
    parser.add_argument("--allow", type=float, default=5.0, help="percent that new may be slower")
    parser.add_argument("--check", action="store_true", help="exit status 1 if it is slower")
    parser.add_argument("--write", type=Path, metavar="FILE", help="CSV of every measurement")
    parser.add_argument("--quick", action="store_true", help="two sets of few rows, one round")
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)  # what is given by name still counts
    args = parser.parse_args(argv)
    for python in filter(None, (args.old, args.new)):
        if not shutil.which(python):
            parser.error(f"--old and --new must be interpreters, got {python!r}")
    if args.check and not args.old:
        parser.error("--check needs --old")
    return args


def conditions(pythons, args):
    """What is run, on what."""
    lines, digests = [], []
    for name in [name for name in pythons if name != "sklearn"]:
        with closing(Worker(pythons[name], args.threads)) as worker:
            found = worker.read(STARTING) or {"text": worker.failure, "digest": name}
        lines.append(f"{name}: {found['text']}.")
        digests.append(found["digest"])
    if len(digests) > len(set(digests)):
        lines.append("Both are the same files: what new/old shows is noise.")
    machine = f"{os.cpu_count()} CPUs ({platform.machine()}), {platform.system()}"
    lines.append(f"{machine}; threads: {args.threads}, rounds: {args.rounds}, {args.clock} clock.")
    return "  \n".join(lines)


def _sets(args):
    """Names of the sets to run."""
    folder = data_folder(args.data)
    files = sorted(folder.glob("*.npz")) if folder else []
    if args.sets == ["all"]:
        return *SMALL, *(name for file in files for name in _forms(file))
    known = {file.stem for file in files}
    return args.sets or (*SMALL, *(name for name in REAL if name.removesuffix(SCALED) in known))


def _forms(path):
    """Names that problems.load knows for a file: two of a dense set."""
    with np.load(path) as file:
        return [path.stem, path.stem + SCALED] if "X_train" in file.files else [path.stem]


def measured(name, dtype, pythons, args):
    """Row of one set and dtype."""
    try:
        problem = _problem(name, dtype, args)
    except (Exception, SystemExit) as error:
        return Row((name, dtype), failure=_short(str(error)))
    row = Row((f"{name} ({problem.shape_text})", dtype), CLOCKS[args.clock])
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        jobs = _write_jobs(problem, Path(folder))
        for candidate, python in pythons.items():
            worker = Worker(python, args.threads, jobs[candidate])
            row.workers[candidate] = stack.enter_context(closing(worker))
        for worker in row.workers.values():
            worker.read(STARTING)
        for worker in row.workers.values():  # nothing of a first fit is timed
            worker.ask(args.limit, seed=0)
        _run_rounds(row, problem, str(Path(folder, "fitted")), args)
    return row


def _problem(name, dtype, args):
    """Load the set, with the labels that occur; refuse rows without one of the classes."""
    whole = load(name, data=args.data, dtype=np.dtype(dtype))
    problem = whole.subset(args.rows or whole.X_train.shape[0])
    y = problem.y_train
    if problem.task == "multilabel":
        mean = np.asarray(y.mean(axis=0)).ravel()
        kept = np.flatnonzero((mean > 0) & (mean < 1))
        return replace(problem, y_train=y[:, kept], y_test=problem.y_test[:, kept])
    if problem.task == "multiclass" and len(np.unique(y)) < whole.n_classes:
        raise ValueError("too few rows: some classes have none")
    return problem


def _write_jobs(problem, folder):
    """Write what each candidate fits to a file; return their paths."""
    X, y, labels = problem.X_train, problem.y_train, problem.task == "multilabel"
    ours, theirs = {"X": X, "y": y}, {"X": X, "y": y}
    if labels:  # OneVsRestClassifier fits labels of 8 bits wrongly
        theirs["y"] = np.asarray(y.toarray() if sparse.issparse(y) else y, dtype=np.int64)
    if problem.task == "soft":
        theirs = dict(zip(("X", "y", "sample_weight"), expand(X, y), strict=True))
    skce, sklearn = str(folder / "skce"), str(folder / "sklearn")
    name = "MultiLabelLogistic" if labels else "MultinomialLogistic"
    joblib.dump((name, {"alpha": 1 / X.shape[0]}, ours), skce)
    joblib.dump(("OneVsRestClassifier" if labels else "LogisticRegression", {}, theirs), sklearn)
    return {"old": skce, "new": skce, "sklearn": sklearn}


def _run_rounds(row, problem, fitted, args):
    """Ask all workers in turn, then those of the two versions."""
    orders = list(itertools.permutations(row.workers.values()))
    for i in range(args.rounds):
        for worker in orders[i % len(orders)]:
            answer = worker.ask(args.limit, seed=i, fitted=fitted)
            if answer:
                worker.answers.append(answer | _judged(problem, fitted))
    start = time.monotonic()
    while row.ratios("new", "old") and row.error() > PRECISE:
        if time.monotonic() - start >= args.budget:
            break
        i += 1
        for name in ("old", "new")[:: (-1) ** i]:
            answer = row.workers[name].ask(args.limit, seed=i)
            if answer:
                row.workers[name].answers.append(answer)


def _judged(problem, fitted):
    """Objective and held-out loss of the coefficients in a file, in float64."""
    coef, intercept = (array.astype(np.float64) for array in joblib.load(fitted))
    decay = np.sum(coef**2) / (2 * problem.X_train.shape[0])
    loss, held_out = (
        mean_loss(X @ coef.T + intercept, y, problem.task)
        for X, y in ((problem.X_train, problem.y_train), (problem.X_test, problem.y_test))
    )
    return {"objective": loss + decay, "held_out": held_out}


def summary(rows, args):
    """Geometric means, the worst sets and those beyond what is allowed."""
    for over, under, worst in (("new", "old", max), ("sklearn", "new", min)):
        ratios = {", ".join(row.label): row.ratio(over, under) for row in rows}
        ratios = {name: ratio for name, ratio in ratios.items() if ratio is not None}
        if ratios:
            mean = statistics.geometric_mean(ratios.values())
            name = worst(ratios, key=ratios.get)
            many = f"geometric mean {mean:.3f} of {len(ratios)}"
            yield f"{over}/{under}: {many}, worst {ratios[name]:.3f} ({name}).  "
    answers = [a for row in rows for worker in row.workers.values() for a in worker.answers]
    wall, cpu = (sum(a[key] * a["calls"] for a in answers) for key in CLOCKS.values())
    if args.threads == 1 and cpu < 0.95 * wall:
        yield f"Other processes took {100 - 100 * cpu / wall:.0f} % of the time: see --clock cpu.  "
    if args.old:
        slow = [", ".join(row.label) for row in rows if row.slower(args.allow)]
        yield f"New slower than old by more than {args.allow:g} %: {'; '.join(slow) or 'none'}.  "
    failed = [", ".join(row.label) for row in rows if row.failure]
    yield f"Not run: {'; '.join(failed) or 'none'}."


def _text(value, form):
    return "" if value is None else format(value, form)


def _short(text):
    return text.replace("|", "/")[:70]


if __name__ == "__main__":
    sys.exit(main())
