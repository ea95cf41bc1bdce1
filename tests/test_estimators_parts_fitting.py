"""Parts are read as seldom as room allows, and what is wrong with one tells its number."""

import errno
import os
import resource
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from parts_cases import N, P, cut, draw, made
from scipy import sparse

from skce import MultiLabelLogistic, MultinomialLogistic, Parts
from skce._estimators import parts_fitting
from skce._solvers import parts as solver_parts


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


class Full:
    """A temporary file whose disk is full after some bytes."""

    def __init__(self, file, room, code):
        self.file, self.room, self.code = file, room, code

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, rows):
        if self.tell() + len(rows) > self.room:
            self.file.write(rows[:10])
            raise OSError(self.code, "no more")
        return self.file.write(rows[: 1 + len(rows) // 2])


def test_rows_without_room_for_them_on_the_disk_are_read_in_each_pass(monkeypatch):
    X, y, weights = draw("integers", "dense", "float32", True)
    calls = []

    def count(*part):
        return lambda: calls.append(len(part[0])) or part

    code = errno.ENOSPC
    open_, room = parts_fitting.TemporaryFile, 2.5 * X.nbytes / 3
    monkeypatch.setattr(parts_fitting, "TemporaryFile", lambda **k: Full(open_(**k), room, code))
    plain = MultinomialLogistic(random_state=0).fit(cut(3, X, y, weights))
    parts = Parts(cut(3, X, y, weights, count).parts, spool=True)
    found = MultinomialLogistic(random_state=0).fit(parts)
    assert_array_equal(found.coef_, plain.coef_)
    assert 2 + found.n_iter_ < len(calls) < 3 * found.n_iter_  # the last part alone
    code = errno.EIO
    with pytest.raises(RuntimeError, match="^part 2 raised OSError: .*no more"):
        MultinomialLogistic().fit(parts)


def test_spooled_parts_leave_one_file_open_however_many_they_are():
    X, y, weights = draw("integers", "dense", "float32", True)
    parts = Parts(cut(40, X, y, weights, made).parts, spool=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = os.listdir("/dev/fd")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, opened)) + 20, hard))
    try:
        found = MultinomialLogistic(random_state=0).fit(parts)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    plain = MultinomialLogistic(random_state=0).fit(cut(40, X, y, weights))
    assert_array_equal(found.coef_, plain.coef_)


def test_parts_are_read_in_each_pass_where_there_is_no_folder_for_temporary_files(monkeypatch):
    def none(**options):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    X, y, weights = draw("integers", "dense", "float32", True)
    parts = cut(3, X, y, weights, made).parts
    monkeypatch.setattr(parts_fitting, "TemporaryFile", none)
    found = MultinomialLogistic(random_state=0).fit(Parts(parts, spool=True))
    plain = MultinomialLogistic(random_state=0).fit(Parts(parts))
    assert_array_equal(found.coef_, plain.coef_)
    with pytest.raises(FileNotFoundError):
        MultinomialLogistic().fit(Parts(parts, spool="/nowhere"))


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
    with pytest.raises(ValueError, match="entry_weight must be None for .* one dimension"):
        MultiLabelLogistic().fit(parts, entry_weight=GOOD[0])
    with pytest.raises(ValueError, match="entry_weight must .*shape"):
        MultiLabelLogistic().fit(Parts([(GOOD[0], GOOD[0])]), entry_weight=GOOD[0][:5])
    with pytest.raises(ValueError, match="X must be an array here"):
        MultinomialLogistic().partial_fit(parts, GOOD[1])
    with pytest.raises(ValueError, match="requires y"):
        MultinomialLogistic().fit(GOOD[0])


@pytest.mark.parametrize("parts", [[], GOOD, GOOD[0], [GOOD[0]], [(GOOD[0],)], iter([GOOD])])
def test_parts_are_a_list_of_tuples_or_functions(parts):
    with pytest.raises(ValueError, match="parts must"):
        Parts(parts)


def test_a_plain_list_stays_an_array():
    model = MultinomialLogistic().fit(GOOD[0].tolist(), GOOD[1].tolist())
    assert model.coef_.shape == (1, 4)
