"""Passes of SDCA against plain NumPy: what each leaves behind, and where they end."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plain import KINDS, random_case
from scipy import sparse, special
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from skce import MultiLabelLogistic, MultinomialLogistic
from skce._solvers.ascent import CHANGED, FIRST_Q, SDCA
from skce._solvers.auto import find_optimum
from skce._solvers.result import Limits
from skce._solvers.sdca import GROUP, SplitSDCA
from skce._solvers.stopping import MOST_PASSES

every_kind = pytest.mark.parametrize("name", KINDS)
every_storage = pytest.mark.parametrize("storage", ["dense", "csr"])
every_start = pytest.mark.parametrize("start", ["zero", "elsewhere"])


def case_of(name, seed=0, **options):
    defaults = {"dtype": np.float64, "scales": 1, "n": (40, 80)}
    return random_case(8 * seed + list(KINDS).index(name), **{**defaults, **options})


def start_of(case, start):
    W = np.zeros(case.plain.shape)
    return W if start == "zero" else case.near(W, 20.0)


@every_start
@every_storage
@pytest.mark.parametrize("seed", range(3))
@every_kind
def test_weights_belong_to_the_table(name, seed, storage, start):
    """(near M + alpha) W = near M Wc - V after each pass; the table holds probabilities."""
    case = case_of(name, seed, storage=storage)
    plain = case.plain
    engine = SDCA(case.problem, start_of(case, start), np.random.RandomState(0))
    untouched = engine.table.copy()
    for passes in range(1, 8):
        list(engine.in_parts(1))
        centre = engine.W - engine.change
        live = plain.omega > 0
        pi = np.where(plain.seen, engine.table, 0)
        assert ((pi >= 0) & (pi <= 1)).all()
        if not plain.sigmoid:
            assert_allclose(pi[live[:, 0]].sum(axis=1), 1, atol=1e-12)
        V = plain.dual_vector(np.where(live, pi, 0))
        near = engine.prox_weight * engine.metric[:, None]
        expected = (near * centre[:-1] - V[:-1]) / (near + plain.alpha)
        size = np.abs(expected).max()
        assert_allclose(engine.W[:-1], expected, rtol=1e-7, atol=1e-9 * size)
        if plain.fit_intercept:
            assert_allclose(
                engine.W[-1],
                centre[-1] - V[-1] / engine.intercept_prox_weight,
                rtol=1e-7,
                atol=1e-9,
            )
        else:
            assert not engine.W[-1].any()
        assert_array_equal(engine.table[~live.any(axis=1)], untouched[~live.any(axis=1)])
        terms = special.xlogy(pi, pi)
        if plain.sigmoid:
            terms = terms + special.xlogy(1 - pi, 1 - pi)
            terms = terms * (1 if engine.entry_weights is None else engine.entry_weights)
        rows = live.any(axis=1)
        assert_allclose(engine.negentropy[rows], terms.sum(axis=1)[rows], atol=1e-9)
        assert engine.passes == passes


@every_storage
@pytest.mark.parametrize("alpha", [1e3, 1e-3])
def test_leverages_are_those_of_the_rows(alpha, storage):
    case = case_of("softmax" if "softmax" in KINDS else next(iter(KINDS)), storage=storage)
    problem = replace(case.problem, alpha=alpha)
    engine = SDCA(problem, np.zeros(case.plain.shape), np.random.RandomState(0))
    X = problem.X.toarray() if storage == "csr" else problem.X - problem.centre_in_dtype
    assert np.ptp(engine.metric) > 0
    for times in (1, 1.5, 1000):  # q
        engine.q = times * FIRST_Q[storage == "csr"]
        near, _ = engine._prox_weights()
        list(engine.in_parts(1))
        inverse = 1 / (near * engine.metric + alpha)
        told = engine.leverage * (engine.problem.column_squares @ inverse)
        expected = X**2 @ inverse
        assert_allclose(problem.weights @ told, problem.weights @ expected, rtol=1e-9)
        off = problem.weights @ np.abs(told - expected) / (problem.weights @ expected)
        assert off <= (1e-9 if times == 1 else CHANGED)


@every_storage
@pytest.mark.parametrize("seed", range(3))
@every_kind
def test_passes_end_at_the_optimum(name, seed, storage):
    case = case_of(name, seed, storage=storage, alpha=1e-2)
    plain, problem = case.plain, case.problem
    _, least = plain.optimum()
    engine = SDCA(problem, np.zeros(plain.shape), np.random.RandomState(0))
    for _ in range(1000):
        list(engine.in_parts(1))
        W = engine.W.copy()
        engine.turn_back()
        value, gap = engine.evaluate()
        assert_allclose(value, plain.objective(engine.W), rtol=1e-11)
        assert gap >= value - least - 1e-12
        engine.turn_back(-1.0)
        assert_allclose(engine.W, W, atol=1e-14 * np.abs(W).max())
        if gap <= 1e-9:
            break
    assert gap <= 1e-9
    assert plain.objective(engine.W) - least <= 2e-9
    list(engine.in_parts(1))
    assert_allclose(engine.value, value, rtol=1e-5)  # of the pass, an estimate


def test_bounds_are_made_where_the_last_one_tells_that_they_may_be_enough(monkeypatch):
    made, evaluate = [], SDCA.evaluate

    def counted(engine):
        found = evaluate(engine)
        if engine.passes % MOST_PASSES:  # where they are made whatever the estimate
            made.append((engine.estimated_gap, found[1]))
        return found

    monkeypatch.setattr(SDCA, "evaluate", counted)
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((30, 30)))[0]  # columns that correlate: slow passes
    X = rng.standard_normal((400, 30)) * np.logspace(0, 2, 30) @ turn
    y = (X[:, :3] / 20 + rng.gumbel(size=(400, 3))).argmax(axis=1)
    options = {"solver": "sdca", "alpha": 1e-2, "max_iter": 1000, "random_state": 0}
    model = MultinomialLogistic(**options).fit(X, y)
    assert model.converged_
    goal = model.tol * model.objective_
    assert 2 <= len(made) <= 6
    for (estimate, gap), (later, _) in pairwise(made):
        assert later * min(1, gap / estimate) <= 1.001 * goal


@every_storage
@every_kind
def test_a_pass_in_parts_is_the_same_pass(name, storage):
    case = case_of(name, 1, storage=storage)
    whole, parted = (
        SDCA(case.problem, np.zeros(case.plain.shape), np.random.RandomState(0)) for _ in range(2)
    )
    for number in range(4):
        list(whole.in_parts(1))
        passes = [parted.passes for _ in parted.in_parts(4)]
        assert passes == [number + part / 4 for part in range(1, 5)]
        assert_array_equal(parted.W, whole.W)
        assert_allclose(parted.value, whole.value, rtol=1e-12)
        assert_allclose(parted.estimated_gap, whole.estimated_gap, rtol=1e-9)


@every_storage
@every_kind
def test_start_at_the_optimum_stays_there(name, storage):
    case = case_of(name, 1, storage=storage, alpha=1e-2)
    best, least = case.plain.optimum()
    engine = SDCA(case.problem, best, np.random.RandomState(0))
    list(engine.in_parts(1))
    assert case.plain.objective(engine.W) - least <= 1e-9
    assert_allclose(engine.W, best, atol=1e-4 * np.abs(best).max())


def many_labels(dtype=np.float64, storage="dense", n=150):
    return case_of(
        "bce missing", 2, n=(n, n + 1), p=(5, 6), k=(2 * GROUP + 2, 2 * GROUP + 3), scales=0,
        alpha=1e-2, dtype=dtype, storage=storage,
    )  # fmt: skip


@every_storage
def test_groups_of_labels_are_one_problem(storage):
    case = many_labels(storage=storage)
    plain = case.plain
    engine = SplitSDCA(case.problem, np.zeros(plain.shape), np.random.RandomState(0))
    assert len(engine.engines) == 2
    for _ in range(300):
        list(engine.in_parts(1))
        told, gap = engine.evaluate()
        if gap <= 1e-8:
            break
    assert gap <= 1e-8
    value = plain.objective(engine.W.astype(float))
    assert_allclose(told, value, rtol=1e-10)
    gradient = plain.gradient(engine.W.astype(float))
    # |gradient|^2 / (2 alpha) bounds the gap where the intercept's is zero
    assert np.abs(gradient).max() <= 2e-4
    start, rng = np.zeros(plain.shape), np.random.RandomState(0)
    found = find_optimum(case.problem, start, rng, Limits(1e-8, 1000), "lbfgs")
    assert abs(found.objective - value) <= 1e-7 * value


@every_storage
def test_groups_of_labels_have_the_same_bits_in_threads(storage):
    found = []
    for threads in (1, 2):
        case = many_labels(np.float32, storage, 600)
        with threadpool_limits(threads):
            engine = SplitSDCA(case.problem, np.zeros(case.plain.shape), np.random.RandomState(0))
            engine.threads = threads
            for _ in range(5):
                list(engine.in_parts(1))
        found.append(np.r_[engine.W.ravel(), engine.value, engine.estimated_gap])
    assert_array_equal(*found)


@pytest.mark.parametrize("name", ["labels", "bce missing"])
def test_problem_is_left_as_it_was(name):
    """The table is where a second fit of the same problem would begin."""
    case = case_of(name, 0)
    before = [a.copy() for a in case.problem.start_table]
    engine = SDCA(case.problem, np.zeros(case.plain.shape), np.random.RandomState(0))
    list(engine.in_parts(1))
    for actual, expected in zip(case.problem.start_table, before, strict=True):
        assert_array_equal(actual, expected)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
@pytest.mark.parametrize("positives", [1, 5])
def test_rare_labels_that_weigh_as_much_as_their_negatives_take_few_passes(positives, l1_ratio):
    rng = np.random.default_rng(0)
    n = 1000
    X = sparse.random(n, 60, 0.1, "csr", rng=rng)
    Y = np.zeros((n, 3), int)
    for label in range(3):
        Y[rng.choice(n, positives + label, replace=False), label] = 1
    weight = (n - Y.sum(axis=0)) / Y.sum(axis=0)
    model = MultiLabelLogistic(
        solver="sdca", pos_weight=weight, alpha=1e-3, l1_ratio=l1_ratio, random_state=0
    ).fit(X, Y)
    assert model.converged_
    assert model.n_iter_ <= 40


@pytest.mark.parametrize("alpha", [1e-4, 1e-2])
@pytest.mark.parametrize(
    "weight",
    [np.logspace(-3, 6, 6), [1.0] * 5 + [1e6], [1.0] * 5 + [1e-6], [1e6] * 6],
    ids=["spread", "one heavy", "one light", "all heavy"],
)
@pytest.mark.parametrize("share", [0.3, 0.003])
def test_positive_weights_of_any_size_are_fitted(share, weight, alpha):
    """Each of the labels has its best intercept far from the others'."""
    rng = np.random.default_rng(0)
    X = sparse.random(2000, 100, 0.05, "csr", rng=rng)
    Y = (rng.random((2000, 6)) < share).astype(int)
    options = {"pos_weight": weight, "alpha": alpha, "random_state": 0}
    found = [MultiLabelLogistic(solver=s, **options).fit(X, Y) for s in ("sdca", "lbfgs")]
    assert found[0].converged_
    assert_allclose(found[0].objective_, found[1].objective_, rtol=2e-3)


