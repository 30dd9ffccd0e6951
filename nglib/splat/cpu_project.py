"""Projection compiled for the CPU, forward and backward: see project.py for the formulas it fuses."""

from typing import Any

import numpy as np
from numba import njit

F = np.float32
_OPTIONS: dict[str, Any] = {"fastmath": True, "error_model": "numpy", "nogil": True, "cache": True}


@njit(inline="always")
def _rotation(quat):  # type: ignore[no-untyped-def]
    """Rotation matrix (row after row) of a quaternion, the unit quaternion, and one over its length."""
    inverse = F(1) / np.sqrt(quat[0] ** 2 + quat[1] ** 2 + quat[2] ** 2 + quat[3] ** 2)
    w, x, y, z = quat[0] * inverse, quat[1] * inverse, quat[2] * inverse, quat[3] * inverse
    one, two = F(1), F(2)
    R = (
        one - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y),
        two * (x * y + w * z), one - two * (x * x + z * z), two * (y * z - w * x),
        two * (x * z - w * y), two * (y * z + w * x), one - two * (x * x + y * y),
    )  # fmt: skip
    return R, (w, x, y, z), inverse


@njit(inline="always")
def _affine(t, camera):  # type: ignore[no-untyped-def]
    """T = J W (row after row) at the camera point t, and the slopes (u_x, u_y) where J is taken."""
    fx, fy, z = camera[12], camera[13], F(1) / t[2]
    ux = min(max(t[0] * z, camera[16]), camera[17])
    uy = min(max(t[1] * z, camera[18]), camera[19])
    a, b, c, d = fx * z, -fx * ux * z, fy * z, -fy * uy * z
    T = (
        a * camera[0] + b * camera[6], a * camera[1] + b * camera[7], a * camera[2] + b * camera[8],
        c * camera[3] + d * camera[6], c * camera[4] + d * camera[7], c * camera[5] + d * camera[8],
    )  # fmt: skip
    return T, ux, uy


@njit(inline="always")
def _to_camera(mean, camera):  # type: ignore[no-untyped-def]
    return (
        camera[0] * mean[0] + camera[1] * mean[1] + camera[2] * mean[2] + camera[9],
        camera[3] * mean[0] + camera[4] * mean[1] + camera[5] * mean[2] + camera[10],
        camera[6] * mean[0] + camera[7] * mean[1] + camera[8] * mean[2] + camera[11],
    )


@njit(inline="always")
def _columns(T, R, scale):  # type: ignore[no-untyped-def]
    """The two rows of T R S, whose products with one another are the projected covariance."""
    x = (
        (T[0] * R[0] + T[1] * R[3] + T[2] * R[6]) * scale[0],
        (T[0] * R[1] + T[1] * R[4] + T[2] * R[7]) * scale[1],
        (T[0] * R[2] + T[1] * R[5] + T[2] * R[8]) * scale[2],
    )
    y = (
        (T[3] * R[0] + T[4] * R[3] + T[5] * R[6]) * scale[0],
        (T[3] * R[1] + T[4] * R[4] + T[5] * R[7]) * scale[1],
        (T[3] * R[2] + T[4] * R[5] + T[5] * R[8]) * scale[2],
    )
    return x, y


@njit(**_OPTIONS)
def forward(first, last, means, quats, scales, camera, means2d, cov2d, depths):  # type: ignore[no-untyped-def]
    """Project the Gaussians from ``first`` to ``last``; ``camera`` is project.numbers(camera)."""
    for i in range(first, last):
        t = _to_camera(means[i], camera)
        depths[i] = t[2]
        if t[2] <= camera[20]:
            means2d[i] = F(0)
            cov2d[i] = F(0)
            continue
        R, _, _ = _rotation(quats[i])
        T, _, _ = _affine(t, camera)
        x, y = _columns(T, R, scales[i])
        means2d[i, 0] = camera[12] * t[0] / t[2] + camera[14]
        means2d[i, 1] = camera[13] * t[1] / t[2] + camera[15]
        cov2d[i, 0] = x[0] * x[0] + x[1] * x[1] + x[2] * x[2]
        cov2d[i, 1] = x[0] * y[0] + x[1] * y[1] + x[2] * y[2]
        cov2d[i, 2] = y[0] * y[0] + y[1] * y[1] + y[2] * y[2]


