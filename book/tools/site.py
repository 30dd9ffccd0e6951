"""The site: stages the sources of an edition and renders them with Sphinx. Needs no torch and starts no kernel.

``python -m book.tools.site --edition reader`` writes ``_build/reader/html``. What is staged mirrors the repository, so
that relative links work in both; only ``book/index.md`` moves to the root. Warnings are errors.
"""

import argparse
import base64
import copy
import hashlib
import html
import importlib.util
import os
import re
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

import yaml
from jupyter_book.sphinx import build_sphinx
from nbformat import NotebookNode, writes

from book.tools import chapters, editions, pages, reference
from book.tools.chapters import ROOT, Chapter, tags
from book.tools.pages import Book

BANNER = "<strong>Instructor’s edition.</strong> Solutions, hidden tests and wrong answers: do not publish."

#: Cells whose output is read and whose code is not; so is all code up to the first picture, for the first screen.
FOLDED = {"setup", "cover", "claims"}

#: The files that are staged, by their path below the source folder.
Files = dict[str, bytes]


def build(edition: str, out: Path) -> Path:
    """Render an edition (``reader`` or ``instructor``) into the folder ``out``; returns the path of its first page.

    Raises:
        FileExistsError: ``out`` holds something else than an earlier edition.
        SystemExit: Sphinx failed or warned.
    """
    if out.exists() and any(out.iterdir()):
        if not (out / ".buildinfo").exists():
            raise FileExistsError(f"{out} is not empty and was not written by Sphinx; name another folder")
        shutil.rmtree(out)  # Sphinx would leave the pages of chapters that are gone
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "site"
        stage(edition, source)
        failed = build_sphinx(
            str(source),
            str(out),
            noconfig=True,
            use_external_toc=False,
            path_config=ROOT / "_config.yml",
            confoverrides=_configuration(edition),
            doctreedir=str(Path(folder) / "doctrees"),
            quiet=True,
            warningiserror=True,
            keep_going=True,
            jobs=os.cpu_count(),
        )
    if failed:
        raise SystemExit(f"the {edition}'s edition did not render; the warnings above say why")
    return out / "index.html"


def _configuration(edition: str) -> dict[str, Any]:
    """What Sphinx is told on top of ``_config.yml``."""
    repository = "{{ github_url }}/{{ github_user }}/{{ github_repo }}/edit/{{ github_version }}"
    # Pages that do not lie in the repository where they lie on the site.
    origin = {f"book/api/{name}.rst": path.relative_to(ROOT).as_posix() for name, path in reference.modules().items()}
    return {
        "latex_individualpages": False,
        "nitpicky": True,
        "html_context": {
            "edit_page_provider_name": "GitHub",
            "edit_page_url_template": f"{repository}/{{{{ origin.get(file_name, file_name) }}}}",
            "default_mode": "auto",
            "origin": origin | {"index.md": "book/index.md"},
        },
        "html_theme_options": {
            "announcement": BANNER if edition == "instructor" else "",
            "show_toc_level": 2,
            "max_navbar_depth": 1,
            "navbar_persistent": [],
            "use_download_button": False,
            "use_fullscreen_button": False,
        },
    }


def stage(edition: str, source: Path) -> None:
    """Write everything that Sphinx reads to ``source``."""
    listed, book = contents(edition)
    files: Files = {}
    covers = {}
    for chapter in (chapter for members in book.values() for chapter in members):
        if cover := pages.cover(chapter):
            name, _, alt = _picture(chapter, cover)
            covers[chapter.name] = (f"_static/{name}", alt)
        files |= _chapter(chapter)
    for path in [*(ROOT / "book").glob("*.md"), *(ROOT / "book" / "_static").rglob("*.*")]:
        files[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    files["book/references.bib"] = _references()
    for name in reference.modules():
        files[f"book/api/{name}.rst"] = reference.page(name, book).encode()

    _fill(
        files, "book/index.md", pages.gallery(book, covers) + "".join(map(_toctree, *zip(*listed.items(), strict=True)))
    )
    _fill(files, "book/index.md", pages.hero(), "hero")
    _fill(files, "book/ledger.md", pages.ledger(book))
    _fill(files, "book/status.md", pages.status(book))
    _fill(files, "book/api.md", reference.overview() + _toctree("", [f"api/{name}" for name in reference.modules()]))
    files["index.md"] = re.sub(rb"\]\((\w+\.md)\)", rb"](book/\1)", files.pop("book/index.md"))
    files |= _mathjax()

    for name, data in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)


