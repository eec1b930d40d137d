"""The CPU rasterizer's inner loops, compiled by numba.

Plain arrays in and out; the public function with checks is in face3d.render.rasterize, and the
plain twin that this kernel is held to is in face3d.render.torch_twin.
"""

from typing import no_type_check

import numba
import numpy as np

SUBPIXEL = 256
"""Steps per pixel to which corners are snapped, so that edge tests are exact in integers."""


@numba.njit(cache=True, nogil=True)
@no_type_check
def _fill_band(points, faces, first_row, end_row, near_m, cull_back, face_index, bary, depth):
    """Rasterize every face into the rows [first_row, end_row) of one image."""
    width = face_index.shape[1]
    limit = 2.0**20  # px; farther corners would overflow the integer edge functions
    for f in range(faces.shape[0]):
        i0, i1, i2 = faces[f, 0], faces[f, 1], faces[f, 2]
        z0, z1, z2 = points[i0, 2], points[i1, 2], points[i2, 2]
        if not (z0 > near_m and z1 > near_m and z2 > near_m):
            continue
        far = max(
            abs(points[i0, 0]),
            abs(points[i0, 1]),
            abs(points[i1, 0]),
            abs(points[i1, 1]),
            abs(points[i2, 0]),
            abs(points[i2, 1]),
        )
        if not far < limit:
            continue
        x0 = np.int64(np.floor(points[i0, 0] * SUBPIXEL + 0.5))
        y0 = np.int64(np.floor(points[i0, 1] * SUBPIXEL + 0.5))
        x1 = np.int64(np.floor(points[i1, 0] * SUBPIXEL + 0.5))
        y1 = np.int64(np.floor(points[i1, 1] * SUBPIXEL + 0.5))
        x2 = np.int64(np.floor(points[i2, 0] * SUBPIXEL + 0.5))
        y2 = np.int64(np.floor(points[i2, 1] * SUBPIXEL + 0.5))
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        # Front faces run counter-clockwise for the viewer: negative area, since y points down.
        if area == 0 or (cull_back and area > 0):
            continue
        swapped = area < 0
        if swapped:
            i1, i2 = i2, i1
            x1, x2, y1, y2, z1, z2 = x2, x1, y2, y1, z2, z1
            area = -area
        half = SUBPIXEL // 2
        left = max(0, (min(x0, x1, x2) - half + SUBPIXEL - 1) // SUBPIXEL)
        right = min(width - 1, (max(x0, x1, x2) - half) // SUBPIXEL)
        top = max(first_row, (min(y0, y1, y2) - half + SUBPIXEL - 1) // SUBPIXEL)
        bottom = min(end_row - 1, (max(y0, y1, y2) - half) // SUBPIXEL)
        if left > right or top > bottom:
            continue
        # Edge opposite corner k, positive inside; a pixel centre exactly on an edge belongs to
        # the triangle only on a top or left edge, so that neighbours never share or drop it.
        dx_0, dy_0 = x2 - x1, y2 - y1
        dx_1, dy_1 = x0 - x2, y0 - y2
        dx_2, dy_2 = x1 - x0, y1 - y0
        bias0 = 0 if (dy_0 < 0 or (dy_0 == 0 and dx_0 > 0)) else -1
        bias1 = 0 if (dy_1 < 0 or (dy_1 == 0 and dx_1 > 0)) else -1
        bias2 = 0 if (dy_2 < 0 or (dy_2 == 0 and dx_2 > 0)) else -1
        px = left * SUBPIXEL + half
        inverse_area = 1.0 / area
        r0, r1, r2 = 1.0 / z0, 1.0 / z1, 1.0 / z2
        for row in range(top, bottom + 1):
            py = row * SUBPIXEL + half
            e0 = dx_0 * (py - y1) - dy_0 * (px - x1)
            e1 = dx_1 * (py - y2) - dy_1 * (px - x2)
            e2 = dx_2 * (py - y0) - dy_2 * (px - x0)
            for column in range(left, right + 1):
                if (e0 + bias0) >= 0 and (e1 + bias1) >= 0 and (e2 + bias2) >= 0:
                    w0 = e0 * inverse_area * r0
                    w1 = e1 * inverse_area * r1
                    w2 = e2 * inverse_area * r2
                    z = 1.0 / (w0 + w1 + w2)
                    if z < depth[row, column]:
                        depth[row, column] = z
                        face_index[row, column] = f
                        bary[row, column, 0] = w0 * z
                        if swapped:
                            bary[row, column, 1] = w2 * z
                            bary[row, column, 2] = w1 * z
                        else:
                            bary[row, column, 1] = w1 * z
                            bary[row, column, 2] = w2 * z
                e0 -= dy_0 * SUBPIXEL
                e1 -= dy_1 * SUBPIXEL
                e2 -= dy_2 * SUBPIXEL


@numba.njit(cache=True, parallel=True, nogil=True)
@no_type_check
def rasterize_batch(points, faces, near_m, cull_back, bands, face_index, bary, depth):
    """Rasterize a batch in place, split into ``bands`` horizontal strips per image.

    Args:
        points: (b, v, 3) float64, x and y in px, z the depth in metres.
        faces: (f, 3) int64, indices already checked.
        near_m: Faces with a corner at or before this depth are left out.
        cull_back: Leave out faces that turn their back.
        bands: Strips per image; each is one unit of parallel work.
        face_index: (b, h, w) int64, filled with -1.
        bary: (b, h, w, 3) float32, zeros.
        depth: (b, h, w) float32, infinity.
    """
    batch, height = face_index.shape[0], face_index.shape[1]
    for job in numba.prange(batch * bands):
        b, strip = job // bands, job % bands
        _fill_band(
            points[b],
            faces,
            strip * height // bands,
            (strip + 1) * height // bands,
            near_m,
            cull_back,
            face_index[b],
            bary[b],
            depth[b],
        )
