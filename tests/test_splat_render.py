"""The renderer: its specification against known answers, and the compiled CPU engine against the specification."""

import pytest
import torch

from nglib import generator
from nglib.splat import Analytic, Camera, Dilated, Footprint, Gaussians, Point, cpu, rasterize, render
from nglib.splat.composite import composite_pixels
from tests import splat_scenes
from tests.splat_scenes import RESPONSES, assert_agrees, scene, view

ENGINES = ["torch", "numba"]


def test_three_splats_on_one_pixel():
    alphas = torch.tensor([0.6, 0.3, 0.8], dtype=torch.float64, requires_grad=True)
    colours = torch.eye(3, dtype=torch.float64).requires_grad_()
    flat = Footprint("gaussian", torch.zeros(3, 4, dtype=torch.float64), alphas, torch.ones(3, 2))
    out, through = composite_pixels(torch.zeros(1, 2), torch.zeros(3, 2, dtype=torch.float64), flat, colours)
    image = out + through[:, None] * 0.2
    assert torch.allclose(image, torch.tensor([[0.6112, 0.1312, 0.2352]], dtype=torch.float64))
    assert through.item() == pytest.approx(0.056)
    g = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    d_alpha, d_colours = torch.autograd.grad((image * g).sum(), [alphas, colours])
    assert torch.allclose(d_alpha, torch.tensor([1.334, -0.952, 0.168], dtype=torch.float64))
    assert torch.allclose(d_colours[2], torch.tensor([0.224, -0.448, 0.112], dtype=torch.float64))


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize(("n", "size", "shape"), [(60, 0.05, (40, 40)), (800, 0.08, (50, 37)), (300, 0.005, (33, 20))])
def test_numba_agrees_with_the_specification(name, n, size, shape):
    # Splats a tenth of a pixel wide feel float32's rounding of where they are.
    assert_agrees(scene(n, size=size), view(*shape), name, "numba", tolerance=3e-5 if size > 0.01 else 1e-3)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_colours_agree_with_the_specification(degree):
    splat_scenes.assert_colours_agree(cpu, degree)


