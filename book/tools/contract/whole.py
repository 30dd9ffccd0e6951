"""Rules about the book as a whole."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from book.tools.chapters import Chapter
from book.tools.contract.cells import labels, where


def equation_references(chapters: Sequence[Chapter]) -> Iterator[str]:
    """Equation labels are unique in the book, and every reference finds one."""
    known: dict[str, str] = {}
    for chapter in chapters:
        for label in (label for _, cell in chapter.cells(kind="markdown") for label in labels(cell.source)):
            if label in known:
                yield f"label {label!r} is in {known[label]} and {chapter.name}"
            known[label] = chapter.name
    for chapter in chapters:
        for index, cell in chapter.cells(kind="markdown"):
            for label in re.findall(r"\{eq\}`([^`]*)`", cell.source):
                if label not in known:
                    yield f"{chapter.name}, {where(chapter, index)} refers to equation {label!r}, which nothing labels"


def grade_ids(chapters: Sequence[Chapter]) -> Iterator[str]:
    """Grade ids are unique in the book: courses collect exercises from several chapters."""
    used = Counter(
        cell.metadata["nbgrader"]["grade_id"]
        for chapter in chapters
        for _, cell in chapter.cells()
        if "nbgrader" in cell.metadata
    )
    yield from (f"grade_id {name!r} is used {count} times" for name, count in used.items() if count > 1)


def slugs(chapters: Sequence[Chapter]) -> Iterator[str]:
    """Slugs are unique: they name the chapters. Foundations are named with their part."""
    used = Counter(chapter.path.stem for chapter in chapters if not chapter.is_foundations)
    yield from (f"{count} chapters have the slug {name!r}" for name, count in used.items() if count > 1)