@njit(**_OPTIONS)
def backward(  # type: ignore[no-untyped-def]
    first, last, means, quats, scales, camera, g_means2d, g_cov2d, g_depths, g_means, g_quats, g_scales
):
    """Gradients of the Gaussians from ``first`` to ``last``; the last three arguments are written.

    With A = T R S, Sigma' = A A^T: dL/dA = 2 M A for M = [[g_a, g_b / 2], [g_b / 2, g_c]]; then T and RS by the
    product rule, and J by where it is taken, which stops moving with the mean at the margin.
    """
    two = F(2)
    for i in range(first, last):
        t = _to_camera(means[i], camera)
        if t[2] <= camera[20]:
            for k in range(3):
                g_means[i, k] = camera[6 + k] * g_depths[i]
            g_quats[i] = F(0)
            g_scales[i] = F(0)
            continue
        scale = scales[i]
        R, (w, x, y, z), inverse = _rotation(quats[i])
        T, ux, uy = _affine(t, camera)
        ax, ay = _columns(T, R, scale)
        ga, gb, gc = g_cov2d[i, 0], g_cov2d[i, 1], g_cov2d[i, 2]
        # dL/dA, and from it dL/d(T R) = dL/dA S.
        gx0, gx1, gx2 = two * ga * ax[0] + gb * ay[0], two * ga * ax[1] + gb * ay[1], two * ga * ax[2] + gb * ay[2]
        gy0, gy1, gy2 = gb * ax[0] + two * gc * ay[0], gb * ax[1] + two * gc * ay[1], gb * ax[2] + two * gc * ay[2]
        hx0, hx1, hx2 = gx0 * scale[0], gx1 * scale[1], gx2 * scale[2]
        hy0, hy1, hy2 = gy0 * scale[0], gy1 * scale[1], gy2 * scale[2]
        g_scales[i, 0] = gx0 * (T[0] * R[0] + T[1] * R[3] + T[2] * R[6]) + gy0 * (
            T[3] * R[0] + T[4] * R[3] + T[5] * R[6]
        )
        g_scales[i, 1] = gx1 * (T[0] * R[1] + T[1] * R[4] + T[2] * R[7]) + gy1 * (
            T[3] * R[1] + T[4] * R[4] + T[5] * R[7]
        )
        g_scales[i, 2] = gx2 * (T[0] * R[2] + T[1] * R[5] + T[2] * R[8]) + gy2 * (
            T[3] * R[2] + T[4] * R[5] + T[5] * R[8]
        )
        # dL/dR = T^T dL/d(T R), then the derivatives of R's entries in the unit quaternion.
        r00, r01, r02 = T[0] * hx0 + T[3] * hy0, T[0] * hx1 + T[3] * hy1, T[0] * hx2 + T[3] * hy2
        r10, r11, r12 = T[1] * hx0 + T[4] * hy0, T[1] * hx1 + T[4] * hy1, T[1] * hx2 + T[4] * hy2
        r20, r21, r22 = T[2] * hx0 + T[5] * hy0, T[2] * hx1 + T[5] * hy1, T[2] * hx2 + T[5] * hy2
        qw = two * (x * (r21 - r12) + y * (r02 - r20) + z * (r10 - r01))
        qx = two * (-two * x * (r11 + r22) + y * (r01 + r10) + z * (r02 + r20) + w * (r21 - r12))
        qy = two * (x * (r01 + r10) - two * y * (r00 + r22) + z * (r12 + r21) + w * (r02 - r20))
        qz = two * (x * (r02 + r20) + y * (r12 + r21) - two * z * (r00 + r11) + w * (r10 - r01))
        along = qw * w + qx * x + qy * y + qz * z
        g_quats[i, 0] = (qw - along * w) * inverse
        g_quats[i, 1] = (qx - along * x) * inverse
        g_quats[i, 2] = (qy - along * y) * inverse
        g_quats[i, 3] = (qz - along * z) * inverse
        # dL/dT = dL/d(T R) R^T, and dL/dJ = dL/dT W^T in its four entries that are not 0.
        tx0, tx1, tx2 = (
            hx0 * R[0] + hx1 * R[1] + hx2 * R[2],
            hx0 * R[3] + hx1 * R[4] + hx2 * R[5],
            hx0 * R[6] + hx1 * R[7] + hx2 * R[8],
        )
        ty0, ty1, ty2 = (
            hy0 * R[0] + hy1 * R[1] + hy2 * R[2],
            hy0 * R[3] + hy1 * R[4] + hy2 * R[5],
            hy0 * R[6] + hy1 * R[7] + hy2 * R[8],
        )
        j00 = tx0 * camera[0] + tx1 * camera[1] + tx2 * camera[2]
        j02 = tx0 * camera[6] + tx1 * camera[7] + tx2 * camera[8]
        j11 = ty0 * camera[3] + ty1 * camera[4] + ty2 * camera[5]
        j12 = ty0 * camera[6] + ty1 * camera[7] + ty2 * camera[8]
        # J = [[f_x, -f_x u_x], [f_y, -f_y u_y]] / t_z and m = f u + c: first in (1 / t_z, u), then in t.
        fx, fy, iz = camera[12], camera[13], F(1) / t[2]
        g_iz = fx * (j00 - ux * j02) + fy * (j11 - uy * j12)
        inside_x = camera[16] < t[0] * iz < camera[17]
        inside_y = camera[18] < t[1] * iz < camera[19]
        g_ux = fx * (g_means2d[i, 0] - (iz * j02 if inside_x else F(0)))
        g_uy = fy * (g_means2d[i, 1] - (iz * j12 if inside_y else F(0)))
        gt0, gt1 = g_ux * iz, g_uy * iz
        gt2 = g_depths[i] - iz * iz * (g_iz + g_ux * t[0] + g_uy * t[1])
        for k in range(3):
            g_means[i, k] = camera[k] * gt0 + camera[3 + k] * gt1 + camera[6 + k] * gt2
