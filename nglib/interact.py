"""Figures a reader can steer: sliders with a live kernel, precomputed frames on a static page.

``NG_EXPLORE=frames`` makes :func:`explore` draw the figure at every setting and emit one piece of HTML that needs
nothing else: no kernel, no network, no other file. Otherwise the sliders are widgets and a figure is drawn on demand.
"""

import html
import json
import math
import time
import unicodedata
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Literal, NamedTuple

from matplotlib.figure import Figure

from nglib import plot, runtime

Value = int | float | str

MAX_CONTROLS, MAX_FRAMES = 3, 100


def explore(
    fn: Callable[..., Figure], *, alt: Callable[..., str], caption: str = "", **controls: Sequence[Value]
) -> None:
    """Display the figure ``fn(**values)`` with a slider for each control; it starts at each control's middle value.

    Args:
        fn: draws the figure for one value of each control.
        alt: says in a sentence what that figure shows; stands below it and is read out when it changes.
        caption: shown below; Markdown, mathematics included.
        controls: the values of each control, in the order of its slider. A name is shown with spaces for underscores
            and the Greek letter for its name: ``noise_sigma`` is "noise σ".

    Raises:
        ValueError: no control or more than three, more than 100 combinations, a control with fewer than two values,
            ``fn`` returns no figure, or ``alt`` no sentence.
    """
    from IPython.display import Markdown, display

    names, values = list(controls), [list(choices) for choices in controls.values()]
    if not 1 <= len(names) <= MAX_CONTROLS:
        raise ValueError(f"explore() got {len(names)} controls ({', '.join(names)}); expected 1 to {MAX_CONTROLS}")
    for name, choices in zip(names, values, strict=True):
        if len(choices) < 2:
            raise ValueError(f"control {name} got {choices!r}; expected at least two values")
    if math.prod(map(len, values)) > MAX_FRAMES:
        counts = " x ".join(f"{len(choices)} {name}" for name, choices in zip(names, values, strict=True))
        raise ValueError(f"controls have {counts} combinations; expected at most {MAX_FRAMES} in all")

    def draw(*setting: Value, kind: Literal["png", "webp"]) -> _Frame:
        chosen = dict(zip(names, setting, strict=True))
        figure = fn(**chosen)
        if not isinstance(figure, Figure):
            raise ValueError(f"fn returned {figure!r} for {chosen}; expected a matplotlib Figure")
        text = alt(**chosen)
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"alt returned {text!r} for {chosen}; expected a sentence that says what the figure shows")
        return _Frame.of(figure, text, kind)

    if runtime.recording():
        page, text = _static(names, values, draw)
        display({"text/html": page, "text/plain": text}, raw=True)
    else:
        display(_live(names, values, draw))
    if caption:
        display(Markdown(caption))


class _Frame(NamedTuple):
    uri: str
    width: int
    alt: str

    @classmethod
    def of(cls, figure: Figure, alt: str, kind: Literal["png", "webp"]) -> "_Frame":
        data, width = plot.encode(figure, kind, density=1.5)
        return cls(f"data:image/{kind};base64,{b64encode(data).decode()}", width, alt)

    def html(self, controls: str = "") -> str:
        image = f'<img src="{self.uri}" alt="{html.escape(self.alt)}" style="width:{self.width}px">'
        return f'{image}{controls}<p aria-live="polite">{html.escape(self.alt)}</p>'


def _label(name: str) -> str:
    def word(part: str) -> str:
        case = "SMALL" if part.islower() else "CAPITAL"
        spelt = {"LAM": "LAMDA", "LAMBDA": "LAMDA"}.get(part.upper(), part.upper())
        try:
            return unicodedata.lookup(f"GREEK {case} LETTER {spelt}")
        except KeyError:
            return part

    return " ".join(map(word, name.split("_")))


def _text(value: Value) -> str:
    return str(value) if isinstance(value, str | bool) else f"{value:g}"


def _static(names: list[str], values: list[list[Value]], draw: Callable[..., _Frame]) -> tuple[str, str]:
    """The HTML of all frames and the sentence of the first one shown."""
    frames = [draw(*setting, kind="webp") for setting in product(*values)]
    start = 0
    for choices in values:
        start = start * len(choices) + len(choices) // 2
    sliders = "".join(_slider(name, list(map(_text, choices))) for name, choices in zip(names, values, strict=True))
    controls = f'<div class="ng-controls" hidden>{sliders}</div>'
    # The frame shown first is in the page already.
    data = [[None if index == start else frame.uri, frame.alt] for index, frame in enumerate(frames)]
    script_data = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    page = (
        f'<div class="ng-explore mathjax_ignore tex2jax_ignore"><style>{_STYLE}</style>'
        f"{frames[start].html(controls)}"
        f'<script type="application/json">{script_data}</script><script>{_SCRIPT}</script></div>'
    )
    return page, frames[start].alt


