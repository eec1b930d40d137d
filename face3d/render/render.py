"""From a mesh, a camera and lights to a picture: one differentiable function."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from face3d.core.errors import InputError
from face3d.core.types import Camera, Fragments, HeadMesh
from face3d.render.antialias import antialias
from face3d.render.interpolate import interpolate, vertex_normals
from face3d.render.light import Light, Surface, shade
from face3d.render.rasterize import Backend, rasterize
from face3d.render.shade import linear_from_srgb, srgb_from_linear
from face3d.render.texture import MipTexture, mipmapped, sample_mipmapped, texture_footprint

CLAY = 0.55
"""Linear albedo of a surface without texture."""

SKIN_ROUGHNESS, EYE_ROUGHNESS = 0.55, 0.12


def render(
    mesh: HeadMesh,
    camera: Camera,
    *,
    texture: Float[Tensor, "3 size size"] | MipTexture | None = None,
    light: Sequence[Light] | Light = (),
    background: Float[Tensor, "*#batch 3 h w"] | tuple[float, float, float] | None = None,
    specular: bool = True,
    supersample: int = 1,
    linear: bool = False,
    backend: Backend = "auto",
    cull_back: bool = True,
) -> Float[Tensor, "*batch 4 h w"]:
    """Draw a head.

    Gradients reach vertices, camera, texture, lights and background, also across silhouettes,
    whose edges are smoothed (see ``antialias``). Colours are mixed in linear light.

    Args:
        mesh: Surface in the world frame; leading axes are a batch.
        camera: One camera, or one per mesh.
        texture: Base colour, sRGB in [0, 1], a power of two in size; none is clay. For many
            pictures, ``mipmapped(linear_from_srgb(texture))`` once is faster.
        light: Lights of the world; none shows the base colour as it is.
        background: Behind the head, sRGB: a picture or a colour; none is black.
        specular: Whether single lights shine on skin and eyes.
        supersample: Samples per pixel along each axis.
        linear: Give linear colours instead of sRGB.
        backend: Of the rasterizer.
        cull_back: Leave out faces that turn their back to the camera.

    Returns:
        RGB over the background, and the share of each pixel that the head covers. To lay it over
        another picture, render over black in linear light.

    Raises:
        InputError: As of ``rasterize``; or a texture is given for a mesh without texture
            coordinates, or is not square and a power of two.
    """
    s = supersample
    if s < 1:
        raise InputError(f"supersample is {s}; it must be at least 1.")
    fine = camera if s == 1 else replace(
        camera, fx=camera.fx * s, fy=camera.fy * s, cx=camera.cx * s, cy=camera.cy * s,
        width=camera.width * s, height=camera.height * s,
    )  # fmt: skip
    fragments = rasterize(mesh, fine, backend=backend, cull_back=cull_back)
    faces = torch.as_tensor(mesh.topology.faces)
    batch = fragments.face_index.shape[:-2]
    flat = fragments.face_index.reshape(-1, fine.height, fine.width)
    at = torch.nonzero(flat >= 0, as_tuple=True)

    def pixels(values: Tensor, corners: Tensor = faces) -> Tensor:
        drawn = interpolate(fragments, values, corners)
        return drawn.reshape(*flat.shape, values.shape[-1])[at]

    albedo = _albedo(mesh, fine, fragments, texture, pixels, at)
    lights = [light] if not isinstance(light, Sequence) else list(light)
    if lights:
        points = pixels(mesh.vertices)
        rotation = camera.camera_from_world[..., :3, :3]
        eye = -(rotation.mT @ camera.camera_from_world[..., :3, 3:]).squeeze(-1)
        eyes = eye[None] if eye.ndim == 1 else eye.reshape(-1, 3)[at[0]]
        surface = Surface(
            albedo=albedo,
            normal=normalize(pixels(vertex_normals(mesh.vertices, faces)), dim=-1),
            point=points,
            towards_eye=normalize(eyes - points, dim=-1),
            roughness=_roughness(mesh, flat[at], specular),
        )
        albedo = shade(surface, lights, at[0])
    layer = albedo.new_zeros(*flat.shape, 4)
    layer = layer.index_put(at, torch.cat([albedo, torch.ones_like(albedo[:, :1])], dim=-1))
    layer = layer.reshape(*batch, *layer.shape[1:])
    layer = _over(layer, background, s)
    layer = antialias(layer, fragments, mesh, fine)
    out = layer.movedim(-1, -3)
    if s > 1:
        out = avg_pool2d(out.reshape(-1, 4, fine.height, fine.width), s)
        out = out.reshape(*batch, 4, camera.height, camera.width)
    if linear:
        return out
    return torch.cat([srgb_from_linear(out[..., :3, :, :]), out[..., 3:, :, :]], dim=-3)


def _albedo(
    mesh: HeadMesh,
    camera: Camera,
    fragments: Fragments,
    texture: Tensor | MipTexture | None,
    pixels: Callable[[Tensor, Tensor], Tensor],
    at: tuple[Tensor, ...],
) -> Float[Tensor, "pixel 3"]:
    """Linear base colour of the pixels ``at``."""
    dtype = mesh.vertices.dtype
    if texture is None:
        return mesh.vertices.new_full((len(at[0]), 3), CLAY)
    if not isinstance(texture, MipTexture):
        texture = mipmapped(linear_from_srgb(texture))
    footprint = texture_footprint(fragments, mesh, camera).reshape(-1, camera.height, camera.width)
    uv = pixels(
        torch.as_tensor(mesh.topology.uv).to(dtype), torch.as_tensor(mesh.topology.uv_faces)
    )
    return sample_mipmapped(texture, uv, footprint[at].to(dtype))


def _roughness(mesh: HeadMesh, face: Tensor, specular: bool) -> Tensor:
    """Of each pixel's face: eyes are wet, the rest is skin."""
    skin = SKIN_ROUGHNESS if specular else 1.0
    rough = torch.full((len(mesh.topology.faces),), skin, dtype=mesh.vertices.dtype)
    eyes = mesh.topology.regions.get("eyes")
    if eyes is not None and specular:
        rough[torch.as_tensor(eyes[mesh.topology.faces].all(1))] = EYE_ROUGHNESS
    return rough[face]


def _over(layer: Tensor, background: Tensor | tuple[float, float, float] | None, s: int) -> Tensor:
    """Put the background where the head does not cover."""
    if background is None:
        return layer
    if isinstance(background, tuple):
        behind = layer.new_tensor(background)
    else:
        behind = background.movedim(-3, -1)
        behind = behind.repeat_interleave(s, -3).repeat_interleave(s, -2)
    behind = linear_from_srgb(behind.to(layer.dtype))
    rgb = layer[..., :3] + (1 - layer[..., 3:]) * behind
    return torch.cat([rgb, layer[..., 3:]], dim=-1)
