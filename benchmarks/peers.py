"""The solvers that are compared, one function each, all of one signature.

``peer(problem, alpha, *, max_iter, observe=None, seed=0)`` fits the training rows and returns
coefficients (K, p) and intercepts (K,), K = 1 for two classes. All minimise

    F(W, b) = mean loss of the training rows + alpha/2 |W|^2,

the intercept not penalised, labels summed over the labels of a row; each docstring says how that
reads in the peer's own parameters. No peer stops early: its tolerance is zero or tiny. A peer
that shows its iterates (`Peer.traced`) calls ``observe(coef, intercept)`` after each of them.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from problems import synthetic_dense
from scipy import linalg, optimize, sparse
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier

from skce import MultiLabelLogistic, MultinomialLogistic, losses

try:
    import torch
except ImportError:  # its peers are then left out
    torch = None

__all__ = [
    *("DEFAULT", "PEERS", "SKCE_SOLVERS", "Peer", "expand", "kernel_lbfgs", "logistic_regression"),
    *("mlp_classifier", "sgd_classifier", "skce_peer", "skce_solver", "torch_adam", "torch_lbfgs"),
]

SKCE_SOLVERS = tuple(sorted(MultinomialLogistic._parameter_constraints["solver"][0].options))
NEWTON_CHOLESKY_SIZE = 3000  # p K: its Hessian has the square of that
GRAM_COLUMNS = 3000
ADAM_BATCH = 256
TINY = 1e-14  # a tolerance that no fit reaches


@dataclass(frozen=True)
class Peer:
    """A function of the signature above and what it can do.

    ``fixed``: it runs at its default max_iter and ends where it ends.
    """

    fit: Callable
    traced: bool = False
    fixed: bool = False
    from_sklearn: bool = False
    serves: Callable = lambda problem: problem.task != "soft"


def skce_solver(problem, alpha, *, max_iter, observe=None, seed=0, solver="auto", **params):
    """skce's estimator for the task; alpha is the alpha of F. By default it does not stop."""
    base = MultiLabelLogistic if problem.task == "multilabel" else MultinomialLogistic
    cls = base if observe is None else _observed(base, observe)
    params = {"tol": 0.0, "n_iter_no_change": 10**9} | params
    model = cls(alpha=alpha, solver=solver, max_iter=max_iter, random_state=seed, **params)
    model.fit(problem.X_train, problem.y_train)
    return model.coef_, model.intercept_


def logistic_regression(problem, alpha, *, max_iter, observe=None, seed=0, solver, **params):
    """scikit-learn's LogisticRegression, C = 1/(alpha n) with n training rows.

    Labels of a multi-label problem: OneVsRestClassifier, the same C. Soft targets: each row once
    per class of positive weight (`expand`), n still the number of rows before. LIBLINEAR penalises
    the intercept: intercept_scaling=100 makes that small.
    """
    params = {"C": 1 / (alpha * problem.X_train.shape[0]), "tol": TINY, **params}
    if solver == "liblinear":
        params["intercept_scaling"] = 100.0
    model = LogisticRegression(solver=solver, max_iter=max_iter, random_state=seed, **params)
    return _fit_for_task(model, problem)


def one_vs_rest(problem, alpha, *, max_iter=None, observe=None, seed=0):
    """OneVsRestClassifier(LogisticRegression) at its defaults but for C = 1/(alpha n)."""
    model = LogisticRegression(C=1 / (alpha * problem.X_train.shape[0]))
    return _fit_for_task(model, problem)


def sgd_classifier(problem, alpha, *, max_iter, observe=None, seed=0):
    """scikit-learn's SGDClassifier(loss="log_loss"), which has the same alpha.

    Several classes would be K binary fits, another objective: it serves two classes and labels.
    """
    model = SGDClassifier(
        loss="log_loss", alpha=alpha, max_iter=max_iter, tol=None, random_state=seed
    )
    return _fit_for_task(model, problem)


