"""Kernels project_forward and project_backward against the twin."""

import torch

from nglib import generator
from nglib.splat import cuda
from nglib.splat import project as twin
from tests.splat_scenes import scene, view


def test_projection_and_its_gradient(on):
    some = scene(300, seed=1)
    some.means[:20] = torch.tensor([2.5, 0.5, 0.9])  # around the camera: before and behind the near plane
    some.means[:40] += 0.3 * torch.randn(40, 3, generator=generator(0, "cpu"))
    inputs = [t.to(on) for t in (some.means, some.quats, some.scales)]
    double = [t.double().cpu().requires_grad_() for t in inputs]
    camera = view()
    *expected, visible = twin.project(*double, camera.to(dtype=torch.float64))
    assert 0 < (~visible).sum() < 40
    for got, reference in zip(cuda.project(*inputs, camera.to(on)), expected, strict=True):
        assert torch.allclose(got.cpu().double(), reference, rtol=1e-4, atol=1e-4)
    weights = [torch.randn(t.shape, generator=generator(3, "cpu")) for t in expected]
    references = torch.autograd.grad(sum((w * t).sum() for w, t in zip(weights, expected, strict=True)), double)
    gradients = cuda.project_backward(*inputs, camera.to(on), *(w.to(on) for w in weights))
    for got, reference in zip(gradients, references, strict=True):
        scale = reference.abs().amax(1, keepdim=True) + 1e-3 * reference.abs().max()
        assert ((got.cpu().double() - reference) / scale).abs().max() < 1e-3
