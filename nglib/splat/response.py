"""How much of a pixel a splat covers: the part of the renderer that splatting papers change most.

A response turns a projected covariance and an opacity into a :class:`Footprint`, which one of three formulas evaluates
at the offset d of a pixel's centre from the splat's mean (in pixels):

- ``gaussian``: exp(-q/2), q = d^T Sigma'^-1 d, with shape (A, B, C, 0), the entries of Sigma'^-1;
- ``exponential``: exp(-q^(beta/2)/2) with shape (A, B, C, beta) (Hamdi et al. 2024, with the exponent rasterised);
- ``integral``: the product of the differences of a logistic CDF across the pixel, in the frame of Sigma''s
  eigenvectors, with shape (cos, sin, 1/sigma_1, 1/sigma_2) (Liang et al. 2024).

The opacity of a pixel is alpha = min(0.99, peak * value), and 0 where that is below 1/255.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Formula = Literal["gaussian", "exponential", "integral"]
FORMULAS: tuple[Formula, ...] = ("gaussian", "exponential", "integral")

ALPHA_MIN = 1 / 255
ALPHA_MAX = 0.99
Q_MIN = 1e-12
"""Where ``exponential`` stops following q down to 0, at which its derivatives have no limit."""

K1, K3 = 1.6, 0.07
"""The logistic CDF is 1 / (1 + exp(-(K1 x + K3 x^3))), within 4e-4 of the normal one."""
_TAIL = 1.017
"""sup over x, y of 2 pi F'(x) F'(y) exp((x^2 + y^2) / 2): by how much ``integral`` exceeds a Gaussian's level sets."""


@dataclass(frozen=True)
class Footprint:
    """Splats as the compositor sees them.

    Attributes:
        formula: which formula reads ``shape``.
        shape: four numbers a splat.
        peak: what multiplies the formula's value.
        reach: half the width and height, in pixels, of a box outside which alpha < 1/255; 0 for a splat nobody sees.
    """

    formula: Formula
    shape: Float[Tensor, "n 4"]
    peak: Float[Tensor, " n"]
    reach: Float[Tensor, "n 2"]


Response = Callable[[Float[Tensor, "n 3"], Float[Tensor, " n"]], Footprint]


def value(formula: Formula, d: Float[Tensor, "*p 2"], shape: Float[Tensor, "*p 4"]) -> Float[Tensor, "*p"]:
    """The formula at the offsets ``d``."""
    dx, dy = d.unbind(-1)
    s0, s1, s2, s3 = shape.unbind(-1)
    if formula == "integral":
        return _window(s0 * dx + s1 * dy, s2) * _window(s0 * dy - s1 * dx, s3)
    q = s0 * dx * dx + 2 * s1 * dx * dy + s2 * dy * dy
    if formula == "exponential":
        q = q.clamp_min(Q_MIN) ** (s3 / 2)
    return torch.exp(-0.5 * q)


def _window(u: Tensor, inverse: Tensor) -> Tensor:
    """F(x) - F(y) with x, y = (u + 1/2) / sigma, (u - 1/2) / sigma, in a form that keeps its digits.

    With F = sigmoid(h), F(x) - F(y) = F(x) (1 - F(y)) (1 - exp(h(y) - h(x))), and x - y = 1 / sigma exactly.
    """
    x, y = (u + 0.5) * inverse, (u - 0.5) * inverse
    gap = inverse * (K1 + K3 * (x * x + x * y + y * y))
    return -torch.sigmoid(x * (K1 + K3 * x * x)) * torch.sigmoid(-y * (K1 + K3 * y * y)) * torch.expm1(-gap)


def _determinant(cov2d: Tensor) -> tuple[Tensor, Tensor]:
    """det Sigma' and whether it is positive beyond rounding; where it is not, 1."""
    a, b, c = cov2d.unbind(-1)
    det = a * c - b * b
    proper = det > 1e-6 * a * c
    return torch.where(proper, det, 1.0), proper


def _visible_q(peak: Tensor) -> Tensor:
    """q up to which peak * exp(-q/2) reaches 1/255; 0 if it never does."""
    return 2 * torch.log((peak.detach() / ALPHA_MIN).clamp_min(1.0))


def _conic(cov2d: Tensor, det: Tensor, beta: Tensor | None = None) -> Tensor:
    a, b, c = cov2d.unbind(-1)
    last = torch.zeros_like(a) if beta is None else beta
    return torch.stack([c / det, -b / det, a / det, last], -1)


def _gaussian(cov2d: Tensor, opacities: Tensor) -> Footprint:
    det, proper = _determinant(cov2d)
    peak = torch.where(proper, opacities, 0.0)
    extent = _visible_q(peak)[:, None] * cov2d.detach()[:, ::2].clamp_min(0.0)
    return Footprint("gaussian", _conic(cov2d, det), peak, extent.sqrt())


