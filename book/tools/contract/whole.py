"""Rules about the book as a whole."""

from collections import Counter
from collections.abc import Iterator, Sequence

from book.tools.chapters import Chapter
from book.tools.contract.cells import labels


def equation_labels(chapters: Sequence[Chapter]) -> Iterator[str]:
    """Equation labels are unique in the book."""
    used: dict[str, list[str]] = {}
    for chapter in chapters:
        for label in (label for _, cell in chapter.cells(kind="markdown") for label in labels(cell.source)):
            used.setdefault(label, []).append(chapter.name)
    yield from (f"label {label!r} is in {', '.join(names)}" for label, names in used.items() if len(names) > 1)


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
