from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nglib.train import Fit, Lanes, fit


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))


def data(n: int = 64) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return x, x.prod(1, keepdim=True)


def minibatch_fit(net: nn.Module, steps: int = 60, interrupt_at: int | None = None, **options: object) -> Fit:
    """A fit whose loss draws its batch from a generator, and which may be interrupted."""
    rng, (x, y), calls = torch.Generator().manual_seed(1), data(), 0

    def loss() -> Tensor:
        nonlocal calls
        calls += 1
        if interrupt_at is not None and calls > interrupt_at:
            raise KeyboardInterrupt
        batch = torch.randint(len(x), (16,), generator=rng)
        return (net(x[batch]) - y[batch]).square().mean()

    return fit(loss, net, steps=steps, lr=1e-2, generator=rng, **options)  # type: ignore[arg-type]


def test_minimises_a_quadratic() -> None:
    target = torch.tensor([1.0, -2.0])
    point = torch.zeros(2, requires_grad=True)
    run = fit(lambda: (point - target).square().sum(), [point], steps=400, lr=0.1, schedule="cosine")
    assert torch.allclose(point, target, atol=1e-4)
    assert run.complete
    assert run.losses.shape == (400,)
    assert run.losses[0].item() == 5


def test_schedules() -> None:
    def rates(**options: object) -> Tensor:
        # With SGD and the loss p, each step moves p by the learning rate.
        p = torch.zeros((), requires_grad=True)
        run = fit(lambda: p * 1.0, [p], steps=10, lr=1.0, optimizer=torch.optim.SGD, **options)  # type: ignore[arg-type]
        return -torch.cat([run.losses, p.detach()[None]]).diff()

    assert torch.allclose(rates(), torch.ones(10))
    t = torch.arange(10) / 10
    assert torch.allclose(rates(schedule="cosine"), (1 + torch.cos(torch.pi * t)) / 2, atol=1e-6)
    assert torch.allclose(rates(warmup=4)[:5], torch.arange(1, 6) / 5)


def test_ema_is_the_recursion() -> None:
    p = torch.zeros((), requires_grad=True)
    run = fit(lambda: p * 1.0, {"p": p}, steps=30, lr=1.0, optimizer=torch.optim.SGD, ema=0.5)
    average = 0.0
    for n in range(30):
        decay = min(0.5, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * -(n + 1)
    assert run.ema["p"].item() == pytest.approx(average, rel=1e-6)


def test_resumed_run_equals_uninterrupted(tmp_path: Path) -> None:
    options = {"schedule": "cosine", "warmup": 5, "ema": 0.9, "every": 7}
    whole = network(0)
    expected = minibatch_fit(whole, **options)

    stopped, path = network(0), tmp_path / "deep" / "run.pt"
    first = minibatch_fit(stopped, interrupt_at=31, checkpoint=path, **options)
    assert not first.complete
    assert len(first.losses) == 31
    assert torch.equal(first.losses, expected.losses[:31])

    resumed = network(5)  # whatever it starts from, the checkpoint replaces it
    second = minibatch_fit(resumed, checkpoint=path, **options)
    assert second.complete
    assert torch.equal(second.losses, expected.losses)
    for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for name, tensor in expected.ema.items():
        assert torch.equal(second.ema[name], tensor)
    assert [p.name for p in path.parent.iterdir()] == ["run.pt"]

    again = minibatch_fit(network(6), checkpoint=path, interrupt_at=0, **options)
    assert again.complete, "a finished run takes no further step"


def test_failed_write_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.pt"
    minibatch_fit(network(0), steps=10, checkpoint=path)
    before = path.read_bytes()

    def torn(state: object, to: Path) -> None:
        to.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="disk full"):
        minibatch_fit(network(0), steps=20, checkpoint=path)
    assert path.read_bytes() == before


def test_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    minibatch_fit(network(0), steps=10, checkpoint=path)
    with pytest.raises(ValueError, match="holds"):
        minibatch_fit(nn.Linear(2, 1), steps=10, checkpoint=path)
    with pytest.raises(ValueError, match="10 steps"):
        minibatch_fit(network(0), steps=5, checkpoint=path)
    with pytest.raises(ValueError, match="average of"):
        minibatch_fit(network(0), steps=20, checkpoint=path, ema=0.9)


def test_buffers_are_part_of_a_checkpoint(tmp_path: Path) -> None:
    def net() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    whole, part, path = net(), net(), tmp_path / "run.pt"
    minibatch_fit(whole, steps=12)
    minibatch_fit(part, steps=12, interrupt_at=8, checkpoint=path, every=4)
    resumed = net()
    minibatch_fit(resumed, steps=12, checkpoint=path)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, partial(torch.optim.SGD, momentum=0.9)])
def test_lanes_go_their_own_ways(optimizer: object) -> None:
    x, y = data()
    lanes = Lanes(network(seed) for seed in range(3))
    run = fit(lambda: (lanes(x) - y).square().mean((1, 2)), lanes, steps=50, lr=1e-2, optimizer=optimizer)  # type: ignore[arg-type]
    assert run.losses.shape == (50, 3)
    assert len(lanes) == 3
    for seed in range(3):
        alone = network(seed)
        single = fit(lambda net=alone: (net(x) - y).square().mean(), alone, steps=50, lr=1e-2, optimizer=optimizer)  # type: ignore[arg-type, misc]
        assert torch.allclose(run.losses[:, seed], single.losses, rtol=1e-4)
        assert torch.allclose(lanes[seed](x), alone(x), atol=1e-4)


def test_lanes_with_their_own_inputs() -> None:
    lanes, x = Lanes([network(0), network(1)]), torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(lanes.each(x), torch.stack([lanes[0](x[0]), lanes[1](x[1])]))
    assert torch.allclose(lanes.each(x)[0], lanes(x[0])[0])


def test_a_lane_is_a_copy() -> None:
    lanes, x = Lanes([network(0), network(1)]), torch.ones(1, 2)
    before = lanes(x)
    with torch.no_grad():
        for p in lanes[0].parameters():
            p.zero_()
    assert torch.equal(lanes(x), before)


def test_wrong_input() -> None:
    p = torch.zeros((), requires_grad=True)
    run = partial(fit, lambda: p * 1.0, [p], steps=10)
    for options, message in (
        ({"schedule": "linear"}, "schedule='linear'"),
        ({"steps": 0}, "steps=0"),
        ({"warmup": 11}, "warmup=11"),
        ({"ema": 1.0}, "ema=1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            run(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="params"):
        fit(lambda: p, [], steps=1)
    with pytest.raises(ValueError, match="params"):
        fit(lambda: p, [torch.zeros(2)], steps=1)
    with pytest.raises(ValueError, match="modules"):
        Lanes([])
    with pytest.raises(ValueError, match="modules"):
        Lanes([nn.Linear(1, 2), nn.Linear(2, 1)])
