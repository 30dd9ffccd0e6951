"""The book as it is, in a browser that reaches nothing but the site."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from pybtex.database import parse_file

from book.tools import chapters
from book.tools.chapters import ROOT
from book.tools.serve import server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

REPOSITORY = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 860}


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader's edition of the book."""
    out = tmp_path_factory.mktemp("book") / "html"
    command = [sys.executable, "-m", "book.tools.site", "--out", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return Path(run.stdout.splitlines()[-1]).parent


@pytest.fixture(scope="module")
def address(html: Path) -> Iterator[str]:
    with server(html, 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def names(html: Path) -> list[str]:
    return sorted(path.relative_to(html).as_posix() for path in html.rglob("*.html") if "_static" not in path.parts)


class Visitor:
    """A page of the site, and everything that went wrong on it."""

    def __init__(self, browser: "Browser", address: str, theme: str = "light") -> None:
        self.address = address
        self.context = browser.new_context(viewport=DESK, color_scheme=theme, reduced_motion="reduce")
        self.context.route("**/*", self._admit)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self._note(message.type == "error", message.text))
        self.page.on("pageerror", lambda error: self._note(True, str(error)))
        self.page.on("response", lambda response: self._note(response.status >= 400, f"no {response.url}"))
        self.troubles: list[str] = []
        self.name = ""

    def _admit(self, route: "Route") -> None:
        inside = route.request.url.startswith((self.address, "data:", "blob:"))
        self._note(not inside, f"asks for {route.request.url}")
        if inside:
            route.continue_()
        else:
            route.abort()

    def _note(self, wrong: bool, what: str) -> None:
        if wrong:
            self.troubles.append(f"{self.name}: {what}")

    def open(self, name: str) -> "Page":
        self.name = name
        self.page.goto(self.address + name)
        if self.page.locator(".math").count():
            self.page.wait_for_function("window.MathJax?.startup?.promise")
            self.page.evaluate("MathJax.startup.promise")
        return self.page


@pytest.fixture
def visitor(browser: "Browser", address: str) -> Iterator[Visitor]:
    visitor = Visitor(browser, address)
    yield visitor
    visitor.context.close()


def unrendered(page: "Page") -> list[str]:
    """Formulas that MathJax has left alone or could not read, and dollar signs that no formula came from."""
    return page.evaluate(
        """() => {
          const bad = [...document.querySelectorAll(".math")].filter((e) => !e.querySelector("mjx-container"));
          const errors = [...document.querySelectorAll("mjx-merror, [data-mjx-error]")];
          const article = document.querySelector("article") ?? document.body;
          const text = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
          const raw = [];
          while (text.nextNode()) {
            const node = text.currentNode;
            const skipped = node.parentElement.closest("pre, code, script, style");
            if (!skipped && /\\$[^$]+\\$|\\\\\\(/.test(node.data)) raw.push(node);
          }
          return [...bad, ...errors, ...raw].map((e) => (e.data ?? e.textContent).trim().slice(0, 80));
        }"""
    )


def thin_out(page: "Page") -> None:
    """Keep a few formulas, and of code a few words of each kind: axe takes a minute for the rest, which is the same."""
    page.evaluate(
        """() => {
          for (const formula of [...document.querySelectorAll("mjx-container")].slice(20)) formula.replaceChildren();
          const seen = {};
          for (const word of document.querySelectorAll("pre span")) {
            seen[word.className] = (seen[word.className] ?? 0) + 1;
            if (seen[word.className] > 3) word.replaceWith(...word.childNodes);
          }
        }"""
    )


def inaccessible(page: "Page", *rules: str) -> list[str]:
    """What axe objects to, and where; all of WCAG 2.2 A and AA unless ``rules`` are named."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"runOnly": {"type": "rule", "values": rules} if rules else WCAG, "preload": False}
    found: list[dict[str, Any]] = Axe().run(page, options=options).response["violations"]
    return [f"axe, {rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"][:3]]


@pytest.mark.timeout(1500)
def test_every_page(visitor: Visitor, html: Path) -> None:
    """Maths, contrast and all that axe looks at in both themes, phone width, console, and no request outside."""
    for name in names(html):
        page = visitor.open(name)
        troubles = [f"not rendered: {text}" for text in unrendered(page)]
        page.set_viewport_size(PHONE)
        page.wait_for_timeout(50)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            troubles.append("wider than a phone")
        page.set_viewport_size(DESK)
        thin_out(page)
        troubles += [f"{what} (light)" for what in inaccessible(page)]
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        troubles += [f"{what} (dark)" for what in inaccessible(page, "color-contrast", "link-in-text-block")]
        visitor.troubles += [f"{name}: {trouble}" for trouble in troubles]
    assert visitor.troubles == [], "\n".join(visitor.troubles)


def test_theme_follows_the_reader(browser: "Browser", address: str) -> None:
    for theme in ("light", "dark"):
        visitor = Visitor(browser, address, theme)
        assert visitor.open("index.html").locator("html").get_attribute("data-theme") == theme
        visitor.context.close()


def test_interactive_figures_obey_the_keyboard(visitor: Visitor, html: Path) -> None:
    interactive = [name for name in names(html) if "ng-explore" in (html / name).read_text()]
    assert [name for name in interactive if name.startswith("chapters/")], "no chapter has an interactive figure"
    for name in interactive:
        page = visitor.open(name)
        for figure in page.locator(".ng-explore").all():
            image, text = figure.locator("img"), figure.locator("p")
            before = (image.get_attribute("src"), text.inner_text())
            figure.locator("input").first.focus()
            page.keyboard.press("ArrowRight")
            after = (image.get_attribute("src"), text.inner_text())
            assert after[0] != before[0], f"{name}: the figure stays"
            assert after[1] != before[1], f"{name}: the text stays"
            assert image.get_attribute("alt") == after[1]
    assert visitor.troubles == []


def test_search_finds_what_is_there(visitor: Visitor) -> None:
    page = visitor.open("search.html?q=gaussian")
    page.wait_for_selector("#search-results li")
    assert page.locator("#search-results li a").count() > 1
    assert visitor.troubles == []


def test_code_can_be_copied(visitor: Visitor, html: Path) -> None:
    page = visitor.open(next(name for name in names(html) if name.startswith("chapters/")))
    assert page.locator("div.cell_input button.copybtn").count() > 0


def test_the_watch_sees_what_asks_for_another_host(visitor: Visitor) -> None:
    page = visitor.open("index.html")
    page.evaluate("fetch('https://example.org/').catch(() => null)")
    assert visitor.troubles[0] == "index.html: asks for https://example.org/"


class Links(HTMLParser):
    """All addresses that a page leads to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attributes if tag == "a" and key == "href" and value]


