"""Compositing compiled for the CPU: forward, and backward by the recursion from back to front.

A tile is 16 x 16 pixels. Its splats pass one after another over the rows they reach; a row of 16 pixels is computed
at once, without branches, which is what the compiler turns into vector instructions. It does so only if all that a row
needs lies in one array, so that nothing can overlap: field f of pixel c of a row is ``row[f * TILE + c]``.

A splat is 13 numbers: mean (2), shape (4), peak, channels (4), reach (2).
"""

from typing import Any

import numpy as np
from numba import njit

from nglib.splat.composite import T_MIN
from nglib.splat.response import ALPHA_MAX, ALPHA_MIN, FORMULAS, K1, K3, Q_MIN

TILE = 16
AREA = TILE * TILE
CHANNELS = 4
GRADIENTS = 11
NEVER = np.int32(2**31 - 1)

Array = np.ndarray[Any, Any]
F = np.float32
I32 = np.int32
ONE, HALF = F(1), F(0.5)
# numba's cache of compiled code watches this file only: a change of these constants elsewhere needs one here.
_ALPHA_MIN, _ALPHA_MAX, _T_MIN, _Q_MIN, _K1, _K3 = (F(v) for v in (ALPHA_MIN, ALPHA_MAX, T_MIN, Q_MIN, K1, K3))
GAUSSIAN, EXPONENTIAL, INTEGRAL = range(len(FORMULAS))
# Fields of a row, times TILE: value of the formula, transmittance, position of the splat that finished the pixel, sums
# of the channels or their gradient; for the backward also the loss's share of what lies behind, and dL/dvalue.
VALUE, THROUGH, END, TOTAL, BEHIND, D_VALUE, FIELDS = 0, TILE, 2 * TILE, 3 * TILE, 7 * TILE, 8 * TILE, 9 * TILE
# A position in a tile as the row stores it: float32 counts without gaps to 2^24.
_OPEN = F(2**24)
# Everything fast arithmetic may do but divide by a product instead of dividing twice, which overflows in _row.
_FAST = {"reassoc", "contract", "nnan", "ninf", "nsz"}
_SCALAR: dict[str, Any] = {"fastmath": _FAST, "error_model": "numpy"}
_OPTIONS: dict[str, Any] = _SCALAR | {"nogil": True, "cache": True}


@njit(**_SCALAR)
def _exp(x):  # type: ignore[no-untyped-def]
    """e^x to 3e-7 for |x| <= 80: 2^n times a polynomial (Cephes), which unlike a call of exp can be vectorised."""
    n = np.floor(x * F(1.44269504) + HALF)
    f = x - n * F(0.693359375) - n * F(-2.12194440e-4)
    p = F(1.9875691500e-4) * f + F(1.3981999507e-3)
    p = p * f + F(8.3334519073e-3)
    p = p * f + F(4.1665795894e-2)
    p = p * f + F(1.6666665459e-1)
    p = p * f + F(5.0000001201e-1)
    return (p * f * f + f + ONE) * I32((I32(n) + I32(127)) << I32(23)).view(F)


@njit(**_SCALAR)
def _log(x):  # type: ignore[no-untyped-def]
    """log x to 1e-7 for normal x > 0, from the exponent and a polynomial in the mantissa (Cephes)."""
    bits = I32(F(x).view(I32) - I32(0x3F3504F3))
    n = I32(bits >> I32(23))
    m = I32(bits - (n << I32(23)) + I32(0x3F3504F3)).view(F) - ONE
    z = m * m
    p = F(7.0376836292e-2) * m - F(1.1514610310e-1)
    p = p * m + F(1.1676998740e-1)
    p = p * m - F(1.2420140846e-1)
    p = p * m + F(1.4249322787e-1)
    p = p * m - F(1.6668057665e-1)
    p = p * m + F(2.0000714765e-1)
    p = p * m - F(2.4999993993e-1)
    p = p * m + F(3.3333331174e-1)
    e = F(n)
    return m + (p * m * z + e * F(-2.12194440e-4) - HALF * z) + e * F(0.693359375)


@njit(**_SCALAR)
def _edge(x):  # type: ignore[no-untyped-def]
    """F(x) and 1 - F(x) of the logistic CDF; beyond 2e-9 from 0 and 1, where no splat is seen, it is cut off."""
    e = _exp(max(min(x * (_K1 + _K3 * x * x), F(20)), F(-20)))
    below = ONE / (ONE + e)
    return e * below, below


