"""Pixel responses, against numbers computed independently and against quadrature."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nglib.splat import Analytic, Dilated, Exponential, Mip, Point
from nglib.splat.response import _TAIL, ALPHA_MIN, K1, K3, eigen_frame, value

COV = (1.2, 0.5, 0.8)
SMALL = (0.09, 0.04, 0.06)


def alpha(response, cov, offset, opacity=1.0):
    """peak times value, before the cut."""
    footprint = response(torch.tensor([cov], dtype=torch.float64), torch.tensor([opacity], dtype=torch.float64))
    d = torch.tensor([offset], dtype=torch.float64)
    return (footprint.peak * value(footprint.formula, d, footprint.shape)).item()


@pytest.mark.parametrize(
    ("response", "cov", "offset", "expected"),
    [
        (Analytic(), COV, (0.3, -0.4), 0.7137944),
        (Point(), COV, (0.3, -0.4), 0.7630570),
        (Mip(), COV, (0.3, -0.4), 0.7033948),
        (Analytic(), SMALL, (0.2, 0.1), 0.2981216),
        (Point(), SMALL, (0.2, 0.1), 0.7995676),
        (Dilated(), SMALL, (0.2, 0.1), 0.9416153),
        (Mip(), SMALL, (0.2, 0.1), 0.3233543),
    ],
)
def test_values(response, cov, offset, expected):
    assert alpha(response, cov, offset) == pytest.approx(expected, abs=1e-7)


def test_the_exponential_at_q():
    beta = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    footprint = Exponential(beta)(
        torch.tensor([[1.0, 0, 1]], dtype=torch.float64), torch.tensor([0.8], dtype=torch.float64)
    )
    result = footprint.peak * value("exponential", torch.tensor([[1.5, 0.0]]).double(), footprint.shape)
    assert result.item() == pytest.approx(0.8 * math.exp(-0.5 * 2.25**1.5), rel=1e-12)
    assert torch.autograd.grad(result, beta)[0].item() == pytest.approx(-0.1012547, abs=1e-7)


def test_beta_of_two_is_the_gaussian():
    beta = torch.tensor([2.0], dtype=torch.float64)
    assert alpha(Exponential(beta), COV, (0.7, -1.3)) == pytest.approx(alpha(Point(), COV, (0.7, -1.3)))


def test_a_wide_splat_covers_its_middle_as_much_as_the_slope_of_the_cdf_says():
    assert alpha(Analytic(), (2500.0, 0.0, 2500.0), (0.0, 0.0)) == pytest.approx(2 * math.pi * (K1 / 4) ** 2, rel=1e-4)


@pytest.mark.parametrize("response", [Mip(0.3), Analytic()])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.37, -0.21)])
def test_filters_keep_the_mass_of_a_splat(response, shift):
    x, y = torch.meshgrid(torch.arange(-15.0, 16), torch.arange(-15.0, 16), indexing="ij")
    footprint = response(torch.tensor([COV], dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    d = torch.stack([x, y], -1).double() + torch.tensor(shift)
    mass = (footprint.peak * value(footprint.formula, d, footprint.shape.expand(31, 31, 4))).sum()
    assert mass.item() == pytest.approx(2 * math.pi * math.sqrt(1.2 * 0.8 - 0.25), rel=1e-6)


def test_how_far_the_logistic_exceeds_a_gaussian():
    x = torch.linspace(0, 12, 100_001, dtype=torch.float64)
    F = torch.sigmoid(x * (K1 + K3 * x * x))
    ratio = math.sqrt(2 * math.pi) * (K1 + 3 * K3 * x * x) * F * (1 - F) * torch.exp(x * x / 2)
    assert ratio.max() ** 2 < _TAIL < ratio.max() ** 2 + 1e-3


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Point(), Dilated(), Mip(), Analytic(), Exponential]),
    st.floats(0.2, 20), st.floats(0.02, 1), st.floats(0, math.pi), st.floats(0.005, 1), st.floats(0.7, 6),
)  # fmt: skip
def test_nothing_is_seen_beyond_reach(response, major, ratio, theta, opacity, beta):
    if response is Exponential:
        response = Exponential(torch.tensor([beta], dtype=torch.float64))
    s, c, L, S = math.sin(theta), math.cos(theta), major**2, (major * ratio) ** 2
    cov = torch.tensor([[c * c * L + s * s * S, s * c * (L - S), s * s * L + c * c * S]], dtype=torch.float64)
    footprint = response(cov, torch.tensor([opacity], dtype=torch.float64))
    far = 4 * (footprint.reach[0].max() + 1)
    grid = torch.linspace(-1, 1, 101, dtype=torch.float64) * far
    x, y = torch.meshgrid(grid, grid, indexing="ij")
    for axis in (0, 1):
        # A dense line just outside the box on each side, and the coarse grid outside it.
        edge = torch.full((101,), footprint.reach[0, axis].item() + 1e-9, dtype=torch.float64)
        line = torch.stack([edge, grid / 4] if axis == 0 else [grid / 4, edge], -1)
        d = torch.cat([line, torch.stack([x, y], -1).view(-1, 2)])
        outside = d[(d.abs() > footprint.reach[0]).any(1)]
        seen = footprint.peak * value(footprint.formula, outside, footprint.shape.expand(len(outside), 4))
        assert seen.max() < ALPHA_MIN * (1 + 1e-9)


def test_eigen_frame_of_circles_ellipses_and_lines():
    cov = torch.tensor([[2.0, 0, 2], [4, 0, 1], [1, 0, 4], [2.5, 1.5, 2.5], [1, 1, 1], [0, 0, 0]], dtype=torch.float64)
    cov.requires_grad_()
    theta, major, minor = eigen_frame(cov)
    assert torch.allclose(theta[:4], torch.tensor([0.0, 0, math.pi / 2, math.pi / 4]).double())
    assert torch.allclose(major[:4], torch.tensor([2.0, 4, 4, 4]).double().sqrt())
    assert torch.allclose(minor, torch.tensor([2.0, 1, 1, 1, 0, 0]).double().sqrt())
    (gradient,) = torch.autograd.grad((theta + major + minor).sum(), cov)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("response", [Point(), Dilated(), Mip(), Analytic(), Exponential(torch.full((2,), 2.0))])
def test_a_degenerate_splat_is_finite_with_its_gradient(response):
    cov = torch.tensor([[1.0, 1, 1], [0, 0, 0]], requires_grad=True)
    footprint = response(cov, torch.full((2,), 0.5))
    seen = footprint.peak * value(footprint.formula, torch.tensor([[0.3, 0.2], [0.0, 0.0]]), footprint.shape)
    seen.sum().backward()
    assert seen.isfinite().all() and cov.grad.isfinite().all()


@pytest.mark.parametrize("beta", [torch.tensor([2.0, 0.0]), torch.ones(3)])
def test_beta_is_checked(beta):
    with pytest.raises(ValueError, match="beta"):
        Exponential(beta)(torch.ones(2, 3), torch.ones(2))
