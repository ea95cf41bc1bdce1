"""Numbers in running text, read from the CSV of a benchmark, and tables turned on their side.

In a page, the role csv with the text "tasks/tasks.csv; text, CSR; times" is the cell in the column
"times" of the row whose first cell is "text, CSR"; more cells between name a row by its first few.
The directive turned-csv-table is csv-table with a column for each row, for rows too long for a
page.
"""

import csv
from pathlib import Path

from docutils import nodes
from sphinx.directives.patches import CSVTable

__all__ = ["TurnedCSVTable", "cell", "setup"]


def cell(docs, place):
    """Return the cell of a file under docs that a place names."""
    file, *keys, column = place.split("; ")
    with open(Path(docs, file), encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    (row,) = (row for row in rows if row[: len(keys)] == keys)
    return row[header.index(column)]


def measured(name, rawtext, text, lineno, inliner, options=None, content=None):
    """Put the cell into the text; a place that is none, or is empty, is an error of the page."""
    docs = inliner.document.settings.env.srcdir
    try:
        return [nodes.Text(cell(docs, text))], []
    except (OSError, ValueError) as error:
        message = inliner.reporter.error(f"no cell {text!r}: {error}", line=lineno)
        return [inliner.problematic(rawtext, rawtext, message)], [message]


class TurnedCSVTable(CSVTable):
    """A table whose columns are the rows of a CSV."""

    def parse_csv_data_into_rows(self, *args):
        """Return the columns, and how many cells they have."""
        self.options["class"] = ["turned"]
        rows, _ = super().parse_csv_data_into_rows(*args)
        return [list(column) for column in zip(*rows, strict=True)], len(rows)


def setup(app):
    """Register both."""
    app.add_directive("turned-csv-table", TurnedCSVTable)
    app.add_role("csv", measured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
