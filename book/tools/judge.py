"""Judge answers to a graded exercise. Runs as a process of its own and needs the standard library only.

Reads a request as JSON from standard input and writes the verdicts as JSON to standard output. The namespace is loaded
once; every answer is then judged in a fork of it, so that one answer cannot disturb another and each can be stopped.
"""

import io
import json
import linecache
import os
import select
import signal
import sys
import time
import traceback
from types import ModuleType
from typing import Any, TextIO

MODULE = "answer"


def main() -> None:
    request = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    module = ModuleType(MODULE)
    sys.modules[MODULE] = module
    for index, source in enumerate(request["namespace"]):
        execute(source, f"<namespace, cell {index}>", module)
    json.dump([judge(job, module, request["seconds"]) for job in request["jobs"]], out)
    out.flush()


def judge(job: dict[str, Any], module: ModuleType, seconds: float) -> dict[str, str]:
    """What each cell of one answer died of, by id: the empty string where it ran, nothing where it was not reached."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        with os.fdopen(sender, "w") as report:
            run_cells(job["cells"], module, report)
        os._exit(0)
    os.close(sender)
    try:
        lines = read_until(receiver, time.monotonic() + seconds).decode().splitlines()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(receiver)
    return dict(json.loads(line) for line in lines)


def run_cells(cells: list[tuple[str, str]], module: ModuleType, report: TextIO) -> None:
    """Run an answer and its tests in order; a cell that fails does not keep the next one from running."""
    sys.stdout = sys.stderr = io.StringIO()
    for name, source in cells:
        error = ""
        try:
            execute(source, f"<{name}>", module)
        except BaseException:  # an answer may well call exit()
            error = traceback.format_exc(limit=-3)
        report.write(json.dumps((name, error)) + "\n")
        report.flush()


def execute(source: str, filename: str, module: ModuleType) -> None:
    """Run a cell in the module, such that tracebacks and ``inspect.getsource`` show it."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), module.__dict__)


def read_until(receiver: int, deadline: float) -> bytes:
    """What arrives before the deadline or the end of the stream, whichever comes first."""
    received = b""
    while (left := deadline - time.monotonic()) > 0 and select.select([receiver], [], [], left)[0]:
        chunk = os.read(receiver, 65536)
        if not chunk:
            break
        received += chunk
    return received


if __name__ == "__main__":
    main()
