"""What the own regressor learns from photos without labels: landmarks, and what is likely."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from face3d.core.camera import project
from face3d.core.types import Camera
from face3d.model.head import HeadModel
from face3d.regress.crop_pose import HEAD_M, NEAR_M, pose_from_place, rotation_from_six
from face3d.regress.own_net import INPUT_PX, Regressed
from face3d.train.face_losses import LIDS, LIPS, distance_loss, landmark_loss
from face3d.train.photo_batches import PhotoBatch

PHOTO_WEIGHTS = {"landmarks": 20.0, "head": 20.0, "lids": 10.0, "lips": 5.0, "likely": 0.02}
"""Of the network's landmarks and those of its head about as much as of synthetic faces."""


class OwnPhotoLoss(nn.Module):
    """The network's landmarks and its head's must lie where the detector finds them.

    Args:
        model: The head.
    """

    def __init__(self, model: HeadModel) -> None:
        super().__init__()
        embedding = model.data.embeddings["mediapipe478"]
        self.model = model
        corners = torch.as_tensor(model.data.faces[embedding.face_index])
        self.register_buffer("corners", corners, persistent=False)
        weights = torch.as_tensor(embedding.barycentric).float()
        self.register_buffer("weights", weights, persistent=False)

    corners: Tensor
    weights: Tensor

    def forward(self, found: Regressed, batch: PhotoBatch) -> dict[str, Float[Tensor, ""]]:
        """Each part's loss, unweighted."""
        said = found.mean["landmarks"].unflatten(1, (-1, 2))
        head = self.head_landmarks(found)
        likely = found.mean["shape"].square().mean() + found.mean["expression"].square().mean()
        return {
            "landmarks": landmark_loss(said, batch.landmarks),
            "head": landmark_loss(head, batch.landmarks),
            "lids": distance_loss(head, batch.landmarks, LIDS),
            "lips": distance_loss(head, batch.landmarks, LIPS),
            "likely": likely,
        }

    def head_landmarks(self, found: Regressed) -> Float[Tensor, "b 478 2"]:
        """Where the crops show the head's landmarks, from -1 to 1, by what the network says."""
        mean = found.mean
        eyes = mean["eyes"].unflatten(1, (2, 2))
        eyes = torch.cat([eyes, torch.zeros_like(eyes[..., :1])], dim=-1)
        vertices = self.model(
            mean["shape"], mean["expression"].clamp(0, 1), None, mean["jaw"], eyes
        )
        points = (vertices[:, self.corners] * self.weights[..., None]).sum(2)
        # The nearness that it says, and the size, give the crop's own focal length.
        depth = NEAR_M * (-mean["place"][:, 3]).exp()
        focal = mean["place"][:, 2].exp() * depth * INPUT_PX / HEAD_M
        middle = torch.full_like(focal, INPUT_PX / 2)
        camera = Camera(
            fx=focal, fy=focal, cx=middle, cy=middle, width=INPUT_PX, height=INPUT_PX,
            camera_from_world=torch.eye(4, device=focal.device).expand(len(focal), 4, 4),
        )  # fmt: skip
        pose = pose_from_place(rotation_from_six(mean["rotation"]), mean["place"], camera)
        world = points @ pose[:, :3, :3].mT + pose[:, None, :3, 3]
        return 2 * project(camera, world)[..., :2] / INPUT_PX - 1
