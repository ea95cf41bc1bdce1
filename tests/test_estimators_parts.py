"""A fit of parts ends where that of one array does, and says which part is at fault."""

import warnings
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from registry import then_long
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skce import MultiLabelLogistic, MultinomialLogistic, Parts, losses
from skce._estimators import parts_fitting
from skce._solvers import parts as solver_parts

N, P, K = 150, 6, 3


def draw(targets, storage, dtype, weighted, seed=0):
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((N, P)) + rng.standard_normal(P)).astype(dtype)
    scores = X @ rng.standard_normal((P, K)) + rng.gumbel(size=(N, K))
    if storage == "csr":
        X = sparse.csr_array(X * (rng.random(X.shape) < 0.6))
    if targets in ("integers", "two classes"):
        y = scores[:, : 2 if targets == "two classes" else K].argmax(axis=1)
        y = np.sort(y) if seed else y
    elif targets == "names":
        y = np.array(["fig", "apple", "plum"])[scores.argmax(axis=1)]
    elif targets == "one-hot":
        y = np.eye(K, dtype=int)[scores.argmax(axis=1)]
    elif targets == "shares":
        y = losses.softmax(scores)
    else:
        y = (scores > 0.5).astype(float)
        y[:, 0] *= rng.random(N) if "fractions" in targets else 1
        if "missing" in targets:
            y[rng.random(y.shape) < 0.2] = np.nan
        if "csr" in targets:
            y = sparse.csr_array(y.astype(int))
    weights = rng.uniform(0.1, 3, N) * (rng.random(N) < 0.9) if weighted else None
    return X, y, weights


MODELS = {
    "integers": MultinomialLogistic(),
    "two classes": MultinomialLogistic(class_weight="balanced"),
    "names": MultinomialLogistic(class_weight={"fig": 2, "apple": 1, "plum": 0.5}),
    "one-hot": MultinomialLogistic(label_smoothing=0.1),
    "shares": MultinomialLogistic(class_weight="balanced"),
    "indicator csr": MultiLabelLogistic(),
    "indicator missing": MultiLabelLogistic(pos_weight="balanced"),
    "indicator fractions": MultiLabelLogistic(pos_weight=[1, 2, 0.5], label_smoothing=0.1),
    "1/M csr": MultiLabelLogistic(loss="softmax"),
    "1/M missing": MultiLabelLogistic(loss="softmax"),
    "labels one-vs-rest": MultiLabelLogistic(),
}
KEEP = ("classes_", "mean_labels_", "label_names_")


def data_of(name, storage, dtype, weighted):
    return draw("integers" if "one-vs-rest" in name else name, storage, dtype, weighted)


def cut(number, X, y, weights, form=lambda *part: part):
    edges = np.linspace(0, N, number + 1).astype(int)
    rows = [slice(*ends) for ends in pairwise(edges)]
    return Parts([form(X[r], y[r], None if weights is None else weights[r]) for r in rows])


def made(*part):
    return lambda: part


@pytest.mark.parametrize("number", then_long([7, 2, 1]))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("storage", ["dense", "csr"])
@pytest.mark.parametrize("name", MODELS)
def test_parts_end_at_the_optimum_of_one_array(name, storage, dtype, number):
    X, y, weights = data_of(name, storage, dtype, number != 2)
    functions = number == 2 or name == "1/M missing"
    parts = cut(number, X, y, weights, made if functions else lambda *part: part)
    model = clone(MODELS[name]).set_params(alpha=1e-3, random_state=0, max_iter=1000)
    fine = clone(model).set_params(tol=1e-6, solver="lbfgs", certified=True)
    whole = clone(fine).fit(X, y, weights)
    found = fine.fit(parts)
    assert found.certified_
    assert_allclose(found.objective_, whole.objective_, rtol=1.1e-6)
    assert found.coef_.dtype == X.dtype
    for field in KEEP:
        if hasattr(whole, field):
            assert_array_equal(getattr(found, field), getattr(whole, field))
    size = np.abs(whole.coef_).max()
    assert_allclose(found.coef_ / size, whole.coef_ / size, atol=0.02)
    coarse = clone(model).fit(parts)
    assert coarse.objective_ - whole.objective_ <= 1e-3 * whole.objective_ * (1 + 1e-6)
    assert coarse.converged_
    assert_array_equal(_dense(found.predict(parts)), _dense(found.predict(X)))
    assert_allclose(found.predict_proba(parts), found.predict_proba(X), rtol=1e-5)


def _dense(y):
    return y.toarray() if sparse.issparse(y) else y


