"""Whether every training without labels learns: held-out losses of real networks on real photos.

    python benchmarks/training.py                # all, about twenty minutes on one core
    python benchmarks/training.py --only smirk   # one system

Each network starts from random weights and is trained on ../shared/real/photos, SPECTRE's on the
videos there, MICA's on synthetic faces, for a few minutes, on the open head. Every eighth file is
held out. The table compares the held-out losses of the first and the last look at them.
"""

import argparse
import csv
import os
import shutil
import tempfile
import time
from pathlib import Path

from machine import write
from surface import SCANS

import face3d
from face3d.assets import find_asset
from face3d.detect import load_detector
from face3d.train.published import Plan, train_published
from face3d.train.synthetic import write_set

REAL = SCANS.parent
RUNS = (
    ("deca", "coarse", 60, 8, 3e-4),
    ("deca", "detail", 40, 4, 3e-4),
    ("spectre", "whole", 60, 8, 3e-4),
    ("smirk", "landmarks", 100, 8, 5e-4),
    ("smirk", "whole", 32, 4, 5e-4),
    ("mica", "whole", 40, 8, 3e-4),
    ("teaser", "landmarks", 60, 8, 5e-4),
    ("teaser", "whole", 32, 4, 5e-4),
)
"""System, stage, steps, faces in a batch, highest rate. Stages after the first begin with what the
one before has learned."""

BEGINS = {"spectre": "deca"}
"""Systems that begin with what another one has learned."""

LOOKS = 4
SHOWN = {
    "landmarks": ("landmarks", "lids", "lips"),
    "coarse": ("landmarks", "colours", "swapped_landmarks"),
    "detail": ("colours", "patches", "swapped_colours"),
    "whole": ("landmarks", "picture", "patches", "cycle", "token", "lips"),
}


def photos(folder: Path) -> Path:
    """The real photos, copied: pictures without faces stay out."""
    folder.mkdir()
    for path in sorted((REAL / "photos").glob("*")):
        if not path.name.startswith(("noface", "derived", "cc0")):
            shutil.copy(path, folder / path.name)
    return folder


def learned(
    system: str, stage: str, steps: int, batch: int, rate: float, work: Path, first: Path | None
) -> tuple[Path, dict[str, object]]:
    """Train, and read the log."""
    begun = time.perf_counter()
    images, held, every_frame = work / "photos", None, 1
    if system == "spectre":
        images, every_frame = REAL / "videos", 2
    if system == "mica":
        images, held = work / "faces", work / "held"
        for folder, count, seed in ((images, 512, 21), (held, 256, 22)):
            write_set(folder, find_asset("open"), count=count, size=128, seed=seed, inline=True)
    plan = Plan(
        system=system, stage=stage, steps=steps, batch=batch, rate=rate, every=steps // LOOKS,
        first=first, every_frame=every_frame, device="cpu", seed=5,
    )  # fmt: skip
    out = work / f"{system}_{stage}"
    written, skipped = train_published(
        plan, images, out, face3d.load_head("open"), load_detector, held=held
    )
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    before, after = rows[0], rows[-1]
    names = [n for n in SHOWN[stage] if f"held_{n}" in before]
    return written, {
        "minutes": (time.perf_counter() - begun) / 60,
        "steps": [int(before["step"]), int(after["step"])],
        "held": [float(before["held"]), float(after["held"])],
        "parts": {n: [float(before[f"held_{n}"]), float(after[f"held_{n}"])] for n in names},
        "mean_face": float(after.get("held_mean_face", "nan")),
        "skipped": list(skipped),
    }


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", nargs="+", default=None)
    options = parser.parse_args()
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("FACE3D_WORK")) as name:
        work = Path(name)
        photos(work / "photos")
        before: dict[str, Path] = {}
        for system, stage, steps, batch, rate in RUNS:
            if options.only and system not in options.only:
                continue
            first = before.get(system, before.get(BEGINS.get(system, "")))
            written, row = learned(system, stage, steps, batch, rate, work, first)
            before[system] = written
            results[f"{system} {stage}"] = row
            held = row["held"]
            parts = ", ".join(f"{n} {a:.3f} > {b:.3f}" for n, (a, b) in row["parts"].items())
            print(
                f"{system:8s}{stage:10s}{row['minutes']:6.1f} min, steps {row['steps']}, held "
                f"{held[0]:.3f} > {held[1]:.3f}; {parts}", flush=True,
            )  # fmt: skip
    write("training" if options.only is None else "training_part", results)


if __name__ == "__main__":
    main()
