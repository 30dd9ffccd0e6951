"""Graded exercises of a chapter, and the points an answer earns.

An answer is judged in a namespace that holds the chapter's ``setup`` and ``method`` cells and nothing else. Each test
cell gives all of its points if it runs and none if it fails or is not reached in time.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from book.tools.chapters import KERNEL_ENVIRONMENT, tags
from book.tools.editions import is_solution, is_test

JUDGE = Path(__file__).with_name("judge.py")

_FENCE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Test:
    """A test cell: visible and hidden part together."""

    __test__ = False  # not one of pytest's

    grade_id: str
    points: float
    source: str


@dataclass(frozen=True)
class Task:
    """A graded exercise: the solution, what judges an answer, and answers that must not pass."""

    grade_id: str
    solution: str
    tests: tuple[Test, ...]
    wrong_answers: tuple[str, ...]

    @property
    def points(self) -> float:
        return sum(test.points for test in self.tests)


@dataclass(frozen=True)
class Verdict:
    """Points by test cell, and the traceback of every cell that failed, the answer's own included."""

    points: dict[str, float]
    errors: dict[str, str]

    @property
    def total(self) -> float:
        return sum(self.points.values())


def tasks(nb: NotebookNode) -> list[Task]:
    """The graded exercises of an instructor's notebook, in order: a test belongs to the solution cell above it."""
    found: list[Task] = []
    for cell in nb.cells:
        meta = cell.metadata.get("nbgrader", {})
        if is_solution(cell) and not is_test(cell):
            answers = tuple(_wrong_answers(nb, meta["grade_id"]))
            found.append(Task(meta["grade_id"], cell.source, (), answers))
        elif is_test(cell) and found:
            last = found[-1]
            test = Test(meta["grade_id"], meta["points"], cell.source)
            found[-1] = Task(last.grade_id, last.solution, (*last.tests, test), last.wrong_answers)
    return found


def _wrong_answers(nb: NotebookNode, grade_id: str) -> list[str]:
    """The answers that the notebook lists as wrong for a task.

    Raises:
        ValueError: a wrong answer is not given as exactly one fenced ``python`` block.
    """
    answers = []
    for cell in nb.cells:
        if "wrong-answer" in tags(cell) and cell.metadata.get("nglib", {}).get("answers") == grade_id:
            blocks = _FENCE.findall(cell.source)
            if len(blocks) != 1:
                raise ValueError(f"a wrong answer to {grade_id} holds {len(blocks)} python blocks; expected one")
            answers.append(blocks[0])
    return answers


def judge(nb: NotebookNode, answers: Sequence[tuple[Task, str]], seconds: float = 30.0) -> list[Verdict]:
    """Judge answers to tasks of one chapter: each is the text that stands in the solution cell.

    Args:
        nb: the chapter.
        answers: tasks and the answers to them.
        seconds: how long one answer and its tests may take.

    Raises:
        RuntimeError: the chapter's own setup and method cells do not run.
    """
    namespace = [cell.source for cell in nb.cells if cell.cell_type == "code" and {"setup", "method"} & {*tags(cell)}]
    jobs = [
        {"cells": [(task.grade_id, answer), *((test.grade_id, test.source) for test in task.tests)]}
        for task, answer in answers
    ]
    process = subprocess.run(
        [sys.executable, "-P", str(JUDGE)],
        input=json.dumps({"namespace": namespace, "jobs": jobs, "seconds": seconds}),
        env={**os.environ, **KERNEL_ENVIRONMENT, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise RuntimeError(f"setup and method cells do not run on their own:\n{process.stderr}")
    return [_verdict(task, report) for (task, _), report in zip(answers, json.loads(process.stdout), strict=True)]


def _verdict(task: Task, report: dict[str, str]) -> Verdict:
    late = "not reached within the time limit"
    errors = {cell: report.get(cell, late) for cell in (task.grade_id, *(test.grade_id for test in task.tests))}
    points = {test.grade_id: 0.0 if errors[test.grade_id] else float(test.points) for test in task.tests}
    return Verdict(points, {cell: error for cell, error in errors.items() if error})