@njit(**_SCALAR)
def _between(x, y, inverse, above_y, below_x):  # type: ignore[no-untyped-def]
    """F(x) - F(y), given F(x) and 1 - F(y), without cancellation: see response._window."""
    gap = inverse * (_K1 + _K3 * (x * x + x * y + y * y))
    g = min(gap, HALF)
    small = g * (ONE - g * HALF * (ONE - g / F(3) * (ONE - g * F(0.25) * (ONE - g * F(0.2) * (ONE - g / F(6))))))
    return above_y * below_x * (small if gap < HALF else ONE - _exp(-min(gap, F(80))))


@njit(inline="always")
def _row(formula, splat, dx, dy, row):  # type: ignore[no-untyped-def]
    """Write the formula's value in a row of 16 pixels, the first of which lies (dx, dy) from the mean."""
    s0, s1, s2, s3 = splat[2], splat[3], splat[4], splat[5]
    if formula == INTEGRAL:
        for c in range(TILE):
            x = dx + F(c)
            u, v = s0 * x + s1 * dy, s0 * dy - s1 * x
            x_u, y_u = (u + HALF) * s2, (u - HALF) * s2
            x_v, y_v = (v + HALF) * s3, (v - HALF) * s3
            along = _between(x_u, y_u, s2, _edge(x_u)[0], _edge(y_u)[1])
            row[VALUE + c] = along * _between(x_v, y_v, s3, _edge(x_v)[0], _edge(y_v)[1])
    elif formula == EXPONENTIAL:
        for c in range(TILE):
            x = dx + F(c)
            q = s0 * x * x + F(2) * s1 * x * dy + s2 * dy * dy
            p = _exp(min(HALF * s3 * _log(max(q, _Q_MIN)), F(80)))
            row[VALUE + c] = _exp(-HALF * min(p, F(80)))
    else:
        for c in range(TILE):
            x = dx + F(c)
            row[VALUE + c] = _exp(-HALF * min(s0 * x * x + F(2) * s1 * x * dy + s2 * dy * dy, F(80)))


@njit(inline="always")
def _rows_reached(splat, y0):  # type: ignore[no-untyped-def]
    """The first row of the tile at ``y0`` whose centre the splat's box holds, and the one after the last."""
    first = max(int(np.ceil(splat[1] - splat[12] - HALF)) - y0, 0)
    return first, min(int(np.floor(splat[1] + splat[12] - HALF)) - y0 + 1, TILE)


