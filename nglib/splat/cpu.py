"""The engine ``numba``: compiled for the CPU, on as many threads as torch is set to use."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from nglib.splat import cpu_composite, cpu_harmonics, cpu_project
from nglib.splat.camera import Camera
from nglib.splat.cpu_composite import GRADIENTS, TILE, Array
from nglib.splat.project import numbers
from nglib.splat.response import FORMULAS, Formula

Kept = tuple[Array, Array, Array]


def project(means: Tensor, quats: Tensor, scales: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """project.project, without its mask."""
    n = len(means)
    means2d, cov2d, depths = means.new_empty(n, 2), means.new_empty(n, 3), means.new_empty(n)
    arrays = _arrays(means, quats, scales, numbers(camera), means2d, cov2d, depths)
    _in_threads(cpu_project.forward, _even(n), *arrays)
    return means2d, cov2d, depths


def project_backward(
    means: Tensor, quats: Tensor, scales: Tensor, camera: Camera, g_means2d: Tensor, g_cov2d: Tensor, g_depths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of means, quats and scales."""
    written = torch.empty_like(means), torch.empty_like(quats), torch.empty_like(scales)
    arrays = _arrays(means, quats, scales, numbers(camera), g_means2d, g_cov2d, g_depths, *written)
    _in_threads(cpu_project.backward, _even(len(means)), *arrays)
    return written


def colours(sh: Tensor, directions: Tensor) -> Tensor:
    """harmonics.colours."""
    written = torch.empty_like(directions)
    _in_threads(cpu_harmonics.forward, _even(len(sh)), *_arrays(sh, directions, written))
    return written


def colours_backward(sh: Tensor, directions: Tensor, shown: Tensor, g_shown: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of sh and directions."""
    written = torch.empty_like(sh), torch.empty_like(directions)
    arrays = _arrays(sh, directions, shown, g_shown, *written)
    _in_threads(cpu_harmonics.backward, _even(len(sh)), *arrays)
    return written


def composite(splats: Tensor, formula: Formula, depths: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Kept]:
    """Sort splats (see cpu_composite) into tiles and composite them; what is kept serves the backward."""
    out, through = splats.new_empty(height, width, 4), splats.new_empty(height, width)
    stop = np.empty((height, width), np.int32)
    table, ids, starts = tiles(splats, depths, width, height)
    bounds = _by_work(starts)
    code = FORMULAS.index(formula)
    _in_threads(
        cpu_composite.forward, bounds, table, ids, starts, code, width, height, out.numpy(), through.numpy(), stop
    )
    return out, through, (ids, starts, stop)


def composite_backward(
    splats: Tensor, formula: Formula, through: Tensor, kept: Kept, g_out: Tensor, g_through: Tensor
) -> Tensor:
    """Gradients (n, 11) of the splats' mean, shape, peak and channels."""
    ids, starts, stop = kept
    height, width = through.shape
    bounds = _by_work(starts)
    # A splat lies in several tiles: each thread has a sum of its own, which also fixes the order of additions.
    grads = np.zeros((len(bounds) - 1, len(splats), GRADIENTS), np.float32)
    shared = (*_arrays(splats), ids, starts, FORMULAS.index(formula), width, height)
    shared += (*_arrays(through), stop, *_arrays(g_out, g_through))
    _run([(cpu_composite.backward, (*b, *shared, g)) for b, g in zip(_pairs(bounds), grads, strict=True)])
    return torch.from_numpy(grads[0] if len(grads) == 1 else grads.sum(0))


def tiles(splats: Tensor, depths: Tensor, width: int, height: int) -> tuple[Array, Array, Array]:
    """The splats as an array, and the indices of those each tile sees, nearest first, with where each tile starts.

    Splats of equal depth stay in the order given.
    """
    (table,) = _arrays(splats)
    across, down = -(-width // TILE), -(-height // TILE)
    ranges = np.empty((len(table), 4), np.int32)
    starts = np.zeros(across * down + 1, np.int32)
    _count(table, across, down, ranges, starts)
    np.cumsum(starts, out=starts)
    ids = np.empty(starts[-1], np.int32)
    _fill(ranges, _near_to_far(depths.numpy()), across, starts[:-1].copy(), ids)
    return table, ids, starts


def _near_to_far(depths: Array) -> Array:
    """Indices in order of depth, equal ones as given: one sort of the depths' bits with the index below them.

    The bits of positive floats are in their order; negative depths, in front of which nothing is drawn, come last.
    """
    keys = depths.view(np.uint32).astype(np.uint64) << np.uint64(32) | np.arange(len(depths), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int32)


@njit(inline="always")
def _tile_range(splat, axis, count):  # type: ignore[no-untyped-def]
    """The tiles from the first to before the last whose pixel centres the splat's box may hold along an axis."""
    reach = splat[11 + axis]
    low, high = (splat[axis] - reach) / np.float32(TILE), (splat[axis] + reach) / np.float32(TILE)
    if not (reach > 0 and high > 0 and low < count):
        return 0, 0
    return max(int(np.floor(low)), 0), min(int(np.floor(high)) + 1, count)


@njit(cache=True, nogil=True)
def _count(splats, across, down, ranges, counts):  # type: ignore[no-untyped-def]
    for i in range(len(splats)):
        x0, x1 = _tile_range(splats[i], 0, across)
        y0, y1 = _tile_range(splats[i], 1, down)
        ranges[i] = x0, x1, y0, y1
        for y in range(y0, y1):
            for x in range(x0, x1):
                counts[y * across + x + 1] += 1


@njit(cache=True, nogil=True)
def _fill(ranges, order, across, place, ids):  # type: ignore[no-untyped-def]
    for i in order:
        x0, x1, y0, y1 = ranges[i]
        for y in range(y0, y1):
            for x in range(x0, x1):
                tile = y * across + x
                ids[place[tile]] = i
                place[tile] += 1


def _arrays(*tensors: Tensor) -> tuple[Array, ...]:
    return tuple(t.detach().contiguous().numpy() for t in tensors)


def _even(count: int) -> Array:
    threads = max(1, min(torch.get_num_threads(), count // 4096))
    return np.linspace(0, count, threads + 1).astype(np.int64)


def _by_work(starts: Array) -> Array:
    """Bounds between tiles that give every thread about as many pairs of tile and splat."""
    threads = min(torch.get_num_threads(), 1 + int(starts[-1]) // 20_000)
    goals = np.linspace(0, starts[-1], threads + 1)[1:-1]
    return np.concatenate([[0], np.searchsorted(starts[1:], goals), [len(starts) - 1]])


def _pairs(bounds: Array) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in zip(bounds, bounds[1:], strict=False)]


def _in_threads(kernel: Callable[..., None], bounds: Array, *args: Any) -> None:
    _run([(kernel, (*pair, *args)) for pair in _pairs(bounds)])


def _run(calls: list[tuple[Callable[..., None], tuple[Any, ...]]]) -> None:
    if len(calls) == 1:
        calls[0][0](*calls[0][1])
        return
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(kernel, *args) for kernel, args in calls]:
            done.result()
