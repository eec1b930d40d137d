"""Training of the own regressor by Lightning: progress, checkpoints, resuming, several devices."""

import csv
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from face3d.core.errors import InputError
from face3d.core.files import atomic_path
from face3d.fit.corrective import correctable
from face3d.model.head import HeadModel
from face3d.model.open_head_file import read_open_head
from face3d.regress.own import read_own_net, save_own_net
from face3d.regress.own_net import OwnNet
from face3d.train.crops import FaceBatch, HeldCrops, SyntheticCrops
from face3d.train.own_loss import OwnLoss, total_loss
from face3d.train.synthetic.shards import shard_folders

WEIGHT_DECAY = 1e-2
LARGEST_STEP = 1.0
LOG = "log.csv"


class OwnTraining(LightningModule):
    """The network, its loss and its plan of learning rates.

    Args:
        model: The head.
        steps: In all.
        rate: The highest learning rate.
    """

    def __init__(self, model: HeadModel, *, steps: int, rate: float) -> None:
        super().__init__()
        self.net = OwnNet()
        for value in self.net.parameters():
            if value.ndim == 4:
                value.data = value.data.contiguous(memory_format=torch.channels_last)
        self.loss = OwnLoss(model)
        self.steps, self.rate = steps, rate

    def _parts(self, batch: FaceBatch) -> dict[str, torch.Tensor]:
        crops = batch.crops.permute(0, 3, 1, 2).float() / 255
        # Twice to four times faster where the processor multiplies matrices of this type.
        with torch.autocast(self.device.type, torch.bfloat16):
            rows = self.net.rows(crops.contiguous(memory_format=torch.channels_last))
        return self.loss(self.net.split(rows), batch.truth)

    def training_step(self, batch: FaceBatch, _number: int) -> torch.Tensor:
        """One batch's loss."""
        parts = self._parts(batch)
        total = total_loss(parts)
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
        search = torch.optim.AdamW(self.net.parameters(), lr=self.rate, weight_decay=WEIGHT_DECAY)
        plan = torch.optim.lr_scheduler.OneCycleLR(
            search, self.rate, total_steps=self.steps, pct_start=0.05
        )
        return {"optimizer": search, "lr_scheduler": {"scheduler": plan, "interval": "step"}}


class _Log(Callback):
    """One line of figures after each look at the held-out pictures."""

    def __init__(self, path: Path) -> None:
        self.path, self.begun = path, time.time()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        values = {k: round(float(v), 5) for k, v in sorted(trainer.callback_metrics.items())}
        row = {"step": trainer.global_step, "seconds": round(time.time() - self.begun)} | values
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row.keys())
            if new:
                writer.writeheader()
            writer.writerow(row)


class _Keep(Callback):
    """Writes the whole state every so many steps; a stop in the middle leaves the one before."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        if trainer.global_step % self.every == 0:
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        partial = self.path.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        partial.replace(self.path)


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
) -> Path:
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

    Returns:
        The last checkpoint.

    Raises:
        InputError: A set is missing or damaged.
    """
    for given in (images, held):
        shard_folders(given)
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.ckpt"
    torch.manual_seed(seed)
    model = HeadModel(correctable(read_open_head(head)))
    training = OwnTraining(model, steps=steps, rate=rate)
    if first is not None:
        training.net.load_state_dict(read_own_net(first).state_dict())
    begun = 0
    if last.exists():
        try:
            begun = int(torch.load(last, weights_only=True, map_location="cpu")["global_step"])
        except Exception as error:
            raise InputError(
                f"{last} is damaged; delete it, or train into a new folder."
            ) from error
    # Pictures that were seen before a stop are not the first ones after it.
    crops = SyntheticCrops(images, batch=batch, seed=seed + 1_000_003 * begun)
    trainer = Trainer(
        accelerator={"cuda": "gpu"}.get(device, device),
        max_steps=steps,
        val_check_interval=min(every, steps),
        check_val_every_n_epoch=None,
        limit_val_batches=None,
        num_sanity_val_steps=0,
        gradient_clip_val=LARGEST_STEP,
        logger=False,
        enable_model_summary=False,
        log_every_n_steps=50,
        enable_checkpointing=False,
        callbacks=[_Log(folder / LOG), _Keep(last, min(every, steps))],
    )
    trainer.fit(
        training,
        DataLoader(crops, batch_size=None, num_workers=0),
        DataLoader(HeldCrops(held), batch_size=None),
        ckpt_path=last if last.exists() else None,
        weights_only=True,
    )
    return last


def export_own(checkpoint: Path, path: Path) -> Path:
    """Write the weights of a checkpoint as a file of its own, in half precision.

    Returns:
        The file.

    Raises:
        InputError: The checkpoint is damaged or of another network.
    """
    try:
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"]
        net = OwnNet()
        net.load_state_dict(
            {k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")}
        )
    except Exception as error:
        raise InputError(f"{checkpoint} is no checkpoint of the own regressor.") from error
    with atomic_path(path) as partial:
        save_own_net(partial, net)
    return path
