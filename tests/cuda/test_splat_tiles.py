"""Kernels tiles_count and tiles_fill against the lists of the CPU engine."""

import torch

from nglib.splat import Mip, cpu, cuda
from tests.splat_scenes import scene, view


def test_lists_of_splats(on):
    some, camera = scene(300, seed=9), view(70, 50)
    means2d, cov2d, depths = cpu.project(some.means, some.quats, some.scales, camera)
    depths[100:110] = depths[100]
    footprint = Mip()(cov2d, some.opacities)
    splats = torch.cat([means2d, footprint.shape, footprint.peak[:, None], torch.zeros(300, 4), footprint.reach], 1)
    _, ids, starts = cpu.tiles(splats, depths, 70, 50)
    got_ids, got_starts = cuda.tiles(splats.to(on), depths.to(on), 70, 50)
    assert got_starts.tolist() == starts.tolist()
    assert got_ids.tolist() == ids.tolist()
