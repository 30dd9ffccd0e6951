"""Rules about outputs."""

import re
from collections import Counter
from collections.abc import Iterator

from book.tools.chapters import Chapter, output_digest, source_digest
from book.tools.contract.cells import alternative_texts, as_text, displays, readable, where

SECONDS, MEMORY_MB = 60, 4000
VERDICTS = ("reproduced", "better", "not reproduced", "not run at this scale")
CLAIMS = "application/vnd.nglib.claims+json"


def present(chapter: Chapter) -> Iterator[str]:
    """Cells were executed in order, and those that display something have outputs."""
    counts = [cell.execution_count for _, cell in chapter.cells(kind="code")]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}; expected 1 to {len(counts)} in order: the outputs of one clean run"
    for index, cell in chapter.cells(kind="code"):
        if displays(cell) and not cell.outputs:
            yield f"{where(chapter, index)} displays something, but no output is stored"


def clean(chapter: Chapter) -> Iterator[str]:
    """No error, no warning, no widget that needs a kernel, nothing that differs with every run."""
    for index, cell in chapter.cells(kind="code"):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"{where(chapter, index)} ended in {output.ename}: {output.evalue}"
            if output.get("name") == "stderr":
                yield f"{where(chapter, index)} wrote to stderr: {as_text(output.text).strip()[:200]}"
            if any("widget" in mime for mime in output.get("data", ())):
                yield f"{where(chapter, index)} stored a widget, which a page cannot show"
            if address := re.search(r"0x[0-9a-f]{6,}", readable(output)):
                yield f"{where(chapter, index)} shows a memory address, {address[0]}"


def figures(chapter: Chapter) -> Iterator[str]:
    """Every figure has alternative text of its own."""
    seen: Counter[str] = Counter()
    for index, cell in chapter.cells(kind="code"):
        for text in (alt for output in cell.outputs for alt in alternative_texts(output)):
            seen[text] += 1
            if not text.strip():
                yield f"{where(chapter, index)} shows a figure without alternative text"
            elif seen[text] == 2:
                yield f"{where(chapter, index)} shows a figure with the alternative text of another: {text[:60]!r}"


def run_record(chapter: Chapter) -> Iterator[str]:
    """The outputs are those of the code as it stands, run within the preset."""
    run = chapter.meta.get("run")
    if not run:
        yield "there is no record of a run; make run writes it"
        return
    if run["source"] != source_digest(chapter.nb):
        yield "code has changed since the outputs were made; make run renews them"
    if run["outputs"] != output_digest(chapter.nb):
        yield "outputs are not those of the recorded run; make run renews them"
    if (run["preset"], run["device"]) != ("laptop", "cpu"):
        yield f"the run was at {run['preset']} on {run['device']}; expected laptop on cpu"
    if run["cpu_seconds"] > SECONDS:  # not the time on the clock, which other work on the machine stretches
        yield f"the run kept one thread busy for {run['cpu_seconds']} s; expected {SECONDS} at most"
    if run["memory_mb"] > MEMORY_MB:
        yield f"the run took {run['memory_mb']} MB; expected {MEMORY_MB} at most"


def claims(chapter: Chapter) -> Iterator[str]:
    """A paper's claims are stored as data, each with a bar and a verdict."""
    if chapter.is_foundations:
        return
    records = [
        record
        for _, cell in chapter.cells("claims")
        for output in cell.outputs
        for record in output.get("data", {}).get(CLAIMS, ())
    ]
    if not records:
        yield "no claim is recorded"
    for record in records:
        name = record.get("name")
        if record.get("verdict") not in VERDICTS:
            yield f"claim {name!r} has the verdict {record.get('verdict')!r}; expected one of {', '.join(VERDICTS)}"
        bar = record.get("bar")
        if not (isinstance(bar, list) and len(bar) == 2 and bar[0] in ("<", "<=", ">", ">=")):
            yield f"claim {name!r} has the bar {bar!r}; expected a comparison and a number"
        if empty := [key for key in ("says", "where", "quantity") if not str(record.get(key) or "").strip()]:
            yield f"claim {name!r} does not say {', '.join(empty)}"
