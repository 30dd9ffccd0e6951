"""The files around the code say the same as the code."""

import re
import tomllib
import urllib.request
from pathlib import Path
from threading import Thread

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import nglib
from book.tools.chapters import ROOT, bibliography
from book.tools.serve import server

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

#: Where the channel has another name for a package.
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}

#: Builds differ by machine, so no version is locked.
UNLOCKED = ("torch", "torchvision", "triton", "cuda-", "nvidia-")

TOP_LEVEL = {
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "LICENSE-TEXT", "Makefile",
    "pyproject.toml", "environment.yml", "_config.yml", "book", "chapters", "nglib", "tests",
}  # fmt: skip
GENERATED = {"_build", "dist", "course"}


def requirements(*extras: str) -> list[Requirement]:
    optional = PROJECT["project"]["optional-dependencies"]
    listed = PROJECT["project"]["dependencies"] + [line for extra in extras for line in optional[extra]]
    return [requirement for requirement in map(Requirement, listed) if requirement.name != "nglib"]


def constraints() -> dict[str, Requirement]:
    lines = (ROOT / "book" / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def test_constraints_lock_every_direct_dependency() -> None:
    site = [Requirement(line) for line in PROJECT["dependency-groups"]["site"]]
    for requirement in requirements(*PROJECT["project"]["optional-dependencies"]) + site:
        name = canonicalize_name(requirement.name)
        if not name.startswith(UNLOCKED):
            (pin,) = constraints()[name].specifier
            assert pin.operator == "=="
            assert requirement.specifier.contains(pin.version), f"{pin} of {name} is outside pyproject's {requirement}"


def test_constraints_hold_on_any_machine() -> None:
    for name, requirement in constraints().items():
        assert not re.match(r"torch(vision)?$|triton|cuda-|nvidia-|nglib$|pip$|setuptools$", name)
        assert requirement.url is None
        assert "+" not in str(requirement.specifier)
        assert "*" not in str(requirement.specifier)


def test_conda_environment_follows_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    *packages, pip = environment["dependencies"]
    assert pip == {"pip": ["--editable .[book]"]}
    wanted = [f"{CONDA_NAMES.get(r.name, r.name)}{r.specifier}" for r in requirements("book")]
    python = PROJECT["project"]["requires-python"]
    assert sorted(packages) == sorted([f"python{python}", "pip", *wanted])


def test_citation_file() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == nglib.__version__ == PROJECT["project"]["version"]
    book = bibliography().entries["noiseandgaussians"]
    assert citation["title"] == book.fields["title"].replace("\\&", "&")
    assert citation["authors"] == [{"name": "The Noise & Gaussians authors"}]
    assert f"\n## {nglib.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_licences() -> None:
    assert PROJECT["project"]["license"] == "MIT"
    assert "MIT License" in (ROOT / "LICENSE").read_text()
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in (ROOT / "LICENSE-TEXT").read_text()


def test_nothing_else_at_the_top_level() -> None:
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith((".", "__"))}
    assert visible - GENERATED <= TOP_LEVEL


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md", "CHANGELOG.md"])
def test_links_of_top_level_pages(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text()):
        assert re.match("https?:", target) or (ROOT / target).exists(), f"{page} links to {target}"


def test_commands_in_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in (*ROOT.glob("*.md"), *(ROOT / "book").glob("*.md")):
        commands = re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE)
        assert set(commands) <= targets, f"{page} names a make target that does not exist"


def test_book_is_served(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("the book")
    with server(tmp_path, 0) as running, server(tmp_path, running.server_port) as second:
        assert second.server_port != running.server_port
        Thread(target=running.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{running.server_port}/") as page:
            assert page.read() == b"the book"
        running.shutdown()
