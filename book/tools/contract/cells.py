"""Looking into cells: what they say, call, show, and which belong together."""

import ast
import re
from collections.abc import Iterable, Iterator

from nbformat import NotebookNode

from book.tools.chapters import Chapter, tags

EXERCISES = ("exercise-derivation", "exercise-practice", "exercise-graded", "exercise-open")
DISPLAYING = ("print", "display", "show", "table", "explore")
IMAGES = ("image/png", "image/jpeg", "image/webp", "image/svg+xml")


def where(chapter: Chapter, index: int) -> str:
    """A cell as messages name it: its index and its first line."""
    return f"cell {index} ({chapter.nb.cells[index].source.partition(chr(10))[0][:60]!r})"


def headings(chapter: Chapter) -> Iterator[tuple[int, int, str]]:
    """Cell, level and text of every heading."""
    for index, cell in chapter.cells(kind="markdown"):
        for marks, text in re.findall(r"^(#{1,6}) +(.+)$", without_code(cell.source), re.MULTILINE):
            yield index, len(marks), text


def section(chapter: Chapter, tag: str) -> Iterator[tuple[int, NotebookNode]]:
    """The cells from the one that opens a section to the next section."""
    current = ""
    for index, cell in chapter.cells():
        current = next((name for name in tags(cell) if name.startswith("sec-")), current)
        if current == tag:
            yield index, cell


def exercise_blocks(chapter: Chapter) -> Iterator[tuple[int, str, list[NotebookNode]]]:
    """Every exercise: where its statement is, its kind, and the cells that follow it."""
    starts = [
        (index, kind) for index, cell in chapter.cells(kind="markdown") for kind in EXERCISES if kind in tags(cell)
    ]
    ends = [index for index, cell in chapter.cells() if any(tag.startswith("sec-") for tag in tags(cell))]
    stops = sorted([*(index for index, _ in starts), *ends, len(chapter.nb.cells)])
    for index, kind in starts:
        yield index, kind, chapter.nb.cells[index + 1 : next(stop for stop in stops if stop > index)]


def without_code(text: str) -> str:
    """Markdown without its code, fenced or inline."""
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def without_mathematics(text: str) -> str:
    """Markdown without its formulas, whose brackets are not links."""
    return re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$", "", text, flags=re.DOTALL)


def labels(text: str) -> list[str]:
    """The labels of the displayed equations in a text."""
    return re.findall(r"\$\$[ \t]*\(([^()\s]+)\)[ \t]*$", without_code(text), re.MULTILINE)


def marked(source: str, begin: str, end: str) -> bool:
    """Whether lines of a cell are marked from ``begin`` to ``end``."""
    lines = [line.strip() for line in source.split("\n")]
    return lines.count(begin) == lines.count(end) >= 1


def asserts(source: str) -> bool:
    """Whether code asserts something that is not a constant, by a statement or by ``assert_close`` and the like."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return True
        if isinstance(node, ast.Call) and called(node).startswith("assert_"):
            return True
    return False


def called(call: ast.Call) -> str:
    """The name of what is called: ``show`` in ``plot.show(...)``."""
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def top_level(cell: NotebookNode) -> Iterator[ast.AST]:
    """The nodes of a cell that run when it does: not the bodies of what it defines."""
    stack: list[ast.AST] = list(ast.parse(cell.source).body)
    while stack:
        node = stack.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield node
            stack.extend(ast.iter_child_nodes(node))


def calls(cell: NotebookNode, *names: str) -> bool:
    """Whether a cell, when it runs, itself calls one of the functions."""
    nodes = top_level(cell) if cell.cell_type == "code" else ()
    return any(isinstance(node, ast.Call) and called(node) in names for node in nodes)


def displays(cell: NotebookNode) -> bool:
    """Whether a cell surely shows something: it calls what displays, or ends in a value."""
    body = ast.parse(cell.source).body
    if calls(cell, *DISPLAYING):
        return True
    if not body or not isinstance(body[-1], ast.Expr) or cell.source.rstrip().endswith(";"):
        return False
    return not isinstance(body[-1].value, ast.Call | ast.Constant)


def pictures(cell: NotebookNode) -> list[str]:
    """The alternative texts of the pictures that a cell shows."""
    if cell.cell_type != "code":
        return []
    return [text for output in cell.outputs for text in alternative_texts(output)]


def alternative_texts(output: NotebookNode) -> Iterator[str]:
    """The alternative text of every picture in an output; empty where one has none."""
    data, meta = output.get("data", {}), output.get("metadata", {})
    for mime in IMAGES:
        if mime in data:
            yield meta.get(mime, {}).get("alt", "")
    for image in re.findall(r"<img\b[^>]*>", as_text(data.get("text/html", ""))):
        found = re.search(r"\balt=\"([^\"]*)\"", image)
        yield found[1] if found else ""


def readable(output: NotebookNode) -> str:
    """An output's text, without the pictures inside it."""
    texts = [output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k.startswith("text/"))]
    return re.sub(r"data:[\w/+;=,-]*base64,[\w+/=]*", "", "\n".join(map(as_text, texts)))


def as_text(value: str | Iterable[str]) -> str:
    """A text that the file format stores as a string or as a list of lines."""
    return value if isinstance(value, str) else "".join(value)
