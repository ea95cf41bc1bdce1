"""Reference optima of F(W, b) = mean loss + alpha/2 |W|^2, by NumPy and SciPy alone.

    python benchmarks/optima.py --data FOLDER [--sets letter covtype_scaled] [--alphas 1 0.01]
    python benchmarks/optima.py --data FOLDER --sets kddcup99 --whole

Newton's method, its steps by conjugate gradients in standardised columns (dense or few columns;
preconditioned by one block of the Hessian a class) or as they are (CSR; by its diagonal), damped
by the Hessian at zero after a step that had to be shortened. ``--whole``, for classes that are
nearly separable: preconditioned by the Hessian of the rows that hold most of it, and damped by its
diagonal. The results go to ``optima.json`` under "name strength/n variant", strength = alpha n,
with

    F - F* <= |dF/dW|^2 / (2 alpha)    at the b that minimises F for this W

as ``bound``, and ``decrement``, the estimate g' H^-1 g / 2 of the same. Two classes are one
sigmoid, and the losses of labels are summed over the labels of a row.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from problems import add_data_option, load
from scipy import linalg, sparse
from scipy.special import expit

__all__ = ["OPTIMA", "Objective", "key_of", "main", "optimum", "solve"]

OPTIMA = Path(__file__).with_name("optima.json")
STRENGTHS = (1.0,)
SETS = (
    *("letter", "wine", "breast_cancer", "digits", "iris", "magic", "a9a", "tmc2007", "20news"),
    *("clinc150", "bibtex", "clinc150_minilm", "mnist", "covtype", "covtype_scaled", "kddcup99"),
)
GOAL = 1e-10  # of bound / F
DENSE_ENTRIES = 10**8  # CSR of fewer entries, zeros included, and
DENSE_COLUMNS = 2000  # of fewer columns becomes dense
BLOCK_COLUMNS = 1000  # of more, or for more work than that, the preconditioner is the diagonal
BLOCK_WORK = 10**12
CHEAP_BLOCKS = 3 * 10**10
MANY_ROWS = 10**5  # of so many the equal ones are merged
MOST_CG = 1000
WHOLE_ROWS = 12_000
WHOLE_PART = 2000  # of them at once


class Objective:
    """F of one problem, in float64 and in coordinates V (p + 1, K) of standardised columns."""

    def __init__(self, X, y, task, alpha, whole=False):
        n, p = X.shape
        self.alpha, self.task, self.whole = alpha, task, whole
        self.sigmoid, self.targets = _targets(y, task)
        self.weights = np.full((n, 1), 1 / n)
        if sparse.issparse(X) and n * p <= DENSE_ENTRIES and p <= DENSE_COLUMNS:
            X = X.astype(np.float64).toarray()
        if n >= MANY_ROWS and not sparse.issparse(X):
            X, self.targets, self.weights = _merged(X, self.targets)
            n = len(X)
        if sparse.issparse(X):
            self.centre, self.scale = np.zeros(p), np.ones(p)
            self.Z = sparse.csr_matrix(sparse.hstack([X, np.ones((n, 1))]), dtype=np.float64)
            self.ZT = self.Z.T.tocsr()
        else:
            self.centre = self.weights[:, 0] @ X.astype(np.float64, copy=False)
            self.Z = np.ones((n, p + 1))
            self.Z[:, :p] = X - self.centre
            self.scale = np.sqrt(np.sum(self.weights * self.Z[:, :p] ** 2, axis=0))
            self.scale[self.scale <= 1e-12 * np.abs(self.centre)] = 1.0
            self.Z[:, :p] /= self.scale
            self.ZT = self.Z.T
        self.decay = np.append(alpha / self.scale**2, 0.0)[:, None]
        self.shape = (p + 1, self.targets.shape[1])
        self.damping = 0.0  # times the Hessian at zero, or the diagonal of the whole one
        self.raised = 0.0  # that diagonal, so damped
        self.start = 0.5 if self.sigmoid else 1 / self.shape[1]

    def raw(self, V):
        """Coefficients (p, K) and intercepts (K,) in the columns as given."""
        W = V[:-1] / self.scale[:, None]
        return W, V[-1] - self.centre @ W

    def centred(self, V):
        """V without the equal shift of all classes, which a softmax does not see."""
        return V if self.sigmoid else V - V.mean(axis=1, keepdims=True)

    def evaluate(self, V):
        """Value, gradient and probabilities at V."""
        logits = self.Z @ V
        if self.sigmoid:
            loss = np.logaddexp(0, logits)
            proba = expit(logits)
        else:
            most = logits.max(axis=1, keepdims=True)
            proba = np.exp(logits - most)
            total = proba.sum(axis=1, keepdims=True)
            loss = np.log(total) + most
            proba /= total
        loss = loss.sum(axis=1) - (self.targets * logits).sum(axis=1)
        value = _dot(self.weights[:, 0], loss) + _dot(self.decay * V, V) / 2
        gradient = self.ZT @ (self.weights * (proba - self.targets)) + self.decay * V
        return float(value), gradient, proba

    def curvature(self, proba, change):
        """Damped Hessian of the mean loss in the logits (n, K), times ``change``."""
        if self.sigmoid:
            curvature = proba * (1 - proba) + self.damping * self.start**2
            return self.weights * curvature * change
        part = proba * change
        part -= proba * part.sum(axis=1, keepdims=True)
        if self.damping and not self.whole:
            part += self.damping * self.start * (change - change.mean(axis=1, keepdims=True))
        return self.weights * part

    def hessian_product(self, proba, v):
        """Damped Hessian times v."""
        return self.ZT @ self.curvature(proba, self.Z @ v) + (self.decay + self.raised) * v

    def preconditioner(self, proba):
        """Function that divides by the blocks of the Hessian of each class, or its diagonal."""
        if self.whole:
            return self.whole_preconditioner(proba)
        weights = proba * (1 - proba) + self.damping * self.start * (1 - self.start)
        weights *= self.weights
        if not self.has_blocks:
            squares = self.ZT.power(2) if sparse.issparse(self.Z) else self.ZT**2
            diagonal = squares @ weights + self.decay
            diagonal = np.maximum(diagonal, 1e-12 * diagonal.max())
            return lambda r: self.centred(self.centred(r) / diagonal)
        factors = []
        for weight in weights.T:
            part = self.Z * np.sqrt(weight)[:, None]
            block = part.T @ part
            diagonal = block.diagonal() + self.decay[:, 0]
            block[np.diag_indices(len(block))] = diagonal * (1 + 1e-12) + 1e-15 * diagonal.max()
            factors.append(linalg.cho_factor(block, overwrite_a=True, check_finite=False))

        def divide(r):
            r = self.centred(r)
            columns = [
                linalg.cho_solve(f, c, check_finite=False)
                for f, c in zip(factors, r.T, strict=True)
            ]
            return self.centred(np.column_stack(columns))

        return divide

    def whole_preconditioner(self, proba):
        """Function that divides by the damped Hessian of the rows with most of its trace."""
        curvature = (self.weights * proba * (1 - proba)).sum(axis=1)
        rows = np.argsort(-curvature * np.sum(self.Z**2, axis=1))[:WHOLE_ROWS]
        p, k = self.shape
        H = np.zeros((p * k, p * k))
        for part in np.array_split(rows, 1 + len(rows) // WHOLE_PART):
            root = np.sqrt(self.weights[part]) * proba[part]
            products = (root[:, :, None] * self.Z[part][:, None, :]).reshape(len(part), -1)
            H -= products.T @ products
        weights = self.weights[rows] * proba[rows]
        for j in range(k):
            block = slice(j * p, (j + 1) * p)
            H[block, block] += self.Z[rows].T @ (weights[:, j : j + 1] * self.Z[rows])
        diagonal = H.diagonal() + np.tile(self.decay[:, 0], k)
        self.raised = self.damping * diagonal.reshape(k, p).T
        H[np.diag_indices_from(H)] = (1 + self.damping) * diagonal
        for j in range(p):  # the equal shift of all classes
            H[j::p, j::p] += H[j::p, j::p].diagonal().max() / k
        scale = 1 / np.sqrt(H.diagonal())
        H *= scale * scale[:, None]
        ridge = 1e-13
        while True:
            try:
                H[np.diag_indices_from(H)] = 1 + ridge
                factor = linalg.cho_factor(H, check_finite=False)
                break
            except linalg.LinAlgError:
                ridge *= 100

        def divide(r):
            r = self.centred(r).T.ravel() * scale
            return self.centred((linalg.cho_solve(factor, r) * scale).reshape(k, p).T)

        return divide

    @property
    def block_work(self):
        """Multiplications that the blocks cost."""
        return len(self.weights) * self.shape[0] ** 2 * self.shape[1]

    @property
    def has_blocks(self):
        """Whether the preconditioner is one block a class."""
        few = self.shape[0] <= BLOCK_COLUMNS and self.block_work <= BLOCK_WORK
        return few and not sparse.issparse(self.Z)

    def with_best_intercept(self, V):
        """V with the intercepts that minimise F for its coefficients."""
        V = V.copy()
        for _ in range(20):
            _, gradient, proba = self.evaluate(V)
            if np.abs(gradient[-1]).max() < 1e-17:
                break
            H = -(self.weights * proba).T @ proba * (not self.sigmoid)
            H += np.diag(self.weights[:, 0] @ (proba - proba**2 * self.sigmoid))
            V[-1] -= linalg.lstsq(H, gradient[-1], cond=1e-12)[0]
        return V

    def bound(self, gradient):
        """Bound of F - F* where the intercepts are best."""
        return float(np.sum((self.scale[:, None] * gradient[:-1]) ** 2)) / (2 * self.alpha)


def solve(problem, alpha, *, goal=GOAL, seconds=600.0, verbose=False, whole=False):
    """Minimise F on the training rows; return the entry of ``optima.json`` and (W, b).

    It ends at a bound of goal F, after ``seconds``, or where rounding admits no progress.
    """
    f = Objective(problem.X_train, problem.y_train, problem.task, alpha, whole)
    start = time.perf_counter()
    V = np.zeros(f.shape)
    value, gradient, proba = f.evaluate(V)
    products, last, iterations, stuck, level = 0, np.inf, 0, 0, 0
    best = (np.inf, V, value, 0.0)
    while stuck < 3 and level < 3:
        if f.whole or not f.has_blocks or last > 25 or f.block_work < CHEAP_BLOCKS:
            precondition = f.preconditioner(proba)
        step, last, decrement = _newton_step(f, proba, gradient, precondition)
        products += last
        before = value
        V, value, gradient, proba, length = _search(f, V, step, value, gradient, precondition)
        iterations += 1
        stuck = stuck + 1 if length == 0 else 0
        too_much = before - value > 1.2 * decrement  # than the damped model foresaw
        shorter = max((10 if length < 0.2 else 2) * f.damping, 1e-3)
        f.damping = f.damping / (10 if too_much else 3) if length == 1 else shorter
        f.damping *= f.damping > 1e-8
        late = time.perf_counter() - start > seconds
        if decrement <= 1e-7 * value or stuck or late:
            V = f.with_best_intercept(V)
            value, gradient, proba = f.evaluate(V)
            bound = f.bound(gradient)
            level += f.damping == 0 and bound > 0.5 * best[0]
            if bound < best[0]:
                best = (bound, V, value, decrement)
        if verbose:
            print(
                f"  {iterations}: F {value:.15g}, decrement {decrement:.2g}, step {length:g}, "
                f"{last} products, bound {best[0]:.2g}, {time.perf_counter() - start:.0f} s",
                flush=True,
            )
        if best[0] <= goal * value or late:
            break
    bound, V, value, _ = best
    _, gradient, proba = f.evaluate(V)
    f.damping = 0.0
    _, _, decrement = _newton_step(f, proba, gradient, f.preconditioner(proba))
    entry = {
        "objective": value,
        "bound": bound,
        "decrement": decrement,
        "alpha": alpha,
        **dict(zip(("n", "p", "K"), (*problem.X_train.shape, problem.n_classes), strict=True)),
        "solver": f"Newton-CG, {iterations} steps, {products} products",
        "seconds": round(time.perf_counter() - start, 1),
    }
    return entry, f.raw(V)


def key_of(name, strength):
    """Key of optima.json: alpha = strength / n, the variant is raw or scaled."""
    base = name.removesuffix("_scaled")
    return f"{base} {strength:g}/n {'scaled' if base != name else 'raw'}"


def optimum(problem, strength):
    """Entry of optima.json for the problem, solved anew if none has its shape."""
    known = json.loads(OPTIMA.read_text()) if OPTIMA.is_file() else {}
    entry = known.get(key_of(problem.name, strength))
    shape = (*problem.X_train.shape, problem.n_classes)
    if entry and (entry["n"], entry["p"], entry["K"]) == shape:
        return entry
    return solve(problem, strength / shape[0])[0]


def main(argv=None):
    """Solve and write, one set after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_option(parser)
    parser.add_argument("--sets", nargs="+", default=SETS, help="names of problems.load")
    parser.add_argument("--alphas", nargs="+", type=float, default=STRENGTHS, help="times 1/n")
    parser.add_argument("--write", type=Path, default=OPTIMA, help="the JSON file")
    parser.add_argument("--seconds", type=float, default=600.0, help="the most for one set")
    parser.add_argument("--whole", action="store_true", help="know the whole Hessian")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args(argv)
    print("| set | F* | bound / F* | decrement / F* | solver | s |\n|---|---|---|---|---|---|")
    for name in args.sets:
        problem = load(name, data=args.data)
        for strength in args.alphas:
            entry, _ = solve(
                problem,
                strength / problem.X_train.shape[0],
                seconds=args.seconds,
                verbose=args.verbose,
                whole=args.whole,
            )
            entry["command"] = (
                f"python benchmarks/optima.py --sets {name} --alphas {strength:g}"
                f"{' --whole' * args.whole}"
            )
            known = json.loads(args.write.read_text()) if args.write.is_file() else {}
            known[key_of(name, strength)] = entry
            args.write.write_text(json.dumps(known, indent=1) + "\n")
            F, relative = entry["objective"], [entry[k] / entry["objective"] for k in _ERRORS]
            print(
                f"| {key_of(name, strength)} | {F:.12g} | {relative[0]:.1g} | {relative[1]:.1g} "
                f"| {entry['solver']} | {entry['seconds']} |",
                flush=True,
            )


