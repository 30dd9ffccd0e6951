import inspect
import json
import subprocess
import sys
import traceback
import venv
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest

from nglib import chapters

ROOT = Path(__file__).parents[1]


def notebook(path: Path, *cells: tuple[str, str], **metadata: Any) -> None:
    """Write a notebook of code cells, each a tag and its text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = [{"cell_type": "code", "metadata": {"tags": [tag]}, "source": text, "outputs": []} for tag, text in cells]
    path.write_text(json.dumps({"cells": body, "metadata": {"nglib": metadata}, "nbformat": 4, "nbformat_minor": 5}))


FIRST = ("method", "import math\n\ndef area(r: float) -> float:\n    return math.pi * r**2\n")
SECOND = ("method", "class Disc:\n    def area(self) -> float:\n        return area(self.r)  # no such attribute\n")


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of three chapters."""
    folder = tmp_path / "chapters"
    notebook(
        folder / "shapes" / "round-things.ipynb",
        ("setup", "1 / 0"),
        FIRST,
        ("check", "1 / 0"),
        SECOND,
        paper="disc1999",
    )
    notebook(folder / "shapes" / "foundations.ipynb", ("method", "x = 1 / 0"))
    notebook(folder / "solids" / "foundations.ipynb", ("method", "edges = 12"))
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "references.bib").write_text(
        "@article{disc1999, author={Round, R.}, title={Discs}, year={1999}}\n"
        "@book{noiseandgaussians, author={Authors}, title={Noise}, year={2025}}\n@misc{other, title={Other}}\n"
    )
    monkeypatch.setattr(chapters, "root", lambda: folder)
    for name in [name for name in sys.modules if name.startswith("nglib._chapter_")]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def test_find(book: Path) -> None:
    assert chapters.names() == ["shapes/foundations", "shapes/round-things", "solids/foundations"]
    assert (
        chapters.find("round-things") == chapters.find("shapes/round-things") == book / "shapes" / "round-things.ipynb"
    )
    with pytest.raises(
        ValueError, match="'foundations' is ambiguous; expected one of shapes/foundations, solids/foundations"
    ):
        chapters.find("foundations")
    with pytest.raises(ValueError, match="no chapter is named 'squares'; expected one of shapes"):
        chapters.find("squares")


def test_chapter_is_its_method_cells(book: Path) -> None:
    module = chapters.chapter("round-things")
    assert module.area(1.0) == pytest.approx(3.14159, abs=1e-5)
    assert module.Disc.__module__ == module.__name__ == "nglib._chapter_shapes_round_things"
    assert chapters.chapter("shapes/round-things") is module
    assert inspect.getsource(module.area) == FIRST[1].partition("\n\n")[2]


def test_tracebacks_show_the_cell(book: Path) -> None:
    try:
        chapters.chapter("round-things").Disc().area()
    except AttributeError:
        text = traceback.format_exc()
    assert "<shapes/round-things, method cell 1>" in text
    assert "# no such attribute" in text


def test_a_chapter_that_fails_is_not_kept(book: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            chapters.chapter("shapes/foundations")


def test_metadata_and_cite(book: Path) -> None:
    assert chapters.metadata("round-things") == {"paper": "disc1999"}
    bibtex = chapters.cite("round-things")
    assert "disc1999" in bibtex
    assert "noiseandgaussians" in bibtex
    assert "other" not in bibtex
    assert "disc1999" not in chapters.cite("solids/foundations")


@pytest.mark.parametrize("name", chapters.names())
def test_every_chapter_of_the_book_loads(name: str) -> None:
    module = chapters.chapter(name)
    missing = [export for export in chapters.metadata(name).get("exports", ()) if not hasattr(module, export)]
    assert not missing
    assert "noiseandgaussians" in chapters.cite(name)


def test_an_installed_wheel_brings_its_chapters(tmp_path: Path) -> None:
    tree, wheels = tmp_path / "tree", tmp_path / "wheels"
    for part in ("nglib", "book"):
        copytree(ROOT / part, tree / part, ignore=ignore_patterns("__pycache__", "_build"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            (tree / name).write_bytes((ROOT / name).read_bytes())
    notebook(tree / "chapters" / "shapes" / "round-things.ipynb", FIRST, SECOND)

    def run(*command: str | Path) -> str:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    run(*pip, "wheel", tree, "--no-deps", "--no-build-isolation", "-w", wheels)
    (wheel,) = wheels.iterdir()
    files = zipfile.ZipFile(wheel).namelist()
    assert "nglib/_chapters/shapes/round-things.ipynb" in files
    assert "nglib/_chapters/references.bib" in files
    assert not [name for name in files if not name.startswith("nglib")]
    sources = {
        path.relative_to(tree).as_posix() for path in (tree / "nglib").rglob("*.*") if path.suffix in (".py", ".cu")
    }
    assert sources <= set(files), "kernels are package data"

    # It sees the packages of this environment, and nglib from the wheel in front of this checkout.
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    run(*pip, "install", "--no-deps", "--no-index", "--target", site, wheel)
    here = [path for path in sys.path if path.endswith("site-packages")]
    Path(site, "outside.pth").write_text("\n".join(here))
    code = (
        "import nglib; from nglib import chapters; print(nglib.__file__); "
        "print(chapters.names(), nglib.chapter('round-things').area(2.0)); print(nglib.cite('round-things'))"
    )
    output = run(python, "-c", code)
    assert Path(output.splitlines()[0]).is_relative_to(tmp_path)
    assert "['shapes/round-things'] 12.56" in output
    assert "noiseandgaussians" in output
