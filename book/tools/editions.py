"""The three editions of a chapter, as pure functions from notebook to notebook.

The instructor's edition is the notebook itself. The reader's has neither the graded solutions nor the hidden tests nor
the wrong answers; exercises that are not graded keep their folded solutions. The student's is the reader's, made ready
for nbgrader.
"""

import copy
from collections.abc import Callable

from nbformat import NotebookNode
from nbgrader.nbgraderformat import MetadataValidator
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions, LockCells
from nbgrader.preprocessors.base import NbGraderPreprocessor
from traitlets.config import Config

BEGIN_SOLUTION, END_SOLUTION = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

_CONFIG = Config(
    ClearSolutions={"begin_solution_delimeter": BEGIN_SOLUTION, "end_solution_delimeter": END_SOLUTION},
    ClearHiddenTests={"begin_test_delimeter": BEGIN_HIDDEN, "end_test_delimeter": END_HIDDEN},
)


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", ()))


def is_solution(cell: NotebookNode) -> bool:
    """Whether nbgrader takes the cell as a student's answer."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def is_test(cell: NotebookNode) -> bool:
    """Whether nbgrader gives points for the cell."""
    return bool(cell.metadata.get("nbgrader", {}).get("grade"))


def instructor(nb: NotebookNode) -> NotebookNode:
    """All of the chapter: solutions, hidden tests and wrong answers."""
    return copy.deepcopy(nb)


def reader(nb: NotebookNode) -> NotebookNode:
    """The chapter without graded solutions, hidden tests, wrong answers, and without what those cells printed.

    Raises:
        RuntimeError: a marker has no partner, or stands in a cell whose nbgrader metadata do not call for it.
    """
    nb = copy.deepcopy(nb)
    nb.cells = [cell for cell in nb.cells if "wrong-answer" not in tags(cell)]
    for preprocessor in (ClearSolutions, ClearHiddenTests):
        nb = _apply(preprocessor, nb)
    for cell in nb.cells:
        if cell.cell_type == "code" and (is_solution(cell) or is_test(cell)):
            cell.outputs, cell.execution_count = [], None
    return nb


def student(nb: NotebookNode) -> NotebookNode:
    """The reader's edition as an nbgrader assignment: a kernel is named, and what must stay as it is is locked.

    Raises:
        jsonschema.ValidationError: the nbgrader metadata are invalid.
        RuntimeError: see :func:`reader`.
    """
    nb = reader(nb)
    nb.metadata["kernelspec"] = dict(KERNELSPEC)
    nb = _apply(LockCells, nb)
    MetadataValidator().validate_nb(nb)
    return nb


#: The editions by name.
EDITIONS: dict[str, Callable[[NotebookNode], NotebookNode]] = {
    "reader": reader,
    "instructor": instructor,
    "student": student,
}


def _apply(preprocessor: type[NbGraderPreprocessor], nb: NotebookNode) -> NotebookNode:
    return preprocessor(config=_CONFIG).preprocess(nb, {})[0]
