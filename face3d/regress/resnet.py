"""ResNet-50 (He et al., 2016) without its classifier, with torchvision's names of its keys."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

DEPTHS = (3, 4, 6, 3)
WIDTHS = (64, 128, 256, 512)
WIDER = 4
FEATURES = WIDTHS[-1] * WIDER


class Bottleneck(nn.Module):
    """Three convolutions beside which the signal passes; the middle one has the stride."""

    def __init__(self, before: int, width: int, *, stride: int) -> None:
        super().__init__()
        after = width * WIDER
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Features."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn3(self.conv3(self.bn2(self.conv2(y)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet50(nn.Module):
    """The trunk of DECA's and EMOCA's encoders."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        before, layers = WIDTHS[0], list[nn.Module]()
        for level, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
            blocks: list[nn.Module] = []
            for number in range(depth):
                stride = 2 if level and not number else 1
                blocks.append(Bottleneck(before, width, stride=stride))
                before = width * WIDER
            layers.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = layers

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2048"]:
        """The last features' mean over the picture."""
        x = max_pool2d(self.bn1(self.conv1(images)).relu(), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))
