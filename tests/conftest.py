import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixture_chapter import write_book

from book.tools.chapters import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Chromium: the system's, or the one playwright has installed. Tests skip where there is none, but fail in CI."""
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        try:
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=quiet)
        except sync_api.Error as error:
            missing = pytest.fail if os.environ.get("CI") else pytest.skip
            missing(f"no Chromium, so nothing that happens in a browser is tested: {error.message.splitlines()[0]}")
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def executed_toy_book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a book of two small chapters, run once. Not to be changed: see ``toy_chapters``."""
    folder = tmp_path_factory.mktemp("toy")
    environment = {**os.environ, "NG_CHAPTERS": str(write_book(folder))}
    subprocess.run([sys.executable, "-m", "book.tools.run", "-j1"], cwd=ROOT, env=environment, check=True)
    return folder


@pytest.fixture
def toy_chapters(executed_toy_book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The chapters' folder of a copy of the toy book, which the tools take for the book as long as the test runs."""
    shutil.copytree(executed_toy_book, tmp_path / "toy")
    monkeypatch.setenv("NG_CHAPTERS", str(tmp_path / "toy" / "chapters"))
    return tmp_path / "toy" / "chapters"
