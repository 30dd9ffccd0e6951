"""The fit loop of the book, and many copies of a small network fitted as one.

:func:`fit` minimises a loss by a torch optimiser, with a schedule of the learning rate, an average of the weights and
a checkpoint from which a run continues exactly. :class:`Lanes` gives M networks a common leading dimension: one
batched problem costs little more than one of its parts.
"""

import copy
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from nglib.runtime import progress

#: Factor on the learning rate at a fraction t of the run.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda t: 1.0,
    "cosine": lambda t: (1 + math.cos(math.pi * t)) / 2,
}


@dataclass(frozen=True)
class Fit:
    """What a run reached. Its parameters are in the tensors that were passed in.

    Args:
        losses: the loss of every step taken, one column per lane if there are lanes.
        ema: the averaged parameters by name, if an average was asked for. With a module,
            ``torch.func.functional_call(module, ema, x)`` evaluates them.
        complete: false if the run was interrupted.
    """

    losses: Float[Tensor, " steps *m"]
    ema: dict[str, Tensor]
    complete: bool


def fit(
    loss_fn: Callable[[], Tensor],
    params: nn.Module | Mapping[str, Tensor] | Iterable[Tensor],
    *,
    steps: int,
    lr: float = 1e-3,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    schedule: str = "constant",
    warmup: int = 0,
    ema: float | None = None,
    checkpoint: str | Path | None = None,
    every: int = 1000,
    generator: torch.Generator | None = None,
    description: str = "fit",
) -> Fit:
    """Minimise ``loss_fn()`` over ``params`` in place. An interrupt (Ctrl-C) ends the run and returns what it reached.

    Args:
        loss_fn: the loss at the current parameters, a scalar or one entry per lane ``(m,)``; the entries are summed.
        params: a module, or tensors that require gradients.
        steps: steps in all, those of a checkpoint included.
        lr: learning rate.
        optimizer: called as ``optimizer(params, lr=lr)``; ``functools.partial`` sets its other options.
        schedule: ``"constant"`` or ``"cosine"``, which ends at zero.
        warmup: number of first steps over which the rate rises linearly to the schedule's.
        ema: decay d of the average ``a <- d a + (1 - d) p``, taken after every step. The n-th step uses
            ``min(d, (1 + n) / (10 + n))``, so that the start is forgotten early in the run.
        checkpoint: file that is written every ``every`` steps and at the end, and read at the start if it exists. A run
            continued from it equals one never stopped, provided that ``loss_fn`` draws from ``generator`` only.
        generator: the generator ``loss_fn`` draws from; its state is part of the checkpoint.
        description: stands beside the progress bar.

    Raises:
        ValueError: an argument is out of range, ``params`` is empty or holds a tensor that requires no gradient, or
            ``checkpoint`` belongs to other parameters or to a longer run.
    """
    tensors = _named(params)
    if not tensors or not all(p.requires_grad and p.is_leaf for p in tensors.values()):
        raise ValueError(
            f"params holds {list(tensors)}; expected at least one tensor, all of them leaves with gradients"
        )
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r}; expected one of {', '.join(SCHEDULES)}")
    if steps < 1 or every < 1 or not 0 <= warmup <= steps:
        raise ValueError(
            f"steps={steps}, every={every}, warmup={warmup}; expected steps, every >= 1 and warmup <= steps"
        )
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(f"ema={ema}; expected a decay in [0, 1)")

    values = list(tensors.values())
    average = {name: p.detach().clone() for name, p in tensors.items()} if ema is not None else {}
    descent = optimizer(values, lr=lr)
    scheduler = LambdaLR(descent, lambda n: min(1.0, (n + 1) / (warmup + 1)) * SCHEDULES[schedule](n / steps))
    # state_dict() aliases a module's tensors, buffers included: what is copied into it is copied into the module.
    held = params.state_dict() if isinstance(params, nn.Module) else {name: p.detach() for name, p in tensors.items()}
    held = held | {f"average of {name}": tensor for name, tensor in average.items()}
    saved = None if checkpoint is None else _Checkpoint(Path(checkpoint), held, descent, scheduler, generator)
    losses = saved.load(steps) if saved else []

    complete = True
    bar = progress(range(len(losses), steps), description)
    try:
        for step in bar:
            descent.zero_grad()
            loss = loss_fn()
            loss.sum().backward()
            descent.step()
            scheduler.step()
            if ema is not None:
                get_ema_multi_avg_fn(min(ema, (1 + step) / (10 + step)))(list(average.values()), values, step)
            losses.append(loss.detach())
            if saved and ((step + 1) % every == 0 or step + 1 == steps):
                saved.save(losses)
            if not bar.disable and step % 100 == 0:
                bar.set_postfix(loss=f"{float(loss.detach().mean()):.3g}")
    except KeyboardInterrupt:
        complete = False
    finally:
        bar.close()
    return Fit(torch.stack(losses).cpu() if losses else torch.empty(0), average, complete)


