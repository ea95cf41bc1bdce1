"""The fitted optimum against LogisticRegression's and the reference, and what weights mean.

Both minimise the same strictly convex objective (EQUATIONS E2, alpha = 1 / (C · effective
weights)), skce to tol=1e-13 and scikit-learn by Newton's method to tol=1e-10,
so that 1e-6 leaves room for the conditioning only.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from registry import INSTANCES, then_long
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from skce import MultiLabelLogistic, MultinomialLogistic

ALPHA = 3e-3
EXACT = {"alpha": ALPHA, "tol": 1e-13, "random_state": 0}
TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}
STORAGE = {"dense": np.asarray, "csr": sparse.csr_array}

every_storage = pytest.mark.parametrize("storage", STORAGE)


def features(n=120, p=4, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, p))
    return X * np.resize([1.0, 0.3, 2.0, 1.0], p) + 0.5


def labels(X, k, seed=1):
    rng = np.random.default_rng(seed)
    logits = X @ rng.standard_normal((X.shape[1], k)) + rng.gumbel(size=(len(X), k))
    return logits.argmax(axis=1)


def indicator(X, k, seed=1):
    rng = np.random.default_rng(seed)
    logits = X @ rng.standard_normal((X.shape[1], k)) + 2 * rng.logistic(size=(len(X), k))
    Y = (logits > 1).astype(float)
    Y[:5] = 0
    return Y


def fractions(X, k):
    return np.clip(indicator(X, k) * 0.7 + np.random.default_rng(3).random((len(X), k)) / 2, 0, 1)


def row_weights(n):
    return np.random.default_rng(2).uniform(0.2, 3, size=n)


def logistic(X, y, sample_weight, mass, **options):
    """Fit scikit-learn's model to the objective of alpha = ALPHA and an effective weight mass."""
    model = LogisticRegression(
        C=1 / (ALPHA * mass), solver="newton-cholesky", tol=1e-10, max_iter=1000, **options
    )
    return model.fit(X, y, sample_weight=sample_weight)


def expanded(X, T):
    """Return X, label and weight of the rows that soft targets T (n, K) stand for."""
    n, k = T.shape
    keep = T.ravel() > 0
    return np.repeat(X, k, axis=0)[keep], np.tile(np.arange(k), n)[keep], T.ravel()[keep]


def assert_same_model(actual, expected, X):
    assert_allclose(actual.coef_, expected.coef_, **TOLERANCE)
    assert_allclose(
        actual.intercept_,
        np.broadcast_to(expected.intercept_, actual.intercept_.shape),
        **TOLERANCE,
    )
    assert_allclose(actual.predict_proba(X), expected.predict_proba(X), **TOLERANCE)


def assert_columns_are(model, columns, X):
    """Check that each label's part of the model is its own binary model."""
    assert_allclose(model.coef_, np.vstack([c.coef_ for c in columns]), **TOLERANCE)
    assert_allclose(model.intercept_, np.hstack([c.intercept_ for c in columns]), **TOLERANCE)
    proba = np.column_stack([c.predict_proba(X)[:, 1] for c in columns])
    assert_allclose(model.predict_proba(X), proba, **TOLERANCE)


@every_storage
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"fit_intercept": False}, {"class_weight": "dict"}, {"class_weight": "balanced"}],
    ids=str,
)
@pytest.mark.parametrize("k", [2, 3, 5])
def test_labels_have_the_optimum_of_logistic_regression(k, options, weighted, storage):
    X = features()
    y = labels(X, k)
    weight = row_weights(len(X)) if weighted else np.ones(len(X))
    by_class = np.ones(k)
    if options.get("class_weight") == "dict":
        by_class = np.linspace(0.4, 2.5, k)
        options = {"class_weight": dict(enumerate(by_class))}
    elif options.get("class_weight") == "balanced":
        by_class = weight.sum() / (k * np.bincount(y, weight))
    model = MultinomialLogistic(**EXACT, **options)
    model.fit(STORAGE[storage](X), y, sample_weight=weight if weighted else None)
    expected = logistic(X, y, weight, (weight * by_class[y]).sum(), **options)
    assert_same_model(model, expected, X)
    assert model.converged_


