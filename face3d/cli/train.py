"""The sub-commands of train."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import Progress

from face3d.assets import find_asset
from face3d.core.errors import InputError, MissingDependencyError


def synthesize(
    *,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    count: int,
    size: int = 224,
    seed: int = 0,
    workers: int = 2,
) -> None:
    """Draw pictures of people who do not exist, with everything that is known about them.

    A stopped run is gone on with by the same command.

    Args:
        output: Folder of the set.
        count: Pictures, rounded up to full shards of 256.
        size: Side of the pictures, px.
        seed: Of the set; another one has other people.
        workers: Processes.
    """
    from face3d.train.synthetic import write_set

    with Progress(console=Console(stderr=True)) as shown:
        task = shown.add_task("faces", total=count)
        total = write_set(
            output, find_asset("open"), count=count, size=size, seed=seed, workers=workers,
            on_progress=lambda done, all_of: shown.update(task, completed=done, total=all_of),
        )  # fmt: skip
    print(f"{output}: {total} faces of {size} px")


def regressor(
    *,
    images: Path,
    held: Path,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    config: Literal["own"] = "own",
    steps: int = 60_000,
    batch: int = 64,
    rate: float = 1.5e-3,
    seed: int = 1,
    first: Path | None = None,
    every: int = 1000,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Train a regressor, or go on where a stopped training left off.

    Args:
        images: A set of synthetic faces.
        held: Another one, to measure on.
        output: Folder for last.ckpt, log.csv and, at the end, own.npz.
        config: Which network.
        steps: Batches in all.
        batch: Pictures in each, a multiple of 16.
        rate: The highest learning rate.
        seed: Of the weights and of the order of pictures.
        first: Weights (.npz) of an earlier training to begin with.
        every: Steps between looks at --held, and between checkpoints.
        device: auto takes a GPU where there is one.
    """
    del config  # there is one so far
    if batch < 1 or batch % 16:
        raise InputError(f"--batch is {batch}; use a multiple of 16.")
    _require_plan(steps, every, rate)
    with _lightning():
        from face3d.train.own import export_own, train_own
    last = train_own(
        images, held, output, find_asset("open"), steps=steps, batch=batch, rate=rate, seed=seed,
        first=first, every=every, device=device,
    )  # fmt: skip
    print(export_own(last, output / "own.npz"))


def landmarks(
    *,
    images: tuple[Path, ...],
    held: Path,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    steps: int = 4_500,
    batch: int = 48,
    rate: float = 2e-3,
    seed: int = 1,
    every: int = 250,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Train the network that moves detected landmarks to the surface's.

    First the detector looks at all pictures that it has not seen yet (60 ms each). A stopped run
    is gone on with by the same command.

    Args:
        images: Sets of synthetic faces.
        held: Another one, to measure on.
        output: Folder for last.ckpt, log.csv and, at the end, surface_net.npz.
        steps: Batches in all.
        batch: Faces in each, a multiple of 8.
        rate: The highest learning rate.
        seed: Of the weights and of the order of pictures.
        every: Steps between looks at --held, and between checkpoints.
        device: auto takes a GPU where there is one.
    """
    if batch < 1 or batch % 8:
        raise InputError(f"--batch is {batch}; use a multiple of 8.")
    _require_plan(steps, every, rate)
    with _lightning():
        from face3d.train.surface import export_surface, train_surface
    from face3d.detect import load_detector
    from face3d.train.surface_batches import detect_in_set

    with Progress(console=Console(stderr=True)) as shown:
        for folder in (*images, held):
            task = shown.add_task(f"landmarks in {folder.name}", total=None)
            detect_in_set(
                folder, load_detector(),
                on_progress=lambda done, all_of, task=task: shown.update(
                    task, completed=done, total=all_of
                ),
            )  # fmt: skip
    last = train_surface(
        list(images), held, output, find_asset("open"), steps=steps, batch=batch, rate=rate,
        seed=seed, every=every, device=device,
    )  # fmt: skip
    print(export_surface(last, output / "surface_net.npz"))


def _require_plan(steps: int, every: int, rate: float) -> None:
    if steps < 20 or every < 1 or rate <= 0:
        raise InputError("--steps must be at least 20, --every at least 1 and --rate positive.")


@contextmanager
def _lightning() -> Generator[None]:
    """Imports that need Lightning, which then says no more than it must."""
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(
            "Training needs Lightning; install it: pip install 'face3d[train]'."
        ) from error
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
