import os
import re
import shutil
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from fixture_chapter import shrinkage
from nbformat.v4 import new_output

from book.tools import reference, site
from book.tools.chapters import ROOT
from book.tools.editions import is_solution, is_test, tags

CANARIES = ("CANARYSOLUTION", "CANARYHIDDENTEST", "CANARYWRONGANSWER", "CANARYOUTPUT")

# The site is rendered where none of these can be imported.
WITHOUT = ("torch", "nglib", "matplotlib", "numba")
COMMAND = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({WITHOUT}))
runpy.run_module("book.tools.site", None, "__main__")
"""


def render(chapters: Path, out: Path, edition: str = "reader") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "--edition", edition, "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "NG_CHAPTERS": str(chapters)},
        capture_output=True,
        text=True,
    )


def plant_canaries(path: Path) -> None:
    """Put a word of its own wherever only the instructor may look, in sources and in what they printed."""
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        if is_solution(cell):
            cell.source = cell.source.replace("    return", "    CANARYSOLUTION = 1\n    return")
            cell.outputs = [new_output("stream", text="CANARYOUTPUT")]
        elif is_test(cell):
            cell.source = cell.source.replace("HIDDEN TESTS\n", "HIDDEN TESTS\nCANARYHIDDENTEST = 1\n", 1)
            cell.outputs = [new_output("stream", text="CANARYOUTPUT")]
        elif "wrong-answer" in tags(cell):
            cell.source = "CANARYWRONGANSWER " + cell.source
    nbformat.write(nb, path)


@pytest.fixture(scope="module")
def sites(executed_toy_book: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both editions of the toy book with canaries in both of its chapters."""
    folder = tmp_path_factory.mktemp("canaries")
    shutil.copytree(executed_toy_book, folder, dirs_exist_ok=True)
    for path in folder.glob("chapters/*/*.ipynb"):
        plant_canaries(path)
    built = {}
    for edition in ("reader", "instructor"):
        run = render(folder / "chapters", folder / edition, edition)
        assert run.returncode == 0, run.stderr
        built[edition] = Path(run.stdout.splitlines()[-1]).parent
    return built


def everything(folder: Path) -> str:
    """All text in all files below a folder, the inventory's compressed part included."""
    text = []
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if path.suffix == ".inv":
                data += zlib.decompress(data.split(b"zlib.\n", 1)[1])
            text.append(data.decode("utf-8", "ignore"))
    return "\n".join(text)


def test_readers_site_holds_nothing_that_grades(sites: dict[str, Path]) -> None:
    text = everything(sites["reader"]).lower()
    assert [word for word in CANARIES if word.lower() in text] == []
    for edition in sites.values():
        assert not [*edition.rglob("*.ipynb"), *edition.rglob("*.pickle"), *edition.rglob("_sources/*")]


def test_instructors_site_holds_all_of_it_and_says_so(sites: dict[str, Path]) -> None:
    text = everything(sites["instructor"])
    assert [word for word in CANARIES if word not in text] == []
    page = (sites["instructor"] / "chapters" / "toy" / "shrinkage.html").read_text()
    assert "Instructor’s edition" in page and "do not publish" in page
    assert page.count("Wrong answer") == 6
    assert "Instructor’s edition" not in everything(sites["reader"])


def test_reader_sees_the_task_and_the_solutions_that_fold(sites: dict[str, Path]) -> None:
    page = (sites["reader"] / "chapters" / "toy" / "shrinkage.html").read_text()
    text = re.sub(r"<[^>]*>", "", page)
    assert "# YOUR CODE HERE" in text
    assert "assert square(torch.tensor(2.0)) == 4" in text
    assert re.search(r"<details>\s*<summary>Solution</summary>.*By linearity.*?</details>", page, re.S)
    assert re.search(r"<details[^>]*>\s*<summary[^>]*>\s*<p[^>]*>Solution</p>", page), "of the practice task"
    assert page.count("Show the code") == 3, "of setup, cover and claims"


