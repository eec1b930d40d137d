"""A network that moves detected landmarks to where the surface's own are.

Detectors learn from people who mark what they see, so their points stand off the surface's by a few
millimetres, and by how much depends on view and person. Rendered faces know where each point of the
surface is. The network sees a face laid out flat by its detected landmarks (``flat_face``) and says
of each how far it is off and how sure it is (docs/design/surface-landmarks.md).
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate, relu

from face3d.core.weights import read_weights, save_weights
from face3d.regress.flat_face import FlatFace, face_frames, reduced

WIDTHS = (24, 48, 96, 160, 224)
BACK = (128, 96, 48)
INPUTS = 5
"""Three colours and a place."""

OUTPUTS = 3
"""Offset across and down, and the logarithm of its spread."""
LOG_SPREAD = (-7.0, 1.0)
"""Within these logarithms of spreads stay, in the frame's unit."""

MEAN, GAIN = 0.45, 4.0
"""Of colours, before the network sees them."""


class Block(nn.Module):
    """Two convolutions and a way past them (He et al., 2016)."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.past: nn.Module = nn.Identity()
        if before != after or stride != 1:
            self.past = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Features to features."""
        inner = relu(self.first_norm(self.first(x)))
        return relu(self.second_norm(self.second(inner)) + self.past(x))


class SurfaceNet(nn.Module):
    """A U-Net (Ronneberger et al., 2015) over flat faces, 4 M parameters.

    Args:
        places: Of the landmarks in the flat picture, as ``flat_places`` gives them; by default
            they come with the weights.
    """

    places: Tensor

    def __init__(self, places: Float[np.ndarray, "478 2"] | None = None) -> None:
        super().__init__()
        given = torch.zeros(478, 2) if places is None else torch.as_tensor(places).float()
        # Kept in half precision in files: trained with what will be read.
        self.register_buffer("places", given.half().float())
        a, b, c, d, e = WIDTHS
        self.stem = nn.Sequential(
            nn.Conv2d(INPUTS, a, 3, 2, 1, bias=False), nn.BatchNorm2d(a), nn.ReLU()
        )
        self.down = nn.ModuleList(
            [
                Block(a, b, 2),
                nn.Sequential(Block(b, c, 2), Block(c, c)),
                nn.Sequential(Block(c, d, 2), Block(d, d)),
                nn.Sequential(Block(d, e, 2), Block(e, e)),
            ]
        )
        self.whole = nn.Sequential(nn.Linear(e, e), nn.ReLU(), nn.Linear(e, e))
        x, y, z = BACK
        self.up = nn.ModuleList([Block(e + d, x), Block(x + c, y), Block(y + b, z)])
        self.out = nn.Conv2d(z, OUTPUTS, 1)
        nn.init.normal_(self.out.weight, std=1e-3)

    @cached_property
    def flat(self) -> FlatFace:
        """The layout of its input."""
        return FlatFace(self.places.numpy())

    def forward(
        self, pictures: UInt8[Tensor, "b 128 128 3"], places: Float[Tensor, "b 128 128 2"]
    ) -> Float[Tensor, "b 478 3"]:
        """For each landmark: offset (x, y) and the logarithm of its spread, in the frame's unit.

        Args:
            pictures: Flat ones, sRGB.
            places: Where the face's frame has each pixel.
        """
        colors = (pictures.float() / 255 - MEAN) * GAIN
        x = torch.cat([colors, places], dim=-1).permute(0, 3, 1, 2)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        kept = []
        for step in self.down:
            x = step(x)
            kept.append(x)
        x = x + self.whole(x.mean((2, 3)))[:, :, None, None]
        for step, fine in zip(self.up, kept[-2::-1], strict=True):
            wide = interpolate(x, scale_factor=2.0, mode="nearest")
            x = step(torch.cat([wide, fine], dim=1))
        grid = self.places[None, :, None].expand(len(x), -1, -1, -1)
        found = grid_sample(
            self.out(x).float(), grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        return found[..., 0].mT


@dataclass(frozen=True, kw_only=True)
class SurfaceLandmarks:
    """Where photos show the surface's landmarks.

    Attributes:
        points_px: In the photo.
        spread_px: Their mean absolute errors, as the network expects them (x and y together).
        unit_px: The unit of the faces' frames, about 11 cm.
    """

    points_px: Float[np.ndarray, "face 478 2"]
    spread_px: Float[np.ndarray, "face 478"]
    unit_px: Float[np.ndarray, "face"]


def surface_landmarks(
    net: SurfaceNet, rgb: UInt8[np.ndarray, "h w 3"], landmarks_px: Float[np.ndarray, "face 478 2"]
) -> SurfaceLandmarks:
    """Move detected landmarks to the surface's.

    Args:
        net: The network.
        rgb: The photo.
        landmarks_px: Of all faces in it.
    """
    pictures, places, corners, scales, units, turns = [], [], [], [], [], []
    for points in landmarks_px:
        part, corner, scale = reduced(rgb, points)
        small = (points - corner) / scale
        frame = face_frames(small[None])
        picture, place = net.flat.laid_out(part, small, frame)
        pictures.append(picture)
        places.append(place)
        corners.append(corner)
        scales.append(scale)
        units.append(frame.px[0] * scale.mean())
        turns.append(np.linalg.inv(frame.from_picture[0]))
    with torch.inference_mode():
        found = net(torch.as_tensor(np.stack(pictures)), torch.as_tensor(np.stack(places))).numpy()
    unit = np.array(units)[:, None]
    moved = np.einsum("fij,flj->fli", np.stack(turns), found[..., :2])
    points = landmarks_px + moved * np.stack(scales)[:, None]
    spread = np.exp(found[..., 2].clip(*LOG_SPREAD))
    return SurfaceLandmarks(points_px=points, spread_px=spread * unit, unit_px=unit[:, 0])


def read_surface_net(path: Path) -> SurfaceNet:
    """Read weights.

    Raises:
        AssetError: The file is missing, damaged or of another kind.
    """
    return read_weights(path, SurfaceNet(), "landmark network")


def save_surface_net(path: Path, net: SurfaceNet) -> None:
    """Write weights in half precision, 8 MB."""
    save_weights(path, net)
