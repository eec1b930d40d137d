"""Tangent-space normal maps from displacement maps."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from face3d.core.types import Fragments, HeadMesh
from face3d.render.detail import normals_of_relief, slopes, texel_axes, texel_normals


def normal_map(
    mesh: HeadMesh, displacement: Float[Tensor, "1 size size"], fragments: Fragments
) -> Float[Tensor, "3 size size"]:
    """Normals of a displaced surface in the tangent frame, as glTF and OpenGL take them.

    Args:
        mesh: The surface without relief.
        displacement: Metres outwards.
        fragments: The texels.

    Returns:
        0 to 1 stand for -1 to 1; +x runs along u, +y along v up; (0.5, 0.5, 1) is no change.
    """
    covered = fragments.face_index >= 0
    normal, axes = texel_normals(mesh, fragments), texel_axes(mesh, fragments)
    bent = normals_of_relief(normal, axes, slopes(displacement)[:, covered].T)
    along_u, along_v = axes[:, :3], axes[:, 3:]
    tangent = normalize(along_u - (along_u * normal).sum(-1, keepdim=True) * normal, dim=-1)
    bitangent = torch.linalg.cross(normal, tangent)
    bitangent = bitangent * (bitangent * along_v).sum(-1, keepdim=True).sign()
    parts = torch.stack([(bent * t).sum(-1) for t in (tangent, bitangent, normal)])
    out = torch.tensor([0.5, 0.5, 1.0])[:, None, None].repeat(1, *covered.shape)
    out[:, covered] = parts * 0.5 + 0.5
    return out
