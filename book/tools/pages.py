"""What the site says of the chapters that exist: gallery, ledger and status page, as MyST Markdown.

Everything is read from the notebooks' metadata and stored outputs.
"""

import html
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random
from statistics import NormalDist
from typing import Any

from nbformat import NotebookNode

from book.tools.chapters import Chapter, bibliography

CLAIMS = "application/vnd.nglib.claims+json"
VERDICTS = ("reproduced", "better", "not reproduced", "not run at this scale")

#: The chapters that exist, by the caption of their part, in the book's order.
Book = dict[str, list[Chapter]]


def pictures(cells: Iterable[NotebookNode]) -> Iterator[NotebookNode]:
    """The outputs of cells that hold a PNG, in order."""
    for cell in cells:
        yield from (output for output in cell.get("outputs", ()) if "image/png" in output.get("data", {}))


def cover(chapter: Chapter) -> NotebookNode | None:
    """The output that holds the chapter's picture for the gallery, if it has one."""
    return next(pictures(cell for _, cell in chapter.cells("cover")), None)


def claims(chapter: Chapter) -> list[dict[str, Any]]:
    """The records of a chapter's claims, in order."""
    outputs = (output for _, cell in chapter.cells("claims") for output in cell.outputs)
    return [record for output in outputs for record in output.get("data", {}).get(CLAIMS, ())]


def checks(chapter: Chapter) -> int:
    """How many cells of a chapter check an identity of its text."""
    return sum(1 for _ in chapter.cells("check"))


def address(chapter: Chapter) -> str:
    """A chapter's page, from the root of the site."""
    return f"chapters/{chapter.name}.html"


def seconds(chapter: Chapter) -> str:
    """How long the last run kept one thread busy, in words."""
    return f"{chapter.meta['run']['cpu_seconds']:.0f} s" if "run" in chapter.meta else "not run"


# --------------------------------------------------------------------------------------------------- gallery


def gallery(book: Book, covers: dict[str, tuple[str, str]]) -> str:
    """A card for each chapter, by part. ``covers`` holds each chapter's picture and its alternative text."""
    sections = []
    for part, members in book.items():
        if members:
            cards = "\n".join(_card(chapter, *covers.get(chapter.name, ("", ""))) for chapter in members)
            sections.append(f'## {part}\n\n<ul class="ng-gallery">\n{cards}\n</ul>\n')
    missing = [part for part, members in book.items() if not members]
    if missing:
        sections.append(f'<p class="ng-missing">Not written yet: {", ".join(missing)}.</p>\n')
    return "\n".join(sections)


def hero(paths: int = 42, steps: int = 72, jitter: float = 1.8) -> str:
    """Noise that turns into three Gaussians, as an inline SVG: the reverse SDE from N(0, 1) to their mixture.

    The path is x_t = (1 - t) x_0 + t e. Its velocity is E[e - x_0 | x_t] and its score -E[e | x_t] / t, both in closed
    form for a mixture. With drift velocity - h² score / 2, noise of size h = jitter t leaves the law of x_t as it is.
    """
    modes, spread, normal, random = (-1.7, 0.1, 1.6), 0.14, NormalDist(), Random(6)
    width, height, scale = 1000, 200, 34

    def drift(x: float, t: float) -> float:
        variance = ((1 - t) * spread) ** 2 + t**2
        offsets = [x - (1 - t) * mode for mode in modes]
        weights = [math.exp(-(offset**2) / (2 * variance)) for offset in offsets]
        share = [weight / sum(weights) for weight in weights]
        noise = sum(w * t / variance * offset for w, offset in zip(share, offsets, strict=True))
        data = (x - t * noise) / (1 - t) if t < 1 else sum(w * mode for w, mode in zip(share, modes, strict=True))
        return noise - data + jitter**2 * t * noise / 2

    lines = []
    for index in range(paths):
        x = normal.inv_cdf((index + 0.5) / paths)
        places = [x]
        for step in range(steps):
            t = 1 - step / steps
            x += -drift(x, t) / steps + jitter * t * random.gauss(0, 1) / math.sqrt(steps)
            places.append(x)
        nearest = min(range(len(modes)), key=lambda k: abs(modes[k] - x))
        points = " ".join(f"{i * width / steps:.0f},{height / 2 - scale * y:.0f}" for i, y in enumerate(places))
        lines.append(f'<polyline class="ng-path-{nearest}" points="{points}"/>')
    return (
        f'<svg class="ng-hero" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        'aria-label="Jagged curves start as Gaussian noise on the left and settle in three Gaussians on the right.">'
        f"{''.join(lines)}</svg>\n"
    )


