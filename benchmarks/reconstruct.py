"""The main job: landmark error on real photos, time and memory.

    python benchmarks/reconstruct.py

Photos are taken from ../shared/real/photos where that exists, else only the demo's portrait.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine, peak_memory_gb, timed_ms, write
from skimage import data

import face3d
from face3d.core import DetectionError

PHOTOS = Path(__file__).parents[2] / "shared/real/photos"


def photo_rows() -> list[dict[str, object]]:
    """Every photo: faces, landmark error, iterations; or that no face was found."""
    rows = []
    for path in sorted(PHOTOS.glob("*.*")):
        try:
            heads = face3d.reconstruct_all(path)
        except DetectionError:
            rows.append({"photo": path.name, "faces": 0})
            continue
        errors = [head.landmark_error_percent for head in heads]
        bare = [100 * head.reprojection_error_px / head.face_size_px for head in heads]
        rows.append(
            {
                "photo": path.name,
                "faces": len(heads),
                "error_percent": statistics.mean(errors),
                "reprojection_percent": statistics.mean(bare),
                "iterations": max(int(head.fit.iterations) for head in heads),
            }
        )
    return rows


def timings() -> dict[str, object]:
    """Warm times of one 512x512 photo, and the command line from cold."""
    photo = data.astronaut()

    def glb() -> None:
        head = face3d.reconstruct(photo, fast=True)
        head.save(Path(folder) / "head.glb")

    def detailed_glb() -> None:
        head = face3d.reconstruct(photo, detail=True, texture=2048)
        head.save(Path(folder) / "head.glb", pose="photo")

    with tempfile.TemporaryDirectory() as folder:
        detect_and_fit = timed_ms(
            lambda: face3d.reconstruct(photo, fast=True), repeats=15, warm_up=4
        )
        whole = timed_ms(glb, repeats=5)
        detailed = timed_ms(detailed_glb, repeats=3, warm_up=1)
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "face3d", "demo", "-o", folder], check=True, capture_output=True
        )
        cold_s = time.perf_counter() - start
    return {
        "detect_and_fit": detect_and_fit,
        "photo_to_glb_1k": whole,
        "photo_to_detailed_glb_2k": detailed,
        "cold_demo_s": cold_s,
    }


def main() -> None:
    """Run, print, keep."""
    print(f"{machine()['processor']}, {machine()['torch_threads']} threads")
    rows = photo_rows()
    for row in rows:
        error = "no face"
        if "error_percent" in row:
            error = f"{row['error_percent']:.2f}%, bare {row['reprojection_percent']:.2f}%"
        print(f"  {row['photo']:32s} {row['faces']:3d} faces  {error}")
    single = [r["error_percent"] for r in rows if r["faces"] == 1]
    results: dict[str, object] = {"photos": rows}
    if single:
        results["error_percent_median"] = statistics.median(single)
        results["error_percent_max"] = max(single)
        bare = [r["reprojection_percent"] for r in rows if r["faces"] == 1]
        results["reprojection_percent_median"] = statistics.median(bare)
        results["reprojection_percent_max"] = max(bare)
        print(
            f"error of the face box: median {statistics.median(single):.2f}% (bar 0.7), "
            f"largest {max(single):.2f}% (bar 1.0)"
        )
        print(
            f"without the detector's bias: median {statistics.median(bare):.2f}%, "
            f"largest {max(bare):.2f}%"
        )
    results |= timings()
    results["peak_memory_gb"] = peak_memory_gb()
    print(f"detection and fit  {results['detect_and_fit']['median_ms']:.0f} ms (bar 40)")
    print(f"photo to 1k GLB    {results['photo_to_glb_1k']['median_ms']:.0f} ms (bar 1000)")
    seconds = results["photo_to_detailed_glb_2k"]["median_ms"] / 1000
    print(f"full fit, detail and 2k GLB {seconds:.1f} s (bar 8)")
    print(f"cold command line  {results['cold_demo_s']:.1f} s (bar 10)")
    print(f"peak memory        {results['peak_memory_gb']:.2f} GB (bar 3)")
    write("reconstruct", results)


if __name__ == "__main__":
    main()
