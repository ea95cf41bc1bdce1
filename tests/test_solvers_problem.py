"""Problems of the solvers against plain NumPy, and the certificate as a bound of the true gap."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plain import KINDS, Plain, random_case
from registry import then_long
from scipy import optimize, sparse, special

from skce._estimators.encoded import Encoded
from skce._kernels import Loss
from skce._solvers.certificate import certificate
from skce._solvers.problem import Problem

EPS = {np.dtype(np.float32): 3e-6, np.dtype(np.float64): 1e-12}

every_kind = pytest.mark.parametrize("name", KINDS)
many_seeds = pytest.mark.parametrize("seed", then_long(range(0, 48, 8), 2))


def case_of(name, seed, **options):
    return random_case(8 * seed + list(KINDS).index(name), **options)


def tolerance(case):
    """Rounding of the dtype of X, in the units of the objective."""
    return EPS[case.problem.X.dtype]


@many_seeds
@every_kind
def test_target_sums_label_weights_and_entropy_are_those_of_the_targets(name, seed):
    case = case_of(name, seed)
    problem = case.problem
    plain, rtol = case.plain, tolerance(case)
    assert_allclose(problem.target_sums, plain.B.sum(axis=0), rtol=rtol, atol=rtol)
    assert_allclose(problem.label_weights, plain.omega.sum(axis=0), rtol=rtol, atol=rtol)
    assert_allclose(problem.entropy, plain.entropy(), rtol=rtol, atol=10 * rtol)


@many_seeds
@every_kind
def test_objective_at_zero(name, seed):
    case = case_of(name, seed)
    plain, rtol = case.plain, 10 * tolerance(case)
    zero = np.zeros(plain.shape)
    assert_allclose(case.problem.at_zero, plain.objective(zero), rtol=rtol)

    def at_intercept(b):
        W = np.zeros(plain.shape)
        W[-1] = b
        return plain.loss(W), plain.loss_gradient(W)[-1]

    expected = plain.objective(zero)
    if plain.fit_intercept:
        found = optimize.minimize(at_intercept, zero[-1], jac=True, method="BFGS", tol=1e-9)
        expected = found.fun
    if name != "1/M missing":  # only the scale of the floor: the missing entries are ignored there
        assert_allclose(case.problem.at_best_intercept, expected, rtol=max(rtol, 1e-6), atol=1e-7)
    value = float(case.rng.uniform(0.1, 5))
    floor = np.sqrt(np.finfo(case.problem.X.dtype).eps) * case.problem.at_best_intercept
    for tol in (1e-1, 1e-5):
        for excess in (0.0, 0.5 * floor, value):
            assert_allclose(
                case.problem.goal(case.problem.entropy + excess, tol),
                tol * max(excess, floor),
                rtol=1e-6,
                atol=1e-15,
            )


@many_seeds
@every_kind
def test_weights_of_the_entries(name, seed):
    case = case_of(name, seed)
    masses, plain = case.problem.entry_weights, case.plain
    live = plain.omega > 0
    if plain.sigmoid:
        row = np.asarray(case.encoded.weights)[:, None] / np.sum(case.encoded.weights)
        expected = np.divide(plain.omega, row, out=np.zeros(live.shape), where=row > 0)
    else:
        expected = plain.seen.astype(float)
    if masses is None:
        assert_allclose(expected[live], 1, rtol=tolerance(case))
    else:
        assert masses.dtype == case.problem.X.dtype
        assert_allclose(masses[live], expected[live], rtol=tolerance(case))
        assert not masses[~plain.seen].any()


@many_seeds
@every_kind
def test_dual_begins_at_the_targets(name, seed):
    case = case_of(name, seed)
    table, negentropy = case.problem.start_table
    plain, rtol = case.plain, tolerance(case)
    assert table.dtype == case.problem.X.dtype
    live = plain.omega > 0
    assert_allclose(table[live], plain.tau[live], rtol=rtol, atol=rtol)
    assert_allclose(case.problem.weights @ negentropy, -plain.entropy(), rtol=rtol, atol=10 * rtol)
    # the Fenchel-Young losses of the targets are the losses less the entropy
    W = case.near(np.zeros(plain.shape), 1.0)
    excess = plain.loss(W) - plain.entropy()
    assert_allclose(plain.young(W, np.where(live, table, 0)), excess, atol=100 * rtol)


@many_seeds
@every_kind
def test_coefficients_go_to_the_centred_columns_and_back(name, seed):
    case = case_of(name, seed, scales=0)
    X, problem = case.encoded.X, case.problem
    W = case.rng.standard_normal(case.plain.shape)
    coef, intercept = problem.from_centred(W)
    X = X.toarray() if sparse.issparse(X) else X
    logits = X.astype(float) @ coef.T + intercept
    assert_allclose(logits, case.plain.Z @ W, rtol=1e-5, atol=1e-5)
    assert_allclose(problem.to_centred(coef, intercept), W, rtol=1e-10, atol=1e-12)
    expected = np.average(X.astype(float), axis=0, weights=problem.weights)
    if problem.fit_intercept and not sparse.issparse(case.encoded.X):
        assert_allclose(problem.centre, expected, rtol=1e-6, atol=1e-9)
    else:
        assert problem.centre is None


@pytest.mark.parametrize("name", ["labels", "1/M", "bce"])
def test_subset_keeps_the_sum_of_the_weights(name):
    case = case_of(name, 3)
    rows = np.sort(case.rng.choice(case.problem.X.shape[0], 5, replace=False))
    part = case.problem.subset(rows)
    assert part.X.shape[0] == part.targets.shape[0] == 5
    assert_allclose(part.weights.sum(), case.problem.weights.sum())
    expected = case.problem.weights[rows] / case.problem.weights[rows].sum()
    assert_allclose(part.weights / part.weights.sum(), expected)


def random_table(case, near):
    """Probabilities of the observed entries, near those at a point or anywhere."""
    plain = case.plain
    if plain.sigmoid:
        table = case.rng.random(plain.omega.shape) ** case.rng.choice([1.0, 8.0])
    else:
        table = case.rng.dirichlet(np.full(plain.shape[1], 0.7), size=len(plain.Z)) + 1e-30
    table = (1 - near) * table + near * plain.proba(case.near(np.zeros(plain.shape), 0.5))
    table = np.where(plain.seen, table, 0)
    if not plain.sigmoid:
        live = plain.seen.any(axis=1)
        table[live] /= table[live].sum(axis=1, keepdims=True)
    return table.astype(case.problem.X.dtype)


@every_kind
def test_certificate_is_a_bound(name):
    """gap >= true gap, at any point, near the optimum, for its own and any other table."""
    finite = tight = checked = 0
    for seed in range(30):
        case = case_of(name, seed)
        plain, problem = case.plain, case.problem
        best, least = plain.optimum()
        points = [case.near(np.zeros(plain.shape), 100.0)]
        points += [case.near(best, spread) for spread in (0, 1e-3, 0.1)]
        for i, W in enumerate(points):
            tables = [None, random_table(case, 0), random_table(case, 0.99)]
            tables.append(plain.proba(best).astype(problem.X.dtype))
            for table in tables:
                pi = plain.proba(W) if table is None else table.astype(float)
                value, gap = certificate(problem, W, table, plain.sums(pi))
                checked += 1
                if gap == np.inf:
                    assert name == "1/M missing"
                    continue
                finite += 1
                true = plain.objective(W)
                tiny = 10 * tolerance(case) * max(true, problem.at_zero)
                assert_allclose(value, true, rtol=10 * tolerance(case), atol=tiny)
                assert gap >= true - least - tiny
                excess = true - plain.entropy()
                assert gap <= excess * (1 + 1e-5) + tiny  # no worse than knowing nothing
                tight += i == 1 and gap <= 1e-3 * problem.at_zero
    assert finite >= (0.6 if name == "1/M missing" else 1) * checked
    assert tight >= 15  # at the optimum, of 2 tables that fit it in each of the 30


@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
@every_kind
def test_certificate_with_l1_is_a_bound(name, l1_ratio):
    """SciPy's minimum over W = U - V, U and V not negative, is above the true one."""
    for seed in range(8):
        case = case_of(name, seed, scales=0, dtype=np.float64)
        plain = case.plain
        alpha = plain.alpha
        plain.decay = plain.decay * (1 - l1_ratio)
        problem = Problem.of(
            *(case.encoded, case.problem.smoothing, alpha, l1_ratio),
            *(plain.fit_intercept, np.random.RandomState(0)),
        )
        size, shape = np.prod(plain.shape), plain.shape

        def split(theta, size=size, shape=shape):
            return (theta[:size] - theta[size:]).reshape(shape)

        price = np.full(shape, alpha * l1_ratio)
        price[-1] = 0
        price = np.tile(price.ravel(), 2)

        def fun(theta, plain=plain, price=price, split=split):
            W = split(theta)
            g = plain.gradient(W).ravel()
            return plain.objective(W) + price @ theta, np.r_[g, -g] + price

        found = optimize.minimize(
            *(fun, np.zeros(2 * size)),
            **{"jac": True, "method": "L-BFGS-B", "bounds": [(0, None)] * (2 * size)},
            options={"ftol": 0, "gtol": 1e-9, "maxiter": 2000, "maxcor": 30},
        )
        best = split(found.x)
        for W in (best, case.near(best, 0.1), case.near(0 * best, 100.0)):
            for table in (None, random_table(case, 0.5), plain.proba(best)):
                pi = plain.proba(W) if table is None else table
                value, gap = certificate(problem, W, table, plain.sums(pi))
                true = plain.objective(W) + alpha * l1_ratio * np.abs(W[:-1]).sum()
                if gap < np.inf:
                    assert_allclose(value, true, rtol=1e-10)
                    assert gap >= true - found.fun - 1e-9 * problem.at_zero


