"""Batches of photographed faces, for training without labels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from face3d.core.errors import InputError
from face3d.train.crops import moved_crop, process_number, recoloured
from face3d.train.photo_set import PhotoFaces

Order = Literal["single", "pairs", "clips"]
"""Rows by chance; rows 2k and 2k + 1 of one person; rows that follow each other in a video."""

HELD_EVERY = 8
"""Of this many files one is held out."""


@dataclass(frozen=True, kw_only=True)
class PhotoBatch:
    """Faces; what is known of them."""

    crops: UInt8[Tensor, "b s s 3"]
    landmarks: Float[Tensor, "b 478 2"]  # -1 to 1 across the crop

    def to(self, device: torch.device) -> "PhotoBatch":
        """The same on another device."""
        return PhotoBatch(crops=self.crops.to(device), landmarks=self.landmarks.to(device))

    @property
    def pictures(self) -> Float[Tensor, "b 3 s s"]:
        """The crops in [0, 1]."""
        return self.crops.permute(0, 3, 1, 2).float() / 255


def split(faces: PhotoFaces) -> tuple[PhotoFaces, PhotoFaces]:
    """To train on and to measure on, by files; of a single file, its last frames are held out.

    Raises:
        InputError: There are fewer than two faces.
    """
    if len(faces.rgb) < 2:
        raise InputError("Training needs at least two faces; give more photos.")
    if len(np.unique(faces.source)) == 1:
        held = np.arange(len(faces.rgb)) >= len(faces.rgb) - max(1, len(faces.rgb) // HELD_EVERY)
    else:
        number = np.unique(faces.source, return_inverse=True)[1]
        held = number % HELD_EVERY == min(HELD_EVERY, number.max() + 1) - 1
    return _rows(faces, ~held), _rows(faces, held)


def _rows(faces: PhotoFaces, chosen: np.ndarray) -> PhotoFaces:
    return replace(faces, **{k: v[chosen] for k, v in vars(faces).items()})


def make_photo_batch(
    faces: PhotoFaces, rows: Int[np.ndarray, "b"], rng: np.random.Generator | None, *, same: bool
) -> PhotoBatch:
    """Rows as one batch, each cut out a little differently.

    Args:
        faces: To take them from.
        rows: Which.
        rng: For other crops and colours; None changes nothing.
        same: Change all rows alike, as frames of a video must be.
    """
    size = faces.rgb.shape[1]
    landmarks = faces.landmarks[rows].copy()
    crops = faces.rgb[rows]
    if rng is not None:
        ways = [moved_crop(rng, size, size)] * len(rows) if same else [
            moved_crop(rng, size, size) for _ in rows
        ]  # fmt: skip
        cut = np.zeros_like(crops)
        for k, way in enumerate(ways):
            # Pixel centres lie at half integers in maps and at integers in OpenCV.
            shifted = way.copy()
            shifted[:, 2] += 0.5 * way[:, :2].sum(1) - 0.5
            cut[k] = cv2.warpAffine(
                crops[k], shifted, (size, size), flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )  # fmt: skip
            px = (landmarks[k] + 1) * size / 2
            landmarks[k] = 2 * (px @ way[:, :2].T + way[:, 2]) / size - 1
        crops = cut if same else recoloured(rng, cut)
    return PhotoBatch(
        crops=torch.as_tensor(np.ascontiguousarray(crops)),
        landmarks=torch.as_tensor(landmarks).float(),
    )


def clips_of(faces: PhotoFaces) -> list[Int[np.ndarray, "_"]]:
    """Rows that follow each other in a video without a gap, two at least."""
    step = np.diff(faces.frame)
    # Every n-th frame may have been taken: the usual distance is no gap.
    usual = max(1, int(np.median(step[step > 0]))) if (step > 0).any() else 1
    breaks = (np.diff(faces.source) != 0) | (step != usual)
    parts = np.split(np.arange(len(faces.rgb)), np.flatnonzero(breaks) + 1)
    return [part for part in parts if len(part) > 1]


class PhotoCrops(IterableDataset[PhotoBatch]):
    """Endless batches.

    Args:
        faces: To train on.
        batch: Rows; even for pairs.
        order: What rows of a batch have to do with each other.
        seed: Of the order and the changes.
    """

    def __init__(
        self, faces: PhotoFaces, *, batch: int, order: Order = "single", seed: int = 0
    ) -> None:
        self.faces, self.batch, self.order, self.seed = faces, batch, order, seed
        self.clips = clips_of(faces) if order == "clips" else []
        if order == "clips" and not self.clips:
            raise InputError("There are no two frames in a row with a face; give videos.")

    def __iter__(self) -> Iterator[PhotoBatch]:
        """Draw batches."""
        rng = np.random.default_rng([self.seed, process_number()])
        while True:
            rows = self._draw(rng)
            yield make_photo_batch(self.faces, rows, rng, same=self.order == "clips")

    def _draw(self, rng: np.random.Generator) -> Int[np.ndarray, "b"]:
        count = len(self.faces.rgb)
        if self.order == "single":
            return rng.integers(count, size=self.batch)
        if self.order == "clips":
            # Longer ones are met more often: every frame as often as any other.
            sizes = np.array([len(clip) for clip in self.clips])
            clip = self.clips[rng.choice(len(sizes), p=sizes / sizes.sum())]
            first = rng.integers(max(1, len(clip) - self.batch + 1))
            return clip[first : first + self.batch]
        paired: list[int] = []
        for first in rng.integers(count, size=self.batch // 2):
            same = np.flatnonzero(self.faces.person == self.faces.person[first])
            others = same[same != first]
            # Somebody with one photo is paired with that photo, cut out differently.
            paired += [int(first), int(rng.choice(others)) if len(others) else int(first)]
        return np.array(paired)


class HeldPhotos(Dataset[PhotoBatch]):
    """Faces to measure on, as they are, in order.

    Args:
        faces: All of them.
        batch: Rows at most; pairs and clips stay whole.
        order: As of ``PhotoCrops``.
    """

    def __init__(self, faces: PhotoFaces, *, batch: int, order: Order = "single") -> None:
        rows = np.arange(len(faces.rgb))
        if order == "pairs":
            rows = np.concatenate([_paired(faces, int(row)) for row in rows])
        self.batches: list[PhotoBatch] = []
        parts = clips_of(faces) if order == "clips" else [rows]
        for part in parts:
            for first in range(0, len(part), batch):
                chosen = part[first : first + batch]
                if order != "clips" or len(chosen) > 1:
                    self.batches.append(make_photo_batch(faces, chosen, None, same=True))

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self.batches)

    def __getitem__(self, number: int) -> PhotoBatch:
        """One of them."""
        return self.batches[number]


def _paired(faces: PhotoFaces, row: int) -> Int[np.ndarray, "2"]:
    same = np.flatnonzero(faces.person == faces.person[row])
    after = same[(np.flatnonzero(same == row)[0] + 1) % len(same)]
    return np.array([row, after])
