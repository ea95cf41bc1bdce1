"""Leave-one-out losses are those of refits; standard errors those of statsmodels."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from registry import then_long
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from skce import MultiLabelLogistic, MultiLabelLogisticCV, MultinomialLogistic
from skce import MultinomialLogisticCV as SearchCV
from skce.inference import loo_log_loss, standard_errors
from skce.losses import sigmoid_cross_entropy, softmax_cross_entropy

EXACT = {"tol": 1e-10, "max_iter": 1000}
UNPENALISED = {"alpha": 0, "tol": 1e-12, "max_iter": 1000}
SOFTMAX = MultinomialLogistic(alpha=0.02, **EXACT)
LABELS = MultiLabelLogistic(alpha=0.02, **EXACT)


def task(name, seed=0, n=70):
    """An estimator with X, y and weights of the rows."""
    rng = np.random.default_rng(seed)
    X, weights = rng.standard_normal((n, 4)) + 3, None
    three = (X[:, :3] + rng.gumbel(size=(n, 3))).argmax(axis=1)
    marks = (X[:, :2] - 3 + rng.logistic(size=(n, 2)) > 0).astype(float)
    if name == "classes":
        return SOFTMAX, X, three, weights
    if name == "two classes":
        return SOFTMAX, X, three == 1, weights
    if name == "weights of classes and rows":
        model = clone(SOFTMAX).set_params(class_weight="balanced")
        return model, X, three, rng.integers(1, 3, n)
    if name == "probabilities":
        model = clone(SOFTMAX).set_params(label_smoothing=0.2)
        return model, X, rng.dirichlet(np.exp(X[0, :3] - 3), n), weights
    if name == "CSR without intercept":
        model = clone(SOFTMAX).set_params(fit_intercept=False)
        return model, sparse.csr_array(X * (rng.random(X.shape) < 0.7)), three, weights
    marks[rng.random(marks.shape) < 0.1] = np.nan
    return clone(LABELS).set_params(pos_weight=[2.0, 0.5]), X, marks, weights


TASKS = [
    *("classes", "two classes", "weights of classes and rows", "probabilities"),
    *("CSR without intercept", "missing labels"),
]


def row_loss(model, X, y):
    """The loss of a row as the model weighs it, without smoothing."""
    logits = np.atleast_2d(model.decision_function(X))
    if isinstance(model, MultiLabelLogistic):
        return sigmoid_cross_entropy(logits, y, pos_weight=model.pos_weight)
    if logits.shape[1] == 1 or logits.ndim == 1:
        return sigmoid_cross_entropy(logits.reshape(-1, 1), y.reshape(-1, 1).astype(float))
    return softmax_cross_entropy(logits, y)


def refitted_loss(model, X, y, weights):
    n = X.shape[0]
    weights = np.ones(n) if weights is None else weights
    factors = np.ones(n)
    if getattr(model, "class_weight", None) == "balanced":
        counts = np.bincount(y, weights)
        balanced = weights.sum() / (len(counts) * counts)
        model = clone(model).set_params(class_weight=dict(enumerate(balanced)))
        factors = balanced[y]
    losses = np.empty(n)
    for i in range(n):
        rest = weights.copy()
        rest[i] = 0
        losses[i] = row_loss(clone(model).fit(X, y, rest), X[[i]], y[[i]])
    return np.average(losses, weights=weights * factors)


@pytest.mark.parametrize("seed", then_long(range(3)))
@pytest.mark.parametrize("name", TASKS)
def test_loss_left_out_is_that_of_refits(name, seed):
    model, X, y, weights = task(name, seed)
    model = clone(model).fit(X, y, weights)
    assert_allclose(
        loo_log_loss(model, X, y, sample_weight=weights),
        refitted_loss(model, X, y, weights),
        rtol=0.01,
    )


def test_loss_left_out_does_not_depend_on_where_a_fit_of_the_default_tol_ends():
    X, y = load_iris(return_X_y=True)
    loose, exact = (MultinomialLogistic(alpha=0.01, tol=tol).fit(X, y) for tol in (1e-3, 1e-10))
    assert not np.array_equal(loose.coef_, exact.coef_)
    assert_allclose(loo_log_loss(loose, X, y), loo_log_loss(exact, X, y), rtol=1e-3)


def test_searches_are_judged_at_the_penalty_that_they_chose():
    _, X, y, _ = task("classes")
    search = SearchCV([0.05, 0.02], cv=3, **EXACT).fit(X, y)
    model = clone(SOFTMAX).set_params(alpha=search.alpha_).fit(X, y)
    assert_allclose(loo_log_loss(search, X, y), loo_log_loss(model, X, y), rtol=1e-6)
    _, X, y, _ = task("missing labels")
    search = MultiLabelLogisticCV([0.05, 0.02], cv=3, **EXACT).fit(X, y)
    model = clone(LABELS).set_params(alpha=search.alpha_).fit(X, y)
    assert_allclose(loo_log_loss(search, X, y), loo_log_loss(model, X, y), rtol=1e-6)


def test_a_model_that_interpolates_is_warned_of():
    X, y = load_iris(return_X_y=True)
    model = MultinomialLogistic(alpha=1e-5, **EXACT).fit(X, y)
    with pytest.warns(UserWarning, match="nearly interpolates"):
        loo_log_loss(model, X, y)


@pytest.mark.parametrize("function", [loo_log_loss, standard_errors])
def test_what_has_no_inverse_hessian_is_refused(function):
    model, X, y, _ = task("classes")
    rng = np.random.default_rng(0)
    with pytest.raises(NotFittedError):
        function(clone(model), X, y)
    with pytest.raises(TypeError, match="model must be a MultinomialLogistic"):
        function(LogisticRegression().fit(X, y), X, y)
    lasso = MultinomialLogistic(l1_ratio=0.5).fit(X, y)
    with pytest.raises(ValueError, match=r"model must have no L1 penalty, got l1_ratio=0\.5"):
        function(lasso, X, y)
    shares = MultiLabelLogistic(loss="softmax").fit(X, np.eye(3)[y])
    with pytest.raises(ValueError, match="model must not have the loss of shares"):
        function(shares, X, np.eye(3)[y])
    fitted = clone(model).fit(X, y)
    with pytest.raises(ValueError, match="X and y must be the rows that the model was fitted to"):
        function(fitted, X, rng.permutation(y))
    with pytest.raises(ValueError, match="y must have the classes of the fit"):
        function(fitted, X, y + 1)
    wide = rng.standard_normal((20, 3000))
    with pytest.raises(ValueError, match="got a Hessian of 1 x 6002 x 6002 numbers"):
        function(clone(model).fit(wide, np.arange(20) % 3), wide, np.arange(20) % 3)
    twice = np.hstack([X, X])
    free = MultinomialLogistic(**UNPENALISED).fit(twice, y)
    with pytest.raises(ValueError, match="X must have no collinear columns"):
        function(free, twice, y)
    unknown = np.where([True, False, False], np.nan, np.eye(3)[y])
    with pytest.warns(UserWarning, match="never observed: 0"):
        labels = MultiLabelLogistic().fit(X, unknown)
    with pytest.raises(ValueError, match="y no label without a known entry"):
        function(labels, X, unknown)
    huge = 1e200 * X
    far = MultinomialLogistic(alpha=0).fit(huge, y)
    with pytest.raises(ValueError, match="X must have finite squares"):
        function(far, huge, y)


def of_statsmodels(kind, X, y, robust, **arguments):
    """Errors (columns + 1, outputs), the constant's first."""
    sm = pytest.importorskip("statsmodels.api")
    with_constant = sm.add_constant(X)
    cov_type = "HC0" if robust else "nonrobust"
    if kind == "GLM":
        model = sm.GLM(y, with_constant, family=sm.families.Binomial(), **arguments)
        found = model.fit(tol=1e-14, cov_type=cov_type)
    else:
        model = getattr(sm, kind)(y, with_constant)
        found = model.fit(method="newton", disp=0, maxiter=100, tol=1e-14, cov_type=cov_type)
    return np.asarray(found.bse).reshape(X.shape[1] + 1, -1)


