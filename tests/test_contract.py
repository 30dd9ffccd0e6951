"""Every chapter of the book satisfies the contract. ``NG_CHAPTERS`` names another folder of chapters to hold to it."""

import pytest

from book.tools.chapters import Chapter, paths, read
from book.tools.contract import BOOK_RULES, RULES, BookRule, Rule

CHAPTERS = [read(path) for path in paths()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_chapter(chapter: Chapter, rule: Rule) -> None:
    assert not (defects := list(rule(chapter))), f"{chapter.path}\n" + "\n".join(defects)


@pytest.mark.parametrize("rule", BOOK_RULES, ids=lambda rule: rule.__name__)
def test_book(rule: BookRule) -> None:
    assert not (defects := list(rule(CHAPTERS))), "\n".join(defects)
