"""Taking the light out of what a photo shows of a surface."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.core.types import HeadMesh
from face3d.render import (
    Baked,
    linear_from_srgb,
    sh_basis,
    srgb_from_linear,
    texel_fragments,
)
from face3d.render.detail import texel_normals

WHITE_QUANTILE = 0.95
"""Of the irradiance of what is seen, which counts as one: cameras expose for the brightest skin,
and a photo does not say whether light is strong or skin is light."""

NO_LIGHT, SOME_LIGHT = 0.1, 0.35
"""Shares of that between which colours come to be trusted: in shadow they are noise, and light that
nine coefficients do not say weighs most there."""


def without_light(
    baked: Baked,
    mesh: HeadMesh,
    light: Float[Tensor, "9 3"],
    reference: Float[Tensor, "size size"],
) -> tuple[Baked, Float[Tensor, "size size"]]:
    """Divide colours by the light that falls on the surface.

    Args:
        baked: What a photo shows of each texel.
        mesh: The surface in the world frame, whose axes are those of the light.
        light: Irradiance as coefficients of sh_basis, by colour, up to a factor.
        reference: Where the brightest light is looked for, 0 to 1.

    Returns:
        Albedo in place of colours, and how far it can be trusted, 0 to 1.
    """
    size = baked.weight.shape[-1]
    fragments = texel_fragments(mesh.topology, size)
    covered = fragments.face_index >= 0
    normal = texel_normals(mesh, fragments)
    irradiance = torch.ones(size, size, 3)
    irradiance[covered] = (sh_basis(normal) @ light.to(normal)).clamp(min=1e-4)
    irradiance = irradiance.movedim(-1, 0)
    seen = (baked.weight > 0.3) & (reference > 0.5)
    if not bool(seen.any()):
        return baked, torch.ones(size, size)
    white = torch.quantile(
        irradiance[:, seen].mean(0)[:: 1 + int(seen.sum()) // 10_000], WHITE_QUANTILE
    )
    share = irradiance / white
    linear = linear_from_srgb(baked.rgb) / share.clamp(min=NO_LIGHT)
    trust = ((share.mean(0) - NO_LIGHT) / (SOME_LIGHT - NO_LIGHT)).clamp(0, 1)
    return replace(baked, rgb=srgb_from_linear(linear.clamp(0, 1))), trust
