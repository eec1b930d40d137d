"""The project's own regressor, ready for use: weights from a file, crops to heads."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.core.types import Camera, HeadParams
from face3d.core.weights import read_weights, save_weights
from face3d.regress.crop_pose import pose_from_place, rotation_from_six
from face3d.regress.own_net import INPUT_PX, OwnNet, Regressed


@dataclass(frozen=True, kw_only=True)
class FaceGuess:
    """What the network says of crops, in the photo's terms.

    Attributes:
        params: Parameters; the world is the photo's camera frame.
        landmarks_px: Places in the photo, where the surface's landmarks are.
        landmark_sd_px: Standard deviations of their x and y.
        shape_sd: Of ``params.shape``.
        expression_sd: Of ``params.expression``.
    """

    params: HeadParams
    landmarks_px: Float[Tensor, "b 478 2"]
    landmark_sd_px: Float[Tensor, "b 478"]
    shape_sd: Float[Tensor, "b identity"]
    expression_sd: Float[Tensor, "b expression"]


def read_own_net(path: Path) -> OwnNet:
    """Read weights.

    Raises:
        AssetError: The file is missing, damaged or of another kind.
    """
    return read_weights(path, OwnNet(), "regressor")


def save_own_net(path: Path, net: OwnNet) -> None:
    """Write weights in half precision."""
    save_weights(path, net)


def guess_heads(
    net: OwnNet,
    crops: Float[Tensor, "b 3 128 128"],
    photo_from_crop: Float[Tensor, "b 2 3"],
    camera: Camera,
) -> FaceGuess:
    """Heads in crops of photos.

    Args:
        net: The network.
        crops: sRGB in [0, 1]; squares around faces, one and a half times as large, eyes level.
        photo_from_crop: The maps from the crops' pixels to the photos', which turn and scale.
        camera: Of the photos; its focal length decides how far away the heads are.
    """
    with torch.inference_mode():
        found = net(crops)
    # What follows is small and done beside the camera, wherever the network ran.
    home = camera.fx.device
    found = Regressed(
        mean={name: value.to(home).clone() for name, value in found.mean.items()},
        log_sd={name: value.to(home).clone() for name, value in found.log_sd.items()},
    )
    mean = found.mean
    linear, offset = photo_from_crop[:, :, :2], photo_from_crop[:, :, 2]
    scale = torch.linalg.det(linear).sqrt()
    unturned = linear / scale[:, None, None]
    crop_camera = _crop_camera(camera, linear, offset, scale, unturned)
    rotation = rotation_from_six(mean["rotation"])
    pose = pose_from_place(rotation, mean["place"], crop_camera)
    spin = torch.eye(4).repeat(len(crops), 1, 1)
    spin[:, :2, :2] = unturned
    eyes = mean["eyes"].unflatten(1, (2, 2))
    params = HeadParams(
        shape=mean["shape"], expression=mean["expression"].clamp(0, 1), neck=mean["neck"],
        jaw=mean["jaw"], eyes=torch.cat([eyes, torch.zeros_like(eyes[..., :1])], dim=-1),
        world_from_head=spin @ pose,
    )  # fmt: skip
    in_crop = (mean["landmarks"].unflatten(1, (-1, 2)) + 1) * (INPUT_PX / 2)
    return FaceGuess(
        params=params,
        landmarks_px=in_crop @ linear.mT + offset[:, None],
        landmark_sd_px=_sd(found, "landmarks") * (INPUT_PX / 2) * scale[:, None],
        shape_sd=_sd(found, "shape"),
        expression_sd=_sd(found, "expression"),
    )


def _sd(found: Regressed, name: str) -> Tensor:
    return found.log_sd[name].exp().clone()


def _crop_camera(
    camera: Camera, linear: Tensor, offset: Tensor, scale: Tensor, unturned: Tensor
) -> Camera:
    """Of crops: turned about its axis by as much as they are, its focal length in their pixels."""
    centre = torch.stack([camera.cx, camera.cy], dim=-1).expand(len(linear), 2)
    moved = (unturned.mT @ (centre - offset)[..., None]).squeeze(-1) / scale[:, None]
    focal = camera.fx.expand(len(linear)) / scale
    return Camera(
        fx=focal, fy=focal, cx=moved[:, 0], cy=moved[:, 1], width=INPUT_PX, height=INPUT_PX,
        camera_from_world=torch.eye(4).expand(len(linear), 4, 4),
    )  # fmt: skip
