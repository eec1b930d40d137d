"""How the skin is stretched and compressed by an expression, at every texel.

The surface's metric along the texture (first fundamental form) before and after says all of it:
lengths along a direction t of the texture have changed by sqrt(t' G t / t' G0 t).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

LEAST_AREA = 1e-14


@dataclass(frozen=True, kw_only=True)
class Metric:
    """First fundamental form of texels in m² per texture unit squared, rows uu, uv, vv."""

    values: Float[Tensor, "3 texel"]

    @property
    def determinant(self) -> Float[Tensor, "texel"]:
        """Squared area."""
        uu, uv, vv = self.values
        return (uu * vv - uv**2).clamp(min=LEAST_AREA)

    def length(self, direction: Float[Tensor, "2 texel"]) -> Float[Tensor, "texel"]:
        """Metres that one texture unit along a direction is long."""
        u, v = direction
        uu, uv, vv = self.values
        return (uu * u**2 + 2 * uv * u * v + vv * v**2).clamp(min=LEAST_AREA).sqrt()


def metric(axes: Float[Tensor, "texel 6"]) -> Metric:
    """The metric of a surface that runs along the texture as its axes say."""
    u, v = axes[:, :3], axes[:, 3:]
    return Metric(values=torch.stack([(u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)]))


def most_compressed(rest: Metric, posed: Metric) -> tuple[Tensor, Tensor]:
    """The direction in which skin is compressed most, and by which share, at least zero.

    Args:
        rest: Before.
        posed: After.

    Returns:
        Directions (2, texel) in texture coordinates, one metre long at rest; shares (texel).
    """
    # With L L' = G0 the stretches are the eigenvalues of L^-1 G L^-T, in closed form for two rows.
    uu, uv, vv = rest.values
    a = uu.clamp(min=LEAST_AREA).sqrt()
    b = uv / a
    c = (vv - b**2).clamp(min=LEAST_AREA).sqrt()
    puu, puv, pvv = posed.values
    p = puu / a**2
    q = (puv - b * puu / a) / (a * c)
    r = (pvv - 2 * b * puv / a + b**2 * puu / a**2) / c**2
    mean, half = 0.5 * (p + r), 0.5 * (p - r)
    root = (half**2 + q**2).sqrt()
    least = (mean - root).clamp(min=1e-6)
    angle = 0.5 * torch.atan2(q, half) + torch.pi / 2  # of the smaller eigenvalue
    x, y = angle.cos(), angle.sin()
    # Back from the orthonormal frame: t = L^-T x.
    second = y / c
    return torch.stack([(x - b * second) / a, second]), (1 - least.sqrt()).clamp(min=0)


def compression(
    rest: Metric, posed: Metric, direction: Float[Tensor, "2 texel"]
) -> Float[Tensor, "texel"]:
    """By which share skin is shorter along a direction; negative where it is longer."""
    return 1 - posed.length(direction) / rest.length(direction)
