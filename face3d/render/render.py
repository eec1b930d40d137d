"""From a mesh, a camera and lights to a picture: one differentiable function."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from face3d.core.errors import InputError
from face3d.core.types import Camera, Fragments, HeadMesh
from face3d.render.antialias import antialias
from face3d.render.detail import normals_of_map, normals_of_relief, slopes, texture_axes
from face3d.render.interpolate import interpolate, vertex_normals
from face3d.render.light import Light, Shadows, SphericalHarmonics, Surface, shade
from face3d.render.materials import Materials, glossy
from face3d.render.quick import draw
from face3d.render.rasterize import Backend, rasterize
from face3d.render.rows import index_tensor
from face3d.render.shade import linear_from_srgb, srgb_from_linear
from face3d.render.texture import (
    MipTexture,
    mipmapped,
    require_texture_coordinates,
    sample_mipmapped,
    texture_footprint,
)

CLAY = 0.55
"""Linear albedo of a surface without texture."""


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Textures of a head; leading axes are one for each picture of a batch.

    Attributes:
        color: Base colour, sRGB in [0, 1]; or linear and halved already, which is faster for many
            pictures: ``mipmapped(linear_from_srgb(color))``.
        vertex_color: Base colour at the vertices instead, sRGB in [0, 1].
        normal: Tangent-space normals, OpenGL's way (+y up along v), 0 to 1 standing for -1 to 1.
        displacement: Metres outwards. It bends the light as relief does and moves no vertex; see
            ``displaced``.
    """

    color: Float[Tensor, "*batch 3 _ _"] | MipTexture | None = None
    vertex_color: Float[Tensor, "*batch vertex 3"] | None = None
    normal: Float[Tensor, "*batch 3 _ _"] | None = None
    displacement: Float[Tensor, "*batch 1 _ _"] | None = None


