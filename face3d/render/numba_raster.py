"""The CPU rasterizer's loops, compiled by numba: coverage in integers, then values at pixels.

Corners come as homogeneous pixels ``(u z, v z, z)``: linear in camera space, so that faces which
cross the near plane need no other arithmetic than clipping. The public function with checks is in
face3d.render.rasterize, the plain twin that these loops are held to in face3d.render.torch_twin.
"""

from typing import no_type_check

import numba
import numpy as np

SUBPIXEL = 256
"""Steps per pixel to which corners are snapped, so that edge tests are exact in integers."""

OVERSHOOT = 0.05
"""Barycentrics may leave [0, 1] this far, as snapping asks for; of slivers more is cut off."""

GUARD_PX = 2.0**20
"""Faces are clipped this far out; farther corners would overflow the integer edge functions."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _distances(point, near_m, out):
    """Signed distances to the planes that bound what can be drawn; negative is outside."""
    out[0] = point[2] - near_m
    out[1] = GUARD_PX * point[2] - point[0]
    out[2] = GUARD_PX * point[2] + point[0]
    out[3] = GUARD_PX * point[2] - point[1]
    out[4] = GUARD_PX * point[2] + point[1]


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _clip(polygon, count, near_m):
    """Clip a convex polygon of ``count`` homogeneous corners in place (Sutherland & Hodgman, 1974).

    ``polygon`` has room for eight corners: each of the five planes adds at most one.
    """
    other = np.zeros_like(polygon)
    d = np.zeros((8, 5))
    for plane in range(5):
        for k in range(count):
            _distances(polygon[k], near_m, d[k])
        kept = 0
        for k in range(count):
            n = (k + 1) % count
            a, b = d[k, plane], d[n, plane]
            if a >= 0:
                other[kept] = polygon[k]
                kept += 1
            if (a >= 0) != (b >= 0):
                # From the inside out, whichever way the face runs: neighbours agree on the point.
                if a >= 0:
                    other[kept] = polygon[k] + (polygon[n] - polygon[k]) * (a / (a - b))
                else:
                    other[kept] = polygon[n] + (polygon[k] - polygon[n]) * (b / (b - a))
                kept += 1
        count = kept
        polygon[:count] = other[:count]
        if count < 3:
            return 0
    return count


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _fill(x0, y0, x1, y1, x2, y2, r0, r1, r2, f, first_row, end_row, cull_back, seen, nearness):
    """Fill one triangle of snapped corners and inverse depths into rows [first_row, end_row)."""
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    # Front faces run counter-clockwise for the viewer: negative area, since y points down.
    if area == 0 or (cull_back and area > 0):
        return
    if area < 0:
        x1, x2, y1, y2, r1, r2 = x2, x1, y2, y1, r2, r1
        area = -area
    half = SUBPIXEL // 2
    left = max(0, (min(x0, x1, x2) - half + SUBPIXEL - 1) // SUBPIXEL)
    right = min(seen.shape[1] - 1, (max(x0, x1, x2) - half) // SUBPIXEL)
    top = max(first_row, (min(y0, y1, y2) - half + SUBPIXEL - 1) // SUBPIXEL)
    bottom = min(end_row - 1, (max(y0, y1, y2) - half) // SUBPIXEL)
    if left > right or top > bottom:
        return
    # Edge opposite corner k, positive inside; a pixel centre exactly on an edge belongs to the
    # triangle only on a top or left edge, so that neighbours never share or drop it.
    dx_0, dy_0 = x2 - x1, y2 - y1
    dx_1, dy_1 = x0 - x2, y0 - y2
    dx_2, dy_2 = x1 - x0, y1 - y0
    bias0 = 0 if (dy_0 < 0 or (dy_0 == 0 and dx_0 > 0)) else -1
    bias1 = 0 if (dy_1 < 0 or (dy_1 == 0 and dx_1 > 0)) else -1
    bias2 = 0 if (dy_2 < 0 or (dy_2 == 0 and dx_2 > 0)) else -1
    px = left * SUBPIXEL + half
    py = top * SUBPIXEL + half
    e0_row = dx_0 * (py - y1) - dy_0 * (px - x1) + bias0
    e1_row = dx_1 * (py - y2) - dy_1 * (px - x2) + bias1
    e2_row = dx_2 * (py - y0) - dy_2 * (px - x0) + bias2
    # The inverse depth is linear in the picture.
    share = 1.0 / area
    g0, g1, g2 = r0 * share, r1 * share, r2 * share
    shift = -(bias0 * g0 + bias1 * g1 + bias2 * g2)
    for row in range(top, bottom + 1):
        e0, e1, e2 = e0_row, e1_row, e2_row
        for column in range(left, right + 1):
            if (e0 | e1 | e2) >= 0:
                near = np.float32(e0 * g0 + e1 * g1 + e2 * g2 + shift)
                if near > nearness[row - first_row, column]:
                    nearness[row - first_row, column] = near
                    seen[row, column] = f
            e0 -= dy_0 * SUBPIXEL
            e1 -= dy_1 * SUBPIXEL
            e2 -= dy_2 * SUBPIXEL
        e0_row += dx_0 * SUBPIXEL
        e1_row += dx_1 * SUBPIXEL
        e2_row += dx_2 * SUBPIXEL


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _snap(value):
    return np.int64(np.floor(value * SUBPIXEL + 0.5))


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _snap_corners(corners, near_m, x, y, inverse):
    """Snapped pixels and inverse depths of all corners; those that need clipping get zero."""
    for v in range(corners.shape[0]):
        z = corners[v, 2]
        inverse[v] = 0.0
        if z >= near_m:
            u, w = corners[v, 0] / z, corners[v, 1] / z
            if abs(u) <= GUARD_PX and abs(w) <= GUARD_PX:
                x[v], y[v], inverse[v] = _snap(u), _snap(w), 1.0 / z


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _fill_band(corners, faces, x, y, inverse, rows, near_m, cull_back, seen, nearness):
    """Rasterize every face into a band of rows of one image."""
    first_row, end_row = rows
    low, high = first_row * SUBPIXEL, end_row * SUBPIXEL
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        r0, r1, r2 = inverse[a], inverse[b], inverse[c]
        if r0 > 0 and r1 > 0 and r2 > 0:
            y0, y1, y2 = y[a], y[b], y[c]
            if min(y0, y1, y2) < high and max(y0, y1, y2) > low:
                _fill(x[a], y0, x[b], y1, x[c], y2, r0, r1, r2,
                      f, first_row, end_row, cull_back, seen, nearness)  # fmt: skip
            continue
        if corners[a, 2] < near_m and corners[b, 2] < near_m and corners[c, 2] < near_m:
            continue
        polygon = np.zeros((8, 3))
        polygon[0], polygon[1], polygon[2] = corners[a], corners[b], corners[c]
        count = _clip(polygon, 3, near_m)
        for k in range(1, count - 1):
            p, q, s = polygon[0], polygon[k], polygon[k + 1]
            _fill(_snap(p[0] / p[2]), _snap(p[1] / p[2]), _snap(q[0] / q[2]), _snap(q[1] / q[2]),
                  _snap(s[0] / s[2]), _snap(s[1] / s[2]), 1 / p[2], 1 / q[2], 1 / s[2],
                  f, first_row, end_row, cull_back, seen, nearness)  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def ray_weights(corners, a, b, c, u, v):
    """Barycentrics, up to their sum, of the point where the ray of pixel (u, v) meets a face.

    Returns:
        The corners' x and their y, taken from the pixel and times depth, and the three weights.
    """
    xa, ya = corners[a, 0] - u * corners[a, 2], corners[a, 1] - v * corners[a, 2]
    xb, yb = corners[b, 0] - u * corners[b, 2], corners[b, 1] - v * corners[b, 2]
    xc, yc = corners[c, 0] - u * corners[c, 2], corners[c, 1] - v * corners[c, 2]
    weights = (xb * yc - xc * yb, xc * ya - xa * yc, xa * yb - xb * ya)
    return (xa, xb, xc), (ya, yb, yc), weights


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _resolve_band(corners, faces, rows, seen, bary, depth):
    """Barycentrics and depth of what each pixel of a band sees, where its ray meets the face."""
    for row in range(rows[0], rows[1]):
        v = row + 0.5
        for column in range(seen.shape[1]):
            f = seen[row, column]
            if f < 0:
                bary[row, column, 0] = 0.0
                bary[row, column, 1] = 0.0
                bary[row, column, 2] = 0.0
                depth[row, column] = np.inf
                continue
            u = column + 0.5
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            za, zb, zc = corners[a, 2], corners[b, 2], corners[c, 2]
            _, _, (wa, wb, wc) = ray_weights(corners, a, b, c, u, v)
            total = wa + wb + wc
            if total != 0.0:
                wa, wb, wc = wa / total, wb / total, wc / total
            else:
                wa, wb, wc = 1.0, 1.0, 1.0
            if total == 0.0 or min(wa, wb, wc) < -OVERSHOOT:
                wa, wb, wc = max(wa, 0.0), max(wb, 0.0), max(wc, 0.0)
                total = wa + wb + wc
                wa, wb, wc = wa / total, wb / total, wc / total
            bary[row, column, 0] = wa
            bary[row, column, 1] = wb
            bary[row, column, 2] = wc
            depth[row, column] = wa * za + wb * zb + wc * zc


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
@no_type_check
def rasterize_batch(corners, faces, near_m, cull_back, bands, seen, bary, depth):
    """Rasterize a batch in place, split into ``bands`` horizontal strips per image.

    Args:
        corners: (b, v, 3) float64, homogeneous pixels; finite.
        faces: (f, 3) integers, indices already checked.
        near_m: Faces are clipped at this depth.
        cull_back: Leave out faces that turn their back.
        bands: Strips per image; each is one unit of parallel work.
        seen: (b, h, w) int64, of any content.
        bary: (b, h, w, 3), of any content.
        depth: (b, h, w), of any content.
    """
    batch, height = seen.shape[0], seen.shape[1]
    x = np.zeros((batch, corners.shape[1]), np.int64)
    y = np.zeros((batch, corners.shape[1]), np.int64)
    inverse = np.zeros((batch, corners.shape[1]))
    for b in numba.prange(batch):
        _snap_corners(corners[b], near_m, x[b], y[b], inverse[b])
    for job in numba.prange(batch * bands):
        b, strip = job // bands, job % bands
        rows = (strip * height // bands, (strip + 1) * height // bands)
        seen[b, rows[0] : rows[1]] = -1
        nearness = np.zeros((rows[1] - rows[0], seen.shape[2]), np.float32)
        _fill_band(
            corners[b], faces, x[b], y[b], inverse[b], rows, near_m, cull_back, seen[b], nearness
        )
        _resolve_band(corners[b], faces, rows, seen[b], bary[b], depth[b])


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _pull_back_band(corners, faces, rows, seen, bary, by_bary, by_depth, by_corners):
    """Add a band's derivatives by barycentrics and depth to those by the corners.

    With w_a = x_b y_c - x_c y_b (and so on in turn) and b_k = w_k / sum(w), a small change of w_k
    moves every barycentric; the corner's x and y, taken from the pixel, follow from x = X - u Z.
    Where barycentrics were cut off there is no derivative.
    """
    for row in range(rows[0], rows[1]):
        v = row + 0.5
        for column in range(seen.shape[1]):
            f = seen[row, column]
            if f < 0:
                continue
            u = column + 0.5
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            za, zb, zc = corners[a, 2], corners[b, 2], corners[c, 2]
            (xa, xb, xc), (ya, yb, yc), (wa, wb, wc) = ray_weights(corners, a, b, c, u, v)
            total = wa + wb + wc
            if total == 0.0 or min(wa / total, wb / total, wc / total) < -OVERSHOOT:
                continue
            share = 1.0 / total
            ba, bb, bc = bary[row, column, 0], bary[row, column, 1], bary[row, column, 2]
            gd = by_depth[row, column]
            ga = by_bary[row, column, 0] + gd * za
            gb = by_bary[row, column, 1] + gd * zb
            gc = by_bary[row, column, 2] + gd * zc
            mean = ga * ba + gb * bb + gc * bc
            ga, gb, gc = (ga - mean) * share, (gb - mean) * share, (gc - mean) * share
            gxa, gya = gc * yb - gb * yc, gb * xc - gc * xb
            gxb, gyb = ga * yc - gc * ya, gc * xa - ga * xc
            gxc, gyc = gb * ya - ga * yb, ga * xb - gb * xa
            by_corners[a, 0] += gxa
            by_corners[a, 1] += gya
            by_corners[a, 2] += gd * ba - u * gxa - v * gya
            by_corners[b, 0] += gxb
            by_corners[b, 1] += gyb
            by_corners[b, 2] += gd * bb - u * gxb - v * gyb
            by_corners[c, 0] += gxc
            by_corners[c, 1] += gyc
            by_corners[c, 2] += gd * bc - u * gxc - v * gyc


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
@no_type_check
def pull_back_batch(corners, faces, bands, seen, bary, by_bary, by_depth):
    """Derivatives by the corners (b, v, 3) from those by barycentrics and depth.

    Each strip has its own sum, so that the result does not depend on the order of threads.
    """
    batch, height = seen.shape[0], seen.shape[1]
    parts = np.zeros((batch * bands, corners.shape[1], 3))
    for job in numba.prange(batch * bands):
        b, strip = job // bands, job % bands
        rows = (strip * height // bands, (strip + 1) * height // bands)
        _pull_back_band(
            corners[b], faces, rows, seen[b], bary[b], by_bary[b], by_depth[b], parts[job]
        )
    return parts.reshape(batch, bands, corners.shape[1], 3).sum(axis=1)
