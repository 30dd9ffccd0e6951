"""Rules about exercises."""

import re
from collections import Counter
from collections.abc import Callable, Iterator

from jsonschema import ValidationError
from nbformat import NotebookNode
from nbgrader.nbgraderformat.common import SchemaMismatchError

from book.tools import grading
from book.tools.chapters import Chapter, tags
from book.tools.contract.cells import EXERCISES, asserts, exercise_blocks, marked, section, where
from book.tools.editions import BEGIN_HIDDEN, BEGIN_SOLUTION, END_HIDDEN, END_SOLUTION, is_solution, is_test, student

# <details><summary>Solution</summary>, a blank line, the text, a blank line, </details>
FOLDED = re.compile(r"^<details><summary>Solution</summary>\n\n.*\S.*\n\n</details>$", re.MULTILINE | re.DOTALL)


def kinds(chapter: Chapter) -> Iterator[str]:
    """The four kinds of exercise, each with what belongs to it."""
    blocks = list(exercise_blocks(chapter))
    counts = Counter(kind for _, kind, _ in blocks)
    for kind, least in zip(EXERCISES, (1, 1, 2, 1), strict=True):
        if counts[kind] < least:
            yield f"{counts[kind]} exercises are tagged {kind!r}; expected {least} at least"
    inside = {index for index, _ in section(chapter, "sec-exercises")}
    for index, kind, body in blocks:
        if index not in inside:
            yield f"{where(chapter, index)} stands outside the section 'sec-exercises'"
        if not re.match(r"### \S", chapter.nb.cells[index].source):
            yield f"{where(chapter, index)} does not open with an H3"
        yield from (f"{where(chapter, index)}: {problem}" for problem in _EXERCISE_RULES[kind](body))


def _derivation(body: list[NotebookNode]) -> Iterator[str]:
    solutions = [cell for cell in body if "solution" in tags(cell) and cell.cell_type == "markdown"]
    if not solutions:
        yield "no markdown cell tagged 'solution' follows"
    for cell in solutions:
        if not FOLDED.search(cell.source):
            yield "the solution does not fold: the details and summary tags need lines of their own and blank lines"


def _practice(body: list[NotebookNode]) -> Iterator[str]:
    if not any({"solution", "hide-cell"} <= set(tags(cell)) and cell.cell_type == "code" for cell in body):
        yield "no code cell tagged 'solution' and 'hide-cell' follows"


def _graded(body: list[NotebookNode]) -> Iterator[str]:
    solutions = [cell for cell in body if is_solution(cell)]
    tests = [cell for cell in body if is_test(cell)]
    wrong = [cell for cell in body if "wrong-answer" in tags(cell)]
    if len(solutions) != 1:
        yield f"{len(solutions)} solution cells follow; expected one"
        return
    grade_id = solutions[0].metadata.nbgrader.grade_id
    if not marked(solutions[0].source, BEGIN_SOLUTION, END_SOLUTION):
        yield f"the solution {grade_id} is not marked from {BEGIN_SOLUTION} to {END_SOLUTION}"
    if not tests:
        yield "no test cell follows"
    for cell in tests:
        meta = cell.metadata.nbgrader
        if not meta.grade_id.startswith(f"{grade_id}-"):
            yield f"the test {meta.grade_id!r} is not named after its solution: expected '{grade_id}-…'"
        if not meta.get("points", 0) > 0:
            yield f"the test {meta.grade_id} gives {meta.get('points')} points; expected more than 0"
    if not any(marked(cell.source, BEGIN_HIDDEN, END_HIDDEN) for cell in tests):
        yield "no test judges with hidden tests"
    if not any(asserts(cell.source.partition(BEGIN_HIDDEN)[0]) for cell in tests):
        yield "no test helps with a visible part"
    if len(wrong) < 3:
        yield f"{len(wrong)} wrong answers follow; expected three"
    for cell in wrong:
        if cell.metadata.get("nglib", {}).get("answers") != grade_id:
            yield f"a wrong answer names {cell.metadata.get('nglib')!r}; expected answers: {grade_id!r}"
        if not re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL).strip():
            yield "a wrong answer does not say why a student would write it"


def _open(body: list[NotebookNode]) -> Iterator[str]:
    if any("solution" in tags(cell) or is_solution(cell) for cell in body):
        yield "an open exercise has no solution"


_EXERCISE_RULES: dict[str, Callable[[list[NotebookNode]], Iterator[str]]] = dict(
    zip(EXERCISES, (_derivation, _practice, _graded, _open), strict=True)
)


def grade_cells(chapter: Chapter) -> Iterator[str]:
    """nbgrader accepts the student's notebook; its ids start with the slug; graded code stands in exercises only."""
    try:
        student(chapter.nb)
    except (RuntimeError, ValidationError, SchemaMismatchError, KeyError) as error:
        yield f"nbgrader rejects the chapter: {error}"
    in_exercises = {
        id(cell) for _, kind, body in exercise_blocks(chapter) if kind == "exercise-graded" for cell in body
    }
    for index, cell in chapter.cells():
        if (is_solution(cell) or is_test(cell)) and id(cell) not in in_exercises:
            yield f"{where(chapter, index)} is graded but belongs to no exercise tagged 'exercise-graded'"
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", chapter.prefix)
        if not grade_id.startswith(chapter.prefix):
            yield f"{where(chapter, index)}: grade_id {grade_id!r} does not start with {chapter.prefix!r}"


def grading_works(chapter: Chapter) -> Iterator[str]:
    """The stub earns nothing, the solution everything, and every wrong answer less than everything."""
    tasks = grading.tasks(chapter.nb)
    stubs = {cell.metadata.nbgrader.grade_id: cell.source for cell in student(chapter.nb).cells if is_solution(cell)}
    answers = [
        (task, kind, text)
        for task in tasks
        for kind, text in (
            ("stub", stubs[task.grade_id]),
            ("solution", task.solution),
            *((f"wrong answer {number}", wrong) for number, wrong in enumerate(task.wrong_answers, 1)),
        )
    ]
    verdicts = grading.judge(chapter.nb, [(task, text) for task, _, text in answers])
    for (task, kind, _), verdict in zip(answers, verdicts, strict=True):
        result = f"{task.grade_id}: the {kind} earns {verdict.total:g} of {task.points:g} points"
        if kind == "stub" and verdict.total:
            yield result
        elif kind == "solution" and verdict.total < task.points:
            yield "\n".join((result, *verdict.errors.values()))
        elif kind.startswith("wrong") and verdict.total == task.points:
            yield result
        elif kind.startswith("wrong") and task.grade_id in verdict.errors:
            yield f"{task.grade_id}: the {kind} does not even run:\n{verdict.errors[task.grade_id]}"
