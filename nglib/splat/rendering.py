"""One function for an image of Gaussians, and the three engines behind it.

``torch`` is the specification, in any precision and slow; ``numba`` is compiled for the CPU, ``cuda`` for a GPU, both
float32. The stages are the same: project, respond, sort into tiles, composite.
"""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from nglib.splat import composite as twin
from nglib.splat import harmonics
from nglib.splat import project as twin_projection
from nglib.splat.camera import Camera
from nglib.splat.gaussians import Gaussians
from nglib.splat.response import Dilated, Footprint, Response

Engine = Literal["torch", "numba", "cuda"]
_COMPILED = {"numba": "nglib.splat.cpu", "cuda": "nglib.splat.cuda"}


@dataclass(frozen=True)
class Rendering:
    """What a camera sees.

    Attributes:
        image: colour, background included.
        alpha: opacity of what stands in front of the background, 1 - T.
        depth: sum_i w_i z_i; divide by ``alpha`` for the expected depth.
        means2d: where each Gaussian lies in the image, in pixels; after ``backward()`` its ``.grad`` is there if any
            parameter requires one, for density control.
        reach: half the width and height of the box it is drawn in, 0 if it is not.
    """

    image: Float[Tensor, "h w 3"]
    alpha: Float[Tensor, "h w"]
    depth: Float[Tensor, "h w"]
    means2d: Float[Tensor, "n 2"]
    reach: Float[Tensor, "n 2"]

    @property
    def visible(self) -> Bool[Tensor, " n"]:
        """Which Gaussians may have touched a pixel of the image."""
        high = self.means2d.detach() + self.reach
        low = self.means2d.detach() - self.reach
        height, width = self.alpha.shape
        size = high.new_tensor([width, height])
        return ((self.reach > 0) & (high > 0) & (low < size)).all(1)


def render(
    gaussians: Gaussians,
    camera: Camera,
    *,
    background: Float[Tensor, " 3"] | None = None,
    response: Response | None = None,
    engine: Engine | None = None,
) -> Rendering:
    """The image of ``gaussians`` (Kerbl et al. 2023), differentiable in their parameters and the background.

    Args:
        gaussians: the scene.
        camera: the view; moved to the scene's device.
        background: colour behind everything; black by default.
        response: how a splat covers a pixel; 3DGS's :class:`~nglib.splat.response.Dilated` by default.
        engine: by default ``cuda`` for tensors there, ``numba`` for float32 on the CPU, ``torch`` for the rest.

    Raises:
        ValueError: see :func:`rasterize`.
    """
    camera = camera.to(gaussians.means.device, gaussians.means.dtype)
    directions = gaussians.means - camera.center
    chosen = _engine(gaussians.means, engine)
    sh = gaussians.sh
    shown = harmonics.colours(sh, directions) if chosen is None else _Colours.apply(chosen, sh, directions)
    return rasterize(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        shown,
        camera,
        background=background,
        response=response,
        engine=engine,
    )


def rasterize(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, " n"],
    colours: Float[Tensor, "n 3"],
    camera: Camera,
    *,
    background: Float[Tensor, " 3"] | None = None,
    response: Response | None = None,
    engine: Engine | None = None,
) -> Rendering:
    """:func:`render` for Gaussians whose scales, opacities and colours the caller has computed.

    Raises:
        ValueError: tensors differ in device, dtype or length, or ``engine`` cannot take them.
    """
    _check(means, quats=quats, scales=scales, opacities=opacities, colours=colours)
    chosen = _engine(means, engine)
    camera = camera.to(means.device, means.dtype)
    if background is None:
        background = means.new_zeros(3)
    elif background.shape != (3,):
        raise ValueError(f"background has shape {tuple(background.shape)}; expected (3,)")
    if chosen is None:
        means2d, cov2d, depths, visible = twin_projection.project(means, quats, scales, camera)
    else:
        means2d, cov2d, depths, visible = _Project.apply(chosen, means, quats, scales, camera)
    if means2d.requires_grad:
        means2d.retain_grad()
    footprint = (response or Dilated())(cov2d, torch.where(visible, opacities, 0.0))
    channels = torch.cat([colours, depths[:, None]], 1)
    if chosen is None:
        out, through = twin.composite(means2d, footprint, channels, depths, camera.width, camera.height)
    else:
        out, through = _Composite.apply(
            chosen, means2d, footprint.shape, footprint.peak, channels, footprint, depths.detach(), camera
        )
    image = out[..., :3] + through[..., None] * background
    return Rendering(image, 1 - through, out[..., 3], means2d, footprint.reach)


