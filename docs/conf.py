"""Builds the pages: ``make docs``. No network, no notebook is run; a warning is an error."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from _tools import figures, links, notebooks, quotes, reference

import s2koop

project = "s2koop"
author = "The s2koop developers"
copyright = "2026, the s2koop developers"
version = release = s2koop.__version__

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    "_tools.mathml",
]
root_doc = "index"
exclude_patterns = ["_build", "_tools", "results/koopman.md", "gallery/figures.md", "**.ipynb_checkpoints"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}

# references: everything that is referred to has to be there
nitpicky = True
smartquotes = False  # options such as --quick keep their dashes
default_role = "code"  # docstrings write `names` in single backticks
linkcheck_ignore = [r"https://github\.com/s2koop/.*", r"https://mybinder\.org/.*"]  # of this very version
linkcheck_timeout = 20

# reference
autodoc_typehints = "none"  # types stand in the docstrings, with units and dims
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "model_config"}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
numpydoc_validation_checks: set[str] = set()

# notebooks and Markdown
nb_execution_mode = "off"
nb_number_source_lines = False
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3

# looks: everything comes from these pages themselves
html_theme = "sphinx_book_theme"
html_title = "s2koop"
html_static_path = ["_static"]
html_css_files = ["s2koop.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "repository_url": "https://github.com/s2koop/s2koop",
    "repository_branch": "main",
    "path_to_docs": "docs",
    "use_repository_button": True,
    "use_download_button": False,
    "show_toc_level": 2,
    "navbar_persistent": [],  # the search is in the side bar
}
copybutton_exclude = ".linenos, .gp, .go"


def _make_pages(app) -> None:
    """Write what is not written by hand, before Sphinx looks for pages."""
    notebooks.copy()
    reference.write()
    figures.write()


def _rewrite(app, page: str, content: list[str]) -> None:
    """Links of Markdown and notebooks follow to where things are in the pages; quoted numbers are taken anew."""
    path = Path(app.env.doc2path(page))
    if path.suffix in (".md", ".ipynb"):
        content[0] = links.rewrite(path.relative_to(app.srcdir).as_posix(), content[0])
    if path in quotes.PAGES:
        content[0] = quotes.plain(content[0], path)


def _follow_private_name(app, env, node, content):
    """A docstring may refer to a name by the module in which it is written."""
    public = reference.public_name(node.get("reftarget", "")) if node.get("refdomain") == "py" else None
    if public is None:
        return None
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, content)


def setup(app) -> None:
    """Connect to Sphinx."""
    app.connect("missing-reference", _follow_private_name)
    app.connect("builder-inited", _make_pages)
    app.connect("source-read", _rewrite)
