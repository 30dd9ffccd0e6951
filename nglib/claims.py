"""The ledger: what a paper claims, the bar, what was measured, and the verdict.

A chapter displays its claims with :func:`table`. The output carries them as data too (:data:`MIME`), and the book's
ledger page is generated from the stored outputs of all notebooks.
"""

import operator
import platform
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from nglib.runtime import device, preset

MIME = "application/vnd.nglib.claims+json"

Verdict = Literal["reproduced", "better", "not reproduced", "not run at this scale"]

_COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, put to the test.

    Args:
        name: a short identifier, unique in the chapter.
        says: what the paper says, in one sentence.
        where: where it says so (section, table, equation).
        quantity: what is measured, with its unit.
        bar: comparison and value to be met, e.g. ``("<=", 0.9)``.
        measured: one value per seed, or a single value; ``None`` if the preset at hand does not measure it. Each of
            them must pass the bar.
        paper: the paper's own value of ``quantity``, where it gives one. A measurement that passes the bar and lies
            beyond this value on the bar's good side is ``better``.
        preset: the preset of the measurement; that of this run unless given.
        hardware: what it ran on; this machine unless given.

    Raises:
        ValueError: the bar's comparison is unknown, or ``measured`` is empty or no row of numbers.
    """

    name: str
    says: str
    where: str
    quantity: str
    bar: tuple[str, float]
    measured: float | tuple[float, ...] | None
    paper: float | None = None
    preset: str = field(default_factory=preset)
    hardware: str = field(default_factory=lambda: _hardware())

    def __post_init__(self) -> None:
        if self.bar[0] not in _COMPARE:
            raise ValueError(
                f"bar of claim {self.name!r} is {self.bar!r}; expected one of {', '.join(_COMPARE)} and a number"
            )
        if self.measured is not None:
            values = np.atleast_1d(np.asarray(self.measured, dtype=float))
            if values.ndim != 1 or not values.size:
                raise ValueError(
                    f"measured of claim {self.name!r} is {self.measured!r}; expected a number, one per seed, or None"
                )
            object.__setattr__(self, "measured", tuple(values.tolist()))

    @property
    def verdict(self) -> Verdict:
        if self.measured is None:
            return "not run at this scale"
        assert isinstance(self.measured, tuple)
        passes = _COMPARE[self.bar[0]]
        if not all(passes(value, self.bar[1]) for value in self.measured):
            return "not reproduced"
        if self.paper is not None and all(passes(value, self.paper) and value != self.paper for value in self.measured):
            return "better"
        return "reproduced"

    def record(self) -> dict[str, Any]:
        """The claim as JSON-ready data, verdict included."""
        return asdict(self) | {"verdict": self.verdict}


def table(*claims: Claim) -> None:
    """Display claims as a table that the ledger page can read.

    Raises:
        ValueError: no claim is given, or two share a name.
    """
    from IPython.display import display

    if not claims:
        raise ValueError("table() got no claims; expected at least one")
    if len({claim.name for claim in claims}) < len(claims):
        raise ValueError(f"claim names must differ; got {[claim.name for claim in claims]}")
    markdown = as_markdown([claim.record() for claim in claims])
    display({"text/markdown": markdown, "text/plain": markdown, MIME: [claim.record() for claim in claims]}, raw=True)


def as_markdown(records: list[dict[str, Any]]) -> str:
    """Claim records as a Markdown table."""
    from tabulate import tabulate

    rows = [
        (r["says"], r["where"], r["quantity"], f"{r['bar'][0]} {r['bar'][1]:g}", _measured(r["measured"]), r["verdict"])
        for r in records
    ]
    headers = ("The paper says", "Where", "Quantity", "Bar", "Measured", "Verdict")
    return tabulate(rows, headers=headers, tablefmt="github")


def _measured(values: tuple[float, ...] | list[float] | None) -> str:
    if values is None:
        return "–"
    return ", ".join(f"{value:.3g}" for value in values)


def _hardware() -> str:
    chosen = device()
    if chosen.type == "cuda":
        import torch

        return torch.cuda.get_device_name(chosen)
    return f"CPU, {platform.machine()}"
