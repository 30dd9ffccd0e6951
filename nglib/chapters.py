"""A chapter's method as a module, and how to cite it.

A chapter defines its method in notebook cells tagged ``method`` that hold imports and definitions only.
:func:`chapter` runs those cells, and nothing else, as a module.
"""

import json
import linecache
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nglib

_PACKAGE = Path(nglib.__file__).parent


def root() -> Path:
    """The folder that holds the chapters: in the wheel, or in the checkout nglib is installed from."""
    packaged = _PACKAGE / "_chapters"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "chapters"


def names() -> list[str]:
    """Every chapter as ``part/slug``, in alphabetical order."""
    return sorted(path.relative_to(root()).with_suffix("").as_posix() for path in root().glob("*/*.ipynb"))


def find(name: str) -> Path:
    """The notebook of the chapter ``name``: ``"colide"``, ``"statistics/colide"`` or ``"statistics/foundations"``.

    Raises:
        ValueError: no chapter, or more than one, has that name; the message lists the candidates.
    """
    matches = [known for known in names() if name in (known, known.partition("/")[2])]
    if len(matches) == 1:
        return root() / f"{matches[0]}.ipynb"
    if matches:
        raise ValueError(f"chapter name {name!r} is ambiguous; expected one of {', '.join(matches)}")
    raise ValueError(f"no chapter is named {name!r}; expected one of {', '.join(names())}")


def load_notebook(path: Path) -> dict[str, Any]:
    """A notebook file as the dictionary it holds."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def cells(notebook: dict[str, Any], tag: str) -> Iterator[dict[str, Any]]:
    """The cells that carry ``tag``, in order."""
    return (cell for cell in notebook["cells"] if tag in cell["metadata"].get("tags", ()))


def source(cell: dict[str, Any]) -> str:
    """A cell's text, which the file format stores as a string or as a list of lines."""
    return "".join(cell["source"])


def metadata(name: str) -> dict[str, Any]:
    """What a chapter says of itself (paper, idea, exports, last run, ...): its notebook's ``nglib`` metadata."""
    record: dict[str, Any] = load_notebook(find(name))["metadata"].get("nglib", {})
    return record


def chapter(name: str) -> ModuleType:
    """The method of a chapter as a module, loaded once.

    ``nglib.chapter("colide").fit_dag(cov)`` uses the very cells that the chapter explains; tracebacks show them.

    Raises:
        ValueError: see :func:`find`.
    """
    path = find(name)
    part, slug = path.parent.name, path.stem
    module_name = f"nglib._chapter_{part}_{slug}".replace("-", "_")
    if module_name in sys.modules:
        return sys.modules[module_name]
    module = ModuleType(module_name, f"The method of the chapter {part}/{slug}.")
    module.__file__ = str(path)
    sys.modules[module_name] = module
    try:
        for index, cell in enumerate(cells(load_notebook(path), "method")):
            _run(source(cell), f"<{part}/{slug}, method cell {index}>", module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _run(text: str, filename: str, module: ModuleType) -> None:
    # linecache makes tracebacks and inspect.getsource show the cell.
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    exec(compile(text, filename, "exec"), module.__dict__)


def cite(name: str) -> str:
    """BibTeX of the paper that a chapter implements and of this book.

    Raises:
        ValueError: see :func:`find`.
    """
    from pybtex.database import BibliographyData, parse_file

    packaged = root() / "references.bib"
    entries = parse_file(packaged if packaged.exists() else root().parent / "book" / "references.bib").entries
    paper = metadata(name).get("paper")
    keys = ([paper] if paper else []) + ["noiseandgaussians"]
    return BibliographyData({key: entries[key] for key in keys}).to_string("bibtex")
