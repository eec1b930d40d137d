"""The project's own regressor: one trunk, and heads for everything about a face in a crop.

A residual network (He et al., 2016) with few channels where pictures are large. The last features
keep their 4x4 places, because landmarks are places; every output comes with its uncertainty
(Kendall & Gal, 2017).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

INPUT_PX = 128
LANDMARKS = 478
STEM = 32
WIDTHS = (64, 128, 256, 384)
DEPTHS = (2, 2, 2, 1)
KEPT, HIDDEN = 64, 640

PARTS = {
    "landmarks": 2 * LANDMARKS,  # -1 to 1 across the crop
    "shape": 140,
    "expression": 52,
    "jaw": 3,
    "neck": 3,
    "eyes": 4,  # pitch and yaw, left then right
    "rotation": 6,  # two columns of a matrix (Zhou et al., 2019)
    "place": 4,  # see face3d.regress.crop_pose
    "light": 27,  # over its mean
}
"""Outputs and how many numbers each has."""

SPREADS = {
    "landmarks": LANDMARKS, "shape": 140, "expression": 52, "jaw": 3, "neck": 3, "eyes": 4,
    "rotation": 1, "place": 4, "light": 1,
}  # fmt: skip
"""Outputs and how many standard deviations each has."""


@dataclass(frozen=True, kw_only=True)
class Regressed:
    """What the network says of crops."""

    mean: dict[str, Float[Tensor, "*batch _"]]  # by the names of PARTS
    log_sd: dict[str, Float[Tensor, "*batch _"]]  # natural logarithms, by the names of SPREADS


class Block(nn.Module):
    """Two convolutions beside which the signal passes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.beside: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.beside = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        # Blocks begin by doing nothing (Goyal et al., 2017).
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Features, with the stride's fewer places."""
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.beside(x)).relu()


class OwnNet(nn.Module):
    """Crops of faces to parameters of the open head.

    Args:
        parts: How many numbers each output has, by name.
        spreads: How many standard deviations.
    """

    def __init__(
        self, parts: dict[str, int] | None = None, spreads: dict[str, int] | None = None
    ) -> None:
        super().__init__()
        self.parts = dict(PARTS if parts is None else parts)
        self.spreads = dict(SPREADS if spreads is None else spreads)
        self.stem = nn.Sequential(
            nn.Conv2d(3, STEM, 3, 2, 1, bias=False), nn.BatchNorm2d(STEM), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        before = STEM
        for width, depth in zip(WIDTHS, DEPTHS, strict=True):
            for number in range(depth):
                blocks.append(Block(before, width, 1 if number else 2))
                before = width
        self.trunk = nn.Sequential(*blocks)
        self.squeeze = nn.Sequential(
            nn.Conv2d(before, KEPT, 1, bias=False), nn.BatchNorm2d(KEPT), nn.ReLU()
        )
        places = (INPUT_PX // 2 ** (1 + len(WIDTHS))) ** 2
        self.mix = nn.Sequential(nn.Linear(KEPT * places + before, HIDDEN), nn.ReLU())
        count = sum(self.parts.values()) + sum(self.spreads.values())
        self.out = nn.Linear(HIDDEN, count)
        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)

    def rows(self, crops: Float[Tensor, "b 3 128 128"]) -> Float[Tensor, "b out"]:
        """All outputs in one row each, as exported to ONNX."""
        x = self.trunk(self.stem((crops - 0.45) * 4))
        x = torch.cat([self.squeeze(x).flatten(1), x.mean((2, 3))], dim=1)
        return self.out(self.mix(x))

    def forward(self, crops: Float[Tensor, "b 3 128 128"]) -> Regressed:
        """Means and standard deviations.

        Args:
            crops: sRGB in [0, 1]; see ``face3d.regress.crop_pose`` for what is cut out.
        """
        return self.split(self.rows(crops))

    def split(self, rows: Float[Tensor, "b out"]) -> Regressed:
        """Rows of outputs by name."""
        sizes = [*self.parts.values(), *self.spreads.values()]
        pieces = rows.float().split(sizes, dim=-1)
        n = len(self.parts)
        return Regressed(
            mean=dict(zip(self.parts, pieces[:n], strict=True)),
            log_sd={k: v.clamp(-7, 3) for k, v in zip(self.spreads, pieces[n:], strict=True)},
        )