def mlp_classifier(problem, alpha, *, max_iter, observe=None, seed=0):
    """scikit-learn's MLPClassifier without hidden layer, by Adam.

    Its penalty is divided by the rows of a batch: its alpha is alpha times 200.
    """
    rows = min(200, problem.X_train.shape[0])
    model = MLPClassifier(
        (),
        alpha=alpha * rows,
        batch_size=rows,
        max_iter=max_iter,
        tol=0.0,
        n_iter_no_change=10**9,
        random_state=seed,
    )
    y = _dense(problem.y_train) if problem.task == "multilabel" else problem.y_train
    model.fit(problem.X_train, y)
    return model.coefs_[0].T, model.intercepts_[0]


def torch_lbfgs(problem, alpha, *, max_iter, observe=None, seed=0):
    """torch.optim.LBFGS on all rows, strong Wolfe line search; alpha/2 |W|^2 is in the loss.

    Every point of the line search is shown: one call of ``step`` makes all iterations.
    """
    W, b, loss = _torch_model(problem, alpha)
    X, y = _torch_rows(problem.X_train), _torch_targets(problem)
    search = torch.optim.LBFGS(
        [W, b],
        max_iter=max_iter,
        max_eval=10**9,
        history_size=10,
        line_search_fn="strong_wolfe",
        tolerance_grad=0,
        tolerance_change=0,
    )

    def closure():
        if observe is not None:
            observe(*_torch_result(W, b))
        search.zero_grad()
        value = loss(X, y)
        value.backward()
        return value

    search.step(closure)
    return _torch_result(W, b)


