"""Fine relief in textures: tangent-space normal maps and displacement maps."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from face3d.core.types import Fragments, HeadMesh
from face3d.render.interpolate import interpolate, vertex_normals
from face3d.render.rows import index_tensor
from face3d.render.texture import require_texture_coordinates, sample_texture


def texture_axes(mesh: HeadMesh) -> Float[Tensor, "*batch texcoord 6"]:
    """How the surface runs along the texture: its derivatives by u and by v, metres.

    Of each face they are constant; at a texture coordinate they are the mean of its faces,
    weighted by area, so that relief does not show the faces.

    Raises:
        InputError: The mesh has no texture coordinates.
    """
    uv, uv_faces = require_texture_coordinates(mesh)
    vertices = mesh.vertices
    places = torch.as_tensor(uv).to(vertices)
    rows = index_tensor(uv_faces, vertices.device)
    a, b, c = (vertices[..., i, :] for i in index_tensor(mesh.topology.faces).T)
    ta, tb, tc = (places[i] for i in rows.T)
    first, second = b - a, c - a
    (du1, dv1), (du2, dv2) = (tb - ta).unbind(-1), (tc - ta).unbind(-1)
    twice = du1 * dv2 - du2 * dv1
    sized = torch.where(twice.abs() < 1e-14, torch.full_like(twice, torch.inf), twice)
    along_u = (first * dv2[:, None] - second * dv1[:, None]) / sized[:, None]
    along_v = (second * du1[:, None] - first * du2[:, None]) / sized[:, None]
    area = torch.linalg.cross(first, second).norm(dim=-1, keepdim=True)
    weighted = torch.cat([along_u * area, along_v * area, area], dim=-1)
    total = vertices.new_zeros(*vertices.shape[:-2], len(places), 7)
    for k in range(3):
        total = total.index_add(-2, rows[:, k], weighted)
    return total[..., :6] / total[..., 6:].clamp(min=1e-20)


def texel_axes(mesh: HeadMesh, fragments: Fragments) -> Float[Tensor, "texel 6"]:
    """``texture_axes`` at the texels that ``fragments`` cover, metres per texture unit."""
    _, uv_faces = require_texture_coordinates(mesh)
    at = index_tensor(uv_faces, mesh.vertices.device)
    return interpolate(fragments, texture_axes(mesh), at)[fragments.face_index >= 0]


def texel_normals(mesh: HeadMesh, fragments: Fragments) -> Float[Tensor, "texel 3"]:
    """Unit normals at the texels that ``fragments`` cover, in the mesh's frame."""
    faces = index_tensor(mesh.topology.faces, mesh.vertices.device)
    normals = interpolate(fragments, vertex_normals(mesh.vertices, faces), faces)
    return normalize(normals[fragments.face_index >= 0], dim=-1)


def slopes(
    displacement: Float[Tensor, "*batch 1 size size"],
) -> Float[Tensor, "*batch 2 size size"]:
    """Derivatives of a displacement map by u and by v (up), by central differences."""
    size = displacement.shape[-1]
    padded = torch.nn.functional.pad(
        displacement.reshape(-1, 1, size, size), (1, 1, 1, 1), mode="replicate"
    )
    by_u = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * (size / 2)
    by_v = (padded[..., :-2, 1:-1] - padded[..., 2:, 1:-1]) * (size / 2)
    return torch.cat([by_u, by_v], dim=1).reshape(*displacement.shape[:-3], 2, size, size)


def normals_of_relief(
    normal: Float[Tensor, "pixel 3"],
    axes: Float[Tensor, "pixel 6"],
    slope: Float[Tensor, "pixel 2"],
) -> Float[Tensor, "pixel 3"]:
    """Normals of a surface that is displaced along its own (Blinn, 1978).

    To first order the displaced surface's normal is the old one less the gradient of the
    displacement along the surface.

    Args:
        normal: Unit.
        axes: As of ``texture_axes``.
        slope: As of ``slopes``.
    """
    # In units of the longer axis, so that no product leaves the range of numbers.
    unit = axes.detach().abs().amax(-1, keepdim=True).clamp(min=1e-12)
    axes, slope = axes / unit, slope / unit
    along_u, along_v = (_across(part, normal) for part in (axes[:, :3], axes[:, 3:]))
    uu, uv, vv = (along_u**2).sum(-1), (along_u * along_v).sum(-1), (along_v**2).sum(-1)
    area = (uu * vv - uv**2).clamp(min=1e-12)
    by_u, by_v = slope.unbind(-1)
    a, b = (vv * by_u - uv * by_v) / area, (uu * by_v - uv * by_u) / area
    return normalize(normal - a[:, None] * along_u - b[:, None] * along_v, dim=-1)


def normals_of_map(
    normal: Float[Tensor, "pixel 3"],
    axes: Float[Tensor, "pixel 6"],
    encoded: Float[Tensor, "pixel 3"],
) -> Float[Tensor, "pixel 3"]:
    """Normals from a tangent-space map, OpenGL's way: +x along u, +y along v up.

    Args:
        normal: Unit.
        axes: As of ``texture_axes``.
        encoded: Colours; 0 to 1 stand for -1 to 1.
    """
    tangent = normalize(_across(axes[:, :3], normal), dim=-1)
    bitangent = torch.linalg.cross(normal, tangent)
    flipped = ((bitangent * axes[:, 3:]).sum(-1, keepdim=True) < 0).to(normal.dtype)
    x, y, z = (encoded * 2 - 1).split(1, dim=-1)
    return normalize(x * tangent + y * (1 - 2 * flipped) * bitangent + z * normal, dim=-1)


def displaced(
    mesh: HeadMesh, displacement: Float[Tensor, "1 size size"]
) -> Float[Tensor, "*batch vertex 3"]:
    """Vertices moved along their normals by a displacement map; differentiable.

    Args:
        mesh: With texture coordinates; fine relief asks for fine faces.
        displacement: Metres outwards.

    Raises:
        InputError: The mesh has no texture coordinates.
    """
    uv, uv_faces = require_texture_coordinates(mesh)
    at_corner = sample_texture(displacement, torch.as_tensor(uv).to(displacement))[:, 0]
    faces = index_tensor(mesh.topology.faces, mesh.vertices.device)
    heights = _mean_of_corners(at_corner, faces, index_tensor(uv_faces, faces.device),
                               mesh.vertices.shape[-2])  # fmt: skip
    return mesh.vertices + heights[:, None] * vertex_normals(mesh.vertices, faces)


def _mean_of_corners(
    values: Float[Tensor, "texcoord"],
    faces: Int[Tensor, "face 3"],
    uv_faces: Int[Tensor, "face 3"],
    count: int,
) -> Float[Tensor, "vertex"]:
    """Along seams a vertex has several texture coordinates, which must not tear it apart."""
    at = faces.flatten()
    total = values.new_zeros(count).index_add(0, at, values[uv_faces.flatten()])
    return total / torch.bincount(at, minlength=count).clamp(min=1)


def _across(vector: Float[Tensor, "pixel 3"], normal: Float[Tensor, "pixel 3"]) -> Tensor:
    """The part of a vector across a normal."""
    return vector - (vector * normal).sum(-1, keepdim=True) * normal
