"""Sums of squares and of products over a matrix, against NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skce._engine.data import Matrix
from skce._engine.products import dense_grams, row_squares, squares, weighted_grams


def matrix(dtype, index):
    """Return CSR with an empty row, an empty column and explicit zeros, and the weights of rows."""
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((50, 9)) * (rng.random((50, 9)) < 0.4)
    dense[7], dense[:, 3] = 0, 0
    X = sparse.csr_array(dense.astype(dtype))
    X.data[::5] = 0
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    return X, rng.random(50) * (rng.random(50) < 0.7)


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_squares_are_those_of_numpy(dtype, index):
    X, weights = matrix(dtype, index)
    dense = X.toarray().astype(np.float64)
    live, scale = dense[weights > 0], np.logspace(-2, 2, 9)
    columns, count, rows, weighted = squares(Matrix(X), weights)
    assert_allclose(columns, (live**2).sum(axis=0), rtol=1e-14)
    assert_array_equal(count, (live != 0).sum(axis=0))
    assert_allclose(rows, (dense**2).sum(axis=1), rtol=1e-14)
    assert_allclose(weighted, weights @ dense**2, rtol=1e-14)
    assert_allclose(row_squares(Matrix(X), scale), dense**2 @ scale, rtol=1e-14)


def test_sums_of_squares_check_their_arrays():
    X, weights = matrix(np.float64, np.int32)
    scale = np.ones(9)
    for wrong in (X.toarray(), X.astype(int)):
        with pytest.raises(ValueError, match="CSR of float32 or float64"):
            squares(Matrix(wrong), weights)
        with pytest.raises(ValueError, match="CSR of float32 or float64"):
            row_squares(Matrix(wrong), scale)
    with pytest.raises(ValueError, match="weights must have 50"):
        squares(Matrix(X), weights[1:])
    with pytest.raises(ValueError, match="scale must have 9"):
        row_squares(Matrix(X), scale[1:])


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weighted_grams_are_those_of_the_dense_matrix(dtype, index):
    X, _ = matrix(dtype, index)
    twice = sparse.csr_array((X.data, X.indices.copy(), X.indptr), X.shape)
    twice.indices[twice.indices == 2] = 5  # some columns twice in a row, and out of order
    for part in (X, twice, X[:0]):
        weights = np.random.default_rng(1).random((part.shape[0], 3))
        dense = np.pad(part.toarray().astype(np.float64), ((0, 0), (0, 1)))
        expected = np.einsum("ij,ic,ik->cjk", dense, weights, dense)
        assert_allclose(weighted_grams(Matrix(part), weights), expected, rtol=1e-13, atol=1e-13)


def test_weighted_grams_refuse_what_does_not_fit():
    X = sparse.csr_array(np.eye(3))
    with pytest.raises(ValueError, match="weights must have 3 entries, got 2"):
        weighted_grams(Matrix(X), np.ones((2, 1)))
    with pytest.raises(ValueError, match="X must be CSR"):
        weighted_grams(Matrix(np.eye(3)), np.ones((3, 1)))


@pytest.mark.parametrize("p", [1, 15, 40, 400])  # one panel, several, BLAS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dense_grams_are_those_of_the_centred_columns_and_the_constant(dtype, p):
    rng = np.random.default_rng(p)
    X, mean = rng.standard_normal((75, p)).astype(dtype), rng.standard_normal(p).astype(dtype)
    weights = rng.random((75, 3))
    Z = np.pad(X.astype(float) - mean, ((0, 0), (0, 1)), constant_values=1)
    expected = np.einsum("ij,ic,ik->cjk", Z, weights, Z)
    error = 100 * np.finfo(dtype).eps
    for order in "CF":
        found = dense_grams(X, mean, weights.copy(order))
        assert_allclose(found, expected, rtol=error, atol=error * 75)
        assert found.dtype == dtype
    assert dense_grams(X, mean, weights[:, :0]).shape == (0, p + 1, p + 1)
    with pytest.raises(ValueError, match="weights must have 75 rows"):
        dense_grams(X, mean, weights[1:])
    with pytest.raises(ValueError, match=f"mean {p} entries"):
        dense_grams(X, mean[1:], weights)
