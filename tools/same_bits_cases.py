"""The fits and streams whose bits `same_bits` holds a change to."""

from itertools import product

import numpy as np
from scipy import sparse

from skce import (
    MultiLabelLogistic,
    MultiLabelLogisticCV,
    MultinomialLogistic,
    MultinomialLogisticCV,
    losses,
    optim,
)

__all__ = ["cases"]
SOLVERS = ("auto", "sdca", "lbfgs", "sgd", "adagrad", "adam")
STORAGE = ("dense", "csr")
TARGETS = (
    *("two classes", "classes", "names", "shares"),
    *("labels", "fractions", "missing", "1/M", "1/M masses", "1/M missing"),
)
FIELDS = ("coef_", "intercept_", "objective_", "dual_gap_", "loss_curve_", "n_iter_", "converged_")
ROWS, COLUMNS, CLASSES = 240, 6, 4
# seeds of `_hard`; the last ones go ways that few go
HARD = (*range(41), 62, 75, 79, 91, 160, 212, 239, 352, 400, 587, 2458, 2959)


def cases():
    """Return all fits and streams, {name: a function that returns {field: value}}."""
    return {**_products(), **_options(), **_ways(), **_streams()}


def _products():
    """Solvers x targets x storage x dtype x weights, and L1."""
    found = {}
    axes = (TARGETS, STORAGE, ("float32", "float64"), SOLVERS, (False, True))
    for targets, storage, dtype, solver, weighted in product(*axes):
        data = (targets, storage, dtype)
        name = f"{targets}, {storage}, {dtype}, {solver}" + ", weights" * weighted
        found[name] = _fit(data, weighted=weighted, solver=solver, alpha=1e-2)
        if solver in ("auto", "sdca") and weighted:
            for share in (0.5, 1.0):
                params = {"solver": solver, "alpha": 1e-2, "l1_ratio": share}
                found[f"{name}, L1 {share}"] = _fit(data, weighted=True, **params)
    return found


def _options():
    """Parameters of the estimators, a few at a time."""
    sgd = {"solver": "sgd", "max_iter": 20}
    common = {
        **{"no penalty": {"alpha": 0.0}, "last digits": {"alpha": 1e-6, "tol": 1e-9}},
        **{"no intercept": {"fit_intercept": False}, "smoothed": {"label_smoothing": 0.1}},
        **{"one pass": {"max_iter": 1, "solver": "sdca"}, "seed 7": {"random_state": 7}},
        **{"momentum": {**sgd, "momentum": 0.9}, "no average": {**sgd, "average": False}},
        **{"rate": {**sgd, "learning_rate": 0.1}, "batches": {**sgd, "batch_size": 7}},
        "schedule": {**sgd, "learning_rate": optim.inverse_scaling(0.03, scale=50)},
        "diverging rate": {**sgd, "learning_rate": 1e8},
        "sdca, no intercept, smoothed": {
            **{"solver": "sdca", "fit_intercept": False, "label_smoothing": 0.1}
        },
        "lbfgs, no penalty, no intercept": {
            **{"solver": "lbfgs", "alpha": 0.0, "fit_intercept": False}
        },
    }
    found = {}
    for targets, storage in product(("classes", "missing", "1/M missing"), STORAGE):
        data = (targets, storage, "float64")
        own = {}
        if targets == "classes":
            own["balanced"] = {"class_weight": "balanced"}
        if targets == "missing":
            weights = {"pos_weight": [3.0, 0.5, 1.0, 9.0]}
            own = {f"positives, {solver}": {"solver": solver, **weights} for solver in SOLVERS}
        for name, params in {**common, **own}.items():
            found[f"{targets}, {storage}, {name}"] = _fit(data, **params)
        for solver in SOLVERS:
            name = f"{targets}, {storage}, {solver}, warm"
            found[name] = _fit(data, then={"alpha": 1e-3}, solver=solver, alpha=1e-2)
    return found


def _streams():
    """Batches of several sizes by partial_fit, alone and after a fit."""
    found = {}
    axes = (TARGETS, STORAGE, ("sgd", "adagrad", "adam"))
    for targets, storage, solver in product(*axes):
        data = (targets, storage, "float32")
        for sizes in ((80, 80, 80), (17, 1, 222)):
            name = f"stream {sizes}, {targets}, {storage}, {solver}"
            found[name] = _stream(data, sizes, solver=solver)
        name = f"stream after a fit, {targets}, {storage}, {solver}"
        found[name] = _stream(data, (120, 120), fit_first=True, solver=solver)
    return found


