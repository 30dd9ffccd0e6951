from pathlib import Path

import pytest
from fixture_chapter import shrinkage, write_book
from nbformat import NotebookNode

from book.tools.card import card_text
from book.tools.chapters import bibliography

RUN = {"cpu_seconds": 12.6, "memory_mb": 1449, "cpu": "Some CPU"}

EXPECTED = """\
**Paper.** Willard James and Charles Stein: [Estimation with Quadratic Loss](https://example.org/james-stein). \
*Berkeley Symposium*, 1, 1961.

**Idea.** Shrinking the mean lowers its risk.

**You will be able to**

- derive the estimator
- say when it helps

**Read before.** [Toy foundations](foundations.ipynb).

**Run time.** 13 s and 1.4 GB on one thread of Some CPU. **Difficulty.** Intermediate."""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    chapters = write_book(tmp_path)
    monkeypatch.setenv("NG_CHAPTERS", str(chapters))
    return chapters / "toy" / "shrinkage.ipynb"


def chapter(**changes: object) -> NotebookNode:
    nb = shrinkage()
    nb.metadata.nglib.update({"run": RUN, **changes})
    return nb


def test_card_says_what_the_metadata_say(path: Path) -> None:
    assert card_text(chapter(), path) == EXPECTED


def test_chapter_of_another_part(path: Path) -> None:
    other = path.parent.parent / "elsewhere" / "shrinkage.ipynb"
    assert "[Toy foundations](../toy/foundations.ipynb)" in card_text(chapter(), other)


def test_foundations_have_no_paper(path: Path) -> None:
    nb = chapter(prerequisites=[])
    del nb.metadata.nglib["paper"]
    assert card_text(nb, path).startswith("**Idea.**")
    assert "Read before" not in card_text(nb, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"idea": ""}, "lack idea"),
        ({"run": {}}, "lack run"),
        ({"difficulty": 7}, "difficulty of .* is 7; expected one of"),
        ({"paper": "nobody2000nothing"}, "'nobody2000nothing' is not in the bibliography"),
        ({"prerequisites": ["toy/nothing"]}, "prerequisite 'toy/nothing'"),
    ],
)
def test_bad_metadata_are_named(path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        card_text(chapter(**changes), path)


def test_latex_in_the_bibliography(path: Path) -> None:
    bib = path.parents[2] / "book" / "references.bib"
    bib.write_text(
        '@book{a, title={{A} \\& b}, author={M{\\"u}ller, J. and van der Berg, K.}, year={2000}, url={https://x_y.z}}'
    )
    text = card_text(chapter(paper="a"), path)
    assert text.startswith("**Paper.** J. Müller and K. van der Berg: [A & b](https://x_y.z). 2000.")


def test_every_reference_of_the_book_can_be_cited() -> None:
    for key in bibliography().entries:
        path = Path(__file__).parents[1] / "chapters" / "part" / "slug.ipynb"
        assert card_text(chapter(paper=key, prerequisites=[]), path)
