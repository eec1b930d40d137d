"""The sub-command regress."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import Progress

SKIPPED_EXIT = 3
"""A file was written, but some pictures are not in it."""


def regress(
    source: tyro.conf.Positional[Path],
    /,
    *,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    regressor: Literal["own", "deca", "emoca", "smirk", "teaser", "spectre", "mica"] = "own",
    checkpoint: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    batch: int = 16,
    every_frame: int = 1,
    landmarks: bool = False,
) -> None:
    """Parameters of the largest face in every picture of a folder or a video, without a fit.

    Exits with 3 if some pictures have no result; they are named at the end. A stopped run is gone
    on with by the same command. face3d convert makes a take of the file.

    Args:
        source: A folder of photos and videos, a photo or a video.
        output: File to write, .npz.
        regressor: The network.
        checkpoint: Its weights, as its authors publish them; the own ones are installed.
        device: Where the network runs; auto takes a GPU where there is one, in half precision.
        batch: Pictures in each pass.
        every_frame: Take each n-th frame of videos.
        landmarks: Write the own regressor's 478 landmarks, too.
    """
    from face3d import pipeline

    network = pipeline.load_regressor(regressor, checkpoint)
    with Progress(console=Console(stderr=True)) as shown:
        task = shown.add_task("files", total=None)

        def told(done: int, all_of: int, faces: int) -> None:
            shown.update(task, completed=done, total=all_of, description=f"{faces} faces")

        report = pipeline.regress_pictures(
            source, output, network, device=device, batch=batch, every=every_frame,
            landmarks=landmarks, on_progress=told,
        )  # fmt: skip
    print(f"{report.path}: {report.faces} faces")
    for line in report.skipped:
        print(f"skipped {line}", file=sys.stderr)
    if report.skipped:
        sys.exit(SKIPPED_EXIT)