def links(path: Path) -> list[str]:
    return Links(path.read_text()).found


def test_links_to_the_repository_lead_to_files(html: Path) -> None:
    pattern = rf"{re.escape(REPOSITORY['url'])}/(?:edit|blob)/{REPOSITORY['branch']}/([^?#]+)"
    for name in names(html):
        for link in links(html / name):
            if match := re.match(pattern, link):
                assert (ROOT / match[1]).is_file(), f"{name}: {link}"


def test_each_page_is_edited_where_it_comes_from(html: Path) -> None:
    edit = f"{REPOSITORY['url']}/edit/{REPOSITORY['branch']}/"
    expected = {
        "index.html": "book/index.md",
        "book/read.html": "book/read.md",
        "book/ledger.html": "book/ledger.md",
        "book/api/plot.html": "nglib/plot.py",
    }
    expected |= {
        f"chapters/{path.parent.name}/{path.stem}.html": f"chapters/{path.parent.name}/{path.name}"
        for path in chapters.paths()
    }
    for name, source in expected.items():
        assert [link for link in links(html / name) if link.startswith(edit)] == [edit + source]


def test_chapters_and_nothing_else_open_on_colab(html: Path) -> None:
    owner_and_name = REPOSITORY["url"].removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{owner_and_name}/blob/{REPOSITORY['branch']}/"
    for name in names(html):
        found = [link for link in links(html / name) if "colab.research" in link]
        source = name.removesuffix(".html") + ".ipynb"
        assert found == ([colab + source] if name.startswith("chapters/") else [])


def test_the_repositorys_address_is_the_same_everywhere() -> None:
    assert parse_file(ROOT / "book" / "references.bib").entries["noiseandgaussians"].fields["url"] == REPOSITORY["url"]
    text = (
        (ROOT / "pyproject.toml").read_text()
        + (ROOT / "README.md").read_text()
        + (ROOT / "book" / "run.md").read_text()
    )
    assert set(re.findall(r"https://github\.com/[\w.-]+/[\w.-]+?(?=[\s\"')/]|\.git)", text)) <= {REPOSITORY["url"]}


def test_links_inside_the_site_arrive(html: Path) -> None:
    ids = {name: set(re.findall(r'\bid="([^"]+)"', (html / name).read_text())) for name in names(html)}
    for name in names(html):
        for link in links(html / name):
            parts = urlsplit(link)
            if parts.scheme or link.startswith("#") and len(link) == 1:
                continue
            target = (html / name).parent / unquote(parts.path) if parts.path else html / name
            assert target.exists(), f"{name}: {link}"
            place = target.resolve().relative_to(html.resolve()).as_posix()
            assert not parts.fragment or place not in ids or unquote(parts.fragment) in ids[place], f"{name}: {link}"


def test_links_of_the_texts_in_the_repository_lead_to_files() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "book").glob("*.md")]:
        prose = re.sub(r"`+[^`]+`+", "", path.read_text())
        for link in re.findall(r"\]\(([^)#:\s]+)\)", prose):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
