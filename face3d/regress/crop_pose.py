"""A head's place as a crop shows it, whatever camera took the photo.

A crop looks into one direction of a photo. Turned so that it looks along its own axis, a camera
sees the head with a rotation, a centre, a size and a nearness that a network can read off the
crop; with the photo's focal length they give the head's place before the photo's camera.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from face3d.core.types import Camera

HEAD_M = 0.2
"""Sizes are those of an object this long at the head's origin."""

NEAR_M = 0.8
"""Distances are compared with this one."""


def turned_to(ray: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The smallest rotation that brings a direction before the camera onto its axis.

    Args:
        ray: In the camera's axes, z positive, any length.
    """
    x, y, z = normalize(ray, dim=-1).unbind(-1)
    a = 1 / (1 + z)
    one = torch.ones_like(x)
    return torch.stack(
        [one - a * x * x, -a * x * y, -x, -a * x * y, one - a * y * y, -y, x, y, z], dim=-1
    ).unflatten(-1, (3, 3))


def place_from_pose(
    world_from_head: Float[Tensor, "*batch 4 4"], camera: Camera
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 4"]]:
    """What a crop shows of a head's pose.

    Args:
        world_from_head: The head before ``camera``, whose frame is the world.
        camera: Of the crop; its axis may lie outside.

    Returns:
        The head's rotation as seen along the crop's axis; and of its origin: x and y from -1 to 1
        across the crop, the logarithm of the size of HEAD_M there over the crop's side, and the
        logarithm of NEAR_M over its distance.
    """
    size = float(camera.width)
    ray = _middle_ray(camera)
    turn = turned_to(ray)
    rotation = turn @ world_from_head[..., :3, :3]
    x, y, z = (turn @ world_from_head[..., :3, 3:]).squeeze(-1).unbind(-1)
    focal = camera.fx * ray.norm(dim=-1)
    side = 2 * focal / size
    scale = (focal * HEAD_M / z / size).log()
    return rotation, torch.stack([side * x / z, side * y / z, scale, (NEAR_M / z).log()], dim=-1)


def pose_from_place(
    rotation: Float[Tensor, "*batch 3 3"], place: Float[Tensor, "*batch 4"], camera: Camera
) -> Float[Tensor, "*batch 4 4"]:
    """The way back; the camera's focal length decides the distance, the fourth number does not.

    Args:
        rotation: As seen along the crop's axis.
        place: As of ``place_from_pose``.
        camera: Of the crop.
    """
    size = float(camera.width)
    ray = _middle_ray(camera)
    turn = turned_to(ray)
    focal = camera.fx * ray.norm(dim=-1)
    z = focal * HEAD_M / size / place[..., 2].exp()
    side = 2 * focal / size
    seen = torch.stack([place[..., 0] * z / side, place[..., 1] * z / side, z], dim=-1)
    out = torch.zeros(*rotation.shape[:-2], 4, 4, dtype=rotation.dtype, device=rotation.device)
    out[..., :3, :3] = turn.mT @ rotation
    out[..., :3, 3] = (turn.mT @ seen[..., None]).squeeze(-1)
    out[..., 3, 3] = 1
    return out


def rotation_from_six(six: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Two columns made orthonormal (Zhou et al., 2019)."""
    a, b = six.unflatten(-1, (2, 3)).unbind(-2)
    x = normalize(a, dim=-1)
    y = normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def _middle_ray(camera: Camera) -> Float[Tensor, "*batch 3"]:
    """The direction that the middle of a crop shows, one metre deep."""
    half = camera.width / 2
    x, y = (half - camera.cx) / camera.fx, (half - camera.cy) / camera.fy
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)
