"""What the own regressor says of faces in a photo."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from face3d.core.types import Camera, Detection, Frame
from face3d.detect.crops import averaged_crop, square_from_landmarks
from face3d.regress.own import FaceGuess, guess_heads
from face3d.regress.own_net import INPUT_PX, OwnNet


def guess_faces(net: OwnNet, frame: Frame, detection: Detection, focal_px: float) -> FaceGuess:
    """Parameters and landmarks of every detected face, in one pass of a network.

    Args:
        net: The network, as ``face3d train regressor`` writes it.
        frame: The photo.
        detection: A batch of faces with MediaPipe's landmarks; only the squares around them count.
        focal_px: Of the photo; it decides how far away the heads are.
    """
    squares = [square_from_landmarks(points) for points in detection.landmarks]
    crops = torch.stack([_tensor(averaged_crop(frame.rgb, square, INPUT_PX)) for square in squares])
    maps = np.stack([square.picture_from_crop(INPUT_PX) for square in squares])
    height, width = frame.rgb.shape[:2]
    camera = Camera(
        fx=torch.tensor(focal_px), fy=torch.tensor(focal_px), cx=torch.tensor(width / 2),
        cy=torch.tensor(height / 2), width=width, height=height, camera_from_world=torch.eye(4),
    )  # fmt: skip
    return guess_heads(net, crops, torch.as_tensor(maps).float(), camera)


def _tensor(rgb: UInt8[np.ndarray, "s s 3"]) -> Float[Tensor, "3 s s"]:
    return torch.as_tensor(rgb).permute(2, 0, 1).float() / 255
