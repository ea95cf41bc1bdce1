"""The numbers that were chosen by hand, as a table made from the sources by tools/constants.py.

The directive constants-table takes "named" or "others".
"""

import importlib.util
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

__all__ = ["ConstantsTable", "setup"]

ROOT = Path(__file__).parents[2]


def _tool():
    spec = importlib.util.spec_from_file_location("constants", ROOT / "tools" / "constants.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class ConstantsTable(SphinxDirective):
    """A row for each line of the sources that has such a number."""

    required_arguments = 1

    def run(self):
        """Return the table."""
        found = _tool().table(ROOT / "skce", self.arguments[0] == "named")
        group = nodes.tgroup(cols=3)
        group += [nodes.colspec(colwidth=width) for width in (22, 34, 44)]
        group += nodes.thead("", _row(("file", "line", "why")))
        group += nodes.tbody("", *(_row(row) for row in found))
        return [nodes.table("", group)]


def _row(cells):
    entries = [nodes.entry("", nodes.paragraph("", "", nodes.Text(cell))) for cell in cells]
    return nodes.row("", *entries)


def setup(app):
    """Register it."""
    app.add_directive("constants-table", ConstantsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
