"""The closest point of a triangle mesh, by a tree of boxes; loops compiled by numba.

The public face with checks, and the plain twin that these loops are held to, are in
face3d.metric.surface_distance.
"""

from typing import no_type_check

import numba
import numpy as np

LEAF = 6
"""Triangles that a leaf of the tree holds at most."""


@numba.njit(cache=True, nogil=True)
@no_type_check
def build_boxes(corners):
    """A binary tree of boxes: each node is halved along the longest side of its centres' box.

    Args:
        corners: (f, 3, 3) of every triangle.

    Returns:
        The triangles' order; of each node the box's low and high corner, its first child (the
        second follows; -1 in a leaf), and the first and the end of its triangles in the order.
    """
    count = len(corners)
    most = 4 * (count // LEAF + 2)
    order = np.arange(count)
    low, high = np.zeros((most, 3)), np.zeros((most, 3))
    child = np.full(most, -1)
    first, end = np.zeros(most, np.int64), np.zeros(most, np.int64)
    centres = np.zeros((count, 3))
    for f in range(count):
        for axis in range(3):
            centres[f, axis] = corners[f, 0, axis] + corners[f, 1, axis] + corners[f, 2, axis]
    end[0], made = count, 1
    node = 0
    while node < made:  # children come after their parents, so one pass meets every node
        a, b = first[node], end[node]
        inner_low, inner_high = np.full(3, np.inf), np.full(3, -np.inf)
        low[node], high[node] = np.inf, -np.inf
        for k in range(a, b):
            f = order[k]
            for axis in range(3):
                inner_low[axis] = min(inner_low[axis], centres[f, axis])
                inner_high[axis] = max(inner_high[axis], centres[f, axis])
                for c in range(3):
                    low[node, axis] = min(low[node, axis], corners[f, c, axis])
                    high[node, axis] = max(high[node, axis], corners[f, c, axis])
        if b - a > LEAF:
            axis = np.argmax(inner_high - inner_low)
            part = order[a:b].copy()
            order[a:b] = part[np.argsort(centres[part, axis])]
            middle = (a + b) // 2
            child[node] = made
            first[made], end[made] = a, middle
            first[made + 1], end[made + 1] = middle, b
            made += 2
        node += 1
    return order, low[:made], high[:made], child[:made], first[:made], end[:made]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _segment(p, a, b, out):
    """The point of the segment ``a b`` closest to ``p``; returns the squared distance."""
    along = length = 0.0
    for k in range(3):
        along += (p[k] - a[k]) * (b[k] - a[k])
        length += (b[k] - a[k]) ** 2
    share = min(max(along / length, 0.0), 1.0) if length > 0 else 0.0
    squared = 0.0
    for k in range(3):
        out[k] = a[k] + share * (b[k] - a[k])
        squared += (p[k] - out[k]) ** 2
    return squared


@numba.njit(cache=True, nogil=True)
@no_type_check
def _triangle(p, corners, out, spare):
    """The point of a triangle closest to ``p``; returns the squared distance.

    It is the foot on the plane if that lies inside, else the nearest point of the three sides.
    """
    a, b, c = corners[0], corners[1], corners[2]
    n0 = (b[1] - a[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[1] - a[1])
    n1 = (b[2] - a[2]) * (c[0] - a[0]) - (b[0] - a[0]) * (c[2] - a[2])
    n2 = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    size = n0 * n0 + n1 * n1 + n2 * n2
    inside = size > 0
    for k in range(3):
        if inside:
            s, t = corners[k], corners[(k + 1) % 3]
            e0, e1, e2 = t[0] - s[0], t[1] - s[1], t[2] - s[2]
            d0, d1, d2 = p[0] - s[0], p[1] - s[1], p[2] - s[2]
            turn = n0 * (e1 * d2 - e2 * d1) + n1 * (e2 * d0 - e0 * d2) + n2 * (e0 * d1 - e1 * d0)
            inside = turn >= 0
    if inside:
        off = (n0 * (p[0] - a[0]) + n1 * (p[1] - a[1]) + n2 * (p[2] - a[2])) / size
        out[0], out[1], out[2] = p[0] - off * n0, p[1] - off * n1, p[2] - off * n2
        return off * off * size
    best = np.inf
    for k in range(3):
        squared = _segment(p, corners[k], corners[(k + 1) % 3], spare)
        if squared < best:
            best = squared
            out[0], out[1], out[2] = spare[0], spare[1], spare[2]
    return best


@numba.njit(cache=True, nogil=True)
@no_type_check
def _outside(p, low, high):
    """Squared distance of a point to a box; zero inside."""
    squared = 0.0
    for k in range(3):
        off = max(low[k] - p[k], p[k] - high[k], 0.0)
        squared += off * off
    return squared


@numba.njit(cache=True, nogil=True)
@no_type_check
def closest(points, corners, order, low, high, child, first, end, out, face):
    """Fill ``out`` (n, 3) and ``face`` (n,) with the closest point and its triangle.

    A triangle that ``face`` names beforehand is tried first; -1 is no such guess.
    """
    stack = np.zeros(128, np.int64)
    bound = np.zeros(128)
    here, spare = np.zeros(3), np.zeros(3)
    last = -1
    for i in range(len(points)):
        p = points[i]
        best = np.inf
        # Without a guess the last point's triangle: neighbours in a file are often neighbours.
        guess = face[i] if face[i] >= 0 else last
        if guess >= 0:
            best = _triangle(p, corners[guess], here, spare)
            out[i], face[i] = here, guess
        stack[0], bound[0], depth = 0, _outside(p, low[0], high[0]), 1
        while depth:
            depth -= 1
            node = stack[depth]
            if bound[depth] >= best:
                continue
            if child[node] < 0:
                for k in range(first[node], end[node]):
                    squared = _triangle(p, corners[order[k]], here, spare)
                    if squared < best:
                        best = squared
                        out[i], face[i] = here, order[k]
                continue
            near, far = child[node], child[node] + 1
            near_off = _outside(p, low[near], high[near])
            far_off = _outside(p, low[far], high[far])
            if far_off < near_off:
                near, far, near_off, far_off = far, near, far_off, near_off
            stack[depth], bound[depth] = far, far_off
            stack[depth + 1], bound[depth + 1] = near, near_off
            depth += 2
        last = face[i]
