"""Density control, the photometric loss, and fits of a scene whose photographs are exact."""

import pytest
import torch

from nglib import generator
from nglib.metrics import psnr
from nglib.splat import Analytic, Density, Gaussians, Rates, Rendering, fit, reindex, render
from nglib.splat.density import Controller, forget
from nglib.splat.fitting import extent_of
from nglib.splat.loss import photometric, ssim
from nglib.splat.studio import studio
from tests.splat_scenes import scene


@pytest.fixture(scope="module")
def photographs():
    return studio(generator(0, "cpu"), size=48, views=16, test_views=4, points=500, supersampling=2)


def optimizer_of(some: Gaussians) -> torch.optim.Adam:
    """Adam after one step, so that it remembers something of every row."""
    adam = torch.optim.Adam([{"params": [t.clone().requires_grad_()], "name": name} for name, t in some], lr=0.0)
    for group in adam.param_groups:
        group["params"][0].grad = (
            torch.arange(1.0, len(some) + 1)
            .view(-1, *[1] * (group["params"][0].dim() - 1))
            .expand_as(group["params"][0])
            .contiguous()
        )
    adam.step()
    return adam


def remembered(adam: torch.optim.Adam, name: str) -> torch.Tensor:
    (group,) = (g for g in adam.param_groups if g["name"] == name)
    return adam.state[group["params"][0]]["exp_avg"]


def test_rows_move_with_what_the_optimiser_remembers_of_them():
    some, more = scene(6), scene(2, seed=1)
    adam = optimizer_of(some)
    new = reindex(adam, torch.tensor([4, 0, 0, 5]), dict(more))
    for name, tensor in some:
        assert torch.equal(new[name], torch.cat([tensor[[4, 0, 0, 5]], dict(more)[name]]))
        moments = remembered(adam, name).flatten(1) if name != "logits" else remembered(adam, name)[:, None]
        assert torch.allclose(moments[:, 0], 0.1 * torch.tensor([5.0, 1, 1, 6, 0, 0]))
    assert len(adam.state) == 5
    adam.zero_grad()
    sum(t.square().sum() for t in new.values()).backward()
    adam.step()  # the groups hold the new parameters


@pytest.mark.parametrize(
    ("groups", "fresh", "message"),
    [
        ([{"params": [torch.ones(2)]}], None, "groups named"),
        ([{"params": [torch.ones(2)], "name": "a"}], {"b": torch.ones(1)}, r"fresh has rows for \['b'\]"),
    ],
)
def test_reindex_refuses(groups, fresh, message):
    with pytest.raises(ValueError, match=message):
        reindex(torch.optim.Adam(groups), torch.tensor([0]), fresh)


def test_forget():
    adam = optimizer_of(scene(3))
    forget(adam, "logits")
    assert (remembered(adam, "logits") == 0).all() and (remembered(adam, "means") != 0).all()


def controlled(density: Density, heat: list[float], scales: list[float], opacities: list[float]):
    """A controller whose Gaussians have seen the given gradients, in the units of the threshold."""
    n = len(heat)
    some = Gaussians(
        torch.arange(n, dtype=torch.float32)[:, None].repeat(1, 3),
        torch.tensor(scales).log()[:, None].repeat(1, 3),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        torch.tensor(opacities).logit(),
        torch.zeros(n, 1, 3),
    )
    adam = optimizer_of(some)
    control = Controller(density, 1.0, adam, generator(0, "cpu"))
    means2d = torch.full((n, 2), 10.0)
    # Twice in view, once out of sight: the average is over the views that saw it.
    for reach, factor in ((5.0, 1.0), (5.0, 3.0), (0.0, 100.0)):
        means2d.grad = torch.tensor(heat)[:, None] * torch.tensor([0.3, 0.4]) / 10 * factor
        control.observe(
            Rendering(
                torch.zeros(20, 20, 3), torch.zeros(20, 20), torch.zeros(20, 20), means2d, torch.full((n, 2), reach)
            )
        )
    return some, adam, control


