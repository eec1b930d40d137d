"""How much of a texture one pixel covers, compiled by numba."""

from typing import no_type_check

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def footprint_at(corners, uv, i, j, k, p, q, r, u, v):
    """The longer side of the footprint of pixel (u, v) on a face, in texture coordinates.

    A corner's weight at (u, v) is the product of (u, v, 1) with the cross product of the other two
    corners, so weights and their derivatives need no more than these three vectors.
    """
    xi, yi, zi = corners[i, 0], corners[i, 1], corners[i, 2]
    xj, yj, zj = corners[j, 0], corners[j, 1], corners[j, 2]
    xk, yk, zk = corners[k, 0], corners[k, 1], corners[k, 2]
    ai, bi = yj * zk - zj * yk, zj * xk - xj * zk
    aj, bj = yk * zi - zk * yi, zk * xi - xk * zi
    ak, bk = yi * zj - zi * yj, zi * xj - xi * zj
    wi = ai * u + bi * v + xj * yk - yj * xk
    wj = aj * u + bj * v + xk * yi - yk * xi
    wk = ak * u + bk * v + xi * yj - yi * xj
    total = wi + wj + wk
    if total == 0.0:
        return 0.0
    share = 1.0 / total
    s = (wi * uv[p, 0] + wj * uv[q, 0] + wk * uv[r, 0]) * share
    t = (wi * uv[p, 1] + wj * uv[q, 1] + wk * uv[r, 1]) * share
    su = ai * (uv[p, 0] - s) + aj * (uv[q, 0] - s) + ak * (uv[r, 0] - s)
    tu = ai * (uv[p, 1] - t) + aj * (uv[q, 1] - t) + ak * (uv[r, 1] - t)
    sv = bi * (uv[p, 0] - s) + bj * (uv[q, 0] - s) + bk * (uv[r, 0] - s)
    tv = bi * (uv[p, 1] - t) + bj * (uv[q, 1] - t) + bk * (uv[r, 1] - t)
    return np.sqrt(max(su * su + tu * tu, sv * sv + tv * tv)) * abs(share)


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
@no_type_check
def footprint_batch(corners, faces, seen, uv, uv_faces, out):
    """The longer side of each pixel's footprint, in texture coordinates.

    Args:
        corners: (b, v, 3) float64, homogeneous pixels.
        faces: (f, 3).
        seen: (b, h, w) face or -1.
        uv: (t, 2).
        uv_faces: (f, 3) rows of ``uv``.
        out: (b, h, w), zeros.
    """
    batch, height, width = seen.shape
    for job in numba.prange(batch * height):
        b, row = job // height, job % height
        points = corners[b]
        for column in range(width):
            f = seen[b, row, column]
            if f < 0:
                continue
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            p, q, r = uv_faces[f, 0], uv_faces[f, 1], uv_faces[f, 2]
            out[b, row, column] = footprint_at(
                points, uv, i, j, k, p, q, r, column + 0.5, row + 0.5
            )
