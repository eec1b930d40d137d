"""Training of the own regressor by Lightning: progress, checkpoints, resuming, several devices."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from face3d.core.files import atomic_path
from face3d.detect import load_detector
from face3d.fit.corrective import correctable
from face3d.model.head import HeadModel
from face3d.model.open_head_file import read_open_head
from face3d.regress.own import read_own_net, save_own_net
from face3d.regress.own_net import OwnNet, Regressed
from face3d.train.crops import FaceBatch, HeldCrops, SyntheticCrops
from face3d.train.face_losses import weighted
from face3d.train.loop import channels_last, one_cycle, run, steps_done, trained_weights
from face3d.train.own_loss import OwnLoss, total_loss
from face3d.train.own_photo_loss import PHOTO_WEIGHTS, OwnPhotoLoss
from face3d.train.photo_batches import PhotoBatch, PhotoCrops
from face3d.train.photo_set import read_photo_set, write_photo_set
from face3d.train.synthetic.shards import shard_folders


class OwnTraining(LightningModule):
    """The network, its loss and its plan of learning rates.

    Args:
        model: The head.
        steps: In all.
        rate: The highest learning rate.
    """

    def __init__(self, model: HeadModel, *, steps: int, rate: float) -> None:
        super().__init__()
        self.net = channels_last(OwnNet())
        self.loss = OwnLoss(model)
        self.unlabelled = OwnPhotoLoss(model)
        self.steps, self.rate = steps, rate

    def _found(self, crops: Tensor) -> Regressed:
        scaled = crops.permute(0, 3, 1, 2).float() / 255
        # Twice to four times faster where the processor multiplies matrices of this type.
        with torch.autocast(self.device.type, torch.bfloat16):
            rows = self.net.rows(scaled.contiguous(memory_format=torch.channels_last))
        return self.net.split(rows)

    def _parts(self, batch: FaceBatch) -> dict[str, torch.Tensor]:
        return self.loss(self._found(batch.crops), batch.truth)

    def training_step(
        self, batch: FaceBatch | tuple[FaceBatch, PhotoBatch], _number: int
    ) -> torch.Tensor:
        """One batch's loss, with photos besides if there are any."""
        told, seen = batch if isinstance(batch, tuple) else (batch, None)
        total = total_loss(self._parts(told))
        if seen is not None:
            parts = self.unlabelled(self._found(seen.crops), seen)
            total = total + weighted(parts, PHOTO_WEIGHTS)
            self.log("photos", parts["landmarks"], prog_bar=True)
        self.log("train", total, prog_bar=True)
        return total

    def validation_step(self, batch: FaceBatch, _number: int) -> None:
        """Log each part on held-out pictures."""
        parts = self._parts(batch)
        rows = len(batch.crops)
        self.log("held", total_loss(parts), prog_bar=True, batch_size=rows)
        for name, value in parts.items():
            self.log(f"held_{name}", value, batch_size=rows)

    def configure_optimizers(self) -> Any:
        """AdamW, its rate up and down once (Smith & Topin, 2018)."""
        return one_cycle(self.net, self.steps, self.rate)


def train_own(
    images: Path,
    held: Path,
    folder: Path,
    head: Path,
    *,
    steps: int = 60_000,
    batch: int = 64,
    rate: float = 1.5e-3,
    seed: int = 1,
    first: Path | None = None,
    every: int = 1000,
    device: str = "cpu",
    photos: Path | None = None,
    every_frame: int = 1,
) -> tuple[Path, tuple[str, ...]]:
    """Train, or go on where a stopped training left off.

    Args:
        images: A set of synthetic faces.
        held: Another one, to measure on.
        folder: Gets ``last.ckpt``, which a later call goes on from, and ``log.csv``.
        head: The open head's file.
        steps: Batches in all.
        batch: Pictures in each.
        rate: The highest learning rate.
        seed: Of the weights and the order of pictures.
        first: Weights of an earlier training to begin with.
        every: Steps between looks at ``held``, after which a checkpoint is written.
        device: "cpu", "cuda" or "auto".
        photos: Photos and videos without labels; half as many of them as of synthetic faces are
            in each step.
        every_frame: Take each n-th frame of videos.

    Returns:
        The last checkpoint, and which pictures were skipped and why.

    Raises:
        InputError: A set is missing or damaged, or there is no face in the photos.
    """
    for given in (images, held):
        shard_folders(given)
    torch.manual_seed(seed)
    model = HeadModel(correctable(read_open_head(head)))
    training = OwnTraining(model, steps=steps, rate=rate)
    if first is not None:
        training.net.load_state_dict(read_own_net(first).state_dict())
    # Pictures that were seen before a stop are not the first ones after it.
    drawn_by = seed + 1_000_003 * steps_done(folder, steps)
    crops: Any = SyntheticCrops(images, batch=batch, seed=drawn_by)
    skipped: tuple[str, ...] = ()
    if photos is not None:
        faces_at = folder / "faces"
        skipped = write_photo_set(photos, faces_at, "own", load_detector(), every=every_frame)
        crops = Both(crops, PhotoCrops(read_photo_set(faces_at), batch=batch // 2, seed=drawn_by))
    last = run(
        training,
        DataLoader(crops, batch_size=None, num_workers=0),
        DataLoader(HeldCrops(held), batch_size=None),
        folder, steps=steps, every=every, device=device,
    )  # fmt: skip
    return last, skipped


class Both(IterableDataset[tuple[FaceBatch, PhotoBatch]]):
    """Synthetic faces and photographed ones side by side.

    Args:
        synthetic: Endless batches.
        photos: Endless batches.
    """

    def __init__(self, synthetic: Iterable[FaceBatch], photos: Iterable[PhotoBatch]) -> None:
        self.synthetic, self.photos = synthetic, photos

    def __iter__(self) -> Iterator[tuple[FaceBatch, PhotoBatch]]:
        """Draw pairs of batches."""
        yield from zip(self.synthetic, self.photos, strict=False)


def export_own(checkpoint: Path, path: Path) -> Path:
    """Write the weights of a checkpoint as a file of its own, in half precision.

    Returns:
        The file.

    Raises:
        InputError: The checkpoint is damaged or of another network.
    """
    net = trained_weights(checkpoint, "net.", OwnNet(), "own regressor")
    with atomic_path(path) as partial:
        save_own_net(partial, net)
    return path
