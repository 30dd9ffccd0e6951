"""Where a chapter computes, at which scale, and from which seed.

Three environment variables steer every chapter: ``NG_DEVICE`` (``cpu``, ``cuda``, ``cuda:1``, ...), ``NG_PRESET``
(``laptop`` or ``full``) and ``NG_EXPLORE`` (``live`` or ``frames``). Nothing else is global.
"""

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

PRESETS = ("laptop", "full")


def device() -> torch.device:
    """The device that ``NG_DEVICE`` names; without it the CPU at ``laptop`` and CUDA, if there is one, at ``full``.

    Raises:
        ValueError: ``NG_DEVICE`` is no device name, or names CUDA where torch finds none.
    """
    name = os.environ.get("NG_DEVICE") or ("cuda" if preset() == "full" and torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
    except RuntimeError:
        raise ValueError(f"NG_DEVICE={name!r} is no torch device; expected 'cpu', 'cuda' or 'cuda:<index>'") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"NG_DEVICE={name!r}, but torch finds no CUDA device; unset NG_DEVICE or set it to 'cpu'")
    return chosen


def preset() -> str:
    """The scale that ``NG_PRESET`` names: ``laptop`` (default, a chapter within 60 s) or ``full`` (the paper's own).

    Raises:
        ValueError: ``NG_PRESET`` is neither.
    """
    name = os.environ.get("NG_PRESET") or "laptop"
    if name not in PRESETS:
        raise ValueError(f"NG_PRESET={name!r}; expected one of {', '.join(PRESETS)}")
    return name


def pick(*, laptop: T, full: T) -> T:
    """The value for the current preset: ``n = pick(laptop=1_000, full=100_000)``."""
    return {"laptop": laptop, "full": full}[preset()]


def generator(seed: int, on: torch.device | str | None = None) -> torch.Generator:
    """A generator seeded with ``seed`` on the device ``on`` (default: :func:`device`)."""
    return torch.Generator(device=on if on is not None else device()).manual_seed(seed)


def recording() -> bool:
    """Whether this run's outputs are kept as a page: ``NG_EXPLORE=frames``. Live (default), a reader sits in front.

    Raises:
        ValueError: ``NG_EXPLORE`` is neither ``live`` nor ``frames``.
    """
    mode = os.environ.get("NG_EXPLORE") or "live"
    if mode not in ("live", "frames"):
        raise ValueError(f"NG_EXPLORE={mode!r}; expected one of live, frames")
    return mode == "frames"


def watched() -> bool:
    """Whether somebody sees a progress bar: at a terminal, or in a notebook unless the run is recorded."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return not recording() and (hasattr(shell, "kernel") or sys.stderr.isatty())


def progress(iterable: Iterable[T], description: str, total: int | None = None) -> "tqdm[T]":
    """``iterable`` with a progress bar, which appears after a second and only if it is :func:`watched`."""
    from tqdm.auto import tqdm

    return tqdm(iterable, desc=description, total=total, delay=1, leave=False, disable=not watched())