def set_of(name):
    if name == "iris":
        X, y = load_iris(return_X_y=True)
        return X[50:], y[50:] == 2
    data = getattr(pytest.importorskip("statsmodels.api").datasets, name).load_pandas()
    return data.exog.to_numpy(), data.endog.to_numpy()


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize(
    ("kind", "name"), [("Logit", "spector"), ("MNLogit", "anes96"), ("GLM", "iris")]
)
def test_standard_errors_are_those_of_statsmodels(kind, name, robust):
    X, y = set_of(name)
    model = MultinomialLogistic(**UNPENALISED).fit(X, y)
    found = standard_errors(model, X, y, robust=robust)
    ours = np.column_stack([found.intercept_se, found.coef_se]).T
    assert_allclose(ours, of_statsmodels(kind, X, y.astype(float), robust), rtol=1e-6)


@pytest.mark.parametrize("robust", [False, True])
def test_weights_of_rows_are_how_often_they_were_seen(robust):
    _, X, y, _ = task("two classes")
    times = np.arange(len(X)) % 3
    model = MultinomialLogistic(**UNPENALISED).fit(X, y, times)
    found = standard_errors(model, X, y, sample_weight=times, robust=robust)
    X, y = np.repeat(X, times, axis=0), np.repeat(y, times)
    again = standard_errors(model, X, y, robust=robust)
    assert_allclose(found.covariance, again.covariance, rtol=1e-8)
    ours = np.column_stack([found.intercept_se, found.coef_se]).T
    assert_allclose(ours, of_statsmodels("GLM", X, y.astype(float), robust), rtol=1e-6)


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("name", ["classes", "CSR without intercept", "missing labels"])
def test_covariance_is_the_inverse_hessian_or_the_sandwich(name, robust):
    model, X, y, _ = task(name)
    if name == "missing labels":
        model = clone(model).set_params(pos_weight=None)
    model = clone(model).fit(X, y)
    found = standard_errors(model, X, y, robust=robust)
    dense = X.toarray() if sparse.issparse(X) else X
    Z = np.hstack([dense, np.ones((len(dense), int(model.fit_intercept)))])
    n, q = Z.shape
    decay = model.alpha * np.diag((np.arange(q) < dense.shape[1]).astype(float))
    logits = Z[:, : dense.shape[1]] @ model.coef_.T + model.intercept_
    if name != "missing labels":  # of all classes, by the pseudo-inverse
        proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        k, one_hot = proba.shape[1], np.eye(3)[y]
        C = np.eye(k) * proba[:, None, :] - proba[:, :, None] * proba[:, None, :]
        H = sum(np.kron(C[i], np.outer(Z[i], Z[i])) for i in range(n)) / n
        inverse = np.linalg.pinv(H + np.kron(np.eye(k), decay))
        rows = np.array([np.kron(proba[i] - one_hot[i], Z[i]) for i in range(n)])
        contrasts = np.kron(np.hstack([-np.ones((k - 1, 1)), np.eye(k - 1)]), np.eye(q))
        V = inverse @ rows.T @ rows @ inverse / n**2 if robust else inverse / n
        expected = (contrasts @ V @ contrasts.T)[None]
        coef = model.coef_[1:] - model.coef_[0]
    else:
        proba, coef = 1 / (1 + np.exp(-logits)), model.coef_
        expected = np.empty((2, q, q))
        for c in range(2):
            seen = np.isfinite(y[:, c])
            curvature = seen * proba[:, c] * (1 - proba[:, c])
            inverse = np.linalg.inv(Z.T @ (curvature[:, None] * Z) / n + decay)
            rows = np.where(seen, proba[:, c] - y[:, c], 0)[:, None] * Z
            expected[c] = inverse @ rows.T @ rows @ inverse / n**2 if robust else inverse / n
    assert_allclose(found.covariance, expected, rtol=1e-5, atol=1e-9)
    assert_allclose(found.coef, coef)
    errors = np.sqrt([np.diag(V) for V in expected]).reshape(-1, q)
    assert_allclose(found.coef_se, errors[:, : dense.shape[1]], rtol=1e-5)
    constant = errors[:, -1] if model.fit_intercept else np.zeros(len(errors))
    assert_allclose(found.intercept_se, constant, rtol=1e-5)


