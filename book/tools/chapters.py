"""Chapters as files: where they are, what their metadata say, and what identifies their sources and outputs.

``NG_CHAPTERS`` names another folder of chapters; its neighbour ``book/references.bib`` is then their bibliography.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from pybtex.database import BibliographyData, parse_file

ROOT = Path(__file__).resolve().parents[2]

#: One thread per kernel: side by side, more threads only get in each other's way. Frames: figures that move without a
#: kernel. No progress bars: their times would differ from run to run.
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "NG_EXPLORE": "frames",
    "TQDM_DISABLE": "1",
}


@dataclass(frozen=True)
class Chapter:
    """A chapter's notebook and where it lies."""

    path: Path
    nb: NotebookNode

    @property
    def part(self) -> str:
        return self.path.parent.name

    @property
    def name(self) -> str:
        """``part/slug``."""
        return f"{self.part}/{self.path.stem}"

    @property
    def is_foundations(self) -> bool:
        return self.path.stem == "foundations"

    @property
    def prefix(self) -> str:
        """What this chapter's labels and grade ids start with: its slug, or its part if it is a foundations chapter."""
        return self.part if self.is_foundations else self.path.stem

    @property
    def meta(self) -> dict[str, Any]:
        """The chapter's own metadata."""
        return self.nb.metadata.get("nglib", {})

    @cached_property
    def title(self) -> str:
        return title(self.nb)

    def cells(self, tag: str = "", kind: str = "") -> Iterator[tuple[int, NotebookNode]]:
        """Index and cell of every cell that carries ``tag`` and is of ``kind`` (``"code"``, ``"markdown"``)."""
        for index, cell in enumerate(self.nb.cells):
            if (not tag or tag in tags(cell)) and (not kind or cell.cell_type == kind):
                yield index, cell


def folder() -> Path:
    """The folder that holds the parts."""
    return Path(os.environ.get("NG_CHAPTERS") or ROOT / "chapters").resolve()


def paths(name: str = "") -> list[Path]:
    """The notebooks of the chapter ``name`` (``"colide"``, ``"statistics/colide"``), or all of them.

    Raises:
        ValueError: no chapter, or more than one, has that name.
    """
    found = sorted(folder().glob("*/*.ipynb"))
    if not name:
        return found
    matches = [path for path in found if name in (path.stem, f"{path.parent.name}/{path.stem}")]
    if len(matches) != 1:
        candidates = ", ".join(f"{path.parent.name}/{path.stem}" for path in matches or found)
        raise ValueError(
            f"{'several chapters are' if matches else 'no chapter is'} named {name!r}; there is {candidates}"
        )
    return matches


def read(path: Path) -> Chapter:
    """The chapter in a file."""
    return Chapter(path, nbformat.read(path, as_version=4))


def bibliography() -> BibliographyData:
    """The bibliography that the chapters cite from."""
    return parse_file(folder().parent / "book" / "references.bib")


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", ()))


def title(nb: NotebookNode) -> str:
    """The chapter's title: the H1 that opens it, or nothing."""
    first = nb.cells[0].source.partition("\n")[0] if nb.cells else ""
    return first.removeprefix("# ").strip() if first.startswith("# ") else ""


def source_digest(nb: NotebookNode) -> str:
    """A hash of the code, in order. It changes when code changes, and with nothing else."""
    return _digest([cell.source for cell in nb.cells if cell.cell_type == "code"])


def output_digest(nb: NotebookNode) -> str:
    """A hash of the stored outputs, in order."""
    return _digest([cell.outputs for cell in nb.cells if cell.cell_type == "code"])


def _digest(data: list[Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
