"""Textures: which surface point each texel shows, and looking colours up."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from face3d.core.camera import homogeneous_pixels
from face3d.core.errors import InputError
from face3d.core.types import Camera, Fragments, HeadMesh, Topology
from face3d.render.autograd import first_order
from face3d.render.numba_footprint import footprint_batch
from face3d.render.numba_raster import rasterize_batch
from face3d.render.numba_texture import (
    fill_pyramid,
    pull_back_places,
    pull_back_pyramid,
    pull_back_texels,
    sample_pixels,
)
from face3d.render.rows import index_array, index_tensor

MAX_UV = 1e6
"""Texture coordinates beyond this are taken for damage."""


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
        return hash((id(self.topology.uv), id(self.topology.uv_faces)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Key):
            return False
        mine, theirs = self.topology, other.topology
        return mine.uv is theirs.uv and mine.uv_faces is theirs.uv_faces


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


def require_texture_coordinates(
    mesh: HeadMesh,
) -> tuple[Float[np.ndarray, "texcoord 2"], Int[np.ndarray, "face 3"]]:
    """The texture coordinates of a mesh and its faces' corners in them.

    Raises:
        InputError: It has none, or they are of no use.
    """
    uv, uv_faces = mesh.topology.uv, mesh.topology.uv_faces
    if uv is None or uv_faces is None:
        raise InputError("This mesh has no texture coordinates; give one that has, or no texture.")
    if uv_faces.shape != mesh.topology.faces.shape:
        raise InputError(
            f"There are {len(uv_faces)} uv_faces for {len(mesh.topology.faces)} faces; give one "
            "for each."
        )
    if uv_faces.size and not 0 <= uv_faces.min() <= uv_faces.max() < len(uv):
        raise InputError(f"uv_faces name texture coordinates beyond the {len(uv)} that there are.")
    # Not a number is not below either.
    if uv.size and not np.abs(uv).max() <= MAX_UV:
        raise InputError(f"Texture coordinates are not finite or beyond {MAX_UV:g}; repair them.")
    return uv, uv_faces


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
    uv, uv_faces = require_texture_coordinates(mesh)
    seen = fragments.face_index
    count = mesh.vertices.shape[-2]
    corners = homogeneous_pixels(camera, mesh.vertices).detach()
    flat = seen.reshape(-1, *seen.shape[-2:])
    if corners.device.type != "cpu":
        each = corners.expand(*seen.shape[:-2], count, 3).reshape(-1, count, 3)
        return footprint_plain(each, mesh.topology, flat).reshape(seen.shape)
    out = torch.zeros(flat.shape)
    footprint_batch(
        corners.expand(*seen.shape[:-2], count, 3).reshape(-1, count, 3).double().numpy(),
        index_array(mesh.topology.faces),
        flat.contiguous().numpy(),
        np.ascontiguousarray(uv, dtype=np.float64),
        index_array(uv_faces),
        out.numpy(),
    )
    return out.reshape(seen.shape)


def footprint_plain(
    corners: Float[Tensor, "b vertex 3"], topology: Topology, seen: Int[Tensor, "b h w"]
) -> Float[Tensor, "b h w"]:
    """The same in plain torch: what the compiled loops are held to, and what GPUs run."""
    assert topology.uv_faces is not None
    image, row, column = torch.nonzero(seen >= 0, as_tuple=True)
    face = seen[image, row, column]
    faces = index_tensor(topology.faces, seen.device)
    at = corners.double()[image[:, None], faces[face]]
    # A corner's weight is the product of (u, v, 1) and the other two corners' cross product.
    normals = torch.linalg.cross(at.roll(-1, 1), at.roll(-2, 1))
    ray = torch.stack([column + 0.5, row + 0.5, torch.ones_like(column)], dim=-1).double()
    weights = (normals * ray[:, None]).sum(-1)
    total = weights.sum(-1)
    safe = torch.where(total == 0, torch.full_like(total, torch.inf), total)
    uv = torch.as_tensor(topology.uv).to(seen.device).double()
    uv = uv[index_tensor(topology.uv_faces, seen.device)[face]]
    mean = (weights[..., None] * uv).sum(1) / safe[:, None]
    change = (normals[..., :2, None] * (uv - mean[:, None])[:, :, None]).sum(1)
    extent = change.norm(dim=-1).amax(-1) / safe.abs()
    out = torch.zeros(seen.shape, device=seen.device)
    return out.index_put((image, row, column), extent.float())


@dataclass(frozen=True, kw_only=True)
class MipTexture:
    """A linear texture and its halvings, for pixels that cover several texels.

    Attributes:
        pyramid: Texels level by level, finest first, each row by row from the top.
        size: Texels on a side of the finest level.
    """

    pyramid: Float[Tensor, "*batch channel texel"]
    size: int

    @property
    def levels(self) -> tuple[Float[Tensor, "*batch channel _ _"], ...]:
        """Each level as a picture, finest first."""
        sides = [self.size >> k for k in range(self.size.bit_length())]
        parts = self.pyramid.split([side * side for side in sides], dim=-1)
        return tuple(
            part.unflatten(-1, (side, side)) for part, side in zip(parts, sides, strict=True)
        )


def mipmapped(texture: Float[Tensor, "*batch channel _ _"]) -> MipTexture:
    """Halve a texture down to one texel; differentiable.

    Args:
        texture: Linear colours (means of sRGB values would be too dark), a power of two in size.
            A batch axis holds one texture for each picture.

    Raises:
        InputError: The texture is not square or its size is no power of two.
    """
    size = texture.shape[-1]
    if texture.shape[-2] != size or size & (size - 1) or not size:
        raise InputError(
            f"The texture is {texture.shape[-2]} by {size}; give a square whose side is a power "
            "of two."
        )
    pyramid = _Pyramid.apply(texture) if texture.device.type == "cpu" else pyramid_plain(texture)
    return MipTexture(pyramid=pyramid, size=size)


def pyramid_plain(
    texture: Float[Tensor, "*batch channel size size"],
) -> Float[Tensor, "*batch channel texel"]:
    """The same in plain torch: what the compiled loops are held to, and what GPUs run."""
    levels = [texture.flatten(-2)]
    level = texture.reshape(1, -1, *texture.shape[-2:])
    while level.shape[-1] > 1:
        level = avg_pool2d(level, 2)
        levels.append(level.reshape(*texture.shape[:-2], -1))
    return torch.cat(levels, dim=-1)


class _Pyramid(torch.autograd.Function):
    """The compiled halving as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, texture: Tensor) -> Tensor:
        """Flat pyramid of a texture (..., size, size)."""
        size = texture.shape[-1]
        total = sum((size >> k) ** 2 for k in range(size.bit_length()))
        pyramid = texture.new_zeros(*texture.shape[:-2], total)
        pyramid[..., : size * size] = texture.flatten(-2)
        fill_pyramid(pyramid.reshape(-1, *pyramid.shape[-2:]).numpy(), size)
        ctx.size = size
        return pyramid

    @staticmethod
    @first_order
    def backward(ctx: Any, *by_output: Tensor) -> Tensor:
        """Derivatives by the texture."""
        pulled = by_output[0].contiguous().clone()
        pull_back_pyramid(pulled.reshape(-1, *pulled.shape[-2:]).numpy(), ctx.size)
        return pulled[..., : ctx.size**2].unflatten(-1, (ctx.size, ctx.size))


