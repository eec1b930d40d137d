"""What reaches each vertex of the light around a head: soft shadows for previews."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from face3d.core.camera import project
from face3d.core.transforms import rigid_from_parts
from face3d.core.types import Camera, HeadMesh
from face3d.render.interpolate import vertex_normals
from face3d.render.light import Shadows
from face3d.render.rasterize import rasterize
from face3d.render.rows import index_tensor

MAP_PX = 192
FAR = 27.0
"""How far away the light's point of view is, in radii of the head: nearly parallel rays."""

SLACK = 0.01
"""Vertices are lifted off their surface by this share of the radius before asking what hides
them: 1.5 mm of a head."""

CHUNK = 24
"""Depth maps held at once."""


def sphere_directions(count: int) -> Float[Tensor, "count 3"]:
    """Evenly spread unit vectors (spherical Fibonacci)."""
    k = torch.arange(count) + 0.5
    z = 1 - 2 * k / count
    turn = k * math.pi * (3 - math.sqrt(5))
    ring = (1 - z**2).sqrt()
    return torch.stack([ring * turn.cos(), ring * turn.sin(), z], dim=-1)


def cone_directions(
    middle: Float[Tensor, "3"], half_angle_rad: float, count: int
) -> Float[Tensor, "count 3"]:
    """Evenly spread unit vectors about one."""
    axis = normalize(middle, dim=0)
    side = torch.linalg.cross(axis, torch.eye(3)[axis.abs().argmin()])
    side = normalize(side, dim=0)
    k = torch.arange(count)
    tilt = half_angle_rad * ((k + 0.5) / count).sqrt()
    turn = k * math.pi * (3 - math.sqrt(5))
    around = turn.cos()[:, None] * side + turn.sin()[:, None] * torch.linalg.cross(axis, side)
    return tilt.cos()[:, None] * axis + tilt.sin()[:, None] * around


def visibility(
    mesh: HeadMesh, directions: Float[Tensor, "direction 3"]
) -> Float[Tensor, "direction vertex"]:
    """How much of each vertex is seen from each of some directions far away, 0 to 1.

    From depth maps (Williams, 1978), filtered over four texels. A vertex that faces away from a
    direction is not seen from it.

    Args:
        mesh: One surface in the world frame.
        directions: From the head towards the light, unit.
    """
    if len(directions) > CHUNK:
        return torch.cat([visibility(mesh, part) for part in directions.split(CHUNK)])
    vertices = mesh.vertices.detach().to(torch.float32)
    if not vertices.shape[0]:
        return torch.zeros(len(directions), 0)
    # In radii, so that the unit of length does not matter.
    vertices = vertices - (vertices.amin(0) + vertices.amax(0)) / 2
    vertices = vertices / vertices.norm(dim=-1).max().clamp(min=1e-12)
    count = len(directions)
    forward = -directions
    least = torch.eye(3)[directions.abs().argmin(-1)]
    right = normalize(torch.linalg.cross(forward, least), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-2)
    back = torch.tensor([0.0, 0.0, FAR]).expand(count, 3)
    focal = torch.full((count,), 0.48 * MAP_PX * FAR)
    half = torch.full((count,), MAP_PX / 2)
    camera = Camera(
        fx=focal, fy=focal, cx=half, cy=half, width=MAP_PX, height=MAP_PX,
        camera_from_world=rigid_from_parts(rotation, back),
    )  # fmt: skip
    several = HeadMesh(
        vertices=vertices.expand(count, -1, -1), frame="world", topology=mesh.topology
    )
    depth = rasterize(several, camera, cull_back=False).depth_m
    normals = vertex_normals(vertices, index_tensor(mesh.topology.faces))
    lifted = vertices + SLACK * normals
    seen_at = project(camera, lifted.expand(count, -1, -1))
    lowered = depth[:, None].clamp(max=2 * FAR)
    # Compare first, then filter: means of depths would make surfaces that are not there.
    corners = seen_at[..., :2] - 0.5
    first = corners.floor()
    share = corners - first
    total = torch.zeros(count, vertices.shape[0])
    for dx in (0, 1):
        for dy in (0, 1):
            place = first + torch.tensor([dx, dy])
            grid = (place + 0.5) * (2 / MAP_PX) - 1
            found = grid_sample(lowered, grid[:, None], mode="nearest", align_corners=False)
            weight = (share[..., 0] if dx else 1 - share[..., 0]) * (
                share[..., 1] if dy else 1 - share[..., 1]
            )
            total += weight * (found[:, 0, 0] > seen_at[..., 2] - SLACK)
    return total * (directions @ normals.T > 0)


def open_sky(mesh: HeadMesh, *, directions: int = 48) -> Float[Tensor, "vertex"]:
    """The share of the light from everywhere that reaches each vertex, 0 to 1.

    Args:
        mesh: One surface in the world frame.
        directions: How many to look along.
    """
    normals = vertex_normals(mesh.vertices.detach(), index_tensor(mesh.topology.faces))
    sky = sphere_directions(directions)
    facing = (sky @ normals.T).clamp(min=0)
    return (facing * visibility(mesh, sky)).sum(0) / facing.sum(0).clamp(min=1e-6)


def reached_by(
    mesh: HeadMesh,
    towards: Float[Tensor, "light 3"],
    *,
    size_rad: float = 0.15,
    directions: int = 8,
) -> Float[Tensor, "light vertex"]:
    """The share of each single light that reaches each vertex, 0 to 1: soft shadows.

    Args:
        mesh: One surface in the world frame.
        towards: Directions to the lights.
        size_rad: Half the angle that a light fills.
        directions: How many to look along towards each.
    """
    normals = vertex_normals(mesh.vertices.detach(), index_tensor(mesh.topology.faces))
    cones = torch.stack([cone_directions(light, size_rad, directions) for light in towards])
    seen = visibility(mesh, cones.flatten(0, 1)).unflatten(0, cones.shape[:2])
    turned = (cones @ normals.T > 0).sum(1)
    # Only of what faces the light at all: the rest is dark by Lambert's law already.
    return torch.where(turned > 0, seen.sum(1) / turned.clamp(min=1), 1.0)


def cast_shadows(mesh: HeadMesh, towards: Float[Tensor, "light 3"]) -> Shadows:
    """Soft shadows that a head casts upon itself.

    Args:
        mesh: One surface in the world frame.
        towards: Directions to the single lights, in the order of ``render``'s.
    """
    return Shadows(ambient=open_sky(mesh), single=reached_by(mesh, towards))