def _slider(name: str, texts: list[str]) -> str:
    middle, widest = len(texts) // 2, max(map(len, texts))
    return (
        f'<div><label><span>{html.escape(_label(name))}</span><input type="range" min="0" max="{len(texts) - 1}" '
        f'step="1" value="{middle}" autocomplete="off" data-values="{html.escape(json.dumps(texts))}" '
        f'aria-valuetext="{html.escape(texts[middle])}"></label>'
        f'<span class="ng-value" style="min-width:{widest}ch" aria-hidden="true">{html.escape(texts[middle])}</span>'
        "</div>"
    )


# The card is white on dark pages too, so it sets all its colours and undoes what a page does to pictures and outputs.
_STYLE = f"""
.ng-explore {{ background: {plot.CARD}; color: {plot.INK}; border: 1px solid #d0d7de; border-radius: 6px;
  box-sizing: border-box; max-width: 100%; margin: 0 0 1rem; padding: .75rem; font-size: .95rem; line-height: 1.4 }}
.text_html:has(> .ng-explore) {{ background: none !important; padding: 0 !important }}
.ng-explore img {{ display: block; max-width: 100%; height: auto; margin: 0 auto; filter: none !important;
  background: none !important; padding: 0 !important }}
.ng-explore p {{ color: {plot.INK}; margin: .5rem 0 0 }}
.ng-explore .ng-controls:not([hidden]) {{ display: grid; grid-template-columns: auto 1fr auto; align-items: center;
  column-gap: .75rem }}
.ng-explore :is(.ng-controls > div, label) {{ display: contents }}
.ng-explore label span {{ color: {plot.INK}; font-weight: 600; min-width: 2rem; max-width: 9rem }}
.ng-explore input {{ width: 100%; min-width: 6rem; height: 1.75rem; margin: 0; accent-color: {plot.BLUE} }}
.ng-explore input:focus-visible {{ outline: 2px solid {plot.BLUE}; outline-offset: 2px }}
.ng-explore .ng-value {{ color: {plot.INK}; font-variant-numeric: tabular-nums }}
"""

# It serves every figure that is not set up yet, so several on a page, or the same one twice, need no names.
_SCRIPT = """
document.querySelectorAll(".ng-explore:not([data-ready])").forEach((root) => {
  root.dataset.ready = "";
  const frames = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const image = root.querySelector("img"), text = root.querySelector("p"), first = image.src;
  const sliders = [...root.querySelectorAll("input")].map((input) =>
    ({ input, values: JSON.parse(input.dataset.values), shown: input.closest("div").querySelector(".ng-value") }));
  const update = () => {
    let index = 0;
    for (const { input, values, shown } of sliders) {
      index = index * values.length + Number(input.value);
      shown.textContent = values[input.value];
      input.setAttribute("aria-valuetext", values[input.value]);
    }
    const [source, alt] = frames[index];
    image.src = source ?? first;
    image.alt = alt;
    if (text.textContent !== alt) text.textContent = alt;
  };
  for (const { input } of sliders) input.addEventListener("input", update);
  root.querySelector(".ng-controls").hidden = false;
  update();
});
"""


def _live(names: list[str], values: list[list[Value]], draw: Callable[..., _Frame]) -> object:
    """Sliders above a figure that is drawn when they ask for it and kept."""
    import ipywidgets

    frame = cache(lambda *setting: draw(*setting, kind="png").html())
    began = time.perf_counter()
    figure = ipywidgets.HTML(frame(*(choices[len(choices) // 2] for choices in values)))
    quick = time.perf_counter() - began < 0.3
    sliders = [
        ipywidgets.SelectionSlider(
            options=[(_text(choice), choice) for choice in choices],
            value=choices[len(choices) // 2],
            description=_label(name),
            continuous_update=quick,  # a slow figure is drawn when the slider is let go
            style={"description_width": "initial"},
        )
        for name, choices in zip(names, values, strict=True)
    ]

    def update(_change: object) -> None:
        figure.value = frame(*(slider.value for slider in sliders))

    for slider in sliders:
        slider.observe(update, names="value")
    return ipywidgets.VBox([*sliders, figure])