class Images(HTMLParser):
    """The images of a page that have no alternative text."""

    def __init__(self) -> None:
        super().__init__()
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "img" and not dict(attributes).get("alt"):
            self.silent.append(str(dict(attributes).get("src"))[:80])


def test_every_image_has_alternative_text(sites: dict[str, Path]) -> None:
    for path in sites["instructor"].rglob("*.html"):
        images = Images()
        images.feed(path.read_text())
        assert images.silent == [], path
    chapter = (sites["reader"] / "chapters" / "toy" / "shrinkage.html").read_text()
    assert 'alt="Five draws of noise." width="192" height="96"' in chapter


def test_gallery_ledger_and_status_show_the_chapters(sites: dict[str, Path]) -> None:
    text = {
        name: " ".join(re.sub(r"<[^>]*>", " ", (sites["reader"] / f"{name}.html").read_text()).split())
        for name in ("index", "book/ledger", "book/status")
    }
    assert "Shrinking the mean lowers its risk. James and Stein, 1961" in text["index"]
    assert "1 reproduced" in text["index"] and "1 identity checked" in text["index"]
    assert "1 claim in all" in text["book/ledger"]
    assert re.search(
        r"Shrinking helps\. Section 1 risk &lt; 100 [\d.]+ CPU, \w+; laptop reproduced", text["book/ledger"]
    )
    assert re.search(r"Shrinkage \d+ s \d+ MB \d+ 1 1 laptop, cpu, 20\d\d-", text["book/status"])
    page = (sites["reader"] / "index.html").read_text()
    picture = re.search(r'<img src="(_static/figures/shrinkage-\w+\.png)" alt="Five draws of noise\."', page)
    assert picture and (sites["reader"] / picture[1]).exists()
    assert 'href="chapters/toy/shrinkage.html"' in page


def test_a_broken_page_fails(executed_toy_book: Path, tmp_path: Path) -> None:
    shutil.copytree(executed_toy_book, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "chapters" / "toy" / "shrinkage.ipynb"
    nb = nbformat.read(path, as_version=4)
    nb.cells[-1].source += "\n\n{eq}`nowhere` {cite:p}`nobody2000` [gone](gone.ipynb)\n\n#### Skips a level"
    nbformat.write(nb, path)
    run = render(tmp_path / "chapters", tmp_path / "site")
    assert run.returncode == 1
    for complaint in ("nowhere", "nobody2000", "gone.ipynb", "H2 to H4", "edition did not render"):
        assert complaint in run.stderr


def test_only_an_earlier_site_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="not empty"):
        site.build("reader", tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_contents_leave_out_what_is_not_written(toy_chapters: Path) -> None:
    (toy_chapters / "statistics").mkdir()
    for name in ("unlisted", "colide"):
        nbformat.write(shrinkage(), toy_chapters / "statistics" / f"{name}.ipynb")
    listed, book = site.contents("reader")
    assert list(listed) == ["The book", "VI. Statistics", "Reference", "Toy"]
    assert listed["VI. Statistics"] == ["chapters/statistics/colide", "chapters/statistics/unlisted"]
    assert [chapter.name for chapter in book["Toy"]] == ["toy/foundations", "toy/shrinkage"]
    assert book["I. Splatting"] == []


def test_reference_reads_what_it_does_not_import() -> None:
    page = reference.page("noise", {})
    assert ".. py:class:: Sensor(gain: float, read_std: float)" in page
    assert ".. py:property:: dark_variance\n      :type: float" in page
    assert "   .. py:method:: expose(electrons: Float[Tensor, '*shape'], generator: torch.Generator) -> " in page
    assert ".. py:data:: ROUNDING\n\n   Variance that rounding" in page
    assert "_" not in re.findall(r"py:\w+:: (.)", page)


def test_reference_covers_every_module() -> None:
    names = set(reference.modules())
    assert {"plot", "claims", "chapters", "kernels", "splat.camera"} <= names
    assert all(f"[{name}](api/{name}.rst)" in reference.overview() for name in names)
