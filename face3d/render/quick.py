"""Drawing without gradients: the same picture as the differentiable way, several times faster."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from face3d.core.camera import homogeneous_pixels
from face3d.core.types import Camera, Fragments, HeadMesh
from face3d.render.antialias import corner_pixels, find_edges
from face3d.render.interpolate import vertex_normals
from face3d.render.light import (
    DirectionalLight,
    Light,
    PointLight,
    Shadows,
    SphericalHarmonics,
)
from face3d.render.materials import Materials
from face3d.render.memory import scratch
from face3d.render.numba_draw import blend_silhouettes, draw_batch, finish_batch
from face3d.render.rows import index_array, index_tensor
from face3d.render.shade import srgb_from_linear
from face3d.render.texture import MipTexture, require_texture_coordinates

CURVE = srgb_from_linear(torch.linspace(0, 1, 4097, dtype=torch.float64) ** 2).float().numpy()
"""At squares, where it is nearly straight: interpolated, it is off by less than 1e-6."""


def draw(
    fragments: Fragments,
    mesh: HeadMesh,
    camera: Camera,
    *,
    texture: MipTexture | None,
    clay: float,
    lights: Sequence[Light],
    materials: Materials,
    shadows: Shadows | None,
    behind: Float[Tensor, "... 3"],
    supersample: int,
    linear: bool,
) -> Float[Tensor, "b 4 _ _"]:
    """RGB over a background, antialiased, and coverage.

    Args:
        fragments: What the rasterizer saw of ``mesh``, float32, on the CPU.
        mesh: The surface.
        camera: The view.
        texture: Linear base colour.
        clay: Albedo without texture.
        lights: All that shine; none shows the albedo.
        materials: Of the mesh's faces.
        shadows: What reaches each vertex.
        behind: Linear background; h and w may be 1.
        supersample: Fragments per pixel along each axis.
        linear: Give linear colours instead of sRGB.
    """
    height, width = fragments.face_index.shape[-2:]
    seen = fragments.face_index.reshape(-1, height, width)
    count, vertices = len(seen), mesh.vertices.detach()
    vertices = vertices.expand(*fragments.face_index.shape[:-2], *vertices.shape[-2:])
    vertices = vertices.reshape(count, vertices.shape[-2], 3).contiguous()
    faces = index_array(mesh.topology.faces)
    pose = camera.camera_from_world.reshape(-1, 4, 4)
    corners = homogeneous_pixels(camera, mesh.vertices.detach())
    corners = corners.expand(*fragments.face_index.shape[:-2], -1, 3).reshape(vertices.shape)
    uv, uv_faces = np.zeros((0, 2)), np.zeros((0, 3), np.int64)
    pyramid, size = np.zeros((0, 3, 0), np.float32), 0
    if texture is not None:
        given = require_texture_coordinates(mesh)
        uv = np.ascontiguousarray(given[0], dtype=np.float64)
        uv_faces = index_array(given[1])
        pyramid = _rows(texture.pyramid, 2)
        size = texture.size
    reached = np.zeros((0, 0, 1), np.float32)
    if shadows is not None:
        ambient = shadows.ambient[..., None]
        single = shadows.single.mT
        single = single.expand(*ambient.shape[:-1], single.shape[-1])
        reached = _rows(torch.cat([ambient, single], dim=-1), 2)
    wrap = materials.wrap if materials.wrap is not None else torch.zeros(len(faces), 3)
    wrap = torch.stack([wrap, 1 / (1 + wrap) ** 2], dim=1)
    layer = scratch((count, height, width, 4), torch.float32)
    draw_batch(
        seen.contiguous().numpy(),
        fragments.barycentric.detach().reshape(count, height, width, 3).contiguous().numpy(),
        corners.double().contiguous().numpy(),
        faces,
        vertices.numpy(),
        vertex_normals(vertices, index_tensor(faces)).contiguous().numpy(),
        reached,
        uv,
        uv_faces,
        pyramid,
        size,
        np.float32(clay),
        _rows(-(pose[:, :3, :3].mT @ pose[:, :3, 3:]).squeeze(-1), 1),
        bool(lights),
        _harmonics(lights),
        _singles(lights),
        materials.roughness.detach().float().contiguous().numpy(),
        wrap.detach().float().contiguous().numpy(),
        _rows(behind, 3),
        layer.numpy(),
    )
    points, depth = corner_pixels(mesh, camera, fragments.face_index.shape[:-2])
    edges, towards = find_edges(points, depth, mesh, fragments)
    out = scratch(tuple(layer.shape), torch.float32).copy_(layer)
    blend_silhouettes(
        points.detach().contiguous().numpy(),
        edges.numpy(),
        towards.numpy(),
        layer.numpy(),
        out.numpy(),
    )
    size = (count, 4, height // supersample, width // supersample)
    picture = scratch(size, torch.float32)
    curve = np.zeros(0, np.float32) if linear else CURVE
    finish_batch(out.numpy(), supersample, curve, picture.numpy())
    return picture


def _rows(value: Tensor, own_axes: int) -> Float[np.ndarray, "rows ..."]:
    """A tensor with its batch axes in one, as float32."""
    own = value.shape[value.ndim - own_axes :]
    return value.detach().float().reshape(-1, *own).contiguous().numpy()


def _harmonics(lights: Sequence[Light]) -> Float[np.ndarray, "rows 9 3"]:
    """The sum of all light from everywhere."""
    total = torch.zeros(9, 3)
    for light in lights:
        if isinstance(light, SphericalHarmonics):
            total = total + light.coefficients
    return _rows(total, 2)


def _singles(lights: Sequence[Light]) -> Float[np.ndarray, "rows light 7"]:
    """Kind, place or direction, and colour of the single lights."""
    each: list[Tensor] = []
    for light in lights:
        if isinstance(light, PointLight):
            vector, kind = light.place_m, 1.0
        elif isinstance(light, DirectionalLight):
            vector, kind = normalize(light.towards, dim=-1), 0.0
        else:
            continue
        rgb = light.rgb.expand(torch.broadcast_shapes(vector.shape, light.rgb.shape))
        vector = vector.expand(rgb.shape)
        each.append(torch.cat([torch.full_like(vector[..., :1], kind), vector, rgb], dim=-1))
    if not each:
        return np.zeros((1, 0, 7), np.float32)
    shape = torch.broadcast_shapes(*(e.shape for e in each))
    return _rows(torch.stack([e.expand(shape) for e in each], dim=-2), 2)
