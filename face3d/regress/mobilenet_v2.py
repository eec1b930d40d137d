"""MobileNetV2 (Sandler et al., 2018), with torchvision's names of its keys; SPECTRE's trunk."""

from jaxtyping import Float
from torch import Tensor, nn

STEM, FEATURES = 32, 1280
STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
"""How much wider within, channels, blocks, stride of the first."""

CLASSES = 1000


def _unit(before: int, after: int, size: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU6())


class _Inverted(nn.Module):
    def __init__(self, before: int, after: int, *, wider: int, stride: int) -> None:
        super().__init__()
        inner = before * wider
        layers: list[nn.Module] = [] if wider == 1 else [_unit(before, inner, 1)]
        layers += [
            _unit(inner, inner, 3, stride=stride, groups=inner),
            nn.Conv2d(inner, after, 1, bias=False),
            nn.BatchNorm2d(after),
        ]
        self.conv = nn.Sequential(*layers)
        self.skips = stride == 1 and before == after

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        y = self.conv(x)
        return x + y if self.skips else y


class MobileNetV2(nn.Module):
    """The trunk; the classifier is kept only because checkpoints hold it."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_unit(3, STEM, 3, stride=2)]
        before = STEM
        for wider, width, count, stride in STAGES:
            for number in range(count):
                step = 1 if number else stride
                layers.append(_Inverted(before, width, wider=wider, stride=step))
                before = width
        layers.append(_unit(before, FEATURES, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(FEATURES, CLASSES))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1280"]:
        """The last features' mean over the picture."""
        return self.features(images).mean((2, 3))
