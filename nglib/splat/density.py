"""How many Gaussians, and where: adaptive density control (Kerbl et al. 2023, Sec. 5, with the released constants)."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from nglib.splat.project import rotation_matrix
from nglib.splat.rendering import Rendering


def reindex(
    optimizer: torch.optim.Optimizer, index: Int[Tensor, " m"], fresh: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Select, repeat or reorder the rows of all parameters together with their optimiser state, and append new rows.

    Every group of ``optimizer`` holds one parameter and its name under the key ``name``; rows are along dimension 0.
    What the optimiser remembers of a row (Adam's moments) goes with it, and is 0 for a new one.

    Args:
        optimizer: its groups are changed to hold the new parameters.
        index: rows to keep, in this order.
        fresh: new rows for every parameter, by name.

    Returns:
        The new parameters by name.

    Raises:
        ValueError: a group has no name or not one parameter, or ``fresh`` does not name all of them.
    """
    names = [str(group.get("name", "")) for group in optimizer.param_groups]
    if "" in names or any(len(group["params"]) != 1 for group in optimizer.param_groups):
        raise ValueError(f"optimizer has groups named {names}; expected a name and one parameter in each")
    if fresh is not None and set(fresh) != set(names):
        raise ValueError(f"fresh has rows for {sorted(fresh)}; expected {sorted(names)}")
    parameters = {}
    for group, name in zip(optimizer.param_groups, names, strict=True):
        (old,) = group["params"]
        new = fresh[name] if fresh is not None else old[:0]
        parameter = torch.cat([old.detach()[index], new.detach()]).requires_grad_()
        state = optimizer.state.pop(old, {})
        if state:
            optimizer.state[parameter] = {
                key: torch.cat([value[index], torch.zeros_like(new)])
                if isinstance(value, Tensor) and value.shape == old.shape
                else value
                for key, value in state.items()
            }
        group["params"] = [parameter]
        parameters[name] = parameter
    return parameters


def forget(optimizer: torch.optim.Optimizer, name: str) -> None:
    """Set to 0 what the optimiser remembers of the parameter ``name``."""
    (group,) = (g for g in optimizer.param_groups if g["name"] == name)
    for value in optimizer.state.get(group["params"][0], {}).values():
        if isinstance(value, Tensor) and value.shape == group["params"][0].shape:
            value.zero_()


@dataclass(frozen=True)
class Density:
    """When and how density is controlled. The defaults are for 30,000 steps.

    Attributes:
        start, stop, every: control acts at the multiples of ``every`` in [start, stop].
        threshold: a Gaussian is hot if the gradient of the loss in its place in the image, in units of half the image's
            size and averaged over the views that saw it, exceeds this.
        split_above: a hot Gaussian is split if its largest scale exceeds this fraction of the extent, else cloned.
        min_opacity: what is fainter is removed.
        max_scale: what is larger, as a fraction of the extent, is removed once opacities have been reset.
        reset_every: at multiples of this, opacities are cut to 0.01, so that what is not needed fades.
        max_count: no more Gaussians than this; the hottest come first.
    """

    start: int = 500
    stop: int = 15_000
    every: int = 100
    threshold: float = 2e-4
    split_above: float = 0.01
    min_opacity: float = 0.005
    max_scale: float = 0.1
    reset_every: int = 3000
    max_count: int = 5_000_000


class Controller:
    """Applies a :class:`Density` to an optimiser of means, log_scales, quats, logits and whatever else."""

    def __init__(
        self, density: Density, extent: float, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> None:
        self.density, self.extent, self.optimizer, self.generator = density, extent, optimizer, generator
        self._clear()

    def _clear(self) -> None:
        means = self._parameters()["means"]
        self.total = means.new_zeros(len(means))
        self.visits = means.new_zeros(len(means))

    def _parameters(self) -> dict[str, Tensor]:
        return {group["name"]: group["params"][0] for group in self.optimizer.param_groups}

    def observe(self, rendering: Rendering) -> None:
        """Take note of the gradient in the image, after ``backward()``."""
        height, width = rendering.alpha.shape
        gradient = rendering.means2d.grad
        if gradient is None:
            raise ValueError("rendering.means2d has no gradient; expected backward() to have run")
        seen = rendering.visible
        half = gradient.new_tensor([width / 2, height / 2])
        self.total += torch.where(seen, (gradient * half).norm(dim=1), 0.0)
        self.visits += seen

    def step(self, step: int) -> dict[str, Tensor]:
        """Do what is due after optimiser step number ``step`` (from 1), and return the parameters by name."""
        d = self.density
        if d.start <= step <= d.stop and step % d.every == 0:
            self._densify()
            self._prune(oversized=step > d.reset_every)
            self._clear()
        if step <= d.stop and step % d.reset_every == 0:
            logits = self._parameters()["logits"]
            with torch.no_grad():
                logits.clamp_(max=torch.logit(torch.tensor(0.01)).item())
            forget(self.optimizer, "logits")
        return self._parameters()

    def _densify(self) -> None:
        d, parameters = self.density, self._parameters()
        heat = self.total / self.visits.clamp_min(1)
        room = max(0, d.max_count - len(heat))
        hot = heat.topk(min(room, len(heat))).indices
        hot = hot[heat[hot] >= d.threshold]
        large = parameters["log_scales"].detach()[hot].amax(1).exp() > d.split_above * self.extent
        clone, split = hot[~large], hot[large]
        kept = torch.ones(len(heat), dtype=torch.bool, device=heat.device)
        kept[split] = False
        sources = torch.cat([clone, split, split])
        fresh = {name: parameter.detach()[sources].clone() for name, parameter in parameters.items()}
        first = len(clone)
        scales, rotations = fresh["log_scales"][first:].exp(), rotation_matrix(fresh["quats"][first:])
        noise = torch.randn(scales.shape, generator=self.generator, device=self.generator.device).to(scales)
        fresh["means"][first:] += (rotations @ (scales * noise)[..., None])[..., 0]
        fresh["log_scales"][first:] -= torch.log(torch.tensor(1.6))
        reindex(self.optimizer, kept.nonzero()[:, 0], fresh)

    def _prune(self, *, oversized: bool) -> None:
        parameters = self._parameters()
        kept = parameters["logits"].detach().sigmoid() >= self.density.min_opacity
        if oversized:
            kept &= parameters["log_scales"].detach().amax(1).exp() <= self.density.max_scale * self.extent
        if not kept.all():
            reindex(self.optimizer, kept.nonzero()[:, 0])