def _ways():
    """Return problems that take "auto", and what it chooses from, each of their ways."""
    embeddings = ("classes", "unit rows", "float32", {"n": 3000, "p": 300, "k": 26})
    counts = ("classes", "csr", "float64", {"n": 3000, "p": 300, "k": 8})
    text = ("classes", "csr", "float64", {"n": 1500, "p": 5000, "k": 3})
    tall_counts = ("classes", "csr", "float32", {"n": 30_000, "p": 200, "k": 3})
    large = ("classes", "dense", "float32", {"n": 1000, "p": 1500, "k": 4})
    missing = ("missing", *large[1:])
    tall = ("classes", "dense", "float32", {"n": 100_000, "p": 12, "k": 4})
    wide = ("classes", "dense", "float64", {"n": 300, "p": 4100, "k": 4})
    many = ("labels", "csr", "float64", {"n": 500, "p": 80, "k": 130})
    gigabyte = ("labels", "dense", "float32", {"n": 900_000, "p": 1, "k": 300})
    small, stalling = ("classes", "dense", "float64"), ("classes", "dense", "float32")
    samples = ("classes", "dense", "float32", {"n": 60_000, "p": 64, "k": 3})
    return {
        "one row": _fit(("1/M", "dense", "float64", {"n": 1, "p": 4, "k": 3}), solver="lbfgs"),
        "no row has a target": _fit(("1/M none", "dense", "float64")),
        "start above zero": _fit(small, then={"alpha": 1e4}, solver="lbfgs", alpha=1e-6),
        "embeddings": _fit(embeddings, alpha=1e-3),
        "embeddings, sdca is slow": _fit(embeddings, alpha=1e-1 / 3000, tol=1e-12),
        "embeddings, sdca is left out": _fit(embeddings, alpha=1.1 / 30 / 3000),
        "verbose": _fit(small, verbose=1, solver="lbfgs"),
        "wide, verbose": _fit(wide, alpha=1e-3, verbose=1),
        "the gap stalls": _fit(stalling, alpha=1e-3, l1_ratio=0.5, tol=1e-9, max_iter=1000),
        "counts": _fit(counts, alpha=1e-3),
        "text": _fit(text, alpha=1e-3),
        "text, diagonals": _fit(text, alpha=1e-5, tol=1e-6, solver="lbfgs"),
        "one matrix": _fit(large, alpha=1e-3, solver="lbfgs"),
        "one matrix, missing": _fit(missing, alpha=1e-3, solver="lbfgs"),
        "tall counts, some rows": _fit(tall_counts, alpha=1e-5, solver="lbfgs"),
        "certified": _fit(small, alpha=1e-3, certified=True, solver="lbfgs"),
        "certified, rounding": _fit(
            stalling, alpha=1e-3, tol=1e-13, certified=True, solver="lbfgs"
        ),
        "many labels": _fit(many, alpha=1e-3),
        "tall, samples of rows": _fit(tall, alpha=1e-5),
        "tall, weights": _fit(tall, weighted=True, alpha=1e-5),
        "wide": _fit(wide, alpha=1e-3, solver="lbfgs"),
        "wide, auto": _fit(wide, alpha=1e-6),
        "a table beyond a gigabyte": _fit(gigabyte, max_iter=1),
        "huge columns": _fit(small, times=1e200, verbose=1),
        "huge columns, L1": _fit(small, times=1e200, l1_ratio=0.5),
        "tiny columns": _fit(small, times=1e-200),
        "tiny columns, no penalty": _fit(small, times=1e-200, alpha=0.0),
        "a tiny column, no penalty": _fit(stalling, times=[1e-25, *5 * [1.0]], alpha=0.0),
        "huge and tiny columns, no penalty": _fit(small, times=[1e-200, *5 * [1e3]], alpha=0.0),
        "columns that are nearly alike": _fit(("classes", "alike", "float32"), alpha=1e-3),
        "columns that are nearly alike, no penalty": _fit(
            ("classes", "alike", "float32"), alpha=0.0
        ),
        "many rows, samples of them": _fit(samples, alpha=1e-7, solver="lbfgs"),
        "many rows, samples of them, one step": _fit(
            samples, alpha=1e-5, solver="lbfgs", max_iter=1
        ),
        "squares that overflow": _refused(small, times=[1e200, *5 * [1.0]], solver="lbfgs"),
        "a path of penalties": _path(small),
        "a path of penalties, missing": _path(("missing", "dense", "float64")),
        **{f"hard {seed}": _hard(seed) for seed in HARD},
    }