@pytest.mark.parametrize("heavy", [1e3, 1e6])
def test_heavy_rows_of_many_classes_are_fitted(heavy):
    rng = np.random.default_rng(0)
    X = sparse.random(2000, 100, 0.05, "csr", rng=rng)
    y = (3 * (X @ rng.standard_normal((100, 5))) + rng.gumbel(size=(2000, 5))).argmax(axis=1)
    weights = np.where(rng.random(2000) < 0.01, heavy, 1.0)
    found = [
        MultinomialLogistic(solver=s, alpha=1e-5, random_state=0).fit(X, y, sample_weight=weights)
        for s in ("sdca", "lbfgs")
    ]
    assert found[0].converged_
    assert_allclose(found[0].objective_, found[1].objective_, rtol=2e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gap_that_rounding_holds_ends_the_passes(dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 20)).astype(dtype)
    y = (X @ rng.standard_normal((20, 3)) + rng.gumbel(size=(200, 3))).argmax(axis=1)
    model = MultinomialLogistic(
        solver="sdca", l1_ratio=1.0, alpha=1e-3, tol=0, max_iter=10_000, random_state=0
    )
    with pytest.warns(ConvergenceWarning, match="falls too slowly"):
        model.fit(X, y)
    assert model.n_iter_ <= 2000
    assert model.dual_gap_ <= (1e-3 if dtype == np.float32 else 1e-9) * model.objective_


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
def test_shares_with_classes_that_no_row_has_end_within_tol(storage, dtype):
    """Their intercepts run away, and the bound of the gap is too loose to follow."""
    rng = np.random.default_rng(88)
    X = storage((rng.standard_normal((70, 58)) * rng.uniform(0.1, 10, 58)).astype(dtype))
    P = np.zeros((70, 7))
    P[:, 4:] = rng.dirichlet(np.ones(3), 70)
    params = {"alpha": 7.5e-5, "random_state": 0}
    model = MultinomialLogistic(solver="sdca", tol=8.3e-6, max_iter=300, **params).fit(X, P)
    least = MultinomialLogistic(solver="lbfgs", tol=1e-11, **params).fit(X.astype(float), P)
    assert model.converged_
    entropy = special.entr(P).sum(axis=1).mean()
    goal = 8.3e-6 * max(model.objective_ - entropy, np.finfo(dtype).eps ** 0.5 * np.log(3))
    assert model.objective_ - least.objective_ <= goal


