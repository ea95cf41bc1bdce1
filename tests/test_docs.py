"""The examples of the documentation pages run and print what they show."""

import doctest
import re
from pathlib import Path

import pytest

PAGES = sorted(Path(__file__).parents[1].glob("docs/*.rst"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.filterwarnings("ignore:Not converged. max_iter")
def test_examples_of_a_page_run(page):
    failed, _ = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert failed == 0


def test_tests_that_the_pages_name_exist():
    page = Path(__file__).parents[1] / "docs" / "expectations.rst"
    named = re.findall(r"``(test_\w+\.py)(?:::(\w+))?``", page.read_text(encoding="utf-8"))
    assert len(named) > 60
    for file, test in named:
        source = (Path(__file__).parent / file).read_text(encoding="utf-8")
        assert f"def {test}(" in source or not test, f"{file}::{test}"
