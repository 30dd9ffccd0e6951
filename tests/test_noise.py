import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nglib.noise import Sensor, fit_sensor, photon_transfer, to_linear, to_srgb

SENSOR = Sensor(gain=2.0, read_std=3.0)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_srgb_round_trip() -> None:
    code = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert torch.allclose(to_srgb(to_linear(code)), code, atol=1e-4)
    assert to_linear(torch.tensor(0.5)).item() == pytest.approx(0.21404, abs=1e-5)
    assert to_srgb(torch.tensor([-1.0, 2.0])).tolist() == pytest.approx([0.0, 1.0])


def test_srgb_gradient_is_finite_at_black() -> None:
    light = torch.zeros(3, requires_grad=True)
    to_srgb(light).sum().backward()
    assert light.grad is not None
    assert torch.isfinite(light.grad).all()


@settings(max_examples=8, deadline=None)
@given(gain=st.floats(0.2, 8), read_std=st.floats(1, 20), electrons=st.floats(0, 500))
def test_moments_of_a_frame(gain: float, read_std: float, electrons: float) -> None:
    # With a step or more of read noise, rounding is independent of what it rounds.
    sensor, n = Sensor(gain, read_std), 200_000
    frame = sensor.expose(torch.full((n,), electrons), rng()).double()
    variance = sensor.variance(torch.tensor(gain * electrons)).item()
    assert frame.mean().item() == pytest.approx(gain * electrons, abs=6 * math.sqrt(variance / n) + 1e-3)
    # The fourth moment of the shot noise, K^4 (3 I^2 + I), sets how far a sample variance may stray.
    excess = gain**4 * electrons / variance**2
    assert frame.var().item() == pytest.approx(variance, rel=6 * math.sqrt((2 + excess) / n) + 1e-3)


def test_stabilised_noise_has_unit_variance() -> None:
    for electrons in (5.0, 20.0, 200.0):
        z = SENSOR.stabilize(SENSOR.expose(torch.full((400_000,), electrons), rng()))
        assert z.std().item() == pytest.approx(1, abs=0.03)


def test_inverse_is_unbiased_where_the_algebraic_one_is_not() -> None:
    for electrons in (3.0, 10.0, 50.0):
        z = SENSOR.stabilize(SENSOR.expose(torch.full((400_000,), electrons), rng())).mean()
        assert SENSOR.unstabilize(z).item() == pytest.approx(SENSOR.gain * electrons, rel=0.02)
        algebraic = (SENSOR.gain * z**2 / 4 - 0.375 * SENSOR.gain - SENSOR.dark_variance / SENSOR.gain).item()
        assert SENSOR.gain * electrons - algebraic == pytest.approx(SENSOR.gain / 4, abs=0.12)
    assert SENSOR.unstabilize(torch.tensor([0.0, 1.0])).tolist() == [0.0, 0.0]


def test_photon_transfer_ignores_the_scene() -> None:
    ramp = torch.linspace(0, 800, 256).expand(256, 256)
    texture = ramp * (1 + 0.5 * torch.rand(256, 256, generator=rng(3)))
    frames = SENSOR.expose(texture.expand(2, -1, -1), rng(4))
    mean, variance = photon_transfer(frames[0], frames[1])
    assert mean.shape == variance.shape == (32 * 32,)
    fitted = fit_sensor(mean, variance)
    assert fitted.gain == pytest.approx(2, rel=0.02)
    assert fitted.read_std == pytest.approx(3, rel=0.1)


def test_photon_transfer_takes_stacks_of_frames() -> None:
    flats = torch.linspace(0, 300, 12)[:, None, None, None].expand(12, 4, 32, 32)
    mean, variance = photon_transfer(SENSOR.expose(flats, rng(0)), SENSOR.expose(flats, rng(1)), block=32)
    assert mean.shape == (48,)
    assert fit_sensor(mean, variance).gain == pytest.approx(2, rel=0.05)


def test_fit_recovers_an_exact_line() -> None:
    mean = torch.linspace(0, 100, 20)
    fitted = fit_sensor(mean, SENSOR.variance(mean))
    assert (fitted.gain, fitted.read_std) == pytest.approx((2, 3), rel=1e-5)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Sensor(0, 1), "gain"),
        (lambda: Sensor(math.nan, 1), "gain"),
        (lambda: Sensor(1, -1), "read_std"),
        (lambda: SENSOR.expose(torch.tensor([-1.0]), rng()), "electrons"),
        (lambda: SENSOR.expose(torch.tensor([math.nan]), rng()), "electrons"),
        (lambda: photon_transfer(torch.zeros(8, 8), torch.zeros(8, 9)), "second"),
        (lambda: photon_transfer(torch.zeros(4, 8), torch.zeros(4, 8)), "first"),
        (lambda: fit_sensor(torch.zeros(1), torch.zeros(1)), "mean"),
        (lambda: fit_sensor(torch.arange(5.0), -torch.arange(5.0) + 9), "slope"),
    ],
)
def test_bad_input_is_named(call, named: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=named):
        call()
