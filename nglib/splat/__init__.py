"""3D Gaussian splatting: cameras, scenes, and a renderer whose pixel response is a parameter.

:func:`render` draws :class:`Gaussians` from a :class:`Camera`; derived in the chapter splatting/foundations.
"""

from nglib.splat.camera import Camera, orbit
from nglib.splat.gaussians import Gaussians
from nglib.splat.render import Rendering, rasterize, render
from nglib.splat.response import Analytic, Dilated, Exponential, Footprint, Mip, Point, Response

__all__ = [
    "Analytic",
    "Camera",
    "Dilated",
    "Exponential",
    "Footprint",
    "Gaussians",
    "Mip",
    "Point",
    "Rendering",
    "Response",
    "orbit",
    "rasterize",
    "render",
]
