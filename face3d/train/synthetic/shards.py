"""Sets of synthetic faces on disk: folders of a few hundred pictures each.

A shard is a folder with ``rgb.npy`` (n, s, s, 3) and ``kinds.npy`` (n, s, s), which can be mapped
into memory, and ``labels.npz``. It appears under its name when it is complete, so a set whose
writing was stopped is gone on with by asking for it again.
"""

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numba
import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8

from face3d.core.errors import InputError
from face3d.core.npz import NpzError, read_npz
from face3d.fit.corrective import correctable
from face3d.model.head import HeadModel
from face3d.model.open_head_file import read_open_head
from face3d.train.synthetic.faces import SyntheticFace, SyntheticFaces

ABOUT = "set.json"
PER_SHARD = 256
NAME = "shard_{:05d}"


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Pictures and labels; one row each."""

    rgb: UInt8[np.ndarray, "n s s 3"]
    labels: dict[str, Shaped[np.ndarray, "n ..."]]


def labels_of(face: SyntheticFace) -> dict[str, Float[np.ndarray, "..."]]:
    """What a shard keeps of a face beside its picture, float32."""
    p, camera = face.scene.params, face.scene.camera
    values = {
        "shape": p.shape, "expression": p.expression, "neck": p.neck, "jaw": p.jaw, "eyes": p.eyes,
        "world_from_head": p.world_from_head,
        "camera": torch.stack([camera.fx, camera.cx, camera.cy]),
        "irradiance": face.scene.irradiance,
    }  # fmt: skip
    out = {name: value.numpy().astype(np.float32) for name, value in values.items()}
    return out | {"landmarks": face.landmarks, "visible": face.visible}


def write_set(
    folder: Path,
    head: Path,
    *,
    count: int,
    size: int = 224,
    seed: int = 0,
    workers: int = 1,
    inline: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write a set, or what is missing of it.

    Args:
        folder: Made if it does not exist.
        head: The open head's file.
        count: Pictures in all; rounded up to full shards.
        size: Side of the pictures, px.
        seed: Of the set.
        workers: Processes.
        inline: Use none beside this one.
        on_progress: Called with how many pictures there are and how many there will be.

    Returns:
        How many pictures there are.

    Raises:
        InputError: The folder holds another set, or something else.
    """
    if count < 1 or size < 32 or workers < 1:
        raise InputError(
            f"count is {count}, size {size} and workers {workers}; at least 1, 32 and 1 are needed."
        )
    about = {"head": head.name, "size": size, "seed": seed, "pictures a shard": PER_SHARD}
    _claim(folder, about)
    total = -(-count // PER_SHARD)
    wanted = [k for k in range(total) if not (folder / NAME.format(k)).exists()]
    done = total - len(wanted)
    if on_progress:
        on_progress(done * PER_SHARD, total * PER_SHARD)
    for _ in _written(folder, head, size, seed, wanted, workers, inline=inline):
        done += 1
        if on_progress:
            on_progress(done * PER_SHARD, total * PER_SHARD)
    return total * PER_SHARD


def _written(
    folder: Path, head: Path, size: int, seed: int, wanted: list[int], workers: int, *, inline: bool
) -> Iterator[None]:
    """Write shards, and tell after each."""
    if inline:
        for k in wanted:
            yield _write_shard(folder, head, size, seed, k)
    elif wanted:
        # Forked processes would inherit threads that torch and numba have started.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _alone) as pool:
            tasks = [pool.submit(_write_shard, folder, head, size, seed, k) for k in wanted]
            for task in as_completed(tasks):
                yield task.result()


def _claim(folder: Path, about: Mapping[str, object]) -> None:
    """Make the folder of a set, or see that it is this set's."""
    path = folder / ABOUT
    if path.exists():
        try:
            there = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read; choose another folder.") from error
        if there != about:
            raise InputError(
                f"{folder} holds another set ({there}); give the same size and seed, or choose "
                "another folder."
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no set of ours; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about))


def _alone() -> None:
    """In a process that shares the machine with others like it."""
    torch.set_num_threads(1)
    numba.set_num_threads(1)


@lru_cache(maxsize=1)
def _faces(head: Path, size: int, seed: int) -> SyntheticFaces:
    # Form that the identity basis cannot say belongs to people, too.
    return SyntheticFaces(HeadModel(correctable(read_open_head(head))), size=size, seed=seed)


def _write_shard(folder: Path, head: Path, size: int, seed: int, number: int) -> None:
    faces = _faces(head, size, seed)
    drawn = [faces[number * PER_SHARD + k] for k in range(PER_SHARD)]
    partial = folder / f".{NAME.format(number)}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    np.save(partial / "rgb.npy", np.stack([face.rgb for face in drawn]))
    np.save(partial / "kinds.npy", np.stack([face.kinds for face in drawn]))
    rows = [labels_of(face) for face in drawn]
    np.savez(partial / "labels.npz", **{k: np.stack([row[k] for row in rows]) for k in rows[0]})
    partial.rename(folder / NAME.format(number))


def shard_folders(folder: Path) -> list[Path]:
    """The complete shards of a set.

    Raises:
        InputError: There are none.
    """
    found = sorted(folder.glob("shard_*")) if folder.is_dir() else []
    if not found:
        raise InputError(f"{folder} holds no synthetic faces; write some with face3d train.")
    return found


def read_shard(folder: Path) -> Shard:
    """Map a shard's pictures into memory and read its labels.

    Raises:
        InputError: It is damaged.
    """
    try:
        rgb = np.load(folder / "rgb.npy", mmap_mode="r", allow_pickle=False)
        labels = read_npz(folder / "labels.npz")
    except (OSError, ValueError, NpzError) as error:
        raise InputError(f"{folder} is damaged ({error}); delete it and write it anew.") from error
    if rgb.ndim != 4 or rgb.dtype != np.uint8 or any(len(v) != len(rgb) for v in labels.values()):
        raise InputError(f"{folder} is damaged; delete it and write it anew.")
    return Shard(rgb=rgb, labels=labels)


def read_shards(folder: Path) -> Iterator[Shard]:
    """All shards of a set, one after the other."""
    for part in shard_folders(folder):
        yield read_shard(part)
