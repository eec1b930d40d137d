"""SMIRK's networks (Retsinas et al., 2024), with the names of their keys.

The encoder gives parameters of FLAME 2020; the generator draws a face from its geometry and from
what was kept of the photo (see ``face3d.render.render_neural``).
"""

from typing import TypedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from face3d.regress.mobilenet import MobileNetV3

INPUT_PX = 224
SHAPE, EXPRESSION = 300, 50
JAW_SIDEWAYS_RAD = 0.2
SCALE = 7.0
"""Of the weak perspective, at the start of training."""


class SmirkParams(TypedDict):
    """What the encoder says of each crop."""

    pose_params: Float[Tensor, "b 3"]  # axis-angle of the head
    cam: Float[Tensor, "b 3"]  # scale and translation of the weak perspective
    shape_params: Float[Tensor, "b 300"]
    expression_params: Float[Tensor, "b 50"]
    eyelid_params: Float[Tensor, "b 2"]  # left, right; 0 to 1
    jaw_params: Float[Tensor, "b 3"]  # axis-angle


class PoseEncoder(nn.Module):
    """Pose and camera."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MobileNetV3("small")
        self.pose_cam_layers = nn.Sequential(nn.Linear(self.encoder.width, 6))
        last = self.pose_cam_layers[0]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.bias)
        with torch.no_grad():
            last.weight.mul_(1e-3)
            last.bias[3] = SCALE

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 6"]:
        """Axis-angle, scale, translation."""
        return self.pose_cam_layers(self.encoder(images))


class ShapeEncoder(nn.Module):
    """Identity."""

    def __init__(self, count: int = SHAPE) -> None:
        super().__init__()
        self.encoder = MobileNetV3("large")
        self.shape_layers = nn.Sequential(nn.Linear(self.encoder.width, count))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b shape"]:
        """Coefficients."""
        return self.shape_layers(self.encoder(images))


class ExpressionEncoder(nn.Module):
    """Expression, eyelids and jaw."""

    def __init__(self, count: int = EXPRESSION) -> None:
        super().__init__()
        self.count = count
        self.encoder = MobileNetV3("large")
        self.expression_layers = nn.Sequential(nn.Linear(self.encoder.width, count + 5))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b out"]:
        """Coefficients, two eyelids, the jaw's axis-angle; as the last layer gives them."""
        return self.expression_layers(self.encoder(images))


class SmirkEncoder(nn.Module):
    """Crops to parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.pose_encoder = PoseEncoder()
        self.shape_encoder = ShapeEncoder()
        self.expression_encoder = ExpressionEncoder()

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> SmirkParams:
        """Parameters within the ranges that SMIRK gives them.

        Args:
            images: RGB in [0, 1], 224 px, cut out as ``face3d.regress.crops`` does for "smirk".
        """
        pose = self.pose_encoder(images)
        code = self.expression_encoder(images)
        n = self.expression_encoder.count
        jaw = code[:, n + 2 :]
        sideways = jaw[:, 1:].clamp(-JAW_SIDEWAYS_RAD, JAW_SIDEWAYS_RAD)
        return SmirkParams(
            pose_params=pose[:, :3],
            cam=pose[:, 3:],
            shape_params=self.shape_encoder(images),
            expression_params=code[:, :n],
            eyelid_params=code[:, n : n + 2].clamp(0, 1),
            jaw_params=torch.cat([jaw[:, :1].relu(), sideways], dim=1),
        )


class Residual(nn.Module):
    """Two convolutions at the bottom of the U, mirrored at the borders."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        """Features."""
        return x + self.conv_block(x)


def _double(name: str, before: int, after: int) -> nn.Sequential:
    out = nn.Sequential()
    for number, width in ((1, before), (2, after)):
        out.add_module(f"{name}conv{number}", nn.Conv2d(width, after, 3, padding=1, bias=False))
        out.add_module(f"{name}norm{number}", nn.BatchNorm2d(after))
        out.add_module(f"{name}relu{number}", nn.ReLU())
    return out


class SmirkGenerator(nn.Module):
    """A U-Net (Ronneberger et al., 2015) with residual blocks at its bottom.

    Args:
        before: Channels of the input: three of rendered geometry, three of the masked photo.
        after: Channels of the picture.
        width: Channels at full size.
        blocks: Residual blocks.
    """

    def __init__(
        self, before: int = 6, after: int = 3, *, width: int = 32, blocks: int = 5
    ) -> None:
        super().__init__()
        for level in range(1, 5):
            wide = width * 2 ** (level - 1)
            self.add_module(f"encoder{level}", _double(f"enc{level}", before, wide))
            self.add_module(f"upconv{level}", nn.ConvTranspose2d(2 * wide, wide, 2, 2))
            self.add_module(f"decoder{level}", _double(f"dec{level}", 2 * wide, wide))
            before = wide
        self.bottleneck = _double("bottleneck", before, 2 * before)
        self.resnet_blocks = nn.Sequential(*(Residual(2 * before) for _ in range(blocks)))
        self.conv = nn.Conv2d(width, after, 1)

    def forward(self, x: Float[Tensor, "b channel h w"]) -> Float[Tensor, "b 3 h w"]:
        """A picture in [0, 1]; h and w are multiples of 16."""
        kept: list[Tensor] = []
        for level in range(1, 5):
            x = self.get_submodule(f"encoder{level}")(x)
            kept.append(x)
            x = max_pool2d(x, 2)
        x = self.resnet_blocks(self.bottleneck(x))
        for level in range(4, 0, -1):
            x = self.get_submodule(f"upconv{level}")(x)
            x = self.get_submodule(f"decoder{level}")(torch.cat([x, kept[level - 1]], dim=1))
        return self.conv(x).sigmoid()
