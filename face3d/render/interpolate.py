"""Values at corners to values at pixels."""

from typing import Any

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from face3d.core.errors import InputError
from face3d.core.types import Fragments
from face3d.render.autograd import first_order
from face3d.render.numba_interpolate import interpolate_batch, pull_back_batch


def interpolate(
    fragments: Fragments,
    attributes: Float[Tensor, "*#batch vertex channel"],
    faces: Int[Tensor, "face 3"],
) -> Float[Tensor, "*_ h w channel"]:
    """Interpolate per-vertex values over the pixels of fragments.

    Args:
        fragments: What the rasterizer saw.
        attributes: One row per vertex that ``faces`` names, for each image or once for all;
            differentiable, and so are the fragments' barycentrics.
        faces: Corners of each face in ``attributes`` (not necessarily the mesh's own faces:
            texture coordinates have their own).

    Returns:
        Zero where there is no face.

    Raises:
        InputError: The faces name values that do not exist, or are fewer than were drawn.
    """
    batch = fragments.face_index.shape[:-2]
    h, w = fragments.face_index.shape[-2:]
    count, channels = attributes.shape[-2:]
    if faces.numel() and not 0 <= int(faces.min()) <= int(faces.max()) < count:
        raise InputError(
            f"The faces name rows {int(faces.min())} to {int(faces.max())}, but there are {count} "
            "values; texture coordinates have faces of their own."
        )
    if fragments.face_index.numel() and int(fragments.face_index.max()) >= len(faces):
        raise InputError(f"The fragments are of more than these {len(faces)} faces.")
    values = attributes
    if attributes.ndim > 2:
        values = attributes.expand(*batch, count, channels)
    values = values.reshape(-1, count, channels)
    seen = fragments.face_index.reshape(-1, h, w)
    barycentric = fragments.barycentric.reshape(-1, h, w, 3).to(attributes.dtype)
    if values.device.type == "cpu":
        out = _Compiled.apply(barycentric, values, seen, faces)
    else:
        out = interpolate_plain(barycentric, values, seen, faces)
    return out.reshape(*batch, h, w, channels)


def interpolate_plain(
    barycentric: Float[Tensor, "batch h w 3"],
    values: Float[Tensor, "#batch vertex channel"],
    seen: Int[Tensor, "batch h w"],
    faces: Int[Tensor, "face 3"],
) -> Float[Tensor, "batch h w channel"]:
    """The same in plain torch: what the compiled loops are held to, and what GPUs run."""
    image, row, column = torch.nonzero(seen >= 0, as_tuple=True)
    index = faces[seen[image, row, column]]
    rows = values.expand(len(seen), *values.shape[1:])[image[:, None], index]
    mixed = (rows * barycentric[image, row, column][..., None]).sum(1)
    out = values.new_zeros(*seen.shape, values.shape[-1])
    return out.index_put((image, row, column), mixed)


class _Compiled(torch.autograd.Function):
    """The compiled loops as one differentiable operation."""

    @staticmethod
    def forward(
        ctx: Any, barycentric: Tensor, values: Tensor, seen: Tensor, faces: Tensor
    ) -> Tensor:
        """Interpolate; arguments as of ``interpolate_plain``."""
        index, weights, source, corners = (
            t.detach().contiguous().numpy() for t in (seen, barycentric, values, faces)
        )
        out = values.new_zeros(*seen.shape, values.shape[-1])
        interpolate_batch(index, weights, source, corners, out.numpy())
        ctx.save_for_backward(barycentric, values, seen, faces)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, *by_output: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Derivatives by barycentrics and values."""
        barycentric, values, seen, faces = ctx.saved_tensors
        index, weights, source, corners = (
            t.detach().contiguous().numpy() for t in (seen, barycentric, values, faces)
        )
        by_bary = np.zeros_like(weights)
        bands = max(1, -(-numba.get_num_threads() // max(1, len(by_bary))))
        pull = by_output[0].contiguous().numpy()
        by_values = pull_back_batch(index, weights, source, corners, pull, bands, by_bary)
        if len(source) == 1:
            by_values = by_values.sum(axis=0, keepdims=True)
        return torch.from_numpy(by_bary), torch.from_numpy(by_values), None, None


def vertex_normals(
    vertices: Float[Tensor, "*batch vertex 3"], faces: Int[Tensor, "face 3"]
) -> Float[Tensor, "*batch vertex 3"]:
    """Unit normals, the mean of the faces around each vertex weighted by their areas."""
    a, b, c = (vertices[..., faces[:, k], :] for k in range(3))
    cross = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for k in range(3):
        total = total.scatter_add(-2, faces[:, k, None].expand_as(cross), cross)
    return total / total.norm(dim=-1, keepdim=True).clamp(min=1e-12)
