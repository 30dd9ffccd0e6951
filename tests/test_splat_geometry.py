"""Projection, harmonics and cameras, against numbers of an independent double precision implementation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nglib import generator
from nglib.splat import Camera, Gaussians, harmonics, orbit
from nglib.splat.project import covariance, project, rotation_matrix

I = Camera(torch.eye(3), torch.zeros(3), (100.0, 100.0), (32.0, 32.0), 64, 64).to(dtype=torch.float64)  # noqa: E741


def one(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_projection_of_one_gaussian():
    means2d, cov2d, depths, visible = project(one(0.2, -0.1, 3), one(0.9, 0.1, 0.3, -0.2), one(0.1, 0.05, 0.2), I)
    assert visible.all() and depths.item() == 3
    assert torch.allclose(means2d, one(38.666667, 28.666667), atol=1e-6)
    assert torch.allclose(cov2d, one(17.041787, -7.868015, 7.213909), atol=1e-6)


def test_the_gradient_sees_that_the_jacobian_stops_at_the_margin():
    means = one(2, 0.1, 2).requires_grad_()
    _, cov2d, _, _ = project(means, one(1, 0, 0, 0), one(0.3, 0.3, 0.3), I)
    (gradient,) = torch.autograd.grad(cov2d[0, 0], means)
    assert gradient[0, 2].item() == pytest.approx(-263.9376, abs=1e-3)


def test_projection_gradients():
    g = generator(0)
    means = torch.randn(6, 3, generator=g, dtype=torch.float64) * 0.5 + torch.tensor([0.0, 0.0, 3.0])
    quats, scales = torch.randn(6, 4, generator=g, dtype=torch.float64), torch.rand(6, 3, generator=g).double() + 0.1
    inputs = [t.requires_grad_() for t in (means, quats, scales)]
    assert torch.autograd.gradcheck(lambda *x: project(*x, I)[:3], inputs)


def test_what_is_behind_the_near_plane_is_not_visible_and_has_no_gradient():
    means = one(0.1, 0.1, 0.1).requires_grad_()
    means2d, cov2d, _, visible = project(means, one(1, 0, 0, 0), one(0.3, 0.3, 0.3), I)
    assert not visible.any()
    (gradient,) = torch.autograd.grad(means2d.sum() + cov2d.sum(), means)
    assert (gradient == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=4, max_size=4).filter(lambda q: sum(x * x for x in q) > 1e-3))
def test_rotations_are_rotations_whatever_the_length_of_the_quaternion(q):
    R = rotation_matrix(one(*q))[0]
    assert torch.allclose(R @ R.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert torch.linalg.det(R).item() == pytest.approx(1)
    assert torch.allclose(rotation_matrix(3.7 * one(*q))[0], R, atol=1e-12)


def test_covariance_has_the_scales_as_its_spectrum():
    scales = one(0.1, 0.5, 2.0)
    Sigma = covariance(one(0.3, -0.2, 0.9, 0.4), scales)[0]
    assert torch.allclose(torch.linalg.eigvalsh(Sigma), scales[0] ** 2)


def test_harmonics_at_a_direction():
    expected = """0.2820948 -0.3257350 -0.3257350 -0.1628675 0.2427885 0.4855771 0.1051305 0.2427885 -0.1820914
                  0.0437069 -0.4282387 -0.3724077 0.1934988 -0.1862038 0.3211790 0.2403881"""
    Y = harmonics.basis(one(1, 2, -2) / 3, 3)
    assert torch.allclose(Y, one(*map(float, expected.split())), atol=1e-7)


def test_harmonics_are_orthonormal():
    z, weights = (torch.from_numpy(a) for a in __import__("numpy").polynomial.legendre.leggauss(8))
    phi = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    r = (1 - z**2).sqrt()
    directions = torch.stack([r[:, None] * phi.cos(), r[:, None] * phi.sin(), z[:, None].expand(-1, 16)], -1)
    Y = harmonics.basis(directions, 3)
    gram = torch.einsum("z,zpi,zpj->ij", weights * (2 * math.pi / 16), Y, Y)
    assert torch.allclose(gram, torch.eye(16, dtype=torch.float64), atol=1e-12)


def test_a_constant_colour_is_seen_from_everywhere_and_none_is_negative():
    rgb = torch.rand(5, 3, generator=generator(1))
    sh = torch.zeros(5, 9, 3)
    sh[:, 0] = harmonics.constant(rgb)
    assert torch.allclose(harmonics.colours(sh, torch.randn(5, 3, generator=generator(2))), rgb, atol=1e-6)
    sh[:, 0] = -5
    assert (harmonics.colours(sh, torch.ones(5, 3)) == 0).all()


def test_a_camera_sees_its_target_in_the_middle_with_up_up():
    camera = Camera.look_at((3, 1, 2), (0.5, 0, 0), width=100, height=60).to(dtype=torch.float64)
    assert torch.allclose(camera.center, torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64), atol=1e-6)
    points = torch.tensor([[0.5, 0, 0], [0.5, 0, 0.1]], dtype=torch.float64)
    means2d, _, depths, _ = project(points, one(1, 0, 0, 0).expand(2, 4), one(1, 1, 1).expand(2, 3), camera)
    assert torch.allclose(means2d[0], torch.tensor([50.0, 30.0], dtype=torch.float64), atol=1e-4)
    assert means2d[1, 1] < means2d[0, 1] and abs(means2d[1, 0] - 50) < 1e-4
    assert depths[0].item() == pytest.approx(math.sqrt(2.5**2 + 1 + 4), rel=1e-6)


def test_fov_is_horizontal_and_scaling_keeps_the_view():
    camera = Camera.look_at((3, 0, 0), fov=90, width=100, height=60)
    assert camera.focal[0] == pytest.approx(50)
    half = camera.scaled(0.5)
    assert (half.width, half.height, half.focal[0], half.principal) == (50, 30, pytest.approx(25), (25, 15))


def test_orbit_goes_round():
    cameras = orbit(4, radius=2.0, elevation=0.0, target=(1.0, 0.0, 0.0))
    centers = torch.stack([c.center for c in cameras])
    assert torch.allclose(centers, torch.tensor([[3.0, 0, 0], [1, 2, 0], [-1, 0, 0], [1, -2, 0]]), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Camera.look_at((0, 0, 3)), "up"),
        (lambda: Camera.look_at((0, 3, 0), fov=200), "fov=200"),
        (lambda: Camera.look_at((0, 3, 0), width=0), "width=0"),
        (lambda: Camera.look_at((0, 3, 0), width=101).scaled(0.5), "factor=0.5"),
        (lambda: Camera(torch.eye(4), torch.zeros(3), (1, 1), (1, 1), 2, 2), r"\(4, 4\)"),
        (lambda: orbit(3, elevation=[1.0, 2.0]), "elevation has 2"),
        (lambda: harmonics.degree_of(5), "5 coefficients"),
        (lambda: harmonics.basis(torch.ones(1, 3), 4), "degree=4"),
        (lambda: Gaussians.from_points(torch.zeros(2, 3), torch.zeros(2, 3)), "4 or more"),
        (lambda: Gaussians.from_points(torch.rand(5, 3), torch.rand(5, 3), opacity=1.5), "opacity=1.5"),
        (lambda: Gaussians(*(torch.zeros(2, d) for d in (3, 3, 3)), torch.zeros(2), torch.zeros(2, 1, 3)), "quats"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_points_become_gaussians_as_wide_as_their_neighbourhood():
    x, y = torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij")
    points = torch.stack([x, y, torch.zeros_like(x)], -1).view(-1, 3)
    scene = Gaussians.from_points(points, torch.full((25, 3), 0.3), degree=1)
    assert torch.allclose(scene.scales[12], torch.ones(3)) and scene.sh.shape == (25, 4, 3)
    assert torch.allclose(scene.opacities, torch.full((25,), 0.1))