def test_bound_that_stands_still_for_a_while_does_not_end_the_passes():
    """With L1 alone the table is of use only once no weight asks for more than alpha."""
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((240, 6)) * 2.0 ** np.arange(6)) + rng.standard_normal(6)
    scores = X @ (rng.standard_normal((6, 4)) / 2.0 ** np.arange(6)[:, None])
    y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    model = MultinomialLogistic(l1_ratio=1.0, alpha=1e-5, tol=1e-5, max_iter=2000, random_state=0)
    assert model.fit(X, y).converged_


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_fit_cut_short_is_not_above_the_best_constants(l1_ratio):
    rng = np.random.default_rng(0)
    X = sparse.random(500, 30, 0.1, "csr", rng=rng)
    Y = np.zeros((500, 2), int)
    Y[:3, 0] = Y[5:7, 1] = 1
    weight = 1e6
    model = MultiLabelLogistic(
        solver="sdca", pos_weight=weight, l1_ratio=l1_ratio, max_iter=1, random_state=0
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(X, Y)
    on = Y.sum(axis=0) * weight / 500
    off = 1 - Y.mean(axis=0)
    constants = -(on * np.log(on / (on + off)) + off * np.log(off / (on + off))).sum()
    assert model.objective_ <= constants * (1 + 1e-9)


@pytest.mark.parametrize("params", [{"l1_ratio": 1.0}, {"solver": "sdca"}])
def test_columns_that_few_rows_hold_are_learnt(params):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 12))
    X[:, 4:] *= 3 * (rng.random((4000, 8)) < 0.002)  # 8 rows of each
    y = (X[:, :1] + rng.gumbel(size=(4000, 3))).argmax(axis=1)
    model = MultinomialLogistic(alpha=1e-3, random_state=0, **params).fit(X, y)
    assert model.stop_reason_ == "tol"
    assert model.n_iter_ < 60