def _hard(seed):
    """Return the function that fits columns of any scale and place at any alpha and tol."""

    def results():
        rng = np.random.default_rng(seed)
        n, p, k = (int(rng.integers(*bounds)) for bounds in ((5, 200), (1, 12), (2, 6)))
        X = rng.standard_normal((n, p)) * 10.0 ** rng.uniform(-4, 4, p)
        X = X + 10.0 ** rng.uniform(-2, 4) * rng.standard_normal(p)
        if rng.random() < 0.4:
            X = sparse.csr_array(X * (rng.random(X.shape) < 0.5))
        scores = X @ rng.standard_normal((p, k))
        scores = scores * (rng.choice([0, 3, 30, 1e9]) / np.abs(scores).max())
        kind = str(rng.choice(["classes", "shares", "labels", "1/M missing"]))
        y = _targets(kind, scores + rng.gumbel(size=scores.shape), rng)
        params = {
            "alpha": float(rng.choice([0.0, 10.0 ** rng.uniform(-13, 2)], p=[0.1, 0.9])),
            "solver": str(rng.choice(["auto", "lbfgs", "sdca"])),
            "tol": float(10.0 ** rng.uniform(-14, 0.5)),
            "max_iter": int(rng.choice([1, 3, 100])),
            "fit_intercept": bool(rng.random() < 0.8),
        }
        if params["alpha"] == 0 and params["solver"] == "sdca":
            params["solver"] = "auto"
        X = X.astype(rng.choice(["float32", "float64"]))
        return _results(_model(kind, **params).fit(X, y), X)

    return results


def _refused(data, **params):
    """Return the function that tells why a fit raises."""
    fit = _fit(data, **params)

    def results():
        try:
            return fit()
        except ValueError as error:
            return {"error": str(error), "converged_": False}

    return results


def _path(data):
    """Return the function that fits from penalty to penalty, each near the one before."""

    def results():
        X, y, _ = _draw(*data)
        kind = MultinomialLogisticCV if data[0] == "classes" else MultiLabelLogisticCV
        model = kind(alphas=[1e-1, 1e-2, 1e-3], cv=3, random_state=0).fit(X, y)
        return {name: getattr(model, name) for name in ("coef_", "scores_")} | {"converged_": True}

    return results


def _fit(data, *, weighted=False, then=None, times=None, **params):
    """Return the function that fits, and with `then` fits again from there, and tells."""

    def results():
        X, y, weight = _draw(*data[:3], **dict(*data[3:]))
        X = X if times is None else X * np.asarray(times, X.dtype)
        model = _model(data[0], **params)
        model.fit(X, y, weight if weighted else None)
        if then:
            model.set_params(warm_start=True, **then).fit(X, y, weight if weighted else None)
        return _results(model, X)

    return results


def _stream(data, sizes, *, fit_first=False, **params):
    """Return the function that runs partial_fit over batches of these sizes, and tells."""

    def results():
        X, y, weight = _draw(*data)
        model = _model(data[0], **params)
        if fit_first:
            model.fit(X[:100], y[:100])
        known = {"classes": np.unique(y)} if np.ndim(y) == 1 else {}
        first = 0
        for size in sizes:
            rows = slice(first, first + size)
            model.partial_fit(X[rows], y[rows], sample_weight=weight[rows], **known)
            first += size
        return _results(model, X)

    return results


def _model(targets, **params):
    """Return the estimator of a kind of targets."""
    params = {"random_state": 0, **params}
    if targets in TARGETS[:4]:
        return MultinomialLogistic(**params)
    return MultiLabelLogistic(loss="softmax" if "1/M" in targets else "bce", **params)


def _results(model, X):
    """Return what a fitted model publishes, and probabilities of some rows."""
    fields = {key: getattr(model, key) for key in FIELDS}
    return {**fields, "predict_proba": model.predict_proba(X[:50])}


def _draw(targets, storage, dtype, *, n=ROWS, p=COLUMNS, k=CLASSES, seed=0):
    """Draw X, y and weights, some of them zero."""
    rng = np.random.default_rng(seed)
    scale = 2.0 ** (np.arange(p) % COLUMNS)
    X = rng.standard_normal((n, p)) * scale + rng.standard_normal(p)
    if storage == "alike":
        X[:, 1] = X[:, 0] + 1e-4 * X[:, 1]
    if storage == "unit rows":
        X = X / np.linalg.norm(X, axis=1, keepdims=True)
    if storage == "csr":
        X = sparse.csr_array(X * (rng.random(X.shape) < min(0.5, 20 / p)))
    k = 2 if targets == "two classes" else k
    scores = X @ (rng.standard_normal((p, k)) / scale[:, None])
    scores = scores + rng.gumbel(size=scores.shape)
    weight = rng.uniform(0.2, 2, n) * (rng.random(n) < 0.9)
    return X.astype(dtype), _targets(targets, scores, rng), weight


def _targets(kind, scores, rng):
    if kind in ("two classes", "classes"):
        return scores.argmax(axis=1)
    if kind == "names":
        return np.array(["pear", "fig", "apple", "plum"])[scores.argmax(axis=1)]
    if kind == "shares":
        return losses.softmax(scores)
    y = (scores > 1) * float("none" not in kind)
    if kind in ("fractions", "1/M masses"):
        y *= rng.uniform(0.1, 1, y.shape) * (3 if "1/M" in kind else 1)
    if "missing" in kind:
        y[rng.random(y.shape) < 0.1] = np.nan
    return y
