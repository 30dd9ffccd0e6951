"""Two things Sphinx 7 and docutils get wrong: links to type aliases, and the roles of a bibliography's entries."""

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.writers.html5 import HTML5Translator


def _find_alias(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Element | None:
    """Annotations may name a type alias; Sphinx looks for classes only."""
    if node.get("refdomain") != "py" or node["reftype"] != "class":
        return None
    python = env.get_domain("py")
    return python.resolve_xref(env, node["refdoc"], app.builder, "type", node["reftarget"], node, content)


def _open_citation(translator: HTML5Translator, node: nodes.citation) -> None:
    """docutils gives entries a role that is deprecated and that their list may not hold."""
    translator.body.append(translator.starttag(node, "div", CLASS="citation"))


def _close_citation(translator: HTML5Translator, node: nodes.citation) -> None:
    translator.body.append("</div>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("missing-reference", _find_alias)
    app.add_node(nodes.citation, override=True, html=(_open_citation, _close_citation))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