def _card(chapter: Chapter, picture: str, alt: str) -> str:
    image = f'<img src="{picture}" alt="{html.escape(alt)}" loading="lazy">' if picture else ""
    facts = [_source(chapter), f"{seconds(chapter)} on a CPU"]
    return (
        f'<li class="ng-card">\n<div class="ng-card-picture">{image}</div>\n'
        f'<p class="ng-card-title"><a href="{address(chapter)}">{html.escape(chapter.title)}</a></p>\n'
        f'<div class="ng-card-idea">\n\n{chapter.meta.get("idea", "")}\n\n</div>\n'
        f'<p class="ng-card-facts">{" · ".join(filter(None, facts))}</p>\n'
        f'<p class="ng-card-verdicts">{_outcome(chapter)}</p>\n</li>'
    )


def _source(chapter: Chapter) -> str:
    """Whose paper the chapter implements, briefly."""
    entry = bibliography().entries.get(chapter.meta.get("paper", ""))
    if entry is None:
        return ""
    names = [" ".join(person.last_names) for person in entry.persons["author"]]
    who = names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."
    return html.escape(f"{who}, {entry.fields['year']}")


def _outcome(chapter: Chapter) -> str:
    counts = Counter(record["verdict"] for record in claims(chapter))
    if counts:
        return " ".join(_badge(verdict, f"{counts[verdict]} {verdict}") for verdict in VERDICTS if counts[verdict])
    return _badge("checked", _count(checks(chapter), "identity checked", "identities checked"))


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _badge(verdict: str, text: str) -> str:
    return f'<span class="ng-verdict ng-{verdict.replace(" ", "-")}">{text}</span>'


# ---------------------------------------------------------------------------------------------------- ledger


def ledger(book: Book) -> str:
    """Every claim of every chapter, with a count of the verdicts on top."""
    written = [(part, [(chapter, claims(chapter)) for chapter in members]) for part, members in book.items()]
    counts = Counter(record["verdict"] for _, members in written for _, records in members for record in records)
    total = sum(counts.values())
    tiles = "".join(
        f'<li class="ng-{verdict.replace(" ", "-")}"><strong>{counts[verdict]}</strong> {verdict}</li>'
        for verdict in VERDICTS
    )
    text = [f'{_count(total, "claim", "claims")} in all.\n\n<ul class="ng-tally">{tiles}</ul>\n']
    for part, members in written:
        tested = [(chapter, records) for chapter, records in members if records]
        if tested:
            text.append(f"## {part}\n")
            text += [f"### [{c.title}](../chapters/{c.name}.ipynb)\n\n{_claims_table(rows)}" for c, rows in tested]
    return "\n".join(text)


def _claims_table(records: list[dict[str, Any]]) -> str:
    header = ("The paper says, and where", "Quantity", "Bar", "Measured, and on what", "Verdict")
    rows = [
        (
            f"{record['says']} [{record['where']}]{{.ng-note}}",
            record["quantity"],
            f"{record['bar'][0].replace('<=', '≤').replace('>=', '≥')} {record['bar'][1]:g}",
            "–"
            if record["measured"] is None
            else ", ".join(f"{value:.3g}" for value in record["measured"])
            + f" [{record['hardware']}; {record['preset']}]{{.ng-note}}",
            _badge(record["verdict"], record["verdict"]),
        )
        for record in records
    ]
    return table(header, rows, "ng-ledger")


def table(header: Iterable[str], rows: Iterable[Iterable[Any]], name: str = "") -> str:
    """A table whose cells are Markdown; a pipe sign in a formula does no harm, as it would in a pipe table."""
    lines = ["::::{list-table}", ":header-rows: 1", *([f":class: {name}"] if name else []), ""]
    for row in (header, *rows):
        first, *rest = row
        lines += [f"* - {first}", *(f"  - {cell}" for cell in rest)]
    return "\n".join([*lines, "::::", ""])


# ---------------------------------------------------------------------------------------------------- status


def status(book: Book) -> str:
    """What the last run of each chapter took, and on what."""
    run = [chapter for members in book.values() for chapter in members if "run" in chapter.meta]
    if not run:
        return "No chapter has been run yet.\n"
    header = ("Chapter", "Time", "Memory", "Cells", "Checks", "Claims", "Run")
    rows = [
        (
            f"[{chapter.title}](../chapters/{chapter.name}.ipynb)",
            seconds(chapter),
            f"{chapter.meta['run']['memory_mb']} MB",
            sum(1 for _ in chapter.cells(kind="code")),
            checks(chapter),
            len(claims(chapter)),
            ", ".join(chapter.meta["run"][key] for key in ("preset", "device", "date")),
        )
        for chapter in run
    ]
    total = sum(chapter.meta["run"]["cpu_seconds"] for chapter in run)
    keys = ("python", "torch", "nglib", "cpu")
    counts = Counter(tuple(chapter.meta["run"][key] for key in keys) for chapter in run)
    return (
        f"{_count(len(run), 'chapter takes', 'chapters take')} {total:.0f} s one after another.\n\n"
        + table(header, rows, "ng-status")
        + "\n## Versions\n\n"
        + table(("Python", "torch", "nglib", "Processor", "Chapters"), [(*what, n) for what, n in counts.items()])
    )