def test_entries_may_be_missing_in_some_parts_alone():
    X, y, weights = draw("indicator missing", "dense", "float64", True)
    y[: N // 3] = np.nan
    y[N // 3 : 2 * N // 3] = np.nan_to_num(y[N // 3 : 2 * N // 3])
    model = MultiLabelLogistic(alpha=1e-3, tol=1e-8, random_state=0)
    found = clone(model).fit(cut(3, X, y, weights))
    whole = clone(model).set_params(solver="lbfgs").fit(X, y, weights)
    assert_allclose(found.coef_, whole.coef_, rtol=1e-6)


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix, sparse.csc_matrix])
def test_predictions_have_the_container_of_y(form):
    X, y, _ = draw("indicator csr", "dense", "float64", False)
    found = MultiLabelLogistic().fit(Parts([(X[:70], form(y[:70])), (X[70:], form(y[70:]))]))
    whole = MultiLabelLogistic().fit(X, form(y))
    assert type(found.predict(X)) is type(whole.predict(X))


@pytest.mark.parametrize("form", ["csc", "coo", "bsr"])
def test_functions_may_return_any_sparse_form(form):
    X, y, weights = draw("integers", "csr", "float64", True)
    parts = cut(3, X, y, weights, lambda X, *others: lambda: (X.asformat(form), *others))
    model = MultinomialLogistic(tol=1e-8, random_state=0)
    found, whole = clone(model).fit(parts), clone(model).fit(cut(3, X, y, weights))
    assert_allclose(found.coef_, whole.coef_, rtol=1e-6)


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_parts_without_entries_give_the_constants(storage):
    y = draw("integers", storage, "float64", False)[1]
    X = np.zeros((N, P)) if storage == "dense" else sparse.csr_array((N, P))
    found = MultinomialLogistic().fit(cut(3, X, y, None))
    assert not found.coef_.any()
    assert_allclose(found.predict_proba(X)[0], np.bincount(y) / N, rtol=1e-3)


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_two_fits_of_the_same_parts_are_equal_in_bits(storage):
    X, y, weights = draw("integers", storage, "float32", True)
    model = MultinomialLogistic(random_state=0)
    first, second = (clone(model).fit(cut(3, X, y, weights)) for _ in range(2))
    assert_array_equal(first.coef_, second.coef_)
    assert first.loss_curve_ == second.loss_curve_


def test_parts_whose_classes_differ_know_all_of_them():
    X, y, _ = draw("integers", "dense", "float64", False, seed=1)  # sorted by class
    model = MultinomialLogistic(alpha=1e-3, tol=1e-6, certified=True, solver="lbfgs", max_iter=999)
    found, whole = clone(model).fit(cut(7, X, y, None)), clone(model).fit(X, y)
    assert_array_equal(found.classes_, [0, 1, 2])
    assert_allclose(found.objective_, whole.objective_, rtol=1.1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_memory_maps_are_cut_into_blocks_and_never_copied(tmp_path, dtype, monkeypatch):
    monkeypatch.setattr(parts_fitting, "BLOCK_BYTES", 500)
    X, y, _ = draw("integers", "dense", "float64", False)
    X = (10 * X).astype(dtype)
    mapped = np.memmap(tmp_path / "rows", dtype, "w+", shape=X.shape)
    mapped[:] = X
    read = []
    monkeypatch.setattr(
        parts_fitting.RowsOfParts,
        "read",
        lambda self, block, read_=parts_fitting.RowsOfParts.read: (
            read.append(read_(self, block)) or read[-1]
        ),
    )
    model = MultinomialLogistic(alpha=1e-3, random_state=0).fit(Parts([(mapped, y)]))
    whole = MultinomialLogistic(alpha=1e-3, random_state=0, solver="lbfgs").fit(X, y)
    assert_allclose(model.objective_, whole.objective_, rtol=2e-3)
    assert len({len(rows) for rows in read} - {N}) >= 1
    if dtype != "int16":
        assert all(np.may_share_memory(rows, mapped) for rows in read)
    assert max(rows.nbytes for rows in read) <= 4 * 500


def test_rows_that_functions_return_are_spooled_and_then_not_read_again(tmp_path):
    X, y, weights = draw("integers", "dense", "float32", True)
    calls = []

    def count(*part):
        return lambda: calls.append(1) or part

    plain = MultinomialLogistic(random_state=0).fit(cut(3, X, y, weights, count))
    assert len(calls) > 3 * plain.n_iter_
    parts = cut(3, X, y, weights, count)
    calls.clear()
    spooled = MultinomialLogistic(random_state=0).fit(Parts(parts.parts, spool=tmp_path))
    assert len(calls) == 3
    assert_array_equal(spooled.coef_, plain.coef_)
    assert list(tmp_path.iterdir()) == []


def test_samples_of_tall_parts_are_taken_and_help():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200_000, 12)).astype(np.float32)
    y = (X @ rng.standard_normal((12, 3)) + rng.gumbel(size=(200_000, 3))).argmax(axis=1)
    parts = Parts([(X[r], y[r]) for r in (slice(0, 90_000), slice(90_000, None))])
    found = MultinomialLogistic(random_state=0).fit(parts)
    whole = MultinomialLogistic(random_state=0, solver="lbfgs").fit(X, y)
    assert found.converged_
    assert_allclose(found.objective_, whole.objective_, rtol=1e-3)
    assert found.n_iter_ <= 1.1 * whole.n_iter_ + 2


