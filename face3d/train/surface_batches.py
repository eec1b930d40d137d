"""Batches for the network that moves landmarks: flat faces, as a detector found them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from face3d.core.errors import DetectionError, InputError
from face3d.core.files import atomic_path
from face3d.core.types import Frame
from face3d.detect import LandmarkDetector
from face3d.regress.flat_face import FlatFace, face_frames
from face3d.train.crops import process_number, recoloured
from face3d.train.synthetic.shards import read_shard, shard_folders

DETECTED = "detected.npy"
"""Beside a shard's pictures: what the detector found in them, NaN where it found no face."""

WORST_PX = 15.0
"""Detections that lie farther off on average, in pictures of 224 px, are of something else."""

FROM_EACH = 8
"""Rows of a batch that come from one shard."""

START_TURN, START_SHIFT = 0.015, 0.012
"""Spread of further errors that go through the whole face, in the frame's unit."""


@dataclass(frozen=True, kw_only=True)
class FoundFaces:
    """A shard's faces that a detector found."""

    rgb: UInt8[np.ndarray, "n s s 3"]
    rows: Int[np.ndarray, "found"]
    detected: Float[np.ndarray, "n 478 2"]
    landmarks: Float[np.ndarray, "n 478 2"]
    visible: Float[np.ndarray, "n 478"]


@dataclass(frozen=True, kw_only=True)
class FlatBatch:
    """Flat faces and what the network should say of them."""

    pictures: UInt8[Tensor, "b 128 128 3"]
    places: Float[Tensor, "b 128 128 2"]
    wanted: Float[Tensor, "b 478 2"]  # offsets, frame's unit
    visible: Float[Tensor, "b 478"]

    def to(self, device: torch.device) -> "FlatBatch":
        """The same on another device."""
        return FlatBatch(**{name: value.to(device) for name, value in vars(self).items()})


def detect_in_set(
    folder: Path,
    detector: LandmarkDetector,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write what a detector finds beside each shard that has no such file yet."""
    parts = shard_folders(folder)
    for number, part in enumerate(parts):
        if on_progress:
            on_progress(number, len(parts))
        if (part / DETECTED).exists():
            continue
        shard = read_shard(part)
        found = np.full((len(shard.rgb), 478, 2), np.nan, np.float32)
        for row, rgb in enumerate(shard.rgb):
            try:
                faces = detector.detect(Frame(rgb=np.ascontiguousarray(rgb)), max_faces=1)
            except DetectionError:
                continue
            if len(faces.landmarks):
                found[row] = faces.landmarks[0, :, :2]
        with atomic_path(part / DETECTED) as partial, partial.open("wb") as file:
            np.save(file, found)
    if on_progress:
        on_progress(len(parts), len(parts))


def found_faces(part: Path) -> FoundFaces | None:
    """Read a shard with its detections; None while it has none.

    Args:
        part: The shard's folder.

    Raises:
        InputError: It is damaged.
    """
    if not (part / DETECTED).exists():
        return None
    shard = read_shard(part)
    try:
        detected = np.load(part / DETECTED, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{part / DETECTED} is damaged; delete it.") from error
    if detected.shape != shard.labels["landmarks"].shape:
        raise InputError(f"{part / DETECTED} is of other pictures; delete it.")
    off = np.abs(detected - shard.labels["landmarks"]).mean((1, 2)) * 224 / shard.rgb.shape[1]
    return FoundFaces(
        rgb=shard.rgb, rows=np.flatnonzero(off < WORST_PX), detected=detected,
        landmarks=shard.labels["landmarks"],
        visible=shard.labels["visible"],
    )  # fmt: skip


def started(
    rng: np.random.Generator, detected: Float[np.ndarray, "478 2"]
) -> Float[np.ndarray, "478 2"]:
    """Other landmarks that a detector might have given."""
    frame = face_frames(detected[None])
    turn = rng.normal(0, START_TURN, (2, 2))
    shift = np.linalg.inv(frame.from_picture[0]) @ rng.normal(0, START_SHIFT, 2)
    return (detected + (detected - frame.centre_px[0]) @ turn.T + shift).astype(np.float32)


def flat_batch(
    flat: FlatFace, parts: list[tuple[FoundFaces, np.ndarray]], rng: np.random.Generator | None
) -> FlatBatch:
    """Rows of shards, laid out.

    Args:
        flat: The layout.
        parts: Shards and the rows to take.
        rng: For other starts and colours; None changes nothing.
    """
    pictures, places, wanted, visible = [], [], [], []
    for faces, rows in parts:
        for row in rows:
            true, points = faces.landmarks[row], faces.detected[row]
            if rng is not None:
                points = started(rng, points)
            frame = face_frames(points[None])
            picture, place = flat.laid_out(faces.rgb[row], points, frame)
            pictures.append(picture)
            places.append(place)
            wanted.append((true - points) @ frame.from_picture[0].T)
            visible.append(faces.visible[row])
    stacked = np.stack(pictures)
    if rng is not None:
        stacked = recoloured(rng, stacked)
    return FlatBatch(
        pictures=torch.as_tensor(stacked),
        places=torch.as_tensor(np.stack(places)),
        wanted=torch.as_tensor(np.stack(wanted)).float(),
        visible=torch.as_tensor(np.stack(visible)).float(),
    )


class FlatFaces(IterableDataset[FlatBatch]):
    """Endless batches from sets that may still be growing.

    Args:
        folders: Of the sets.
        flat: The layout.
        batch: Rows; a multiple of FROM_EACH.
        seed: Of the order and the changes.
    """

    def __init__(self, folders: list[Path], flat: FlatFace, *, batch: int, seed: int) -> None:
        self.folders, self.flat = folders, flat
        self.batch, self.seed = batch, seed

    def __iter__(self) -> Iterator[FlatBatch]:
        """Draw batches."""
        rng = np.random.default_rng([self.seed, process_number()])
        shards: dict[Path, FoundFaces] = {}
        count = 0
        while True:
            if count % 200 == 0:
                self._look(shards)
            count += 1
            every = list(shards.values())
            chosen = rng.integers(len(every), size=self.batch // FROM_EACH)
            parts = [(every[k], np.sort(rng.choice(every[k].rows, FROM_EACH))) for k in chosen]
            yield flat_batch(self.flat, parts, rng)

    def _look(self, shards: dict[Path, FoundFaces]) -> None:
        """Take up shards that have appeared."""
        for folder in self.folders:
            for part in shard_folders(folder):
                faces = None if part in shards else found_faces(part)
                if faces is not None and len(faces.rows):
                    shards[part] = faces
        if not shards:
            raise InputError("The detector found no face in any of the pictures; draw more.")


class HeldFlatFaces(Dataset[FlatBatch]):
    """All found faces of a set, as they are, in order.

    Args:
        folder: Of the set.
        flat: The layout.
        batch: Rows at most.
    """

    def __init__(self, folder: Path, flat: FlatFace, *, batch: int = 48) -> None:
        self.batches: list[FlatBatch] = []
        for part in shard_folders(folder):
            faces = found_faces(part)
            if faces is None:
                continue
            for first in range(0, len(faces.rows), batch):
                rows = faces.rows[first : first + batch]
                self.batches.append(flat_batch(flat, [(faces, rows)], None))
        if not self.batches:
            raise InputError(f"The detector found no face in {folder}; draw more pictures.")

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self.batches)

    def __getitem__(self, number: int) -> FlatBatch:
        """One of them."""
        return self.batches[number]
