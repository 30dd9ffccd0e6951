import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, kl_divergence

from nglib.gaussian import Gaussian, Mixture, kl, wasserstein2


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some(seed: int, d: int, *batch: int) -> Gaussian:
    g = rng(seed)
    root = torch.randn(*batch, d, d, generator=g, dtype=torch.float64)
    mean = torch.randn(*batch, d, generator=g, dtype=torch.float64)
    return Gaussian(mean, root @ root.mT + 0.1 * torch.eye(d, dtype=torch.float64))


def oracle(p: Gaussian) -> MultivariateNormal:
    return MultivariateNormal(p.mean, p.cov)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)


cases = given(seed=st.integers(0, 10_000), d=st.integers(1, 5))


@settings(max_examples=20, deadline=None)
@cases
def test_against_torch_distributions(seed: int, d: int) -> None:
    p, q = some(seed, d, 4), some(seed + 1, d, 4)
    x = torch.randn(7, 1, d, generator=rng(seed), dtype=torch.float64)
    assert close(p.log_density(x), oracle(p).log_prob(x))
    assert close(kl(p, q), kl_divergence(oracle(p), oracle(q)), 1e-8)
    assert close(Gaussian.from_precision(p.mean, torch.linalg.inv(p.cov)).log_density(x), p.log_density(x), 1e-7)


@settings(max_examples=20, deadline=None)
@cases
def test_scores_are_gradients(seed: int, d: int) -> None:
    mixture = Mixture(torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), some(seed, d, 3))
    for density in (some(seed, d), mixture):
        x = torch.randn(6, d, generator=rng(seed), dtype=torch.float64).requires_grad_()
        (gradient,) = torch.autograd.grad(density.log_density(x).sum(), x)
        assert close(density.score(x), gradient, 1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), d=st.integers(2, 5), data=st.data())
def test_joint_is_marginal_times_conditional(seed: int, d: int, data: st.DataObject) -> None:
    given_ = data.draw(st.lists(st.integers(0, d - 1), min_size=1, max_size=d - 1, unique=True))
    rest = [i for i in range(d) if i not in given_]
    p = some(seed, d, 3)
    x = torch.randn(3, d, generator=rng(seed), dtype=torch.float64)
    parts = p.marginal(given_).log_density(x[:, given_]) + p.condition(given_, x[:, given_]).log_density(x[:, rest])
    assert close(parts, p.log_density(x), 1e-7)


@settings(max_examples=20, deadline=None)
@cases
def test_wasserstein_is_the_bures_formula_and_a_distance(seed: int, d: int) -> None:
    p, q, r = some(seed, d), some(seed + 1, d), some(seed + 2, d)
    root = sqrtm(p.cov.numpy())
    bures = torch.as_tensor(sqrtm(root @ q.cov.numpy() @ root).real).trace()
    squared = (p.mean - q.mean).square().sum() + p.cov.trace() + q.cov.trace() - 2 * bures
    assert wasserstein2(p, q).item() ** 2 == pytest.approx(squared.item(), rel=1e-6)
    assert close(wasserstein2(p, q), wasserstein2(q, p), 1e-7)
    assert wasserstein2(p, p).item() < 1e-6
    assert wasserstein2(p, r) <= wasserstein2(p, q) + wasserstein2(q, r) + 1e-9


def test_known_values() -> None:
    standard = Gaussian(torch.zeros(2), torch.eye(2))
    assert standard.log_density(torch.zeros(2)).item() == pytest.approx(-math.log(2 * math.pi))
    shifted = Gaussian(torch.tensor([3.0, 4.0]), 4 * torch.eye(2))
    assert wasserstein2(standard, shifted).item() == pytest.approx(math.sqrt(25 + 2), rel=1e-6)
    assert kl(standard, shifted).item() == pytest.approx((2 / 4 + 25 / 4 - 2) / 2 + math.log(4), rel=1e-6)
    correlated = Gaussian(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
    posterior = correlated.condition([1], torch.tensor([2.0]))
    assert posterior.mean.item() == pytest.approx(1.6)
    assert posterior.cov.item() == pytest.approx(0.36)


def test_samples_have_the_moments() -> None:
    p, n = some(3, 3, 2), 200_000
    x = p.sample(n, rng())
    assert x.shape == (n, 2, 3)
    z = p.whiten(x)
    # Means of n standard normals, and of n products of two of them, stray by a few 1/sqrt(n).
    assert z.mean(0).abs().max() < 6 / math.sqrt(n)
    assert (torch.einsum("nbi,nbj->bij", z, z) / n - torch.eye(3)).abs().max() < 6 * math.sqrt(2 / n)
    assert torch.equal(x, p.sample(n, rng()))


def test_mixture_against_torch_distributions() -> None:
    weights, components = torch.tensor([0.1, 0.6, 0.3], dtype=torch.float64), some(1, 2, 3)
    mixture, x = Mixture(weights, components), torch.randn(50, 2, generator=rng(), dtype=torch.float64)
    assert close(mixture.log_density(x), MixtureSameFamily(Categorical(weights), oracle(components)).log_prob(x))
    assert close(mixture.responsibilities(x).sum(-1), torch.ones(50, dtype=torch.float64))
    n = 200_000
    draws = mixture.sample(n, rng())
    mean = weights @ components.mean
    sd = draws.std(0)
    assert ((draws.mean(0) - mean).abs() < 6 * sd / math.sqrt(n)).all()


def test_mixture_far_from_all_components() -> None:
    mixture = Mixture(torch.tensor([0.5, 0.5]), Gaussian(torch.tensor([[-1.0], [1.0]]), torch.eye(1)))
    far = torch.tensor([[1e3]])
    assert mixture.log_density(far).isfinite().all()
    assert mixture.score(far).item() == pytest.approx(-999.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    p = Gaussian(torch.zeros(2, dtype=dtype), torch.eye(2, dtype=dtype))
    values = (p.log_density(p.mean), p.sample(3, rng()), p.condition([0], p.mean[:1]).cov, kl(p, p), wasserstein2(p, p))
    assert {value.dtype for value in values} == {dtype}


def test_wrong_input() -> None:
    eye, zeros = torch.eye(2), torch.zeros(2)
    p = Gaussian(zeros, eye)
    with pytest.raises(ValueError, match="shapes"):
        Gaussian(zeros, torch.eye(3))
    with pytest.raises(ValueError, match="cov is not symmetric"):
        Gaussian(zeros, torch.tensor([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="cov has lowest eigenvalue -1"):
        Gaussian(zeros, torch.diag(torch.tensor([1.0, -1.0])))
    with pytest.raises(ValueError, match="precision has lowest eigenvalue 0"):
        Gaussian.from_precision(zeros, torch.zeros(2, 2))
    for index in ([], [0, 0], [2]):
        with pytest.raises(ValueError, match="index"):
            p.marginal(index)
    with pytest.raises(ValueError, match="index"):
        p.condition([0, 1], zeros)
    with pytest.raises(ValueError, match="value"):
        p.condition([0], zeros)
    with pytest.raises(ValueError, match="dimension"):
        kl(p, Gaussian(torch.zeros(1), torch.eye(1)))
    with pytest.raises(ValueError, match="weights"):
        Mixture(torch.tensor([0.5, 0.6]), Gaussian(torch.zeros(2, 1), torch.eye(1)))
    with pytest.raises(ValueError, match="weights"):
        Mixture(torch.tensor([1.0]), Gaussian(torch.zeros(2, 1), torch.eye(1)))
