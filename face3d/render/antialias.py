"""Smooth silhouettes whose gradient moves edges (after Laine et al., 2020, section 3.5)."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from face3d.core.camera import homogeneous_pixels
from face3d.core.types import Camera, Fragments, HeadMesh
from face3d.render.memory import scratch
from face3d.render.numba_silhouette import find_silhouettes
from face3d.render.rasterize import NEAR_M
from face3d.render.rows import index_array, index_tensor
from face3d.render.silhouette_twin import find_silhouettes_plain


def antialias(
    image: Float[Tensor, "*batch h w channel"],
    fragments: Fragments,
    mesh: HeadMesh,
    camera: Camera,
) -> Float[Tensor, "*batch h w channel"]:
    """Blend pixels across silhouettes by how far the edge reaches into them.

    Where a surface ends between the centres of two neighbouring pixels, the one that the edge
    falls into is mixed with the other: with the share of the way that lies beyond its centre's
    half. So the image changes smoothly as an edge moves, and gradients reach the edge's vertices,
    which interpolation alone cannot give. Colours are those at pixel centres: where they change
    within the last pixel before an edge, the gradient is only near to the image's.

    Args:
        image: Colours, best linear; other channels (coverage) too.
        fragments: What the rasterizer saw of ``mesh``.
        mesh: The same mesh; differentiable.
        camera: The same camera; differentiable.

    Returns:
        The blended image.
    """
    batch = image.shape[:-3]
    height, width, channels = image.shape[-3:]
    flat = image.reshape(-1, height, width, channels)
    points, depth = corner_pixels(mesh, camera, batch)
    edges, towards = find_edges(points, depth, mesh, fragments)
    edges = edges.long()
    where = torch.nonzero(edges[..., 0] >= 0)
    if len(where) == 0:
        return image
    pair = edges[tuple(where.T)]
    swap = towards[tuple(where.T)]
    picture, row, column, axis = where.T
    # Along the row (axis 0) or column (axis 1) of the pair.
    first = torch.stack([column, row], dim=-1)
    step = torch.nn.functional.one_hot(axis, 2)
    other = first + step
    front, back = torch.where(swap[:, None], other, first), torch.where(swap[:, None], first, other)
    a, b = points[picture, pair[:, 0]], points[picture, pair[:, 1]]
    pick = step.to(points.dtype)
    along_a, along_b = (a * pick).sum(-1), (b * pick).sum(-1)
    across_a, across_b = (a * (1 - pick)).sum(-1), (b * (1 - pick)).sum(-1)
    centre = front.to(points.dtype) + 0.5
    line = (centre * (1 - pick)).sum(-1)
    crossing = along_a + (line - across_a) * (along_b - along_a) / (across_b - across_a)
    reach = crossing - (centre * pick).sum(-1)
    reach = torch.where(swap, -reach, reach).clamp(0, 1) - 0.5
    rows = flat.reshape(-1, channels)
    at_front = (picture * height + front[:, 1]) * width + front[:, 0]
    at_back = (picture * height + back[:, 1]) * width + back[:, 0]
    difference = rows[at_front] - rows[at_back]
    # Beyond half of the way the surface reaches into the pixel behind, before it leaves its own.
    shares = torch.cat([reach.clamp(min=0), reach.clamp(max=0)])[:, None]
    out = rows.index_add(0, torch.cat([at_back, at_front]), shares * difference.repeat(2, 1))
    return out.reshape(*batch, height, width, channels)


def corner_pixels(
    mesh: HeadMesh, camera: Camera, batch: Sequence[int]
) -> tuple[Float[Tensor, "b vertex 2"], Float[Tensor, "b vertex"]]:
    """Pixels and depths of the vertices; pixels are of no use where a depth is below NEAR_M."""
    count = mesh.vertices.shape[-2]
    corners = homogeneous_pixels(camera, mesh.vertices).expand(*batch, count, 3)
    corners = corners.reshape(math.prod(batch), count, 3)
    z = corners[..., 2:]
    return corners[..., :2] / torch.where(z < NEAR_M, torch.full_like(z, NEAR_M), z), z[..., 0]


def find_edges(
    points: Float[Tensor, "b vertex 2"],
    depth: Float[Tensor, "b vertex"],
    mesh: HeadMesh,
    fragments: Fragments,
) -> tuple[Int[Tensor, "b h w 2 2"], Bool[Tensor, "b h w 2"]]:
    """The silhouette edge between each pixel and its right and its lower neighbour.

    Args:
        points: As of ``corner_pixels``.
        depth: As of ``corner_pixels``.
        mesh: The surface.
        fragments: What the rasterizer saw of it.

    Returns:
        The edge's two vertices, or -1; and whether the surface that ends is the neighbour's.
    """
    height, width = fragments.face_index.shape[-2:]
    seen = fragments.face_index.reshape(-1, height, width)
    faces = index_array(mesh.topology.faces)
    across = _neighbours(_Key(mesh.topology.faces))
    if seen.device.type != "cpu":
        return find_silhouettes_plain(
            points.detach(),
            depth.detach(),
            index_tensor(faces).to(seen.device),
            torch.as_tensor(across).to(seen.device),
            NEAR_M,
            seen,
            fragments.depth_m.detach().reshape(seen.shape),
        )
    edges = scratch((*seen.shape, 2, 2), torch.int32)
    towards = scratch((*seen.shape, 2), torch.bool)
    find_silhouettes(
        points.detach().double().contiguous().numpy(),
        depth.detach().double().contiguous().numpy(),
        faces,
        across,
        NEAR_M,
        seen.contiguous().numpy(),
        fragments.depth_m.detach().reshape(seen.shape).contiguous().numpy(),
        edges.numpy(),
        towards.numpy(),
    )
    return edges, towards


class _Key:
    """An array as a cache key, compared by identity: topologies are shared and never change."""

    def __init__(self, faces: Int[np.ndarray, "face 3"]) -> None:
        self.faces = faces

    def __hash__(self) -> int:
        return id(self.faces)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.faces is self.faces


@lru_cache(maxsize=8)
def _neighbours(key: _Key) -> Int[np.ndarray, "face 3"]:
    return faces_across(key.faces)


def faces_across(faces: Int[np.ndarray, "face 3"]) -> Int[np.ndarray, "face 3"]:
    """The face on the other side of the edge opposite each corner.

    Returns:
        -1 at borders, and where more than two faces share an edge.
    """
    edges = np.sort(
        np.stack([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]], axis=1), axis=2
    )
    flat = edges.reshape(-1, 2)
    order = np.lexsort((flat[:, 1], flat[:, 0]))
    ordered = flat[order]
    same = (ordered[1:] == ordered[:-1]).all(axis=1)
    starts = np.concatenate([[True], ~same])
    group = np.cumsum(starts) - 1
    size = np.bincount(group)
    first = np.flatnonzero(starts)[size == 2]
    across = np.full(faces.size, -1, dtype=np.int64)
    across[order[first]] = order[first + 1] // 3
    across[order[first + 1]] = order[first] // 3
    return across.reshape(-1, 3)
