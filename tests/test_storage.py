"""However X is stored, the fit is the same."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from test_tools import IRIS, assert_same_bits, every_model, model_and_y


def with_wide_indices(X):
    X = X.copy()
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def with_unsorted_indices(X):
    X = X.copy()
    for i in range(X.shape[0]):
        row = slice(X.indptr[i], X.indptr[i + 1])
        X.indices[row], X.data[row] = X.indices[row][::-1].copy(), X.data[row][::-1].copy()
    X.has_sorted_indices = X.has_canonical_format = False
    return X


def with_duplicates(X):
    parts = np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr
    return sparse.csr_array(parts, shape=X.shape)


SPARSE_FORMS = {
    "int64 indices": with_wide_indices,
    "unsorted": with_unsorted_indices,
    "duplicates": with_duplicates,
    "unsorted duplicates": lambda X: with_duplicates(with_unsorted_indices(X)),
    "csr_matrix": sparse.csr_matrix,
    "csc": sparse.csc_array,
    "coo": sparse.coo_array,
}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", SPARSE_FORMS)
@every_model
def test_sparse_matrix_is_its_canonical_csr(name, form, dtype, method):
    model, y = model_and_y(name)
    canonical = sparse.csr_array(np.where(IRIS > 2, IRIS, 0).astype(dtype))
    X = SPARSE_FORMS[form](canonical)
    expected = getattr(clone(model), method)(canonical, y)
    assert_same_bits(getattr(model, method)(X, y), expected)
    assert_array_equal(model.predict_proba(X), expected.predict_proba(canonical))


@every_model
def test_order_of_a_dense_array_does_not_matter(name):
    model, y = model_and_y(name)
    model.fit(IRIS, y)
    wide = np.zeros((300, 8))
    wide[::2, ::2] = IRIS
    for X in (np.asfortranarray(IRIS), wide[::2, ::2], IRIS.tolist()):
        assert_same_bits(clone(model).fit(X, y), model)
        assert_array_equal(model.predict_proba(X), model.predict_proba(IRIS))
