"""Rules about text."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from book.tools.card import card_text
from book.tools.chapters import Chapter, bibliography, read
from book.tools.contract.cells import labels, where, without_code, without_mathematics


def labels_and_markup(chapter: Chapter) -> Iterator[str]:
    """Equation labels start with the slug; no markup that Jupyter would show as plain text."""
    for index, cell in chapter.cells(kind="markdown"):
        text = without_code(cell.source)
        for label in labels(text):
            if not label.startswith(f"{chapter.prefix}-"):
                yield f"{where(chapter, index)}: label {label!r} does not start with '{chapter.prefix}-'"
        if re.search(r"\\begin\{(align|equation|gather|eqnarray)\*?\}", text):
            yield f"{where(chapter, index)}: a numbered environment inside $$; use aligned"
        if text.count("$$") % 2:
            yield f"{where(chapter, index)}: an odd number of $$"
        for role in re.findall(r"\{([\w:-]+)\}`", cell.source):
            if role not in ("eq", "cite:t", "cite:p"):
                yield f"{where(chapter, index)}: role {role!r}; expected eq, cite:t or cite:p"
        if re.search(r"^(```+|:::+) *\{", cell.source, re.MULTILINE):
            yield f"{where(chapter, index)}: a MyST directive, which is plain text in Jupyter"


def equation_references(chapter: Chapter) -> Iterator[str]:
    """Every reference to an equation finds one, in this chapter or in another of the book."""
    known = {label for path in chapter.path.parents[1].glob("*/*.ipynb") for label in _labels_in(path)}
    for index, cell in chapter.cells(kind="markdown"):
        for label in re.findall(r"\{eq\}`([^`]*)`", cell.source):
            if label not in known:
                yield f"{where(chapter, index)} refers to equation {label!r}, which nothing labels"


@cache
def _labels_in(path: Path) -> list[str]:
    return [label for _, cell in read(path).cells(kind="markdown") for label in labels(cell.source)]


def citations(chapter: Chapter) -> Iterator[str]:
    """Cited works, and the chapter's own paper, are in the bibliography."""
    known = bibliography().entries
    for index, cell in chapter.cells(kind="markdown"):
        for keys in re.findall(r"\{cite:[tp]\}`([^`]*)`", cell.source):
            for key in map(str.strip, keys.split(",")):
                if key not in known:
                    yield f"{where(chapter, index)} cites {key!r}, which is not in references.bib"
    if "paper" in chapter.meta and chapter.meta["paper"] not in known:
        yield f"the chapter's paper {chapter.meta['paper']!r} is not in references.bib"


def links(chapter: Chapter) -> Iterator[str]:
    """Relative links lead to files that exist; pictures in the text have alternative text."""
    for index, cell in chapter.cells(kind="markdown"):
        text = without_mathematics(without_code(cell.source))
        for mark, label, target in re.findall(r"(!?)\[([^\]]*)\]\(<?([^)>\s]+)[^)]*\)", text):
            if mark and not label.strip():
                yield f"{where(chapter, index)}: the picture {target} has no alternative text"
            if re.match(r"[a-z]+:|#", target):
                continue
            if not (chapter.path.parent / unquote(target.partition("#")[0])).exists():
                yield f"{where(chapter, index)} links to {target}, which does not exist"


def card(chapter: Chapter) -> Iterator[str]:
    """The card says what the metadata say."""
    try:
        expected = card_text(chapter.nb, chapter.path)
    except ValueError as error:
        yield f"the card cannot be written: {error}"
        return
    if [cell.source for _, cell in chapter.cells("card")] != [expected]:
        yield "the card is not what the metadata say; make run writes it"
