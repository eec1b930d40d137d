"""Batches of crops for the own regressor, from sets of synthetic faces."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from face3d.core.types import Camera
from face3d.regress.crop_pose import place_from_pose
from face3d.regress.own_net import INPUT_PX
from face3d.train.synthetic.shards import Shard, read_shard, shard_folders

FROM_EACH = 16
"""Rows of a batch that come from one shard."""


def process_number() -> int:
    """Which of several processes that train together this is: each has to draw other faces."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if together else 0


@dataclass(frozen=True, kw_only=True)
class FaceBatch:
    """Crops and their truth, named as the network's outputs."""

    crops: UInt8[Tensor, "b 128 128 3"]
    truth: dict[str, Float[Tensor, "b ..."]]

    def to(self, device: torch.device) -> "FaceBatch":
        """The same on another device."""
        truth = {name: value.to(device) for name, value in self.truth.items()}
        return FaceBatch(crops=self.crops.to(device), truth=truth)


def moved_crop(
    rng: np.random.Generator | None, size: int, out: int = INPUT_PX
) -> Float[np.ndarray, "2 3"]:
    """The map from a picture to a crop that is shifted, turned and scaled a little.

    Args:
        rng: None takes the whole picture.
        size: Side of the picture.
        out: Side of the crop.
    """
    turn, grow, shift = 0.0, 1.0, np.zeros(2)
    if rng is not None:
        turn, grow = rng.normal(0, 0.07), np.exp(rng.normal(0, 0.07))
        shift = rng.normal(0, 0.03, 2) * out
    scale = grow * out / size
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    offset = out / 2 + shift - linear @ np.full(2, size / 2)
    return np.column_stack([linear, offset])


def moved_truth(
    labels: dict[str, np.ndarray], maps: Float[np.ndarray, "b 2 3"]
) -> dict[str, Float[Tensor, "b ..."]]:
    """Labels as the network gives them, after each picture was cut out by a map.

    A turned crop is one of a turned camera; a scaled one has another focal length.
    """
    linear, offset = maps[:, :, :2], maps[:, :, 2]
    scale = np.sqrt(np.abs(np.linalg.det(linear)))
    f, cx, cy = labels["camera"].T
    centre = (linear @ np.stack([cx, cy], 1)[..., None])[..., 0] + offset
    spin = np.tile(np.eye(4), (len(maps), 1, 1))
    spin[:, :2, :2] = linear / scale[:, None, None]

    def tensor(value: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(value)).float()

    camera = Camera(
        fx=tensor(f * scale), fy=tensor(f * scale), cx=tensor(centre[:, 0]),
        cy=tensor(centre[:, 1]), width=INPUT_PX, height=INPUT_PX,
        camera_from_world=torch.eye(4).expand(len(maps), 4, 4),
    )  # fmt: skip
    rotation, place = place_from_pose(tensor(spin @ labels["world_from_head"]), camera)
    points = labels["landmarks"] @ linear.transpose(0, 2, 1) + offset[:, None]
    light = tensor(labels["irradiance"])
    light = light / light[:, :1].mean(2, keepdim=True).clamp(min=0.05)
    return {
        "landmarks": tensor(2 * points / INPUT_PX - 1).flatten(1),
        "visible": tensor(labels["visible"]),
        "shape": tensor(labels["shape"]),
        "expression": tensor(labels["expression"]),
        "jaw": tensor(labels["jaw"]),
        "neck": tensor(labels["neck"]),
        "eyes": tensor(labels["eyes"][:, :, :2]).flatten(1),
        "rotation": rotation,
        "place": place,
        "light": light.flatten(1),
    }


def make_batch(parts: list[tuple[Shard, np.ndarray]], rng: np.random.Generator | None) -> FaceBatch:
    """Rows of shards as one batch, each cut out anew.

    Args:
        parts: Shards and the rows to take.
        rng: For other crops and colours than the stored ones; None changes nothing.
    """
    crops: list[np.ndarray] = []
    maps: list[np.ndarray] = []
    for shard, rows in parts:
        for row in rows:
            picture = shard.rgb[row]
            way = moved_crop(rng, picture.shape[0])
            # Pixel centres lie at half integers here and at integers in OpenCV.
            shifted = way.copy()
            shifted[:, 2] += 0.5 * way[:, :2].sum(1) - 0.5
            crops.append(
                cv2.warpAffine(
                    picture, shifted, (INPUT_PX, INPUT_PX), flags=cv2.INTER_LINEAR,
                    borderMode=cv2.BORDER_REPLICATE,
                )
            )  # fmt: skip
            maps.append(way)
    labels = {
        name: np.concatenate([shard.labels[name][rows] for shard, rows in parts])
        for name in parts[0][0].labels
    }
    stacked = np.stack(crops)
    if rng is not None:
        stacked = recoloured(rng, stacked)
    return FaceBatch(
        crops=torch.as_tensor(stacked), truth=moved_truth(labels, np.stack(maps).astype(np.float32))
    )


def recoloured(
    rng: np.random.Generator, crops: UInt8[np.ndarray, "b s s 3"]
) -> UInt8[np.ndarray, "b s s 3"]:
    """Other exposures and casts, by one table for each picture and colour."""
    levels = np.linspace(0, 1, 256)
    out = np.zeros_like(crops)
    for k, crop in enumerate(crops):
        power = np.exp(rng.normal(0, 0.2))
        gains = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.05, 3))
        table = np.clip(gains[:, None] * levels**power, 0, 1)
        table = (255 * table.T + 0.5).astype(np.uint8)[None]
        out[k] = cv2.LUT(crop, table)
    return out


class SyntheticCrops(IterableDataset[FaceBatch]):
    """Endless batches from a set that may still be growing.

    Args:
        folder: Of the set.
        batch: Rows; a multiple of FROM_EACH.
        seed: Of the order and the changes.
    """

    def __init__(self, folder: Path, *, batch: int = 64, seed: int = 0) -> None:
        self.folder, self.batch, self.seed = folder, batch, seed

    def __iter__(self) -> Iterator[FaceBatch]:
        """Draw batches."""
        rng = np.random.default_rng([self.seed, process_number()])
        shards: dict[Path, Shard] = {}
        count = 0
        while True:
            if count % 50 == 0:
                for part in shard_folders(self.folder):
                    if part not in shards:
                        shards[part] = read_shard(part)
            count += 1
            every = list(shards.values())
            chosen = rng.integers(len(every), size=self.batch // FROM_EACH)
            parts = [
                (every[k], np.sort(rng.integers(len(every[k].rgb), size=FROM_EACH))) for k in chosen
            ]
            yield make_batch(parts, rng)


class HeldCrops(Dataset[FaceBatch]):
    """All pictures of a set, as they are, in order; read once.

    Args:
        folder: Of the set.
        batch: Rows at most.
    """

    def __init__(self, folder: Path, *, batch: int = 64) -> None:
        self.batches: list[FaceBatch] = []
        for part in shard_folders(folder):
            shard = read_shard(part)
            for first in range(0, len(shard.rgb), batch):
                rows = np.arange(first, min(first + batch, len(shard.rgb)))
                self.batches.append(make_batch([(shard, rows)], None))

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self.batches)

    def __getitem__(self, number: int) -> FaceBatch:
        """One of them."""
        return self.batches[number]