def test_hot_gaussians_are_cloned_or_split_and_faint_ones_pruned():
    density = Density(start=1, every=1, threshold=1.0, split_above=0.1, reset_every=10**9)
    # cold; hot and small; hot and large; hot, large and faint; faint; just cold
    heat, scales = [0.1, 2.0, 2.0, 2.0, 0.1, 0.99], [0.05, 0.05, 0.4, 0.4, 0.05, 0.4]
    some, adam, control = controlled(density, heat, scales, [0.5, 0.5, 0.5, 0.004, 0.004, 0.5])
    new = control.step(1)
    # 6 old - 2 split + 1 clone + 4 children - 2 faint children - 1 faint = 6
    assert len(new["means"]) == 6
    assert torch.equal(new["means"][:4], some.means[[0, 1, 5, 1]])
    assert torch.allclose(new["log_scales"][4:].exp(), torch.full((2, 3), 0.4 / 1.6))
    offsets = (new["means"][4:] - some.means[2]) / 0.4
    assert offsets.abs().max() < 5 and (offsets.abs() > 1e-3).all() and not torch.equal(offsets[0], offsets[1])
    assert (remembered(adam, "means")[3:] == 0).all() and (remembered(adam, "means")[:3] != 0).all()
    assert len(control.total) == 6 and (control.total == 0).all()


def test_the_number_of_gaussians_is_bounded_and_the_hottest_come_first():
    density = Density(start=1, every=1, threshold=1.0, split_above=1.0, reset_every=10**9, max_count=5)
    some, _, control = controlled(density, [2.0, 5.0, 3.0, 4.0], [0.05] * 4, [0.5] * 4)
    assert torch.equal(control.step(1)["means"], some.means[[0, 1, 2, 3, 1]])


def test_opacities_are_reset_and_large_gaussians_go_after_that():
    density = Density(start=1, every=2, threshold=1e9, max_scale=0.3, reset_every=4)
    _, adam, control = controlled(density, [0.0] * 3, [0.05, 0.4, 0.1], [0.9, 0.9, 0.006])
    assert len(control.step(2)["means"]) == 3
    opacities = control.step(4)["logits"].sigmoid()
    assert torch.allclose(opacities, torch.tensor([0.01, 0.01, 0.006]))
    assert (remembered(adam, "logits") == 0).all()
    assert len(control.step(6)["means"]) == 2


def test_control_needs_a_gradient():
    control = Controller(Density(), 1.0, optimizer_of(scene(2)), generator(0, "cpu"))
    blank = Rendering(torch.zeros(2, 2, 3), torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2), torch.ones(2, 2))
    with pytest.raises(ValueError, match="no gradient"):
        control.observe(blank)


def test_ssim_of_equal_and_of_opposite_images():
    x = torch.rand(20, 24, 3, dtype=torch.float64, generator=generator(0, "cpu"))
    assert ssim(x, x).item() == pytest.approx(1)
    assert ssim(1 - x, x) < 0
    assert photometric(x, x).item() == pytest.approx(0, abs=1e-12)
    assert photometric(x + 0.1, x, 0.0).item() == pytest.approx(0.1)


def test_ssim_is_the_metric_on_padded_images():
    from nglib.metrics import ssim as metric

    x, y = torch.rand(2, 30, 24, 3, dtype=torch.float64, generator=generator(1, "cpu"))
    padded = [torch.nn.functional.pad(t.permute(2, 0, 1), (5, 5, 5, 5)) for t in (x, y)]
    assert ssim(x, y).item() == pytest.approx(metric(*padded).item(), abs=1e-6)


def test_ssim_gradient():
    x, y = torch.rand(2, 12, 12, 3, dtype=torch.float64, generator=generator(1, "cpu"))
    assert torch.autograd.gradcheck(lambda x: ssim(x, y), x.requires_grad_())