@njit(**_OPTIONS)
def forward(first, last, splats, ids, starts, formula, width, height, out, through, stop):  # type: ignore[no-untyped-def]
    """Composite the tiles from ``first`` to ``last``.

    Args:
        splats: (n, 13).
        ids, starts: the splats of tile i in order of depth are ids[starts[i]:starts[i + 1]].
        out, through: written: (h, w, 4) sums and (h, w) transmittance.
        stop: written: (h, w), the position in ``ids`` of the splat that finished the pixel, or NEVER.
    """
    across = (width + TILE - 1) // TILE
    state = np.empty((TILE, FIELDS), F)
    for tile in range(first, last):
        x0, y0 = (tile % across) * TILE, (tile // across) * TILE
        columns, rows = min(TILE, width - x0), min(TILE, height - y0)
        start = starts[tile]
        state[:] = F(0)
        for r in range(rows):
            state[r, THROUGH : THROUGH + TILE] = ONE
            state[r, END : END + columns] = _OPEN
        for k in range(start, starts[tile + 1]):
            splat = splats[ids[k]]
            peak, c0, c1, c2, c3 = splat[6], splat[7], splat[8], splat[9], splat[10]
            row_first, row_last = _rows_reached(splat, y0)
            dx = F(x0) + HALF - splat[0]
            position = F(k - start)
            for r in range(row_first, row_last):
                row = state[r]
                _row(formula, splat, dx, F(y0 + r) + HALF - splat[1], row)
                for c in range(TILE):
                    T, end = row[THROUGH + c], row[END + c]
                    raw = peak * row[VALUE + c]
                    alpha = min(raw, _ALPHA_MAX)
                    after = T * (ONE - alpha)
                    hit = (raw >= _ALPHA_MIN) & (end == _OPEN)
                    blended = hit & (after >= _T_MIN)
                    w = T * alpha if blended else F(0)
                    row[END + c] = position if hit & (after < _T_MIN) else end
                    row[THROUGH + c] = T - w
                    row[TOTAL + c] += w * c0
                    row[TOTAL + TILE + c] += w * c1
                    row[TOTAL + 2 * TILE + c] += w * c2
                    row[TOTAL + 3 * TILE + c] += w * c3
            if k % 16 == 15 and not _any_open(state):
                break
        for r in range(rows):
            row = state[r]
            for c in range(columns):
                through[y0 + r, x0 + c] = row[THROUGH + c]
                end = row[END + c]
                stop[y0 + r, x0 + c] = NEVER if end == _OPEN else I32(start + int(end))
                for j in range(CHANNELS):
                    out[y0 + r, x0 + c, j] = row[TOTAL + j * TILE + c]


@njit(inline="always")
def _any_open(state):  # type: ignore[no-untyped-def]
    count = F(0)
    for r in range(TILE):
        for c in range(TILE):
            count += state[r, END + c] // _OPEN
    return count > 0


@njit(inline="always")
def _row_gradient(formula, splat, dx, dy, row, sums):  # type: ignore[no-untyped-def]
    """Add a row's part to ``sums``, from dL/dvalue: moments in y; :func:`_shape_gradient` adds those in x."""
    s0, s1, s2, s3 = splat[2], splat[3], splat[4], splat[5]
    if formula == INTEGRAL:
        for c in range(TILE):
            x = dx + F(c)
            u, v = s0 * x + s1 * dy, s0 * dy - s1 * x
            x_u, y_u = (u + HALF) * s2, (u - HALF) * s2
            x_v, y_v = (v + HALF) * s3, (v - HALF) * s3
            xu1, xu0 = _edge(x_u)
            yu1, yu0 = _edge(y_u)
            xv1, xv0 = _edge(x_v)
            yv1, yv0 = _edge(y_v)
            along = _between(x_u, y_u, s2, xu1, yu0) * row[D_VALUE + c]
            across = _between(x_v, y_v, s3, xv1, yv0) * row[D_VALUE + c]
            slope_xu = (_K1 + F(3) * _K3 * x_u * x_u) * xu1 * xu0
            slope_yu = (_K1 + F(3) * _K3 * y_u * y_u) * yu1 * yu0
            slope_xv = (_K1 + F(3) * _K3 * x_v * x_v) * xv1 * xv0
            slope_yv = (_K1 + F(3) * _K3 * y_v * y_v) * yv1 * yv0
            g_u = across * s2 * (slope_xu - slope_yu)
            g_v = along * s3 * (slope_xv - slope_yv)
            sums[c] += g_u
            sums[TILE + c] += g_v
            sums[2 * TILE + c] += g_u * dy
            sums[3 * TILE + c] += g_v * dy
            sums[4 * TILE + c] += across * (slope_xu * (u + HALF) - slope_yu * (u - HALF))
            sums[5 * TILE + c] += along * (slope_xv * (v + HALF) - slope_yv * (v - HALF))
    elif formula == EXPONENTIAL:
        for c in range(TILE):
            x = dx + F(c)
            q = s0 * x * x + F(2) * s1 * x * dy + s2 * dy * dy
            log_q = _log(max(q, _Q_MIN))
            p = _exp(min(HALF * s3 * log_q, F(80)))
            g_p = -HALF * row[VALUE + c] * row[D_VALUE + c] * p
            g_q = g_p * HALF * s3 / max(q, _Q_MIN) if q > _Q_MIN else F(0)
            sums[c] += g_q
            sums[TILE + c] += g_q * dy
            sums[2 * TILE + c] += g_q * dy * dy
            sums[3 * TILE + c] += g_p * HALF * log_q


@njit(inline="always")
def _shape_gradient(formula, splat, dx, sums, grad):  # type: ignore[no-untyped-def]
    """Add to ``grad`` what the rows left in ``sums``: the gradient of mean (2) and shape (4)."""
    s0, s1, s2 = splat[2], splat[3], splat[4]
    m0 = m1 = d0 = d1 = d2 = d3 = F(0)
    if formula == INTEGRAL:
        for c in range(TILE):
            x, g_u, g_v, g_uy, g_vy = dx + F(c), sums[c], sums[TILE + c], sums[2 * TILE + c], sums[3 * TILE + c]
            m0 += s1 * g_v - s0 * g_u
            m1 -= s1 * g_u + s0 * g_v
            d0 += g_u * x + g_vy
            d1 += g_uy - g_v * x
            d2 += sums[4 * TILE + c]
            d3 += sums[5 * TILE + c]
    else:
        for c in range(TILE):
            x, g_q, g_qy = dx + F(c), sums[c], sums[TILE + c]
            m0 -= F(2) * (s0 * x * g_q + s1 * g_qy)
            m1 -= F(2) * (s1 * x * g_q + s2 * g_qy)
            d0 += x * x * g_q
            d1 += F(2) * x * g_qy
            d2 += sums[2 * TILE + c]
            d3 += sums[3 * TILE + c]
    grad[0] += m0
    grad[1] += m1
    grad[2] += d0
    grad[3] += d1
    grad[4] += d2
    grad[5] += d3


@njit(**_OPTIONS)
def backward(  # type: ignore[no-untyped-def]
    first, last, splats, ids, starts, formula, width, height, through, stop, g_out, g_through, grads
):
    """Gradients through the tiles from ``first`` to ``last``.

    From the back, T_i = T_{i+1} / (1 - alpha_i) and, with S the loss's share of all that lies behind,
    dL/dalpha_i = T_i (c_i . g) - S / (1 - alpha_i); S starts at T_end dL/dT_end and grows by w_i (c_i . g).

    Args:
        g_out, g_through: (h, w, 4) and (h, w), gradients of what :func:`forward` wrote.
        grads: (n, 11), to which is added: mean (2), shape (4), peak, channels (4).
    """
    across = (width + TILE - 1) // TILE
    state = np.empty((TILE, FIELDS), F)
    sums, moments = np.empty(6 * TILE, F), np.empty((3 + CHANNELS) * TILE, F)
    for tile in range(first, last):
        x0, y0 = (tile % across) * TILE, (tile // across) * TILE
        columns, rows = min(TILE, width - x0), min(TILE, height - y0)
        start, stopped = starts[tile], starts[tile]
        state[:] = F(0)
        for r in range(rows):
            row = state[r]
            for c in range(columns):
                end = min(stop[y0 + r, x0 + c], starts[tile + 1])
                stopped = max(stopped, end)
                row[END + c] = F(end - start)
                row[THROUGH + c] = through[y0 + r, x0 + c]
                row[BEHIND + c] = row[THROUGH + c] * g_through[y0 + r, x0 + c]
                for j in range(CHANNELS):
                    row[TOTAL + j * TILE + c] = g_out[y0 + r, x0 + c, j]
        for k in range(stopped - 1, start - 1, -1):
            splat, grad = splats[ids[k]], grads[ids[k]]
            peak, c0, c1, c2, c3 = splat[6], splat[7], splat[8], splat[9], splat[10]
            row_first, row_last = _rows_reached(splat, y0)
            dx = F(x0) + HALF - splat[0]
            position = F(k - start)
            sums[:] = F(0)
            moments[:] = F(0)
            for r in range(row_first, row_last):
                row = state[r]
                dy = F(y0 + r) + HALF - splat[1]
                _row(formula, splat, dx, dy, row)
                for c in range(TILE):
                    value, T, behind = row[VALUE + c], row[THROUGH + c], row[BEHIND + c]
                    g0, g1 = row[TOTAL + c], row[TOTAL + TILE + c]
                    g2, g3 = row[TOTAL + 2 * TILE + c], row[TOTAL + 3 * TILE + c]
                    raw = peak * value
                    hit = (raw >= _ALPHA_MIN) & (position < row[END + c])
                    alpha = min(raw, _ALPHA_MAX) if hit else F(0)
                    left = ONE / (ONE - alpha)
                    T *= left
                    w = alpha * T
                    cg = c0 * g0 + c1 * g1 + c2 * g2 + c3 * g3
                    d_alpha = T * cg - behind * left if hit & (raw <= _ALPHA_MAX) else F(0)
                    row[THROUGH + c] = T
                    row[BEHIND + c] = behind + w * cg
                    row[D_VALUE + c] = d_alpha * peak
                    moments[c] += d_alpha * value
                    moments[TILE + c] += d_alpha * value * dy
                    moments[2 * TILE + c] += d_alpha * value * dy * dy
                    moments[3 * TILE + c] += w * g0
                    moments[4 * TILE + c] += w * g1
                    moments[5 * TILE + c] += w * g2
                    moments[6 * TILE + c] += w * g3
                if formula != GAUSSIAN:
                    _row_gradient(formula, splat, dx, dy, row, sums)
            if formula == GAUSSIAN:
                # dL/dq = -dL/dvalue value / 2, whose moments in y are those of dL/dalpha value.
                for i in range(3 * TILE):
                    sums[i] = -HALF * peak * moments[i]
            _shape_gradient(formula, splat, dx, sums, grad)
            for j in range(1 + CHANNELS):
                total = F(0)
                for c in range(TILE):
                    total += moments[(j + 2 if j else 0) * TILE + c]
                grad[6 + j] += total