def _check(means: Tensor, **others: Tensor) -> None:
    n = len(means)
    shapes = {"quats": (n, 4), "scales": (n, 3), "opacities": (n,), "colours": (n, 3)}
    if means.dim() != 2 or means.shape[1] != 3:
        raise ValueError(f"means has shape {tuple(means.shape)}; expected (n, 3)")
    for name, tensor in others.items():
        if tensor.shape != shapes[name]:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {shapes[name]}")
        if tensor.device != means.device or tensor.dtype != means.dtype:
            got, expected = f"{tensor.dtype} on {tensor.device}", f"{means.dtype} on {means.device}"
            raise ValueError(f"{name} is {got}; expected {expected}, as means is")


def _engine(means: Tensor, name: Engine | None) -> ModuleType | None:
    if name is None:
        if means.dtype != torch.float32:
            return None
        name = "cuda" if means.is_cuda else "numba"
    if name == "torch":
        return None
    if name not in _COMPILED:
        raise ValueError(f"engine={name!r}; expected 'torch', 'numba' or 'cuda'")
    if means.dtype != torch.float32:
        raise ValueError(f"engine={name!r} got {means.dtype}; expected torch.float32, or engine='torch'")
    return import_module(_COMPILED[name])


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, engine: ModuleType, means: Tensor, quats: Tensor, scales: Tensor, camera: Camera) -> Any:
        means, quats, scales = means.contiguous(), quats.contiguous(), scales.contiguous()
        means2d, cov2d, depths = engine.project(means, quats, scales, camera)
        visible = depths > camera.near
        ctx.engine, ctx.camera = engine, camera
        ctx.save_for_backward(means, quats, scales)
        ctx.mark_non_differentiable(visible)
        return means2d, cov2d, depths, visible

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_means2d: Tensor, g_cov2d: Tensor, g_depths: Tensor, _: Tensor) -> Any:
        grads = (g.contiguous() for g in (g_means2d, g_cov2d, g_depths))
        return None, *ctx.engine.project_backward(*ctx.saved_tensors, ctx.camera, *grads), None


class _Colours(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, engine: ModuleType, sh: Tensor, directions: Tensor) -> Tensor:
        sh, directions = sh.contiguous(), directions.contiguous()
        shown = engine.colours(sh, directions)
        ctx.engine = engine
        ctx.save_for_backward(sh, directions, shown)
        return shown

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_shown: Tensor) -> Any:
        return None, *ctx.engine.colours_backward(*ctx.saved_tensors, g_shown.contiguous())


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        engine: ModuleType,
        means2d: Tensor,
        shape: Tensor,
        peak: Tensor,
        channels: Tensor,
        footprint: Footprint,
        depths: Tensor,
        camera: Camera,
    ) -> Any:
        splats = torch.cat([means2d, shape, peak[:, None], channels, footprint.reach], 1).contiguous()
        out, through, kept = engine.composite(splats, footprint.formula, depths, camera.width, camera.height)
        ctx.engine, ctx.formula, ctx.kept = engine, footprint.formula, kept
        ctx.save_for_backward(splats, through)
        return out, through

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: Tensor, g_through: Tensor) -> Any:
        splats, through = ctx.saved_tensors
        grads = ctx.engine.composite_backward(
            splats, ctx.formula, through, ctx.kept, g_out.contiguous(), g_through.contiguous()
        )
        g_means2d, g_shape, g_peak, g_channels = grads.split([2, 4, 1, 4], 1)
        return None, g_means2d, g_shape, g_peak[:, 0], g_channels, None, None, None
