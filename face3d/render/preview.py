"""A pleasant picture of a head, for previews."""

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.transforms import rigid_from_parts
from face3d.core.types import Camera, HeadMesh
from face3d.render.light import DirectionalLight, Light, Shadows, SphericalHarmonics
from face3d.render.materials import Materials, lifelike
from face3d.render.occlusion import open_sky, reached_by
from face3d.render.render import Maps, render
from face3d.render.shade import sh_basis, srgb_from_linear

SINGLE_LIGHTS = (
    ((-0.45, 0.55, 0.75), (0.62, 0.60, 0.57)),
    ((0.80, 0.10, 0.55), (0.13, 0.14, 0.16)),
    ((0.65, 0.55, -0.75), (0.45, 0.47, 0.50)),
)
"""Direction in the camera's picture (x right, y up, z to the viewer) and colour: key, fill, rim."""

_SH_CONSTANT, _SH_LINEAR = sh_basis(torch.tensor([0.0, 0.0, 1.0]))[[0, 3]].tolist()


def portrait_camera(
    centre_m: Float[Tensor, "3"],
    height_m: float,
    *,
    yaw_rad: float,
    size: int | tuple[int, int],
    distance_m: float = 1.2,
) -> Camera:
    """A camera that looks at a head from the front, or from the side it is turned by.

    Args:
        centre_m: What to look at, in the head frame.
        height_m: What to show from top to bottom.
        yaw_rad: Turn of the camera about the head; positive shows the subject's left side.
        size: Pixels on a side, or width and height.
        distance_m: From what it looks at.
    """
    width, height = (size, size) if isinstance(size, int) else size
    focal = height * distance_m / height_m
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    rotation = facing @ matrix_from_axis_angle(torch.tensor([0.0, -float(yaw_rad), 0.0]))
    back = torch.tensor([0.0, 0.0, distance_m])
    return Camera(
        fx=torch.tensor(focal),
        fy=torch.tensor(focal),
        cx=torch.tensor(width / 2),
        cy=torch.tensor(height / 2),
        width=width,
        height=height,
        camera_from_world=rigid_from_parts(rotation, back - rotation @ centre_m),
    )


def studio(camera: Camera, *, share: float = 1.0) -> list[Light]:
    """Soft light as portraits are taken in: a key light from the upper left, a fill, a rim.

    Args:
        camera: The view; the lights stand around it.
        share: The rest of the light comes evenly from everywhere and shows colours as they are,
            for textures that already hold a photo's light.
    """
    picture = camera.camera_from_world[:3, :3]
    soft = torch.zeros(9)
    # Constant and towards-up terms of the irradiance: brighter from above, as rooms are.
    soft[0] = (0.38 * share + (1 - share)) / _SH_CONSTANT
    up = picture.T @ torch.tensor([0.0, -1.0, 0.0])
    soft[1:4] = 0.14 * share * up / _SH_LINEAR
    lights: list[Light] = [SphericalHarmonics(coefficients=soft[:, None].repeat(1, 3))]
    for direction, rgb in SINGLE_LIGHTS:
        towards = picture.T @ (torch.tensor(direction) * torch.tensor([1.0, -1.0, -1.0]))
        lights.append(DirectionalLight(towards=towards, rgb=share * torch.tensor(rgb)))
    return lights


def preview(
    mesh: HeadMesh,
    camera: Camera,
    *,
    texture: Float[Tensor, "3 size size"] | Maps | None = None,
    background_srgb: tuple[float, float, float] | None = (0.93, 0.93, 0.95),
    shading: float = 0.35,
    supersample: int = 2,
    materials: Materials | None = None,
    sky: Float[Tensor, "vertex"] | None = None,
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """Draw a head as a portrait studio would show it.

    Args:
        mesh: One surface in the world frame of ``camera``.
        camera: The view.
        texture: sRGB colours in [0, 1]; none draws clay.
        background_srgb: Behind the head; with none the colours are those of the head alone, to be
            laid over something by the coverage.
        shading: 0 shows the texture as it is, 1 fully lit; clay is always fully lit.
        supersample: Samples per pixel along each axis.
        materials: Of the faces; ``lifelike`` by default.
        sky: As of ``open_sky``, if it is known already.

    Returns:
        The picture, and the share of each pixel that the head covers.
    """
    by_vertex = isinstance(texture, Maps) and texture.vertex_color is not None
    textured = texture is not None and (by_vertex or mesh.topology.uv is not None)
    lights = studio(camera, share=shading if textured else 1.0)
    towards = [light.towards for light in lights if isinstance(light, DirectionalLight)]
    shadows = Shadows(
        ambient=open_sky(mesh) if sky is None else sky,
        single=reached_by(mesh, torch.stack(towards)),
    )
    with torch.no_grad():
        rgba = render(
            mesh,
            camera,
            texture=texture if textured else None,
            light=lights,
            background=background_srgb,
            materials=lifelike(mesh.topology) if materials is None else materials,
            shadows=shadows,
            supersample=supersample,
            linear=background_srgb is None,
        )
    rgb, cover = rgba[:3], rgba[3]
    if background_srgb is None:
        rgb = srgb_from_linear(rgb / cover.clamp(min=1e-6))
    picture = (rgb.permute(1, 2, 0) * 255 + 0.5).to(torch.uint8)
    return picture.numpy(), cover.clamp(0, 1).numpy()


def side_by_side(
    tiles: list[UInt8[np.ndarray, "h w 3"]],
) -> UInt8[np.ndarray, "h total 3"]:
    """Put pictures of one height next to each other, with a thin gap."""
    gap = np.full((tiles[0].shape[0], 4, 3), 255, dtype=np.uint8)
    row = [part for tile in tiles for part in (tile, gap)]
    return np.concatenate(row[:-1], axis=1)


PROFILE_RAD = math.radians(75)
"""The side view of previews: short of a full profile, so that both form and likeness show."""
