"""The examples of README and of the documentation pages run and print what they show."""

import csv
import doctest
import re
from pathlib import Path

import pytest

import skce
from skce import LabelTemperature, MultiLabelLogistic, MultinomialLogistic, inference

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page for room in ("", "guide/", "internals/") for page in ROOT.glob(f"docs/{room}*.rst")
)
pytestmark = pytest.mark.skipif(not PAGES, reason="no docs in an installed package")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
@pytest.mark.filterwarnings("ignore:Not converged. max_iter")
def test_examples_of_a_page_run(page):
    if page.name == "dask.rst":
        pytest.importorskip("distributed")
    failed, _ = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert failed == 0


def test_every_public_name_is_in_an_example_of_a_page():
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    parser = doctest.DocTestParser()
    sources = "".join(example.source for page in pages for example in parser.get_examples(page))
    names = {
        name
        for module in (skce, skce.losses, skce.metrics, skce.optim, inference)
        for name in module.__all__
    }
    methods = {
        name
        for estimator in (MultinomialLogistic, MultiLabelLogistic, LabelTemperature)
        for name in vars(estimator)
        if not name.startswith("_") and not name.endswith("_request")  # scikit-learn's own
    }
    assert len(names) > 40
    assert names | methods <= set(re.findall(r"\w+", sources))


def test_tests_that_the_pages_name_exist():
    page = ROOT / "docs" / "expectations.rst"
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"``(test_\w+\.py)::(\w+)``", text)
    assert len(named) > 70
    assert text.count(".py``") == 1  # but for this file's own name, files stand with a test
    for file, test in named:
        source = (Path(__file__).parent / file).read_text(encoding="utf-8")
        assert f"def {test}(" in source, f"{file}::{test}"


def test_every_parameter_of_the_estimators_has_a_task_on_the_page_of_the_api():
    page = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    table = page[page.index("What their parameters are for") : page.index("Choosing the penalty")]
    parameters = {**MultinomialLogistic().get_params(), **MultiLabelLogistic().get_params()}
    assert sorted(re.findall(r"``(\w+)``", table)) == sorted(parameters)


def test_code_of_readme_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", readme(), re.DOTALL)
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 2
    assert names["model"].score(names["X_test"], names["y_test"]) > 0.95
    assert "at most" in capsys.readouterr().out


def test_figures_of_readme_are_those_of_the_benchmark():
    with open(ROOT / "docs/tasks/tasks.csv", encoding="utf-8", newline="") as file:
        rows = [" | ".join(row) for row in csv.reader(file)]
    table = [line.strip("| ") for line in readme().splitlines() if line.startswith("| ")]
    assert rows == [line for line in table if line in rows]
    assert len(rows) > 6


def readme():
    return (ROOT / "README.md").read_text(encoding="utf-8")
