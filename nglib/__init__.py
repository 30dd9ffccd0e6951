"""The library of Noise & Gaussians. Submodules load when they are first used."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Names a chapter uses in nearly every cell, and the module each lives in.
_SHORTCUTS = {
    "chapter": "chapters",
    "cite": "chapters",
    "device": "runtime",
    "generator": "runtime",
    "pick": "runtime",
    "preset": "runtime",
    "explore": "interact",
}
_MODULES = ("claims", "data", "gaussian", "kernels", "metrics", "plot", "spectra", "splat", "train")

__all__ = sorted([*_SHORTCUTS, *_MODULES])

if TYPE_CHECKING:
    from nglib.chapters import chapter, cite
    from nglib.interact import explore
    from nglib.runtime import device, generator, pick, preset


def __getattr__(name: str) -> Any:
    if name in _SHORTCUTS:
        return getattr(_import_module(f"nglib.{_SHORTCUTS[name]}"), name)
    if name in _MODULES:
        return _import_module(f"nglib.{name}")
    raise AttributeError(f"module 'nglib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