def test_certificate_of_the_optimum_is_zero():
    for seed in range(64):
        case = random_case(seed, dtype=np.float64, scales=1)
        best, value = case.plain.optimum()
        _, gap = certificate(case.problem, best, None, case.plain.sums(case.plain.proba(best)))
        assert 0 <= gap <= 1e-8 * value


def test_unprojected_table_would_be_no_bound():
    """The example of EQUATIONS 7a: 95 to 5, zero weights, their table: the truth is 0.5036."""
    y = (np.arange(200) % 20 == 0).astype(np.intc)
    encoded = Encoded(np.zeros((200, 1)), Loss.SOFTMAX, y, 2, np.ones(200), None, {})
    problem = Problem.of(encoded, 0.0, 1e-3, 0.0, True, np.random.RandomState(0))
    value, gap = certificate(problem, np.zeros((2, 2)), None, np.full(2, 0.5))
    excess = np.log(2) - special.entr([0.05, 0.95]).sum()
    assert_allclose(value, np.log(2))
    assert excess <= gap * (1 + 1e-12)


def test_one_over_m_is_softmax_with_row_weights():
    T = np.array([[1.0, 0, 3], [0, 0, 0], [0, 2, 0], [np.nan, 1, 1], [np.nan] * 3])
    targets = sparse.csr_array(T)
    encoded = Encoded(np.eye(5), Loss.MULTILABEL_SOFTMAX, targets, 3, np.full(5, 2.0), None, {})
    problem = Problem.of(encoded, 0.0, 1.0, 0.0, False, np.random.RandomState(0))
    assert problem.kind == Loss.SOFTMAX
    assert_allclose(problem.weights, [0.4, 0, 0.4, 0.2, 0])
    expected = [[0.25, 0, 0.75], [0, 0, 0], [0, 1, 0], [np.nan, 0.5, 0.5], [np.nan] * 3]
    assert_allclose(problem.targets.toarray(), expected)
    assert_array_equal(targets.toarray(), T)
    assert problem.has_missing


