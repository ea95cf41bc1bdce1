"""`threshold="f1"` is learnt on rows held out; `top_k` gives the best labels of each row."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import f1_score
from sklearn.model_selection import KFold

from skce import MultiLabelLogistic
from skce.metrics import best_thresholds

rng = np.random.default_rng(0)
X = rng.normal(size=(600, 5))
Y = (X @ rng.normal(size=(5, 4)) + rng.logistic(size=(600, 4)) > 2).astype(int)
CONTAINERS = [np.asarray, sparse.csr_array, sparse.csr_matrix]
every_container = pytest.mark.parametrize("container", CONTAINERS)
every_loss = pytest.mark.parametrize("loss", ["bce", "softmax"])


def dense(y):
    return y.toarray() if sparse.issparse(y) else y


def held_out_thresholds(model, X, y, weight):
    """The thresholds by scikit-learn's folds and the public functions alone."""
    proba = np.empty(y.shape)
    for part, rest in KFold(3, shuffle=True, random_state=np.random.RandomState(0)).split(X):
        twin = clone(model).set_params(threshold=None)
        proba[rest] = twin.fit(X[part], y[part], sample_weight=weight[part]).predict_proba(X[rest])
    return best_thresholds(y, proba, sample_weight=weight)


@every_container
@every_loss
@pytest.mark.parametrize("missing", [False, True])
def test_learnt_thresholds_are_the_best_of_rows_that_no_fit_saw(missing, loss, container):
    y = np.where(rng.random(Y.shape) < 0.2, np.nan, Y) if missing else Y
    weight = rng.uniform(0.5, 2, len(X))
    model = MultiLabelLogistic(loss=loss, threshold="f1", random_state=0)
    model.fit(X, container(y), sample_weight=weight)
    assert_allclose(model.threshold_, held_out_thresholds(model, X, y, weight), rtol=1e-9)
    assert_array_equal(dense(model.predict(X)), model.predict_proba(X) > model.threshold_)
    plain = clone(model).set_params(threshold=None).fit(X, container(y), sample_weight=weight)
    assert_array_equal(model.coef_, plain.coef_)
    assert not hasattr(plain, "threshold_")


def test_learnt_thresholds_raise_f1():
    model = MultiLabelLogistic(random_state=0).fit(X[:400], Y[:400])
    tuned = clone(model).set_params(threshold="f1").fit(X[:400], Y[:400])

    def score(fitted):
        return f1_score(Y[400:], fitted.predict(X[400:]), average="macro")

    assert score(tuned) > score(model) + 0.02


def test_rows_without_weight_are_not_held_out():
    weight = np.ones(len(X))
    weight[::3] = 0
    model = MultiLabelLogistic(threshold="f1", random_state=0).fit(X, Y, weight)
    live = weight > 0
    assert_allclose(
        model.threshold_, clone(model).fit(X[live], Y[live]).threshold_, rtol=1e-6, atol=1e-9
    )


@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_labels_of_one_value_keep_thresholds():
    y = Y.astype(float)
    y[:, 0], y[:, 1], y[:, 2] = 0, 1, np.nan
    model = MultiLabelLogistic(threshold="f1").fit(X, y)
    assert model.threshold_[0] == model.threshold_[2] == 1
    on = model.predict(X)
    assert on[:, 1].all()
    assert not on[:, [0, 2]].any()
    one = MultiLabelLogistic(threshold="f1", random_state=0).fit(X, sparse.csr_array(Y[:, :1]))
    assert one.threshold_.shape == (1,)


@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_what_cannot_learn_thresholds_is_named():
    model = MultiLabelLogistic(threshold="f1")
    with pytest.raises(ValueError, match=r'threshold must not be "f1" in partial_fit'):
        model.partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"threshold must be None where y has one dimension"):
        model.fit(X, Y[:, 0])
    with pytest.raises(ValueError, match=r'two rows with a weight for threshold="f1", got 1'):
        model.fit(X, Y, np.arange(len(X)) == 3)
    assert not hasattr(model, "coef_")
    fitted = MultiLabelLogistic().fit(X, Y).set_params(threshold="f1")
    with pytest.raises(ValueError, match=r"'f1' before fit, got 'f1' after"):
        fitted.predict(X)


@every_container
@every_loss
@pytest.mark.parametrize("k", [1, 3, 4])
def test_top_k_labels_are_those_of_predict_top_k(k, loss, container):
    y = container(Y.astype(np.float32))
    model = MultiLabelLogistic(loss=loss, top_k=k, random_state=0).fit(X, y)
    predicted = model.predict(X)
    assert type(predicted) is type(y)
    assert predicted.dtype == np.float32
    best, _ = model.predict_top_k(X, k)
    expected = np.zeros(Y.shape)
    np.put_along_axis(expected, best, 1, axis=1)
    assert_array_equal(dense(predicted), expected)
    assert model.score(X, y) == (expected == Y).all(axis=1).mean()


@pytest.mark.filterwarnings("ignore:y has labels of one value")
def test_top_k_leaves_out_labels_that_no_row_shows():
    y = Y.astype(float)
    y[:, 1] = np.nan
    model = MultiLabelLogistic(top_k=4).fit(X, y)
    assert_array_equal(model.predict(X), np.tile([1, 0, 1, 1], (len(X), 1)))
    nothing = MultiLabelLogistic(top_k=1).fit(X, np.full(Y.shape, np.nan))
    assert not nothing.predict(X).any()


@pytest.mark.parametrize("k", [0, 5, 1.5, "two"])
def test_wrong_top_k_is_named(k):
    with pytest.raises(ValueError, match="top_k"):
        MultiLabelLogistic(top_k=k).fit(X, Y)


@pytest.mark.parametrize(
    "params", [{"top_k": 0}, {"top_k": 5}, {"top_k": 1.5}, {"top_k": 2, "threshold": 0.5}]
)
def test_wrong_top_k_set_after_fit_is_named_by_predict(params):
    model = MultiLabelLogistic().fit(X, Y).set_params(**params)
    with pytest.raises(ValueError, match="top_k"):
        model.predict(X)


def test_top_k_takes_an_indicator_and_no_threshold():
    with pytest.raises(ValueError, match=r"top_k must be None with a threshold, got 2 and 0\.3"):
        MultiLabelLogistic(top_k=2, threshold=0.3).fit(X, Y)
    with pytest.raises(ValueError, match=r"top_k must be None where y has one dimension"):
        MultiLabelLogistic(top_k=2).fit(X, Y[:, 0])
    stream = MultiLabelLogistic(top_k=2).partial_fit(X, Y)
    assert_array_equal(stream.predict(X).sum(axis=1), 2)
