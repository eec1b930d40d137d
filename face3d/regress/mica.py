"""MICA's networks (Zielonka et al., 2022): an embedding of a face to a metric FLAME shape."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from face3d.regress.iresnet import EMBEDDING, IResNet100

SHAPE = 300
HIDDEN_LAYERS = 3
LEAK = 0.2


class MappingNetwork(nn.Module):
    """An identity to coefficients of shape."""

    def __init__(self) -> None:
        super().__init__()
        widths = [EMBEDDING, *[SHAPE] * (HIDDEN_LAYERS + 1)]
        self.network = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.output = nn.Linear(SHAPE, SHAPE)

    def forward(self, identity: Float[Tensor, "b 512"]) -> Float[Tensor, "b 300"]:
        """Coefficients of FLAME 2020, in standard deviations."""
        x = identity
        for layer in self.network:
            x = leaky_relu(layer(x), LEAK)
        return self.output(x)


class Mica(nn.Module):
    """Aligned crops to shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.arcface = IResNet100()
        self.regressor = MappingNetwork()

    def forward(self, images: Float[Tensor, "b 3 112 112"]) -> Float[Tensor, "b 300"]:
        """Coefficients of FLAME 2020's shape; its metres are true ones.

        Args:
            images: RGB in [-1, 1], cut out as ``face3d.regress.crops`` does for "mica".
        """
        return self.regressor(self.arcface(images))
