"""The noise of a camera's sensor: its law, its measurement, and the transform that makes it Gaussian.

Derived in the chapter ``denoising/foundations``. The model is the Poisson-Gaussian one of Foi et al. (2008), measured
by photon transfer (Janesick, 2007); the transform is the generalised Anscombe transform (Murtagh et al., 1995) with
the unbiased inverse of Makitalo and Foi (2013).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

ROUNDING = 1 / 12
"""Variance that rounding to whole digital numbers adds, in ADU squared."""


def to_linear(srgb: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Light, in [0, 1], of a picture coded in sRGB, in [0, 1] (IEC 61966-2-1). Values outside are clamped."""
    srgb = srgb.clamp(0, 1)
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The sRGB code, in [0, 1], of light in [0, 1]; the inverse of :func:`to_linear`. Values outside are clamped."""
    linear = linear.clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


@dataclass(frozen=True)
class Sensor:
    r"""A sensor pixel that turns electrons into digital numbers: :math:`D = \mathrm{round}(K N + \varepsilon)`.

    :math:`N \sim \mathrm{Poisson}(I)` counts electrons and :math:`\varepsilon \sim \mathcal N(0, \sigma_r^2)` is read
    noise. Digital numbers are counted from the black level, so they can be negative.

    Args:
        gain: :math:`K`, in digital numbers (ADU) per electron.
        read_std: :math:`\sigma_r`, in ADU.

    Raises:
        ValueError: ``gain`` is not positive or ``read_std`` is negative.
    """

    gain: float
    read_std: float

    def __post_init__(self) -> None:
        if not self.gain > 0:
            raise ValueError(f"gain is {self.gain!r}; expected a positive number of ADU per electron")
        if not self.read_std >= 0:
            raise ValueError(f"read_std is {self.read_std!r}; expected a standard deviation in ADU, zero or more")

    @property
    def dark_variance(self) -> float:
        """Variance of a pixel that sees no light, in ADU squared: read noise and rounding."""
        return self.read_std**2 + ROUNDING

    def expose(self, electrons: Float[Tensor, "*shape"], generator: torch.Generator) -> Float[Tensor, "*shape"]:
        """One frame, in ADU above black, of a scene that frees on average ``electrons`` in each pixel.

        Raises:
            ValueError: an entry of ``electrons`` is negative or not a number.
        """
        if not bool((electrons >= 0).all()):
            raise ValueError(f"electrons has the minimum {float(electrons.min())}; expected means of zero or more")
        counts = torch.poisson(electrons, generator=generator)
        read = torch.randn(counts.shape, generator=generator, dtype=counts.dtype, device=counts.device)
        return torch.round(self.gain * counts + self.read_std * read)

    def variance(self, signal: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        r"""Variance of a pixel whose mean is ``signal`` ADU: :math:`K s + \sigma_r^2 + 1/12`."""
        return self.gain * signal + self.dark_variance

    def stabilize(self, digital: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        r"""The generalised Anscombe transform, after which the noise has variance close to 1.

        :math:`z = \frac2K\sqrt{K D + \frac38 K^2 + \sigma_r^2 + \frac1{12}}`, zero where the root has no real value.
        """
        return 2 / self.gain * (self.gain * digital + 0.375 * self.gain**2 + self.dark_variance).clamp_min(0).sqrt()

    def unstabilize(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The signal, in ADU, whose frames have ``z`` as their mean after :meth:`stabilize`.

        The closed form of Makitalo and Foi (2013); the root's curvature does not bias it, as it does the algebraic
        inverse. Never negative.
        """
        # The series holds down to the transform of zero counts without read noise, where it is zero itself.
        w = 1 / z.clamp_min(2 * math.sqrt(0.375))
        root = math.sqrt(1.5)
        electrons = 0.25 / w**2 + w * (root / 4 + w * (-11 / 8 + w * (5 * root / 8))) - 0.125
        return self.gain * (electrons - self.dark_variance / self.gain**2).clamp_min(0)


def photon_transfer(
    first: Float[Tensor, "*frames h w"], second: Float[Tensor, "*frames h w"], block: int = 8
) -> tuple[Float[Tensor, " blocks"], Float[Tensor, " blocks"]]:
    """Mean and noise variance in every ``block`` x ``block`` square of two frames of the same scene.

    Half the squared difference of the frames has the noise variance as its mean, whatever the scene; the squares need
    not be uniform.

    Returns:
        means in ADU and variances in ADU squared, one per square; rows and columns that fill no square are left out.

    Raises:
        ValueError: the frames' shapes differ, or they are smaller than a square.
    """
    if first.shape != second.shape:
        raise ValueError(f"second has shape {tuple(second.shape)}; expected that of first, {tuple(first.shape)}")
    if first.ndim < 2 or min(first.shape[-2:]) < block:
        raise ValueError(f"first has shape {tuple(first.shape)}; expected at least one {block} x {block} square")
    frames = torch.stack(((first + second) / 2, (first - second) ** 2 / 2)).double()
    mean, variance = avg_pool2d(frames.reshape(2, -1, *first.shape[-2:]), block).flatten(1)
    return mean, variance


def fit_sensor(mean: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> Sensor:
    r"""The sensor whose line :math:`\operatorname{Var} D = K\,\mathbb E D + \sigma_r^2 + \frac1{12}` fits best.

    Weighted least squares: a variance estimate scatters in proportion to its own size, so each weight is one over the
    square of the variance fitted so far. An intercept below 1/12 gives ``read_std = 0``.

    Raises:
        ValueError: fewer than two points, or the line falls.
    """
    if mean.shape != variance.shape or mean.ndim != 1 or len(mean) < 2:
        raise ValueError(
            f"mean and variance have shapes {tuple(mean.shape)}, {tuple(variance.shape)}; expected (n,), n >= 2"
        )
    design = torch.stack((mean.double(), torch.ones_like(mean, dtype=torch.float64)), 1)
    target = variance.double()[:, None]
    fitted = target.mean().expand_as(target)
    for _ in range(5):
        line = torch.linalg.lstsq(design / fitted, target / fitted).solution
        # No fitted variance is smaller than rounding alone, which keeps the weights finite.
        fitted = (design @ line).clamp_min(ROUNDING)
    gain, intercept = line.flatten().tolist()
    if gain <= 0:
        raise ValueError(
            f"variance falls with mean (slope {gain:.3g}); expected frames of one scene with several light levels"
        )
    return Sensor(gain, math.sqrt(max(intercept - ROUNDING, 0.0)))
