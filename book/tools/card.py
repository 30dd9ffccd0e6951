"""The card below a chapter's title, written from its metadata and the bibliography."""

from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from pybtex.database import Entry
from pybtex.richtext import Text

from book.tools import chapters
from book.tools.chapters import bibliography

DIFFICULTY = {1: "introductory", 2: "intermediate", 3: "advanced"}


def card_text(nb: NotebookNode, path: Path) -> str:
    """The card of the chapter ``nb`` that lies at ``path``, as Markdown.

    Raises:
        ValueError: the metadata lack an entry or name a paper or chapter that does not exist.
    """
    meta = nb.metadata.get("nglib", {})
    missing = [key for key in ("idea", "objectives", "difficulty", "run") if not meta.get(key)]
    if missing:
        raise ValueError(f"metadata 'nglib' of {path} lack {', '.join(missing)}")
    if meta["difficulty"] not in DIFFICULTY:
        raise ValueError(f"difficulty of {path} is {meta['difficulty']!r}; expected one of {list(DIFFICULTY)}")
    before = [_link(name, path) for name in meta.get("prerequisites", ())]
    paragraphs = [
        f"**Paper.** {_citation(meta['paper'])}" if "paper" in meta else "",
        f"**Idea.** {meta['idea']}",
        "**You will be able to**",
        "\n".join(f"- {objective}" for objective in meta["objectives"]),
        f"**Read before.** {', '.join(before)}." if before else "",
        f"**Run time.** {_cost(meta['run'])}. **Difficulty.** {DIFFICULTY[meta['difficulty']].capitalize()}.",
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _cost(run: dict[str, Any]) -> str:
    return f"{run['cpu_seconds']:.0f} s and {run['memory_mb'] / 1000:.1f} GB on one thread of {run['cpu']}"


def _link(name: str, path: Path) -> str:
    part, _, slug = name.partition("/")
    target = path.parent.parent / part / f"{slug}.ipynb"
    if not target.exists():
        raise ValueError(f"prerequisite {name!r} of {path} is no chapter")
    address = f"{slug}.ipynb" if part == path.parent.name else f"../{part}/{slug}.ipynb"
    return f"[{chapters.title(nbformat.read(target, as_version=4))}]({address})"


def _citation(key: str) -> str:
    entries = bibliography().entries
    if key not in entries:
        raise ValueError(f"paper {key!r} is not in the bibliography")
    entry = entries[key]
    fields = {name: _plain(value) for name, value in entry.fields.items() if name != "url"}
    venue = fields.get("journal") or fields.get("booktitle") or fields.get("publisher")
    address = entry.fields.get("url") or ("doi" in fields and f"https://doi.org/{fields['doi']}")
    title = f"[{fields['title']}]({address})" if address else fields["title"]
    imprint = ", ".join(part for part in (venue and f"*{venue}*", fields.get("volume"), fields["year"]) if part)
    return f"{_authors(entry)}: {title}. {imprint}."


def _authors(entry: Entry) -> str:
    names = [
        " ".join(_plain(part) for part in (*p.first_names, *p.middle_names, *p.prelast_names, *p.last_names))
        for p in entry.persons["author"]
    ]
    return " and ".join(name for name in (", ".join(names[:-1]), names[-1]) if name)


def _plain(latex: str) -> str:
    return str(Text.from_latex(latex))
