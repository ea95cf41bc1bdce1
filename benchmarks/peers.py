"""The solvers that are compared, one function each, all of one signature.

``peer(problem, alpha, *, max_iter=None, observe=None, seed=0)`` fits the training rows and returns
coefficients (K, p) and intercepts (K,), K = 1 for two classes. All minimise

    F(W, b) = mean loss of the training rows + alpha/2 |W|^2,

the intercept not penalised, labels summed over the labels of a row; each docstring says how that
reads in the peer's own parameters. With max_iter no peer stops early: its tolerance is zero or
tiny. Without, an estimator is at its defaults but for the penalty (and an intercept): a plain fit.
A peer that shows its iterates (`Peer.traced`) calls ``observe(coef, intercept)`` after each.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from kernel_lbfgs import kernel_lbfgs
from problems import dense_labels, synthetic_dense
from scipy import sparse
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier

from skce import MultiLabelLogistic, MultinomialLogistic

try:  # the peers of a package that is not there are left out
    import torch
except ImportError:
    torch = None
try:
    import daal4py
    from sklearnex.linear_model import LogisticRegression as IntelLogisticRegression
except ImportError:
    daal4py = None
try:
    with warnings.catch_warnings():  # as an error, NumPy's about numpy.core hides AVX2 from it
        warnings.simplefilter("ignore")
        import snapml
except ImportError:
    snapml = None

__all__ = [
    *("DEFAULT", "PEERS", "SKCE_SOLVERS", "Peer", "expand", "logistic_regression"),
    *("mlp_classifier", "set_threads", "sgd_classifier", "skce_peer", "skce_solver"),
    *("snap_classifier", "torch_adam", "torch_lbfgs"),
]

SKCE_SOLVERS = tuple(sorted(MultinomialLogistic._parameter_constraints["solver"][0].options))
NEWTON_CHOLESKY_SIZE = 3000  # p K: its Hessian has the square of that
SNAP_INTERCEPT = 5.0  # a9a, breast_cancer: 1 ends at gaps of 5e-5 and 1e-4, 10 takes twice as long
GRAM_COLUMNS = 3000
ADAM_BATCH = 256
TINY = 1e-14  # a tolerance that no fit reaches


@dataclass(frozen=True)
class Peer:
    """A function of the signature above and what it can do."""

    fit: Callable
    traced: bool = False
    plain: bool = True  # without max_iter it is a fit of an estimator at its defaults
    serves: Callable = lambda problem: problem.task != "soft"


def set_threads(threads):
    """Number of threads of the packages that threadpoolctl does not know; snapml has one."""
    if torch is not None:
        torch.set_num_threads(threads)
    if daal4py is not None:
        daal4py.daalinit(threads)


def skce_solver(problem, alpha, *, max_iter=None, observe=None, seed=0, solver="auto", **params):
    """skce's estimator for the task; alpha is the alpha of F."""
    base = MultiLabelLogistic if problem.task == "multilabel" else MultinomialLogistic
    cls = base if observe is None else _observed(base, observe)
    if max_iter is not None:
        params = {"max_iter": max_iter, "tol": 0.0, "n_iter_no_change": 10**9} | params
    model = cls(alpha=alpha, solver=solver, random_state=seed, **params)
    model.fit(problem.X_train, problem.y_train)
    return model.coef_, model.intercept_


def logistic_regression(
    problem, alpha, *, max_iter=None, observe=None, seed=0, solver, cls=LogisticRegression, **params
):
    """scikit-learn's LogisticRegression or scikit-learn-intelex's, C = 1/(alpha n), n rows.

    Labels of a multi-label problem: OneVsRestClassifier, the same C. Soft targets: each row once
    per class of positive weight (`expand`), n still the number of rows before. LIBLINEAR penalises
    the intercept: intercept_scaling=100 makes that small, but not in a plain fit. Intel's fits
    weighted rows, and CSR of two classes, by scikit-learn's code.
    """
    if max_iter is not None:
        params = {"max_iter": max_iter, "tol": TINY} | params
        if solver == "liblinear":
            params["intercept_scaling"] = 100.0
    C = 1 / (alpha * problem.X_train.shape[0])
    return _fit_for_task(cls(C=C, solver=solver, random_state=seed, **params), problem)


