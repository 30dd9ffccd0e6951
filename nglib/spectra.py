"""Curvature of a loss without its Hessian matrix, and the laws its spectrum is compared with.

A symmetric matrix appears only as an operator ``matvec`` that maps k vectors at once, ``(k, n) -> (k, n)``. The chapter
optimization/foundations derives all of it. Sources: Pearlmutter 1994 (Hessian-vector products), Golub and Welsch 1969
and Ubaru, Chen and Saad 2017 (quadrature by Lanczos), Wigner 1955, Marchenko and Pastur 1967 (limit laws).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Matvec = Callable[[Float[Tensor, "k n"]], Float[Tensor, "k n"]]


def flatten(tensors: Sequence[Tensor], batch_dims: int = 0) -> Float[Tensor, "*k n"]:
    """Tensors side by side as one vector, behind ``batch_dims`` leading dimensions that they share."""
    return torch.cat([t.flatten(batch_dims) if t.ndim > batch_dims else t.unsqueeze(-1) for t in tensors], dim=-1)


def unflatten(vector: Float[Tensor, "*k n"], like: Sequence[Tensor | tuple[int, ...]]) -> list[Tensor]:
    """The inverse of :func:`flatten`: pieces shaped as ``like``, which holds tensors or shapes.

    Leading dimensions of ``vector`` stay in front of each piece.

    Raises:
        ValueError: the last dimension of ``vector`` differs from the number of entries of ``like``.
    """
    shapes = [t.shape if isinstance(t, Tensor) else torch.Size(t) for t in like]
    sizes = [shape.numel() for shape in shapes]
    if vector.shape[-1] != sum(sizes):
        raise ValueError(f"vector has {vector.shape[-1]} entries; expected {sum(sizes)}, as many as like has")
    return [
        piece.unflatten(-1, shape) if shape else piece.squeeze(-1)
        for piece, shape in zip(vector.split(sizes, dim=-1), shapes, strict=True)
    ]


def hessian(loss_fn: Callable[..., Tensor], params: Sequence[Tensor], chunk: int | None = None) -> Matvec:
    """The Hessian of ``loss_fn(*params)`` at ``params`` as an operator on flat vectors ``(k, n)`` or ``(n,)``.

    The gradient is recorded once; each product H v is one backward pass through that record (the vector-Jacobian
    product of the gradient, and H is symmetric), k of them at once. ``chunk`` bounds how many, and so the memory.

    Raises:
        ValueError: ``params`` is empty, ``loss_fn`` returns no scalar, or a vector has another length than ``params``.
    """
    if not params:
        raise ValueError("params is empty; expected at least one tensor")
    point = [p.detach().clone() for p in params]
    value = loss_fn(*point)
    if value.ndim:
        raise ValueError(f"loss_fn returned shape {tuple(value.shape)}; expected a scalar")
    gradient = torch.func.grad(loss_fn, argnums=tuple(range(len(point))))
    pullback = torch.func.vjp(gradient, *point)[1]

    def product(vector: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return flatten(pullback(tuple(unflatten(vector, point))))

    products = torch.func.vmap(product, chunk_size=chunk)

    def matvec(vectors: Float[Tensor, "*k n"]) -> Float[Tensor, "*k n"]:
        return (products(vectors) if vectors.ndim == 2 else product(vectors)).detach()

    return matvec


def hvp(loss_fn: Callable[..., Tensor], params: Sequence[Tensor], vectors: Sequence[Tensor]) -> list[Tensor]:
    """Products of the Hessian of ``loss_fn(*params)`` with ``vectors``, tensor by tensor.

    ``vectors`` has the shapes of ``params``, or all of them behind one leading dimension: a batch of vectors.

    Raises:
        ValueError: the shapes of ``vectors`` are neither; and see :func:`hessian`.
    """
    shapes = [tuple(v.shape) for v in vectors]
    expected = [tuple(p.shape) for p in params]
    batched = [shape[1:] for shape in shapes] == expected and len({shape[0] for shape in shapes}) == 1
    if not batched and shapes != expected:
        raise ValueError(f"vectors have shapes {shapes}; expected {expected}, or these behind one common dimension")
    return unflatten(hessian(loss_fn, params)(flatten(vectors, int(batched))), params)


class Lanczos(NamedTuple):
    """k runs of m steps. ``basis`` is orthonormal, ``alpha`` the diagonal of T = basis A basisᵀ and ``beta`` its
    off-diagonal, whose last entry is the norm of what is left when the run stops."""

    alpha: Float[Tensor, "k m"]
    beta: Float[Tensor, "k m"]
    basis: Float[Tensor, "k m n"]


def lanczos(matvec: Matvec, start: Float[Tensor, "k n"], steps: int, passes: int = 2, tol: float = 0.0) -> Lanczos:
    """The Lanczos recurrence from each row of ``start``, at most ``steps`` of it.

    Each new vector is orthogonalised ``passes`` times against all before it. Two keep the basis orthonormal to machine
    precision; none is the bare three-term recurrence, which loses orthogonality once a Ritz value has converged and
    then finds it again. The recurrence ends early when every Krylov space is exhausted, or when the largest Ritz
    value of every run has a residual below ``tol`` times its magnitude. A run that is exhausted before the others
    goes on with zero vectors: nodes of weight zero at its first Rayleigh quotient.

    Raises:
        ValueError: ``start`` is not a matrix or has a zero row, ``steps`` is below 1, ``passes`` below 0, or
            ``matvec`` returns something that is not finite.
    """
    if start.ndim != 2 or not bool((start.norm(dim=1) > 0).all()):
        raise ValueError(f"start has shape {tuple(start.shape)}; expected one non-zero vector per row")
    if steps < 1 or passes < 0:
        raise ValueError(f"steps={steps} and passes={passes}; expected steps >= 1 and passes >= 0")
    runs, n = start.shape
    steps = min(steps, n) if passes else steps
    basis = start.new_zeros(runs, steps, n)
    alpha, beta = start.new_zeros(runs, steps), start.new_zeros(runs, steps)
    vector = start / start.norm(dim=1, keepdim=True)
    scale = start.new_zeros(runs)
    exhausted = torch.zeros(runs, dtype=torch.bool, device=start.device)
    for j in range(steps):
        basis[:, j] = vector
        image = matvec(vector)
        if not bool(torch.isfinite(image).all()):
            raise ValueError(f"matvec returned values that are not finite at step {j}; expected a finite operator")
        alpha[:, j] = torch.where(exhausted, alpha[:, 0], (image * vector).sum(1))
        image = image - alpha[:, j, None] * vector
        if j:
            image = image - beta[:, j - 1, None] * basis[:, j - 1]
        seen = basis[:, : j + 1]
        for _ in range(passes):
            image = image - torch.einsum("kjn,kj->kn", seen, torch.einsum("kjn,kn->kj", seen, image))
        rest = image.norm(dim=1)
        scale = torch.maximum(scale, alpha[:, j].abs() + rest)
        exhausted = rest <= math.sqrt(n) * torch.finfo(start.dtype).eps * scale
        beta[:, j] = torch.where(exhausted, 0, rest)
        vector = torch.where(exhausted[:, None], 0, image / rest[:, None].clamp(min=torch.finfo(start.dtype).tiny))
        run = Lanczos(alpha[:, : j + 1], beta[:, : j + 1], seen)
        if exhausted.all() or (tol > 0 and _top_converged(run, tol)):
            return run
    return run


class Ritz(NamedTuple):
    """Eigenvalues of T in ascending order, the weights they have in the Gauss rule of the start vector, and ``error``:
    within it of each value lies an eigenvalue of the operator. ``vectors`` holds T's eigenvectors as columns."""

    values: Float[Tensor, "k m"]
    weights: Float[Tensor, "k m"]
    error: Float[Tensor, "k m"]
    vectors: Float[Tensor, "k m m"]


