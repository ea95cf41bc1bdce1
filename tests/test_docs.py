"""The examples of the documentation pages run and print what they show."""

import doctest
from pathlib import Path

import pytest

PAGES = sorted(Path(__file__).parents[1].glob("docs/*.rst"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.filterwarnings("ignore:Not converged. max_iter")
def test_examples_of_a_page_run(page):
    failed, _ = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert failed == 0