_ERRORS = ("bound", "decrement")


def _targets(y, task):
    """(Is it a sigmoid?, targets (n, K))."""
    if task == "multilabel":
        return True, (y.toarray() if sparse.issparse(y) else np.asarray(y)).astype(np.float64)
    if task == "soft":
        return False, np.asarray(y, dtype=np.float64)
    one_hot = np.eye(int(y.max()) + 1)[y]
    return (True, one_hot[:, 1:]) if one_hot.shape[1] == 2 else (False, one_hot)


def _merged(X, targets):
    """Distinct rows, the mean targets and the shares of each."""
    X = np.ascontiguousarray(X, dtype=np.float64)
    keys = X.view(np.dtype((np.void, X.itemsize * X.shape[1]))).ravel()
    _, first, inverse, counts = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    sums = [np.bincount(inverse, column) for column in targets.T]
    shares = counts[:, None] / len(X)
    return X[first], np.column_stack(sums) / counts[:, None], shares


def _dot(a, b):
    return float(np.sum(a * b))


def _newton_step(f, proba, gradient, precondition):
    """Conjugate gradients for H x = -g; (x, products, g' H^-1 g / 2)."""
    r = -gradient
    x, z = np.zeros_like(r), precondition(r)
    q, rz = z.copy(), _dot(r, z)
    first = rz
    goal = min(0.1, np.sqrt(max(rz, 0.0))) ** 2 * rz
    products = 0
    while products < MOST_CG and rz > max(goal, 1e-30 * first):
        Hq = f.hessian_product(proba, q)
        products += 1
        curvature = _dot(q, Hq)
        if curvature <= 0:
            break
        x += rz / curvature * q
        r = r - rz / curvature * Hq
        z = precondition(r)
        rz, before = _dot(r, z), rz
        q = z + rz / before * q
    return x, products, -_dot(gradient, x) / 2


def _search(f, V, step, value, gradient, precondition):
    """Halve the step until F falls; near rounding, until the gradient does."""
    slope, length = _dot(step, gradient), 1.0
    size = None
    while length > 1e-8:
        tried = V + length * step
        new = f.evaluate(tried)
        if new[0] <= value + 1e-4 * length * slope:
            return tried, *new, length
        if -slope < 1e-9 * abs(value) and new[0] <= value + 1e-12 * abs(value):
            size = _dot(gradient, precondition(gradient)) if size is None else size
            if _dot(new[1], precondition(new[1])) < size:
                return tried, *new, length
        length /= 2
    return V, value, gradient, f.evaluate(V)[2], 0.0


if __name__ == "__main__":
    main()
