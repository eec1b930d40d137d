"""A quick, pleasant picture of a textured head, for previews."""

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.transforms import rigid_from_parts
from face3d.core.types import Camera, HeadMesh
from face3d.render.interpolate import interpolate, vertex_normals
from face3d.render.rasterize import rasterize
from face3d.render.shade import linear_from_srgb, srgb_from_linear
from face3d.render.texture import sample_texture

KEY_LIGHT = (-0.35, 0.45, 0.85)
"""Direction to the key light in the camera's picture: from the upper left."""


def portrait_camera(
    centre_m: Float[Tensor, "3"], height_m: float, *, yaw_rad: float, size: int
) -> Camera:
    """A camera that looks at a head from the front, or from the side it is turned by.

    Args:
        centre_m: What to look at, in the head frame.
        height_m: What to show from top to bottom.
        yaw_rad: Turn of the camera about the head; positive shows the subject's left side.
        size: Pixels on a side.
    """
    distance = 1.2
    focal = size * distance / height_m
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    rotation = facing @ matrix_from_axis_angle(torch.tensor([0.0, -yaw_rad, 0.0]))
    back = torch.tensor([0.0, 0.0, distance])
    half = torch.tensor(size / 2)
    return Camera(
        fx=torch.tensor(focal),
        fy=torch.tensor(focal),
        cx=half,
        cy=half,
        width=size,
        height=size,
        camera_from_world=rigid_from_parts(rotation, back - rotation @ centre_m),
    )


def preview(
    mesh: HeadMesh,
    camera: Camera,
    *,
    texture: Float[Tensor, "3 size size"] | None = None,
    background_srgb: tuple[float, float, float] = (0.93, 0.93, 0.95),
    shading: float = 0.35,
    supersample: int = 2,
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """Draw a head under a soft key light.

    Args:
        mesh: One surface in the world frame of ``camera``.
        camera: The view.
        texture: sRGB colours in [0, 1]; none draws clay.
        background_srgb: Behind the head.
        shading: 0 shows the texture as it is, 1 fully lit; clay is always fully lit.
        supersample: Samples per pixel along each axis.

    Returns:
        The picture, and the share of each pixel that the head covers.
    """
    s = supersample
    fine = Camera(
        fx=camera.fx * s,
        fy=camera.fy * s,
        cx=camera.cx * s,
        cy=camera.cy * s,
        width=camera.width * s,
        height=camera.height * s,
        camera_from_world=camera.camera_from_world,
    )
    fragments = rasterize(mesh, fine)
    seen = fragments.face_index >= 0
    faces = torch.as_tensor(mesh.topology.faces)
    normals = interpolate(fragments, vertex_normals(mesh.vertices, faces), faces)[seen]
    picture_normals = normals @ camera.camera_from_world[:3, :3].T
    picture_normals = torch.nn.functional.normalize(picture_normals, dim=-1)
    light = torch.tensor(KEY_LIGHT) * torch.tensor([1.0, -1.0, -1.0])
    lambert = (picture_normals @ (light / light.norm())).clamp(min=0)
    sky = 0.5 - 0.5 * picture_normals[:, 1]
    lit = 0.25 + 0.25 * sky + 0.75 * lambert
    if texture is None or mesh.topology.uv is None or mesh.topology.uv_faces is None:
        albedo = torch.full((int(seen.sum()), 3), 0.55)
        shading = 1.0
    else:
        uv = interpolate(
            fragments,
            torch.as_tensor(mesh.topology.uv).float(),
            torch.as_tensor(mesh.topology.uv_faces),
        )[seen]
        albedo = linear_from_srgb(sample_texture(texture, uv))
    colour = albedo * (1 - shading + shading * lit)[:, None]
    linear = torch.zeros(*seen.shape, 3)
    linear[:] = linear_from_srgb(torch.tensor(background_srgb))
    linear[seen] = colour
    shape = (camera.height, s, camera.width, s)
    mean = linear.reshape(*shape, 3).mean((1, 3))
    cover = seen.float().reshape(shape).mean((1, 3))
    picture = (srgb_from_linear(mean) * 255 + 0.5).to(torch.uint8)
    return picture.numpy(), cover.numpy()


def side_by_side(
    tiles: list[UInt8[np.ndarray, "h w 3"]],
) -> UInt8[np.ndarray, "h total 3"]:
    """Put pictures of one height next to each other, with a thin gap."""
    gap = np.full((tiles[0].shape[0], 4, 3), 255, dtype=np.uint8)
    row = [part for tile in tiles for part in (tile, gap)]
    return np.concatenate(row[:-1], axis=1)


PROFILE_RAD = math.radians(75)
"""The side view of previews: short of a full profile, so that both form and likeness show."""
