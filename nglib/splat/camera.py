"""Pinhole cameras: a world point p is seen at R p + t, x to the right, y down, z forward; pixel centres lie at +0.5."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    Attributes:
        rotation: R, world to camera.
        translation: t, so that a world point p has camera coordinates R p + t.
        focal: focal lengths (f_x, f_y) in pixels.
        principal: the pixel (c_x, c_y) the optical axis meets.
        width, height: of the image in pixels.
        near: what is nearer than this along z is not drawn.
    """

    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, " 3"]
    focal: tuple[float, float]
    principal: tuple[float, float]
    width: int
    height: int
    near: float = 0.2

    def __post_init__(self) -> None:
        if self.rotation.shape != (3, 3) or self.translation.shape != (3,):
            got = f"{tuple(self.rotation.shape)} and {tuple(self.translation.shape)}"
            raise ValueError(f"rotation and translation have shapes {got}; expected (3, 3) and (3,)")
        for name in ("width", "height"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; expected at least one pixel")
        if min(self.focal) <= 0 or self.near <= 0:
            raise ValueError(f"focal={self.focal}, near={self.near}; expected positive numbers")

    @staticmethod
    def look_at(
        eye: Sequence[float],
        target: Sequence[float] = (0.0, 0.0, 0.0),
        *,
        up: Sequence[float] = (0.0, 0.0, 1.0),
        fov: float = 45.0,
        width: int = 128,
        height: int = 128,
        near: float = 0.2,
    ) -> "Camera":
        """A camera at ``eye`` that looks at ``target``; ``fov`` is the horizontal field of view in degrees.

        Raises:
            ValueError: ``eye`` is ``target``, ``up`` points along the line between them, or ``fov`` is not in (0, 180).
        """
        if not 0 < fov < 180:
            raise ValueError(f"fov={fov}; expected degrees between 0 and 180")
        position, goal, above = (torch.tensor(v, dtype=torch.float64) for v in (eye, target, up))
        forward = goal - position
        right = torch.linalg.cross(forward, above)
        if right.norm() < 1e-9 * max(1.0, float(forward.norm())):
            raise ValueError(f"eye={eye}, target={target}, up={up}; expected up not to point along the line of sight")
        forward, right = forward / forward.norm(), right / right.norm()
        rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
        f = 0.5 * width / math.tan(math.radians(fov) / 2)
        return Camera(
            rotation.float(),
            -(rotation @ position).float(),
            (f, f),
            (width / 2, height / 2),
            width,
            height,
            near,
        )

    @property
    def center(self) -> Float[Tensor, " 3"]:
        """Where the camera is, in world coordinates: -R^T t."""
        return -self.rotation.T @ self.translation

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Camera":
        """The same camera with its pose on ``device`` and in ``dtype``."""
        return replace(self, rotation=self.rotation.to(device, dtype), translation=self.translation.to(device, dtype))

    def scaled(self, factor: float) -> "Camera":
        """The same view at ``factor`` times the resolution; a pixel stays the unit square.

        Raises:
            ValueError: width or height times ``factor`` is no whole number of pixels.
        """
        width, height = float(self.width * factor), float(self.height * factor)
        if not (width.is_integer() and height.is_integer()):
            raise ValueError(f"factor={factor} makes {width} x {height} pixels; expected whole numbers")
        return replace(
            self,
            focal=(self.focal[0] * factor, self.focal[1] * factor),
            principal=(self.principal[0] * factor, self.principal[1] * factor),
            width=int(width),
            height=int(height),
        )


def orbit(
    count: int,
    *,
    radius: float = 3.0,
    elevation: float | Sequence[float] = 30.0,
    target: Sequence[float] = (0.0, 0.0, 0.0),
    **options: float | int,
) -> list[Camera]:
    """``count`` cameras on a ring of ``radius`` around ``target``, evenly spaced, z up.

    Args:
        elevation: degrees above the plane of the target, one for all or one for each camera.
        options: ``fov``, ``width``, ``height`` and ``near`` of :meth:`Camera.look_at`.
    """
    elevations = [elevation] * count if isinstance(elevation, float | int) else list(elevation)
    if len(elevations) != count:
        raise ValueError(f"elevation has {len(elevations)} values; expected one, or one for each of {count} cameras")
    cameras = []
    for i, degrees in enumerate(elevations):
        around, above = 2 * math.pi * i / count, math.radians(degrees)
        offset = (math.cos(around) * math.cos(above), math.sin(around) * math.cos(above), math.sin(above))
        eye = [c + radius * o for c, o in zip(target, offset, strict=True)]
        cameras.append(Camera.look_at(eye, target, **options))  # type: ignore[arg-type]
    return cameras
