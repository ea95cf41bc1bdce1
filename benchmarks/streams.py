"""One pass over real streams by partial_fit, beside other online learners.

    python benchmarks/streams.py --data FOLDER [--sets mnist brown_pos] [--calls 100 10000]
        [--learners NAME ...] [--rows N] [--best] [--write FILE.csv]

For each set and rows a call: the progressive log loss (of each row before it is learnt), the log
loss of the test rows after the pass and its ratio to that of the optimum of all rows of the stream,
rows learnt in a CPU second (predictions not counted), for skce at its defaults and by either of its
rules, SGDClassifier (default and averaged), torch's Adam (lr 1e-3), Vowpal Wabbit (--oaa) and
River's softmax regression where they can be imported. All learn the same rows in the same calls, at
the alpha of the set; with --best two columns more have the losses of each with that one of 0.1, 1
and 10 times it with which its progressive loss is least. Rows of a file that are not measured stay
in it.
Multi-label losses are summed over the labels.
"""

import argparse
import csv
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from problems import add_data_option, data_folder, load, synthetic_dense, synthetic_sparse
from report import markdown_table
from scipy import sparse
from sklearn.linear_model import SGDClassifier
from sklearn.multioutput import MultiOutputClassifier
from threadpoolctl import threadpool_limits

from skce import MultiLabelLogistic, MultinomialLogistic

__all__ = ["LEARNERS", "main", "stream"]

ALPHAS = {  # of all learners
    "brown_pos": 1e-6,
    "20news": 1e-5,
    "clinc150": 1e-5,
    "goemotions": 1e-5,
    "covtype_scaled": 1e-6,
    "mnist": 1e-5,
    "kddcup99": 1e-6,
}
FACTORS = (1, 0.1, 10)  # of alpha, with --best
FIRST_ROWS = 5000  # of calls of one row
LEAST = 1e-15  # probability


def main(argv=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", default=list(ALPHAS))
    parser.add_argument("--calls", nargs="+", type=int, default=[1, 100, 10_000])
    parser.add_argument("--rows", type=int, help="rows of the stream and of the test, at most")
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS), choices=list(LEARNERS))
    parser.add_argument("--best", action="store_true", help="the best of three alphas of each")
    parser.add_argument("--quick", action="store_true", help="small synthetic problems")
    parser.add_argument("--write", type=Path, help="a file for the table, as CSV")
    args = parser.parse_args(argv)
    header = ["data", "rows a call", "rows", "learner", "progressive", "test", "test / optimum"]
    header += ["rows/s", *(["best progressive", "its test"] if args.best else [])]
    rows = []
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in args.sets:
            data = _data(name, args)
            best = _optimum(data, ALPHAS[name])
            for size in args.calls:
                for learner in args.learners:
                    alphas = [factor * ALPHAS[name] for factor in (FACTORS if args.best else [1])]
                    runs = [_run(data, alpha, size, learner) for alpha in alphas]
                    if runs[0] is None:
                        continue
                    progressive, test, speed, n = runs[0]
                    row = [name, size, f"{n:,}", learner, f"{progressive:.4f}", f"{test:.4f}"]
                    row += [f"{test / best:.2f}", f"{speed:,.0f}"]
                    rows.append(row + [f"{x:.4f}" for x in min(runs)[:2] if args.best])
    print(markdown_table(header, rows) + "\n")
    if args.write:
        _write(args.write, header, rows)


def _write(path, header, rows):
    """Write the table, and rows of one with this header that is there and were not made anew."""
    before = []
    if path.exists():
        with open(path, encoding="utf-8", newline="") as file:
            before = [*csv.reader(file)]
    made = {(row[0], str(row[1]), row[3]) for row in rows}
    kept = [row for row in before[1:] if before[0] == header and (*row[:2], row[3]) not in made]
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *kept, *rows])


