"""The sub-commands of train."""

import logging
import math
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

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
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    held: Path | None = None,
    config: Literal["own", "smirk", "teaser", "deca", "spectre", "mica"] = "own",
    stage: Literal["landmarks", "coarse", "detail", "whole"] | None = None,
    head: str = "open",
    photos: Path | None = None,
    steps: int | None = None,
    batch: int | None = None,
    rate: float | None = None,
    seed: int = 1,
    first: Path | None = None,
    every: int | None = None,
    every_frame: int = 1,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Train a regressor, or go on where a stopped training left off.

    The own one and MICA's learn from sets of synthetic faces (face3d train synthesize), the others
    from photos and videos without labels.

    Args:
        images: A set of synthetic faces; of smirk, teaser, deca and spectre a folder of photos and
            videos, with one folder for each person where there are several photos of one.
        output: Folder for last.ckpt, log.csv and, at the end, own.npz or the system's checkpoint.
        held: Another set of synthetic faces, to measure on; of photos every eighth is held out.
        config: Whose network.
        stage: What of it learns; the last stage by default.
        head: The head whose parameters the network gives; the own one knows the open head only.
        photos: Of the own one, photos and videos without labels to learn from, too.
        steps: Batches in all; 60,000 of the own one and else 20,000 by default.
        batch: Pictures in each; of the own one 64 and a multiple of 16, else 16 by default.
        rate: The highest learning rate; of the own one 1.5e-3, else 2e-4 by default.
        seed: Of the weights and of the order of pictures.
        first: Weights (.npz) or a checkpoint of an earlier training to begin with.
        every: Steps between looks at held-out faces, and between checkpoints.
        every_frame: Take each n-th frame of videos.
        device: auto takes a GPU where there is one.
    """
    own = config == "own"
    steps = steps if steps is not None else (60_000 if own else 20_000)
    batch = batch if batch is not None else (64 if own else 16)
    rate = rate if rate is not None else (1.5e-3 if own else 2e-4)
    every = every if every is not None else (1000 if own else 500)
    _require_plan(steps, every, rate)
    if every_frame < 1:
        raise InputError(f"--every-frame is {every_frame}; give at least 1.")
    if not own:
        if photos is not None:
            raise InputError(f"--photos is for the own regressor; give {config}'s as --images.")
        _train_published(
            config, images, output, held, head=head, stage=stage, steps=steps, batch=batch,
            rate=rate, seed=seed, first=first, every=every, every_frame=every_frame, device=device,
        )  # fmt: skip
        return
    if stage is not None or head != "open":
        raise InputError("The own regressor is trained in one stage, on the open head.")
    if batch < 1 or batch % 16:
        raise InputError(f"--batch is {batch}; use a multiple of 16.")
    if held is None:
        raise InputError("Give another set of synthetic faces to measure on (--held).")
    with _lightning():
        from face3d.train.own import export_own, train_own
    last, skipped = train_own(
        images, held, output, find_asset("open"), steps=steps, batch=batch, rate=rate, seed=seed,
        first=first, every=every, device=device, photos=photos, every_frame=every_frame,
    )  # fmt: skip
    print(export_own(last, output / "own.npz"))
    _name_skipped(skipped)


def _train_published(
    config: Literal["smirk", "teaser", "deca", "spectre", "mica"],
    images: Path,
    output: Path,
    held: Path | None,
    *,
    head: str,
    **options: Any,
) -> None:
    with _lightning():
        from face3d.train.published import Plan, train_published
    from face3d.detect import load_detector
    from face3d.pipeline.heads import load_head

    plan = Plan(system=config, **options)
    with Progress(console=Console(stderr=True)) as shown:
        task = shown.add_task("faces", total=None)
        written, skipped = train_published(
            plan, images, output, load_head(head), load_detector, held=held,
            on_progress=lambda done, all_of: shown.update(task, completed=done, total=all_of),
        )  # fmt: skip
    print(written)
    _name_skipped(skipped)


def _name_skipped(skipped: tuple[str, ...]) -> None:
    for line in skipped:
        print(f"skipped {line}", file=sys.stderr)


def onnx(
    *,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    weights: Path | None = None,
) -> None:
    """Write the own regressor as ONNX, for programs without torch.

    Args:
        output: File to write, .onnx.
        weights: As training writes them (own.npz); those that are installed by default.
    """
    from face3d.regress.own import read_own_net
    from face3d.regress.own_onnx import export_onnx

    if output.suffix.lower() != ".onnx":
        raise InputError(f"{output} does not end in .onnx.")
    net = read_own_net(find_asset("own_regressor") if weights is None else weights)
    print(export_onnx(net, output))


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
    if steps < 20 or every < 1 or not 0 < rate < math.inf:
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
