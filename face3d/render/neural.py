"""The slot for a neural renderer: a network that finishes what geometry and a few pixels begin.

As in SMIRK (Retsinas et al., CVPR 2024, section 3.2): the network sees the rendered geometry and
the photo with nearly all of the face left out, and must give the photo back. What the pixels do
not say it can only take from the geometry, so its error drives the geometry's gradient. The
networks themselves belong to the regressors.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from face3d.core.errors import InputError
from face3d.core.types import Camera, HeadMesh
from face3d.render.light import SphericalHarmonics
from face3d.render.rasterize import rasterize
from face3d.render.render import render
from face3d.render.shade import SH_SCALE

Network = Callable[[Float[Tensor, "batch 6 h w"]], Float[Tensor, "batch 3 h w"]]
"""Geometry's three channels and the photo's three to a picture in [0, 1]."""

KEPT_SHARE = 0.01
"""Of the face's pixels that the network may see, as SMIRK trains it."""


def geometry_picture(mesh: HeadMesh, camera: Camera) -> Float[Tensor, "*batch 3 h w"]:
    """Clay in soft light from above the camera, black around; differentiable."""
    view = camera.camera_from_world[..., :3, :3]
    towards = (view.mT @ view.new_tensor([0.0, -0.35, -0.9])[:, None])[..., 0]
    coefficients = torch.cat(
        [
            torch.full_like(towards[..., :1], 0.75 / SH_SCALE[0]),
            0.75 / SH_SCALE[1] * towards,
            torch.zeros_like(towards[..., :1]).expand(*towards.shape[:-1], 5),
        ],
        dim=-1,
    )
    light = SphericalHarmonics(coefficients=coefficients[..., None].expand(*coefficients.shape, 3))
    return render(mesh, camera, light=light)[..., :3, :, :]


def masked_photo(
    photo: Float[Tensor, "*batch 3 h w"],
    face: Bool[Tensor, "*#batch h w"],
    *,
    kept_share: float = KEPT_SHARE,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*batch 3 h w"]:
    """A photo without its face, but for a few pixels of it.

    Args:
        photo: sRGB in [0, 1].
        face: Where it is hidden.
        kept_share: Of the face's pixels, chosen at random.
        generator: Of the random numbers.

    Raises:
        InputError: The share is not between 0 and 1.
    """
    if not 0 <= kept_share <= 1:
        raise InputError(f"kept_share is {kept_share}; give a share between 0 and 1.")
    size = (*photo.shape[:-3], *photo.shape[-2:])
    chance = torch.rand(size, generator=generator, dtype=photo.dtype).to(photo.device)
    shown = ~face | (chance < kept_share)
    return photo * shown[..., None, :, :]


def render_neural(
    network: Network,
    mesh: HeadMesh,
    camera: Camera,
    photo: Float[Tensor, "batch 3 h w"],
    *,
    face: Bool[Tensor, "#batch h w"] | None = None,
    kept_share: float = KEPT_SHARE,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch 3 h w"]:
    """Let a network draw a head.

    Args:
        network: What finishes the picture.
        mesh: A batch of surfaces; differentiable.
        camera: Of the size of the photos.
        photo: sRGB in [0, 1].
        face: Where the photo is hidden; by default where the mesh covers it.
        kept_share: Of the face's pixels that the network sees.
        generator: Of the random numbers.

    Raises:
        InputError: The photos' size is not the camera's, or their count is not the meshes', or the
            network gives another size.
    """
    count = mesh.vertices.shape[0] if mesh.vertices.ndim == 3 else 0
    if photo.shape[-2:] != (camera.height, camera.width) or len(photo) != count:
        raise InputError(
            f"The photos have shape {tuple(photo.shape)}, but {count} heads of "
            f"{camera.height} by {camera.width} px are drawn."
        )
    if face is None:
        with torch.no_grad():
            face = rasterize(mesh, camera).face_index >= 0
    hidden = masked_photo(photo, face, kept_share=kept_share, generator=generator)
    picture = network(torch.cat([geometry_picture(mesh, camera), hidden], dim=1))
    if picture.shape != photo.shape:
        raise InputError(
            f"The network gives {tuple(picture.shape)} for photos of {tuple(photo.shape)}."
        )
    return picture