def test_tables_beyond_the_room_for_them_are_made_anew(monkeypatch):
    X, y, _ = draw("integers", "dense", "float64", False)
    kept = MultinomialLogistic(random_state=0).fit(cut(3, X, y, None))
    monkeypatch.setattr(parts_fitting, "TABLE_BYTES", 0)
    found = MultinomialLogistic(random_state=0).fit(cut(3, X, y, None))
    assert_array_equal(found.coef_, kept.coef_)


def test_samples_hold_no_more_than_their_room(monkeypatch):
    X, y, _ = draw("integers", "dense", "float64", False)
    monkeypatch.setattr(solver_parts, "SAMPLE_BYTES", 20 * P * 8)
    monkeypatch.setattr("skce._solvers.lbfgs.ROWS_PER_WEIGHT", 0.5)
    monkeypatch.setattr("skce._solvers.lbfgs.PIECE", 1)
    sizes = []
    joined = solver_parts.joined
    monkeypatch.setattr(
        solver_parts,
        "joined",
        lambda found: sizes.append(sum(map(len, (f.weights for f in found)))) or joined(found),
    )
    MultinomialLogistic(random_state=0).fit(cut(3, X, y, None))
    assert sizes == [20]


def test_a_stream_goes_on_from_a_fit_of_parts():
    X, y, _ = draw("integers", "dense", "float64", False)
    found = MultinomialLogistic(random_state=0).fit(cut(3, X, y, None))
    whole = MultinomialLogistic(random_state=0, solver="lbfgs").fit(X, y)
    for model in found, whole:
        model.partial_fit(X[:20], y[:20])
    assert_allclose(found.coef_, whole.coef_, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_a_warm_start_on_parts_goes_on_from_the_last_fit(storage):
    X, y, _ = draw("integers", storage, "float64", False)
    parts = cut(3, X, y, None)
    model = MultinomialLogistic(alpha=1e-3, tol=1e-8, warm_start=True).fit(parts)
    objective, passes = model.objective_, model.n_iter_
    model.fit(parts)
    assert model.n_iter_ < passes
    assert_allclose(model.objective_, objective, rtol=1e-7)


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


GOOD = np.eye(4)[[0, 1, 2, 3, 0, 1]], np.array([0, 1, 0, 1, 1, 0])


def broken():
    raise OSError("no such disk")


def changing(seen, other):
    seen.append(1)
    return GOOD if len(seen) < 3 else other


def ending(seen):
    return next(seen)


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        ((np.empty((0, 4)), np.empty(0, int)), ValueError, "part 1: .*0 sample"),
        ((GOOD[0][:, :3], GOOD[1]), ValueError, "part 1: X has 3 features"),
        ((GOOD[0].astype("f4"), GOOD[1]), ValueError, "part 1: X must be like that of part 0"),
        ((sparse.csr_array(GOOD[0]), GOOD[1]), ValueError, "part 1: X must be like .*got CSR"),
        ((GOOD[0] * np.nan, GOOD[1]), ValueError, "(?s)part 1: .*NaN"),
        ((GOOD[0], GOOD[1][:4]), ValueError, "part 1: y must have as many rows"),
        ((GOOD[0], np.array(["a"] * 6)), ValueError, "part 1: y must be like that of part 0"),
        ((GOOD[0], np.eye(2)[GOOD[1]]), ValueError, "part 1: y must have the form"),
        ((GOOD[0], None), ValueError, "part 1: y must be given"),
        ((*GOOD, -np.ones(6)), ValueError, "part 1: sample_weight"),
        (broken, RuntimeError, "^part 1 raised OSError: no such disk$"),
        (lambda: 3, ValueError, "got a int as part 1"),
        (
            partial(changing, [], (GOOD[0][:5], GOOD[1])),
            ValueError,
            r"part 1: X must be the same .* shape \(5, 4\), .* after \(6, 4\)",
        ),
        (
            partial(changing, [], (GOOD[0].astype("f4"), GOOD[1])),
            ValueError,
            "part 1: X must be the same .* dense of float32, after .* dense of float64",
        ),
        (partial(changing, [], None), ValueError, "^parts must .* as part 1"),
        (partial(ending, iter([GOOD])), RuntimeError, "^part 1 raised StopIteration: $"),
    ],
)
def test_errors_name_the_part_and_leave_the_model_as_it_was(part, error, message):
    model = MultinomialLogistic().fit(GOOD[0][:, :2], GOOD[1])
    before = dict(vars(model))
    with pytest.raises(error, match=message):
        model.fit(Parts([GOOD, part]))
    assert vars(model) == before


