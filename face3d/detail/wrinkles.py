"""Relief that belongs to a person, and relief that an expression brings.

Of each texel a height at rest p and a response r are found, so that photos in which the skin is
compressed by shares c show heights p + r c. Both have Gaussian priors about zero: from one photo
with a compression c, r c is the share c²/(c² + c0²) of the height where its lines run across the
compression. Several photos of one person with other expressions say more, and outweigh the priors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from face3d.core.types import Fragments, HeadMesh
from face3d.detail.strain import Metric, compression, metric, most_compressed
from face3d.render.detail import slopes, texel_axes

TYPICAL_COMPRESSION = 0.012
"""At which half of a line's depth counts as the expression's."""

RELIABLE = 0.3
"""Standard deviation of an observed height over that of heights at rest."""

MOST_DRIVE = 1.25
"""How much further than in the photos skin may be compressed before lines get no deeper."""

LINE_MM = 4.0
"""Over which the direction of lines is looked at."""

LEAST_ALONG, FULL_ALONG = 0.5, 0.75
"""Of the slopes' power, the share along the compression: one for lines across it, half for pores.
Between these a height is less and less the person's."""


@dataclass(frozen=True, kw_only=True)
class ObservedRelief:
    """Of one photo."""

    height: Float[Tensor, "size size"]  # metres
    trust: Float[Tensor, "size size"]  # 0 to 1
    posed: HeadMesh  # the head in the photo's expression, in any frame


@dataclass(frozen=True, kw_only=True)
class Relief:
    """Animatable fine relief of one person.

    Attributes:
        at_rest: Heights of the neutral face, metres outwards.
        response: Metres per unit of compression.
        direction: Along which compression counts, in texture coordinates.
        most: The largest compression that was seen.
        trust: How far the photos tell it, 0 to 1.
        neutral: The head at rest.
        fragments: Its texels.
    """

    at_rest: Float[Tensor, "size size"]
    response: Float[Tensor, "size size"]
    direction: Float[Tensor, "2 texel"]
    most: Float[Tensor, "texel"]
    trust: Float[Tensor, "size size"]
    neutral: HeadMesh
    fragments: Fragments

    def displacement(self, posed: HeadMesh) -> Float[Tensor, "1 size size"]:
        """Heights in an expression, metres outwards; zero is no change.

        Args:
            posed: The same head in the expression, in any frame.
        """
        covered = self.fragments.face_index >= 0
        rest, now = (metric(texel_axes(m, self.fragments)) for m in (self.neutral, posed))
        share = compression(rest, now, self.direction).clamp(min=0).minimum(MOST_DRIVE * self.most)
        out = self.at_rest.clone()
        out[covered] += self.response[covered] * share
        return out[None]


def animatable_relief(
    neutral: HeadMesh, observed: Sequence[ObservedRelief], fragments: Fragments
) -> Relief:
    """Tell the person's relief from the expressions', from one photo or several.

    Args:
        neutral: The head at rest.
        observed: At least one.
        fragments: The texels.
    """
    covered = fragments.face_index >= 0
    axes = texel_axes(neutral, fragments)
    rest = metric(axes)
    each = [metric(texel_axes(o.posed, fragments)) for o in observed]
    directions, shares = zip(*(most_compressed(rest, strained) for strained in each), strict=True)
    heights = torch.stack([o.height[covered] for o in observed])
    trusts = torch.stack([o.trust[covered] for o in observed])
    # The direction is that of the photo in which the skin is compressed most and seen.
    most = (torch.stack(shares) * (trusts > 0.1)).max(dim=0)
    stacked = torch.stack(directions)
    direction = stacked[most.indices, :, torch.arange(stacked.shape[-1])].T
    along = torch.stack([compression(rest, strained, direction).clamp(min=0) for strained in each])
    size_mm = float(rest.determinant.pow(0.25).median()) / covered.shape[-1] * 1e3
    mean = (heights * trusts).sum(0) / trusts.sum(0).clamp(min=1e-6)
    lined = _lines_across(mean, direction, rest, covered, max(1, round(LINE_MM / size_mm)))
    at_rest, response = _solved(heights, trusts, along, lined)

    def picture(values: Tensor) -> Tensor:
        out = torch.zeros(covered.shape)
        out[covered] = values
        return out

    return Relief(
        at_rest=picture(at_rest),
        response=picture(response),
        direction=direction,
        most=(along * (trusts > 0.1)).amax(0),
        trust=picture(trusts.amax(0)),
        neutral=neutral,
        fragments=fragments,
    )


def _solved(
    heights: Float[Tensor, "photo texel"],
    trusts: Float[Tensor, "photo texel"],
    along: Float[Tensor, "photo texel"],
    lined: Float[Tensor, "texel"],
) -> tuple[Float[Tensor, "texel"], Float[Tensor, "texel"]]:
    """Heights at rest and responses: two unknowns per texel, with their priors.

    Heights are in units of their own prior deviation, which therefore does not matter.
    """
    weight = trusts / RELIABLE**2
    # One photo cannot tell its noise from relief: what it shows is believed.
    if len(heights) == 1:
        weight = weight * 1e3
    unit = along / TYPICAL_COMPRESSION
    # Of one photo's heights not more than the share that is lines across becomes the expression's.
    spread = (lined / (1 + unit.amax(0) ** 2 * (1 - lined))).sqrt()
    unit = unit * spread
    a = 1 + weight.sum(0)
    b = (weight * unit).sum(0)
    c = 1 + (weight * unit**2).sum(0)
    p, q = (weight * heights).sum(0), (weight * unit * heights).sum(0)
    area = a * c - b**2
    rest, response = (c * p - b * q) / area, (a * q - b * p) / area
    return rest, response * spread / TYPICAL_COMPRESSION


def _lines_across(
    height: Float[Tensor, "texel"],
    direction: Float[Tensor, "2 texel"],
    rest: Metric,
    covered: Tensor,
    reach: int,
) -> Float[Tensor, "texel"]:
    """One where the relief is lines across a direction, zero where it is pores or other lines."""
    picture = torch.zeros(covered.shape)
    picture[covered] = height
    by_u, by_v = slopes(picture[None])[:, covered]
    # Derivatives along the direction, and across it (at right angles on the surface).
    u, v = direction / rest.length(direction)
    uu, uv, vv = rest.values
    across = torch.stack([-(uv * u + vv * v), uu * u + uv * v]) / rest.determinant.sqrt()
    powers = torch.zeros(2, *covered.shape)
    powers[0][covered] = (by_u * u + by_v * v) ** 2
    powers[1][covered] = (by_u * across[0] + by_v * across[1]) ** 2
    window = 2 * reach + 1
    mean = avg_pool2d(powers[None], window, stride=1, padding=reach)[0][:, covered]
    share = mean[0] / mean.sum(0).clamp(min=1e-30)
    part = ((share - LEAST_ALONG) / (FULL_ALONG - LEAST_ALONG)).clamp(0, 1)
    return part * part * (3 - 2 * part)
