"""Sums over parts are those over the rows of one array, and so are what is found by them."""

import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from plain import KINDS, random_case
from registry import then_long

from skce._engine.passes import Pass
from skce._solvers import parts, sums
from skce._solvers import problem as problem_module
from skce._solvers.auto import minimize
from skce._solvers.objective import Objective
from skce._solvers.parts import Part, PartsProblem
from skce._solvers.result import Limits

DENSE_FEW = {"n": (60, 90), "p": (5, 9)}


def case_of(name, seed, **options):
    return random_case(8 * seed + list(KINDS).index(name), **options)


class Source:
    """Parts as another process would have them: all goes there and back as bytes."""

    def __init__(self, problem, number, **options):
        edges = np.linspace(0, problem.X.shape[0], number + 1).astype(int)
        pieces = [slice(*ends) for ends in pairwise(edges)]
        self.loads = [
            lambda rows=rows: problem.of_rows(rows, problem.weights[rows]) for rows in pieces
        ]
        self.options, self.rounds = options, 0
        self.make()

    def make(self):
        self.parts = [Part(i, load, **self.options) for i, load in enumerate(self.loads)]

    def __len__(self):
        return len(self.parts)

    def each(self, view, function, args):
        self.rounds += 1
        sent = pickle.dumps((view, function, args))
        return (pickle.loads(pickle.dumps(p.run(*pickle.loads(sent)))) for p in self.parts)


def optimum(problem, **limits):
    limits = Limits(**{"tol": 1e-6, "max_iter": 1000, "certified": True, **limits})
    start = np.zeros((problem.X.shape[1] + 1, problem.k))
    with np.errstate(all="ignore"):
        return minimize(problem, start, np.random.RandomState(0), limits, "lbfgs")


@pytest.mark.parametrize("number", then_long([7, 1, 2]))
@pytest.mark.parametrize("name", KINDS)
def test_sums_over_parts_are_those_of_all_rows(name, number):
    case = case_of(name, 1, **DENSE_FEW)
    problem, rng = case.problem, case.rng
    other = PartsProblem.of(Source(problem, number))
    for field in ("is_sparse", "n_weighted", "has_missing", "weighs_entries", "kind", "k"):
        assert getattr(other, field) == getattr(problem, field)
    assert other.X.shape == problem.X.shape
    assert_allclose(other.total_weight, problem.total_weight)
    for field in ("target_sums", "label_weights", "entropy", "column_squares", "at_zero"):
        assert_allclose(getattr(other, field), getattr(problem, field), rtol=1e-6, atol=1e-12)
    eps = float(np.finfo(problem.X.dtype).eps)
    near = {"rtol": 100 * eps, "atol": 100 * eps}
    W = case.near(np.zeros(case.plain.shape), 3.0)
    one, many = Objective(problem), Objective(other)
    (value, gradient), (value_, gradient_) = (each.value_and_gradient(W) for each in (one, many))
    size = np.abs(gradient).max() + 1
    assert_allclose(value_, value, **near)
    assert_allclose(gradient_ / size, gradient / size, **near)
    v = rng.standard_normal(W.shape)
    size = np.abs(one.product(v)).max() + 1
    assert_allclose(many.product(v) / size, one.product(v) / size, **near)
    for each in (False, True):
        matrices = [
            problem.sum(sums.second_moments, sums.Drawn(None, None, 0), curvature, np.float64)
            for problem, curvature in (
                (problem, one.curvature(each, 0.01)),
                (other, many.curvature(each, 0.01)),
            )
        ]
        size = np.abs(matrices[0]).max()
        assert_allclose(matrices[1] / size, matrices[0] / size, rtol=1e-3, atol=1e3 * eps)
    if problem.alpha:
        (*_, gap), (*_, gap_) = one.certified(W), many.certified(W)
        assert_allclose(gap_, gap, rtol=1e-3, atol=1e3 * eps * value)


@pytest.mark.parametrize("number", then_long([7, 1, 2]))
@pytest.mark.parametrize("name", KINDS)
def test_parts_have_the_optimum_of_one_array_and_its_certificate(name, number):
    case = case_of(name, 2, alpha=1e-3, scales=0, **DENSE_FEW)
    _, least = case.plain.optimum()
    other = PartsProblem.of(Source(case.problem, number))
    found = optimum(other)
    assert case.plain.objective(found.W) - least <= 1.1e-6 * abs(least) + 1e-12
    assert other.is_within(found.gap, found.objective, 1e-6)


@pytest.mark.parametrize("name", ["labels", "1/M missing"])
def test_tables_that_are_not_kept_or_lost_are_made_again(name, monkeypatch):
    case = case_of(name, 3, alpha=1e-3, scales=0, **DENSE_FEW)
    kept = optimum(PartsProblem.of(Source(case.problem, 3)))
    found = optimum(PartsProblem.of(Source(case.problem, 3, keeps=False)))
    assert (found.W == kept.W).all()
    losing = Source(case.problem, 3)

    def each(view, function, args):
        losing.make()
        return Source.each(losing, view, function, args)

    monkeypatch.setattr(losing, "each", each)
    assert (optimum(PartsProblem.of(losing)).W == kept.W).all()


