"""What a type checker tells users of the public names."""

import re

import pytest

PROGRAM = """
import numpy as np
import skce
from skce import losses, metrics

X, y = np.zeros((4, 2)), np.arange(4) % 2
model = skce.MultinomialLogistic(alpha=0.1, solver="sgd", random_state=0)
reveal_type(model.fit(X, y))
reveal_type(model.fit(X, y).predict_proba(X))
reveal_type(skce.MultiLabelLogistic(top_k=2).partial_fit(X, y))
reveal_type(model.predict_top_k(X, 1))
reveal_type(model.score(X, y))
reveal_type(losses.softmax_cross_entropy(X, y))
reveal_type(losses.sigmoid_cross_entropy_value_and_grad(X, X)[1])
reveal_type(metrics.multilabel_log_loss(X, X))
skce.MultinomialLogistic(alpha="x")
skce.MultiLabelLogistic(top_k="x")
skce.MultinomialLogistic(C=1.0)
losses.softmax_cross_entropy(X, y, reduction="average")
"""
ARRAY = r"numpy\.ndarray\[.*"
REVEALED = [
    r"skce\._estimators\.multinomial\.MultinomialLogistic",
    ARRAY,
    r"skce\._estimators\.multilabel\.MultiLabelLogistic",
    rf"tuple\[{ARRAY}, {ARRAY}\]",
    r"float",
    rf"float \| {ARRAY}",
    ARRAY,
    r"float",
]
WRONG = [
    r'Argument "alpha" .* "str"; expected "float"',
    r'Argument "top_k" .* "str"; expected "int \| None"',
    r'Unexpected keyword argument "C"',
    r'Argument "reduction" .* expected "Literal',
]


def test_types_are_told_and_wrong_ones_refused(tmp_path):
    api = pytest.importorskip("mypy.api")
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    output, problems, _ = api.run(["--config-file=", "--ignore-missing-imports", str(file)])
    assert not problems
    mine = [line for line in output.splitlines() if "program.py" in line]
    revealed = [line.split('Revealed type is "')[1][:-1] for line in mine if "Revealed" in line]
    errors = [line for line in mine if " error: " in line]
    for found, expected in zip(revealed, REVEALED, strict=True):
        assert re.fullmatch(expected, found)
    for found, expected in zip(errors, WRONG, strict=True):
        assert re.search(expected, found)
