"""The fine relief of a reconstructed head, from its photos."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from face3d.assets import find_asset
from face3d.core.threads import one_thread
from face3d.core.types import HeadMesh
from face3d.detail import (
    ObservedRelief,
    Relief,
    ReliefNet,
    animatable_relief,
    make_texels,
    read_relief_net,
    relief_of_photo,
)
from face3d.model import HeadData
from face3d.pipeline.appearance import PhotoView, TexelGuide, texel_guide, trusted
from face3d.render import texel_fragments

LEAST_SIZE, MOST_SIZE = 512, 2048
MOST_PIXEL_MM = 2.0
"""Pixels larger than this show no wrinkles."""

SHARPEST_PX = 0.6
"""Texels smaller than this share of a photo's pixel would hold nothing."""

FACE_MM = 360.0
"""What one side of the texture is about long on the face."""

NO_RELIEF = {"brows": 0.8, "eyelids": 0.6, "lips": 0.9}
"""How far relief of these regions is not believed: hair is none, and where the fitted form is a
little beside the photo's, lids and lips look like folds."""


@lru_cache(maxsize=1)
def _network() -> ReliefNet:
    return read_relief_net(find_asset("relief_net"))


def pixel_mm(view: PhotoView) -> float:
    """How much of the face a pixel of a photo covers, from its landmarks' depth."""
    depth = view.mesh.vertices @ view.camera.camera_from_world[2, :3]
    metres = depth.median() + view.camera.camera_from_world[2, 3]
    return float(metres / view.camera.fx) * 1e3


def why_no_relief(views: Sequence[PhotoView]) -> str | None:
    """Why photos cannot show fine relief; None if they can."""
    if any(view.light is None for view in views):
        return "Fine detail is read from shading, and a fast fit knows nothing of light."
    finest = min(map(pixel_mm, views))
    if finest > MOST_PIXEL_MM:
        return (
            f"A pixel covers {finest:.1f} mm of the face, more than wrinkles are wide; "
            f"detail needs {MOST_PIXEL_MM} mm, a face of some 75 px."
        )
    return None


def relief_size(views: Sequence[PhotoView], texture_size: int) -> int:
    """Texels on a side at which the sharpest photo's relief is looked for."""
    wanted = FACE_MM / (SHARPEST_PX * min(map(pixel_mm, views)))
    size = 1 << math.ceil(math.log2(max(wanted, 1)) - 0.25)
    return max(LEAST_SIZE, min(size, texture_size, MOST_SIZE))


@one_thread()
def person_relief(
    data: HeadData, neutral: HeadMesh, views: Sequence[PhotoView], *, size: int
) -> Relief:
    """Animatable relief from photos that ``why_no_relief`` has nothing against.

    Args:
        data: The head.
        neutral: The person at rest.
        views: With light.
        size: Texels on a side.
    """
    guide, fragments = texel_guide(data, size), texel_fragments(data.topology, size)
    texels = make_texels(fragments, _skin(guide))
    observed = []
    for view in views:
        if view.light is None or pixel_mm(view) > MOST_PIXEL_MM:
            continue
        baked, trust = trusted(data, guide, view, unlit=False)
        found = relief_of_photo(
            _network(), baked, texels, view.mesh, view.camera, view.light, trust
        )
        observed.append(ObservedRelief(height=found.height, trust=found.trust, posed=view.mesh))
    return animatable_relief(neutral, observed, fragments)


def _skin(guide: TexelGuide) -> Tensor:
    """Where relief is looked for: the skin of the face and its surroundings."""
    if not bool(guide.mask("skin").any()):
        return guide.mask("face")
    skin = guide.mask("skin") * (1 - guide.mask("scalp")).clamp(0, 1)
    hidden = torch.stack(
        [guide.mask(r) for r in ("eyes", "eye_sockets", "mouth_interior", "ears", "neck")]
    )
    skin = skin * (1 - hidden.sum(0)).clamp(0, 1)
    for name, share in NO_RELIEF.items():
        skin = skin * (1 - share * guide.mask(name)).clamp(0, 1)
    return skin