@dataclass(frozen=True)
class Point:
    """The Gaussian at the pixel's centre, nothing else; splats smaller than a pixel flicker."""

    def __call__(self, cov2d: Float[Tensor, "n 3"], opacities: Float[Tensor, " n"]) -> Footprint:
        return _gaussian(cov2d, opacities)


@dataclass(frozen=True)
class Dilated:
    """3DGS: the covariance grows by ``variance`` square pixels, the opacity stays (Kerbl et al. 2023)."""

    variance: float = 0.3

    def __call__(self, cov2d: Float[Tensor, "n 3"], opacities: Float[Tensor, " n"]) -> Footprint:
        return _gaussian(cov2d + cov2d.new_tensor([self.variance, 0.0, self.variance]), opacities)


@dataclass(frozen=True)
class Mip:
    """Mip-Splatting's 2D filter: convolution with a Gaussian pixel of ``variance``, so that a splat keeps its mass."""

    variance: float = 0.1

    def __call__(self, cov2d: Float[Tensor, "n 3"], opacities: Float[Tensor, " n"]) -> Footprint:
        wide = cov2d + cov2d.new_tensor([self.variance, 0.0, self.variance])
        det, proper = _determinant(cov2d)
        wide_det, _ = _determinant(wide)
        ratio = torch.where(proper, (det / wide_det).clamp(1e-8, 1.0), 1e-8)
        return _gaussian(wide, opacities * ratio.sqrt())


@dataclass(frozen=True)
class Exponential:
    """A generalised exponential with a shape ``beta`` for each splat: 2 is a Gaussian, larger is flatter."""

    beta: Float[Tensor, " n"]

    def __call__(self, cov2d: Float[Tensor, "n 3"], opacities: Float[Tensor, " n"]) -> Footprint:
        if self.beta.shape != opacities.shape:
            raise ValueError(f"beta has shape {tuple(self.beta.shape)}; expected {tuple(opacities.shape)}")
        if bool((self.beta <= 0).any()):
            raise ValueError(f"beta has the value {float(self.beta.min()):g}; expected positive numbers")
        det, proper = _determinant(cov2d)
        peak = torch.where(proper, opacities, 0.0)
        q = _visible_q(peak) ** (2 / self.beta.detach())
        extent = q[:, None] * cov2d.detach()[:, ::2].clamp_min(0.0)
        return Footprint("exponential", _conic(cov2d, det, self.beta), peak, extent.sqrt())


@dataclass(frozen=True)
class Analytic:
    """Analytic-Splatting: the integral over a pixel turned into the frame of the splat's axes (Liang et al. 2024)."""

    def __call__(self, cov2d: Float[Tensor, "n 3"], opacities: Float[Tensor, " n"]) -> Footprint:
        theta, major, minor = eigen_frame(cov2d)
        cos, sin = torch.cos(theta), torch.sin(theta)
        proper = minor > 0
        minor = torch.where(proper, minor, 1.0)
        major = torch.where(proper, major, 1.0)
        shape = torch.stack([cos, sin, 1 / major, 1 / minor], -1)
        peak = torch.where(proper, 2 * math.pi * major * minor * opacities, 0.0)
        ellipse = _visible_q(torch.where(proper, opacities, 0.0) * _TAIL)[:, None] * cov2d.detach()[:, ::2].clamp_min(
            0.0
        )
        window = 0.5 * (cos.abs() + sin.abs()).detach()[:, None]
        reach = torch.where(ellipse > 0, ellipse.sqrt() + window, 0.0)
        return Footprint("integral", shape, peak, reach)


def eigen_frame(cov2d: Float[Tensor, "*n 3"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """The angle of the longer axis and the standard deviations along the longer and the shorter one, of (a, b, c).

    The shorter is 0 where the covariance is not positive definite. A circle has angle 0 and no gradient in it.
    """
    a, b, c = cov2d.unbind(-1)
    half = 0.5 * (a - c)
    circle = (b == 0) & (half == 0)
    safe = torch.where(circle, 1.0, half)
    theta = torch.where(circle, 0.0, 0.5 * torch.atan2(b, safe))
    spread = torch.where(circle, 0.0, torch.hypot(safe, b))
    mid = 0.5 * (a + c)
    large = mid + spread
    det, proper = _determinant(cov2d)
    small = torch.where(proper & (large > 0), det / torch.where(large > 0, large, 1.0), 0.0)
    root = torch.where(small > 0, small, 1.0).sqrt()
    return theta, torch.where(large > 0, large, 1.0).sqrt(), torch.where(small > 0, root, 0.0)