def ritz(run: Lanczos) -> Ritz:
    """Ritz values, Gauss weights and residual bounds of a Lanczos run, in double precision."""
    alpha, beta = run.alpha.double(), run.beta.double()
    off = torch.diag_embed(beta[:, :-1], offset=1)
    values, vectors = torch.linalg.eigh(torch.diag_embed(alpha) + off + off.mT)
    return Ritz(values, vectors[:, 0] ** 2, (beta[:, -1:] * vectors[:, -1]).abs(), vectors)


def _top_converged(run: Lanczos, tol: float) -> bool:
    top = ritz(run)
    return bool((top.error[:, -1] <= tol * top.values[:, -1].abs()).all())


class Eigenpair(NamedTuple):
    value: float
    vector: Float[Tensor, " n"]
    error: float


def top_eigenpair(matvec: Matvec, start: Float[Tensor, " n"], tol: float = 1e-6, steps: int = 200) -> Eigenpair:
    """The largest eigenvalue (in sign, not in magnitude), its eigenvector, and a bound on the value's error.

    The bound is the residual norm: within it lies an eigenvalue, the largest unless ``start`` is orthogonal to that
    one's eigenvector. Start from the last vector when the operator has changed little.

    Raises:
        ValueError: ``start`` is no non-zero vector.
    """
    if start.ndim != 1:
        raise ValueError(f"start has shape {tuple(start.shape)}; expected a vector")
    run = lanczos(matvec, start[None], steps, tol=tol)
    top = ritz(run)
    vector = top.vectors[0, :, -1].to(start.dtype) @ run.basis[0]
    return Eigenpair(float(top.values[0, -1]), vector, float(top.error[0, -1]))