@pytest.mark.parametrize("label", [7, "fig"])
def test_parts_of_one_class_are_refused_by_its_label(label):
    part = GOOD[0], np.array([label] * 6)
    with pytest.raises(ValueError, match=f"at least 2 classes, got one class, {label!r}\\.$"):
        MultinomialLogistic().fit(Parts([part, part]))


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"solver": "sdca"}, "solver"),
        ({"solver": "adam"}, "solver"),
        ({"l1_ratio": 0.5}, "l1_ratio"),
        ({"early_stopping": True}, "early_stopping"),
        ({"threshold": "f1"}, "threshold"),
        ({"prune": 0.1}, "prune"),
    ],
)
def test_what_parts_do_not_offer_is_refused(params, name):
    y = np.eye(2, dtype=int)[GOOD[1]]
    with pytest.raises(ValueError, match=f"^{name} must be .* for a fit of Parts"):
        MultiLabelLogistic(**params).fit(Parts([(GOOD[0], y)]))


def test_arguments_that_parts_hold_are_refused():
    parts = Parts([GOOD])
    for name in "y", "sample_weight":
        with pytest.raises(ValueError, match=f"{name} must be None for Parts"):
            MultinomialLogistic().fit(parts, **{name: GOOD[1]})
    with pytest.raises(ValueError, match="X_val and y_val must be given together"):
        MultinomialLogistic().fit(parts, y_val=GOOD[1])
    with pytest.raises(ValueError, match="entry_weight must be None for Parts"):
        MultiLabelLogistic().fit(parts, entry_weight=GOOD[0])
    with pytest.raises(ValueError, match="X must be an array here"):
        MultinomialLogistic().partial_fit(parts, GOOD[1])
    with pytest.raises(ValueError, match="requires y"):
        MultinomialLogistic().fit(GOOD[0])


@pytest.mark.parametrize("parts", [[], GOOD, GOOD[0], [GOOD[0]], [(GOOD[0],)], iter([GOOD])])
def test_parts_are_a_list_of_tuples_or_functions(parts):
    with pytest.raises(ValueError, match="parts must"):
        Parts(parts)


@pytest.mark.parametrize("storage", ["dense", "CSR"])
def test_rows_held_out_end_a_fit_of_parts_as_one_of_an_array(storage):
    X, y, _ = draw("integers", storage, "float64", False)
    options = {"early_stopping": True, "n_iter_no_change": 2, "random_state": 0}
    model = MultinomialLogistic(alpha=1e-6, solver="lbfgs", **options)
    X, y, held = X[::2], y[::2], {"X_val": X[1::2], "y_val": y[1::2]}
    one = clone(model).fit(X, y, **held)
    model.fit(Parts([(X[:30], y[:30]), (X[30:], y[30:])]), **held)
    assert model.stop_reason_ == one.stop_reason_ == "validation loss"
    assert_allclose(model.validation_loss_curve_, one.validation_loss_curve_, rtol=1e-6)
    assert model.best_iteration_ == one.best_iteration_
    assert_allclose(model.coef_, one.coef_, atol=1e-5)
    assert_allclose(model.objective_, one.objective_, rtol=1e-8)


def test_a_plain_list_stays_an_array():
    model = MultinomialLogistic().fit(GOOD[0].tolist(), GOOD[1].tolist())
    assert model.coef_.shape == (1, 4)


def test_a_fit_that_does_not_converge_warns():
    X, y, _ = draw("integers", "dense", "float64", False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = MultinomialLogistic(max_iter=1, tol=1e-12).fit(cut(2, X, y, None))
    assert [w.category for w in caught] == [ConvergenceWarning]
    assert caught[0].filename == __file__
    assert not model.converged_
