"""Textures: which surface point each texel shows, and looking colours up."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from face3d.core.errors import InputError
from face3d.core.types import Fragments, Topology
from face3d.render.numba_raster import rasterize_batch


def texel_fragments(topology: Topology, size: int) -> Fragments:
    """The face and the place on it that each texel of a square texture shows.

    Args:
        topology: With texture coordinates; v points up, the texture's first row is v near 1.
        size: Texels on a side.

    Returns:
        Fragments (size, size); ``barycentric`` is linear on the face and ``depth_m`` is one
        where a face is.

    Raises:
        InputError: The topology has no texture coordinates.
    """
    if topology.uv is None or topology.uv_faces is None:
        raise InputError("This head has no texture coordinates; a texture cannot be made for it.")
    return _texels(_Key(topology), size)


class _Key:
    """A topology as a cache key, compared by identity: topologies are shared and never change."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology

    def __hash__(self) -> int:
        return id(self.topology.uv)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.topology.uv is self.topology.uv


@lru_cache(maxsize=4)
def _texels(key: _Key, size: int) -> Fragments:
    uv, uv_faces = key.topology.uv, key.topology.uv_faces
    assert uv is not None
    assert uv_faces is not None
    points = np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, np.ones(len(uv))], axis=1)
    face_index = np.full((1, size, size), -1, dtype=np.int64)
    barycentric = np.zeros((1, size, size, 3), dtype=np.float32)
    depth = np.full((1, size, size), np.inf, dtype=np.float32)
    rasterize_batch(
        points[None], uv_faces.astype(np.int64), 0.5, False, 8, face_index, barycentric, depth
    )
    return Fragments(
        face_index=torch.from_numpy(face_index[0]),
        barycentric=torch.from_numpy(barycentric[0]),
        depth_m=torch.from_numpy(depth[0]),
    )


def sample_texture(
    texture: Float[Tensor, "channel h w"], uv: Float[Tensor, "*batch 2"]
) -> Float[Tensor, "*batch channel"]:
    """Bilinear lookup; ``uv`` in [0, 1] with v up, clamped at the border; differentiable."""
    grid = torch.stack([uv[..., 0] * 2 - 1, 1 - uv[..., 1] * 2], dim=-1)
    picked = grid_sample(
        texture[None], grid.reshape(1, 1, -1, 2), align_corners=False, padding_mode="border"
    )
    return picked[0, :, 0].T.reshape(*uv.shape[:-1], texture.shape[0])