def test_gradients_of_the_specification():
    small = scene(5, seed=3, size=0.3).to(dtype=torch.float64).requires_grad_()
    camera = view(6, 6)
    inputs = [tensor for _, tensor in small]
    background = torch.rand(3, dtype=torch.float64, generator=generator(0, "cpu")).requires_grad_()

    def outputs(background, *tensors):
        rendering = render(Gaussians(*tensors), camera, background=background, response=Dilated())
        return rendering.image, rendering.alpha, rendering.depth

    assert torch.autograd.gradcheck(outputs, [background, *inputs], eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_order_of_the_input_does_not_matter(engine):
    some = scene(200, seed=1)
    order = torch.randperm(200, generator=generator(0, "cpu"))
    shuffled = Gaussians(**{name: tensor[order] for name, tensor in some})
    a, b = (render(s, view(), engine=engine) for s in (some, shuffled))
    assert torch.allclose(a.image, b.image, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_unit_of_length_does_not_matter(engine):
    some, factor = scene(100, seed=2, degree=0), 2.0
    larger = Gaussians(
        some.means * factor, some.log_scales + torch.tensor(factor).log(), some.quats, some.logits, some.sh
    )
    camera = view()
    far = Camera(
        camera.rotation, camera.translation * factor, camera.focal, camera.principal, 40, 40, camera.near * factor
    )
    a, b = render(some, camera, engine=engine), render(larger, far, engine=engine)
    assert torch.allclose(a.image, b.image, atol=1e-5)
    assert torch.allclose(a.depth * factor, b.depth, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_opaque_splat_leaves_one_percent_of_what_is_behind(engine):
    means = torch.tensor([[0.0, 0, 2], [0, 0, 3]])
    camera = Camera(torch.eye(3), torch.zeros(3), (20.0, 20.0), (8.5, 8.5), 17, 17)
    shown = rasterize(
        means,
        torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1),
        torch.ones(2, 3),
        torch.tensor([1.0, 0.5]),
        torch.tensor([[1.0, 0, 0], [0, 1, 0]]),
        camera,
        engine=engine,
    )
    assert torch.allclose(shown.image[8, 8], torch.tensor([0.99, 0.01 * 0.5, 0.0]), atol=1e-6)
    assert shown.depth[8, 8].item() == pytest.approx(0.99 * 2 + 0.01 * 0.5 * 3, rel=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_depths_keep_the_order_given(engine):
    camera = Camera(torch.eye(3), torch.zeros(3), (20.0, 20.0), (8.5, 8.5), 17, 17)
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    same = (torch.tensor([[0.0, 0, 2]]).repeat(2, 1), torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1), torch.ones(2, 3))
    shown = rasterize(*same, torch.full((2,), 0.5), colours, camera, engine=engine)
    assert torch.allclose(shown.image[8, 8], torch.tensor([0.5, 0.25, 0.0]), atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [0, 3])
def test_nothing_in_sight_is_background(engine, n):
    behind = scene(n).to()
    behind.means[:] = torch.tensor([8.0, 2.0, 3.0])
    behind.requires_grad_()
    background = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    shown = render(behind, view(), background=background, engine=engine)
    assert torch.equal(shown.image, background.expand(40, 40, 3)) and (shown.alpha == 0).all()
    assert not shown.visible.any()
    shown.image.sum().backward()
    assert torch.allclose(background.grad, torch.full((3,), 1600.0))
    assert all((tensor.grad == 0).all() for _, tensor in behind)


def test_threads_change_nothing_but_the_order_of_sums():
    some = scene(5000, seed=4).requires_grad_()
    camera, before = view(100, 70), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            shown = render(some, camera, engine="numba")
            results.append((shown.image, torch.autograd.grad(shown.image.square().sum(), [t for _, t in some])))
    finally:
        torch.set_num_threads(before)
    (image_1, gradients_1), (image_3, gradients_3) = results
    assert torch.equal(image_1, image_3)
    for a, b in zip(gradients_1, gradients_3, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(a.abs().max()))


def test_what_the_reader_did_not_ask_for_is_not_approximated():
    some = scene(50).to(dtype=torch.float64)
    assert torch.equal(render(some, view()).image, render(some, view(), engine="torch").image)


def test_visible_says_who_is_drawn():
    some = scene(300, seed=6)
    camera = Camera.look_at((1.2, 0.3, 0.4), width=32, height=32)
    shown = render(some, camera)
    dropped = Gaussians(**{name: tensor[shown.visible] for name, tensor in some})
    assert 0 < len(dropped) < 300
    assert torch.equal(render(dropped, camera).image, shown.image)


def test_supersampling_is_what_the_analytic_response_approximates():
    some = scene(150, seed=8, size=0.02, degree=0).to(dtype=torch.float64)
    camera = view(24, 24)
    fine = render(some, camera.scaled(8), response=Point()).image.view(24, 8, 24, 8, 3).mean((1, 3))
    errors = {
        r: (render(some, camera, response=r).image - fine).square().mean() for r in (Analytic(), Point(), Dilated())
    }
    assert errors[Analytic()] < 0.05 * errors[Point()] and errors[Analytic()] < 0.05 * errors[Dilated()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": torch.zeros(4, 2)}, r"means has shape \(4, 2\)"),
        ({"quats": torch.zeros(4, 3)}, r"quats has shape \(4, 3\); expected \(4, 4\)"),
        ({"opacities": torch.zeros(3)}, r"opacities has shape \(3,\); expected \(4,\)"),
        ({"colours": torch.zeros(4, 3, dtype=torch.float64)}, "colours is torch.float64"),
        ({"background": torch.zeros(4)}, r"background has shape \(4,\)"),
        ({"engine": "fast"}, "engine='fast'"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = dict(
        means=torch.zeros(4, 3),
        quats=torch.ones(4, 4),
        scales=torch.ones(4, 3),
        opacities=torch.ones(4),
        colours=torch.ones(4, 3),
        camera=view(),
    )
    with pytest.raises(ValueError, match=message):
        rasterize(**(arguments | change))


def test_a_compiled_engine_refuses_double_precision():
    with pytest.raises(ValueError, match="engine='numba' got torch.float64"):
        render(scene(4).to(dtype=torch.float64), view(), engine="numba")


def test_tiles_hold_every_splat_once_in_order_of_depth():
    some, camera = scene(400, seed=9), view(70, 50)
    means2d, cov2d, depths = cpu.project(some.means, some.quats, some.scales, camera)
    footprint = Dilated()(cov2d, some.opacities)
    splats = torch.cat([means2d, footprint.shape, footprint.peak[:, None], torch.zeros(400, 4), footprint.reach], 1)
    _, ids, starts = cpu.tiles(splats, depths, 70, 50)
    assert len(starts) == 5 * 4 + 1 and starts[-1] == len(ids)
    for tile in range(20):
        inside = ids[starts[tile] : starts[tile + 1]]
        assert (depths[inside].diff() >= 0).all() and len(set(inside)) == len(inside)
        low = 16 * torch.tensor([tile % 5, tile // 5])
        touches = ((means2d + footprint.reach > low) & (means2d - footprint.reach < low + 16)).all(1)
        assert set(inside) >= set(touches.nonzero()[:, 0].tolist())


def test_the_scenes_of_these_tests_reach_every_decision():
    """Some splat is cut, some is clamped, some pixel finishes: otherwise the comparisons above would not see it."""
    some = scene(800, size=0.08)
    with torch.no_grad():
        shown = render(some, view(), engine="torch")
    assert (shown.alpha > 1 - 2e-4).any()
    assert not splat_scenes.undisputed(some.to(dtype=torch.float64), view(), Dilated()).all()
