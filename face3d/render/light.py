"""Lights, and what they make of a surface; linear RGB, world frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from face3d.render.shade import sh_basis

SKIN_REFLECTANCE = 0.028
"""At normal incidence, of skin's oil and of the eye's tears (index of refraction 1.4)."""


@dataclass(frozen=True, kw_only=True)
class SphericalHarmonics:
    """Light from everywhere; diffuse only."""

    coefficients: Float[Tensor, "*batch 9 3"]  # order and constants of shade.sh_basis


@dataclass(frozen=True, kw_only=True)
class DirectionalLight:
    """Light from far away."""

    towards: Float[Tensor, "*#batch 3"]  # from the surface to the light, any length
    rgb: Float[Tensor, "*#batch 3"]  # radiance of white paper that faces it


@dataclass(frozen=True, kw_only=True)
class PointLight:
    """A lamp; falls off with the square of the distance."""

    place_m: Float[Tensor, "*#batch 3"]
    rgb: Float[Tensor, "*#batch 3"]  # at a distance of one metre


Light = SphericalHarmonics | DirectionalLight | PointLight


@dataclass(frozen=True, kw_only=True)
class Shadows:
    """What reaches each vertex of the lights, 0 to 1."""

    ambient: Float[Tensor, "*batch vertex"]  # of the light from everywhere
    single: Float[Tensor, "*batch light vertex"]  # of each single light, in their order


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What pixels show, one row each; ``image`` says of which picture of the batch."""

    albedo: Float[Tensor, "pixel 3"]
    normal: Float[Tensor, "pixel 3"]  # unit
    point: Float[Tensor, "pixel 3"]  # metres
    towards_eye: Float[Tensor, "pixel 3"]  # unit
    roughness: Float[Tensor, "pixel"]  # of the specular lobe; one or more has none
    wrap: Float[Tensor, "pixel 3"] | None = None  # how far light creeps around, by colour
    ambient: Float[Tensor, "pixel"] | None = None  # reached by the light from everywhere
    single: Float[Tensor, "pixel light"] | None = None  # reached by each single light


def shade(
    surface: Surface, lights: Sequence[Light], image: Tensor | None = None
) -> Float[Tensor, "pixel 3"]:
    """Reflected light: Lambert's law, and a GGX lobe (Walter et al., 2007) from the single lights.

    Args:
        surface: The pixels.
        lights: All that shine; none at all gives the albedo as it is.
        image: For each pixel the picture whose lights shine on it, where lights have a batch axis.
    """
    if not lights:
        return surface.albedo
    total = torch.zeros_like(surface.albedo)
    around = [light for light in lights if isinstance(light, SphericalHarmonics)]
    if around:
        total = total + surface.albedo * _from_everywhere(surface, around, image)
    seen = (surface.normal * surface.towards_eye).sum(-1)
    singles = [light for light in lights if not isinstance(light, SphericalHarmonics)]
    for number, light in enumerate(singles):
        strength = _rows(light.rgb, 1, image, surface)
        if isinstance(light, PointLight):
            way = _rows(light.place_m, 1, image, surface) - surface.point
            strength = strength / (way**2).sum(-1, keepdim=True).clamp(min=1e-6)
        else:
            way = _rows(light.towards, 1, image, surface)
        if surface.single is not None:
            strength = strength * surface.single[:, number, None]
        total = total + _reflected(surface, seen, normalize(way, dim=-1)) * strength
    return total


def _from_everywhere(
    surface: Surface, lights: Sequence[SphericalHarmonics], image: Tensor | None
) -> Float[Tensor, "pixel 3"]:
    """Irradiance of spherical harmonics, as far as it reaches the pixels."""
    basis = sh_basis(surface.normal)
    irradiance = torch.zeros_like(surface.albedo)
    for light in lights:
        rows = _rows(light.coefficients, 2, image, surface)
        part = basis @ rows[0] if len(rows) == 1 else (basis[:, None] @ rows)[:, 0]
        irradiance = irradiance + part
    irradiance = irradiance.clamp(min=0)
    if surface.ambient is None:
        return irradiance
    # Of the light that hollows keep out, some comes back from their walls.
    kept_out = 1 - surface.ambient[:, None]
    return irradiance * (1 - kept_out) / (1 - surface.albedo * kept_out)


def _rows(
    value: Tensor, own_axes: int, image: Tensor | None, surface: Surface
) -> Float[Tensor, "#pixel ..."]:
    """A light's value for each pixel, or one row for all; batch axes are flattened."""
    flat = value.to(surface.albedo).reshape(-1, *value.shape[value.ndim - own_axes :])
    return flat if len(flat) == 1 or image is None else flat[image]


def _reflected(
    surface: Surface, seen: Float[Tensor, "pixel"], towards: Float[Tensor, "#pixel 3"]
) -> Float[Tensor, "pixel 3"]:
    """Light that a unit of light from one direction sends to the eye.

    Args:
        surface: The pixels.
        seen: Cosines between normals and the way to the eye.
        towards: Unit.
    """
    if len(towards) == 1:
        cosine, to_eye = surface.normal @ towards[0], surface.towards_eye @ towards[0]
    else:
        cosine = (surface.normal * towards).sum(-1)
        to_eye = (surface.towards_eye * towards).sum(-1)
    # The half vector h enters only by its cosines, which follow from those of its two parts.
    double = (2 + 2 * to_eye).clamp(min=1e-6).sqrt()
    along = ((cosine + seen) / double).clamp(min=0)
    facing, seen = cosine.clamp(min=0), seen.clamp(min=1e-3)
    alpha = surface.roughness.clamp(0.05, 1) ** 2
    lobe = alpha**2 / (along**2 * (alpha**2 - 1) + 1) ** 2  # times pi, as the diffuse term
    k = alpha / 2
    shadowing = 1 / ((facing * (1 - k) + k) * (seen * (1 - k) + k))
    fresnel = SKIN_REFLECTANCE + (1 - SKIN_REFLECTANCE) * (1 - double / 2).clamp(min=0) ** 5
    glossy = torch.where(surface.roughness < 1, 0.25 * facing * lobe * shadowing * fresnel, 0.0)
    if surface.wrap is None:
        return (facing * (1 - fresnel))[:, None] * surface.albedo + glossy[:, None]
    # Light that enters skin leaves it a little further on, red the furthest (Green, GPU Gems,
    # 2004, chapter 16); the division keeps the sum over all directions.
    diffuse = (cosine[:, None] + surface.wrap).clamp(min=0) / (1 + surface.wrap) ** 2
    return (1 - fresnel)[:, None] * diffuse * surface.albedo + glossy[:, None]