def sample_mipmapped(
    texture: MipTexture,
    uv: Float[Tensor, "pixel 2"],
    footprint: Float[Tensor, "pixel"],
    image: Int[Tensor, "pixel"] | None = None,
) -> Float[Tensor, "pixel channel"]:
    """Trilinear lookup: from the two halvings between which a pixel's size lies.

    Args:
        texture: Differentiable.
        uv: In [0, 1] with v up; differentiable.
        footprint: The pixels' extent in texture coordinates.
        image: For each pixel which texture of a batch it shows.
    """
    pyramid = texture.pyramid.reshape(-1, *texture.pyramid.shape[-2:])
    if image is None or len(pyramid) == 1:
        image = torch.zeros(len(uv), dtype=torch.int64, device=uv.device)
    if uv.device.type == "cpu":
        return _Sample.apply(pyramid, uv, texture.size, image, footprint)  # type: ignore[no-any-return]
    flat = MipTexture(pyramid=pyramid, size=texture.size)
    return sample_mipmapped_plain(flat, uv, footprint, image)


def sample_mipmapped_plain(
    texture: MipTexture,
    uv: Float[Tensor, "pixel 2"],
    footprint: Float[Tensor, "pixel"],
    image: Int[Tensor, "pixel"],
) -> Float[Tensor, "pixel channel"]:
    """The same in plain torch: what the compiled loops are held to, and what GPUs run."""
    last = texture.size.bit_length() - 1
    level = torch.log2((footprint * texture.size).clamp(min=1.0)).clamp(max=float(last))
    pyramid = texture.pyramid.reshape(-1, *texture.pyramid.shape[-2:])
    finer = level.floor().long()
    out = uv.new_zeros(len(uv), pyramid.shape[1])
    for at in (finer, (finer + 1).clamp(max=last)):
        weight = (1 - (level - at).abs()).clamp(min=0) if at is finer else level - finer
        side = texture.size >> at
        start = 4 * (texture.size**2 - side**2) // 3
        place = torch.stack([uv[:, 0], 1 - uv[:, 1]], dim=-1) * side[:, None] - 0.5
        place = place.clamp(min=0).minimum((side - 1)[:, None].to(place.dtype))
        first = place.detach().floor().long()
        share = place - first
        for dy in (0, 1):
            for dx in (0, 1):
                step = torch.tensor([dx, dy], device=uv.device)
                x, y = (first + step).minimum((side - 1)[:, None]).unbind(-1)
                near = torch.where(step.bool(), share, 1 - share).prod(-1)
                texels = pyramid[image, :, start + y * side + x]
                out = out + (weight * near)[:, None] * texels
    return out


