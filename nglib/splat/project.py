"""From a Gaussian in space to one in the image: the covariance and its EWA projection, as plain torch.

3D Gaussian splatting (Kerbl et al. 2023, Sec. 4) after EWA splatting (Zwicker et al. 2001): with the affine
approximation J of the projection at the mean, Sigma' = J W Sigma W^T J^T.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nglib.splat.camera import Camera

MARGIN = 0.3
"""How far beyond the image's edge J still follows the mean, in units of tan(fov / 2)."""


def rotation_matrix(quats: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3 3"]:
    """The rotations of quaternions (w, x, y, z), which need not be of unit length."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def covariance(quats: Float[Tensor, "*n 4"], scales: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3 3"]:
    """Sigma = R S S^T R^T from rotations (quaternions w, x, y, z) and standard deviations along the rotated axes."""
    RS = rotation_matrix(quats) * scales[..., None, :]
    return RS @ RS.mT


def limits(camera: Camera) -> tuple[float, float, float, float]:
    """Bounds (x_low, x_high, y_low, y_high) on t_x / t_z and t_y / t_z where J is taken."""
    (fx, fy), (cx, cy) = camera.focal, camera.principal
    mx, my = MARGIN * camera.width / (2 * fx), MARGIN * camera.height / (2 * fy)
    return -cx / fx - mx, (camera.width - cx) / fx + mx, -cy / fy - my, (camera.height - cy) / fy + my


def numbers(camera: Camera) -> Tensor:
    """A camera as 21 numbers: R, t, focal lengths, principal point, limits of the Jacobian, near plane."""
    rest = (*camera.focal, *camera.principal, *limits(camera), camera.near)
    return torch.cat([camera.rotation.reshape(9), camera.translation, camera.translation.new_tensor(rest)])


def project(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    camera: Camera,
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 3"], Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """The image of each Gaussian.

    Returns:
        means2d: in pixels.
        cov2d: (a, b, c) of Sigma' = [[a, b], [b, c]] in square pixels.
        depths: z in the camera's coordinates.
        visible: in front of ``camera.near``; for the rest means2d and cov2d are 0.
    """
    R, (fx, fy), (cx, cy) = camera.rotation, camera.focal, camera.principal
    t = means @ R.T + camera.translation
    visible = t[:, 2] > camera.near
    tx, ty = t[:, 0], t[:, 1]
    tz = torch.where(visible, t[:, 2], 1.0)
    x_low, x_high, y_low, y_high = limits(camera)
    ux, uy = (tx / tz).clamp(x_low, x_high), (ty / tz).clamp(y_low, y_high)
    zero = torch.zeros_like(tz)
    J = torch.stack([fx / tz, zero, -fx * ux / tz, zero, fy / tz, -fy * uy / tz], -1).view(-1, 2, 3)
    T = J @ R
    cov = T @ covariance(quats, scales) @ T.mT
    means2d = torch.stack([fx * tx / tz + cx, fy * ty / tz + cy], -1)
    cov2d = torch.stack([cov[:, 0, 0], cov[:, 0, 1], cov[:, 1, 1]], -1)
    keep = visible[:, None]
    return torch.where(keep, means2d, 0.0), torch.where(keep, cov2d, 0.0), t[:, 2], visible
