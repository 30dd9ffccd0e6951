import time

import pytest
from fixture_chapter import shrinkage
from nbformat.v4 import new_code_cell

from book.tools.grading import Task, Verdict, judge, tasks


def double() -> Task:
    return tasks(shrinkage())[1]


def verdicts(*answers: str, seconds: float = 30.0) -> list[Verdict]:
    return judge(shrinkage(), [(double(), answer) for answer in answers], seconds)


def test_tasks() -> None:
    square, twice = tasks(shrinkage())
    assert (square.grade_id, twice.grade_id) == ("shrinkage-square", "shrinkage-double")
    assert [test.grade_id for test in twice.tests] == ["shrinkage-double-test"]
    assert twice.points == 2
    assert twice.wrong_answers[1] == "def double(x):\n    return x\n"


def test_answers_are_judged_apart() -> None:
    found = verdicts(
        double().solution, "def double(x):\n    return x", "double = torch.square", "def double(x): return 2 * x"
    )
    assert [verdict.total for verdict in found] == [2, 0, 0, 2]


def test_namespace_is_setup_and_method() -> None:
    uses_both, uses_more = verdicts(
        "def double(x):\n    shrink(noise(3))\n    return x + x", "fig\ndef double(x):\n    return x + x"
    )
    assert uses_both.total == 2
    assert "NameError" in uses_more.errors["shrinkage-double"]


def test_error_in_the_answer_is_reported() -> None:
    (failed,) = verdicts("def double(x) return x")
    assert failed.total == 0
    assert "SyntaxError" in failed.errors["shrinkage-double"]
    assert "NameError" in failed.errors["shrinkage-double-test"]


def test_leaving_earns_nothing_and_printing_is_harmless() -> None:
    *left, printed = verdicts(
        "import os\nos._exit(0)",
        "exit()",
        "import sys\nsys.stdout = None\nraise SystemExit",
        "print('{')\ndef double(x):\n    print('noise')\n    return 2 * x",
    )
    assert [verdict.total for verdict in left] == [0, 0, 0]
    assert printed.total == 2


def test_endless_answers_are_stopped() -> None:
    start = time.monotonic()
    (stopped,) = verdicts("while True: pass", seconds=0.5)
    assert stopped.total == 0
    assert stopped.errors["shrinkage-double"] == "not reached within the time limit"
    assert time.monotonic() - start < 25


def test_broken_chapter_is_no_fault_of_the_answer() -> None:
    nb = shrinkage()
    nb.cells.insert(2, new_code_cell("1 / 0", metadata={"tags": ["method"]}))
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        judge(nb, [(double(), "")])


def test_wrong_answer_needs_one_block() -> None:
    nb = shrinkage()
    cell = next(cell for cell in nb.cells if "wrong-answer" in cell.metadata.get("tags", ()))
    cell.source = "no code"
    with pytest.raises(ValueError, match="shrinkage-square holds 0 python blocks"):
        tasks(nb)
