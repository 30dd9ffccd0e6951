"""The engine ``cuda``: the kernels splat_project, splat_harmonics, splat_tiles and splat_composite, float32."""

import torch
from torch import Tensor

from nglib import kernels
from nglib.splat.camera import Camera
from nglib.splat.project import numbers
from nglib.splat.response import Formula

TILE = 16
THREADS = 256
GRADIENTS = 11

Kept = tuple[Tensor, Tensor, Tensor]


def project(means: Tensor, quats: Tensor, scales: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """project.project, without its mask."""
    n = len(means)
    written = means.new_empty(n, 2), means.new_empty(n, 3), means.new_empty(n)
    _each(n, "splat_project", "project_forward", means, quats, scales, numbers(camera), *written)
    return written


def project_backward(
    means: Tensor, quats: Tensor, scales: Tensor, camera: Camera, g_means2d: Tensor, g_cov2d: Tensor, g_depths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of means, quats and scales."""
    written = torch.empty_like(means), torch.empty_like(quats), torch.empty_like(scales)
    given = means, quats, scales, numbers(camera), g_means2d, g_cov2d, g_depths
    _each(len(means), "splat_project", "project_backward", *given, *written)
    return written


def colours(sh: Tensor, directions: Tensor) -> Tensor:
    """harmonics.colours."""
    written = torch.empty_like(directions)
    _each(len(sh), "splat_harmonics", "harmonics_forward", sh, directions, written, after=(sh.shape[1],))
    return written


def colours_backward(sh: Tensor, directions: Tensor, shown: Tensor, g_shown: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of sh and directions."""
    written = torch.empty_like(sh), torch.empty_like(directions)
    given = sh, directions, shown, g_shown
    _each(len(sh), "splat_harmonics", "harmonics_backward", *given, *written, after=(sh.shape[1],))
    return written


def composite(splats: Tensor, formula: Formula, depths: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Kept]:
    """Sort splats (13 numbers each) into tiles and composite them; what is kept serves the backward."""
    out, through = splats.new_empty(height, width, 4), splats.new_empty(height, width)
    stop = torch.empty(height, width, dtype=torch.int32, device=splats.device)
    ids, starts = tiles(splats, depths, width, height)
    forward = kernels.load("splat_composite")[f"forward_{formula}"]
    kernels.launch(forward, _grid(width, height), (TILE, TILE), splats, ids, starts, out, through, stop, width, height)
    return out, through, (ids, starts, stop)


def composite_backward(
    splats: Tensor, formula: Formula, through: Tensor, kept: Kept, g_out: Tensor, g_through: Tensor
) -> Tensor:
    """Gradients (n, 11) of the splats' mean, shape, peak and channels."""
    ids, starts, stop = kept
    height, width = through.shape
    grads = splats.new_zeros(len(splats), GRADIENTS)
    backward = kernels.load("splat_composite")[f"backward_{formula}"]
    given = splats, ids, starts, through, stop, g_out, g_through
    kernels.launch(backward, _grid(width, height), (TILE, TILE), *given, grads, width, height)
    return grads


def tiles(splats: Tensor, depths: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """The indices of the splats each tile sees, tile after tile, nearest first, with their starts.

    One sort by depth, then a stable one by tile; splats of equal depth stay in the order given.
    """
    n, (across, down) = len(splats), _grid(width, height)
    order = depths.argsort(stable=True)
    counts = torch.empty_like(order)
    _each(n, "splat_tiles", "tiles_count", splats, order, counts, after=(across, down))
    ends = counts.cumsum(0)
    total = int(ends[-1]) if n else 0
    tile = torch.empty(total, dtype=torch.int32, device=splats.device)
    ids = torch.empty_like(tile)
    _each(n, "splat_tiles", "tiles_fill", splats, order, ends, tile, ids, after=(across, down))
    # A sort's passes go with the width of its keys.
    narrow = tile.to(torch.int16) if across * down < 2**15 else tile
    narrow, by_tile = narrow.sort(stable=True)
    bounds = torch.arange(across * down + 1, device=splats.device, dtype=narrow.dtype)
    return ids[by_tile], torch.searchsorted(narrow, bounds).to(torch.int32)


def _grid(width: int, height: int) -> tuple[int, int]:
    return -(-width // TILE), -(-height // TILE)


def _each(n: int, module: str, kernel: str, *tensors: Tensor, after: tuple[int, ...] = ()) -> None:
    """Launch a thread for each of ``n``; the kernel's numbers are n and ``after``."""
    kernels.launch(kernels.load(module)[kernel], (-(-n // THREADS),), (THREADS,), *tensors, n, *after)
