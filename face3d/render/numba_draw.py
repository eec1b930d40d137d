"""Shading without gradients in one pass over the pixels, compiled by numba.

The formulas are those of face3d.render.light and face3d.render.texture, to which a test holds them;
there each step is an operation of torch and has a derivative, here none is stored.
"""

from typing import no_type_check

import numba
import numpy as np

from face3d.render.light import SKIN_REFLECTANCE
from face3d.render.numba_footprint import footprint_at
from face3d.render.numba_texture import sample_into
from face3d.render.shade import SH_SCALE

SH = tuple(np.float32(scale) for scale in SH_SCALE)
F0 = np.float32(SKIN_REFLECTANCE)
LOOSE = {"contract", "reassoc", "nsz", "arcp"}
"""Arithmetic may be rearranged, but must still know what is not a number."""

# A literal would turn every product into double precision, which is slower here.
ZERO, QUARTER, HALF, ONE, TWO, THREE = (np.float32(x) for x in (0, 0.25, 0.5, 1, 2, 3))
STRIP = 64
"""Columns that one thread blends at a time."""

TINY, DIM, ROUGH = np.float32(1e-12), np.float32(1e-3), np.float32(0.05)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=LOOSE)
@no_type_check
def _irradiance(sh, c, x, y, z):
    """Light from everywhere at a normal, of one colour."""
    total = sh[0, c] * SH[0] + SH[1] * (sh[1, c] * x + sh[2, c] * y + sh[3, c] * z)
    total += SH[2] * (sh[4, c] * x * y + sh[5, c] * x * z + sh[6, c] * y * z)
    total += SH[3] * sh[7, c] * (x * x - y * y) + SH[4] * sh[8, c] * (THREE * z * z - ONE)
    return max(total, ZERO)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=LOOSE)
