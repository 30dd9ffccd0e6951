"""Serve the rendered book on this machine only, and open it in a browser."""

import argparse
import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Say nothing: a line for every file of every page hides the address."""


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of ``folder`` on ``port``, or on a free one if that is taken or 0."""
    handler = partial(_Handler, directory=str(folder))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), handler)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    if not (arguments.folder / "index.html").exists():
        parser.error(f"{arguments.folder} holds no index.html; make book renders it")
    with server(arguments.folder, arguments.port) as running:
        address = f"http://127.0.0.1:{running.server_port}/"
        print(f"{address}  (Ctrl+C ends it)", flush=True)
        webbrowser.open(address)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
