"""Fit Gaussians to photographs (Kerbl et al. 2023, Sec. 5; rates and schedule of the released code)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from nglib.runtime import progress
from nglib.splat.camera import Camera
from nglib.splat.density import Controller, Density
from nglib.splat.gaussians import Gaussians
from nglib.splat.loss import photometric
from nglib.splat.rendering import Engine, render
from nglib.splat.response import Response


@dataclass(frozen=True)
class Rates:
    """Learning rates of Adam. That of the means falls log-linearly and is in units of the scene's extent."""

    means: float = 1.6e-4
    means_end: float = 1.6e-6
    log_scales: float = 5e-3
    quats: float = 1e-3
    logits: float = 5e-2
    sh: float = 2.5e-3
    sh_higher: float = 1.25e-4

    def times(self, factor: float) -> "Rates":
        """All of them larger by ``factor``; short runs gain from 3."""
        return replace(self, **{name: value * factor for name, value in vars(self).items()})


@dataclass(frozen=True)
class Fitted:
    """What a fit reached.

    Attributes:
        gaussians: the scene, without gradient.
        losses: one a step.
        counts: the number of Gaussians at each step.
        complete: false if the run was interrupted.
    """

    gaussians: Gaussians
    losses: Float[Tensor, " steps"]
    counts: list[int]
    complete: bool


def extent_of(cameras: Sequence[Camera]) -> float:
    """1.1 times the largest distance of a camera from their centroid; 1 if they all stand in one place."""
    centers = torch.stack([camera.center.cpu() for camera in cameras])
    return 1.1 * float((centers - centers.mean(0)).norm(dim=1).max()) or 1.0


def fit(
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    images: Sequence[Float[Tensor, "h w 3"]],
    *,
    steps: int,
    generator: torch.Generator,
    rates: Rates | None = None,
    density: Density | None = None,
    background: Float[Tensor, " 3"] | None = None,
    response: Response | None = None,
    degree_every: int = 1000,
    ssim: float = 0.2,
    engine: Engine | None = None,
) -> Fitted:
    """Minimise the photometric loss over views drawn in random order. An interrupt (Ctrl-C) returns what was reached.

    Args:
        gaussians: where to start; not changed.
        cameras, images: the views, on the scene's device.
        steps: views seen in all.
        generator: of the order of the views and of where splits go.
        rates: of learning; the released ones by default.
        density: control of the number of Gaussians; None keeps it.
        background, response, engine: see :func:`~nglib.splat.rendering.render`.
        degree_every: the degree of the harmonics in use starts at 0 and rises by one every so many steps.
        ssim: weight of 1 - SSIM against L1.

    Raises:
        ValueError: the numbers of cameras and images differ or are 0, an image is not its camera's size, or ``steps``
            or ``degree_every`` is not positive.
    """
    if not cameras or len(cameras) != len(images):
        raise ValueError(f"got {len(cameras)} cameras and {len(images)} images; expected as many, and one at least")
    for i, (camera, image) in enumerate(zip(cameras, images, strict=True)):
        if image.shape != (camera.height, camera.width, 3):
            size = (camera.height, camera.width, 3)
            raise ValueError(f"images[{i}] has shape {tuple(image.shape)}; expected {size}, as its camera")
    if steps < 1 or degree_every < 1:
        raise ValueError(f"steps={steps}, degree_every={degree_every}; expected positive numbers")
    rates, extent = rates or Rates(), extent_of(cameras)
    optimizer = _optimizer(gaussians, rates, extent)
    control = None if density is None else Controller(density, extent, optimizer, generator)
    parameters = {group["name"]: group["params"][0] for group in optimizer.param_groups}
    order: list[int] = []
    losses: list[Tensor] = []
    counts: list[int] = []
    complete = True
    bar = progress(range(1, steps + 1), "fit")
    try:
        for step in bar:
            fraction = step / steps
            optimizer.param_groups[0]["lr"] = extent * rates.means ** (1 - fraction) * rates.means_end**fraction
            if not order:
                device = generator.device
                order = torch.randperm(len(cameras), generator=generator, device=device).tolist()
            view = order.pop()
            scene = _assemble(parameters, degree=(step - 1) // degree_every)
            rendering = render(scene, cameras[view], background=background, response=response, engine=engine)
            loss = photometric(rendering.image, images[view], ssim)
            optimizer.zero_grad()
            loss.backward()
            if control is not None:
                control.observe(rendering)
            optimizer.step()
            if control is not None:
                parameters = control.step(step)
            losses.append(loss.detach())
            counts.append(len(scene))
            if not bar.disable and step % 100 == 0:
                bar.set_postfix(loss=f"{float(losses[-1]):.3g}", n=len(scene))
    except KeyboardInterrupt:
        complete = False
    finally:
        bar.close()
    values = torch.stack(losses).cpu() if losses else torch.empty(0)
    return Fitted(_assemble(parameters).detach(), values, counts, complete)


def _optimizer(gaussians: Gaussians, rates: Rates, extent: float) -> torch.optim.Adam:
    start = {name: tensor.detach().clone() for name, tensor in gaussians}
    sh = start.pop("sh")
    start |= {"sh": sh[:, :1].clone(), "sh_higher": sh[:, 1:].clone()}
    groups = [
        {
            "params": [tensor.requires_grad_()],
            "name": name,
            "lr": getattr(rates, name) * (extent if name == "means" else 1),
        }
        for name, tensor in start.items()
    ]
    return torch.optim.Adam(groups, eps=1e-15)


def _assemble(parameters: dict[str, Tensor], degree: int = 3) -> Gaussians:
    """The scene of the parameters, with the harmonics up to ``degree``."""
    rest = {name: tensor for name, tensor in parameters.items() if name != "sh_higher"}
    if degree > 0:
        higher = parameters["sh_higher"][:, : (degree + 1) ** 2 - 1]
        rest["sh"] = torch.cat([parameters["sh"], higher], 1)
    return Gaussians(**rest)