@no_type_check
def _towards(lamps, number, px, py, pz):
    """Unit vector to a directional (kind 0) or point light (kind 1), and its strength there."""
    lx, ly, lz = lamps[number, 1], lamps[number, 2], lamps[number, 3]
    if lamps[number, 0] == ZERO:
        return lx, ly, lz, ONE
    lx, ly, lz = lx - px, ly - py, lz - pz
    square = max(lx * lx + ly * ly + lz * lz, TINY)
    share = ONE / np.sqrt(square)
    return lx * share, ly * share, lz * share, ONE / square


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=LOOSE)
@no_type_check
def _shine(cosine, to_eye, seen, rough):
    """The specular lobe's part of the light, and the share that is reflected at the surface."""
    double = np.sqrt(max(TWO + TWO * to_eye, TINY))
    slant = max(ONE - HALF * double, ZERO)
    fresnel = F0 + (ONE - F0) * slant * slant * slant * slant * slant
    if rough >= ONE or cosine <= ZERO:
        return ZERO, fresnel
    along = max((cosine + seen) / double, ZERO)
    alpha = max(rough, ROUGH) * max(rough, ROUGH)
    spread = along * along * (alpha * alpha - ONE) + ONE
    k = HALF * alpha
    near = max(seen, DIM)
    below = spread * spread * (cosine * (ONE - k) + k) * (near * (ONE - k) + k)
    return QUARTER * cosine * alpha * alpha * fresnel / below, fresnel


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy", fastmath=LOOSE)
@no_type_check
def draw_batch(
    seen, bary, corners, faces, vertices, normals, reached, uv, uv_faces, pyramid, size, clay,
    eyes, lit, sh, singles, rough, wrap, behind, out,
):  # fmt: skip
    """Fill ``out`` with linear RGB over the background, and coverage.

    Args:
        seen: (b, h, w) face or -1.
        bary: (b, h, w, 3).
        corners: (b, v, 3) float64, homogeneous pixels.
        faces: (f, 3).
        vertices: (b, v, 3).
        normals: (b, v, 3).
        reached: (b or 1, v, 1 + lights), shadows; no rows for none.
        uv: (t, 2) float64.
        uv_faces: (f, 3).
        pyramid: (b or 1, 3, texels) linear; no rows for clay.
        size: Texels on a side.
        clay: Albedo without texture.
        eyes: (b or 1, 3).
        lit: Whether there are lights at all.
        sh: (b or 1, 9, 3).
        singles: (b or 1, lights, 7): kind, place or unit direction, colour.
        rough: (f,).
        wrap: (f, 2, 3), how far light creeps around and what keeps its sum.
        behind: (b or 1, h or 1, w or 1, 3) linear.
        out: (b, h, w, 4), of any content.
    """
    batch, height, width = seen.shape
    lights, textured, shadowed = singles.shape[1], pyramid.shape[0] > 0, reached.shape[0] > 0
    for job in numba.prange(batch * height):
        b, row = job // height, job % height
        view = behind[b % behind.shape[0], row % behind.shape[1]]
        lamps, harmonics = singles[b % singles.shape[0]], sh[b % sh.shape[0]]
        cast = reached[b % max(reached.shape[0], 1)] if shadowed else reached[0:0, 0]
        image = b % max(pyramid.shape[0], 1)
        places, upright, points = vertices[b], normals[b], corners[b]
        seat = eyes[b % eyes.shape[0]]
        step = 0 if view.shape[0] == 1 else 1
        albedo, total = np.zeros((1, 3), np.float32), np.zeros(3, np.float32)
        for column in range(width):
            f = seen[b, row, column]
            if f < 0:
                for c in range(3):
                    out[b, row, column, c] = view[column * step, c]
                out[b, row, column, 3] = 0.0
                continue
            out[b, row, column, 3] = 1.0
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            wi, wj, wk = bary[b, row, column, 0], bary[b, row, column, 1], bary[b, row, column, 2]
            for c in range(3):
                albedo[0, c] = ZERO if textured else clay
            if textured:
                p, q, r = uv_faces[f, 0], uv_faces[f, 1], uv_faces[f, 2]
                u = wi * uv[p, 0] + wj * uv[q, 0] + wk * uv[r, 0]
                v = wi * uv[p, 1] + wj * uv[q, 1] + wk * uv[r, 1]
                extent = footprint_at(points, uv, i, j, k, p, q, r, column + 0.5, row + 0.5)
                sample_into(pyramid, image, size, u, v, extent, albedo, 0)
            if not lit:
                for c in range(3):
                    out[b, row, column, c] = albedo[0, c]
                continue
            px = wi * places[i, 0] + wj * places[j, 0] + wk * places[k, 0]
            py = wi * places[i, 1] + wj * places[j, 1] + wk * places[k, 1]
            pz = wi * places[i, 2] + wj * places[j, 2] + wk * places[k, 2]
            nx = wi * upright[i, 0] + wj * upright[j, 0] + wk * upright[k, 0]
            ny = wi * upright[i, 1] + wj * upright[j, 1] + wk * upright[k, 1]
            nz = wi * upright[i, 2] + wj * upright[j, 2] + wk * upright[k, 2]
            length = ONE / np.sqrt(max(nx * nx + ny * ny + nz * nz, TINY))
            nx, ny, nz = nx * length, ny * length, nz * length
            ex, ey, ez = seat[0] - px, seat[1] - py, seat[2] - pz
            length = ONE / np.sqrt(max(ex * ex + ey * ey + ez * ez, TINY))
            ex, ey, ez = ex * length, ey * length, ez * length
            seen_by = nx * ex + ny * ey + nz * ez
            ambient = ONE
            if shadowed:
                ambient = wi * cast[i, 0] + wj * cast[j, 0] + wk * cast[k, 0]
            for c in range(3):
                light = _irradiance(harmonics, c, nx, ny, nz)
                if shadowed:
                    light *= ambient / (ONE - albedo[0, c] * (ONE - ambient))
                total[c] = albedo[0, c] * light
            for number in range(lights):
                lx, ly, lz, share = _towards(lamps, number, px, py, pz)
                if shadowed:
                    at = number + 1
                    share *= wi * cast[i, at] + wj * cast[j, at] + wk * cast[k, at]
                cosine = nx * lx + ny * ly + nz * lz
                to_eye = ex * lx + ey * ly + ez * lz
                shine, fresnel = _shine(cosine, to_eye, seen_by, rough[f])
                through = ONE - fresnel
                for c in range(3):
                    diffuse = max(cosine + wrap[f, 0, c], ZERO) * wrap[f, 1, c]
                    part = through * diffuse * albedo[0, c] + shine
                    total[c] += share * lamps[number, 4 + c] * part
            for c in range(3):
                out[b, row, column, c] = total[c]


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _blend_pair(points, edges, towards, layer, out, b, row, column, axis):
    """Mix a pixel and its right (axis 0) or lower (axis 1) neighbour across their edge."""
    first, last = edges[b, row, column, axis, 0], edges[b, row, column, axis, 1]
    r, c = row + axis, column + 1 - axis
    front_r, front_c, back_r, back_c, sign = row, column, r, c, 1.0
    if towards[b, row, column, axis]:
        front_r, front_c, back_r, back_c, sign = r, c, row, column, -1.0
    centre = front_r + 0.5 if axis else front_c + 0.5
    line = front_c + 0.5 if axis else front_r + 0.5
    across = points[b, last, 1 - axis] - points[b, first, 1 - axis]
    run = points[b, last, axis] - points[b, first, axis]
    crossing = points[b, first, axis] + (line - points[b, first, 1 - axis]) * run / across
    reach = min(max(sign * (crossing - centre), 0.0), 1.0) - 0.5
    for k in range(layer.shape[3]):
        step = reach * (layer[b, front_r, front_c, k] - layer[b, back_r, back_c, k])
        if reach > 0:
            out[b, back_r, back_c, k] += step
        else:
            out[b, front_r, front_c, k] += step


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
@no_type_check
def blend_silhouettes(points, edges, towards, layer, out):
    """What face3d.render.antialias does with the silhouettes that were found.

    Args:
        points: (b, v, 2) px.
        edges: (b, h, w, 2, 2) as of ``find_silhouettes``.
        towards: (b, h, w, 2).
        layer: (b, h, w, c).
        out: (b, h, w, c), a copy of ``layer``.
    """
    batch, height, width, _ = layer.shape
    # Pairs along rows, then pairs along columns: each thread's pixels are its own.
    for job in numba.prange(batch * height):
        b, row = job // height, job % height
        for column in range(width):
            if edges[b, row, column, 0, 0] >= 0:
                _blend_pair(points, edges, towards, layer, out, b, row, column, 0)
    strips = (width + STRIP - 1) // STRIP
    for job in numba.prange(batch * strips):
        b, first = job // strips, job % strips * STRIP
        for row in range(height):
            for column in range(first, min(first + STRIP, width)):
                if edges[b, row, column, 1, 0] >= 0:
                    _blend_pair(points, edges, towards, layer, out, b, row, column, 1)


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy", fastmath=LOOSE)
@no_type_check
def finish_batch(layer, block, curve, out):
    """Average blocks of pixels, encode colours, and put channels first.

    Args:
        layer: (b, h * block, w * block, 4) linear.
        block: Samples per pixel along each axis.
        curve: Encoded colour at squares of evenly spaced values from 0 to 1; empty for linear.
        out: (b, 4, h, w), of any content.
    """
    batch, _, height, width = out.shape
    share = ONE / np.float32(block * block)
    steps = np.float32(len(curve) - 1)
    for job in numba.prange(batch * height):
        b, row = job // height, job % height
        for column in range(width):
            for c in range(4):
                total = ZERO
                for y in range(row * block, (row + 1) * block):
                    for x in range(column * block, (column + 1) * block):
                        total += layer[b, y, x, c]
                value = total * share
                if c < 3 and steps > ZERO:
                    value = min(value, ONE) if value > ZERO else ZERO  # zero if not a number
                    place = np.sqrt(value) * steps
                    below = min(int(place), len(curve) - 2)
                    value = curve[below] + (place - np.float32(below)) * (
                        curve[below + 1] - curve[below]
                    )
                out[b, c, row, column] = value
