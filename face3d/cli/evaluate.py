"""The sub-command evaluate."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import tyro

from face3d.core.errors import InputError
from face3d.core.files import atomic_path


def evaluate(
    prediction: tyro.conf.Positional[Path | None] = None,
    scan: tyro.conf.Positional[Path | None] = None,
    /,
    *,
    landmarks: Path | None = None,
    prediction_landmarks: Path | None = None,
    now: Path | None = None,
    predictions: Path | None = None,
    part: Literal["validation", "test"] = "validation",
    metric: bool = False,
    regions: bool = False,
    texture: tuple[Path, Path] | None = None,
    unit: Literal["auto", "mm", "cm", "m"] = "auto",
    prediction_unit: Literal["auto", "mm", "cm", "m"] = "auto",
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
) -> None:
    """Measure heads against scans: the NoW protocol, regions, landmarks, normals, textures.

    Args:
        prediction: A head at rest: .npz, .glb, .obj, .ply or .stl.
        scan: A scan of the same person: .obj, .ply or .stl.
        landmarks: The scan's seven landmarks: .pp, .txt, .npy or .json, in the scan's unit.
        prediction_landmarks: The prediction's; heads with the open head's mesh need none.
        now: The official NoW folder, instead of one prediction and one scan.
        predictions: The folder of a method's meshes for --now.
        part: Which list of NoW's pictures.
        metric: Also compare at the predicted size; otherwise its size is left out.
        regions: Also compare nose, mouth, forehead and cheek by non-rigid correspondence.
        texture: Predicted and true texture, two pictures of one size, whose PSNR is printed too.
        unit: Unit of the scans; auto tells it from the distance between the eyes.
        prediction_unit: Unit of the predictions.
        output: Also write everything to a .json file.
    """
    from face3d.pipeline import evaluate as work

    if output is not None and output.suffix.lower() != ".json":
        raise InputError(f"Cannot write {output.name!r}: use a name that ends in .json.")
    if now is not None:
        alone = (prediction, scan, landmarks, prediction_landmarks, texture)
        if any(option is not None for option in alone) or predictions is None:
            raise InputError("--now takes --predictions FOLDER and no single prediction or scan.")
        table = work.evaluate_now(
            now,
            predictions,
            part=part,
            metric=metric,
            regions=regions,
            unit=unit,
            prediction_unit=prediction_unit,
            progress=_progress,
        )
        for name, rows in (("non-metric", table.non_metric), ("metric", table.metric)):
            _print_summaries(name, rows)
        _print_regions(table.regions)
        _write(output, table.as_json())
        return
    if prediction is None or scan is None or landmarks is None:
        raise InputError(
            "Give a prediction, a scan and the scan's --landmarks, or --now and --predictions."
        )
    if predictions is not None:
        raise InputError("--predictions goes with --now only.")
    result = work.evaluate(
        prediction,
        scan,
        landmarks=landmarks,
        prediction_landmarks=prediction_landmarks,
        metric=metric,
        regions=regions,
        texture=texture,
        unit=unit,
        prediction_unit=prediction_unit,
    )
    print(f"units: prediction {result.units['prediction']}, scan {result.units['scan']}")
    for name, one in (("non-metric", result.non_metric), ("metric", result.metric)):
        if one is None:
            continue
        _print_summaries(name, {"scan to mesh": one.scan_to_mesh})
        print(f"{'  landmarks':24s}{'':>10s}{one.landmarks_mm['mean']:10.2f}  mm")
        if not one.converged:
            print("  the alignment has not settled: check the landmarks")
        if one.normals_deg is not None:
            angles = one.normals_deg
            print(f"{'  normals':24s}{angles['median']:10.2f}{angles['mean']:10.2f}  degrees")
    found = result.as_json()["regions"]
    _print_regions(found if isinstance(found, Mapping) else None)
    if result.texture_psnr_db is not None:
        print(f"texture: PSNR {result.texture_psnr_db:.2f} dB")
    _write(output, result.as_json())


def _progress(done: int, count: int) -> None:
    print(f"\r{done}/{count}", end="\n" if done == count else "", file=sys.stderr, flush=True)


def _print_summaries(name: str, rows: Mapping[str, object] | None) -> None:
    if rows is None:
        return
    print(f"{name:24s}{'median':>10s}{'mean':>10s}{'sd':>10s}  mm")
    for label, row in rows.items():
        values = [getattr(row, key) for key in ("median_mm", "mean_mm", "sd_mm")]
        print(f"{'  ' + label:24s}" + "".join(f"{value:10.3f}" for value in values))


def _print_regions(rows: Mapping[str, Mapping[str, float]] | None) -> None:
    if rows is None:
        return
    print(f"{'regions':24s}{'rms':>10s}{'mean':>10s}{'ICP mean':>10s}  mm")
    for label, row in rows.items():
        values = [row[key] for key in ("rms_mm", "mean_mm", "nearest_mean_mm")]
        print(f"{'  ' + label:24s}" + "".join(f"{value:10.3f}" for value in values))


def _write(output: Path | None, content: Mapping[str, object]) -> None:
    if output is None:
        return
    with atomic_path(output) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {output}")
