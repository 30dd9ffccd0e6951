import io
from typing import Any

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

from nglib import data, plot


@pytest.fixture(autouse=True)
def _style() -> None:
    plot.style()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    out: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(IPython.display, "display", lambda thing, **options: out.append((thing, options)))
    return out


def chart() -> Figure:
    figure, axes = plt.subplots()
    axes.plot([0, 1, 2], [1, 0, 2], label="method")
    axes.set(xlabel="steps", ylabel="loss")
    axes.legend()
    return figure


def photograph() -> Figure:
    picture = data.image("astronaut", 128)
    noise = np.random.default_rng(0).normal(0, 0.1, picture.shape)
    figure, axes = plt.subplots()
    axes.imshow((picture.numpy() + noise).clip(0, 1).transpose(1, 2, 0))
    axes.axis("off")
    return figure


def pixels(image: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(image)).convert("RGB"), dtype=float)


def drawn(figure: Figure) -> np.ndarray:
    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=192)
    plt.close(figure)
    return pixels(raw.getvalue())


def test_show(shown: list[tuple[Any, dict[str, Any]]]) -> None:
    plot.show(chart(), alt="The loss falls, then rises.", caption="Watch the *minimum*.")
    (picture, options), (caption, _) = shown
    assert picture["text/plain"] == "The loss falls, then rises."
    assert picture["image/png"].startswith(b"\x89PNG")
    assert options["metadata"]["image/png"] == {"alt": "The loss falls, then rises.", "width": round(plot.WIDTH * 96)}
    assert caption.data == "Watch the *minimum*."
    assert not plt.get_fignums()
    plot.show(chart(), alt="The loss.", caption="Plain.")
    assert shown[-1][0].data == "Plain."
    with pytest.raises(ValueError, match="empty alt"):
        plot.show(chart(), alt=" ")
    plt.close("all")


def test_a_chart_loses_nothing_visible() -> None:
    image, width = plot.encode(chart(), "png")
    assert width == round(plot.WIDTH * 96)
    assert np.abs(pixels(image) - drawn(chart())).max() <= 16
    assert len(image) < 40_000


def test_a_photograph_keeps_its_noise_and_the_card_its_white() -> None:
    image, _ = plot.encode(photograph(), "png")
    before, after = drawn(photograph()), pixels(image)
    assert np.sqrt(np.square(after - before).mean()) < 8
    # Colour noise, red minus green, is what a poor palette bleaches first.
    colour = [(p[..., 0] - p[..., 1]).std() for p in (before, after)]
    assert colour[1] == pytest.approx(colour[0], rel=0.05)
    assert (after[before.min(-1) == 255] == 255).mean() > 0.99


def test_webp_takes_the_cheaper_way() -> None:
    for figure, limit in ((chart, 20_000), (photograph, 120_000)):
        image, width = plot.encode(figure(), "webp", density=1.5)
        assert len(image) < limit
        assert pixels(image).shape[1] == pytest.approx(1.5 * width, abs=1)


def test_figures_look_the_same_on_two_runs() -> None:
    assert plot.encode(photograph(), "png") == plot.encode(photograph(), "png")


def test_table(shown: list[tuple[Any, dict[str, Any]]]) -> None:
    plot.table([("ours", 0.12345), ("theirs", 1234.5)], ["Method", "Error"])
    ((table, _),) = shown
    assert "0.123" in table.data
    with pytest.raises(ValueError, match="has 1 entries; expected 2"):
        plot.table([("ours",)], ["Method", "Error"])


def test_text_is_readable_on_the_card() -> None:
    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(colour: str) -> float:
        return (luminance(plot.CARD) + 0.05) / (luminance(colour) + 0.05)

    assert contrast(plot.INK) > 7
    assert contrast(plot.GREY) > 4.5
    assert contrast(plot.COLORS["method"]) > 3
    assert contrast(plot.COLORS["bound"]) > 3
