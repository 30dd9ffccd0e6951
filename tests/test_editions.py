import copy

import nbformat
import pytest
from fixture_chapter import shrinkage
from jsonschema import ValidationError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.nbgraderformat import MetadataValidator

from book.tools.editions import EDITIONS, instructor, is_solution, is_test, reader, student, tags


def chapter() -> NotebookNode:
    """A chapter with a canary wherever only the instructor may look."""
    nb = shrinkage()
    for cell in nb.cells:
        if is_solution(cell):
            cell.source = cell.source.replace("    return", "    CANARY = 1\n    return")
            cell.outputs = [new_output("stream", text="CANARY")]
        elif is_test(cell):
            cell.source = cell.source.replace("TESTS\n", "TESTS\nCANARY = 1\n", 1)
            cell.outputs = [new_output("stream", text="CANARY")]
        elif "wrong-answer" in tags(cell):
            cell.source += "CANARY"
    return nb


@pytest.mark.parametrize(("edition", "shows"), [("reader", False), ("student", False), ("instructor", True)])
def test_only_the_instructor_sees_what_grades(edition: str, shows: bool) -> None:
    assert ("CANARY" in nbformat.writes(EDITIONS[edition](chapter()))) == shows


def test_editions_leave_the_notebook_alone() -> None:
    nb = chapter()
    before = copy.deepcopy(nb)
    for edition in EDITIONS.values():
        edition(nb)
    assert nb == before


def test_reader_keeps_what_is_not_graded() -> None:
    nb = chapter()
    kept = [cell for cell in nb.cells if "wrong-answer" not in tags(cell)]
    for before, after in zip(kept, reader(nb).cells, strict=True):
        if not (is_solution(before) or is_test(before)):
            assert after == before
    folded = [cell for cell in reader(nb).cells if "solution" in tags(cell)]
    assert [cell.cell_type for cell in folded] == ["markdown", "code"]


def test_visible_tests_stay() -> None:
    sources = [cell.source for cell in student(chapter()).cells if is_test(cell)]
    assert sources == ["assert square(torch.tensor(2.0)) == 4", "assert double(torch.tensor(2.0)) == 4"]


def test_student_notebook_is_an_assignment() -> None:
    nb = student(chapter())
    MetadataValidator().validate_nb(nb)
    nbformat.validate(nb)
    assert nb.metadata.kernelspec.name == "python3"
    assert all(cell.metadata.editable is False for cell in nb.cells if is_test(cell))
    assert all("NotImplementedError" in cell.source for cell in nb.cells if is_solution(cell))


def test_unpaired_marker_is_an_error() -> None:
    nb = chapter()
    cell = next(cell for cell in nb.cells if is_solution(cell))
    cell.source = cell.source.replace("### END SOLUTION", "")
    with pytest.raises(RuntimeError, match="no end solution"):
        reader(nb)


def test_invalid_metadata_are_an_error() -> None:
    nb = chapter()
    del next(cell for cell in nb.cells if is_test(cell)).metadata["nbgrader"]["points"]
    with pytest.raises(ValidationError, match="points"):
        student(nb)


def test_instructor_has_everything() -> None:
    nb = chapter()
    assert instructor(nb) == nb
