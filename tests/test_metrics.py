import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from nglib.data import image
from nglib.metrics import fdr, psnr, shd, ssim, tpr


def graph(d: int, *edges: tuple[int, int]) -> Tensor:
    adjacency = torch.zeros(d, d, dtype=torch.bool)
    for i, j in edges:
        adjacency[i, j] = True
    return adjacency


TRUTH = graph(4, (0, 1), (1, 2), (2, 3), (0, 3))


@pytest.mark.parametrize(
    ("estimate", "distance", "found", "false"),
    [
        (TRUTH, 0, 1.0, 0.0),
        (graph(4), 4, 0.0, 0.0),
        (graph(4, (1, 0), (1, 2), (2, 3), (0, 3)), 1, 0.75, 0.25),  # a reversal counts once
        (graph(4, (0, 1), (1, 2), (2, 3)), 1, 0.75, 0.0),
        (graph(4, (0, 1), (1, 2), (2, 3), (0, 3), (0, 2)), 1, 1.0, 0.2),
        (graph(4, (3, 2), (2, 1), (1, 0), (3, 0)), 4, 0.0, 1.0),
        (graph(4, (0, 1), (1, 0), (1, 2), (2, 3), (0, 3)), 1, 1.0, 0.2),  # an edge found in both directions
    ],
)
def test_known_graphs(estimate: Tensor, distance: int, found: float, false: float) -> None:
    assert shd(estimate, TRUTH).item() == distance
    assert tpr(estimate, TRUTH).item() == found
    assert fdr(estimate, TRUTH).item() == pytest.approx(false)
    weights = estimate * torch.full((4, 4), -0.3)
    assert shd(weights, TRUTH).item() == distance


def dags(d: int, n: int) -> st.SearchStrategy[Tensor]:
    def build(seed: int) -> Tensor:
        g = torch.Generator().manual_seed(seed)
        upper = (torch.rand(n, d, d, generator=g) < 0.4).triu(1)
        order = torch.randperm(d, generator=g)
        return upper[:, order][:, :, order]

    return st.integers(0, 100_000).map(build)


@settings(max_examples=30, deadline=None)
@given(a=dags(6, 3), b=dags(6, 3), c=dags(6, 3))
def test_shd_is_a_distance_and_batches(a: Tensor, b: Tensor, c: Tensor) -> None:
    assert torch.equal(shd(a, b), shd(b, a))
    assert (shd(a, b) <= shd(a, c) + shd(c, b)).all()
    assert torch.equal(shd(a, b), torch.stack([shd(x, y) for x, y in zip(a, b, strict=True)]))
    # The definition: differences of the skeletons, and common edges that are turned round.
    skeleton_a, skeleton_b = a | a.mT, b | b.mT
    reversed_ = (a & b.mT).sum((-2, -1))
    assert torch.equal(shd(a, b), (skeleton_a != skeleton_b).sum((-2, -1)) // 2 + reversed_)


def test_rates_of_the_empty_truth() -> None:
    assert math.isnan(tpr(TRUTH, graph(4)).item())
    assert fdr(TRUTH, graph(4)).item() == 1


def test_psnr_against_torchmetrics() -> None:
    truth = image("chelsea", (32, 48))
    noise = torch.randn(4, *truth.shape, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [0.01, 0.1, 0.3, 1]
    ).view(4, 1, 1, 1)
    values = psnr(truth + noise, truth.expand(4, -1, -1, -1))
    expected = torch.stack([peak_signal_noise_ratio(truth + n, truth, data_range=1.0) for n in noise])
    assert torch.allclose(values, expected, rtol=1e-5)
    assert psnr(truth + 0.1, truth).item() == pytest.approx(20, rel=1e-4)


def test_ssim_against_skimage() -> None:
    truth = image("camera", 64)
    noisy = (truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    expected = structural_similarity(
        noisy[0].double().numpy(), truth[0].double().numpy(), data_range=1, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert ssim(noisy, truth).item() == pytest.approx(expected, abs=1e-5)
    assert ssim(truth, truth).item() == pytest.approx(1, abs=1e-5)
    both = ssim(torch.stack([noisy, truth]), torch.stack([truth, truth]))
    assert both.shape == (2,)
    assert both[0].item() == pytest.approx(ssim(noisy, truth).item(), abs=1e-6)


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match=r"estimate has shape \(4, 3\)"):
        shd(torch.zeros(4, 3), TRUTH)
    with pytest.raises(ValueError, match="truth has shape"):
        tpr(graph(3), TRUTH)
    with pytest.raises(ValueError, match="diagonal"):
        fdr(torch.eye(4), TRUTH)
    small = torch.rand(1, 8, 8)
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match="shapes"):
            metric(small, small[:, 1:])
        with pytest.raises(ValueError, match="truth runs from"):
            metric(small, 255 * small + 2)
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(small, small)