@pytest.mark.parametrize("k", [4, 330])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gap_with_missing_entries_is_a_bound_far_from_any_optimum(k, dtype):
    """Intercepts in the hundreds, where curvature vanishes."""
    for seed in range(12 if k == 4 else 2):
        rng = np.random.default_rng(seed)
        T = np.where(rng.random((5, k)) < 0.5, np.nan, (rng.random((5, k)) < 0.4) * 1.0)
        T[:, 1] = 0  # a label that is never on
        T[0, 0] = 1
        X = rng.standard_normal((5, 2)).astype(dtype)
        encoded = Encoded(
            *(X, Loss.MULTILABEL_SOFTMAX, sparse.csr_array(T.astype(dtype)), k),
            *(np.ones(5), None, {}),
        )
        smoothing = 0.1 * (seed % 2)
        problem = Problem.of(encoded, smoothing, 1e-3, 0.0, True, np.random.RandomState(0))
        plain = Plain(
            *("1/M", X, T, np.ones(5)),
            **{"smoothing": smoothing, "alpha": 1e-3, "centre": problem.centre},
        )
        upper = plain.objective(np.zeros(plain.shape))
        least = plain.optimum()[1] if k == 4 else plain.entropy()
        for scale in (0.0, 1.0, 1000.0):
            W = (scale * rng.standard_normal(plain.shape)).astype(dtype).astype(float)
            value, gap = certificate(problem, W, None, None)
            assert gap >= (value - least if k == 4 else 0) - 1e-5 * max(upper, value)
            assert gap <= value - plain.entropy() + 1e-5 * max(upper, value)