class _Sample(torch.autograd.Function):
    """The compiled lookup as one differentiable operation."""

    @staticmethod
    def forward(
        ctx: Any, pyramid: Tensor, uv: Tensor, size: int, image: Tensor, footprint: Tensor
    ) -> Tensor:
        """Arguments as of ``sample_mipmapped``, the texture as its pyramid and size."""
        arrays = tuple(t.detach().contiguous().numpy() for t in (pyramid, image, uv, footprint))
        out = pyramid.new_zeros(len(uv), pyramid.shape[1])
        texels, which, places, extents = arrays
        sample_pixels(texels, size, which, places, extents, out.numpy())
        ctx.save_for_backward(pyramid, image, uv, footprint)
        ctx.size = size
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, *by_output: Tensor) -> tuple[Tensor | None, ...]:
        """Derivatives by the texels and the texture coordinates."""
        pyramid, image, uv, footprint = (t.detach().contiguous().numpy() for t in ctx.saved_tensors)
        pull = by_output[0].contiguous().numpy()
        by_pyramid, by_uv = None, None
        if ctx.needs_input_grad[0]:
            by_pyramid = torch.zeros(pyramid.shape, dtype=by_output[0].dtype)
            pull_back_texels(ctx.size, image, uv, footprint, pull, by_pyramid.numpy())
        if ctx.needs_input_grad[1]:
            by_uv = torch.zeros(uv.shape, dtype=by_output[0].dtype)
            pull_back_places(pyramid, ctx.size, image, uv, footprint, pull, by_uv.numpy())
        return by_pyramid, by_uv, None, None, None


def sample_texture(
    texture: Float[Tensor, "channel h w"], uv: Float[Tensor, "*batch 2"]
) -> Float[Tensor, "*batch channel"]:
    """Bilinear lookup; ``uv`` in [0, 1] with v up, clamped at the border; differentiable."""
    grid = torch.stack([uv[..., 0] * 2 - 1, 1 - uv[..., 1] * 2], dim=-1)
    picked = grid_sample(
        texture[None], grid.reshape(1, 1, -1, 2), align_corners=False, padding_mode="border"
    )
    return picked[0, :, 0].T.reshape(*uv.shape[:-1], texture.shape[0])
