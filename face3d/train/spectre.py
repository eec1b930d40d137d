"""Training of SPECTRE's temporal expression encoder on videos without labels.

DECA's networks stay as they are; what is added to their expressions and jaws makes the mouth of the
drawn head say to a lip reader what the video's says (Filntisis et al., 2022).
"""

from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from face3d.model.head import HeadModel
from face3d.regress.flame_guess import flame_codes
from face3d.train.coded_head import CodedHead
from face3d.train.face_losses import (
    LIDS,
    LIPS,
    Embedding,
    Given,
    distance_loss,
    landmark_loss,
    lip_reading_loss,
    weighted,
)  # fmt: skip
from face3d.train.loop import one_cycle
from face3d.train.photo_batches import PhotoBatch

WEIGHTS = {
    "landmarks": 20.0, "lids": 10.0, "lips": 20.0, "reading": 2.0, "jaw": 1.0, "expression": 1e-2,
    "still": 1.0,
}  # fmt: skip


class SpectreTraining(LightningModule):
    """The temporal encoder, its losses and the plan of learning rates.

    Args:
        net: With ``E_flame`` and ``E_expression``, called as ``Spectre`` is.
        model: The head.
        steps: In all.
        rate: The highest learning rate.
        crop_px: Side of the crops.
        reader: A lip-reading network of the user: mouth crops of frames in order to features.
            Without one, mouths follow their landmarks only.
    """

    def __init__(
        self,
        net: nn.Module,
        model: HeadModel,
        *,
        steps: int,
        rate: float,
        crop_px: int = 224,
        reader: Embedding | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.head = CodedHead(model, crop_px)
        self.steps, self.rate = steps, rate
        self.reader = None if reader is None else Given(reader)
        net.get_submodule("E_flame").requires_grad_(False)

    def parts(self, batch: PhotoBatch) -> dict[str, Float[Tensor, ""]]:
        """Each loss, unweighted.

        Args:
            batch: Frames of one video, in order.
        """
        photo = batch.pictures
        said = self.net(photo)
        codes = flame_codes("spectre", said)
        posed = self.head(codes)
        seen = batch.landmarks[:, list(self.head.numbers)]
        out = {
            "landmarks": landmark_loss(posed.landmarks, seen, facing=posed.facing),
            "jaw": codes["jaw"].square().mean(),
            "expression": codes["expression"].square().mean(),
        }
        if len(self.head.numbers) == batch.landmarks.shape[1]:
            out["lids"] = distance_loss(posed.landmarks, batch.landmarks, LIDS)
            out["lips"] = distance_loss(posed.landmarks, batch.landmarks, LIPS)
        if len(photo) > 2:
            # A change of direction from one frame to the next is trembling.
            bend = posed.expression[2:] - 2 * posed.expression[1:-1] + posed.expression[:-2]
            out["still"] = bend.square().mean()
        if self.reader is not None:
            drawn = self.head.draw(posed, said["tex"].detach(), said["light"].detach())
            out["reading"] = lip_reading_loss(self.reader, drawn.rgb, photo, batch.landmarks)
        return out

    def training_step(self, batch: PhotoBatch, number: int) -> torch.Tensor:
        """One clip's loss."""
        self.net.get_submodule("E_flame").eval()
        total = weighted(self.parts(batch), WEIGHTS)
        self.log("train", total, prog_bar=True, batch_size=len(batch.crops))
        return total

    def validation_step(self, batch: PhotoBatch, number: int) -> None:
        """Log each part on held-out clips."""
        rows = len(batch.crops)
        parts = self.parts(batch)
        self.log("held", weighted(parts, WEIGHTS), prog_bar=True, batch_size=rows)
        for name, value in parts.items():
            self.log(f"held_{name}", value, batch_size=rows)

    def configure_optimizers(self) -> Any:
        """AdamW, its rate up and down once."""
        return one_cycle(self, self.steps, self.rate)
