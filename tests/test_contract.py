"""Every chapter of the book satisfies the contract. ``NG_CHAPTERS`` names another folder of chapters to hold to it."""

from functools import cache
from pathlib import Path

import pytest

from book.tools.chapters import Chapter, paths, read
from book.tools.contract import BOOK_RULES, RULES, BookRule, Rule

once = cache(read)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", paths(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_chapter(path: Path, rule: Rule) -> None:
    if defects := list(rule(once(path))):
        pytest.fail("\n".join((str(path), *defects)), pytrace=False)


@pytest.mark.parametrize("rule", BOOK_RULES, ids=lambda rule: rule.__name__)
def test_book(rule: BookRule) -> None:
    chapters: list[Chapter] = [once(path) for path in paths()]
    if defects := list(rule(chapters)):
        pytest.fail("\n".join(defects), pytrace=False)
