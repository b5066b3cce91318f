"""Settings of Sphinx, which makes HTML of this folder: `make docs`."""

import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from common.runtime.quiet import stderr_discarded  # noqa: E402 the path above leads there

with stderr_discarded():  # what is written while the pages are made is about the pages
    import_module("tensorflow")

project = "dcase-keras"
extensions = ["myst_parser", "sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["**.py", "requirements.txt", "api/*/modules.rst"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_copyright = False

PAGES = {
    "BENCHMARKS": "benchmarks",
    "CHANGELOG": "changelog",
    "CONTRIBUTING": "contributing",
    "README": "index",
}

# Docstrings are written with the backticks of Markdown.
default_role = "literal"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# A module documents what it defines, not what it hands on.
autodoc_default_options = {"ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
suppress_warnings = ["ref.python"]  # a bare name, such as SceneSettings, may be of either family
apidoc_modules = [
    {
        "path": str(ROOT / package),
        "destination": f"api/{package}",
        "separate_modules": True,
        "module_first": True,
    }
    for package in ("common", "seld", "sed_task4")
]


def link_pages(app: Any, page: str, source: list[str]) -> None:
    """Points links to the texts at the top of the repository to the pages that include them."""
    source[0] = re.sub(
        r"\]\(\.\./(BENCHMARKS|CHANGELOG|CONTRIBUTING|README)\.md",
        lambda match: f"]({PAGES[match[1]]}.md",
        source[0],
    )


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", link_pages)
