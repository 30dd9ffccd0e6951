"""Execute chapters in place, side by side, and write what the run took into them.

A notebook is replaced only by the outputs of a complete run: a chapter that fails, and all of them when the command is
interrupted, stay as they were. Runs at the full preset or on a GPU go to ``_build/run`` instead, because the outputs
the book shows are those of the laptop preset on a CPU.
"""

import argparse
import ast
import asyncio
import copy
import json
import os
import platform
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import nbformat
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from tqdm import tqdm

from book.tools.card import card_text
from book.tools.chapters import KERNEL_ENVIRONMENT, Chapter, folder, output_digest, paths, read, source_digest, tags
from book.tools.editions import KERNELSPEC

# What only the kernel knows, asked after the last cell. ru_maxrss is in bytes on macOS and in KiB elsewhere.
_PROBE = """__import__("json").dumps({
    "memory_mb": round(__import__("resource").getrusage(0).ru_maxrss
                       / (1e6 if __import__("sys").platform == "darwin" else 1e6 / 1024)),
    "cpu_seconds": round(__import__("time").process_time(), 1),
    "device": str(__import__("nglib").device()),
    "preset": __import__("nglib").preset(),
    "python": __import__("platform").python_version(),
    "torch": __import__("torch").__version__,
    "nglib": __import__("nglib").__version__,
})"""


class RunFailed(Exception):
    """A chapter did not run to its end; the message says where and why."""


@dataclass(frozen=True)
class Result:
    """How a chapter's run ended: ``error`` is empty if it succeeded."""

    chapter: Chapter
    seconds: float
    error: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "chapter", nargs="*", help="such as colide or statistics/foundations; all of them if none is named"
    )
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, help="how many run side by side")
    arguments = parser.parse_args()
    try:
        chosen = [path for name in arguments.chapter or [""] for path in paths(name)]
    except ValueError as error:
        parser.error(str(error))
    try:
        results = asyncio.run(run(sorted(map(read, chosen), key=_recorded_seconds, reverse=True), arguments.jobs))
    except KeyboardInterrupt:
        print("interrupted: chapters that had not finished are as they were", file=sys.stderr)
        return 130
    for result in results:
        print(f"{result.chapter.name}: " + (result.error or f"{result.seconds:.1f} s"))
    return int(any(result.error for result in results))


async def run(chapters: list[Chapter], jobs: int) -> list[Result]:
    """Run the chapters in this order, ``jobs`` at a time, and write those that succeed."""
    slots = asyncio.Semaphore(jobs)
    total = sum(1 for chapter in chapters for _ in chapter.cells(kind="code"))
    with tqdm(total=total, unit="cell", disable=None) as progress:

        async def one(chapter: Chapter) -> Result:
            async with slots:
                try:
                    seconds = await _run_and_write(chapter, progress)
                except (RunFailed, ValueError, RuntimeError) as error:
                    return Result(chapter, 0.0, f"failed\n{error}")
                return Result(chapter, seconds)

        return await asyncio.gather(*map(one, chapters))


async def _run_and_write(chapter: Chapter, progress: "tqdm[Any]") -> float:
    card = _card_cell(chapter)
    start = time.perf_counter()
    facts = await _execute(chapter, progress)
    seconds = time.perf_counter() - start
    nb = _normalised(chapter.nb)
    nb.metadata.setdefault("nglib", {})["run"] = {
        "seconds": round(seconds, 1),
        **facts,
        "cpu": cpu_name(),
        "date": datetime.now(UTC).date().isoformat(),
        "source": source_digest(nb),
        "outputs": output_digest(nb),
    }
    card.source = card_text(nb, chapter.path)
    write(nb, _destination(chapter, facts))
    return seconds


