"""Rules about code."""

import ast
import builtins
import dis
import sys
from collections.abc import Iterator
from types import CodeType, ModuleType
from unittest.mock import patch

from book.tools.chapters import Chapter, tags
from book.tools.contract.cells import asserts, where
from book.tools.editions import is_test

CELL_LINES = 40

# Calls a constant's value may contain: they compute the same thing every time.
PURE_CALLS = ("TypeVar", "ParamSpec", "NewType", "frozenset", "range", "tuple", "Path", "torch.finfo", "torch.iinfo")
PURE_MODULES = ("math", "np")


def cell_length(chapter: Chapter) -> Iterator[str]:
    """A cell holds one idea. The claims are data and take the lines they need."""
    for index, cell in chapter.cells(kind="code"):
        if (lines := cell.source.count("\n") + 1) > CELL_LINES and "claims" not in tags(cell):
            yield f"{where(chapter, index)} has {lines} lines; expected {CELL_LINES} at most"
        if not cell.source.strip():
            yield f"cell {index} is empty"


def definitions_only(chapter: Chapter) -> Iterator[str]:
    """``setup`` and ``method`` cells hold imports, definitions and constants; ``setup`` may call ``plot.style()``."""
    for index, cell in chapter.cells(kind="code"):
        if not {"setup", "method"} & set(tags(cell)):
            continue
        for statement in ast.parse(cell.source).body:
            styled = "setup" in tags(cell) and ast.unparse(statement) == "plot.style()"
            if not styled and not _is_definition(statement):
                line = ast.unparse(statement).partition("\n")[0]
                yield f"{where(chapter, index)} does more than define: {line}"


def method_module(chapter: Chapter) -> Iterator[str]:
    """``method`` cells load as a module that stands alone and has the exported names."""
    module = load(chapter)
    exports = chapter.meta.get("exports", [])
    if missing := [name for name in exports if not hasattr(module, name)]:
        yield f"the method cells define no {', '.join(missing)}, which 'exports' names"
    for index, cell in chapter.cells("method"):
        used = _global_names(compile(cell.source, "<cell>", "exec"))
        if unknown := sorted(name for name in used if not hasattr(module, name) and not hasattr(builtins, name)):
            yield f"{where(chapter, index)} uses {', '.join(unknown)}, which no method cell defines or imports"


def documented(chapter: Chapter) -> Iterator[str]:
    """What ``method`` cells define has docstrings where it is public, and types everywhere."""
    for index, cell in chapter.cells("method"):
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                if not node.name.startswith("_") and not ast.get_docstring(node):
                    yield f"{where(chapter, index)}: {node.name} has no docstring"
                functions = [node] if isinstance(node, ast.FunctionDef) else node.body
                for function in functions:
                    if isinstance(function, ast.FunctionDef) and (bare := _unannotated(function)):
                        yield f"{where(chapter, index)}: {function.name} has no type for {', '.join(bare)}"


def checks_assert(chapter: Chapter) -> Iterator[str]:
    """A ``check`` cell asserts something that is not a constant, and so does every test of a graded exercise."""
    for index, cell in chapter.cells(kind="code"):
        if ("check" in tags(cell) or is_test(cell)) and not asserts(cell.source):
            yield f"{where(chapter, index)} asserts nothing that can fail"


def load(chapter: Chapter) -> ModuleType:
    """The chapter's method, loaded the way readers load it, from wherever the chapter lies."""
    import nglib.chapters

    with patch.object(nglib.chapters, "root", return_value=chapter.path.parents[1]):
        module = nglib.chapters.chapter(chapter.name)
    del sys.modules[module.__name__]  # the next load may be of a changed notebook
    return module


def _is_definition(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return True
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.Assign() | ast.AnnAssign() if statement.value is not None:
            return all(_is_pure(node) for node in ast.walk(statement.value) if isinstance(node, ast.Call))
    return False


def _is_pure(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    return name in PURE_CALLS or name.rpartition(".")[0] in PURE_MODULES


def _global_names(code: CodeType) -> set[str]:
    """The global names that functions in the code look up when they are called."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    lookups = (i.argval for nested in inner for i in dis.get_instructions(nested) if i.opname == "LOAD_GLOBAL")
    return {*lookups, *(name for nested in inner for name in _global_names(nested))}


def _unannotated(function: ast.FunctionDef) -> list[str]:
    spec = function.args
    arguments = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
    return bare + ([] if function.returns is not None else ["its result"])
