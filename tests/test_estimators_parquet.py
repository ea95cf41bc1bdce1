"""Parquet files and frames are parts whose columns have names."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from parts_cases import K, P, draw
from sklearn.base import clone

from skce import MultiLabelLogistic, MultinomialLogistic, Parts


def frame_parts():
    X, y, weights = draw("names", "dense", "float32", True)
    frame = pd.DataFrame(X, columns=[f"column {j}" for j in range(P)])
    return frame, y, weights


def test_names_of_the_columns_of_frames_are_kept():
    frame, _, _ = frame_parts()
    labels = pd.DataFrame((frame.to_numpy()[:, :2] > 0).astype(int), columns=["up", "far"])
    parts = Parts([(frame[:70], labels[:70]), lambda: (frame[70:], labels[70:])])
    model = MultiLabelLogistic(random_state=0).fit(parts)
    assert_array_equal(model.feature_names_in_, frame.columns)
    assert_array_equal(model.label_names_, ["up", "far"])
    assert_array_equal(model.predict(parts), model.predict(frame))


def write(path, frame, y, weights, lists=False, size=40):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {name: pa.array(frame[name]) for name in frame}
    if lists:
        flat = pa.array(frame.to_numpy().ravel())
        columns = {"embedding": pa.FixedSizeListArray.from_arrays(flat, P)}
    columns |= {"kind": pa.array(y).dictionary_encode(), "weight": pa.array(weights)}
    parquet.write_table(pa.table(columns), path, row_group_size=size)


@pytest.mark.parametrize("lists", [False, True])
def test_parquet_is_read_by_row_groups(tmp_path, lists):
    frame, y, weights = frame_parts()
    for name, rows in (("one", slice(0, 90)), ("two", slice(90, None))):
        write(tmp_path / name, frame[rows], y[rows], weights[rows], lists)
    paths = [tmp_path / "one", str(tmp_path / "two")]
    parts = Parts.from_parquet(paths, "kind", sample_weight="weight")
    assert len(parts) == 5
    X, targets, sample_weight = zip(*parts, strict=True)
    assert_array_equal(np.concatenate(X), frame.to_numpy())
    assert X[0].dtype == np.float32
    assert_array_equal(np.concatenate(targets), y)
    assert_array_equal(np.concatenate(sample_weight), weights)
    model = MultinomialLogistic(alpha=1e-3, tol=1e-6, random_state=0).fit(parts)
    whole = MultinomialLogistic(alpha=1e-3, tol=1e-6, random_state=0, solver="lbfgs")
    whole.fit(frame, y, weights)
    assert_allclose(model.objective_, whole.objective_, rtol=2e-6)
    assert_array_equal(
        model.predict(Parts.from_parquet(paths, columns=_columns(lists))), model.predict(parts)
    )
    if lists:
        assert not hasattr(model, "feature_names_in_")
        return
    assert_array_equal(model.feature_names_in_, frame.columns)
    assert_array_equal(model.predict(parts), model.predict(frame))
    with pytest.raises(ValueError, match="must have the columns of fit"):
        model.predict(Parts.from_parquet(paths, columns=[*frame.columns[::-1]]))


def _columns(lists):
    return ["embedding"] if lists else [f"column {j}" for j in range(P)]


def test_parquet_files_may_differ_in_order_and_have_no_rows(tmp_path):
    frame, y, weights = frame_parts()
    write(tmp_path / "one", frame[:90], y[:90], weights[:90])
    write(tmp_path / "two", frame[frame.columns[::-1]][90:], y[90:], weights[90:])
    write(tmp_path / "none", frame[:0], y[:0], weights[:0])
    paths = [tmp_path / name for name in ("one", "none", "two")]
    parts = Parts.from_parquet(paths, "kind", sample_weight="weight")
    assert_array_equal(np.concatenate([X for X, _, _ in parts]), frame.to_numpy())
    with pytest.raises(ValueError, match="paths must hold rows"):
        Parts.from_parquet(tmp_path / "none", "kind", sample_weight="weight")


def test_parquet_has_targets_in_several_columns_or_one_of_lists(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    X, y, _ = draw("shares", "dense", "float64", False)
    columns = {f"x{j}": X[:, j] for j in range(P)} | {f"y{c}": y[:, c] for c in range(K)}
    parquet.write_table(pa.table(columns), tmp_path / "wide", row_group_size=60)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(y.ravel()), K)
    columns = {f"x{j}": X[:, j] for j in range(P)} | {"y": lists}
    parquet.write_table(pa.table(columns), tmp_path / "lists", row_group_size=60)
    model = MultinomialLogistic(random_state=0)
    wide = Parts.from_parquet(tmp_path / "wide", [f"y{c}" for c in range(K)])
    found = [
        clone(model).fit(parts) for parts in (wide, Parts.from_parquet(tmp_path / "lists", "y"))
    ]
    assert_array_equal(found[0].coef_, found[1].coef_)
    assert found[0].label_names_.tolist() == [f"y{c}" for c in range(K)]
    assert not hasattr(found[1], "label_names_")
    assert_allclose(found[0].objective_, clone(model).fit(X, y).objective_, rtol=1e-3)
