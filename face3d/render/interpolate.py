"""Values at corners to values at pixels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from face3d.core.types import Fragments


def interpolate(
    fragments: Fragments,
    attributes: Float[Tensor, "*batch vertex channel"],
    faces: Int[Tensor, "face 3"],
) -> Float[Tensor, "*batch h w channel"]:
    """Interpolate per-vertex values over the pixels of fragments.

    Args:
        fragments: What the rasterizer saw.
        attributes: One row per vertex that ``faces`` names; differentiable.
        faces: Corners of each face in ``attributes`` (not necessarily the mesh's own faces:
            texture coordinates have their own).

    Returns:
        Zero where there is no face.
    """
    batch = fragments.face_index.shape[:-2]
    h, w = fragments.face_index.shape[-2:]
    flat = attributes.expand(*batch, *attributes.shape[-2:]).reshape(-1, *attributes.shape[-2:])
    index = fragments.face_index.reshape(flat.shape[0], h * w)
    weights = fragments.barycentric.reshape(flat.shape[0], h * w, 3).to(attributes.dtype)
    out = attributes.new_zeros(flat.shape[0], h * w, attributes.shape[-1])
    for k in range(flat.shape[0]):
        seen = index[k] >= 0
        corners = flat[k][faces[index[k][seen]]]
        out[k, seen] = (corners * weights[k][seen][..., None]).sum(-2)
    return out.reshape(*batch, h, w, attributes.shape[-1])


def vertex_normals(
    vertices: Float[Tensor, "*batch vertex 3"], faces: Int[Tensor, "face 3"]
) -> Float[Tensor, "*batch vertex 3"]:
    """Unit normals, the mean of the faces around each vertex weighted by their areas."""
    a, b, c = (vertices[..., faces[:, k], :] for k in range(3))
    cross = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for k in range(3):
        total = total.index_add(-2, faces[:, k], cross)
    return total / total.norm(dim=-1, keepdim=True).clamp(min=1e-12)
