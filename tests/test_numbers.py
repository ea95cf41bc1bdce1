"""Every figure in README and the pages is read from a benchmark's CSV, or listed with its source.

A figure is a decimal fraction (a loss), a number with a unit of time, share or ratio, or a ratio in
words ("three times as long"). In pages the role csv and the directive csv-table read them, and
README's table is compared with its CSV in test_docs.py. Others stand in docs/numbers.csv: the page,
the words around them, and the command that measures them or the reason why nobody has to. Code,
formulas, literals, references and what code prints are left out; CHANGES.md is a history.
"""

import ast
import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(page.relative_to(ROOT))
    for pattern in (
        *("README.md", "docs/*.rst", "docs/guide/*.rst", "docs/internals/*.rst"),
        "examples/gallery/*.py",
    )
    for page in ROOT.glob(pattern)
)
pytestmark = pytest.mark.skipif(len(PAGES) < 2, reason="no docs in an installed package")

NUMBER = r"\d(?:[\d,]*\d)?(?:\.\d+)?"
WORD = (
    "two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|thirty|fifty|hundreds?|thousands?"
)
PART = "half|thirds?|quarters?|fifths?|tenths?|twentieth|fiftieth|hundredths?"
FIGURE = re.compile(
    rf"(?<![\w.-]){NUMBER}\s?(?:ms|µs|ns|s|seconds?|minutes?|hours?|times|x|×|%|ulp|[MG]i?B(?:/s)?)(?![\w(])"
    rf"|(?<![\w.-])\d*\.\d+(?!\w|\.\d)"
    rf"|\b(?:{WORD}) (?:times|minutes|seconds|%)"
    rf"|\b(?:{PART}) (?:of (?:the|its|their) (?:former )?time|an hour)|\btwice as (?:fast|long)",
    re.IGNORECASE,
)
BLOCK = re.compile(  # directives whose content is no text, formulas, footnotes and comments
    r"^( *)\.\. (?:code-block|plot|math|raw|index|include|image|figure|(?:turned-)?csv-table"
    r"|toctree|autosummary|currentmodule|\[|_)[^\n]*\n(?:(?:\1 +[^\n]*)?\n)*",
    re.MULTILINE,
)


def text_of(source):
    """The running text of a page, on one line."""
    source = re.sub(r"^```.*?^```", "", source, flags=re.DOTALL | re.MULTILINE)
    source = re.sub(r"^ *>>> .*?(?=^\s*$|\Z)", "", source, flags=re.DOTALL | re.MULTILINE)
    source = BLOCK.sub("\n", source)
    source = re.sub(r"^(?:\|.*| *:\w+:.*|<!--.*)$", "", source, flags=re.MULTILINE)
    source = re.sub(r"``.+?``|:[\w:]+:`.+?`|`[^`]+`", "@", source, flags=re.DOTALL)
    return " ".join(source.split())


def read(page):
    """The running text of a page, of an example that of its docstring and comments."""
    source = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".py"):
        comments = [line[1:] for line in source.splitlines() if line.startswith("#")]
        source = "\n".join([ast.get_docstring(ast.parse(source)) or "", "", *comments])
    return text_of(source)


def figures(page):
    """(figure, the words around it) of a page."""
    text = read(page)
    for found in FIGURE.finditer(text):
        yield found, text


def listed():
    with open(ROOT / "docs" / "numbers.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_is_read_from_a_csv_or_listed_with_its_source(page):
    known = [row["text"] for row in listed() if row["page"] == page]
    for found, text in figures(page):
        around = text[max(found.start() - 60, 0) : found.end() + 40]
        covers = (
            place.start() <= found.start() and found.end() <= place.end()
            for words in known
            for place in re.finditer(re.escape(words), text)
        )
        assert any(covers), f"{found[0]!r} in: {around}"


def test_every_listed_figure_is_still_on_its_page():
    for row in listed():
        text = read(row["page"])
        assert row["text"] in text, row
        assert FIGURE.search(row["text"]), row
        assert row["source"], row


TYPED = """takes 0.28 s; a loss of 0.283; 13 times as long; 1.8 x torch; 98.8 % of them; ten times
sooner; in a third of its former time; 5 ns a logit; twice as fast; two minutes; 0.25."""
FREE = """one of 3 classes; ``tol=0.001``; :csv:`tasks/tasks.csv, pixels, s` s; :math:`0.5 x`"""


@pytest.mark.parametrize("typed", TYPED.split("; "))
def test_a_figure_typed_by_hand_is_found(typed):
    assert FIGURE.search(text_of(typed))


@pytest.mark.parametrize("free", [*FREE.split("; "), ">>> print(0.5)\n0.5\n", "| a | 0.28 |"])
def test_text_without_figures_is_left_alone(free):
    assert not FIGURE.search(text_of(free))
