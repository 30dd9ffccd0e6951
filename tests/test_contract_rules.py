"""Every rule of the contract finds the defect it is there for, and a suite that holds a broken chapter fails."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from book.tools.chapters import ROOT, output_digest, paths, read, source_digest
from book.tools.contract import BOOK_RULES, RULES

Edit = Callable[[NotebookNode], object]


def cell(nb: NotebookNode, tag: str) -> NotebookNode:
    return next(cell for cell in nb.cells if tag in cell.metadata.get("tags", ()))


def graded(nb: NotebookNode, grade_id: str) -> NotebookNode:
    return next(
        cell for cell in nb.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == f"shrinkage-{grade_id}"
    )


def source(tag: str, old: str, new: str) -> Edit:
    """Replace text in the first cell with a tag."""

    def edit(nb: NotebookNode) -> None:
        assert old in cell(nb, tag).source
        cell(nb, tag).source = cell(nb, tag).source.replace(old, new)

    return edit


def graded_source(grade_id: str, old: str, new: str) -> Edit:
    def edit(nb: NotebookNode) -> None:
        assert old in graded(nb, grade_id).source
        graded(nb, grade_id).source = graded(nb, grade_id).source.replace(old, new)

    return edit


def tag(old: str, *new: str) -> Edit:
    return lambda nb: cell(nb, old).metadata.update(tags=list(new))


def meta(**changes: object) -> Edit:
    return lambda nb: nb.metadata.nglib.update(changes)


def run(**changes: object) -> Edit:
    return lambda nb: nb.metadata.nglib.run.update(changes)


def nbgrader(of: str, **changes: object) -> Edit:
    return lambda nb: graded(nb, of).metadata.nbgrader.update(changes)


def remove(name: str) -> Edit:
    return lambda nb: nb.cells.remove(cell(nb, name))


def append(new: NotebookNode) -> Edit:
    return lambda nb: nb.cells.append(new)


def output(of: str, **fields: object) -> Edit:
    """Add an output to the first cell with a tag."""
    kind = "stream" if "text" in fields else "display_data"
    return lambda nb: cell(nb, of).outputs.append(new_output(kind, **fields))


def claim(**changes: object) -> Edit:
    def edit(nb: NotebookNode) -> None:
        data = cell(nb, "claims").outputs[0].data
        data["application/vnd.nglib.claims+json"][0].update(changes)

    return edit


def swap_sections(nb: NotebookNode) -> None:
    one, two = cell(nb, "sec-scale"), cell(nb, "sec-differences")
    one.metadata.tags, two.metadata.tags = two.metadata.tags, one.metadata.tags


PNG = {"image/png": "AAAA"}
DEFECTS: list[tuple[str, Edit, str]] = [
    ("metadata", meta(mood="good"), "unknown keys: mood"),
    ("metadata", meta(objectives=[]), "names nothing"),
    ("metadata", meta(idea=3), "expected a str"),
    ("metadata", lambda nb: nb.metadata.nglib.pop("paper"), "paper' is missing"),
    ("opening", lambda nb: nb.cells[0].update(source="Shrinkage"), "does not open with an H1"),
    ("opening", lambda nb: nb.cells[0].update(source="# T\n\nA. B. C. D."), "three sentences"),
    ("opening", lambda nb: nb.cells.insert(1, new_markdown_cell("x")), "not the second"),
    ("opening", source("sec-scale", "## At scale", "## At scale\n\n# Again"), "second H1"),
    ("known_tags", tag("check", "chek"), "unknown tag 'chek'"),
    ("known_tags", tag("sec-scale", "sec-scale", "check"), "'check' on a markdown cell"),
    ("known_tags", source("check", "x =", "# NBVAL_SKIP\nx ="), "steers nbval"),
    ("sections", swap_sections, "sections are"),
    ("sections", remove("sec-reading"), "sections are"),
    ("sections", source("sec-scale", "## ", "### "), "does not open with an H2"),
    ("sections", append(new_markdown_cell("## More")), "1 H2"),
    ("section_contents", lambda nb: cell(nb, "cover").update(outputs=[]), "shows no figure"),
    ("section_contents", tag("cover"), "0 cells are tagged 'cover'"),
    ("section_contents", tag("check"), "no cell is tagged 'check'"),
    ("section_contents", tag("claims"), "no cell tagged 'claims'"),
    (
        "section_contents",
        lambda nb: [c.update(source=c.source.replace("explore", "x")) for c in nb.cells],
        "no explore",
    ),
    ("file_size", source("sec-scale", "The same.", "x" * 1_600_000), "bytes; expected"),
    ("file_size", lambda nb: nb.cells[3].update(mood="good"), "not valid"),
    ("cell_length", source("check", "x =", "\n" * 40 + "x ="), "42 lines; expected 40"),
    ("cell_length", append(new_code_cell("")), "is empty"),
    ("definitions_only", source("method", "def", "print(1)\ndef"), "more than define: print(1)"),
    ("definitions_only", source("method", "def", "RATE = open('x')\ndef"), "more than define: RATE = open('x')"),
    ("definitions_only", source("setup", "plot.style()", "torch.manual_seed(0)"), "torch.manual_seed(0)"),
    ("method_module", meta(exports=["shrunk"]), "define no shrunk"),
    ("method_module", source("method", "x.square()", "noise(3)"), "uses noise"),
    ("documented", source("method", '"""The James-Stein estimate of the mean."""', ""), "shrink has no docstring"),
    ("documented", source("method", 'x: Float[Tensor, " d"]', "x"), "shrink has no type for x"),
    ("documented", source("method", ' -> Float[Tensor, " d"]', ""), "no type for its result"),
    ("checks_assert", source("check", "assert", "_ ="), "asserts nothing"),
    ("checks_assert", source("check", "assert", "assert True #"), "asserts nothing"),
    ("checks_assert", lambda nb: graded(nb, "square-test").update(source="square(2)"), "asserts nothing"),
    ("labels_and_markup", source("sec-derivation", "(shrinkage-e", "(e"), "does not start with 'shrinkage-'"),
    ("labels_and_markup", source("sec-derivation", "\\hat\\mu =", "\\begin{align}a\\end{align}"), "use aligned"),
    ("labels_and_markup", source("sec-derivation", "$$ (", "("), "odd number"),
    ("labels_and_markup", source("sec-scale", "The same.", "{doc}`x`"), "role 'doc'"),
    ("labels_and_markup", source("sec-scale", "The same.", "```{note}\nx\n```"), "directive"),
    ("equation_references", source("sec-derivation", "{eq}`toy-risk`", "{eq}`toy-rusk`"), "'toy-rusk'"),
    ("citations", source("sec-reading", "james1961estimation", "james1961"), "cites 'james1961'"),
    ("citations", meta(paper="stein"), "paper 'stein' is not"),
    ("links", source("sec-derivation", "foundations.ipynb", "basics.ipynb"), "links to basics.ipynb"),
    ("links", source("sec-scale", "The same.", "![](foundations.ipynb)"), "no alternative text"),
    ("card", meta(idea="Another."), "not what the metadata say"),
    ("card", meta(difficulty=9), "cannot be written"),
    ("present", lambda nb: cell(nb, "cover").update(outputs=[]), "no output is stored"),
    ("present", lambda nb: cell(nb, "check").update(execution_count=9), "in order"),
    ("clean", output("check", name="stderr", text="UserWarning: no"), "wrote to stderr: UserWarning"),
    ("clean", output("check", text="<function f at 0x7fd0a81b2c00>"), "memory address, 0x7fd0a81b2c00"),
    ("clean", output("check", data={"application/vnd.jupyter.widget-view+json": {}}), "stored a widget"),
    (
        "clean",
        lambda nb: cell(nb, "check").outputs.append(new_output("error", ename="E", evalue="v", traceback=[])),
        "ended in E: v",
    ),
    ("figures", output("check", data=PNG), "without alternative text"),
    ("figures", output("check", data={"text/html": "<img src='x'>"}), "without alternative text"),
    ("figures", output("check", data=PNG, metadata={"image/png": {"alt": "Five draws of noise."}}), "of another"),
    ("run_record", lambda nb: nb.metadata.nglib.pop("run"), "no record"),
    ("run_record", source("check", "x.norm()", "x.norm() + 1"), "code has changed"),
    ("run_record", output("check", text="more"), "outputs are not those"),
    ("run_record", run(preset="full"), "run was at full on cpu"),
    ("run_record", run(cpu_seconds=61), "busy for 61 s"),
    ("run_record", run(memory_mb=4001), "took 4001 MB; expected 4000"),
    ("claims", lambda nb: cell(nb, "claims").update(outputs=[]), "no claim is recorded"),
    ("claims", claim(verdict="fine"), "verdict 'fine'"),
    ("claims", claim(bar=None), "the bar None"),
    ("claims", claim(where=" "), "does not say where"),
    ("kinds", tag("exercise-open"), "0 exercises are tagged 'exercise-open'; expected 1"),
    ("kinds", tag("exercise-graded", "exercise-open"), "1 exercises are tagged 'exercise-graded'; expected 2"),
    ("kinds", source("exercise-open", "### ", ""), "does not open with an H3"),
    ("kinds", append(new_markdown_cell("### x", metadata={"tags": ["exercise-open"]})), "outside the section"),
    ("kinds", source("solution", "\n\n</details>", "</details>"), "does not fold"),
    ("kinds", remove("solution"), "no markdown cell tagged 'solution'"),
    ("kinds", remove("hide-cell"), "no code cell tagged 'solution' and 'hide-cell'"),
    ("kinds", remove("wrong-answer"), "2 wrong answers follow; expected three"),
    ("kinds", lambda nb: cell(nb, "wrong-answer").metadata.nglib.update(answers="x"), "a wrong answer names"),
    ("kinds", source("wrong-answer", "A slip.", ""), "does not say why"),
    ("kinds", graded_source("square", "### END SOLUTION", ""), "is not marked from"),
    ("kinds", graded_source("square-test", "### BEGIN HIDDEN TESTS", ""), "no test judges with hidden tests"),
    ("kinds", graded_source("square-test", "assert square(torch.tensor(2.0)) == 4", ""), "visible part"),
    ("kinds", nbgrader("square-test", points=0), "gives 0 points"),
    ("kinds", nbgrader("square-test", grade_id="shrinkage-x"), "not named after its solution"),
    ("kinds", lambda nb: nb.cells.remove(graded(nb, "square-test")), "no test cell follows"),
    ("grade_cells", nbgrader("square-test", schema_version=1), "nbgrader rejects"),
    ("grade_cells", graded_source("square", "### END SOLUTION", ""), "nbgrader rejects"),
    ("grade_cells", nbgrader("square", grade_id="square"), "does not start with 'shrinkage'"),
    ("grade_cells", lambda nb: nb.cells.append(nb.cells.pop(nb.cells.index(graded(nb, "double-test")))), "no exercise"),
    ("grading_works", graded_source("square", "return x * x", "return x + x"), "the solution earns 0 of 2"),
    ("grading_works", graded_source("square-test", "assert", "assert True or"), "the stub earns 2 of 2"),
    ("grading_works", source("wrong-answer", "return 4", "return x ** 2"), "the wrong answer 1 earns 2 of 2"),
    ("grading_works", source("wrong-answer", "return 4", "return ("), "wrong answer 1 does not even run"),
]


@pytest.mark.parametrize(
    ("rule", "edit", "message"), DEFECTS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_defect_is_found(toy_chapters: Path, rule: str, edit: Edit, message: str) -> None:
    path = toy_chapters / "toy" / "shrinkage.ipynb"
    nb = nbformat.read(path, as_version=4)
    edit(nb)
    nbformat.write(nb, path)
    check = next(known for known in RULES if known.__name__ == rule)
    assert any(message in defect for defect in check(read(path)))


def test_every_rule_has_a_defect() -> None:
    assert {rule.__name__ for rule in RULES} == {rule for rule, _, _ in DEFECTS}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_good_chapters_have_no_defect(toy_chapters: Path, rule: Callable) -> None:
    for path in paths():
        assert not list(rule(read(path)))


def test_the_book_as_a_whole(toy_chapters: Path) -> None:
    chapters = [read(path) for path in paths()]
    assert not [defect for rule in BOOK_RULES for defect in rule(chapters)]
    twice = [*chapters, chapters[1]]
    found = [[re.sub(r"'.*?'", "…", defect) for defect in rule(twice)] for rule in BOOK_RULES]
    assert found[0] == ["label … is in toy/shrinkage, toy/shrinkage"]
    assert found[1] == ["grade_id … is used 2 times"] * 4
    assert found[2] == ["2 chapters have the slug …"]


# -- the suite ---------------------------------------------------------------------------------------------------------


def suite(*selected: str) -> subprocess.CompletedProcess[str]:
    """What ``make test`` does with chapters: notebooks by nbval, and the contract."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]
    environment = {**os.environ, "NG_EXPLORE": "frames", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "tests/test_contract.py", *selected], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def break_unnoticed(path: Path, edit: Edit) -> None:
    """Edit a chapter and pretend that its run had been recorded so."""
    nb = nbformat.read(path, as_version=4)
    edit(nb)
    nb.metadata.nglib.run.update(source=source_digest(nb), outputs=output_digest(nb))
    nbformat.write(nb, path)


def strip(nb: NotebookNode) -> None:
    for stripped in nb.cells:
        if stripped.cell_type == "code":
            stripped.outputs, stripped.execution_count = [], None


def test_suite_passes_with_good_chapters(toy_chapters: Path) -> None:
    done = suite(str(toy_chapters))
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.parametrize(
    ("edit", "failure"),
    [
        (source("check", "assert", "assert False and"), "::Cell 3 - "),
        (strip, "test_chapter[toy/shrinkage-present]"),
        (lambda nb: cell(nb, "nbval-check-output").outputs[0].update(text="99.9\n"), "::Cell 4 - "),
    ],
    ids=["assertion", "stripped", "changed"],
)
def test_suite_fails_with_a_broken_chapter(toy_chapters: Path, edit: Edit, failure: str) -> None:
    path = toy_chapters / "toy" / "shrinkage.ipynb"
    break_unnoticed(path, edit)
    done = suite(str(path), "-k", "toy/shrinkage or shrinkage.ipynb")
    assert done.returncode == 1
    assert failure in done.stdout