@every_storage
@pytest.mark.parametrize("class_weight", [None, "dict", "balanced"])
@pytest.mark.parametrize("k", [2, 4])
def test_soft_targets_are_rows_expanded_with_weights(k, class_weight, storage):
    X = features()
    T = np.random.default_rng(4).dirichlet(np.full(k, 0.4), size=len(X))
    T[:9] = np.eye(k)[labels(X, k)[:9]]
    weight = row_weights(len(X))
    by_class = np.ones(k)
    if class_weight == "dict":
        by_class = np.linspace(2.5, 0.4, k)
        class_weight = dict(enumerate(by_class))
    elif class_weight == "balanced":
        by_class = weight.sum() / (k * (weight @ T))
    model = MultinomialLogistic(class_weight=class_weight, **EXACT)
    model.fit(X, STORAGE[storage](T), sample_weight=weight)
    mass = (weight * (T @ by_class)).sum()
    expected = logistic(*expanded(X, weight[:, np.newaxis] * T), mass, class_weight=class_weight)
    assert_same_model(model, expected, X)


@pytest.mark.parametrize("class_weight", [None, "dict"])
@pytest.mark.parametrize("k", [2, 3])
def test_label_smoothing_is_a_fit_of_the_smoothed_targets(k, class_weight):
    X = features()
    y = labels(X, k)
    by_class = np.linspace(0.4, 2.5, k) if class_weight else np.ones(k)
    model = MultinomialLogistic(
        label_smoothing=0.1, class_weight=dict(enumerate(by_class)), **EXACT
    )
    smoothed = MultinomialLogistic(**EXACT)
    smoothed.fit(X, 0.9 * np.eye(k)[y] + 0.1 / k, sample_weight=by_class[y])
    assert_same_model(model.fit(X, y), smoothed, X)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("pos_weight", [None, 2.5, [0.5, 1, 4]])
@pytest.mark.parametrize("kind", [indicator, fractions])
@every_storage
def test_bce_is_one_logistic_regression_for_each_label(
    storage, kind, pos_weight, fit_intercept, smoothing
):
    X = features()
    Y, weight = kind(X, 3), row_weights(len(X))
    q = np.broadcast_to(1.0 if pos_weight is None else pos_weight, (3,))
    model = MultiLabelLogistic(
        pos_weight=pos_weight, fit_intercept=fit_intercept, label_smoothing=smoothing, **EXACT
    ).fit(STORAGE[storage](X), STORAGE[storage](Y), sample_weight=weight)
    columns = []
    for t, positive in zip(((1 - smoothing) * Y + smoothing / 2).T, q, strict=True):
        rows = expanded(X, weight[:, np.newaxis] * np.column_stack([1 - t, t]))
        options = {"class_weight": {0: 1, 1: positive}, "fit_intercept": fit_intercept}
        columns.append(logistic(*rows, weight.sum(), **options))
    assert_columns_are(model, columns, X)


@every_storage
def test_missing_entries_are_rows_not_observed(storage):
    X = features()
    Y, weight = indicator(X, 3), row_weights(len(X))
    Y[np.random.default_rng(5).random(Y.shape) < 0.3] = np.nan
    Y[7] = np.nan
    model = MultiLabelLogistic(**EXACT)
    model.fit(X, STORAGE[storage](Y), sample_weight=weight)
    columns = []
    for t in Y.T:
        seen = ~np.isnan(t)
        columns.append(logistic(X[seen], t[seen], weight[seen], weight.sum()))
    assert_columns_are(model, columns, X)


@every_storage
@pytest.mark.parametrize("real", [False, True])
def test_one_over_m_is_rows_expanded_with_their_share_of_the_weight(real, storage):
    X = features()
    Y, weight = indicator(X, 4), row_weights(len(X))
    if real:
        Y *= np.random.default_rng(6).uniform(0.3, 3, size=Y.shape)
    model = MultiLabelLogistic(loss="softmax", **EXACT)
    model.fit(STORAGE[storage](X), STORAGE[storage](Y), sample_weight=weight)
    M = np.maximum((Y > 0).sum(axis=1), 1)
    expected = logistic(*expanded(X, Y * (weight / M)[:, np.newaxis]), weight.sum())
    assert_same_model(model, expected, X)


NO_TARGETS = ("single", "-softmax_cross_entropy-masses", "-softmax_cross_entropy-missing")


