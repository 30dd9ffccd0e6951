"""Colours from spherical harmonics compiled for the CPU, forward and backward: see harmonics.py for the basis."""

from typing import Any

import numpy as np
from numba import njit

from nglib.splat import harmonics

F = np.float32
C = np.array([harmonics.C0, -harmonics.C1, harmonics.C1, -harmonics.C1, *harmonics.C2, *harmonics.C3], F)
_OPTIONS: dict[str, Any] = {"fastmath": True, "error_model": "numpy", "nogil": True, "cache": True}


@njit(inline="always")
def _basis(k, x, y, z, Y):  # type: ignore[no-untyped-def]
    """Write the first k harmonics at the unit vector (x, y, z), without their constants."""
    xx, yy, zz = x * x, y * y, z * z
    two, three, four = F(2), F(3), F(4)
    Y[0] = F(1)
    if k > 1:
        Y[1], Y[2], Y[3] = y, z, x
    if k > 4:
        Y[4], Y[5], Y[6], Y[7], Y[8] = x * y, y * z, two * zz - xx - yy, x * z, xx - yy
    if k > 9:
        Y[9], Y[10], Y[11] = y * (three * xx - yy), x * y * z, y * (four * zz - xx - yy)
        Y[12], Y[13] = z * (two * zz - three * (xx + yy)), x * (four * zz - xx - yy)
        Y[14], Y[15] = z * (xx - yy), x * (xx - three * yy)


@njit(inline="always")
def _basis_gradient(k, x, y, z, h):  # type: ignore[no-untyped-def]
    """The gradient in (x, y, z) of the sum of h_k times what :func:`_basis` writes."""
    xx, yy, zz = x * x, y * y, z * z
    two, three, four, six, eight = F(2), F(3), F(4), F(6), F(8)
    gx = gy = gz = F(0)
    if k > 1:
        gx, gy, gz = h[3], h[1], h[2]
    if k > 4:
        gx += h[4] * y + two * x * (h[8] - h[6]) + h[7] * z
        gy += h[4] * x + h[5] * z - two * y * (h[6] + h[8])
        gz += h[5] * y + four * h[6] * z + h[7] * x
    if k > 9:
        gx += x * (y * (six * h[9] - two * h[11]) + z * (two * h[14] - six * h[12])) + h[10] * y * z
        gx += h[13] * (four * zz - three * xx - yy) + three * h[15] * (xx - yy)
        gy += three * h[9] * (xx - yy) + h[10] * x * z + h[11] * (four * zz - xx - three * yy)
        gy -= y * (z * (six * h[12] + two * h[14]) + x * (two * h[13] + six * h[15]))
        gz += h[10] * x * y + eight * z * (h[11] * y + h[13] * x) + three * h[12] * (two * zz - xx - yy)
        gz += h[14] * (xx - yy)
    return gx, gy, gz


@njit(**_OPTIONS)
def forward(first, last, sh, directions, colours):  # type: ignore[no-untyped-def]
    """Colours of the Gaussians from ``first`` to ``last``."""
    k = sh.shape[1]
    Y = np.empty(16, F)
    for i in range(first, last):
        d = directions[i]
        inverse = F(1) / np.sqrt(max(d[0] * d[0] + d[1] * d[1] + d[2] * d[2], F(1e-24)))
        _basis(k, d[0] * inverse, d[1] * inverse, d[2] * inverse, Y)
        red = green = blue = F(0.5)
        for j in range(k):
            value = C[j] * Y[j]
            red += value * sh[i, j, 0]
            green += value * sh[i, j, 1]
            blue += value * sh[i, j, 2]
        colours[i, 0], colours[i, 1], colours[i, 2] = max(red, F(0)), max(green, F(0)), max(blue, F(0))


@njit(**_OPTIONS)
def backward(first, last, sh, directions, colours, g_colours, g_sh, g_directions):  # type: ignore[no-untyped-def]
    """Gradients of the Gaussians from ``first`` to ``last``; where a colour was cut off at 0 it has none."""
    k = sh.shape[1]
    Y, h = np.empty(16, F), np.empty(16, F)
    for i in range(first, last):
        d = directions[i]
        inverse = F(1) / np.sqrt(max(d[0] * d[0] + d[1] * d[1] + d[2] * d[2], F(1e-24)))
        x, y, z = d[0] * inverse, d[1] * inverse, d[2] * inverse
        red = g_colours[i, 0] if colours[i, 0] > 0 else F(0)
        green = g_colours[i, 1] if colours[i, 1] > 0 else F(0)
        blue = g_colours[i, 2] if colours[i, 2] > 0 else F(0)
        _basis(k, x, y, z, Y)
        for j in range(k):
            value = C[j] * Y[j]
            g_sh[i, j, 0], g_sh[i, j, 1], g_sh[i, j, 2] = value * red, value * green, value * blue
            h[j] = C[j] * (sh[i, j, 0] * red + sh[i, j, 1] * green + sh[i, j, 2] * blue)
        gx, gy, gz = _basis_gradient(k, x, y, z, h)
        along = x * gx + y * gy + z * gz
        g_directions[i, 0] = (gx - along * x) * inverse
        g_directions[i, 1] = (gy - along * y) * inverse
        g_directions[i, 2] = (gz - along * z) * inverse
