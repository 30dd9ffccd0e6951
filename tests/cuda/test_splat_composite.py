"""The kernels of splat_composite, through the whole engine."""

import pytest
import torch

from nglib import kernels
from nglib.splat import Dilated, render
from nglib.splat import project as twin
from nglib.splat.composite import composite
from tests.cuda import harness
from tests.splat_scenes import RESPONSES, assert_agrees, response, scene, view

# Which responses run which kernels.
KERNELS = {
    "dilated": ("forward_gaussian", "backward_gaussian"),
    "exponential": ("forward_exponential", "backward_exponential"),
    "analytic": ("forward_integral", "backward_integral"),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_engine_agrees_with_the_specification(on, name):
    assert_agrees(scene(40).to(on), view(20, 35), name, "cuda")


def test_more_splats_than_a_batch_and_pixels_that_finish(on):
    assert_agrees(scene(400, size=0.15).to(on), view(16, 17), "dilated", "cuda", tolerance=1e-4)


def test_nothing_in_sight_is_background(on):
    behind = scene(3).to(on)
    behind.means[:] = torch.tensor([8.0, 2.0, 3.0])
    background = torch.tensor([0.1, 0.2, 0.3], device=on)
    for some in (behind, scene(0).to(on)):
        shown = render(some, view(), background=background, engine="cuda")
        assert torch.equal(shown.image, background.expand(40, 40, 3))


@pytest.mark.parametrize("name", KERNELS)
def test_no_races(races, name):
    some, camera = scene(6, size=0.1).requires_grad_(), view(20, 16)
    shown = render(some, camera, response=response(name, 6, torch.float32), engine="cuda")
    (shown.image.sum() + shown.alpha.square().sum()).backward()
    expected = scene(6, size=0.1).requires_grad_()
    reference = render(expected, camera, response=response(name, 6, torch.float32), engine="torch")
    (reference.image.sum() + reference.alpha.square().sum()).backward()
    assert torch.allclose(shown.image, reference.image, atol=1e-5)
    assert torch.allclose(some.means.grad, expected.means.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_the_barrier_after_loading_a_batch_is_needed(way):
    """Without it ThreadSanitizer reports a race: the check above would see a barrier go missing."""
    text = kernels.source("splat_composite")
    before, _, after = text.partition(f"__device__ void {way}(")
    loop = after.index("for (int k = 0; k < count")
    barrier = after.rindex("__syncthreads();", 0, loop)
    planted = f"{before}__device__ void {way}({after[:barrier]}{after[barrier + len('__syncthreads();') :]}"
    some, camera = scene(6, size=0.1), view(16, 16)
    means2d, cov2d, depths, _ = twin.project(some.means, some.quats, some.scales, camera)
    footprint = Dilated()(cov2d, some.opacities)
    channels = torch.cat([some.sh[:, 0], depths[:, None]], 1)
    splats = torch.cat([means2d, footprint.shape, footprint.peak[:, None], channels, footprint.reach], 1)
    ids, starts = depths.argsort().int(), torch.tensor([0, 6], dtype=torch.int32)
    out, through = composite(means2d, footprint, channels, depths, 16, 16)
    stop = torch.full((16, 16), 2**31 - 1, dtype=torch.int32)
    rest = (out, through, stop) if way == "forward" else (through, stop, out, through, torch.zeros(6, 11))
    kernel = kernels.load("splat_composite")[f"{way}_gaussian"]
    with pytest.raises(harness.KernelError, match="data race"):
        harness.launch(kernel, (1, 1), (16, 16), splats, ids, starts, *rest, 16, 16, check="races", text=planted)
