"""Textures: which surface point each texel shows, and looking colours up."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from face3d.core.camera import homogeneous_pixels
from face3d.core.errors import InputError
from face3d.core.types import Camera, Fragments, HeadMesh, Topology
from face3d.render.numba_footprint import footprint_batch
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


def texture_footprint(
    fragments: Fragments, mesh: HeadMesh, camera: Camera
) -> Float[Tensor, "*batch h w"]:
    """The longer side of what each pixel covers of the texture, in texture coordinates.

    Args:
        fragments: What the rasterizer saw of ``mesh``.
        mesh: With texture coordinates.
        camera: The view.

    Returns:
        Zero where there is no face; not differentiable.

    Raises:
        InputError: The mesh has no texture coordinates.
    """
    uv, uv_faces = mesh.topology.uv, mesh.topology.uv_faces
    if uv is None or uv_faces is None:
        raise InputError("This mesh has no texture coordinates; give one that has, or no texture.")
    seen = fragments.face_index
    count = mesh.vertices.shape[-2]
    corners = homogeneous_pixels(camera, mesh.vertices).detach()
    flat = seen.reshape(-1, *seen.shape[-2:])
    out = torch.zeros(flat.shape)
    footprint_batch(
        corners.expand(*seen.shape[:-2], count, 3).reshape(-1, count, 3).double().numpy(),
        np.ascontiguousarray(mesh.topology.faces, dtype=np.int64),
        flat.contiguous().numpy(),
        np.ascontiguousarray(uv, dtype=np.float64),
        np.ascontiguousarray(uv_faces, dtype=np.int64),
        out.numpy(),
    )
    return out.reshape(seen.shape)


@dataclass(frozen=True, kw_only=True)
class MipTexture:
    """A linear texture and its halvings, for pixels that cover several texels."""

    levels: tuple[Float[Tensor, "channel _ _"], ...]  # finest first


def mipmapped(texture: Float[Tensor, "channel size size"]) -> MipTexture:
    """Halve a texture down to one texel; differentiable.

    Args:
        texture: Linear colours (means of sRGB values would be too dark), a power of two in size.

    Raises:
        InputError: The texture is not square or its size is no power of two.
    """
    size = texture.shape[-1]
    if texture.shape[-2] != size or size & (size - 1):
        raise InputError(
            f"The texture is {texture.shape[-2]} by {size}; give a square whose side is a power "
            "of two."
        )
    levels = [texture]
    while levels[-1].shape[-1] > 1:
        levels.append(torch.nn.functional.avg_pool2d(levels[-1][None], 2)[0])
    return MipTexture(levels=tuple(levels))


def sample_mipmapped(
    texture: MipTexture, uv: Float[Tensor, "pixel 2"], footprint: Float[Tensor, "pixel"]
) -> Float[Tensor, "pixel channel"]:
    """Trilinear lookup: from the two halvings between which a pixel's size lies.

    Args:
        texture: Differentiable.
        uv: In [0, 1] with v up; differentiable.
        footprint: The pixels' extent in texture coordinates.
    """
    finest = texture.levels[0]
    level = torch.log2((footprint * finest.shape[-1]).clamp(min=1.0))
    level = level.clamp(max=len(texture.levels) - 1.0)
    out = finest.new_zeros(len(uv), finest.shape[0])
    for k, halved in enumerate(texture.levels):
        share = (1 - (level - k).abs()).clamp(min=0)
        chosen = torch.nonzero(share > 0).squeeze(-1)
        if len(chosen):
            part = sample_texture(halved, uv[chosen]) * share[chosen, None]
            out = out.index_add(0, chosen, part)
    return out


def sample_texture(
    texture: Float[Tensor, "channel h w"], uv: Float[Tensor, "*batch 2"]
) -> Float[Tensor, "*batch channel"]:
    """Bilinear lookup; ``uv`` in [0, 1] with v up, clamped at the border; differentiable."""
    grid = torch.stack([uv[..., 0] * 2 - 1, 1 - uv[..., 1] * 2], dim=-1)
    picked = grid_sample(
        texture[None], grid.reshape(1, 1, -1, 2), align_corners=False, padding_mode="border"
    )
    return picked[0, :, 0].T.reshape(*uv.shape[:-1], texture.shape[0])
