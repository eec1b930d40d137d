"""Cutting the head out of the MakeHuman body along an edge loop of its neck."""

from collections import defaultdict

import numpy as np

from open_head.makehuman import BaseMesh

NECK_LOOP_SEED = (815, 1.0)
"""A midline vertex at the throat, where the loop starts, and the side to which it sets out (+x)."""


def _neighbours(quads: np.ndarray) -> tuple[dict[int, set[int]], dict[frozenset[int], list[int]]]:
    around: dict[int, set[int]] = defaultdict(set)
    quads_of_edge: dict[frozenset[int], list[int]] = defaultdict(list)
    for index, quad in enumerate(quads):
        for k in range(4):
            a, b = int(quad[k]), int(quad[(k + 1) % 4])
            around[a].add(b)
            around[b].add(a)
            quads_of_edge[frozenset((a, b))].append(index)
    return around, quads_of_edge


def neck_loop(base: BaseMesh, quads: np.ndarray) -> list[int]:
    """Follow the edge loop around the neck: straight on at every vertex of four quads."""
    around, quads_of_edge = _neighbours(quads)
    start, side = NECK_LOOP_SEED
    loop = [start, max(around[start], key=lambda n: side * base.vertices[n, 0])]
    while True:
        back, here = loop[-2:]
        behind = set(quads_of_edge[frozenset((back, here))])
        ahead = [
            n
            for n in around[here]
            if n != back and not behind & set(quads_of_edge[frozenset((here, n))])
        ]
        if len(around[here]) != 4 or len(ahead) != 1:
            raise SystemExit("The neck loop does not close; is this another version of the mesh?")
        if ahead[0] == start:
            return loop
        loop.append(ahead[0])


def head_quads(base: BaseMesh) -> np.ndarray:
    """Indices into ``base.quads`` of the body's faces above the neck loop."""
    body = np.flatnonzero(base.quad_group == "body")
    quads = base.quads[body]
    loop = neck_loop(base, quads)
    _, quads_of_edge = _neighbours(quads)
    wall = {frozenset(pair) for pair in zip(loop, [*loop[1:], loop[0]])}
    top = int(np.argmax(base.vertices[quads].mean(1)[:, 1]))
    seen, stack = {top}, [top]
    while stack:
        quad = quads[stack.pop()]
        for k in range(4):
            edge = frozenset((int(quad[k]), int(quad[(k + 1) % 4])))
            if edge in wall:
                continue
            for other in quads_of_edge[edge]:
                if other not in seen:
                    seen.add(other)
                    stack.append(other)
    return body[sorted(seen)]
