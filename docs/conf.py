"""Sphinx configuration. Build with ``make docs``; needs no network."""

import re

import skce

project = "skce"
author = "the skce developers"
copyright = "2026, the skce developers"
version = release = skce.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "py:obj"

autosummary_generate = True
autodoc_mock_imports = ["skl2onnx"]  # of skce.onnx
# numpydoc would add a second, link-less table of the members the class template lists.
numpydoc_show_class_members = False
autodoc_typehints = "none"
smartquotes = False

html_theme = "pydata_sphinx_theme"
html_title = f"skce {release}"
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"changes": [], "names": []}


def plain_text(app, what, name, obj, options, lines):
    """Unlink what only scikit-learn's site resolves."""
    lines[:] = re.sub(r":ref:`([^<`]*?)\s*<[^>]*>`", r"\1", "\n".join(lines)).split("\n")


def setup(app):
    app.connect("autodoc-process-docstring", plain_text, priority=900)  # after numpydoc
