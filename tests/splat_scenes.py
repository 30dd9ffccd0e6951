"""Scenes and comparisons that the tests of the renderer share."""

from types import ModuleType

import torch
from torch import Tensor

from nglib import generator
from nglib.splat import (
    Analytic,
    Camera,
    Dilated,
    Exponential,
    Gaussians,
    Mip,
    Point,
    Rendering,
    Response,
    harmonics,
    render,
)
from nglib.splat.composite import T_MIN
from nglib.splat.rendering import Engine
from nglib.splat.response import ALPHA_MAX, ALPHA_MIN, value

RESPONSES = ["point", "dilated", "mip", "exponential", "analytic"]


def scene(n: int, seed: int = 0, *, degree: int = 1, size: float = 0.05) -> Gaussians:
    """Random Gaussians around the origin."""
    g = generator(seed, "cpu")
    return Gaussians(
        torch.randn(n, 3, generator=g) * 0.5,
        torch.randn(n, 3, generator=g) * 0.5 + torch.tensor(size).log(),
        torch.randn(n, 4, generator=g),
        torch.randn(n, generator=g),
        torch.randn(n, (degree + 1) ** 2, 3, generator=g) * 0.5,
    )


def view(width: int = 40, height: int = 40) -> Camera:
    """A camera that sees :func:`scene` from 3 away."""
    return Camera.look_at((2.7, 0.6, 1.0), width=width, height=height)


def response(name: str, n: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> Response:
    """The response of that name; ``exponential`` has random shapes that collect gradient."""
    if name == "exponential":
        beta = (1 + 4 * torch.rand(n, generator=generator(5, "cpu"))).to(device, dtype)
        return Exponential(beta.requires_grad_())
    return {"point": Point(), "dilated": Dilated(), "mip": Mip(), "analytic": Analytic()}[name]


def specification(gaussians: Gaussians, camera: Camera, name: str) -> tuple[Tensor, Rendering, dict[str, Tensor]]:
    """Where no decision is close, the twin's rendering in double precision, and the gradients of :func:`loss` there."""
    double = gaussians.to("cpu", torch.float64).detach().requires_grad_()
    chosen = response(name, len(double), torch.float64)
    away = undisputed(double, camera, chosen)
    rendering, gradients = differentiate(double, camera, chosen, away, "torch")
    return away, rendering, gradients


def differentiate(
    gaussians: Gaussians, camera: Camera, chosen: Response, away: Tensor, engine: Engine
) -> tuple[Rendering, dict[str, Tensor]]:
    """A rendering, and the gradients of a loss that weighs image, alpha and depth at the pixels ``away``."""
    dtype, device = gaussians.means.dtype, gaussians.means.device
    background = torch.tensor([0.2, 0.5, 0.8], dtype=dtype, device=device, requires_grad=True)
    rendering = render(gaussians, camera, background=background, response=chosen, engine=engine)
    g = generator(7, "cpu")
    weights = [torch.randn(*away.shape, k, generator=g).to(device, dtype) for k in (3, 1, 1)]
    outputs = rendering.image, rendering.alpha[..., None], rendering.depth[..., None]
    keep = away.to(device)[..., None]
    sum((w * x * keep).sum() for w, x in zip(weights, outputs, strict=True)).backward()
    gradients = {name: tensor.grad for name, tensor in gaussians} | {"background": background.grad}
    gradients["means2d"] = rendering.means2d.grad
    if isinstance(chosen, Exponential):
        gradients["beta"] = chosen.beta.grad
    return rendering, gradients


def assert_colours_agree(engine: ModuleType, degree: int, device: torch.device | str = "cpu") -> None:
    """The engine's harmonics and their gradients against the twin's in double precision."""
    g = generator(degree, "cpu")
    sh, directions = torch.randn(50, (degree + 1) ** 2, 3, generator=g), torch.randn(50, 3, generator=g)
    weights = torch.randn(50, 3, generator=g)
    double = [t.double().requires_grad_() for t in (sh, directions)]
    expected = harmonics.colours(*double)
    assert 0 < (expected == 0).sum() < 75
    gradients = torch.autograd.grad((expected * weights).sum(), double, materialize_grads=True)
    single = [t.to(device) for t in (sh, directions)]
    shown = engine.colours(*single)
    assert torch.allclose(shown.cpu().double(), expected, atol=1e-5)
    for got, reference in zip(engine.colours_backward(*single, shown, weights.to(device)), gradients, strict=True):
        assert torch.allclose(got.cpu().double(), reference, rtol=1e-4, atol=1e-4)


def undisputed(gaussians: Gaussians, camera: Camera, chosen: Response) -> Tensor:
    """Pixels at which no splat is within float32's reach of being skipped, clamped or the last."""
    from nglib.splat.project import project

    means2d, cov2d, depths, visible = project(
        gaussians.means, gaussians.quats, gaussians.scales, camera.to(dtype=torch.float64)
    )
    footprint = chosen(cov2d, torch.where(visible, gaussians.opacities, 0.0))
    y, x = torch.meshgrid(*(torch.arange(s) + 0.5 for s in (camera.height, camera.width)), indexing="ij")
    d = torch.stack([x, y], -1)[..., None, :] - means2d
    raw = footprint.peak * value(footprint.formula, d, footprint.shape.expand(*d.shape[:-1], 4))
    raw = raw[..., depths.argsort()].detach()
    alpha = torch.where(raw < ALPHA_MIN, 0.0, raw.clamp_max(ALPHA_MAX))
    through = (1 - alpha).cumprod(-1)
    close = (
        ((raw / ALPHA_MIN - 1).abs() < 1e-3) | ((raw - ALPHA_MAX).abs() < 1e-4) | ((through / T_MIN - 1).abs() < 1e-3)
    )
    return ~close.any(-1)


def assert_agrees(gaussians: Gaussians, camera: Camera, name: str, engine: Engine, *, tolerance: float = 3e-5) -> None:
    """A compiled engine against the specification: tight where no decision is close, bounded where one is."""
    away, expected, expected_gradients = specification(gaussians, camera, name)
    assert away.float().mean() > 0.3
    single = gaussians.detach().to(dtype=torch.float32).requires_grad_()
    chosen = response(name, len(single), torch.float32, single.means.device)
    rendering, gradients = differentiate(single, camera, chosen, away, engine)
    for field in ("image", "alpha", "depth"):
        difference = (getattr(rendering, field).cpu().double() - getattr(expected, field)).abs().detach()
        assert difference[away].max() < tolerance, field
        # One splat more or less at the cut moves a pixel by at most 1/255 of its colour or depth.
        assert difference.max() < 3 * ALPHA_MIN * 5, field
    for field, gradient in gradients.items():
        reference = expected_gradients[field]
        error = (gradient.cpu().double() - reference).abs().max() / reference.abs().max()
        assert error < tolerance, f"gradient of {field}: {error}"