def _data(name, args):
    """Return X, y (class numbers, or an indicator), test rows and outputs; rows shuffled."""
    if data_folder(args.data) and not args.quick:
        problem = load(name, data=args.data, dtype=np.dtype(np.float32))
    elif name in ("mnist", "covtype_scaled"):
        problem = synthetic_dense(400, 20, 3, dtype="float32")
    else:
        problem = synthetic_sparse(400, 200, 3, density=0.05, dtype="float32")
    y, t = problem.y_train, problem.y_test
    order = np.random.RandomState(0).permutation(len(y) if y.ndim == 1 else y.shape[0])
    order = order[: args.rows]
    tested = slice(args.rows)
    return problem.X_train[order], y[order], problem.X_test[tested], t[tested], problem.n_classes


def _optimum(data, alpha):
    X, y, T, t, k = data
    model = _model(y)(alpha=alpha, random_state=0).fit(X, y)
    proba = model.predict_proba(T)
    if y.ndim == 1:  # classes that the rows lack
        proba = proba_of(proba, model.classes_, k)
    return _losses(proba, t).mean()


def proba_of(proba, classes, k):
    """Return the probabilities of all k classes."""
    wide = np.zeros((len(proba), k))
    wide[:, classes] = proba
    return wide


def _run(data, alpha, size, learner):
    """Return a learner's losses and its rows a second, None where it does not apply."""
    X, y, T, t, k = data
    if size == 1:
        X, y = X[:FIRST_ROWS], y[:FIRST_ROWS]
    model = LEARNERS[learner](alpha, y, k, X.shape[1])
    if model is None:
        return None
    progressive, seconds = stream(model, X, y, size, k)
    test = _losses(model.predict_proba(T), t).mean()
    return progressive, test, X.shape[0] / seconds, X.shape[0]


def stream(model, X, y, size, k):
    """Predict each call's rows, then learn them; return the mean loss and the CPU s of learning."""
    total, seconds = 0.0, 0.0
    for first in range(0, X.shape[0], size):
        rows, targets = X[first : first + size], y[first : first + size]
        n = rows.shape[0]
        start = np.full((n, k), 1 / k if y.ndim == 1 else 0.5)
        total += _losses(model.predict_proba(rows) if first else start, targets).sum()
        begun = time.process_time()
        model.partial_fit(rows, targets)
        seconds += time.process_time() - begun
    return total / X.shape[0], seconds


def _losses(proba, y):
    """Return the log loss of each row, summed over labels of an indicator."""
    proba = np.asarray(proba, float)
    if y.ndim == 1:
        return -np.log(np.maximum(proba[np.arange(len(y)), y], LEAST))
    on = (y.toarray() if sparse.issparse(y) else y) > 0
    return -np.log(np.maximum(np.where(on, proba, 1 - proba), LEAST)).sum(axis=1)


def _model(y):
    return MultinomialLogistic if y.ndim == 1 else MultiLabelLogistic


class _Named:
    """A learner that is told the classes in its first call."""

    def __init__(self, model, classes):
        self.model, self.classes = model, classes

    def partial_fit(self, X, y):
        self.model.partial_fit(X, y, classes=self.classes)

    def predict_proba(self, X):
        return self.model.predict_proba(X)


class _Several(_Named):
    """One binary learner for each label."""

    def partial_fit(self, X, y):
        y = y.toarray() if sparse.issparse(y) else y
        self.model.partial_fit(X, y, classes=[np.array([0, 1])] * y.shape[1])

    def predict_proba(self, X):
        return np.stack([proba[:, 1] for proba in self.model.predict_proba(X)], axis=1)


def _skce(solver):
    def make(alpha, y, k, p):
        return _Named(_model(y)(alpha=alpha, solver=solver, random_state=0), np.arange(k))

    return make


def _sgd_classifier(average):
    def make(alpha, y, k, p):
        model = SGDClassifier(loss="log_loss", alpha=alpha, average=average, random_state=0)
        return (
            _Named(model, np.arange(k))
            if y.ndim == 1
            else _Several(MultiOutputClassifier(model), None)
        )

    return make


