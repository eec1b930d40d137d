"""Training of MICA's mapping from identities to metric shapes, on faces whose shape is known.

Only the mapping and the last stage of the recognition network learn, so that what recognition has
learned from millions of photos stays (Zielonka et al., 2022).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from face3d.model.head import HeadModel
from face3d.regress.system_crops import system_crop
from face3d.train.crops import process_number, recoloured
from face3d.train.face_losses import metric_shape_loss
from face3d.train.loop import one_cycle
from face3d.train.synthetic.shards import Shard, read_shard, shard_folders

KEPT = ("conv1", "bn1", "prelu", "layer1", "layer2", "layer3")
"""Parts of the recognition network that stay as they are."""

REGION_WEIGHTS = {"face": 150.0, "nose": 50.0, "lips": 50.0, "forehead": 50.0, "eyelids": 50.0}
"""Added up over the regions that a head has; ears, eyes and the rest count as good as nothing."""

ELSEWHERE = 0.01
MOST_SHIFT = 1.5
"""Of the landmarks a crop is made from, px at 224: detectors are no better."""


@dataclass(frozen=True, kw_only=True)
class ShapeBatch:
    """Faces as recognition networks take them, and their shapes."""

    crops: UInt8[Tensor, "b 112 112 3"]
    shape: Float[Tensor, "b identity"]

    def to(self, device: torch.device) -> "ShapeBatch":
        """The same on another device."""
        return ShapeBatch(crops=self.crops.to(device), shape=self.shape.to(device))


class MicaTraining(LightningModule):
    """The networks, their loss and the plan of learning rates.

    Args:
        net: With ``arcface`` and ``regressor``, called as ``Mica`` is.
        model: The head whose shapes are known.
        steps: In all.
        rate: The highest learning rate.
    """

    def __init__(self, net: nn.Module, model: HeadModel, *, steps: int, rate: float) -> None:
        super().__init__()
        self.net, self.model = net, model
        self.steps, self.rate = steps, rate
        regions = model.data.regions
        weight = torch.full((model.vertex_count,), ELSEWHERE)
        for name, value in REGION_WEIGHTS.items():
            if name in regions:
                weight[torch.as_tensor(regions[name])] += value
        self.register_buffer("weight", weight / weight.mean(), persistent=False)
        for name in KEPT:
            for p in getattr(net.get_submodule("arcface"), name, nn.Identity()).parameters():
                p.requires_grad_(False)

    weight: Tensor

    def parts(self, batch: ShapeBatch) -> dict[str, Float[Tensor, ""]]:
        """The weighted distance, and the same for the mean face, which is to be beaten; mm."""
        pictures = (batch.crops.permute(0, 3, 1, 2).float() - 127.5) / 127.5
        said = self.net(pictures)[:, : self.model.identity_count]
        truth = self._rest(batch.shape)
        return {
            "shape": metric_shape_loss(self._rest(said), truth, self.weight),
            "mean": metric_shape_loss(self._rest(torch.zeros_like(said)), truth, self.weight),
        }

    def _rest(self, shape: Float[Tensor, "b code"]) -> Float[Tensor, "b vertex 3"]:
        return self.model(shape, shape.new_zeros(len(shape), self.model.expression_count))

    def training_step(self, batch: ShapeBatch, number: int) -> torch.Tensor:
        """One batch's loss."""
        for name in KEPT:
            getattr(self.net.get_submodule("arcface"), name, nn.Identity()).eval()
        loss = self.parts(batch)["shape"]
        self.log("train", loss, prog_bar=True, batch_size=len(batch.crops))
        return loss

    def validation_step(self, batch: ShapeBatch, number: int) -> None:
        """Log both distances on held-out faces."""
        parts = self.parts(batch)
        self.log("held", parts["shape"], prog_bar=True, batch_size=len(batch.crops))
        self.log("held_mean_face", parts["mean"], batch_size=len(batch.crops))

    def configure_optimizers(self) -> Any:
        """AdamW, its rate up and down once."""
        return one_cycle(self, self.steps, self.rate)


def shape_batch(shard: Shard, rows: np.ndarray, rng: np.random.Generator | None) -> ShapeBatch:
    """Rows of a shard as recognition networks take them.

    Args:
        shard: Of a set of synthetic faces.
        rows: Which.
        rng: For other crops and colours; None changes nothing.
    """
    crops: list[np.ndarray] = []
    for row in rows:
        points = shard.labels["landmarks"][row].astype(np.float64)
        if rng is not None:
            points = points + rng.normal(0, MOST_SHIFT * shard.rgb.shape[1] / 224, points.shape)
        crops.append(system_crop("mica", shard.rgb[row], points).pixels)
    stacked = np.stack(crops)
    if rng is not None:
        stacked = recoloured(rng, stacked)
    return ShapeBatch(
        crops=torch.as_tensor(stacked),
        shape=torch.as_tensor(np.array(shard.labels["shape"][rows])).float(),
    )


class ShapeCrops(IterableDataset[ShapeBatch]):
    """Endless batches, each from one shard.

    Args:
        folder: Of a set of synthetic faces.
        batch: Rows.
        seed: Of the order and the changes.
    """

    def __init__(self, folder: Path, *, batch: int, seed: int) -> None:
        self.folder, self.batch, self.seed = folder, batch, seed

    def __iter__(self) -> Iterator[ShapeBatch]:
        """Draw batches."""
        rng = np.random.default_rng([self.seed, process_number()])
        shards = [read_shard(part) for part in shard_folders(self.folder)]
        while True:
            shard = shards[rng.integers(len(shards))]
            yield shape_batch(shard, np.sort(rng.integers(len(shard.rgb), size=self.batch)), rng)


class HeldShapes(Dataset[ShapeBatch]):
    """All faces of a set, as they are, in order.

    Args:
        folder: Of the set.
        batch: Rows at most.
    """

    def __init__(self, folder: Path, *, batch: int) -> None:
        self.batches = [
            shape_batch(shard, np.arange(first, min(first + batch, len(shard.rgb))), None)
            for shard in map(read_shard, shard_folders(folder))
            for first in range(0, len(shard.rgb), batch)
        ]

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self.batches)

    def __getitem__(self, number: int) -> ShapeBatch:
        """One of them."""
        return self.batches[number]
