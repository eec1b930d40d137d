"""Texture pyramids and looking them up, compiled by numba.

A pyramid is flat: the texture row by row, then its halving, and so on down to one texel. The
public functions and the plain twin are in face3d.render.texture.
"""

from typing import no_type_check

import numba
import numpy as np


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
@no_type_check
def fill_pyramid(pyramid, size):
    """Halve the finest level of (n, c, total), already there, down to one texel."""
    count, channels, _ = pyramid.shape
    fine, side = 0, size
    while side > 1:
        half = side // 2
        coarse = fine + side * side
        for job in numba.prange(count * channels * half):
            n, c, row = job // half // channels, job // half % channels, job % half
            for column in range(half):
                at, to = fine + 2 * (row * side + column), coarse + row * half + column
                upper = pyramid[n, c, at] + pyramid[n, c, at + 1]
                lower = pyramid[n, c, at + side] + pyramid[n, c, at + side + 1]
                pyramid[n, c, to] = (upper + lower) / 4
        fine, side = coarse, half


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
@no_type_check
def pull_back_pyramid(by_pyramid, size):
    """Derivatives by every level become those by the finest, in place."""
    count, channels, total = by_pyramid.shape
    half, coarse = 1, total - 1
    while half < size:
        side = 2 * half
        fine = coarse - side * side
        for job in numba.prange(count * channels * half):
            n, c, row = job // half // channels, job // half % channels, job % half
            for column in range(half):
                to, at = fine + 2 * (row * side + column), coarse + row * half + column
                part = by_pyramid[n, c, at] / 4
                by_pyramid[n, c, to] += part
                by_pyramid[n, c, to + 1] += part
                by_pyramid[n, c, to + side] += part
                by_pyramid[n, c, to + side + 1] += part
        half, coarse = side, fine


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _levels(size, footprint):
    """The finer of the two levels between which a footprint lies, and the share of the coarser."""
    texels = footprint * size
    if not texels > 1.0:  # also where it is not a number
        return 0, 0.0
    level = np.log2(np.float32(texels))
    if texels >= size:
        last = 0
        while (size >> last) > 1:
            last += 1
        return last, 0.0
    finer = int(level)
    return finer, level - finer


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _start(size, level):
    """Where a level begins in a flat pyramid."""
    side = size >> level
    return 4 * (size * size - side * side) // 3


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _between(place, side):
    """Texels on both sides of a place along an axis, the share of the second, its derivative."""
    at = place * side - 0.5
    if not at > 0.0:  # also where the place is not a number
        return 0, 0, 0.0, 0.0
    if at >= side - 1:
        return side - 1, side - 1, 0.0, 0.0
    first = int(at)
    return first, first + 1, at - first, float(side)


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _around(size, level, u, v):
    """The four texels of a level around a place, the shares of right and lower, their slopes."""
    side, start = size >> level, _start(size, level)
    left, right, x, du = _between(u, side)
    top, bottom, y, dv = _between(1.0 - v, side)
    upper, lower = start + top * side, start + bottom * side
    return upper + left, upper + right, lower + left, lower + right, x, y, du, dv


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def sample_into(pyramid, n, size, u, v, footprint, out, p):
    """Add the trilinear lookup of the ``n``-th pyramid at one place to row ``p`` of ``out``.

    Here and below rows are named by number, not cut out: a view of an array costs an atomic count
    that all threads share.
    """
    level, share = _levels(size, footprint)
    for step in range(2):
        weight = share if step else 1.0 - share
        if weight == 0.0:
            continue
        i, j, k, m, x, y, _, _ = _around(size, level + step, u, v)
        for c in range(pyramid.shape[1]):
            a, b, d, e = pyramid[n, c, i], pyramid[n, c, j], pyramid[n, c, k], pyramid[n, c, m]
            above, below = a + x * (b - a), d + x * (e - d)
            out[p, c] += weight * (above + y * (below - above))


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
@no_type_check
def sample_pixels(pyramid, size, image, uv, footprint, out):
    """Trilinear lookup.

    Args:
        pyramid: (n, c, total).
        size: Texels on a side of the finest level.
        image: (p,) which of the n, in range.
        uv: (p, 2), v up.
        footprint: (p,) extent in texture coordinates.
        out: (p, c), zeros.
    """
    for p in numba.prange(uv.shape[0]):
        sample_into(pyramid, image[p], size, uv[p, 0], uv[p, 1], footprint[p], out, p)


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
@no_type_check
def pull_back_texels(size, image, uv, footprint, by_out, by_pyramid):
    """Derivatives by the pyramid; each channel is one thread's, so that their order is fixed.

    Args:
        size: Texels on a side of the finest level.
        image: (p,).
        uv: (p, 2).
        footprint: (p,).
        by_out: (p, c).
        by_pyramid: (n, c, total), zeros.
    """
    channels = by_pyramid.shape[1]
    for job in numba.prange(by_pyramid.shape[0] * channels):
        n, c = job // channels, job % channels
        for p in range(uv.shape[0]):
            if image[p] != n:
                continue
            level, share = _levels(size, footprint[p])
            for step in range(2):
                weight = share if step else 1.0 - share
                if weight == 0.0:
                    continue
                i, j, k, m, x, y, _, _ = _around(size, level + step, uv[p, 0], uv[p, 1])
                g = weight * by_out[p, c]
                by_pyramid[n, c, i] += g * (1 - x) * (1 - y)
                by_pyramid[n, c, j] += g * x * (1 - y)
                by_pyramid[n, c, k] += g * (1 - x) * y
                by_pyramid[n, c, m] += g * x * y


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
@no_type_check
def pull_back_places(pyramid, size, image, uv, footprint, by_out, by_uv):
    """Derivatives by the texture coordinates.

    Args:
        pyramid: (n, c, total).
        size: Texels on a side of the finest level.
        image: (p,).
        uv: (p, 2).
        footprint: (p,).
        by_out: (p, c).
        by_uv: (p, 2), zeros.
    """
    for p in numba.prange(uv.shape[0]):
        level, share = _levels(size, footprint[p])
        for step in range(2):
            weight = share if step else 1.0 - share
            if weight == 0.0:
                continue
            i, j, k, m, x, y, du, dv = _around(size, level + step, uv[p, 0], uv[p, 1])
            n = image[p]
            for c in range(pyramid.shape[1]):
                a, b, d, e = pyramid[n, c, i], pyramid[n, c, j], pyramid[n, c, k], pyramid[n, c, m]
                g = weight * by_out[p, c]
                by_uv[p, 0] += g * du * ((b - a) * (1 - y) + (e - d) * y)
                by_uv[p, 1] -= g * dv * (d + x * (e - d) - a - x * (b - a))
