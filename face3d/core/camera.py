"""The pinhole camera: projection and its inverse.

OpenCV axes (+x right, +y down, +z forward); the centre of the first pixel is at (0.5, 0.5).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.core.transforms import transform_points
from face3d.core.types import Camera


def project(
    camera: Camera, points_world: Float[Tensor, "*#batch point 3"]
) -> Float[Tensor, "*_ point 3"]:
    """Project world points to pixels; one camera serves a whole batch of points.

    Returns:
        x and y in px and the depth along the camera's axis in metres. Points behind the camera
        keep their negative depth; their pixels have no meaning.
    """
    x, y, z = transform_points(camera.camera_from_world, points_world).unbind(-1)
    safe = torch.where(z.abs() < 1e-9, torch.full_like(z, 1e-9), z)
    u = camera.fx[..., None] * x / safe + camera.cx[..., None]
    v = camera.fy[..., None] * y / safe + camera.cy[..., None]
    return torch.stack([u, v, z], dim=-1)


def homogeneous_pixels(
    camera: Camera, points_world: Float[Tensor, "*#batch point 3"]
) -> Float[Tensor, "*_ point 3"]:
    """Pixels times depth, and the depth: ``(u z, v z, z)``.

    Linear in the points, so that it has a meaning behind the camera too; metres px, metres px and
    metres.
    """
    x, y, z = transform_points(camera.camera_from_world, points_world).unbind(-1)
    u = camera.fx[..., None] * x + camera.cx[..., None] * z
    v = camera.fy[..., None] * y + camera.cy[..., None] * z
    return torch.stack([u, v, z], dim=-1)


def camera_points_from_pixels(
    camera: Camera, pixels: Float[Tensor, "*batch point 2"], depth_m: Float[Tensor, "*batch point"]
) -> Float[Tensor, "*batch point 3"]:
    """Points of the camera frame, in metres, that project to ``pixels`` at ``depth_m``."""
    x = (pixels[..., 0] - camera.cx[..., None]) / camera.fx[..., None] * depth_m
    y = (pixels[..., 1] - camera.cy[..., None]) / camera.fy[..., None] * depth_m
    return torch.stack([x, y, depth_m], dim=-1)


def focal_px_from_equivalent_mm(equivalent_mm: float, width: int, height: int) -> float:
    """Focal length in px from the 35 mm equivalent that cameras write into EXIF.

    The equivalent compares diagonals: that of a 36x24 mm frame (43.27 mm) with the picture's
    (CIPA DCG-001). A crop of the picture would need its uncropped size.
    """
    return equivalent_mm / math.hypot(36.0, 24.0) * math.hypot(width, height)