class _Torch:
    """Softmax or sigmoid regression by torch's Adam, a step for each 64 rows of a call."""

    def __init__(self, torch, alpha, y, k, p):
        self.torch, self.soft = torch, y.ndim > 1
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(p, k)
        torch.nn.init.zeros_(self.layer.weight)
        torch.nn.init.zeros_(self.layer.bias)
        self.adam = torch.optim.Adam(self.layer.parameters(), lr=1e-3, weight_decay=alpha)
        functions = torch.nn.functional
        self.loss = functions.cross_entropy
        if self.soft:
            self.loss = lambda s, t: k * functions.binary_cross_entropy_with_logits(s, t)

    def _tensor(self, X):
        X = X.toarray() if sparse.issparse(X) else X
        return self.torch.from_numpy(np.ascontiguousarray(X, np.float32))

    def partial_fit(self, X, y):
        for first in range(0, X.shape[0], 64):
            rows = slice(first, first + 64)
            t = (
                self._tensor(y[rows])
                if self.soft
                else self.torch.from_numpy(y[rows].astype(np.int64))
            )
            self.adam.zero_grad()
            self.loss(self.layer(self._tensor(X[rows])), t).backward()
            self.adam.step()

    def predict_proba(self, X):
        with self.torch.no_grad():
            parts = [self.layer(self._tensor(X[i : i + 1000])) for i in range(0, X.shape[0], 1000)]
            s = self.torch.cat(parts)
            return (s.sigmoid() if self.soft else s.softmax(1)).numpy()


def _torch(alpha, y, k, p):
    """Adam sweeps all weights at each step: not for wide sets."""
    try:
        import torch
    except ImportError:
        return None
    return _Torch(torch, alpha, y, k, p) if p * k <= 1_000_000 else None


class _River:
    """River's softmax regression, row by row."""

    def __init__(self, linear_model, optim, alpha, k):
        self.model, self.k = linear_model.SoftmaxRegression(optim.SGD(0.1), l2=alpha), k

    def _rows(self, X):
        for i in range(X.shape[0]):
            row = X[i]
            row = row.toarray().ravel() if sparse.issparse(row) else row
            there = np.flatnonzero(row)
            yield dict(zip(there.tolist(), row[there].tolist(), strict=True))

    def partial_fit(self, X, y):
        for row, label in zip(self._rows(X), y.tolist(), strict=True):
            self.model.learn_one(row, label)

    def predict_proba(self, X):
        proba = np.zeros((X.shape[0], self.k))
        for i, row in enumerate(self._rows(X)):
            for label, share in self.model.predict_proba_one(row).items():
                proba[i, label] = share
        return proba


def _river(alpha, y, k, p):
    try:
        from river import linear_model, optim
    except ImportError:
        return None
    return _River(linear_model, optim, alpha, k) if y.ndim == 1 else None


class _Vowpal:
    """Vowpal Wabbit, one against all; rows are lines of text."""

    def __init__(self, vowpalwabbit, alpha, k, p):
        bits = int(np.ceil(np.log2((p + 1) * k))) + 1
        self.model = vowpalwabbit.Workspace(
            f"--oaa {k} --probabilities --loss_function logistic --l2 {alpha} -b {bits} --quiet"
        )

    def _lines(self, X, labels):
        X = sparse.csr_array(X)
        for i, label in enumerate(labels):
            there = slice(X.indptr[i], X.indptr[i + 1])
            pairs = zip(X.indices[there], X.data[there], strict=True)
            yield f"{label} | " + " ".join(f"{j}:{value:.7g}" for j, value in pairs)

    def partial_fit(self, X, y):
        for line in self._lines(X, y + 1):
            self.model.learn(line)

    def predict_proba(self, X):
        lines = self._lines(X, [""] * X.shape[0])
        return np.array([self.model.predict(line) for line in lines])


def _vowpal(alpha, y, k, p):
    if y.ndim > 1:  # of labels it gives two numbers each
        return None
    try:
        import vowpalwabbit
    except ImportError:
        return None
    return _Vowpal(vowpalwabbit, alpha, k, p)


LEARNERS = {
    "skce": _skce("auto"),
    "skce, averaged": _skce("sgd"),
    "skce, AdaGrad": _skce("adagrad"),
    "SGDClassifier": _sgd_classifier(False),
    "SGDClassifier, averaged": _sgd_classifier(True),
    "torch Adam": _torch,
    "River": _river,
    "Vowpal Wabbit": _vowpal,
}

if __name__ == "__main__":
    sys.exit(main())
