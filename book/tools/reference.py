"""The reference of nglib as reStructuredText, from the text of its modules alone: nothing is imported."""

import ast
import copy
import re
from collections.abc import Iterator
from itertools import pairwise, takewhile
from pathlib import Path

from sphinx.ext.napoleon import Config, GoogleDocstring

from book.tools.chapters import ROOT
from book.tools.pages import Book, table

PACKAGE = ROOT / "nglib"


def modules() -> dict[str, Path]:
    """nglib's public modules, such as ``splat.camera``, and the file of each."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        names = [name for name in path.relative_to(PACKAGE).with_suffix("").parts if name != "__init__"]
        if names and not any(name.startswith("_") for name in names):
            found[".".join(names)] = path
    return found


def overview() -> str:
    """A table of the modules with the first sentence of each, as Markdown."""
    rows = [(f"[{name}](api/{name}.rst)", _first_sentence(_parse(path))) for name, path in modules().items()]
    return table(("Module", "Subject"), rows)


def page(name: str, book: Book) -> str:
    """The page of a module: its docstring, the chapters that use it, and its public names in their order."""
    module = _Module(modules()[name])
    lines = [name, "=" * len(name), "", f".. py:module:: nglib.{name}", *module.text()]
    users = [
        f":doc:`{chapter.title} </chapters/{chapter.name}>`"
        for members in book.values()
        for chapter in members
        if any(_uses(cell.source, name) for _, cell in chapter.cells(kind="code"))
    ]
    return "\n".join([*lines, *([f"Used in {', '.join(users)}."] if users else []), ""])


def _uses(code: str, module: str) -> bool:
    name = re.escape(module)
    return re.search(rf"\bnglib\.{name}\b|\bfrom nglib import [^\n]*\b{name}\b", code) is not None


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _first_sentence(tree: ast.Module) -> str:
    text = " ".join((ast.get_docstring(tree) or "").split())
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0].replace("``", "`")


class _Module:
    """One module: its syntax tree and text, and where the names that it imports from nglib are defined."""

    def __init__(self, path: Path) -> None:
        self.tree = _parse(path)
        self.lines = path.read_text(encoding="utf-8").splitlines()
        self.is_package = path.stem == "__init__"
        self.imported = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nglib.")
            for alias in node.names
        }

    def text(self) -> Iterator[str]:
        """The module's docstring and its public names, each with signature and docstring."""
        yield from ["", *self._docstring(self.tree), ""]
        if self.is_package and self.imported:
            names = ", ".join(f":py:obj:`~{target}`" for target in self.imported.values())
            yield from [f"It offers the names {names}.", ""]
        yield from self._body(self.tree.body, "")

    def _body(self, body: list[ast.stmt], indent: str) -> Iterator[str]:
        for node, following in pairwise([*body, None]):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield from self._function(node, indent)
            elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from self._class(node, indent)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                yield from self._variable(node, following, indent)

    def _function(self, node: ast.FunctionDef, indent: str) -> Iterator[str]:
        decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
        if decorators & {"property", "cached_property"}:
            head = [
                f".. py:property:: {node.name}",
                *([f"   :type: {self._type(node.returns)}"] if node.returns else []),
            ]
        else:
            arguments = self._arguments(node, bound=bool(indent) and "staticmethod" not in decorators)
            returns = f" -> {self._type(node.returns)}" if node.returns else ""
            head = [f".. py:{'method' if indent else 'function'}:: {node.name}({arguments}){returns}"]
            head += [f"   :{name}:" for name in ("classmethod", "staticmethod") if name in decorators]
        yield from _entry(head, self._docstring(node), indent)

    def _class(self, node: ast.ClassDef, indent: str) -> Iterator[str]:
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        generated = [*node.decorator_list, *node.bases]
        init = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
        if init:
            signature = f"({self._arguments(init, bound=True)})"
        elif any(name in ast.unparse(item) for item in generated for name in ("dataclass", "NamedTuple")):
            signature = f"({', '.join(self._field(field) for field in fields)})"
        else:
            signature = ""
        yield from _entry([f".. py:class:: {node.name}{signature}"], self._docstring(node), indent)
        yield from self._body([item for item in node.body if item not in fields], indent + "   ")

    def _variable(self, node: ast.Assign | ast.AnnAssign, following: ast.stmt | None, indent: str) -> Iterator[str]:
        """A constant or a type, and what a string below it or a comment ``#:`` above it says of it."""
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        above = list(takewhile(lambda line: line.startswith("#:"), map(str.strip, self.lines[node.lineno - 2 :: -1])))
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = str(following.value.value).splitlines()
        else:
            text = [line.removeprefix("#:").strip() for line in reversed(above)]
        if not isinstance(target, ast.Name) or target.id.startswith("_") or node.value is None:
            return
        if target.id.isupper():
            head = [f".. py:data:: {target.id}"]
        else:  # a type alias
            head = [f".. py:type:: {target.id}", f"   :canonical: {self._type(node.value)}"]
        yield from _entry(head, self._links(text), indent)

    def _docstring(self, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> list[str]:
        # A lone pipe sign is a norm or a condition here, not the start of a substitution.
        text = re.sub(r"(`[^`]*`)|\|", lambda match: match[1] or r"\|", ast.get_docstring(node) or "")
        return self._links(str(GoogleDocstring(text, Config(napoleon_use_rtype=False))).splitlines())

    def _links(self, lines: list[str]) -> list[str]:
        """References to imported names, led to where these are defined."""

        def spelled(match: re.Match[str]) -> str:
            role, name, rest = match.groups()
            return f":py:{role}:`~{self.imported[name]}{rest}`" if name in self.imported else match.group()

        return [re.sub(r":(?:py:)?(\w+):`(\w+)((?:\.\w+)*)`", spelled, line) for line in lines]

    def _arguments(self, node: ast.FunctionDef, bound: bool) -> str:
        arguments = copy.deepcopy(node.args)
        if bound:
            del (arguments.posonlyargs or arguments.args)[0]
        return self._unparse(arguments)

    def _field(self, field: ast.AnnAssign) -> str:
        default = "..." if isinstance(field.value, ast.Call) else field.value and ast.unparse(field.value)
        return f"{ast.unparse(field.target)}: {self._type(field.annotation)}{f' = {default}' if default else ''}"

    def _type(self, annotation: ast.expr) -> str:
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        return self._unparse(annotation)

    def _unparse(self, node: ast.AST) -> str:
        """Source text in which a name that is imported from nglib links to its definition and shows its last part."""
        node = copy.deepcopy(node)
        for name in ast.walk(node):
            if isinstance(name, ast.Name) and name.id in self.imported:
                name.id = f"~{self.imported[name.id]}"
        return ast.unparse(node)


def _entry(head: list[str], text: list[str], indent: str) -> Iterator[str]:
    for line in [*head, "", *(f"   {line}" for line in text), ""]:
        yield f"{indent}{line}".rstrip()
