"""ResNet-50 encoders that end in two linear layers: those of DECA, EMOCA and SPECTRE."""

from jaxtyping import Float
from torch import Tensor, nn

from face3d.regress.resnet import FEATURES, ResNet50

HIDDEN = 1024


class CodeEncoder(nn.Module):
    """Crops to a code.

    Args:
        count: Numbers in the code.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.encoder = ResNet50()
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, count)
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b code"]:
        """The code.

        Args:
            images: RGB in [0, 1], 224 px.
        """
        return self.layers(self.encoder(images))
