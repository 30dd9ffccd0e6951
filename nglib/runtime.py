"""Where a chapter computes, at which scale, and from which seed.

Two environment variables steer every chapter: ``NG_DEVICE`` (``cpu``, ``cuda``, ``cuda:1``, ...) and
``NG_PRESET`` (``laptop`` or ``full``). Nothing else is global.
"""

import os
from typing import TypeVar

import torch

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
    name = os.environ.get("NG_PRESET", "laptop")
    if name not in PRESETS:
        raise ValueError(f"NG_PRESET={name!r}; expected one of {', '.join(PRESETS)}")
    return name


def pick(*, laptop: T, full: T) -> T:
    """The value for the current preset: ``n = pick(laptop=1_000, full=100_000)``."""
    return {"laptop": laptop, "full": full}[preset()]


def generator(seed: int, on: torch.device | str | None = None) -> torch.Generator:
    """A generator seeded with ``seed`` on the device ``on`` (default: :func:`device`)."""
    return torch.Generator(device=on if on is not None else device()).manual_seed(seed)