def quality(gaussians, photographs, response=None):
    pairs = zip(photographs.test_cameras, photographs.test_images, strict=True)
    shown = [
        (render(gaussians, c, response=response).image.clamp(0, 1).permute(2, 0, 1), i.permute(2, 0, 1))
        for c, i in pairs
    ]
    return sum(float(psnr(a, b)) for a, b in shown) / len(shown)


def test_the_studio_is_seen_alike_from_everywhere(photographs):
    """A point back-projected from one photograph has its colour in the others, where it is not hidden."""
    from nglib.splat.project import project

    n, agree = len(photographs.points), []
    for camera, image in zip(photographs.test_cameras, photographs.test_images, strict=True):
        unit = torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1)
        means2d, _, _, visible = project(photographs.points, unit, torch.ones(n, 3), camera)
        i = means2d.long()
        inside = visible & (i >= 0).all(1) & (i < 48).all(1)
        agree.append((image[i[inside, 1], i[inside, 0]] - photographs.rgb[inside]).abs().mean(1) < 0.2)
    assert torch.cat(agree).float().mean() > 0.7


def test_a_fit_finds_the_scene_and_density_helps(photographs):
    start = Gaussians.from_points(photographs.points, photographs.rgb, degree=1)
    arguments = dict(steps=250, rates=Rates().times(3), degree_every=100)
    before = quality(start, photographs)
    density = Density(start=60, every=30, stop=200, threshold=8e-4)
    plain, dense = (
        fit(start, photographs.cameras, photographs.images, generator=generator(0, "cpu"), density=d, **arguments)
        for d in (None, density)
    )
    assert plain.complete and len(plain.losses) == 250 and set(plain.counts) == {500}
    assert dense.counts[-1] == len(dense.gaussians) > 800
    after, after_dense = quality(plain.gaussians, photographs), quality(dense.gaussians, photographs)
    assert after > before + 6
    assert after_dense > after + 0.5


def test_a_fit_is_repeatable_and_leaves_its_start_alone(photographs):
    start = Gaussians.from_points(photographs.points, photographs.rgb)
    copy = start.means.clone()
    density = Density(start=10, every=10, threshold=5e-4)
    runs = [
        fit(start, photographs.cameras, photographs.images, steps=30, generator=generator(3, "cpu"), density=density,
            response=Analytic())
        for _ in range(2)
    ]  # fmt: skip
    assert torch.equal(start.means, copy)
    assert torch.equal(runs[0].gaussians.means, runs[1].gaussians.means)
    assert runs[0].counts == runs[1].counts


def test_an_interrupt_returns_what_was_reached(photographs, monkeypatch):
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return photometric(*arguments)

    monkeypatch.setattr("nglib.splat.fitting.photometric", interrupted)
    start = Gaussians.from_points(photographs.points, photographs.rgb)
    done = fit(start, photographs.cameras, photographs.images, steps=20, generator=generator(0, "cpu"))
    assert not done.complete and len(done.losses) == 5
    assert not torch.equal(done.gaussians.means, start.means)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "16 cameras and 0 images"),
        ({"images": [torch.zeros(3, 48, 48)] * 16}, r"images\[0\] has shape \(3, 48, 48\)"),
        ({"steps": 0}, "steps=0"),
    ],
)
def test_fit_refuses(photographs, change, message):
    arguments = dict(cameras=photographs.cameras, images=photographs.images, steps=1) | change
    with pytest.raises(ValueError, match=message):
        fit(scene(4), generator=generator(0, "cpu"), **arguments)


def test_photometric_refuses():
    with pytest.raises(ValueError, match="estimate has shape"):
        photometric(torch.zeros(3, 4, 3), torch.zeros(4, 3, 3))
    with pytest.raises(ValueError, match="weight=2"):
        photometric(torch.zeros(3, 4, 3), torch.zeros(3, 4, 3), 2)


def test_extent(photographs):
    assert 2.2 < extent_of(photographs.cameras) < 3.6
    assert extent_of(photographs.cameras[:1]) == 1.0