def test_samples_are_bounded_and_stand_for_all_rows(monkeypatch):
    case = case_of("labels", 0, n=(3000, 3001), p=(6, 7), k=(3, 4), scales=0, storage="dense")
    monkeypatch.setattr(parts, "SAMPLE_BYTES", 100 * 6 * case.problem.X.itemsize)
    other = PartsProblem.of(Source(case.problem, 4))
    few, more = other.samples([50, 700], np.random.RandomState(0))
    assert few.X.shape == (50, 6)
    assert more.X.shape == (100, 6)
    assert {*few.X[:, 0]} <= {*more.X[:, 0]} <= {*case.problem.X[:, 0]}
    for part in few, more:
        assert_allclose(part.weights.sum(), other.total_weight)


def test_rows_drawn_of_parts_stand_for_all_rows():
    case = case_of("labels", 0, n=(30_000, 30_001), p=(45, 46), k=(3, 4), scales=0, storage="dense")
    other = PartsProblem.of(Source(case.problem, 5))
    drawn = other.draw(5000, np.random.RandomState(0))
    A = case.problem.sum(
        sums.second_moments, sums.Drawn(None, None, 0), sums.row_weights, np.float64
    )[0]
    B = other.sum(sums.second_moments, drawn, sums.row_weights, np.float64)[0]
    assert 0.9 < np.trace(B) / np.trace(A) < 1.1
    assert other.draw(30_000, None) == sums.Drawn(None, None, other.n_weighted)


def test_one_pass_is_one_round_trip():
    case = case_of("labels", 0, **DENSE_FEW)
    source = Source(case.problem, 3)
    other = PartsProblem.of(source)
    assert source.rounds == 1
    W = np.zeros(case.plain.shape)
    for kind, args in ((Pass.LOSS, ()), (Pass.DUAL, (None, np.ones(other.k), np.zeros(other.k)))):
        before = source.rounds
        other.full_pass(kind, W, np.empty(W.shape), *args)
        assert source.rounds == before + 1


def test_rows_wider_than_many_are_gathered():
    case = case_of("labels", 0, n=(20, 21), p=(40, 41), alpha=1e-2, scales=0, storage="dense")
    _, least = case.plain.optimum()
    found = optimum(PartsProblem.of(Source(case.problem, 3)))
    assert case.plain.objective(found.W) - least <= 1.1e-6 * least


def test_numbers_whose_squares_overflow_are_divided_in_each_part():
    case = case_of("labels", 0, alpha=1e-3, scales=0, storage="dense", **DENSE_FEW)
    X = case.problem.X.astype(float)
    centre = None if case.problem.centre is None else case.problem.centre * 1e200
    problem = replace(case.problem, X=X * 1e200, centre=centre, alpha=1e-3 * 1e300)
    one, many = optimum(problem), optimum(PartsProblem.of(Source(problem, 3)))
    assert_allclose(many.objective, one.objective, rtol=1e-5)


def mapped_case(path, dtype):
    case = case_of("labels", 5, n=(3000, 3001), p=(6, 7), k=(3, 4), alpha=1e-3, scales=0,
                   storage="dense", dtype=dtype)  # fmt: skip
    X = np.memmap(path, dtype, "w+", shape=case.problem.X.shape)
    X[:] = case.problem.X
    return case, replace(case.problem, X=X)


def test_samples_of_a_memory_map_are_bounded(tmp_path, monkeypatch):
    case, problem = mapped_case(tmp_path / "X", np.float64)
    monkeypatch.setattr(problem_module, "SAMPLE_BYTES", 100 * 6 * 8)
    rng = np.random.RandomState(0)
    assert [part.X.shape[0] for part in problem.samples([50, 700], rng)] == [50, 100]
    assert [part.X.shape[0] for part in case.problem.samples([50, 700], rng)] == [50, 700]
    part = problem.of_rows(slice(10, 900), problem.weights[10:900])
    assert [few.X.shape[0] for few in part.samples([150], rng)] == [100]  # a view of it too


def test_a_memory_map_that_goes_on_in_double_is_not_copied(tmp_path, monkeypatch):
    case, problem = mapped_case(tmp_path / "X", np.float32)
    monkeypatch.setattr(parts, "SAMPLE_BYTES", 100)
    monkeypatch.setattr(parts, "BLOCK_BYTES", 1000 * 6 * 4)
    wide = parts.in_double(problem)
    assert isinstance(wide, PartsProblem)
    assert len(wide.source) == 3
    assert not isinstance(parts.in_double(case.problem), PartsProblem)
    found, expected = optimum(problem, tol=1e-8), optimum(case.problem, tol=1e-8)
    assert_allclose(found.objective, expected.objective, rtol=1.1e-8)
