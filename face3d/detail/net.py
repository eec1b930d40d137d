"""A small network that tells relief from colour in what a photo shows of skin.

Shading alone leaves open whether a dark line is a wrinkle or a pencil's stroke. The network sees
what each would do under the light that was found, at every texel: how the colours differ from their
surroundings, and how much lighter or darker skin would become if it leant over. It is trained on
synthetic skin (tools/train_relief.py) and fully convolutional.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

from face3d.core.weights import read_weights, save_weights

CHANNELS = 11
WIDTHS = (16, 24, 32, 48)
LEAK = 0.1

STEEPEST = 3.0
"""Slope that no relief exceeds."""

SURROUNDINGS_MM = 9.0
"""Colours are compared with their mean over about this distance; relief beyond is the head's."""


class ReliefNet(nn.Module):
    """A U-Net (Ronneberger et al., 2015) from features of texels to slopes."""

    def __init__(self) -> None:
        super().__init__()
        before = (CHANNELS, *WIDTHS[:-1])
        self.down = nn.ModuleList(
            nn.ModuleList([_conv(a, b), _conv(b, b)]) for a, b in zip(before, WIDTHS, strict=True)
        )
        self.up = nn.ModuleList(
            nn.ModuleList([_conv(b + a, a), _conv(a, a)])
            for a, b in zip(WIDTHS[-2::-1], WIDTHS[:0:-1], strict=True)
        )
        self.out = _conv(WIDTHS[0], 2)
        nn.init.normal_(self.out.weight, std=1e-3)

    def forward(
        self, features: Float[Tensor, "*batch channel h w"]
    ) -> Float[Tensor, "*batch 2 h w"]:
        """Rise per column and per row, texels per texel.

        Args:
            features: As ``relief_features`` gives them; h and w are multiples of 8.
        """
        x, kept = features, []
        for level, convs in enumerate(self.down):
            if level:
                kept.append(x)
                x = avg_pool2d(x, 2)
            x = _passed(convs, x)
        for convs, fine in zip(self.up, kept[::-1], strict=True):
            x = interpolate(x, scale_factor=2.0, mode="nearest")
            x = _passed(convs, torch.cat([x, fine], dim=1))
        return STEEPEST * (self.out(x) / STEEPEST).tanh()


def _conv(a: int, b: int) -> nn.Conv2d:
    conv = nn.Conv2d(a, b, 3, padding=1)
    # So that signals keep their size on the way through (He et al., 2015).
    nn.init.kaiming_normal_(conv.weight, a=LEAK)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _passed(convs: nn.Module, x: Tensor) -> Tensor:
    for conv in convs.children():
        x = leaky_relu(conv(x), LEAK)
    return x


def relief_features(
    log_rgb: Float[Tensor, "*batch 3 h w"],
    lean: Float[Tensor, "*batch 2 h w"],
    shade: Float[Tensor, "*batch 1 h w"],
    seen: Float[Tensor, "*batch 1 h w"],
    pixel_texels: Float[Tensor, "*batch 1 h w"],
    texel_mm: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch 11 h w"]:
    """What the network looks at.

    Args:
        log_rgb: Natural logarithms of linear colours.
        lean: By how much the logarithm of the light rises when the surface rises by one texel per
            texel towards the next column, and towards the next row.
        shade: Logarithm of the light over what lights white.
        seen: How far a texel is to be trusted, 0 to 1; colours count by it.
        pixel_texels: Size of the photo's pixels in texels.
        texel_mm: Size of a texel.
    """
    # What the head's own form explains is no relief.
    grey = log_rgb.mean(-3, keepdim=True) - shade
    red = (log_rgb[..., 0:1, :, :] - log_rgb[..., 1:2, :, :]) * 2
    blue = (log_rgb[..., 2:3, :, :] - log_rgb[..., 1:2, :, :]) * 2
    colours = torch.cat([grey, red, blue], dim=-3)
    off = 4 * (colours - surroundings(colours, seen, texel_mm)).clamp(-1.5, 1.5) * seen
    size = texel_mm.log().reshape(*texel_mm.shape, 1, 1, 1).expand_as(shade) + 1.0
    # What shading says of slopes is a product, which convolutions are slow to learn.
    said = (2 * off[..., :1, :, :] * lean).clamp(-3, 3)
    return torch.cat([off, said, lean, shade, pixel_texels.log(), size, seen], dim=-3)


def surroundings(
    values: Float[Tensor, "*batch channel h w"],
    seen: Float[Tensor, "*batch 1 h w"],
    texel_mm: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch channel h w"]:
    """Means of what is seen over about SURROUNDINGS_MM, twice, so that they have no corners.

    Texels of a batch are alike in size.
    """
    texels = SURROUNDINGS_MM / float(texel_mm.mean())
    window = max(3, 2 * round(texels / 2) + 1)
    both = torch.cat([values * seen, seen], dim=-3)
    flat = both.reshape(-1, *both.shape[-3:])
    for _ in range(2):
        for k in ((1, window), (window, 1)):
            flat = avg_pool2d(flat, k, stride=1, padding=(k[0] // 2, k[1] // 2))
    mean = flat.reshape(both.shape)
    return mean[..., :-1, :, :] / mean[..., -1:, :, :].clamp(min=1e-4)


def save_relief_net(path: Path, net: ReliefNet) -> None:
    """Write weights in half precision."""
    save_weights(path, net)


def read_relief_net(path: Path) -> ReliefNet:
    """Read weights.

    Raises:
        AssetError: The file is missing, damaged or of another kind.
    """
    return read_weights(path, ReliefNet(), "relief network")
