"""Colour that depends on the direction of view: real spherical harmonics up to degree 3 (Kerbl et al. 2023, Sec. 4)."""

import torch
from jaxtyping import Float
from torch import Tensor

C0 = 0.28209479177387814
C1 = 0.4886025119029199
C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
C3 = (
    -0.5900435899266435,
    2.890611442640554,
    -0.4570457994644658,
    0.3731763325901154,
    -0.4570457994644658,
    1.445305721320277,
    -0.5900435899266435,
)


def degree_of(count: int) -> int:
    """The degree whose basis has ``count`` functions.

    Raises:
        ValueError: none of the degrees 0 to 3 has.
    """
    if count not in (1, 4, 9, 16):
        raise ValueError(f"sh has {count} coefficients per channel; expected 1, 4, 9 or 16 (degree 0 to 3)")
    return int(count**0.5) - 1


def basis(directions: Float[Tensor, "*n 3"], degree: int) -> Float[Tensor, "*n k"]:
    """The (degree + 1)^2 real spherical harmonics at unit ``directions``, in the order of 3DGS's files.

    Raises:
        ValueError: ``degree`` is not 0, 1, 2 or 3.
    """
    if degree not in (0, 1, 2, 3):
        raise ValueError(f"degree={degree}; expected 0, 1, 2 or 3")
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, C0)]
    if degree > 0:
        values += [-C1 * y, C1 * z, -C1 * x]
    if degree > 1:
        xx, yy, zz = x * x, y * y, z * z
        terms = (x * y, y * z, 2 * zz - xx - yy, x * z, xx - yy)
        values += [c * t for c, t in zip(C2, terms, strict=True)]
    if degree > 2:
        terms3 = (
            y * (3 * xx - yy),
            x * y * z,
            y * (4 * zz - xx - yy),
            z * (2 * zz - 3 * xx - 3 * yy),
            x * (4 * zz - xx - yy),
            z * (xx - yy),
            x * (xx - 3 * yy),
        )
        values += [c * t for c, t in zip(C3, terms3, strict=True)]
    return torch.stack(values, -1)


def colours(sh: Float[Tensor, "n k 3"], directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """max(0, 0.5 + sum_k sh_k Y_k(direction)); ``directions`` need not be of unit length, and carry gradient."""
    unit = torch.nn.functional.normalize(directions, dim=-1)
    Y = basis(unit, degree_of(sh.shape[1]))
    return (torch.einsum("nk,nkc->nc", Y, sh) + 0.5).clamp_min(0.0)


def constant(rgb: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """The coefficient of degree 0 that shows the colour ``rgb`` from everywhere."""
    return (rgb - 0.5) / C0