def render(
    mesh: HeadMesh,
    camera: Camera,
    *,
    texture: Float[Tensor, "*batch 3 _ _"] | MipTexture | Maps | None = None,
    light: Sequence[Light] | Light = (),
    background: Float[Tensor, "*#batch 3 h w"] | tuple[float, float, float] | None = None,
    materials: Materials | None = None,
    shadows: Shadows | None = None,
    supersample: int = 1,
    linear: bool = False,
    backend: Backend = "auto",
    cull_back: bool = True,
) -> Float[Tensor, "*batch 4 h w"]:
    """Draw a head.

    Gradients reach vertices, camera, textures, lights and background, also across silhouettes,
    whose edges are smoothed (see ``antialias``). Colours are mixed in linear light.

    Args:
        mesh: Surface in the world frame; leading axes are a batch.
        camera: One camera, or one per mesh.
        texture: Base colour, sRGB in [0, 1], a power of two in size, or several maps; none is
            clay.
        light: Lights of the world; none shows the base colour as it is.
        background: Behind the head, sRGB: a picture or a colour; none is black.
        materials: How single lights shine on each face; ``glossy`` by default.
        shadows: What reaches each vertex of the lights; everything by default.
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
    maps = texture if isinstance(texture, Maps) else Maps(color=texture)
    lights = [light] if not isinstance(light, Sequence) else list(light)
    kinds = materials if materials is not None else glossy(mesh.topology)
    batch = fragments.face_index.shape[:-2]
    behind = _behind(background, s, mesh.vertices, camera, batch)
    lights = [_fitted(light, mesh.vertices, batch) for light in lights]
    _require_matching(mesh, maps, lights, kinds, shadows, math.prod(batch))
    if _is_plain(mesh, fragments, maps, [behind, *_tensors(lights), *_tensors([kinds, shadows])]):
        out = draw(
            fragments, mesh, fine, texture=_linear(maps.color), clay=CLAY, lights=lights,
            materials=kinds, shadows=shadows, behind=behind, supersample=s, linear=linear,
        )  # fmt: skip
        return out.reshape(*batch, 4, camera.height, camera.width)
    seen = _Seen(mesh, fine, fragments)
    colour = _albedo(seen, maps)
    if lights:
        colour = shade(_surface(seen, maps, colour, kinds, shadows), lights, seen.image)
    rgba = torch.cat([colour, torch.ones_like(colour[:, :1])], dim=-1)
    layer = colour.new_zeros(seen.flat.numel(), 4).index_copy(0, seen.at, rgba)
    layer = _over(layer.reshape(*batch, fine.height, fine.width, 4), behind)
    layer = antialias(layer, fragments, mesh, fine)
    out = layer.movedim(-1, -3)
    if s > 1:
        out = avg_pool2d(out.reshape(-1, 4, fine.height, fine.width), s)
        out = out.reshape(*batch, 4, camera.height, camera.width)
    if linear:
        return out
    return torch.cat([srgb_from_linear(out[..., :3, :, :]), out[..., 3:, :, :]], dim=-3)


class _Seen:
    """The pixels that show a face, in one row, and what can be asked about them."""

    def __init__(self, mesh: HeadMesh, camera: Camera, fragments: Fragments) -> None:
        self.mesh, self.camera, self.fragments = mesh, camera, fragments
        self.faces = index_tensor(mesh.topology.faces, mesh.vertices.device)
        self.flat = fragments.face_index.reshape(-1, camera.height, camera.width)
        self.at = torch.nonzero(self.flat.flatten() >= 0).squeeze(-1)  # of all pictures in a row
        self.image = self.at // (camera.height * camera.width)

    @cached_property
    def uv(self) -> Float[Tensor, "pixel 2"]:
        """Texture coordinates."""
        uv, _ = require_texture_coordinates(self.mesh)
        return self.interpolated(torch.as_tensor(uv).to(self.mesh.vertices), self._uv_faces)

    @cached_property
    def footprint(self) -> Float[Tensor, "pixel"]:
        """Extent in texture coordinates."""
        extent = texture_footprint(self.fragments, self.mesh, self.camera)
        return extent.flatten()[self.at].to(self.mesh.vertices.dtype)

    @cached_property
    def axes(self) -> Float[Tensor, "pixel 6"]:
        """How the surface runs along the texture."""
        return self.interpolated(texture_axes(self.mesh), self._uv_faces)

    @property
    def _uv_faces(self) -> Tensor:
        return index_tensor(require_texture_coordinates(self.mesh)[1], self.faces.device)

    def interpolated(self, values: Tensor, corners: Tensor | None = None) -> Tensor:
        """Values of vertices, or of other corners, at the pixels."""
        drawn = interpolate(self.fragments, values, self.faces if corners is None else corners)
        return drawn.reshape(-1, values.shape[-1]).index_select(0, self.at)

    def looked_up(self, texture: Tensor | MipTexture) -> Tensor:
        """What a texture holds at the pixels."""
        pyramid = texture if isinstance(texture, MipTexture) else mipmapped(texture)
        return sample_mipmapped(pyramid, self.uv, self.footprint, self.image)


def _is_plain(mesh: HeadMesh, fragments: Fragments, maps: Maps, others: list[Tensor]) -> bool:
    """Whether the quick way will do: nothing wants a gradient, on the CPU, without relief."""
    slow = (maps.vertex_color, maps.normal, maps.displacement)
    if any(part is not None for part in slow) or fragments.depth_m.is_cuda:
        return False
    color = maps.color.pyramid if isinstance(maps.color, MipTexture) else maps.color
    asked = [mesh.vertices, fragments.depth_m, *others, *([] if color is None else [color])]
    if any(tensor.dtype != torch.float32 for tensor in asked):
        return False
    return not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in asked))


def _tensors(records: Sequence[object]) -> list[Tensor]:
    """All tensors in some records."""
    values = (v for r in records if r is not None for v in vars(r).values())
    return [value for value in values if isinstance(value, Tensor)]


def _linear(color: Tensor | MipTexture | None) -> MipTexture | None:
    """A base colour as linear pyramid."""
    if color is None or isinstance(color, MipTexture):
        return color
    return mipmapped(linear_from_srgb(color))


def _albedo(seen: _Seen, maps: Maps) -> Float[Tensor, "pixel 3"]:
    """Linear base colour."""
    if maps.vertex_color is not None:
        return seen.interpolated(linear_from_srgb(maps.vertex_color.to(seen.mesh.vertices)))
    color = _linear(maps.color)
    if color is None:
        return seen.mesh.vertices.new_full((len(seen.image), 3), CLAY)
    return seen.looked_up(color)


def _surface(
    seen: _Seen, maps: Maps, albedo: Tensor, materials: Materials, shadows: Shadows | None
) -> Surface:
    """All that shading asks about the pixels."""
    vertices = seen.mesh.vertices
    values = [vertices, vertex_normals(vertices, seen.faces)]
    if shadows is not None:
        values += [shadows.ambient[..., None].to(vertices), shadows.single.mT.to(vertices)]
    batch = torch.broadcast_shapes(*(v.shape[:-2] for v in values))
    values = [v.expand(*batch, *v.shape[-2:]) for v in values]
    drawn = seen.interpolated(torch.cat(values, dim=-1))
    point, normal = drawn[:, :3], normalize(drawn[:, 3:6], dim=-1)
    if maps.displacement is not None:
        normal = normals_of_relief(normal, seen.axes, seen.looked_up(slopes(maps.displacement)))
    if maps.normal is not None:
        normal = normals_of_map(normal, seen.axes, seen.looked_up(maps.normal))
    pose = seen.camera.camera_from_world
    eye = -(pose[..., :3, :3].mT @ pose[..., :3, 3:]).squeeze(-1)
    eyes = eye[None] if eye.ndim == 1 else eye.reshape(-1, 3)[seen.image]
    face = seen.flat.flatten()[seen.at]
    return Surface(
        albedo=albedo,
        normal=normal,
        point=point,
        towards_eye=normalize(eyes - point, dim=-1),
        roughness=materials.roughness.to(vertices)[face],
        wrap=None if materials.wrap is None else materials.wrap.to(vertices)[face],
        ambient=None if shadows is None else drawn[:, 6],
        single=None if shadows is None else drawn[:, 7:],
    )


def _behind(
    background: Tensor | tuple[float, float, float] | None,
    s: int,
    like: Tensor,
    camera: Camera,
    batch: torch.Size,
) -> Float[Tensor, "... 3"]:
    """The background, linear, in fine pixels; one by one where it is the same everywhere.

    Raises:
        InputError: It has not the size of the picture, or its batch does not fit.
    """
    if background is None:
        return like.new_zeros(1, 1, 3)
    if isinstance(background, tuple):
        return linear_from_srgb(like.new_tensor(background)[None, None])
    size = (3, camera.height, camera.width)
    if background.shape[-3:] != size or not background.is_floating_point():
        raise InputError(
            f"The background is {tuple(background.shape)} of {background.dtype}; give floats of "
            f"shape {size}."
        )
    if background.ndim > 3:
        background = _broadcast(background, 3, batch, "backgrounds")
    behind = background.movedim(-3, -1).to(like)
    return linear_from_srgb(behind.repeat_interleave(s, -3).repeat_interleave(s, -2))


def _broadcast(value: Tensor, own_axes: int, batch: torch.Size, name: str) -> Tensor:
    """A value of a batch for all of its pictures.

    Raises:
        InputError: The batches do not go together.
    """
    own = value.shape[value.ndim - own_axes :]
    if value.ndim == own_axes:
        return value
    try:
        return value.expand(*batch, *own)
    except RuntimeError as error:
        raise InputError(
            f"The {name} are a batch of {tuple(value.shape[: value.ndim - own_axes])}, the "
            f"pictures one of {tuple(batch)}."
        ) from error


def _fitted(light: Light, like: Tensor, batch: torch.Size) -> Light:
    """A light in the mesh's kind of numbers, for each picture of the batch or one for all."""
    own_axes = {"coefficients": 2}
    values = {
        name: _broadcast(value.to(like), own_axes.get(name, 1), batch, "lights")
        for name, value in vars(light).items()
    }
    return replace(light, **values)


