"""Finding silhouette edges between pixels, compiled by numba.

Two neighbouring pixels see a silhouette between them if the nearer of their surfaces ends there.
From the pixel that shows it, faces are crossed one after another towards the other pixel until an
edge comes behind which there is no face or one that turns away. So faces that are too thin to
cover a pixel centre, as those at the rim of a head are, are not missed.
"""

from typing import no_type_check

import numba
import numpy as np

MAX_FACES = 64
"""Faces crossed on the way from one pixel to the next, at most."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _double_area(points, faces, f):
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    return (points[b, 0] - points[a, 0]) * (points[c, 1] - points[a, 1]) - (
        points[c, 0] - points[a, 0]
    ) * (points[b, 1] - points[a, 1])


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _side(points, a, b, u, v):
    """Positive where (u, v) lies on one side of the line from a to b, negative on the other."""
    return (points[b, 0] - points[a, 0]) * (v - points[a, 1]) - (points[b, 1] - points[a, 1]) * (
        u - points[a, 0]
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _end_of_surface(points, depth, faces, across, near_m, face, u, v, du, dv, edge):
    """Walk from (u, v) in ``face`` by (du, dv); write the silhouette edge met, say if one was."""
    sign = 1.0 if _double_area(points, faces, face) > 0 else -1.0
    at, entered = 0.0, -1
    for _ in range(MAX_FACES):
        best, leaving = 2.0, -1
        for k in range(3):
            a, b = faces[face, (k + 1) % 3], faces[face, (k + 2) % 3]
            if depth[a] < near_m or depth[b] < near_m:
                return False
            if k == entered:
                continue
            start = sign * _side(points, a, b, u, v)
            end = sign * _side(points, a, b, u + du, v + dv)
            # Only edges towards whose outside the way leads can be left by.
            if end < start:
                t = max(start / (start - end), at)
                if t < best:
                    best, leaving = t, k
        if leaving < 0 or best >= 1.0:
            return False
        following = across[face, leaving]
        if following < 0 or sign * _double_area(points, faces, following) <= 0:
            edge[0], edge[1] = faces[face, (leaving + 1) % 3], faces[face, (leaving + 2) % 3]
            return True
        a = faces[face, (leaving + 1) % 3]
        b = faces[face, (leaving + 2) % 3]
        entered = -1
        for k in range(3):
            p, q = faces[following, (k + 1) % 3], faces[following, (k + 2) % 3]
            if (p == a and q == b) or (p == b and q == a):
                entered = k
        face, at = following, best
    return False


@numba.njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _goes_on(points, faces, across, face, other):
    """Whether two faces share an edge and turn the same way: no silhouette lies between them."""
    if across[face, 0] != other and across[face, 1] != other and across[face, 2] != other:
        return False
    return _double_area(points, faces, face) * _double_area(points, faces, other) > 0


@numba.njit(cache=True, parallel=True, nogil=True, error_model="numpy")
@no_type_check
def find_silhouettes(points, depth, faces, across, near_m, seen, pixel_depth, edges, towards):
    """Silhouette edges between each pixel and its right and its lower neighbour.

    Args:
        points: (b, v, 2) px.
        depth: (b, v) of the corners, metres.
        faces: (f, 3).
        across: (f, 3) face on the other side of the edge opposite each corner, or -1.
        near_m: Edges that come nearer than this are left out.
        seen: (b, h, w) face or -1.
        pixel_depth: (b, h, w) metres, infinity where nothing is.
        edges: (b, h, w, 2, 2) int32, of any content: right or lower neighbour, the edge's ends.
        towards: (b, h, w, 2) bool, of any content: whether the surface that ends is the
            neighbour's.
    """
    batch, height, width = seen.shape
    for job in numba.prange(batch * height):
        b, row = job // height, job % height
        edge = np.zeros(2, np.int64)
        corners, near = points[b], depth[b]
        for column in range(width):
            here = seen[b, row, column]
            for axis in range(2):
                edges[b, row, column, axis, 0] = edges[b, row, column, axis, 1] = -1
                towards[b, row, column, axis] = False
                r, c = row + axis, column + 1 - axis
                if r >= height or c >= width:
                    continue
                there = seen[b, r, c]
                if here == there:
                    continue
                both = here >= 0 and there >= 0
                if both and _goes_on(corners, faces, across, here, there):
                    continue
                swap = here < 0 or (
                    there >= 0 and pixel_depth[b, r, c] < pixel_depth[b, row, column]
                )
                u, v, step = column + 0.5, row + 0.5, 1.0
                face = here
                if swap:
                    u, v, step, face = c + 0.5, r + 0.5, -1.0, there
                du, dv = step * (1 - axis), step * axis
                if not _end_of_surface(
                    corners, near, faces, across, near_m, face, u, v, du, dv, edge
                ):
                    continue
                # Steep edges are smoothed along rows and flat ones along columns, none twice.
                dx = abs(corners[edge[1], 0] - corners[edge[0], 0])
                dy = abs(corners[edge[1], 1] - corners[edge[0], 1])
                if max(dx, dy) > 0 and (dy >= dx) == (axis == 0):
                    edges[b, row, column, axis, 0] = edge[0]
                    edges[b, row, column, axis, 1] = edge[1]
                    towards[b, row, column, axis] = swap
