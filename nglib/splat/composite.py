"""Front-to-back compositing as plain torch: what the compiled versions are held to.

C = sum_i c_i alpha_i T_i with T_i = prod_{j<i} (1 - alpha_j) over the splats of a pixel in order of depth
(Kerbl et al. 2023, Eq. 3). A splat with alpha < 1/255 is skipped; a pixel is finished, without it, by the splat
that would bring T below 1e-4. Where alpha is clamped at 0.99 its gradient is 0, unlike in the released 3DGS.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from nglib.splat.response import ALPHA_MAX, ALPHA_MIN, Footprint, value

T_MIN = 1e-4
CHUNK = 1 << 21
"""Pixel-splat pairs held in memory at a time."""


def composite_pixels(
    pixels: Float[Tensor, "p 2"],
    means2d: Float[Tensor, "n 2"],
    footprint: Footprint,
    channels: Float[Tensor, "n c"],
) -> tuple[Float[Tensor, "p c"], Float[Tensor, " p"]]:
    """Composite splats that are in order of depth at the given points; all of every splat is looked at.

    Returns:
        The sums sum_i w_i c_i, and the transmittance left behind the last splat.
    """
    d = pixels[:, None] - means2d
    alpha = footprint.peak * value(footprint.formula, d, footprint.shape.expand(len(pixels), -1, -1))
    alpha = torch.where(alpha < ALPHA_MIN, 0.0, alpha.clamp_max(ALPHA_MAX))
    through = (1 - alpha).cumprod(1)
    alpha = torch.where(through < T_MIN, 0.0, alpha)
    through = (1 - alpha).cumprod(1)
    before = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], 1)
    final = through[:, -1] if len(means2d) else pixels.new_ones(len(pixels))
    return (alpha * before) @ channels, final


def composite(
    means2d: Float[Tensor, "n 2"],
    footprint: Footprint,
    channels: Float[Tensor, "n c"],
    depths: Float[Tensor, " n"],
    width: int,
    height: int,
) -> tuple[Float[Tensor, "h w c"], Float[Tensor, "h w"]]:
    """Composite splats at every pixel of an image, nearest first; splats of equal depth in the order given."""
    seen = (footprint.reach > 0).all(-1).nonzero()[:, 0]
    order = seen[depths.detach()[seen].argsort(stable=True)]
    sorted_print = Footprint(footprint.formula, footprint.shape[order], footprint.peak[order], footprint.reach[order])
    y, x = torch.meshgrid(*(torch.arange(s, device=means2d.device) + 0.5 for s in (height, width)), indexing="ij")
    pixels = torch.stack([x, y], -1).view(-1, 2).to(means2d.dtype)
    parts = [
        composite_pixels(chunk, means2d[order], sorted_print, channels[order])
        for chunk in pixels.split(max(1, CHUNK // max(1, len(order))))
    ]
    image, final = (torch.cat(p) for p in zip(*parts, strict=True))
    return image.view(height, width, -1), final.view(height, width)
