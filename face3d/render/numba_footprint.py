"""How much of a texture one pixel covers, compiled by numba."""

from typing import no_type_check

import numba
import numpy as np

from face3d.render.numba_raster import ray_weights


@numba.njit(cache=True, nogil=True)
@no_type_check
def _uv_at(corners, uv, i, j, k, p, q, r, u, v):
    """Texture coordinates where the ray of pixel (u, v) meets the plane of a face."""
    _, _, (wi, wj, wk) = ray_weights(corners, i, j, k, u, v)
    total = wi + wj + wk
    if total == 0.0:
        return uv[p, 0], uv[p, 1]
    return (
        (wi * uv[p, 0] + wj * uv[q, 0] + wk * uv[r, 0]) / total,
        (wi * uv[p, 1] + wj * uv[q, 1] + wk * uv[r, 1]) / total,
    )


@numba.njit(cache=True, parallel=True, nogil=True)
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
            u, v = column + 0.5, row + 0.5
            # A quarter of a pixel to each side stays on the face's plane without overshooting.
            au, av = _uv_at(points, uv, i, j, k, p, q, r, u - 0.25, v)
            bu, bv = _uv_at(points, uv, i, j, k, p, q, r, u + 0.25, v)
            cu, cv = _uv_at(points, uv, i, j, k, p, q, r, u, v - 0.25)
            du, dv = _uv_at(points, uv, i, j, k, p, q, r, u, v + 0.25)
            along = 2 * np.sqrt((bu - au) ** 2 + (bv - av) ** 2)
            down = 2 * np.sqrt((du - cu) ** 2 + (dv - cv) ** 2)
            out[b, row, column] = max(along, down)