def _card_cell(chapter: Chapter) -> NotebookNode:
    """The cell for the card, after a look at whether the card can be written: better now than after the run."""
    cells = [cell for _, cell in chapter.cells("card", "markdown")]
    if len(cells) != 1:
        raise ValueError(f"{chapter.path} has {len(cells)} markdown cells tagged 'card'; expected one, below the title")
    trial = copy.deepcopy(chapter.nb)
    trial.metadata["nglib"] = {**chapter.meta, "run": {"cpu_seconds": 0, "memory_mb": 0, "cpu": ""}}
    card_text(trial, chapter.path)
    return cells[0]


async def _execute(chapter: Chapter, progress: "tqdm[Any]") -> dict[str, Any]:
    """Execute every cell in a fresh kernel; returns what the kernel says of itself."""
    client = NotebookClient(
        chapter.nb, kernel_name=KERNELSPEC["name"], timeout=None, record_timing=False, coalesce_streams=True
    )
    client.reset_execution_trackers()
    client.km = manager = cast(AsyncKernelManager, client.create_kernel_manager())
    manager.transport_encryption = "auto"  # others on the machine could otherwise listen in
    try:
        await client.async_start_new_kernel(cwd=str(chapter.path.parent), env=_environment())
        await client.async_start_new_kernel_client()
        for index, cell in enumerate(chapter.nb.cells):
            try:
                await client.async_execute_cell(cell, index, execution_count=client.code_cells_executed + 1)
            except (CellExecutionError, DeadKernelError) as error:
                first = cell.source.partition("\n")[0]
                plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
                raise RunFailed(f"cell {index} of {chapter.path}, {first!r}:\n{plain}") from None
            progress.update(cell.cell_type == "code")
        return await _ask(cast(AsyncKernelClient, client.kc))
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
        await manager.shutdown_kernel(now=True)


def _environment() -> dict[str, str]:
    laptop = os.environ.get("NG_PRESET", "laptop") == "laptop"
    return {**os.environ, **(KERNEL_ENVIRONMENT if laptop else {"NG_EXPLORE": "frames"})}


async def _ask(kernel: AsyncKernelClient) -> dict[str, Any]:
    reply = await kernel.execute_interactive(
        "", silent=True, store_history=False, user_expressions={"facts": _PROBE}, output_hook=lambda message: None
    )
    facts = reply["content"]["user_expressions"]["facts"]
    if facts["status"] != "ok":
        raise RunFailed(f"the kernel cannot say what it ran on: {facts['evalue']}")
    record: dict[str, Any] = json.loads(ast.literal_eval(facts["data"]["text/plain"]))
    return record


def _normalised(nb: NotebookNode) -> NotebookNode:
    """Without what differs from run to run or from editor to editor."""
    nb.metadata = NotebookNode(
        {
            "kernelspec": dict(KERNELSPEC),
            "language_info": {"name": "python"},
            "nglib": nb.metadata.get("nglib", {}),
        }
    )
    for cell in nb.cells:
        for key in ("execution", "collapsed", "scrolled", "ExecuteTime"):
            cell.metadata.pop(key, None)
        if "tags" in cell.metadata and not tags(cell):
            del cell.metadata["tags"]
    return nb


def _destination(chapter: Chapter, facts: dict[str, Any]) -> Path:
    if (facts["preset"], facts["device"]) == ("laptop", "cpu"):
        return chapter.path
    return folder().parent / "_build" / "run" / f"{facts['preset']}-{facts['device']}" / f"{chapter.name}.ipynb"


def write(nb: NotebookNode, path: Path) -> None:
    """Write a notebook so that at every moment either the old or the new one is there, whole."""
    nbformat.validate(nb)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(nbformat.writes(nb) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def cpu_name() -> str:
    """The processor's name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _recorded_seconds(chapter: Chapter) -> float:
    """The last run's time; a chapter that has none may take long and starts first."""
    seconds: float = chapter.meta.get("run", {}).get("seconds", float("inf"))
    return seconds


if __name__ == "__main__":
    sys.exit(main())