def torch_adam(problem, alpha, *, max_iter, observe=None, seed=0, lr=1e-2):
    """torch.optim.Adam on shuffled batches of 256 rows; alpha/2 |W|^2 is in each batch's loss.

    An iteration is a pass. The step lr / sqrt(1 + pass / 10) is one choice of many.
    """
    W, b, loss = _torch_model(problem, alpha)
    y, rng = _torch_targets(problem), np.random.default_rng(seed)
    rule = torch.optim.Adam([W, b], lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(rule, lambda done: (1 + done / 10) ** -0.5)

    for _ in range(max_iter):
        order = rng.permutation(problem.X_train.shape[0])
        for first in range(0, len(order), ADAM_BATCH):
            rows = order[first : first + ADAM_BATCH]
            rule.zero_grad()
            loss(_torch_rows(problem.X_train[rows]), y[rows]).backward()
            rule.step()
        schedule.step()
        if observe is not None:
            observe(*_torch_result(W, b))
    return _torch_result(W, b)


def kernel_lbfgs(problem, alpha, *, max_iter, observe=None, seed=0, whitened=False):
    """SciPy's L-BFGS-B on skce.losses and NumPy's products; alpha is the alpha of F.

    "whitened": in coordinates where the Hessian at W = 0 is about the identity, by the Gram matrix
    of standardised columns.
    """
    n, p = problem.X_train.shape
    K = _n_outputs(problem)
    dtype = problem.X_train.dtype
    sigmoid = problem.task == "multilabel" or K == 1
    if sigmoid:
        y = _dense(problem.y_train).reshape(n, -1).astype(dtype)
        value_and_grad = losses.sigmoid_cross_entropy_value_and_grad
    else:
        y, value_and_grad = problem.y_train, losses.softmax_cross_entropy_value_and_grad
    curvature = 0.25 if sigmoid else (K - 1) / K**2
    X, to_raw, to_gradient = _coordinates(problem.X_train, alpha, curvature, whitened)

    def fun(v):
        V = v.reshape(p + 1, K)
        W, b = to_raw(V)
        logits = X @ W.astype(dtype) + b.astype(dtype)
        loss, residuals = value_and_grad(logits, y, out=logits)
        total = residuals.sum(axis=0, dtype=np.float64)
        decay, at_W = to_gradient(V, (X.T @ residuals).astype(np.float64), total)
        return loss + decay, at_W.ravel()

    def callback(v):
        if observe is not None:
            observe(*to_raw(v.reshape(p + 1, K), raw=True))

    options = {"maxiter": max_iter, "maxfun": 10**9, "ftol": 0, "gtol": 0, "maxcor": 10}
    start = np.zeros((p + 1) * K)
    found = optimize.minimize(
        fun, start, jac=True, method="L-BFGS-B", callback=callback, options=options
    )
    return to_raw(found.x.reshape(p + 1, K), raw=True)


def _coordinates(X, alpha, curvature, whitened):
    """X or its columns standardised (dense), and the functions to and from its coordinates."""
    p = X.shape[1]
    if not whitened:

        def to_raw(V, raw=False):
            return (V[:-1].T, V[-1]) if raw else (V[:-1], V[-1])

        def to_gradient(V, gradient, total):
            W = V[:-1]
            return alpha / 2 * np.sum(W * W), np.vstack([gradient + alpha * W, total])

        return X, to_raw, to_gradient
    centre, scale, gram, X, shift, unit = _standardised(X)
    decay = alpha / scale**2
    gram = curvature * gram + np.diag(decay)
    gram[np.diag_indices(p)] += 1e-6 * curvature  # equal columns, float32
    root = linalg.cholesky(gram, lower=True)
    size = np.sqrt(curvature)

    def standard(V):
        return linalg.solve_triangular(root, V[:-1], trans=1, lower=True), V[-1] / size

    def to_raw(V, raw=False):
        W, b = standard(V)
        if raw:
            W = W / scale[:, None]
            return W.T, b - centre @ W
        W = W / unit[:, None]
        return W, b - shift @ W

    def to_gradient(V, gradient, total):
        W, _ = standard(V)
        at_W = (gradient - np.outer(shift, total)) / unit[:, None] + decay[:, None] * W
        at_V = linalg.solve_triangular(root, at_W, lower=True)
        return np.sum(decay[:, None] * W * W) / 2, np.vstack([at_V, total / size])

    return X, to_raw, to_gradient


def _standardised(X):
    """Centre, scale, Gram matrix of standardised columns; X to use, what is left to subtract.

    Dense X is standardised in a copy; CSR stays, and its centre and scale are left to divide by.
    """
    n, p = X.shape
    centre = np.asarray(X.mean(axis=0, dtype=np.float64)).ravel()
    if sparse.issparse(X):
        gram = (X.T @ X).toarray() / n - np.outer(centre, centre)
        scale = np.sqrt(np.maximum(gram.diagonal(), 0))
        scale[scale == 0] = 1
        return centre, scale, gram / np.outer(scale, scale), X, centre, scale
    Z = X - centre.astype(X.dtype)
    scale = np.sqrt(np.einsum("ij,ij->j", Z, Z, dtype=np.float64) / n)
    scale[scale <= 1e-6 * np.abs(centre)] = 1
    Z /= scale.astype(X.dtype)
    gram = (Z.T @ Z).astype(np.float64) / n
    return centre, scale, gram, Z, np.zeros(p), np.ones(p)


def _gram_fits(problem):
    return problem.task != "soft" and problem.X_train.shape[1] <= GRAM_COLUMNS


def _few_parameters(problem):
    columns = 1 if problem.task == "multilabel" else problem.n_classes  # one label at a time
    return problem.task != "soft" and problem.X_train.shape[1] * columns <= NEWTON_CHOLESKY_SIZE


def _one_sigmoid_each(problem):
    return problem.task == "multilabel" or problem.n_classes == 2


def skce_peer(solver):
    """Peer of skce's estimator with this solver, traced where that shows its passes."""
    shown = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem = synthetic_dense(60, 3, 3)
        skce_solver(problem, 0.1, max_iter=2, observe=lambda *W: shown.append(W), solver=solver)
    return Peer(
        partial(skce_solver, solver=solver), traced=bool(shown), serves=lambda problem: True
    )


def _sklearn(solver, **kwargs):
    return Peer(partial(logistic_regression, solver=solver), from_sklearn=True, **kwargs)


PEERS = {
    "lbfgs": _sklearn("lbfgs"),
    "newton-cholesky": _sklearn("newton-cholesky", serves=_few_parameters),
    "saga": _sklearn("saga"),
    "liblinear": _sklearn("liblinear", serves=_one_sigmoid_each),
    "one-vs-rest": Peer(
        one_vs_rest, fixed=True, serves=lambda problem: problem.task == "multilabel"
    ),
    "SGDClassifier": Peer(sgd_classifier, from_sklearn=True, serves=_one_sigmoid_each),
    "MLPClassifier": Peer(mlp_classifier, from_sklearn=True),
    "kernels + L-BFGS": Peer(kernel_lbfgs, traced=True),
    "kernels + whitened L-BFGS": Peer(
        partial(kernel_lbfgs, whitened=True), traced=True, serves=_gram_fits
    ),
}
if torch is not None:
    PEERS["torch Adam"] = Peer(torch_adam, traced=True)
    PEERS["torch LBFGS"] = Peer(torch_lbfgs, traced=True)
DEFAULT = (
    *("lbfgs", "newton-cholesky", "saga", "one-vs-rest"),
    *("kernels + L-BFGS", "kernels + whitened L-BFGS"),
)


def expand(X, targets):
    """Rows repeated once per class of positive target: (X, labels, weights)."""
    rows, labels = np.nonzero(targets)
    return X[rows], labels, targets[rows, labels].astype(np.float64)


def _observed(base, observe):
    class Observed(base):
        def _observe(self, coef, intercept):
            observe(coef, intercept)

    return Observed


def _fit_for_task(model, problem):
    """Fit a classifier of 1-d labels to any task; return its coefficients and intercepts."""
    if problem.task == "multilabel":
        model = OneVsRestClassifier(model)
        # OneVsRestClassifier mispredicts with int8 labels.
        model.fit(problem.X_train, _dense(problem.y_train))
        fitted = model.estimators_
        return np.vstack([f.coef_ for f in fitted]), np.hstack([f.intercept_ for f in fitted])
    if problem.task == "soft":
        X, y, weights = expand(problem.X_train, problem.y_train)
        model.fit(X, y, sample_weight=weights)
    else:
        model.fit(problem.X_train, problem.y_train)
    return model.coef_, model.intercept_


def _n_outputs(problem):
    two_classes = problem.task == "multiclass" and problem.n_classes == 2
    return 1 if two_classes else problem.n_classes


def _dense(y):
    return (y.toarray() if sparse.issparse(y) else np.asarray(y)).astype(np.int64)


def _torch_model(problem, alpha):
    K = _n_outputs(problem)
    dtype = torch.float32 if problem.X_train.dtype == np.float32 else torch.float64
    W = torch.zeros((problem.X_train.shape[1], K), dtype=dtype, requires_grad=True)
    b = torch.zeros(K, dtype=dtype, requires_grad=True)
    if problem.task == "multilabel" or K == 1:
        part = partial(torch.nn.functional.binary_cross_entropy_with_logits, reduction="sum")
    else:
        part = partial(torch.nn.functional.cross_entropy, reduction="sum")

    def loss(X, y):
        return part(X @ W + b, y) / X.shape[0] + alpha / 2 * (W * W).sum()

    return W, b, loss


def _torch_rows(X):
    if not sparse.issparse(X):
        return torch.from_numpy(np.ascontiguousarray(X))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # CSR is in beta, it says
        parts = (torch.from_numpy(part) for part in (X.indptr, X.indices, X.data))
        return torch.sparse_csr_tensor(*parts, size=X.shape)


def _torch_targets(problem):
    if problem.task == "multilabel" or problem.n_classes == 2:
        y = _dense(problem.y_train).reshape(len(_dense(problem.y_train)), -1)
        return torch.from_numpy(y.astype(problem.X_train.dtype))
    return torch.from_numpy(problem.y_train.astype(np.int64))


def _torch_result(W, b):
    return W.detach().numpy().T, b.detach().numpy()
