"""IResNet-100 of ArcFace (Deng et al., 2019), with the names of its keys; MICA's trunk."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

DEPTHS = (3, 13, 30, 3)
WIDTHS = (64, 128, 256, 512)
INPUT_PX = 112
EMBEDDING = 512


class Block(nn.Module):
    """Normalised before and after its two convolutions, of which the second has the stride."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.prelu = nn.PReLU(after)
        self.conv2 = nn.Conv2d(after, after, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Features."""
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.bn3(self.conv2(y))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet100(nn.Module):
    """Aligned crops of faces to identities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        before, layers = WIDTHS[0], list[nn.Module]()
        for depth, width in zip(DEPTHS, WIDTHS, strict=True):
            blocks: list[nn.Module] = []
            for number in range(depth):
                blocks.append(Block(before, width, stride=1 if number else 2))
                before = width
            layers.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.bn2 = nn.BatchNorm2d(before)
        self.fc = nn.Linear(before * (INPUT_PX // 16) ** 2, EMBEDDING)
        self.features = nn.BatchNorm1d(EMBEDDING)

    def forward(self, images: Float[Tensor, "b 3 112 112"]) -> Float[Tensor, "b 512"]:
        """Identities as unit vectors.

        Args:
            images: RGB in [-1, 1], eyes, nose and mouth where ArcFace's template has them.
        """
        x = self.prelu(self.bn1(self.conv1(images)))
        x = self.bn2(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return normalize(self.features(self.fc(x.flatten(1))), dim=1)