def _named(params: nn.Module | Mapping[str, Tensor] | Iterable[Tensor]) -> dict[str, Tensor]:
    if isinstance(params, nn.Module):
        return {name: p for name, p in params.named_parameters() if p.requires_grad}
    return dict(params) if isinstance(params, Mapping) else {str(i): p for i, p in enumerate(params)}


@dataclass(frozen=True)
class _Checkpoint:
    """The file at ``path`` and what it holds besides the losses; ``held`` are tensors to be restored in place."""

    path: Path
    held: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    generator: torch.Generator | None

    def save(self, losses: list[Tensor]) -> None:
        """Write to a temporary name, then rename: a crash leaves the old file or the new one, never half of one."""
        state = {
            "losses": torch.stack(losses),
            "held": self.held,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "generator": self.generator.get_state() if self.generator else None,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.path)

    def load(self, steps: int) -> list[Tensor]:
        """Restore everything and return the losses so far; none if there is no file."""
        if not self.path.exists():
            return []
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        stored, expected = ({name: tuple(p.shape) for name, p in group.items()} for group in (state["held"], self.held))
        if stored != expected:
            raise ValueError(f"checkpoint {self.path} holds {stored}; expected {expected}")
        if len(state["losses"]) > steps:
            raise ValueError(
                f"checkpoint {self.path} holds {len(state['losses'])} steps; expected at most steps={steps}"
            )
        if (state["generator"] is None) != (self.generator is None):
            raise ValueError(f"checkpoint {self.path} and this run must both have a generator, or neither")
        for name, tensor in self.held.items():
            tensor.copy_(state["held"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.generator:
            self.generator.set_state(state["generator"])
        return list(state["losses"].to(next(iter(self.held.values())).device))


class Lanes(nn.Module):
    """M networks of one architecture as one module: every parameter has a leading dimension M.

    ``lanes(x)`` gives ``x`` to all of them, ``lanes.each(x)`` gives ``x[i]`` to the i-th; both return ``(M, ...)``.
    Fitted with a loss of shape ``(M,)`` by an optimiser that works entry by entry (SGD, Adam), each goes its own way.
    ``lanes[i]`` is a copy of the i-th network.

    Raises:
        ValueError: ``modules`` is empty or of several architectures.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        networks = list(modules)
        shapes = [[(name, p.shape) for name, p in network.state_dict().items()] for network in networks]
        if not networks or any(shape != shapes[0] for shape in shapes):
            raise ValueError(
                f"modules has {len(networks)} networks of shapes {shapes}; expected at least one, all alike"
            )
        params, buffers = torch.func.stack_module_state(networks)
        self.network = copy.deepcopy(networks[0])
        for name, tensor in (*self.network.named_parameters(), *self.network.named_buffers()):
            tensor.data = (params | buffers)[name].detach()
        self.count = len(networks)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._map(inputs, None)

    def each(self, *inputs: Tensor) -> Tensor:
        """The i-th network's output for the i-th entry of every input."""
        return self._map(inputs, 0)

    def _map(self, inputs: tuple[Tensor, ...], dim: int | None) -> Tensor:
        def one(state: dict[str, Tensor], *inputs: Tensor) -> Tensor:
            return torch.func.functional_call(self.network, state, inputs)

        state = dict((*self.network.named_parameters(), *self.network.named_buffers()))
        in_dims = (0, *(dim for _ in inputs))
        return torch.func.vmap(one, in_dims, randomness="different")(state, *inputs)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> nn.Module:
        network = copy.deepcopy(self.network)
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.data = tensor.data[index].clone()
        return network