@pytest.mark.parametrize(
    "instance", [i for i in INSTANCES if not any(name in f"-{i}" for name in NO_TARGETS)], ids=str
)
@pytest.mark.parametrize("p", then_long([4, 400]))
@every_storage
def test_gradient_of_the_objective_vanishes_at_the_fit(storage, p, instance):
    # The gradient at zero weights is about 0.1.
    X = features(p=p)
    problem = instance.problem(n=len(X), k=3)
    params = {**EXACT, "max_iter": 1000, **problem.options}
    if instance.loss == "softmax_cross_entropy":
        if instance.with_options:
            params["class_weight"] = dict(enumerate(params["class_weight"]))
        model = MultinomialLogistic(**params)
    else:
        loss = "bce" if instance.loss == "sigmoid_cross_entropy" else "softmax"
        model = MultiLabelLogistic(loss=loss, **params)
    model.fit(STORAGE[storage](X), problem.targets, sample_weight=problem.sample_weight)
    _, residuals = instance.reference(
        model.decision_function(X),
        problem.targets,
        sample_weight=problem.sample_weight,
        **problem.options,
    )
    assert_allclose((residuals.T @ X + ALPHA * model.coef_).astype(float), 0, atol=1e-6)
    assert_allclose(residuals.sum(axis=0).astype(float), 0, atol=1e-6)


MODELS = {
    "labels": (MultinomialLogistic, {}, lambda X: labels(X, 4)),
    "two labels": (MultinomialLogistic, {}, lambda X: labels(X, 2)),
    "balanced": (MultinomialLogistic, {"class_weight": "balanced"}, lambda X: labels(X, 3)),
    "smoothed": (MultinomialLogistic, {"label_smoothing": 0.1}, lambda X: labels(X, 3)),
    "probabilities": (
        MultinomialLogistic,
        {},
        lambda X: np.random.default_rng(7).dirichlet(np.ones(3), size=len(X)),
    ),
    "bce": (MultiLabelLogistic, {"pos_weight": 2}, lambda X: indicator(X, 3)),
    "softmax": (MultiLabelLogistic, {"loss": "softmax"}, lambda X: indicator(X, 3)),
    "one-vs-rest": (MultiLabelLogistic, {}, lambda X: labels(X, 3)),
}
every_model = pytest.mark.parametrize("name", MODELS)


def model_and_data(name, n=300, p=10, alpha=1e-2):
    estimator, options, targets = MODELS[name]
    X = np.random.default_rng(8).standard_normal((n, p))
    return estimator(alpha=alpha, random_state=0, **options), X, targets(X)


def parameters(model):
    return np.column_stack([model.coef_, model.intercept_])


@every_storage
@every_model
def test_weight_is_repetition(name, storage):
    model, X, y = model_and_data(name)
    times = np.random.default_rng(9).integers(0, 4, size=len(X))
    weighted = parameters(model.fit(STORAGE[storage](X), y, sample_weight=times))
    rows = np.repeat(np.arange(len(X)), times)
    repeated = parameters(model.fit(STORAGE[storage](X[rows]), y[rows]))
    assert_allclose(weighted, repeated, rtol=1e-7, atol=1e-7)


@every_model
def test_only_ratios_of_weights_matter(name):
    model, X, y = model_and_data(name)
    weight = row_weights(len(X))
    expected = parameters(model.fit(X, y, sample_weight=weight))
    for factor in (1e-6, 1e6):
        actual = parameters(model.fit(X, y, sample_weight=factor * weight))
        assert_allclose(actual, expected, rtol=1e-7, atol=1e-7)


@every_storage
@every_model
def test_unscaled_features_have_the_same_predictions(name, storage):
    # Without a penalty the scale of a column changes its weights only.
    model, X, y = model_and_data(name, alpha=0)
    model.set_params(tol=1e-8)
    scale = 10.0 ** np.linspace(-6, 6, X.shape[1])
    expected = model.fit(X, y).predict_proba(X)
    X = STORAGE[storage](X * scale)
    assert_allclose(model.fit(X, y).predict_proba(X), expected, rtol=1e-6, atol=1e-6)


@every_storage
@every_model
def test_float32_is_close_to_float64(name, storage):
    model, X, y = model_and_data(name)
    expected = parameters(model.fit(STORAGE[storage](X), y))
    model.fit(STORAGE[storage](X.astype(np.float32)), y)
    assert model.coef_.dtype == model.intercept_.dtype == np.float32
    assert model.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert_allclose(parameters(model), expected, rtol=1e-5, atol=1e-5)
