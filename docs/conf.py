"""Sphinx settings: MyST pages, numpydoc docstrings, no network."""

import re
from pathlib import Path

project = "Cartogene"
author = "Cartogene developers"
copyright = "2026, Cartogene developers"
version = re.search(r'__version__ = "(.+)"', (Path(__file__).parents[1] / "src/cartogene/__init__.py").read_text())[1]
release = version

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
maximum_signature_line_length = 90
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"Cartogene {version}"
html_show_sourcelink = False
