"""Gaussian distributions and mixtures of them: density, score, samples, marginals, conditionals, divergences.

Everything is batched over leading dimensions and keeps the dtype it is given; use float64 where covariances are badly
conditioned. With L the Cholesky factor of the covariance Sigma = L Lᵀ and z = L⁻¹(x - m),

    log N(x; m, Sigma) = -|z|²/2 - sum_i log L_ii - (d/2) log 2 pi.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """N(mean, cov); ``mean`` is ``(..., d)`` and ``cov`` ``(..., d, d)``, and leading dimensions broadcast.

    Raises:
        ValueError: the shapes do not match, or ``cov`` is not symmetric and positive definite.
    """

    mean: Float[Tensor, "*b d"]
    cov: Float[Tensor, "*b d d"]

    def __post_init__(self) -> None:
        if self.mean.ndim < 1 or self.cov.ndim < 2 or self.cov.shape[-2:] != (self.d, self.d):
            shapes = f"{tuple(self.mean.shape)} and {tuple(self.cov.shape)}"
            raise ValueError(f"mean and cov have shapes {shapes}; expected (..., d) and (..., d, d)")
        _ = self.tril

    @classmethod
    def from_precision(cls, mean: Float[Tensor, "*b d"], precision: Float[Tensor, "*b d d"]) -> "Gaussian":
        """The Gaussian whose covariance is the inverse of ``precision``.

        Raises:
            ValueError: ``precision`` is not symmetric and positive definite.
        """
        return cls(mean, torch.cholesky_inverse(_cholesky(precision, "precision")))

    @property
    def d(self) -> int:
        return self.mean.shape[-1]

    @cached_property
    def tril(self) -> Float[Tensor, "*b d d"]:
        """L, lower triangular, with L Lᵀ = ``cov``."""
        return _cholesky(self.cov, "cov")

    def whiten(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """L⁻¹(x - mean), which is standard normal if x follows this distribution."""
        residual = (x - self.mean)[..., None]
        return torch.linalg.solve_triangular(self.tril, residual, upper=False)[..., 0]

    def log_density(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """log N(x; mean, cov)."""
        return -self.whiten(x).square().sum(-1) / 2 - _half_logdet(self.tril) - self.d / 2 * math.log(2 * math.pi)

    def score(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """The gradient of the log density in x: -cov⁻¹(x - mean)."""
        return -torch.linalg.solve_triangular(self.tril.mT, self.whiten(x)[..., None], upper=True)[..., 0]

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n *b d"]:
        """``n`` independent draws of every distribution of the batch: mean + L z."""
        shape = torch.broadcast_shapes(self.mean.shape, self.cov.shape[:-1])
        z = torch.randn(n, *shape, generator=generator, dtype=self.mean.dtype, device=generator.device)
        return self.mean + (self.tril @ z[..., None])[..., 0]

    def marginal(self, index: Sequence[int]) -> "Gaussian":
        """The distribution of the coordinates ``index``, in that order.

        Raises:
            ValueError: ``index`` is empty, repeats a coordinate or names one that is not there.
        """
        keep = self._coordinates(index)
        return Gaussian(self.mean[..., keep], self.cov[..., keep, :][..., keep])

    def condition(self, index: Sequence[int], value: Float[Tensor, "*b k"]) -> "Gaussian":
        """The distribution of the other coordinates, in ascending order, given that those in ``index`` are ``value``.

        With a the others and b the given ones: mean m_a + G (value - m_b) and covariance S_aa - G S_ba, where
        G = S_ab S_bb⁻¹.

        Raises:
            ValueError: ``index`` as in :meth:`marginal`, or it leaves no coordinate; ``value`` has another length.
        """
        given = self._coordinates(index)
        rest = [i for i in range(self.d) if i not in given]
        if not rest or value.shape[-1] != len(given):
            raise ValueError(
                f"index is {given} of {self.d} coordinates and value has shape {tuple(value.shape)}; "
                "expected fewer than all coordinates, and one value for each"
            )
        cross = self.cov[..., given, :][..., rest]
        gain = torch.cholesky_solve(cross, _cholesky(self.cov[..., given, :][..., given], "cov")).mT
        mean = self.mean[..., rest] + (gain @ (value - self.mean[..., given])[..., None])[..., 0]
        return Gaussian(mean, self.cov[..., rest, :][..., rest] - gain @ cross)

    def _coordinates(self, index: Sequence[int]) -> list[int]:
        chosen = list(index)
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(self.d)):
            raise ValueError(f"index is {chosen}; expected distinct coordinates in 0..{self.d - 1}, at least one")
        return chosen


@dataclass(frozen=True)
class Mixture:
    """The sum over k of ``weights[k]`` N(mean_k, cov_k); ``components`` is a Gaussian with one batch dimension, k.

    Raises:
        ValueError: ``weights`` are negative, do not sum to one, or are not as many as the components.
    """

    weights: Float[Tensor, " k"]
    components: Gaussian

    def __post_init__(self) -> None:
        batch = torch.broadcast_shapes(self.components.mean.shape[:-1], self.components.cov.shape[:-2])
        if batch != self.weights.shape or self.weights.ndim != 1:
            raise ValueError(
                f"weights have shape {tuple(self.weights.shape)}; expected (k,) = components' {tuple(batch)}"
            )
        if bool((self.weights < 0).any()) or abs(float(self.weights.detach().sum()) - 1) > 1e-5:
            raise ValueError(f"weights are {self.weights.tolist()}; expected non-negative ones that sum to 1")

    def _joint(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b k"]:
        return self.weights.log() + self.components.log_density(x[..., None, :])

    def log_density(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """log of the mixture's density at x."""
        return self._joint(x).logsumexp(-1)

    def responsibilities(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b k"]:
        """The posterior probability that x was drawn from component k."""
        return self._joint(x).softmax(-1)

    def score(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """The gradient of the log density in x: the components' scores, averaged by responsibility."""
        return (self.responsibilities(x)[..., None] * self.components.score(x[..., None, :])).sum(-2)

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """``n`` independent draws."""
        which = torch.multinomial(self.weights.detach(), n, replacement=True, generator=generator)
        return self.components.sample(n, generator)[torch.arange(n, device=which.device), which]


def kl(p: Gaussian, q: Gaussian) -> Float[Tensor, "*b"]:
    """KL(p || q) = (tr(S_q⁻¹ S_p) + |L_q⁻¹(m_p - m_q)|² - d + log det S_q - log det S_p) / 2.

    Raises:
        ValueError: p and q have different dimensions.
    """
    _same_dimension(p, q)
    ratio = torch.linalg.solve_triangular(q.tril, p.tril, upper=False)
    trace = ratio.square().sum((-2, -1))
    return (trace + q.whiten(p.mean).square().sum(-1) - p.d) / 2 + _half_logdet(q.tril) - _half_logdet(p.tril)


def wasserstein2(p: Gaussian, q: Gaussian) -> Float[Tensor, "*b"]:
    """The 2-Wasserstein distance: W² = |m_p - m_q|² + tr(S_p + S_q) - 2 tr (S_p^½ S_q S_p^½)^½.

    The last trace is the sum of the singular values of L_pᵀ L_q, since S_p^½ = L_p U for an orthogonal U.

    Raises:
        ValueError: p and q have different dimensions.
    """
    _same_dimension(p, q)
    overlap = torch.linalg.svdvals(p.tril.mT @ q.tril).sum(-1)
    traces = (p.tril.square() + q.tril.square()).sum((-2, -1))
    return ((p.mean - q.mean).square().sum(-1) + traces - 2 * overlap).clamp(min=0).sqrt()


def _cholesky(matrix: Float[Tensor, "*b d d"], name: str) -> Float[Tensor, "*b d d"]:
    if not torch.allclose(matrix, matrix.mT, rtol=1e-4, atol=1e-6 * float(matrix.detach().abs().max())):
        raise ValueError(
            f"{name} is not symmetric: it differs from its transpose by {float((matrix - matrix.mT).abs().max()):g}"
        )
    factor, info = torch.linalg.cholesky_ex(matrix)
    if bool(info.any()):
        lowest = float(torch.linalg.eigvalsh(matrix).min())
        raise ValueError(f"{name} has lowest eigenvalue {lowest:g}; expected a positive definite matrix")
    return factor


def _half_logdet(tril: Float[Tensor, "*b d d"]) -> Float[Tensor, "*b"]:
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _same_dimension(p: Gaussian, q: Gaussian) -> None:
    if p.d != q.d:
        raise ValueError(f"p has dimension {p.d} and q has {q.d}; expected the same")