def _require_matching(
    mesh: HeadMesh,
    maps: Maps,
    lights: Sequence[Light],
    materials: Materials,
    shadows: Shadows | None,
    pictures: int,
) -> None:
    """Raise unless everything belongs to this mesh.

    Raises:
        InputError: A texture has not the channels it should have or there are too few of them,
            or materials or shadows are of another mesh or other lights.
    """
    faces, count = len(mesh.topology.faces), mesh.vertices.shape[-2]
    color = maps.color
    if isinstance(color, MipTexture):
        color = color.pyramid[..., None]
    for name, value, channels in (
        ("color", color, 3), ("normal", maps.normal, 3), ("displacement", maps.displacement, 1),
    ):  # fmt: skip
        if value is None:
            continue
        if value.ndim < 3 or value.shape[-3] != channels or not value.is_floating_point():
            raise InputError(
                f"The {name} map has shape {tuple(value.shape)} and {value.dtype}; give floats of "
                f"{channels} channels first."
            )
        several = math.prod(value.shape[:-3])
        if several not in (1, pictures):
            raise InputError(f"{several} textures for {pictures} pictures; give one, or all.")
    of_faces = [materials.roughness] + ([] if materials.wrap is None else [materials.wrap])
    if any(len(value) != faces for value in of_faces):
        raise InputError(f"The materials are of {len(of_faces[0])} faces, the mesh has {faces}.")
    if shadows is None:
        return
    singles = sum(not isinstance(light, SphericalHarmonics) for light in lights)
    wanted = (singles, count)
    if shadows.ambient.shape[-1] != count or shadows.single.shape[-2:] != wanted:
        raise InputError(
            f"The shadows are of {tuple(shadows.single.shape[-2:])} lights and vertices; these are "
            f"{wanted}."
        )


def _over(layer: Float[Tensor, "*batch h w 4"], behind: Tensor) -> Float[Tensor, "*batch h w 4"]:
    """Put the background where the head does not cover."""
    rgb = layer[..., :3] + (1 - layer[..., 3:]) * behind
    return torch.cat([rgb, layer[..., 3:]], dim=-1)
