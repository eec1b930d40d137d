"""nvdiffrast's CUDA rasterizer behind our signature (the extra ``nvdiffrast``).

nvdiffrast draws homogeneous clip coordinates into pictures of a multiple of eight pixels; rows are
counted upwards there, so the picture's y is not turned around. It knows no back faces: they are
left out beforehand.
"""

from functools import cache
from typing import Any

import nvdiffrast.torch as dr  # type: ignore[import-not-found]
import torch
from torch import Tensor

from face3d.render.rasterize import NEAR_M, RasterJob, RasterResult

FAR_M = 100.0
MULTIPLE = 8


@cache
def _context(device: str) -> Any:
    return dr.RasterizeCudaContext(device=device)


def rasterize_nvdiffrast(job: RasterJob) -> RasterResult:
    """Rasterize each picture of the batch; coverage follows CUDA's rules, which differ on edges."""
    faces = torch.as_tensor(job.faces).to(job.corners.device)
    each = [_one(corners, faces, job) for corners in job.corners]
    seen, barycentric, depth = (torch.stack(parts) for parts in zip(*each, strict=True))
    return seen, barycentric, depth


def _one(corners: Tensor, faces: Tensor, job: RasterJob) -> RasterResult:
    kept = torch.arange(len(faces), device=faces.device)
    if job.cull_back:
        a, b, c = (corners[faces[:, k]].detach().double() for k in range(3))
        # Seen from the camera at the origin of homogeneous pixels, front faces are negative.
        kept = kept[(a * torch.linalg.cross(b, c)).sum(-1) < 0]
    height, width = (-(-size // MULTIPLE) * MULTIPLE for size in (job.height, job.width))
    x, y, z = corners.float().unbind(-1)
    slope = (FAR_M + NEAR_M) / (FAR_M - NEAR_M)
    offset = 2 * FAR_M * NEAR_M / (FAR_M - NEAR_M)
    clip = torch.stack([2 * x / width - z, 2 * y / height - z, slope * z - offset, z], dim=-1)
    drawn, _ = dr.rasterize(
        _context(str(corners.device)), clip[None].contiguous(), faces[kept].int().contiguous(),
        resolution=[height, width], grad_db=False,
    )  # fmt: skip
    drawn = drawn[0, : job.height, : job.width]
    number = drawn[..., 3].long() - 1
    covered = number >= 0
    seen = torch.where(covered, kept[number.clamp(min=0)], number)
    first, second = drawn[..., 0], drawn[..., 1]
    weights = torch.stack([first, second, 1 - first - second], dim=-1)
    weights = torch.where(covered[..., None], weights, torch.zeros_like(weights))
    met = (weights * z[faces[seen.clamp(min=0)]]).sum(-1)
    return seen, weights, torch.where(covered, met, torch.full_like(met, torch.inf))
