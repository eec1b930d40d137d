"""TEASER's networks (Liu et al., 2025): SMIRK's, and tokens of how the face looks."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, instance_norm, interpolate, max_pool2d

from face3d.regress.mobilenet import MobileNetV3
from face3d.regress.smirk import Residual, SmirkEncoder, SmirkParams

TOKEN = 256
POOLED = ((-1, 576, 1), (-2, 48, 2), (-3, 24, 4), (-4, 16, 8))
"""Which features a token is made of, their channels, and into how many squares they are pooled."""

STYLE_HIDDEN = 128
WIDTHS = (32, 64, 128, 256)
DECODED_PX = 14


class TeaserParams(SmirkParams):
    """What the encoder says of each crop."""

    token: Float[Tensor, "4 b 256"]  # from coarse to fine


class TokenEncoder(nn.Module):
    """Four tokens, each from another level of a small trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MobileNetV3("small")
        self.token_layers = nn.ModuleList(
            nn.Sequential(nn.Linear(width * squares**2, TOKEN)) for _, width, squares in POOLED
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "4 b 256"]:
        """Tokens, from coarse to fine."""
        levels = self.encoder.levels(images)
        tokens = [
            layer(adaptive_avg_pool2d(levels[level], squares).flatten(1))
            for (level, _, squares), layer in zip(POOLED, self.token_layers, strict=True)
        ]
        return torch.stack(tokens)


class TeaserEncoder(SmirkEncoder):
    """Crops to parameters and tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.token_encoder = TokenEncoder()

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> TeaserParams:
        """As of SMIRK, with tokens."""
        return TeaserParams(**super().forward(images), token=self.token_encoder(images))


class _Styled(nn.Module):
    """Adaptive instance normalisation (Huang & Belongie, 2017), its style read off a token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Linear(TOKEN, STYLE_HIDDEN), nn.ReLU())
        self.mlp_gamma = nn.Linear(STYLE_HIDDEN, width)
        self.mlp_beta = nn.Linear(STYLE_HIDDEN, width)

    def forward(
        self, x: Float[Tensor, "b c h w"], token: Float[Tensor, "b 256"]
    ) -> Float[Tensor, "b c h w"]:
        style = self.mlp_shared(token)
        gain, shift = self.mlp_gamma(style), self.mlp_beta(style)
        return instance_norm(x) * (1 + gain[..., None, None]) + shift[..., None, None]


class _StyledBlock(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.adain1 = _Styled(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.adain2 = _Styled(after)

    def forward(
        self, x: Float[Tensor, "b _ h w"], token: Float[Tensor, "b 256"]
    ) -> Float[Tensor, "b _ h w"]:
        x = self.adain1(self.norm1(self.conv1(x)), token).relu()
        return self.adain2(self.norm2(self.conv2(x)), token).relu()


class _Doubled(nn.Upsample):
    def __init__(self) -> None:
        super().__init__(scale_factor=2, mode="bilinear", align_corners=False)


class TokenDecoder(nn.Module):
    """All tokens to features at four sizes, from coarse to fine."""

    def __init__(self) -> None:
        super().__init__()
        top = WIDTHS[-1]
        side = DECODED_PX
        start = [nn.Linear(4 * TOKEN, top * side**2), nn.Unflatten(1, (top, side, side))]
        before = top
        for number, width in enumerate(WIDTHS[::-1], start=1):
            layers: list[nn.Module] = list(start) if number == 1 else []
            layers += [
                _Doubled(), nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
            ]  # fmt: skip
            if number == len(WIDTHS):
                layers += [nn.Conv2d(width, width, 3, padding=1), nn.Tanh()]
            self.add_module(f"decoder_{number}", nn.Sequential(*layers))
            before = width

    def forward(self, tokens: Float[Tensor, "b 1024"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Features."""
        out, x = list[Tensor](), tokens
        for number in range(1, len(WIDTHS) + 1):
            x = self.get_submodule(f"decoder_{number}")(x)
            out.append(x)
        return out


class TeaserGenerator(nn.Module):
    """SMIRK's generator, whose levels are styled by tokens.

    Args:
        before: Channels of the input.
        after: Channels of the picture.
        blocks: Residual blocks.
    """

    def __init__(self, before: int = 6, after: int = 3, *, blocks: int = 5) -> None:
        super().__init__()
        for level, wide in enumerate(WIDTHS, start=1):
            self.add_module(f"encoder{level}", _StyledBlock(before, wide))
            self.add_module(f"upconv{level}", nn.ConvTranspose2d(2 * wide, wide, 2, 2))
            self.add_module(f"decoder{level}", _StyledBlock(2 * wide, wide))
            # These begin by adding nothing (Zhang et al., 2023).
            join = nn.Conv2d(wide, wide, 1)
            nn.init.zeros_(join.weight)
            assert join.bias is not None
            nn.init.zeros_(join.bias)
            self.add_module(f"token_zero_conv_{level}", join)
            before = wide
        self.bottleneck = _StyledBlock(before, 2 * before)
        self.resnet_blocks = nn.ModuleList(Residual(2 * before) for _ in range(blocks))
        self.conv = nn.Conv2d(WIDTHS[0], after, 1)
        self.token_decoder = TokenDecoder()

    def forward(
        self, x: Float[Tensor, "b channel h w"], tokens: Float[Tensor, "4 b 256"]
    ) -> Float[Tensor, "b 3 h w"]:
        """A picture in [0, 1].

        Args:
            x: Rendered geometry and masked photo, 224 px.
            tokens: As of ``TokenEncoder``.
        """
        count = len(WIDTHS)
        kept: list[Tensor] = []
        for level in range(1, count + 1):
            x = self.get_submodule(f"encoder{level}")(x, tokens[count - level])
            kept.append(x)
            x = max_pool2d(x, 2)
        x = self.bottleneck(x, tokens[0])
        for block in self.resnet_blocks:
            x = block(x)
        decoded = self.token_decoder(tokens.flip(0).movedim(0, 1).flatten(1))
        for level in range(count, 0, -1):
            x = torch.cat([self.get_submodule(f"upconv{level}")(x), kept[level - 1]], dim=1)
            x = self.get_submodule(f"decoder{level}")(x, tokens[count - level])
            extra = decoded[count - level]
            if extra.shape[-2:] != x.shape[-2:]:
                extra = interpolate(extra, size=x.shape[-2:], mode="bilinear")
            x = x + self.get_submodule(f"token_zero_conv_{level}")(extra)
        return self.conv(x).sigmoid()
