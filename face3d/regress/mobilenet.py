"""MobileNetV3 (Howard et al., 2019) in TensorFlow's "minimal" form, with the names of its keys.

No squeeze-and-excitation, only 3x3 convolutions, ReLU everywhere; pictures are padded as
TensorFlow does, more on the right and below. Checkpoints of SMIRK and TEASER are made of these.
"""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

BN_EPS = 1e-3
STEM = 16

Size = Literal["small", "large"]


@dataclass(frozen=True, kw_only=True)
class _Stage:
    stride: int  # of the first block
    width: int
    inner: tuple[int, ...]  # channels between the 1x1 convolutions of each block


STAGES: dict[Size, tuple[_Stage, ...]] = {
    "small": (
        _Stage(stride=2, width=24, inner=(72, 88)),
        _Stage(stride=2, width=40, inner=(96, 240, 240)),
        _Stage(stride=1, width=48, inner=(120, 144)),
        _Stage(stride=2, width=96, inner=(288, 576, 576)),
    ),
    "large": (
        _Stage(stride=2, width=24, inner=(64, 72)),
        _Stage(stride=2, width=40, inner=(72, 120, 120)),
        _Stage(stride=2, width=80, inner=(240, 200, 184, 184)),
        _Stage(stride=1, width=112, inner=(480, 672)),
        _Stage(stride=2, width=160, inner=(672, 960, 960)),
    ),
}
"""After the first stage, a depthwise block of 16 channels, and before the last, a convolution."""

FIRST_STRIDE: dict[Size, int] = {"small": 2, "large": 1}
LAST: dict[Size, int] = {"small": 576, "large": 960}


class SameConv(nn.Conv2d):
    """A 3x3 convolution without bias, padded as TensorFlow's "same"."""

    def __init__(self, before: int, after: int, *, stride: int, groups: int = 1) -> None:
        super().__init__(before, after, 3, stride, groups=groups, bias=False)

    def forward(self, input: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Pad so that a stride of two halves the size, and convolve."""
        (down, right), (h, w) = self.stride, input.shape[-2:]
        high = max((-(-h // down) - 1) * down + 3 - h, 0)
        wide = max((-(-w // right) - 1) * right + 3 - w, 0)
        padding = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
        return super().forward(pad(input, padding))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPS)


def _point(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 1, bias=False)


class Separable(nn.Module):
    """A depthwise and a pointwise convolution."""

    def __init__(self, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv_dw = SameConv(width, width, stride=stride, groups=width)
        self.bn1 = _norm(width)
        self.conv_pw = _point(width, width)
        self.bn2 = _norm(width)
        self.skips = stride == 1

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Features."""
        y = self.bn2(self.conv_pw(self.bn1(self.conv_dw(x)).relu()))
        return x + y if self.skips else y


class Inverted(nn.Module):
    """An inverted residual: wide inside, narrow outside (Sandler et al., 2018)."""

    def __init__(self, before: int, inner: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.conv_pw = _point(before, inner)
        self.bn1 = _norm(inner)
        self.conv_dw = SameConv(inner, inner, stride=stride, groups=inner)
        self.bn2 = _norm(inner)
        self.conv_pwl = _point(inner, after)
        self.bn3 = _norm(after)
        self.skips = stride == 1 and before == after

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Features."""
        y = self.bn2(self.conv_dw(self.bn1(self.conv_pw(x)).relu())).relu()
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.skips else y


class Widening(nn.Module):
    """The last pointwise convolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = _point(before, after)
        self.bn1 = _norm(after)

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Features."""
        return self.bn1(self.conv(x)).relu()


class MobileNetV3(nn.Module):
    """The trunk.

    Args:
        size: "small" ends in 576 channels, "large" in 960.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.width = LAST[size]
        self.conv_stem = SameConv(3, STEM, stride=2)
        self.bn1 = _norm(STEM)
        stages: list[nn.Module] = [nn.Sequential(Separable(STEM, stride=FIRST_STRIDE[size]))]
        before = STEM
        for stage in STAGES[size]:
            blocks: list[nn.Module] = []
            for number, inner in enumerate(stage.inner):
                stride = stage.stride if number == 0 else 1
                blocks.append(Inverted(before, inner, stage.width, stride=stride))
                before = stage.width
            stages.append(nn.Sequential(*blocks))
        stages.append(nn.Sequential(Widening(before, self.width)))
        self.blocks = nn.ModuleList(stages)

    def levels(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The last features of each size, from fine to coarse.

        A level ends where the next stage has a stride; the last stage widens the last one.
        """
        x = self.bn1(self.conv_stem(images)).relu()
        out: list[Tensor] = [x]
        for stage in self.blocks:
            x = stage(x)
            if x.shape[-1] == out[-1].shape[-1]:
                out[-1] = x
            else:
                out.append(x)
        return out

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b channel"]:
        """The last features' mean over the picture."""
        return self.levels(images)[-1].mean((2, 3))
