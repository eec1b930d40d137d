"""Continuing colours over a surface, across the seams of its texture."""

from functools import lru_cache

import numpy as np
import scipy.sparse as sparse
import torch
from jaxtyping import Float, Int
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch.nn.functional import interpolate as interpolate_picture

from face3d.core.types import Topology
from face3d.render.bake import fill_smoothly
from face3d.render.interpolate import interpolate
from face3d.render.rows import index_tensor
from face3d.render.texture import texel_fragments

STIFFNESS = 0.02
"""How much smoothness weighs against a vertex whose colour was seen."""

COARSER = 4
NEAR_SHARE = 48
"""Of the texture's side that detail is continued by."""

LARGE = 2048
"""From this size on textures are filled at half of it."""

DRIFT = 1e-5
"""Pull of the mean colour, for parts that nothing was seen of."""


def fill_over_surface(
    rgb: Float[Tensor, "3 size size"], weight: Float[Tensor, "size size"], topology: Topology
) -> Float[Tensor, "3 size size"]:
    """Fill what was not seen with a smooth continuation of what was, over the surface.

    Vertices get the colours that minimise the squared differences along edges, held where they
    were seen; texels are interpolated between them. The difference to that, what is finer than
    vertices, is continued a little way within the texture and then ends.

    Args:
        rgb: Colours.
        weight: How far each is trusted, 0 to 1; zero is filled, one is kept.
        topology: With texture coordinates.
    """
    size = rgb.shape[-1]
    if size >= LARGE:
        # What is filled is smooth and needs no such resolution; what was seen keeps it.
        half = avg_pool2d(torch.cat([rgb * weight, weight[None]])[None], 2)[0]
        mean = half[:3] / half[3:].clamp(min=1e-6)
        filled = fill_over_surface(mean, half[3], topology)
        filled = interpolate_picture(filled[None], size=(size, size), mode="bilinear")[0]
        return torch.lerp(filled, rgb, weight)
    # Means over a few texels: one alone may be a pore or a hair.
    coarse = avg_pool2d(torch.cat([rgb * weight, weight[None]])[None], COARSER)[0]
    base = _interpolated(_vertex_colors(coarse, topology), topology, size)
    reach = max(1, size // COARSER // NEAR_SHARE)
    near = coarse[None, 3:]
    for window, pad in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):
        near = avg_pool2d(near, window, stride=1, padding=pad)
    near = interpolate_picture((2 * near).clamp(max=1), size=(size, size), mode="bilinear")
    return base + torch.maximum(near[0, 0], weight) * fill_smoothly(rgb - base, weight)


def _vertex_colors(
    coarse: Float[Tensor, "4 small small"], topology: Topology
) -> Float[np.ndarray, "vertex 3"]:
    """Colours of all vertices, from those times their trust, and the trust."""
    corners, places = _corners(topology)
    small = coarse.shape[-1]
    column = (places[:, 0] * small).astype(int).clip(0, small - 1)
    row = ((1 - places[:, 1]) * small).astype(int).clip(0, small - 1)
    seen = coarse.numpy()[:, row, column].T.astype(np.float64)
    total = np.zeros((int(topology.faces.max()) + 1, 4))
    np.add.at(total, corners, seen)
    trust = total[:, 3]
    laplacian = _laplacian(_Faces(topology.faces))
    mean = total[:, :3].sum(0) / max(trust.sum(), 1e-9)
    system = sparse.diags(trust + DRIFT) + STIFFNESS * laplacian
    return splu(system.tocsc()).solve(total[:, :3] + DRIFT * mean)


def _interpolated(
    colors: Float[np.ndarray, "vertex 3"], topology: Topology, size: int
) -> Float[Tensor, "3 size size"]:
    """Vertex colours at the texels; grown beyond the islands' borders."""
    fragments = texel_fragments(topology, size)
    faces = index_tensor(topology.faces)
    out = interpolate(fragments, torch.from_numpy(colors).float(), faces).permute(2, 0, 1)
    return fill_smoothly(out, (fragments.face_index >= 0).float())


def _corners(topology: Topology) -> tuple[Int[np.ndarray, "corner"], Float[np.ndarray, "corner 2"]]:
    """Each vertex as often as it has texture coordinates, and these."""
    assert topology.uv is not None
    assert topology.uv_faces is not None
    corner = np.full(len(topology.uv), -1)
    corner[topology.uv_faces] = topology.faces
    used = np.flatnonzero(corner >= 0)
    return corner[used], topology.uv[used]


class _Faces:
    """An array as a cache key, compared by content."""

    def __init__(self, faces: Int[np.ndarray, "face 3"]) -> None:
        self.faces, self._hash = faces, hash(faces.tobytes())

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Faces) and np.array_equal(self.faces, other.faces)


@lru_cache(maxsize=4)
def _laplacian(key: _Faces) -> sparse.csc_matrix:
    """Of the graph of vertices that share an edge."""
    faces = key.faces
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = int(faces.max()) + 1
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), (count, count)).tocsc()
    graph = ((graph + graph.T) > 0).astype(np.float64)
    return (sparse.diags(np.asarray(graph.sum(1)).ravel()) - graph).tocsc()