def test_a_loss_that_is_no_likelihood_asks_for_robust_errors():
    _, X, y, _ = task("two classes")
    model = clone(SOFTMAX).set_params(class_weight={False: 1, True: 3}).fit(X, y)
    with pytest.raises(ValueError, match="robust must be True or False, got 'no'"):
        standard_errors(model, X, y, robust="no")
    with pytest.raises(ValueError, match="robust must be True with class_weight, got False"):
        standard_errors(model, X, y)
    found = standard_errors(model, X, y, robust=True)
    Z, proba = np.column_stack([X, np.ones(len(X))]), model.predict_proba(X)[:, 1]
    weights = np.where(y, 3, 1)
    curvature = weights * proba * (1 - proba) / weights.sum()
    decay = model.alpha * np.diag([1.0, 1, 1, 1, 0])
    inverse = np.linalg.inv(Z.T @ (curvature[:, None] * Z) + decay)
    rows = (weights * (proba - y))[:, None] * Z / weights.sum()
    assert_allclose(found.covariance[0], inverse @ rows.T @ rows @ inverse, rtol=1e-5)
    model = clone(SOFTMAX).set_params(label_smoothing=0.1).fit(X, y)
    with pytest.raises(ValueError, match="robust must be True with label_smoothing, got False"):
        standard_errors(model, X, y)


def test_fits_with_entry_weights_are_told():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    Y = (X[:, :2] + rng.logistic(size=(60, 2)) > 0).astype(float)
    weights = rng.uniform(0.2, 2, Y.shape)
    model = MultiLabelLogistic(alpha=0.01, tol=1e-8).fit(X, Y, entry_weight=weights)
    with pytest.raises(ValueError, match="without entry_weight"):
        standard_errors(model, X, Y, robust=True)
