"""The site: `make docs` builds it, with every warning an error."""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).resolve().parents[1]

project = "torch_ebpc"
author = "the authors of torch_ebpc"
release = (ROOT / "version.txt").read_text().strip()
html_title = f"torch_ebpc {release}"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "myst_nb",
]

# A name that leads nowhere is an error. Other projects' names are text: their indices would have to
# be fetched, and the site builds without a network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|nn|pandas|matplotlib|collections|typing|pathlib|os|array)\..*"),
]

# ---- Docstrings ----------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"
napoleon_custom_sections = [("Attributes", "params_style")]  # a line may name several
napoleon_use_rtype = False

# ---- Pages ---------------------------------------------------------------------------------------

highlight_language = "text"  # of a block that names none
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_ipywidgets_js = {}  # nothing is fetched when a page is read
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# ---- Looks ---------------------------------------------------------------------------------------

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
pygments_style = "tango"
pygments_dark_style = "monokai"


def public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Docstrings name what is public without its module, `compress`, wherever they stand."""
    if node.get("refdomain") == "py":
        for module in ("torch_ebpc", "torch_ebpc.ops"):
            found = env.domains.python_domain.resolve_xref(
                env,
                node["refdoc"],
                app.builder,
                node["reftype"],
                f"{module}.{node['reftarget']}",
                node,
                content,
            )
            if found is not None:
                return found
    return None


# Files of the repository that are pages of the site.
PAGES = {
    "../CHANGELOG.md": "changelog.md",
    "../README.md": "index.md",
    "../SECURITY.md": "security.md",
    "../csrc/ebpc/FORMAT.md": "format.md",
}


def link_to_pages(app: Sphinx, name: str, source: list[str]) -> None:
    for file, page in PAGES.items():
        source[0] = source[0].replace(f"]({file}", f"]({page}")


def setup(app: Sphinx) -> None:
    app.connect("source-read", link_to_pages)
    app.connect("missing-reference", public_name)
