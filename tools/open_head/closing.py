"""Making edges meet: lips in every neutral head, lids in eyeBlink, lips in jawOpen + mouthClose.

A pair of edges is a seam ring of two texture islands (lids: skin and eye socket; lips: skin and
mouth), split into an upper and a lower curve. Displacements of the edge are spread over the skin
around it by a biharmonic field, which is smooth and dies out at the border of the region.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import splu

from open_head.assemble import Layout


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Two curves that should meet, and the field that carries their displacement."""

    upper: np.ndarray  # vertex indices, from -x to +x
    lower: np.ndarray
    region: np.ndarray  # vertices that move along
    spread: np.ndarray  # (region, upper + lower)


def seam_ring(layout: Layout, island: str) -> np.ndarray:
    """Skin vertices on the border between the outer face and another texture island."""
    of_skin = np.isin(layout.faces[:, 0], layout.ranges["skin"])
    faces, uv_faces = layout.faces[of_skin], layout.uv_faces[of_skin]
    name = layout.uv_island[uv_faces[:, 0]]
    return np.intersect1d(faces[name == "face"], faces[name == island])


def _split(
    ring: np.ndarray, faces: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The upper and the lower curve of a closed ring, corners in both, from -x to +x."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = edges[np.isin(edges, ring).all(1)]
    around: dict[int, list[int]] = {int(v): [] for v in ring}
    for a, b in np.unique(np.sort(edges, axis=1), axis=0):
        around[int(a)].append(int(b))
        around[int(b)].append(int(a))
    if any(len(n) != 2 for n in around.values()):
        raise SystemExit("The edge of an opening is not one closed ring; is this another mesh?")
    left = int(ring[points[ring, 0].argmin()])
    right = int(ring[points[ring, 0].argmax()])
    curves = []
    for step in around[left]:
        curve = [left, step]
        while curve[-1] != right:
            curve.append(next(n for n in around[curve[-1]] if n != curve[-2]))
        curves.append(np.array(curve))
    upper, lower = sorted(curves, key=lambda c: -points[c, 1].mean())
    return upper, lower


def _biharmonic(faces: np.ndarray, region: np.ndarray, handles: np.ndarray) -> np.ndarray:
    """Weights (region, handles) of a field that is one at a handle and zero outside the region."""
    used = np.unique(faces)
    local = np.full(used.max() + 1, -1)
    local[used] = np.arange(len(used))
    edges = local[np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])]
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    rows = np.concatenate([edges[:, 0], edges[:, 1]])
    columns = np.concatenate([edges[:, 1], edges[:, 0]])
    adjacency = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(used),) * 2).tocsr()
    degree = np.asarray(adjacency.sum(1)).ravel()
    laplacian = diags(np.ones(len(used))) - diags(1 / degree) @ adjacency
    bending = (laplacian.T @ laplacian).tocsc()
    fixed = local[handles]
    free = np.setdiff1d(local[region], fixed)
    solver = splu(bending[free][:, free].tocsc())
    field = np.zeros((len(used), len(handles)))
    field[fixed, np.arange(len(handles))] = 1.0
    field[free] = solver.solve(-bending[free][:, fixed].toarray())
    return field[local[region]]


def make_edge(layout: Layout, template: np.ndarray, island: str, reach_m: float) -> Edge:
    """The edge between the outer face and ``island``.

    Args:
        layout: The open head's layout.
        template: (v, 3) metres.
        island: "mouth", "left_socket" or "right_socket".
        reach_m: The skin within this distance of the edge moves along.
    """
    ring = seam_ring(layout, island)
    skin = layout.ranges["skin"]
    distance = np.linalg.norm(template[skin][:, None] - template[ring][None], axis=2).min(1)
    region = skin[distance < reach_m]
    faces = layout.faces[np.isin(layout.faces[:, 0], skin)]
    upper, lower = _split(ring, faces, template)
    handles = np.concatenate([upper, lower[1:-1]])
    return Edge(upper=upper, lower=lower, region=region, spread=_biharmonic(faces, region, handles))


def _arc_length(curve: np.ndarray) -> np.ndarray:
    """Share of the curve's length at each of its points, 0 to 1."""
    steps = np.linalg.norm(np.diff(curve, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()


def _curve_at(curve: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Points of a polyline (n, 3) at given shares of its length."""
    along = _arc_length(curve)
    return np.stack([np.interp(share, along, curve[:, k]) for k in range(3)], axis=1)


def close(edge: Edge, head: np.ndarray, *, upper_share: float) -> np.ndarray:
    """Displacement (v, 3) that brings the two curves together.

    Points at equal shares of the two curves' lengths meet, which also works where the curves
    turn steeply into the corners.

    Args:
        edge: What should meet.
        head: (v, 3) metres, as it stands.
        upper_share: How much of the way the upper curve goes; the lower goes the rest.
    """
    upper, lower = head[edge.upper], head[edge.lower]
    to_lower = _curve_at(lower, _arc_length(upper)) - upper
    to_upper = _curve_at(upper, _arc_length(lower)) - lower
    moves = np.concatenate([upper_share * to_lower, (1 - upper_share) * to_upper[1:-1]])
    out = np.zeros_like(head)
    out[edge.region] = edge.spread @ moves
    return out


def push_out_of_sphere(points: np.ndarray, centre: np.ndarray, radius_m: float) -> np.ndarray:
    """Displacement that lifts points inside a sphere to its surface."""
    offset = points - centre
    distance = np.linalg.norm(offset, axis=1, keepdims=True)
    return offset * np.maximum(radius_m / distance - 1, 0)


def lid_closure(
    edge: Edge, neutral: np.ndarray, blink: np.ndarray, lower_rise: float
) -> np.ndarray:
    """Displacement (v, 3) on top of a blink that makes its lids meet on one smooth line.

    The line lies between the neutral lower lid (0) and the neutral upper lid (1) at
    ``lower_rise``: the lower lid of a closing eye comes up a little, the upper does the rest.

    Args:
        edge: The eye's opening.
        neutral: (v, 3) metres.
        blink: (v, 3) metres, the head with the unmended blink.
        lower_rise: Where the line lies.
    """
    share = np.linspace(0, 1, 41)
    lower, upper = neutral[edge.lower], neutral[edge.upper]
    line = (1 - lower_rise) * _curve_at(lower, share) + lower_rise * _curve_at(upper, share)
    to_upper = _curve_at(line, _arc_length(upper)) - blink[edge.upper]
    to_lower = _curve_at(line, _arc_length(lower)) - blink[edge.lower]
    out = np.zeros_like(neutral)
    out[edge.region] = edge.spread @ np.concatenate([to_upper, to_lower[1:-1]])
    return out
