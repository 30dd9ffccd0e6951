"""3D Gaussian splatting: cameras, scenes, and a renderer whose pixel response is a parameter.

:func:`render` draws :class:`Gaussians` from a :class:`Camera`; derived in the chapter splatting/foundations.
"""

from nglib.splat import ply
from nglib.splat.camera import Camera, orbit
from nglib.splat.density import Density, reindex
from nglib.splat.fitting import Fitted, Rates, fit
from nglib.splat.gaussians import Gaussians
from nglib.splat.rendering import Rendering, rasterize, render
from nglib.splat.response import Analytic, Dilated, Exponential, Footprint, Mip, Point, Response

__all__ = [
    "Analytic",
    "Camera",
    "Density",
    "Dilated",
    "Exponential",
    "Fitted",
    "Footprint",
    "Gaussians",
    "Mip",
    "Point",
    "Rates",
    "Rendering",
    "Response",
    "fit",
    "orbit",
    "ply",
    "rasterize",
    "reindex",
    "render",
]