class Estimate(NamedTuple):
    """A value and the half-width of its 95 % confidence interval."""

    value: float
    error: float


@dataclass(frozen=True)
class Spectrum:
    """The spectral measure of an n x n operator as k Gauss rules of m nodes, one per random probe."""

    nodes: Float[Tensor, "k m"]
    weights: Float[Tensor, "k m"]
    n: int

    def sum(self, f: Callable[[Tensor], Tensor]) -> Estimate:
        """The sum of f over all n eigenvalues; its error, by Student's t, is that of the probes.

        The quadrature adds none if f is a polynomial of degree below 2m. One probe gives an infinite error.
        """
        from scipy.special import stdtrit

        values = self.n * (self.weights * f(self.nodes)).sum(1)
        k = len(values)
        error = float(stdtrit(k - 1, 0.975)) * float(values.std()) / math.sqrt(k) if k > 1 else math.inf
        return Estimate(float(values.mean()), error)

    def trace(self) -> Estimate:
        """The sum of the eigenvalues."""
        return self.sum(lambda x: x)

    def density(self, x: Float[Tensor, " q"], width: float) -> Float[Tensor, " q"]:
        """The density of eigenvalues at ``x``, each node smeared to a normal bump of standard deviation ``width``."""
        bumps = torch.exp(-(((x[:, None, None] - self.nodes) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))
        return (bumps * self.weights).sum(2).mean(1)


def slq(
    matvec: Matvec,
    n: int,
    probes: int,
    steps: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    passes: int = 2,
) -> Spectrum:
    """Stochastic Lanczos quadrature: ``probes`` Lanczos runs, side by side, from uniform unit vectors.

    The expectation of vᵀf(A)v over such v is the mean of f over A's eigenvalues.

    Raises:
        ValueError: ``n`` or ``probes`` is below 1; and see :func:`lanczos`.
    """
    if n < 1 or probes < 1:
        raise ValueError(f"n={n} and probes={probes}; expected both to be at least 1")
    start = torch.randn(probes, n, generator=generator, device=generator.device, dtype=dtype)
    rule = ritz(lanczos(matvec, start, steps, passes))
    return Spectrum(rule.values, rule.weights, n)


def tangent_features(
    model: Callable[..., Tensor], params: Sequence[Tensor], inputs: Float[Tensor, "n ..."], chunk: int | None = None
) -> Float[Tensor, "n *c p"]:
    """The derivative of ``model(*params, x)``, a scalar or a vector of c outputs, in all parameters, for each input x.

    At zero residuals the Hessian of the loss (1/2n) sum ||model - y||² is AᵀA/n, where A holds these rows.
    """
    jacobian = torch.func.jacrev(model, argnums=tuple(range(len(params))))

    def rows(x: Tensor) -> Tensor:
        pieces = jacobian(*params, x)
        outputs = pieces[0].ndim - params[0].ndim
        return flatten(pieces, outputs)

    return torch.func.vmap(rows, chunk_size=chunk)(inputs)


def gram_eigenvalues(features: Float[Tensor, "n *c p"]) -> Float[Tensor, " r"]:
    """The r = min(n c, p) largest eigenvalues of AᵀA/n, ascending, from the smaller of AᵀA and AAᵀ.

    Their sum is the trace, their last the sharpness; all others of the p x p matrix are zero.
    """
    rows = features.flatten(0, -2)
    gram = rows @ rows.mT if rows.shape[0] <= rows.shape[1] else rows.mT @ rows
    return torch.linalg.eigvalsh(gram / features.shape[0]).clamp(min=0)


def sgd_stability_limit(eigenvalues: Float[Tensor, " n"], batch: float) -> float:
    """The learning rate above which SGD's mean square diverges on linear regression with Gaussian inputs.

    It is the root in ``(0, 2 / ((1 + 1/b) max h))`` of ``sum_i r h_i / (b (2 - r h_i (1 + 1/b))) = 1``, where h_i are
    the eigenvalues of the inputs' covariance and b is ``batch``; ``math.inf`` gives gradient descent's 2 / max h.

    Raises:
        ValueError: an eigenvalue is negative or not finite, none is positive, or ``batch`` is below 1.
    """
    h = torch.as_tensor(eigenvalues).double()
    if not bool((torch.isfinite(h) & (h >= 0)).all()) or not bool((h > 0).any()):
        raise ValueError(f"eigenvalues run from {h.min():g} to {h.max():g}; expected non-negative ones, not all zero")
    if not batch >= 1:
        raise ValueError(f"batch={batch}; expected at least 1")
    low, high = 0.0, 2 / ((1 + 1 / batch) * float(h.max()))
    if math.isinf(batch):
        return high
    while (middle := (low + high) / 2) not in (low, high):
        below = float((middle * h / (batch * (2 - middle * h * (1 + 1 / batch)))).sum()) < 1
        low, high = (middle, high) if below else (low, middle)
    return low


def semicircle(x: Tensor, variance: float = 1.0) -> Tensor:
    r"""Wigner's density, the limit spectrum of a symmetric n x n matrix with entries of variance ``variance``/n.

    It is :math:`\sqrt{4 s - x^2} / (2 \pi s)` between :math:`-2\sqrt s` and :math:`2\sqrt s`, with s the variance.

    Raises:
        ValueError: ``variance`` is not positive.
    """
    if not variance > 0:
        raise ValueError(f"variance={variance}; expected a positive number")
    return (4 * variance - x**2).clamp(min=0).sqrt() / (2 * math.pi * variance)


def marchenko_pastur_edges(ratio: float, variance: float = 1.0) -> tuple[float, float]:
    """Where the Marchenko-Pastur density begins and ends: variance (1 -+ sqrt(ratio))².

    Raises:
        ValueError: ``ratio`` or ``variance`` is not positive.
    """
    if not (ratio > 0 and variance > 0):
        raise ValueError(f"ratio={ratio} and variance={variance}; expected positive numbers")
    return variance * (1 - math.sqrt(ratio)) ** 2, variance * (1 + math.sqrt(ratio)) ** 2


def marchenko_pastur(x: Tensor, ratio: float, variance: float = 1.0) -> Tensor:
    """The Marchenko-Pastur density: the limit spectrum of XᵀX/n for an n x p matrix X of independent entries.

    ``ratio`` is p/n. The density integrates to min(1, 1/ratio); for ratio > 1 the rest of the mass sits at zero.

    Raises:
        ValueError: see :func:`marchenko_pastur_edges`.
    """
    low, high = marchenko_pastur_edges(ratio, variance)
    inside = ((x - low) * (high - x)).clamp(min=0)
    return torch.where(inside > 0, inside.sqrt() / (2 * math.pi * ratio * variance * x), 0)
