"""Centre, scale and samples of columns, and the step sizes made of them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skce._solvers.columns import SAMPLE, Moments, sample_rows, smoothness

STORAGE = {"dense": np.asarray, "csr": sparse.csr_array}
every_storage = pytest.mark.parametrize("stored", STORAGE.values(), ids=STORAGE)


def data(n=300, p=6, seed=0):
    """Columns of scales from 1e-3 to 1e3, each non-zero in about a third of the rows."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) + rng.standard_normal(p)
    return X * (rng.random((n, p)) < 0.3) * np.logspace(-3, 3, p)


def moments(*batches, weights=None):
    found = Moments(batches[0].shape[1])
    for X in batches:
        found.update(X, np.ones(X.shape[0]) if weights is None else weights, generator())
    return found


def generator():
    return np.random.default_rng(0)


def test_dense_moments_are_mean_variance_and_range():
    X = data()
    found = moments(X)
    assert_allclose(found.mean, X.mean(axis=0))
    assert_allclose(found.scatter, X.var(axis=0) * len(X))
    assert_allclose(found.low, X.min(axis=0))
    assert_allclose(found.high, X.max(axis=0))


def test_sparse_moments_are_the_mean_squares_of_the_non_zeros():
    X = data()
    assert_allclose(moments(sparse.csr_array(X)).scale(), (X**2).sum(axis=0) / (X != 0).sum(axis=0))


@every_storage
@pytest.mark.parametrize("cuts", [[1], [299], [100, 101, 250]])
def test_moments_of_a_stream_are_those_of_the_whole(cuts, stored):
    X = data()
    whole, stream = moments(stored(X)), moments(*(stored(part) for part in np.split(X, cuts)))
    for name in ("weight", "mean", "scatter"):
        assert_allclose(getattr(stream, name), getattr(whole, name), rtol=1e-10, atol=1e-12)
    assert_allclose(stream.low, whole.low)
    assert_allclose(stream.high, whole.high)


@every_storage
@pytest.mark.parametrize("n", [50, 3 * SAMPLE])
def test_scale_follows_the_columns(stored, n):
    X, units = data(n), np.logspace(4, -4, 6)
    expected = moments(stored(X))
    actual = moments(stored(X * units))
    assert_allclose(actual.scale(), expected.scale() * units**2)
    assert_allclose(actual.mean, expected.mean * units)


@pytest.mark.parametrize("cuts", [[], [100]])
def test_scale_of_dense_columns_does_not_depend_on_their_origin(cuts):
    X = data()
    origin = 1000 * X.std(axis=0)
    expected = moments(*np.split(X, cuts))
    actual = moments(*np.split(X + origin, cuts))
    assert_allclose(actual.scale(), expected.scale(), rtol=1e-9)
    assert_allclose(actual.mean - origin, expected.mean, rtol=1e-9)


@every_storage
def test_columns_of_one_value_have_scale_1(stored):
    X = np.zeros((10, 3))
    assert_array_equal(moments(stored(X)).scale(), [1, 1, 1])


def test_rare_column_is_no_smaller_than_its_reach_allows():
    X = data(5 * SAMPLE)
    X[:, 0] = 0
    X[-1, 0] = 100
    assert moments(X).scale()[0] >= 100**2 / (9 * 6) * 0.99


@every_storage
@pytest.mark.parametrize("n", [300, 3 * SAMPLE])
def test_rows_without_weight_are_as_good_as_removed(stored, n):
    X, weights = data(n), np.random.default_rng(1).integers(3, size=n).astype(float)
    X[weights == 0] *= 100
    kept = weights > 0
    expected, actual = moments(stored(X[kept])), moments(stored(X), weights=weights)
    assert_allclose(actual.scale(), expected.scale(), rtol=1e-10)
    assert_allclose(actual.mean, expected.mean)
    arguments = (np.zeros(6), 1 / expected.scale(), generator())
    expected = smoothness(stored(X[kept]), weights[kept], *arguments)
    arguments = (*arguments[:2], generator())
    assert_allclose(smoothness(stored(X), weights, *arguments), expected, rtol=1e-10)


@every_storage
def test_sample_is_of_distinct_rows_in_order(stored):
    rows = np.arange(10, 3 * SAMPLE, 2)
    X = stored(np.ones((3 * SAMPLE, 2)))
    assert_array_equal(sample_rows(X, rows[:SAMPLE], generator()), rows[:SAMPLE])
    sample = sample_rows(X, rows, generator())
    assert len(sample) == SAMPLE
    assert np.all(np.diff(sample) > 0)
    assert set(sample) <= set(rows)


@every_storage
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_smoothness_is_the_largest_eigenvalue_and_the_rest_of_the_norm(stored, weighted, scaled):
    rng = np.random.default_rng(3)
    X = data()
    weights = rng.uniform(0, 2, len(X)) if weighted else np.ones(len(X))
    weights /= weights.mean()
    mean = X.mean(axis=0) if stored is np.asarray else np.zeros(6)
    metric = 1 / (X**2).mean(axis=0) if scaled else np.logspace(0, -3, 6)
    largest, rest = smoothness(stored(X), weights, mean, metric, rng)
    Z = np.column_stack([(X - mean) * np.sqrt(metric), np.ones(len(X))])
    eigenvalue = np.linalg.eigvalsh(Z.T @ (weights[:, None] * Z) / len(X))[-1]
    assert 0.9 * eigenvalue <= largest <= eigenvalue * (1 + 1e-12)
    norm = np.mean(weights**2 * (Z**2).sum(axis=1))
    assert_allclose(rest, norm - largest, rtol=1e-10)


@every_storage
def test_smoothness_of_a_dominant_direction_is_exact(stored):
    X = data()
    X[:, -1] += 1e4
    Z = np.column_stack([X, np.ones(len(X))])
    largest, _ = smoothness(stored(X), np.ones(len(X)), np.zeros(6), np.ones(6), generator())
    assert_allclose(largest, np.linalg.norm(Z, 2) ** 2 / len(X), rtol=1e-9)


def test_smoothness_of_a_sample_estimates_that_of_all_rows():
    X = data(10 * SAMPLE)
    arguments = (np.ones(len(X)), X.mean(axis=0), 1 / X.var(axis=0), generator())
    Z = (X - arguments[1]) * np.sqrt(arguments[2])
    largest, rest = smoothness(X, *arguments)
    assert_allclose(largest + rest, np.mean((Z**2).sum(axis=1)) + 1, rtol=0.1)
