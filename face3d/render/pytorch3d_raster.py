"""PyTorch3D's rasterizer behind our signature (the extra ``pytorch3d``).

PyTorch3D's pictures run from +1 at the left and at the top to -1, over the shorter side.
"""

import torch
from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes  # type: ignore[import-not-found]
from pytorch3d.structures import Meshes  # type: ignore[import-not-found]
from torch import Tensor

from face3d.render.rasterize import NEAR_M, RasterJob, RasterResult


def rasterize_pytorch3d(job: RasterJob) -> RasterResult:
    """Rasterize; coverage follows PyTorch3D's rules, which differ on edges."""
    z = job.corners[..., 2]
    safe = torch.where(z.abs() < NEAR_M / 2, torch.full_like(z, NEAR_M / 2), z)
    shorter = min(job.height, job.width)
    x = (job.width - 2 * job.corners[..., 0] / safe) / shorter
    y = (job.height - 2 * job.corners[..., 1] / safe) / shorter
    faces = torch.as_tensor(job.faces).to(z.device)
    meshes = Meshes(verts=list(torch.stack([x, y, safe], dim=-1)), faces=[faces] * len(job.corners))
    packed, depth, barycentric, _ = rasterize_meshes(
        meshes,
        image_size=(job.height, job.width),
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=True,
        clip_barycentric_coords=False,
        cull_backfaces=job.cull_back,
        z_clip_value=NEAR_M,
    )
    return _unpacked(packed[..., 0], barycentric[..., 0, :], depth[..., 0], len(faces))


def _unpacked(packed: Tensor, barycentric: Tensor, depth: Tensor, count: int) -> RasterResult:
    """Faces are counted through the whole batch there, per picture here; background is -1."""
    first = torch.arange(len(packed), device=packed.device)[:, None, None] * count
    covered = packed >= 0
    seen = torch.where(covered, packed - first, packed)
    barycentric = torch.where(covered[..., None], barycentric, torch.zeros_like(barycentric))
    return seen, barycentric, torch.where(covered, depth, torch.full_like(depth, torch.inf))