def contents(edition: str) -> tuple[dict[str, list[str]], Book]:
    """The pages of each part that has any, in the book's order, and the chapters that exist, in their edition.

    A chapter that ``book/_toc.yml`` does not list stands at the end of its part; such a part, at the end of the book.
    """
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    existing = {f"chapters/{path.parent.name}/{path.stem}": path for path in chapters.paths()}
    parts = {part["caption"]: [entry["file"] for entry in part["chapters"]] for part in toc["parts"]}
    captions = {names[0].rpartition("/")[0]: caption for caption, names in parts.items()}
    for name in existing:
        folder = name.rpartition("/")[0]
        names = parts.setdefault(captions.get(folder, folder.rpartition("/")[2].capitalize()), [])
        names += [name] if name not in names else []
    listed, book = {}, {}
    for caption, names in parts.items():
        listed[caption] = [name for name in names if name in existing or name.startswith("book/")]
        if names[0].startswith("chapters/"):
            book[caption] = [_edition(existing[name], edition) for name in listed[caption]]
    return {caption: names for caption, names in listed.items() if names}, book


def _toctree(caption: str, names: list[str]) -> str:
    return "\n".join(
        ["", "```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), "", *names, "```", ""]
    )


def _edition(path: Path, edition: str) -> Chapter:
    chapter = chapters.read(path)
    return Chapter(path, editions.EDITIONS[edition](chapter.nb))


def _fill(files: Files, name: str, text: str, what: str = "generated") -> None:
    """Put generated text into a page, where the page says so."""
    mark = f"<!-- {what} -->".encode()
    if mark not in files[name]:
        raise ValueError(f"{name} has no line {mark.decode()!r}, where its generated part belongs")
    files[name] = files[name].replace(mark, text.encode())


# -------------------------------------------------------------------------------------------------- chapters


def _chapter(chapter: Chapter) -> Files:
    """A chapter's notebook as Sphinx shall render it, and its pictures as files."""
    files: Files = {}
    nb = copy.deepcopy(chapter.nb)
    seen = False  # the first picture
    for cell in nb.cells:
        if "wrong-answer" in tags(cell):
            cell.source = f"::::{{admonition}} Wrong answer\n:class: warning\n{cell.source}\n::::"
        if cell.cell_type != "code":
            continue
        if FOLDED & set(tags(cell)) or not seen:
            cell.metadata["tags"] = [*tags(cell), "hide-input"]
        seen = seen or any(True for _ in pages.pictures([cell]))
        if "solution" in tags(cell):
            cell.metadata["mystnb"] = {"code_prompt_show": "Solution", "code_prompt_hide": "Solution"}
        if editions.is_solution(cell) or editions.is_test(cell):
            cell.metadata["tags"] = [*tags(cell), "graded"]
        for output in cell.outputs:
            output.get("data", {}).pop(pages.CLAIMS, None)
    for picture in pages.pictures(nb.cells):
        name, data, alt = _picture(chapter, picture)
        files[f"book/_static/{name}"] = data
        attributes = {"src": f"../../_static/{name}", "alt": alt, **_size(data, picture), "loading": "lazy"}
        text = " ".join(f'{key}="{html.escape(str(value))}"' for key, value in attributes.items())
        picture.data = {"text/html": f'<img class="ng-figure" {text}>'}
    files[f"chapters/{chapter.name}.ipynb"] = writes(nb).encode()
    return files


def _picture(chapter: Chapter, output: NotebookNode) -> tuple[str, bytes, str]:
    """File name, bytes and alternative text of an output's picture."""
    data = base64.b64decode(output.data["image/png"])
    name = f"figures/{chapter.prefix}-{hashlib.sha256(data).hexdigest()[:12]}.png"
    return name, data, output.metadata.get("image/png", {}).get("alt", "")


def _size(png: bytes, output: NotebookNode) -> dict[str, int]:
    """A picture's size in CSS pixels: as wide as the output says, and as high as that makes it."""
    width, height = struct.unpack(">II", png[16:24])
    shown = output.metadata.get("image/png", {}).get("width", width)
    return {"width": shown, "height": round(shown * height / width)}


def _references() -> bytes:
    """The bibliography; an entry that has an arXiv number needs no second link there."""
    references = chapters.bibliography()
    for entry in references.entries.values():
        if "eprint" in entry.fields and "arxiv.org" in entry.fields.get("url", ""):
            del entry.fields["url"]
    return references.to_string("bibtex").encode()


def _mathjax() -> Files:
    """MathJax and its fonts, from the Python package that carries them."""
    spec = importlib.util.find_spec("mathjax")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("MathJax is missing; install the dependency group 'site' (django-static-mathjax)")
    origin = Path(spec.origin).parent / "static" / "mathjax" / "es5"
    wanted = [origin / "tex-chtml.js", *(origin / "output" / "chtml" / "fonts").rglob("*.woff")]
    return {f"vendor/mathjax/{path.relative_to(origin).as_posix()}": path.read_bytes() for path in wanted}


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the book from the chapters' stored outputs.")
    parser.add_argument("--edition", choices=("reader", "instructor"), default="reader")
    parser.add_argument("--out", type=Path, help="folder to write to (default: _build/<edition>/html)")
    arguments = parser.parse_args()
    print(build(arguments.edition, (arguments.out or ROOT / "_build" / arguments.edition / "html").resolve()))


if __name__ == "__main__":
    main()
