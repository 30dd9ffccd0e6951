"""A small photo studio, ray-traced: photographs with exact cameras, for fitting scenes without a download.

A gravel floor, a cube with a picture on each side and a glossy brick sphere, textured with photographs that come with
scikit-image; the highlight moves with the viewer, which only harmonics above degree 0 can follow.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nglib import data
from nglib.splat.camera import Camera, orbit

FACES = ("astronaut", "chelsea", "coffee", "rocket", "retina", "immunohistochemistry")
CUBE = ((-0.4, -0.1, 0.4), 0.4)
SPHERE = ((0.55, 0.35, 0.4), 0.4)
FLOOR = 1.5
LIGHT = (0.5, -0.4, 0.77)
SHININESS = 20
TEXTURE = 128


@dataclass(frozen=True)
class Studio:
    """Photographs and where they were taken from, and points on what they show.

    Attributes:
        cameras, images: for fitting.
        test_cameras, test_images: for judging.
        points, rgb: surface points at random pixels of ``images``, displaced by noise of 0.01, and their colours.
    """

    cameras: list[Camera]
    images: list[Float[Tensor, "h w 3"]]
    test_cameras: list[Camera]
    test_images: list[Float[Tensor, "h w 3"]]
    points: Float[Tensor, "n 3"]
    rgb: Float[Tensor, "n 3"]


def studio(
    generator: torch.Generator,
    *,
    size: int = 64,
    views: int = 24,
    test_views: int = 8,
    points: int = 1000,
    supersampling: int = 4,
) -> Studio:
    """Photographs of ``size`` x ``size`` pixels from a ring of radius 3 around the studio, 20 to 50 degrees above it.

    Args:
        generator: of the points.
        supersampling: rays along each side of a pixel.
    """
    textures = torch.stack([data.image(name, TEXTURE).expand(3, -1, -1) for name in (*FACES, "gravel", "brick")])
    cameras = _ring(views, size, 0.0)
    tests = _ring(test_views, size, 0.5)
    images, where = zip(*(_photograph(c, textures, supersampling) for c in cameras), strict=True)
    test_images = [_photograph(c, textures, supersampling)[0] for c in tests]
    seen, colour = torch.cat([w.view(-1, 3) for w in where]), torch.cat([i.view(-1, 3) for i in images])
    hit = seen.isfinite().all(1).nonzero()[:, 0]
    chosen = hit[torch.randint(len(hit), (points,), generator=generator, device=generator.device).cpu()]
    noise = 0.01 * torch.randn(points, 3, generator=generator, device=generator.device).cpu()
    return Studio(cameras, list(images), tests, test_images, seen[chosen] + noise, colour[chosen])


def _ring(count: int, size: int, shift: float) -> list[Camera]:
    elevations = [20 + 30 * (((i + shift) * 0.618) % 1) for i in range(count)]
    every = orbit(
        2 * count, elevation=[e for e in elevations for _ in (0, 1)], target=(0, 0, 0.2), width=size, height=size
    )
    return every[1::2] if shift else every[::2]


def _photograph(camera: Camera, textures: Tensor, supersampling: int) -> tuple[Tensor, Tensor]:
    """The image, and the surface point at the centre of each pixel (nan where there is none)."""
    k, h, w = supersampling, camera.height, camera.width
    y, x = torch.meshgrid(*((torch.arange(s * k) + 0.5) / k for s in (h, w)), indexing="ij")
    image = _trace(camera, x, y, textures)[0].view(h, k, w, k, 3).mean((1, 3))
    y, x = torch.meshgrid(*(torch.arange(s) + 0.5 for s in (h, w)), indexing="ij")
    return image, _trace(camera, x, y, textures)[1]


def _trace(camera: Camera, x: Tensor, y: Tensor, textures: Tensor) -> tuple[Tensor, Tensor]:
    """Colour and surface point of the rays through the image points (x, y)."""
    (fx, fy), (cx, cy) = camera.focal, camera.principal
    local = torch.stack([(x - cx) / fx, (y - cy) / fy, torch.ones_like(x)], -1)
    ray = torch.nn.functional.normalize(local @ camera.rotation, dim=-1)
    origin = camera.center
    distances = torch.stack([_to_floor(origin, ray), _to_cube(origin, ray), _to_sphere(origin, ray)])
    distance, what = distances.min(0)
    point = origin + distance[..., None] * ray
    floor, cube, sphere = (
        _lookup(textures, torch.full_like(what, 6), point[..., :2] / FLOOR),
        _paint_cube(point, textures),
        _paint_sphere(point, ray, textures),
    )
    colour = torch.where((what == 0)[..., None], floor, torch.where((what == 1)[..., None], cube, sphere))
    hit = distance.isfinite()[..., None]
    return torch.where(hit, colour, 0.0), torch.where(hit, point, torch.nan)


def _to_floor(origin: Tensor, ray: Tensor) -> Tensor:
    distance = -origin[2] / ray[..., 2]
    point = origin + distance[..., None] * ray
    return torch.where((distance > 0) & (point[..., :2].abs() < FLOOR).all(-1), distance, torch.inf)


def _to_cube(origin: Tensor, ray: Tensor) -> Tensor:
    center, half = torch.tensor(CUBE[0]), CUBE[1]
    near, far = (center - half - origin) / ray, (center + half - origin) / ray
    enter, leave = torch.minimum(near, far).amax(-1), torch.maximum(near, far).amin(-1)
    return torch.where((enter < leave) & (enter > 0), enter, torch.inf)


def _to_sphere(origin: Tensor, ray: Tensor) -> Tensor:
    away, radius = origin - torch.tensor(SPHERE[0]), SPHERE[1]
    along = ray @ away
    under = along**2 - away @ away + radius**2
    distance = -along - under.clamp_min(0).sqrt()
    return torch.where((under > 0) & (distance > 0), distance, torch.inf)


def _paint_cube(point: Tensor, textures: Tensor) -> Tensor:
    local = (point - torch.tensor(CUBE[0])) / CUBE[1]
    axis = local.abs().nan_to_num().argmax(-1)
    side = 2 * axis + (local.gather(-1, axis[..., None])[..., 0] > 0)
    # Upright pictures: across is the next horizontal axis, up is z except on the lid and the bottom.
    across = torch.where(axis == 0, local[..., 1], local[..., 0])
    up = torch.where(axis == 2, local[..., 1], local[..., 2])
    return _lookup(textures, side, torch.stack([across, -up], -1))


def _paint_sphere(point: Tensor, ray: Tensor, textures: Tensor) -> Tensor:
    normal = (point - torch.tensor(SPHERE[0])) / SPHERE[1]
    angles = torch.stack([torch.atan2(normal[..., 1], normal[..., 0]), normal[..., 2].clamp(-1, 1).acos() * 2], -1)
    base = _lookup(textures, torch.full(ray.shape[:-1], 7), angles / torch.pi - torch.tensor([0.0, 1.0]))
    light = torch.nn.functional.normalize(torch.tensor(LIGHT), dim=0)
    mirrored = ray - 2 * (ray * normal).sum(-1, keepdim=True) * normal
    highlight = (mirrored @ light).clamp(0, 1)[..., None] ** SHININESS
    return (base + 0.7 * highlight).clamp(0, 1)


def _lookup(textures: Float[Tensor, "t 3 s s"], which: Int[Tensor, "h w"], at: Float[Tensor, "h w 2"]) -> Tensor:
    """Colours of the textures ``which`` at places in [-1, 1]^2, x to the right and y down; the nearest texel."""
    i = ((at.nan_to_num() + 1) / 2 * TEXTURE).long().clamp(0, TEXTURE - 1)
    return textures[which, :, i[..., 1], i[..., 0]]
