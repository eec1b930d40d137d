"""Values at corners to values at pixels and back, compiled by numba.

The public function is in face3d.render.interpolate, and so is the plain twin.
"""

from typing import no_type_check

import numba
import numpy as np


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
@no_type_check
def interpolate_batch(seen, bary, values, faces, out):
    """Fill ``out`` where a face is seen.

    Args:
        seen: (b, h, w) face or -1.
        bary: (b, h, w, 3).
        values: (b, v, c), or (1, v, c) for all.
        faces: (f, 3) rows of ``values``.
        out: (b, h, w, c), zeros.
    """
    batch, height, width = seen.shape
    for job in numba.prange(batch * height):
        b, row = job // height, job % height
        source = values[b if values.shape[0] > 1 else 0]
        for column in range(width):
            f = seen[b, row, column]
            if f < 0:
                continue
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            wi, wj, wk = bary[b, row, column, 0], bary[b, row, column, 1], bary[b, row, column, 2]
            for c in range(values.shape[2]):
                out[b, row, column, c] = wi * source[i, c] + wj * source[j, c] + wk * source[k, c]


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
@no_type_check
def pull_back_batch(seen, bary, values, faces, by_out, bands, by_bary):
    """Derivatives by the values; those by the barycentrics are written to ``by_bary``.

    Each strip of rows has its own sum, so that the result does not depend on the order of threads.

    Args:
        seen: (b, h, w) face or -1.
        bary: (b, h, w, 3).
        values: (b, v, c), or (1, v, c) for all.
        faces: (f, 3) rows of ``values``.
        by_out: (b, h, w, c).
        bands: Strips per image.
        by_bary: (b, h, w, 3), zeros.

    Returns:
        (b, v, c), also where the values are shared.
    """
    batch, height, width = seen.shape
    parts = np.zeros((batch * bands, values.shape[1], values.shape[2]), values.dtype)
    for job in numba.prange(batch * bands):
        b, strip = job // bands, job % bands
        source = values[b if values.shape[0] > 1 else 0]
        for row in range(strip * height // bands, (strip + 1) * height // bands):
            for column in range(width):
                f = seen[b, row, column]
                if f < 0:
                    continue
                i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
                wi, wj, wk = (
                    bary[b, row, column, 0],
                    bary[b, row, column, 1],
                    bary[b, row, column, 2],
                )
                gi = gj = gk = 0.0
                for c in range(values.shape[2]):
                    g = by_out[b, row, column, c]
                    gi += g * source[i, c]
                    gj += g * source[j, c]
                    gk += g * source[k, c]
                    parts[job, i, c] += wi * g
                    parts[job, j, c] += wj * g
                    parts[job, k, c] += wk * g
                by_bary[b, row, column, 0] = gi
                by_bary[b, row, column, 1] = gj
                by_bary[b, row, column, 2] = gk
    return parts.reshape(batch, bands, values.shape[1], values.shape[2]).sum(axis=1)
