"""Texture from a photo: what each texel shows in the picture, and how well."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import grid_sample, max_pool2d

from face3d.core.camera import project
from face3d.core.types import Camera, HeadMesh
from face3d.render.interpolate import vertex_normals
from face3d.render.rasterize import rasterize
from face3d.render.rows import index_tensor
from face3d.render.texture import texel_fragments

DEPTH_SLACK_M = 0.004
"""How far behind the visible surface a texel may lie and still count as seen."""

SILHOUETTE_PX = 2
"""Pixels next to a jump in depth are not trusted: they mix face and background."""


@dataclass(frozen=True, kw_only=True)
class Baked:
    """Colours of a square texture as one photo shows them."""

    rgb: Float[Tensor, "3 size size"]  # sRGB in [0, 1]
    weight: Float[Tensor, "size size"]  # 0 not seen, 1 seen head on


def bake_photo(
    photo: UInt8[ndarray, "h w 3"], mesh: HeadMesh, camera: Camera, *, size: int
) -> Baked:
    """Project every texel into the photo and pick up its colour.

    Args:
        photo: The picture, sRGB.
        mesh: The posed surface in the world frame, with texture coordinates; one mesh.
        camera: How the picture was taken.
        size: Texels on a side.

    Returns:
        Colours and how well each texel was seen: the cosine to the viewing ray where nothing
        hides it, zero elsewhere.
    """
    fragments = texel_fragments(mesh.topology, size)
    covered = fragments.face_index >= 0
    faces = index_tensor(mesh.topology.faces)
    corners = faces[fragments.face_index[covered]]
    share = fragments.barycentric[covered][..., None]
    points = (mesh.vertices[corners] * share).sum(1)
    normals = (vertex_normals(mesh.vertices, faces)[corners] * share).sum(1)
    pixels = project(camera, points)
    eye = -(camera.camera_from_world[:3, :3].T @ camera.camera_from_world[:3, 3])
    towards = torch.nn.functional.normalize(eye - points, dim=-1)
    facing = (torch.nn.functional.normalize(normals, dim=-1) * towards).sum(-1).clamp(min=0)
    scale = torch.tensor([2 / camera.width, 2 / camera.height])
    grid = (pixels[:, :2] * scale - 1).reshape(1, 1, -1, 2)

    depth = rasterize(mesh, camera).depth_m
    far = torch.where(torch.isfinite(depth), depth, torch.full_like(depth, 1e3))
    window = 2 * SILHOUETTE_PX + 1
    farthest = max_pool2d(far[None, None], window, stride=1, padding=SILHOUETTE_PX)
    jump = (farthest[0, 0] - far) > 0.02
    picked = grid_sample(
        torch.stack([far, jump.float()])[None], grid, mode="nearest", align_corners=False
    )[0, :, 0]
    inside = (grid[0, 0].abs() < 1).all(-1)
    seen = inside & (pixels[:, 2] < picked[0] + DEPTH_SLACK_M) & (picked[1] < 0.5)
    colours = grid_sample(
        torch.from_numpy(photo).float().permute(2, 0, 1)[None] / 255,
        grid,
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )[0, :, 0]
    at = torch.nonzero(covered.flatten()).squeeze(-1)
    rgb = torch.zeros(3, size * size).index_copy_(1, at, colours)
    weight = torch.zeros(size * size).index_copy_(0, at, facing * seen)
    return Baked(rgb=rgb.reshape(3, size, size), weight=weight.reshape(size, size))


def fill_smoothly(
    rgb: Float[Tensor, "3 size size"], weight: Float[Tensor, "size size"]
) -> Float[Tensor, "3 size size"]:
    """Fill what was not seen with a smooth continuation of what was (pull-push on a pyramid).

    Args:
        rgb: Colours.
        weight: How far each is trusted; zero is filled, one is kept.
    """
    levels = [(rgb * weight, weight)]
    while levels[-1][1].shape[-1] > 1 and levels[-1][1].shape[-1] % 2 == 0:
        colour, trust = levels[-1]
        pooled = torch.nn.functional.avg_pool2d(torch.cat([colour, trust[None]])[None], 2)[0]
        # Trust grows on the way up: one seen texel in four settles the coarse one.
        gain = (pooled[3] * 4).clamp(max=1) / pooled[3].clamp(min=1e-9)
        levels.append((pooled[:3] * gain, pooled[3] * gain))
    colour, trust = levels[-1]
    mean = colour.sum((1, 2)) / trust.sum().clamp(min=1e-9)
    filled = colour + mean[:, None, None] * (1 - trust)
    for colour, trust in levels[-2::-1]:
        up = torch.nn.functional.interpolate(
            filled[None], size=trust.shape, mode="bilinear", align_corners=False
        )[0]
        filled = colour + up * (1 - trust)
    return filled
