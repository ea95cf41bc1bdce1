"""Sphinx configuration. Build with ``make docs``; needs no network."""

import re
import sys
from pathlib import Path

import skce

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "skce"
author = "the skce developers"
copyright = "2026, the skce developers"
version = release = skce.__version__

extensions = [
    *("sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "sphinx_design"),
    *("sphinx_gallery.gen_gallery", "matplotlib.sphinxext.plot_directive", "mathml", "measured"),
    "chosen",
]
html_math_renderer = "mathml"
sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "plot_gallery": True,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "doc_module": ("skce",),
    "backreferences_dir": "gallery/uses",
}
# Figures of the pages: their code runs at each build.
plot_formats = ["svg"]
plot_html_show_formats = plot_html_show_source_link = False
plot_rcparams = {"savefig.transparent": False}
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "py:obj"

autosummary_generate = True
autodoc_mock_imports = ["skl2onnx", "dask", "distributed"]  # of skce.onnx and skce.dask
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
FLAT = ("changes", "contributing", "fits", "migrating", "names", "right", "selection", "speed")
html_sidebars = {page: [] for page in FLAT}  # without pages below them
html_css_files = ["wide.css"]
html_static_path = ["_static"]


def plain_text(app, what, name, obj, options, lines):
    """Unlink what only scikit-learn's site resolves."""
    lines[:] = re.sub(r":ref:`([^<`]*?)\s*<[^>]*>`", r"\1", "\n".join(lines)).split("\n")


def setup(app):
    app.connect("autodoc-process-docstring", plain_text, priority=900)  # after numpydoc
