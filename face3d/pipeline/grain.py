"""The skin's own grain, for skin that no photo shows.

What is filled in smoothly looks like wax beside skin. A well seen piece of skin, less its smooth
part, is convolved with white noise: a texture of the same spectrum and colours without a repeat
that the eye finds (Galerne, Gousseau & Morel, 2011).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

PIECE = 16
"""Pieces of skin that would fit side by side along the texture."""

SMOOTH = 170
"""Likewise, squares over which the smooth part is taken."""

LEAST_TRUST = 0.7
MOST_GRAIN = 0.12
TILE = 1024

QUIET = 0.25
"""Among the pieces that are seen well, by how rough they are, which one is taken."""


def grain_like(
    rgb: Float[Tensor, "3 size size"], trust: Float[Tensor, "size size"]
) -> Float[Tensor, "3 size size"] | None:
    """Grain to multiply colours by, less one; None where no piece of skin is seen well enough.

    Args:
        rgb: Colours.
        trust: How far they are skin's own, 0 to 1.
    """
    size = rgb.shape[-1]
    side, reach = max(8, size // PIECE), max(1, size // SMOOTH)
    stride = max(1, side // 4)
    mean = avg_pool2d(trust[None, None], side, stride=stride)[0, 0]
    seen = torch.nonzero(mean.flatten() >= LEAST_TRUST).squeeze(-1)
    if not len(seen):
        return None
    rough = avg_pool2d(_fine(rgb[1:2], reach).square()[None], side, stride=stride)[0, 0].flatten()
    # Rougher pieces have stubble, hair or glasses.
    chosen = int(seen[rough[seen].argsort()[int(QUIET * (len(seen) - 1))]])
    top, left = (stride * place for place in divmod(chosen, mean.shape[1]))
    fine = _fine(rgb[:, top : top + side, left : left + side], reach)
    fade = torch.hann_window(side, periodic=False)
    window = fade[:, None] * fade
    fine = (fine - fine.mean((1, 2), keepdim=True)) * window / window.square().sum().sqrt()
    tile = min(size, TILE)
    noise = torch.randn(tile, tile, generator=torch.Generator().manual_seed(0))
    texton = torch.zeros(3, tile, tile)
    texton[:, :side, :side] = fine
    grain = torch.fft.irfft2(torch.fft.rfft2(noise) * torch.fft.rfft2(texton), s=(tile, tile))
    return grain.repeat(1, size // tile, size // tile)


def _fine(rgb: Float[Tensor, "channel h w"], reach: int) -> Float[Tensor, "channel h w"]:
    """By which share colours differ from their surroundings."""
    smooth = avg_pool2d(rgb[None], 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)[
        0
    ]
    return (rgb / smooth.clamp(min=0.02) - 1).clamp(-MOST_GRAIN, MOST_GRAIN)
