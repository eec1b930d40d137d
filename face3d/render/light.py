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

    towards: Float[Tensor, "*batch 3"]  # from the surface to the light, any length
    rgb: Float[Tensor, "*batch 3"]  # radiance of white paper that faces it


@dataclass(frozen=True, kw_only=True)
class PointLight:
    """A lamp; falls off with the square of the distance."""

    place_m: Float[Tensor, "*batch 3"]
    rgb: Float[Tensor, "*batch 3"]  # at a distance of one metre


Light = SphericalHarmonics | DirectionalLight | PointLight


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What pixels show, one row each; ``image`` says of which picture of the batch."""

    albedo: Float[Tensor, "pixel 3"]
    normal: Float[Tensor, "pixel 3"]  # unit
    point: Float[Tensor, "pixel 3"]  # metres
    towards_eye: Float[Tensor, "pixel 3"]  # unit
    roughness: Float[Tensor, "pixel"]  # of the specular lobe; one or more has none


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
    for light in lights:
        if isinstance(light, SphericalHarmonics):
            basis = sh_basis(surface.normal)
            colour = _rows(light.coefficients, 2, image)
            irradiance = (basis[:, :, None] * colour).sum(1)
            total = total + surface.albedo * irradiance.clamp(min=0)
            continue
        if isinstance(light, PointLight):
            way = _rows(light.place_m, 1, image) - surface.point
            strength = _rows(light.rgb, 1, image) / (way**2).sum(-1, keepdim=True).clamp(min=1e-6)
        else:
            way = _rows(light.towards, 1, image).expand_as(surface.normal)
            strength = _rows(light.rgb, 1, image)
        total = total + _reflected(surface, normalize(way, dim=-1)) * strength
    return total


def _rows(value: Tensor, own_axes: int, image: Tensor | None) -> Tensor:
    """A light's value for each pixel, or one row for all."""
    if value.ndim == own_axes or image is None:
        return value[None] if value.ndim == own_axes else value
    return value[image]


def _reflected(surface: Surface, towards: Float[Tensor, "pixel 3"]) -> Float[Tensor, "pixel 3"]:
    """Light that a unit of light from one direction sends to the eye."""
    facing = (surface.normal * towards).sum(-1).clamp(min=0)
    seen = (surface.normal * surface.towards_eye).sum(-1).clamp(min=1e-3)
    half = normalize(towards + surface.towards_eye, dim=-1)
    along = (surface.normal * half).sum(-1).clamp(min=0)
    alpha = surface.roughness.clamp(0.05, 1) ** 2
    lobe = alpha**2 / ((along**2) * (alpha**2 - 1) + 1) ** 2  # times pi, as the diffuse term
    k = alpha / 2
    shadowing = 1 / ((facing * (1 - k) + k) * (seen * (1 - k) + k))
    slant = (1 - (towards * half).sum(-1).clamp(0, 1)) ** 5
    fresnel = SKIN_REFLECTANCE + (1 - SKIN_REFLECTANCE) * slant
    glossy = torch.where(surface.roughness < 1, 0.25 * lobe * shadowing * fresnel, 0.0)
    return facing[:, None] * (surface.albedo * (1 - fresnel[:, None]) + glossy[:, None])
