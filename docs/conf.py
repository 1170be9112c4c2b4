"""How the documentation is built: offline, and a warning is an error (`nox -s docs`)."""

from __future__ import annotations

import importlib
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "NecroStack"
author = "The NecroStack developers"
project_copyright = author
version = release = version_of("necrostack-core")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
# The plugin for pytest is documented; the tool itself is not needed for that.
autodoc_mock_imports = ["pytest"]

html_theme = "furo"
html_title = f"NecroStack {release}"
html_copy_source = False

# Python's and pydantic's own names have no page here, and no inventory is fetched; private names and type
# variables have none.
nitpick_ignore_regex = [("py:.*", r"(?!necrostack\b).*"), ("py:.*", r".*\._\w+"), ("py:class", r".*\.\w*T")]

# The packages whose names are documented where users import them from.
PUBLIC = ["necrostack", "necrostack.testing", "necrostack.testing.contract"]


def resolve_to_public(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.reference | None:
    """Lead an annotation that says `necrostack.event.Event` to the entry of `necrostack.Event`."""
    target = node["reftarget"]
    if node.get("refdomain") != "py" or not target.startswith("necrostack."):
        return None
    parts = target.split(".")
    for package in PUBLIC:
        for start, name in enumerate(parts):
            if name in importlib.import_module(package).__all__:
                public = ".".join([package, *parts[start:]])
                return env.domains.python_domain.resolve_xref(
                    env, node["refdoc"], app.builder, node["reftype"], public, node, contnode
                )
    return None


def setup(app: Sphinx) -> None:
    app.connect("missing-reference", resolve_to_public)