@pytest.mark.parametrize("alpha", [1e-2, 1e-3, 1e-4, 1e-5])
def test_columns_without_entries_change_no_pass(alpha):
    """How far the penalty holds rows is told by the columns that these have."""
    rng = np.random.default_rng(0)
    X, y = sparse.random_array((90, 30), density=0.2, rng=rng, format="csr") / 30, np.arange(90) % 3
    wide = sparse.csr_array((X.data, X.indices, X.indptr), (X.shape[0], 10 * X.shape[1]))
    model = MultinomialLogistic(alpha=alpha, solver="sdca", tol=1e-6, random_state=0)
    few, many = (MultinomialLogistic(**model.get_params()).fit(Z, y) for Z in (X, wide))
    assert few.n_iter_ == many.n_iter_
    assert_allclose(few.coef_, many.coef_[:, : X.shape[1]], rtol=1e-6, atol=1e-9)


def test_end_between_passes_tells_rows_held_out_as_the_optimum_does():
    rng, n, p, k, words = np.random.RandomState(0), 4000, 1500, 12, 8
    topics, every = rng.dirichlet(np.full(p, 0.02), k), rng.dirichlet(np.full(p, 0.1))
    y = rng.randint(k, size=n)
    X = np.zeros((n, p))
    for row, topic in zip(X, y, strict=True):
        own = rng.choice(p, words, p=topics[topic])
        row[np.where(rng.random_sample(words) < 0.4, own, rng.choice(p, words, p=every))] = 1
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    train, test = slice(0, n, 2), slice(1, n, 2)
    params = {"alpha": 2 / n, "random_state": 0, "solver": "sdca"}

    def held_out(**more):
        model = MultinomialLogistic(**params, **more).fit(sparse.csr_array(X[train]), y[train])
        return log_loss(y[test], model.predict_proba(X[test]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skce._solvers.ascent.BACK", 0.0)
        passed = held_out()
    between, best = held_out(), held_out(tol=1e-7, max_iter=1000)
    assert best < between < best + 0.65 * (passed - best)
