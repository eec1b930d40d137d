"""Colour from albedo, normals and light, in linear RGB."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

# Real spherical harmonics times the cosine lobe's factors (Ramamoorthi & Hanrahan, 2001), in the
# order [1, x, y, z, xy, xz, yz, x^2 - y^2, 3 z^2 - 1] and with the constants of DECA's family of
# codes, so that light codes can be exchanged: its constant term lacks the lobe's factor of pi.
_A = (1.0, 2 * math.pi / 3, math.pi / 4)
SH_SCALE = (  # of the constant, linear, mixed, difference and upright terms
    _A[0] / math.sqrt(4 * math.pi),
    _A[1] * math.sqrt(3 / (4 * math.pi)),
    _A[2] * 3 * math.sqrt(5 / (12 * math.pi)),
    _A[2] * 1.5 * math.sqrt(5 / (12 * math.pi)),
    _A[2] * 0.5 * math.sqrt(5 / (4 * math.pi)),
)


def sh_basis(normals: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """Irradiance basis at unit normals; nine coefficients per colour make the light."""
    x, y, z = normals.unbind(-1)
    linear, cross = SH_SCALE[1] * normals, SH_SCALE[2] * normals * normals.roll(-1, -1)
    rows = [
        torch.full_like(x, SH_SCALE[0]),
        *linear.unbind(-1),
        cross[..., 0],
        cross[..., 2],
        cross[..., 1],
        SH_SCALE[3] * (x * x - y * y),
        SH_SCALE[4] * (3 * z * z - 1),
    ]
    return torch.stack(rows, dim=-1)


def srgb_from_linear(linear: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The sRGB transfer function, clipped to [0, 1]."""
    clipped = linear.clamp(0, 1)
    return torch.where(
        clipped <= 0.0031308,
        12.92 * clipped,
        1.055 * clipped.clamp(min=1e-6) ** (1 / 2.4) - 0.055,
    )


def linear_from_srgb(srgb: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The inverse of the sRGB transfer function."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055).clamp(min=0) ** 2.4)
