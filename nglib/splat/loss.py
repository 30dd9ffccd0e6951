"""The photometric loss of 3D Gaussian splatting: L1 and structural similarity."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


@lru_cache(maxsize=8)
def _kernel(dtype: torch.dtype, device: torch.device, channels: int) -> Tensor:
    x = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-(x**2) / (2 * SIGMA**2))
    return (weights / weights.sum()).to(device, dtype).repeat(channels, 1).view(channels, 1, WINDOW)


def ssim(estimate: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"]) -> Float[Tensor, ""]:
    """Structural similarity (Wang et al. 2004) with a Gaussian window of 11 pixels, over the image padded with zeros.

    The released 3DGS trains with this one; nglib.metrics.ssim, which leaves the margin out, is for reporting.
    """
    x, y = estimate.permute(2, 0, 1), truth.permute(2, 0, 1)
    stack = torch.cat([x, y, x * x, y * y, x * y])[None]
    kernel = _kernel(stack.dtype, stack.device, stack.shape[1])
    pad, count = WINDOW // 2, stack.shape[1]
    blurred = conv2d(stack, kernel[:, :, None, :], padding=(0, pad), groups=count)
    blurred = conv2d(blurred, kernel[:, :, :, None], padding=(pad, 0), groups=count)
    mx, my, xx, yy, xy = blurred[0].chunk(5)
    structure = (2 * mx * my + C1) * (2 * (xy - mx * my) + C2)
    return (structure / ((mx**2 + my**2 + C1) * (xx - mx**2 + yy - my**2 + C2))).mean()


def photometric(
    estimate: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"], weight: float = 0.2
) -> Float[Tensor, ""]:
    """(1 - weight) L1 + weight (1 - SSIM), Kerbl et al. 2023, Eq. 7.

    Raises:
        ValueError: shapes differ, or ``weight`` is not in [0, 1].
    """
    if estimate.shape != truth.shape:
        raise ValueError(f"estimate has shape {tuple(estimate.shape)}; expected {tuple(truth.shape)}, that of truth")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight={weight}; expected a number in [0, 1]")
    l1 = (estimate - truth).abs().mean()
    return l1 if weight == 0 else (1 - weight) * l1 + weight * (1 - ssim(estimate, truth))
