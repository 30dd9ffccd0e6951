"""One look for every figure of the book.

Figures sit on a light card, so that they are at home on light and dark pages. The palette is Okabe and Ito's, which
readers with any colour vision can tell apart; a quantity keeps its colour through the whole book.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from PIL.Image import Image

INK, CARD = "#1b1f24", "#ffffff"
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#6e7781",
)  # fmt: skip

#: The colour of a quantity. ``method`` is the paper's, ``baseline`` what it is compared with.
COLORS = {
    "truth": INK,
    "data": GREY,
    "method": BLUE,
    "variant": GREEN,
    "baseline": ORANGE,
    "baseline2": PURPLE,
    "baseline3": SKY,
    "bound": RED,
    "noise": RED,
}

WIDTH = 7.2
"""Width in inches of a figure that fills the text column."""

CSS_DPI = 96
"""CSS pixels per inch."""


def style() -> None:
    """Give matplotlib the book's look. A chapter calls it once, in its setup cell."""
    plt.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.0),
            "figure.dpi": 110,
            "figure.facecolor": CARD,
            "figure.constrained_layout.use": True,
            "axes.facecolor": CARD,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.titlesize": 10,
            "axes.labelsize": 9.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY]),
            "axes.grid": False,
            "font.size": 9.5,
            "font.family": "DejaVu Sans",
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 8.5,
            "legend.frameon": False,
            "legend.fontsize": 8.5,
            "lines.linewidth": 1.6,
            "lines.markersize": 4,
            "image.cmap": "viridis",
            "image.interpolation": "nearest",
            "savefig.facecolor": CARD,
        }
    )


def show(figure: Figure, alt: str, caption: str = "") -> None:
    """Display a figure with its alternative text and a caption that says what to see, and close it.

    Args:
        figure: the figure.
        alt: what a reader who cannot see the figure needs to know, in a sentence or two.
        caption: shown below the figure; Markdown, mathematics included.

    Raises:
        ValueError: ``alt`` is empty.
    """
    from IPython.display import Markdown, display

    if not alt.strip():
        raise ValueError("show() got an empty alt; expected a sentence that says what the figure shows")
    png, width = encode(figure, "png")
    display(
        {"image/png": png, "text/plain": alt},
        raw=True,
        metadata={"image/png": {"alt": alt, "width": width}},
    )
    if caption:
        display(Markdown(caption))


def encode(figure: Figure, kind: Literal["png", "webp"], density: float = 2.0) -> tuple[bytes, int]:
    """A figure as image bytes at ``density`` dots per CSS pixel, and its width in CSS pixels; the figure is closed.

    The picture is reduced to a palette, which keeps a page small: a chart shows no difference, a photograph little.
    Where lossy WebP costs less than the palette, as for photographs, it is used instead, if ``kind`` allows it.
    """
    import PIL.Image

    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=CSS_DPI * density)
    plt.close(figure)
    image = PIL.Image.open(raw).convert("RGB")
    if kind == "png":
        data = _save(_reduce(image, 256), kind, optimize=True)
    else:
        data = min(
            _save(_reduce(image, 64).convert("RGB"), kind, lossless=True), _save(image, kind, quality=70), key=len
        )
    return data, round(image.width / density)


def _reduce(image: "Image", colors: int) -> "Image":
    import PIL.Image

    if image.getcolors(1 << 14):
        return image.quantize(colors)
    # A photograph: median cut alone would bleach colour noise, and k-means on all pixels takes ten times as long.
    sample = image.resize((image.width // 4, image.height // 4), PIL.Image.Resampling.NEAREST)
    means = np.array(sample.quantize(colors, kmeans=1).getpalette()).reshape(-1, 3)
    means[(means > 250).all(1)] = 255  # the card stays white
    palette = PIL.Image.new("P", (1, 1))
    palette.putpalette(means.ravel().tolist())
    return image.quantize(palette=palette, dither=PIL.Image.Dither.NONE)


def _save(image: "Image", kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def table(rows: Sequence[Sequence[Any]], headers: Sequence[str], floatfmt: str | Sequence[str] = ".3g") -> None:
    """Display rows as a Markdown table.

    Raises:
        ValueError: a row's length differs from the number of headers.
    """
    from IPython.display import Markdown, display
    from tabulate import tabulate

    for row in rows:
        if len(row) != len(headers):
            raise ValueError(f"row {list(row)!r} has {len(row)} entries; expected {len(headers)}, one per header")
    display(Markdown(tabulate(rows, headers=headers, tablefmt="github", floatfmt=floatfmt)))
