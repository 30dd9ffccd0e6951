"""Rules about structure."""

import re
from collections import Counter
from collections.abc import Iterator

import nbformat

from book.tools.chapters import Chapter, tags
from book.tools.contract.cells import EXERCISES, calls, headings, pictures, section, where

PAPER_SECTIONS = (
    "sec-problem", "sec-derivation", "sec-implementation", "sec-experiment", "sec-claims",
    "sec-explore", "sec-scale", "sec-differences", "sec-exercises", "sec-reading",
)  # fmt: skip
FOUNDATIONS_SECTIONS = ("sec-problem", "sec-derivation", "sec-explore", "sec-exercises", "sec-reading")

#: Every tag there is, and the kinds of cell that may carry it.
TAGS = {
    **dict.fromkeys(("card", "wrong-answer", *EXERCISES, *PAPER_SECTIONS), ("markdown",)),
    **dict.fromkeys(
        ("setup", "method", "check", "cover", "claims", "nbval-check-output", "hide-input", "hide-cell"), ("code",)
    ),
    "solution": ("markdown", "code"),
}
METADATA = ("paper", "idea", "objectives", "prerequisites", "difficulty", "exports", "run")
FILE_BYTES = 1_500_000


def metadata(chapter: Chapter) -> Iterator[str]:
    """The chapter describes itself completely, in known keys."""
    meta = chapter.meta
    if unknown := sorted(set(meta) - set(METADATA)):
        yield f"metadata 'nglib' have unknown keys: {', '.join(unknown)}"
    for key, kind in (("idea", str), ("objectives", list), ("difficulty", int), ("prerequisites", list)):
        if not isinstance(meta.get(key), kind):
            yield f"metadata 'nglib.{key}' is {meta.get(key)!r}; expected a {kind.__name__}"
    if chapter.is_foundations == ("paper" in meta):
        yield "a foundations chapter has no paper" if chapter.is_foundations else "metadata 'nglib.paper' is missing"
    if not chapter.is_foundations and not meta.get("exports"):
        yield "metadata 'nglib.exports' names nothing"
    if not meta.get("objectives"):
        yield "metadata 'nglib.objectives' names nothing"


def opening(chapter: Chapter) -> Iterator[str]:
    """The title in the first cell, the card in the second, the first section in the third or soon after."""
    if not chapter.title:
        yield "cell 0 does not open with an H1"
        return
    text = " ".join(chapter.nb.cells[0].source.split("\n")[1:])
    if len(re.findall(r"[.!?](?=\s|$)", text)) > 3:
        yield "the text below the title has more than three sentences"
    if [index for index, _ in chapter.cells("card")] != [1]:
        yield "the cell tagged 'card' is not the second one, or not the only one"
    for index, level, heading in headings(chapter):
        if level == 1 and index > 0:
            yield f"{where(chapter, index)} holds a second H1: {heading!r}"


def known_tags(chapter: Chapter) -> Iterator[str]:
    """Tags are those of the authoring guide, on the kinds of cell they are for."""
    for index, cell in chapter.cells():
        for tag in tags(cell):
            if tag not in TAGS:
                yield f"{where(chapter, index)} has the unknown tag {tag!r}"
            elif cell.cell_type not in TAGS[tag]:
                kinds = " or ".join(TAGS[tag])
                yield f"{where(chapter, index)}: tag {tag!r} on a {cell.cell_type} cell; expected {kinds}"
        if re.search("# *(NBVAL|PYTEST_VALIDATE)_", cell.source):
            yield f"{where(chapter, index)} steers nbval by a comment; only tags may"


def sections(chapter: Chapter) -> Iterator[str]:
    """Every section is there once, in order, and opens with an H2. Foundations may derive in several sections."""
    expected = FOUNDATIONS_SECTIONS if chapter.is_foundations else PAPER_SECTIONS
    found = []
    for index, cell in chapter.cells(kind="markdown"):
        opens = [tag for tag in tags(cell) if tag.startswith("sec-")]
        found += opens
        if opens and not cell.source.startswith("## "):
            yield f"{where(chapter, index)} is tagged {opens[0]!r} but does not open with an H2"
    opened = Counter(index for index, level, _ in headings(chapter) if level == 2)
    for index, count in opened.items():
        if count != sum(tag.startswith("sec-") for tag in tags(chapter.nb.cells[index])):
            yield f"{where(chapter, index)} has {count} H2; an H2 opens a section and its cell carries the 'sec-…' tag"
    if chapter.is_foundations:
        found = [tag for i, tag in enumerate(found) if i == 0 or (tag, found[i - 1]) != ("sec-derivation",) * 2]
    if found != list(expected):
        yield f"sections are {', '.join(found)}; expected {', '.join(expected)}"


def section_contents(chapter: Chapter) -> Iterator[str]:
    """Sections hold what they are for: a picture of the problem, the method, an interactive figure, the claims."""
    if not any(pictures(cell) for _, cell in section(chapter, "sec-problem")):
        yield "the problem's section shows no figure"
    if not any(calls(cell, "explore") for _, cell in section(chapter, "sec-explore")):
        yield "the section 'sec-explore' has no explore()"
    if not any(True for _ in chapter.cells("check")):
        yield "no cell is tagged 'check'"
    covers = [cell for _, cell in chapter.cells("cover")]
    if len(covers) != 1 or not pictures(covers[0]):
        yield f"{len(covers)} cells are tagged 'cover'; expected one, with a picture"
    if not chapter.is_foundations:
        for tag, place in (("method", "sec-implementation"), ("claims", "sec-claims")):
            if not any(tag in tags(cell) for _, cell in section(chapter, place)):
                yield f"the section {place!r} has no cell tagged {tag!r}"


def file_size(chapter: Chapter) -> Iterator[str]:
    """A notebook stays small enough to be read and diffed, and is valid."""
    if (size := chapter.path.stat().st_size) > FILE_BYTES:
        yield f"the file has {size:,} bytes; expected {FILE_BYTES:,} at most"
    try:
        nbformat.validate(chapter.nb)
    except nbformat.ValidationError as error:
        yield f"the notebook is not valid: {error}"
