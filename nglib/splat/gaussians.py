"""A scene: Gaussians with the parameters that are optimised, which are those a 3DGS file stores."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from nglib.splat import harmonics


@dataclass
class Gaussians:
    """n Gaussians.

    Attributes:
        means: centres in the world.
        log_scales: logarithms of the standard deviations along the rotated axes.
        quats: rotations (w, x, y, z), of any length.
        logits: opacities before the sigmoid.
        sh: k = 1, 4, 9 or 16 spherical harmonics coefficients of each colour channel.
    """

    means: Float[Tensor, "n 3"]
    log_scales: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    logits: Float[Tensor, " n"]
    sh: Float[Tensor, "n k 3"]

    def __post_init__(self) -> None:
        n = len(self.means)
        expected = {"means": (n, 3), "log_scales": (n, 3), "quats": (n, 4), "logits": (n,)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {tuple(getattr(self, name).shape)}; expected {shape}")
        if self.sh.dim() != 3 or self.sh.shape[0] != n or self.sh.shape[2] != 3:
            raise ValueError(f"sh has shape {tuple(self.sh.shape)}; expected ({n}, k, 3)")
        harmonics.degree_of(self.sh.shape[1])

    @staticmethod
    def from_points(
        points: Float[Tensor, "n 3"], rgb: Float[Tensor, "n 3"], *, degree: int = 0, opacity: float = 0.1
    ) -> "Gaussians":
        """Round Gaussians at ``points``, as wide as the root mean square distance to the 3 nearest other points.

        Args:
            points: centres.
            rgb: colours in [0, 1].
            degree: of the spherical harmonics; those above degree 0 start at 0.
            opacity: of all of them.

        Raises:
            ValueError: there are fewer than 4 points, or the shapes differ, or ``opacity`` is not between 0 and 1.
        """
        if points.shape != rgb.shape or points.dim() != 2 or len(points) < 4:
            got = f"{tuple(points.shape)} and {tuple(rgb.shape)}"
            raise ValueError(f"points and rgb have shapes {got}; expected both (n, 3) with n of 4 or more")
        if not 0 < opacity < 1:
            raise ValueError(f"opacity={opacity}; expected a number between 0 and 1")
        from sklearn.neighbors import NearestNeighbors

        where = points.detach().cpu().numpy()
        distances, _ = NearestNeighbors(n_neighbors=4).fit(where).kneighbors(where)
        squares = torch.from_numpy(distances[:, 1:] ** 2).mean(1).to(points).clamp_min(1e-7)
        n = len(points)
        sh = points.new_zeros(n, (degree + 1) ** 2, 3)
        sh[:, 0] = harmonics.constant(rgb)
        return Gaussians(
            points.clone(),
            squares.sqrt().log()[:, None].repeat(1, 3),
            points.new_tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
            torch.logit(points.new_full((n,), opacity)),
            sh,
        )

    def __len__(self) -> int:
        return len(self.means)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs of name and tensor."""
        return iter([(f.name, getattr(self, f.name)) for f in fields(self)])

    @property
    def scales(self) -> Float[Tensor, "n 3"]:
        """Standard deviations along the rotated axes."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Float[Tensor, " n"]:
        """Between 0 and 1."""
        return self.logits.sigmoid()

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Gaussians":
        """The same Gaussians on ``device`` and in ``dtype``."""
        return Gaussians(**{name: tensor.to(device, dtype) for name, tensor in self})

    def detach(self) -> "Gaussians":
        """The same Gaussians without gradient."""
        return Gaussians(**{name: tensor.detach() for name, tensor in self})

    def requires_grad_(self) -> "Gaussians":
        """Have every parameter collect its gradient; returns itself."""
        for _, tensor in self:
            tensor.requires_grad_()
        return self
