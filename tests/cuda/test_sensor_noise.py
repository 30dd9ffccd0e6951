"""Kernel sensor_noise against its CPU version, which draws the same numbers."""

import torch

import nglib


def test_sensor_noise(on):
    chapter = nglib.chapter("physics-based-noise")
    clean = torch.rand(3, 4, 11, 150, generator=nglib.generator(0, "cpu"))
    clean[:, :, 0] = 0
    params = {
        "K": torch.tensor([0.04, 1.0, 6.0]),
        "lam": torch.tensor([-0.3, 0.0, 0.14]),
        "sigma_tl": torch.tensor([1.8, 2.0, 5.0]),
        "sigma_r": torch.tensor([0.0, 3.0, 1.0]),
        "bias": torch.tensor([1.5, -2.0, 0.8, 0.3]),
    }
    table = chapter.parameter_table(params, torch.tensor([100.0, 300.0, 200.0]), 3)
    seed = 2**40 + 12345
    expected = chapter.synthesize_cpu(clean, table, seed, 15871.0)
    got = chapter.synthesize_gpu(clean.to(on), table.to(on), seed, 15871.0).cpu()
    # A uniform that falls on the edge between two counts may tip to the other side: a handful of pixels in 20,000.
    differ = (got - expected).abs() > 2e-5 * (1 + expected.abs())
    assert differ.float().mean() < 2e-3
    step = (params["K"] * table[:, 8] / 15871).view(3, 1, 1, 1).expand_as(clean)
    assert ((got - expected).abs()[differ] < 40 * step[differ]).all()