def snap_classifier(problem, alpha, *, max_iter=None, observe=None, seed=0):
    """snapml's LogisticRegression, which has the sum of the losses: regularizer = alpha n.

    Its intercept is a weight of a constant column intercept_scaling, off by default and penalised;
    ``intercept_`` is that weight. Several classes would be K binary fits, another objective: it
    serves two classes and labels.
    """
    params = {"regularizer": alpha * problem.X_train.shape[0], "fit_intercept": True}
    scaling = 1.0
    if max_iter is not None:
        scaling = SNAP_INTERCEPT
        params |= {"max_iter": max_iter, "tol": TINY, "intercept_scaling": scaling}
    model = snapml.LogisticRegression(random_state=seed, **params)
    coef, weights = _fit_for_task(model, problem)
    return coef, scaling * weights


def sgd_classifier(problem, alpha, *, max_iter=None, observe=None, seed=0):
    """scikit-learn's SGDClassifier(loss="log_loss"), which has the same alpha.

    Several classes would be K binary fits, another objective: it serves two classes and labels.
    """
    params = {} if max_iter is None else {"max_iter": max_iter, "tol": None}
    model = SGDClassifier(loss="log_loss", alpha=alpha, random_state=seed, **params)
    return _fit_for_task(model, problem)


def mlp_classifier(problem, alpha, *, max_iter=None, observe=None, seed=0):
    """scikit-learn's MLPClassifier without hidden layer, by Adam.

    Its penalty is divided by the rows of a batch: its alpha is alpha times 200.
    """
    rows = min(200, problem.X_train.shape[0])
    params = {"alpha": alpha * rows, "batch_size": rows, "random_state": seed}
    if max_iter is not None:
        params |= {"max_iter": max_iter, "tol": 0.0, "n_iter_no_change": 10**9}
    model = MLPClassifier((), **params)
    y = dense_labels(problem.y_train) if problem.task == "multilabel" else problem.y_train
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


def _logistic(solver, serves=Peer.serves, **params):
    return Peer(partial(logistic_regression, solver=solver, **params), serves=serves)


PEERS = {
    "lbfgs": _logistic("lbfgs"),
    "newton-cholesky": _logistic("newton-cholesky", serves=_few_parameters),
    "saga": _logistic("saga"),
    "liblinear": _logistic("liblinear", serves=_one_sigmoid_each),
    "SGDClassifier": Peer(sgd_classifier, serves=_one_sigmoid_each),
    "MLPClassifier": Peer(mlp_classifier),
    "kernels + L-BFGS": Peer(kernel_lbfgs, traced=True, plain=False),
    "kernels + whitened L-BFGS": Peer(
        partial(kernel_lbfgs, whitened=True), traced=True, plain=False, serves=_gram_fits
    ),
}
if torch is not None:
    PEERS["torch Adam"] = Peer(torch_adam, traced=True, plain=False)
    PEERS["torch LBFGS"] = Peer(torch_lbfgs, traced=True, plain=False)
if daal4py is not None:
    PEERS["intelex"] = _logistic("lbfgs", cls=IntelLogisticRegression)
if snapml is not None:
    PEERS["snapml"] = Peer(snap_classifier, serves=_one_sigmoid_each)
DEFAULT = ("lbfgs", "newton-cholesky", "saga", "liblinear", "intelex", "snapml")
DEFAULT = tuple(name for name in DEFAULT if name in PEERS)


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
        model.fit(problem.X_train, dense_labels(problem.y_train))
        fitted = model.estimators_
        return np.vstack([f.coef_ for f in fitted]), np.hstack([f.intercept_ for f in fitted])
    if problem.task == "soft":
        X, y, weights = expand(problem.X_train, problem.y_train)
        model.fit(X, y, sample_weight=weights)
    else:
        model.fit(problem.X_train, problem.y_train)
    return model.coef_, model.intercept_


def _torch_model(problem, alpha):
    K = problem.n_outputs
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
        y = dense_labels(problem.y_train).reshape(problem.X_train.shape[0], -1)
        return torch.from_numpy(y.astype(problem.X_train.dtype))
    return torch.from_numpy(problem.y_train.astype(np.int64))


def _torch_result(W, b):
    return W.detach().numpy().T, b.detach().numpy()
