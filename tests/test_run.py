import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from book.tools.chapters import ROOT, read
from book.tools.run import write


def edit(path: Path, tag: str, source: str) -> None:
    """Give the first cell tagged ``tag`` another source."""
    nb = nbformat.read(path, as_version=4)
    next(cell for cell in nb.cells if tag in cell.metadata.get("tags", ())).source = source
    nbformat.write(nb, path)


def make_run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "book.tools.run", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)


def test_second_run_changes_only_what_it_measures(executed_toy_book: Path, toy_chapters: Path) -> None:
    assert make_run("shrinkage").returncode == 0
    before, after = (
        read(folder / "toy" / "shrinkage.ipynb") for folder in (executed_toy_book / "chapters", toy_chapters)
    )
    assert after.nb.cells[1].source.startswith("**Paper.** Willard James and Charles Stein: [Estimation")
    runs = [chapter.nb.metadata.nglib.pop("run") for chapter in (before, after)]
    assert runs[0].keys() == runs[1].keys()
    assert runs[0]["outputs"] == runs[1]["outputs"]
    del before.nb.cells[1], after.nb.cells[1]  # the cards: they show the time
    assert before.nb == after.nb


def test_record(executed_toy_book: Path) -> None:
    run = read(executed_toy_book / "chapters" / "toy" / "shrinkage.ipynb").meta["run"]
    assert 0 < run["cpu_seconds"] < run["seconds"] + 1 < 120
    assert 100 < run["memory_mb"] < 2000
    assert (run["preset"], run["device"], run["python"]) == ("laptop", "cpu", sys.version.split()[0])
    assert run["cpu"]


def test_notebook_metadata_are_minimal(executed_toy_book: Path) -> None:
    nb = read(executed_toy_book / "chapters" / "toy" / "shrinkage.ipynb").nb
    assert nb.metadata.language_info == {"name": "python"}
    assert all(set(cell.metadata) <= {"tags", "nbgrader", "nglib"} for cell in nb.cells)


def test_failure_is_located_and_the_other_chapter_is_written(toy_chapters: Path) -> None:
    failing, passing = toy_chapters / "toy" / "shrinkage.ipynb", toy_chapters / "toy" / "foundations.ipynb"
    edit(failing, "check", "wanted = 1\nassert wanted == 2")
    edit(passing, "check", "assert noise(1).numel() == 1")
    before = failing.read_bytes()
    done = make_run("-j", "2")
    assert done.returncode == 1
    assert "toy/shrinkage: failed" in done.stdout
    assert "cell 8 of" in done.stdout
    assert "----> 2 assert wanted == 2" in done.stdout
    assert failing.read_bytes() == before
    assert "toy/foundations: " in done.stdout
    assert not list(next(cell for _, cell in read(passing).cells("check")).outputs)
    assert not list(toy_chapters.rglob("*.tmp"))


def test_interrupt_leaves_notebooks_whole(toy_chapters: Path) -> None:
    path = toy_chapters / "toy" / "shrinkage.ipynb"
    started = toy_chapters / "started"
    edit(
        path,
        "check",
        f"import os, pathlib, time\npathlib.Path({str(started)!r}).write_text(str(os.getpid()))\ntime.sleep(300)",
    )
    before = {path: path.read_bytes() for path in toy_chapters.rglob("*.ipynb")}
    command = [sys.executable, "-m", "book.tools.run", "shrinkage"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        wait_until(lambda: started.exists() and started.read_text() != "")
        kernel = int(started.read_text())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert {path: path.read_bytes() for path in toy_chapters.rglob("*.ipynb")} == before
    assert not list(toy_chapters.rglob("*.tmp"))
    wait_until(lambda: not Path(f"/proc/{kernel}").exists())


def wait_until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_runs_at_another_scale_go_elsewhere(toy_chapters: Path) -> None:
    path = toy_chapters / "toy" / "shrinkage.ipynb"
    before = path.read_bytes()
    assert make_run("shrinkage", NG_PRESET="full", NG_DEVICE="cpu").returncode == 0
    assert path.read_bytes() == before
    elsewhere = toy_chapters.parent / "_build" / "run" / "full-cpu" / "toy" / "shrinkage.ipynb"
    assert read(elsewhere).meta["run"]["preset"] == "full"


def test_card_is_checked_before_the_run(toy_chapters: Path) -> None:
    (toy_chapters / "toy" / "foundations.ipynb").unlink()
    done = make_run("shrinkage")
    assert done.returncode == 1
    assert "prerequisite 'toy/foundations'" in done.stdout


def test_unknown_chapter(toy_chapters: Path) -> None:
    done = make_run("nothing")
    assert done.returncode == 2
    assert "no chapter is named 'nothing'; there is toy/foundations, toy/shrinkage" in done.stderr


def test_write_refuses_an_invalid_notebook(toy_chapters: Path) -> None:
    path = toy_chapters / "toy" / "shrinkage.ipynb"
    before = path.read_bytes()
    nb = nbformat.from_dict(json.loads(before))
    nb.cells[0].cell_type = "nonsense"
    with pytest.raises(nbformat.ValidationError):
        write(nb, path)
    assert path.read_bytes() == before
