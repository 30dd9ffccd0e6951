import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import IPython.display
import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from nglib import explore, plot

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def curve(sigma: float, kind: str) -> Figure:
    figure, axes = plt.subplots(figsize=(500 / 96, 300 / 96))
    x = np.linspace(-3, 3, 200)
    axes.plot(x, np.exp(-((x / sigma) ** (2 if kind == "Gauss" else 4))), label=kind)
    axes.set(xlabel="x", ylabel="density", title=f"{kind}, {sigma:g}")
    axes.legend()
    return figure


def says(sigma: float, kind: str) -> str:
    return f'A {kind} <curve> of width {sigma:g} & "more".'


SIGMAS, KINDS = [0.25, 0.5, 1, 1.5, 2], ["Gauss", "flat"]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is displayed."""
    out: list[Any] = []
    monkeypatch.setattr(IPython.display, "display", lambda thing, **_: out.append(thing))
    plot.style()
    return out


@pytest.fixture
def frames(shown: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setenv("NG_EXPLORE", "frames")
    return shown


@pytest.fixture
def live(shown: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.delenv("NG_EXPLORE", raising=False)
    return shown


def test_frames_are_one_html_output_and_a_sentence(frames: list[Any]) -> None:
    explore(curve, alt=says, caption="Wider and wider.", sigma=SIGMAS, kind=KINDS)
    output, caption = frames
    assert set(output) == {"text/html", "text/plain"}
    assert output["text/plain"] == says(1, "flat"), "it starts at the middle of each control"
    assert caption.data == "Wider and wider."
    assert not plt.get_fignums()
    page = output["text/html"]
    assert len(re.findall("data:image/webp;base64,", page)) == 10
    assert not re.search(r"https?:|src=\"(?!data:)|@import|url\(", page)


def test_frames_are_the_same_every_time(frames: list[Any]) -> None:
    for _ in range(2):
        explore(curve, alt=says, sigma=SIGMAS[:2], kind=KINDS)
    assert frames[0] == frames[1]


def test_size_of_25_frames(frames: list[Any]) -> None:
    def bars(n: int, sigma: float) -> Figure:
        figure = curve(sigma, "Gauss")
        figure.axes[0].hist(np.random.default_rng(0).normal(0, sigma, n), bins=30, density=True, color=plot.GREY)
        return figure

    explore(bars, alt=lambda n, sigma: f"{n} draws", n=[10, 30, 100, 300, 1000], sigma=SIGMAS)
    assert 50_000 < len(frames[0]["text/html"]) < 250_000


def test_live_sliders_redraw(live: list[Any]) -> None:
    drawn = []

    def counted(sigma: float, kind: str) -> Figure:
        drawn.append((sigma, kind))
        return curve(sigma, kind)

    explore(counted, alt=says, sigma=SIGMAS, kind=KINDS)
    (box,) = live
    *sliders, figure = box.children
    assert [slider.description for slider in sliders] == ["σ", "kind"]
    assert isinstance(figure, ipywidgets.HTML)
    first = figure.value
    assert "width 1 &amp;" in first
    sliders[0].value = 2
    assert "width 2 &amp;" in figure.value
    assert drawn == [(1, "flat"), (2, "flat")]
    sliders[0].value = 1
    assert figure.value == first
    assert len(drawn) == 2, "a figure seen before is kept"
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({}, "0 controls"),
        ({"a": [1, 2], "b": [1, 2], "c": [1, 2], "d": [1, 2]}, r"4 controls \(a, b, c, d\)"),
        ({"a": range(11), "b": range(10)}, "11 a x 10 b"),
        ({"a": [1]}, r"control a got \[1\]"),
    ],
)
def test_wrong_controls(shown: list[Any], controls: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explore(lambda **_: Figure(), alt=lambda **_: "", **controls)
    assert not shown


@pytest.mark.parametrize("mode", ["live", "frames"])
def test_wrong_functions(shown: list[Any], mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NG_EXPLORE", mode)
    with pytest.raises(ValueError, match="fn returned None"):
        explore(lambda a: None, alt=lambda a: "A sentence.", a=[1, 2])  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="alt returned ' '"):
        explore(lambda a: Figure(), alt=lambda a: " ", a=[1, 2])
    assert not shown


class Visit:
    """A page with three explorations, one of them twice, and everything it asks for or complains about."""

    def __init__(self, page: "Page", path: Path) -> None:
        self.page, self.messages = page, []
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("request", lambda r: self.messages.append(r.url) if r.url[:5] not in ("file:", "data:") else None)
        page.goto(path.as_uri())
        self.cards = page.locator(".ng-explore")


@pytest.fixture
def page_file(frames: list[Any], tmp_path: Path) -> Path:
    explore(curve, alt=says, sigma=SIGMAS, kind=KINDS)
    explore(lambda n: curve(n, "flat"), alt=lambda n: f"Width {n}.", n=[1, 2, 3])
    body = "".join(output["text/html"] for output in (*frames, frames[0]))
    path = tmp_path / "page.html"
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Test</title>'
        '<meta name="viewport" content="width=device-width"><style>body { background: #121212; color: #eee }</style>'
        f"</head><body><main><h1>Test</h1>{body}</main></body></html>"
    )
    return path


@pytest.fixture
def visit(browser: "Browser", page_file: Path) -> Iterator[Visit]:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    yield Visit(page, page_file)
    page.close()


def test_keyboard_moves_figure_and_sentence(visit: Visit) -> None:
    card = visit.cards.nth(0)
    sigma, kind = card.get_by_label("σ"), card.get_by_label("kind")
    before = card.locator("img").get_attribute("src")
    assert card.locator("p").inner_text() == says(1, "flat")
    sigma.focus()
    sigma.press("ArrowRight")
    kind.focus()
    kind.press("ArrowLeft")
    assert card.locator("p").inner_text() == card.locator("img").get_attribute("alt") == says(1.5, "Gauss")
    assert sigma.get_attribute("aria-valuetext") == "1.5"
    assert kind.get_attribute("aria-valuetext") == "Gauss"
    assert card.locator(".ng-value").all_inner_texts() == ["1.5", "Gauss"]
    assert card.locator("img").get_attribute("src") != before
    kind.press("ArrowRight")
    sigma.press("ArrowLeft")
    assert card.locator("img").get_attribute("src") == before
    assert visit.cards.nth(2).locator("p").inner_text() == says(1, "flat"), "its twin stays where it is"
    assert visit.messages == []


def test_every_position_shows_its_frame(visit: Visit) -> None:
    card, seen = visit.cards.nth(0), set()
    for i, sigma in enumerate(SIGMAS):
        for j, kind in enumerate(KINDS):
            card.locator("input").nth(0).fill(str(i))
            card.locator("input").nth(1).fill(str(j))
            assert card.locator("p").inner_text() == says(sigma, kind)
            seen.add(card.locator("img").get_attribute("src"))
    assert len(seen) == 10
    assert card.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 750


def test_fits_a_phone(visit: Visit) -> None:
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    for slider in visit.page.locator("input").all():
        box = slider.bounding_box()
        assert box is not None
        assert box["width"] >= 96
        assert box["height"] >= 24, "WCAG 2.2: targets of 24 pixels"


def test_accessible(visit: Visit) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    results = axe.run(visit.page, options={"runOnly": tags})
    assert results.violations_count == 0, json.dumps(results.response["violations"], indent=1)


def test_without_javascript_the_first_frame_stands(browser: "Browser", page_file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    card = page.locator(".ng-explore").first
    assert card.locator("img").is_visible()
    assert card.locator("p").inner_text() == says(1, "flat")
    assert not card.locator("input").first.is_visible(), "sliders that do nothing are not shown"
    context.close()
