"""True size: error of the pupils' distance, and whether the stated deviation is honest.

    python benchmarks/scale.py

Random heads of ICT-FaceKit (../shared/real/scans), painted as in surface.py, but in each picture
with an iris of another person's width (11.7 mm, standard deviation 0.5 mm), are rendered, detected
and fitted like any photo. No distance and no focal length is told. No value was fitted to these
heads, but see docs/design/scale.md for what was changed after looking at them.
"""

import numpy as np
import torch
from machine import write
from surface import SCANS, Subject, ict_subject, photograph

import face3d
from face3d.metric.scale import POPULATION
from face3d.model import HeadModel, read_ict
from face3d.render import linear_from_srgb

HEADS = 30
YAWS_DEG = (-25, -12, 0, 12, 25)
IRIS_MM, IRIS_SD_MM = 11.7, 0.5
SOFT_MM = 0.6
"""Half the width of the painted rim: vertices of the eye are half as far apart."""


def with_iris(model: HeadModel, subject: Subject, seed: int) -> tuple[Subject, float, float]:
    """The subject with an iris of random width; the pupils' distance and that width, mm."""
    rng = np.random.default_rng(seed + 1000)  # of each picture: that many independent irises
    diameter = IRIS_MM + IRIS_SD_MM * rng.standard_normal()
    regions, colour = model.data.regions, subject.linear_rgb.copy()
    iris, white = rng.uniform(0.1, 0.45, 3), np.full(3, rng.uniform(0.7, 0.9))
    centres = []
    for side in ("left", "right"):
        ball = regions[f"{side}_sclera"] | regions[f"{side}_iris"]
        at = subject.vertices[ball]
        centre = at[at[:, 2] > np.quantile(at[:, 2], 0.98)].mean(0)
        centre[:2] = subject.vertices[regions[f"{side}_iris"], :2].mean(0)
        centres.append(centre)
        off = 1e3 * np.linalg.norm((at - centre)[:, :2], axis=1)
        share = np.clip((diameter / 2 - off) / (2 * SOFT_MM) + 0.5, 0, 1)[:, None]
        paint = white * (1 - share) + iris * share
        paint[off < 2.0] = 0.02
        # Mixed in sRGB, so that the rim's middle is where a person looking at the picture sees it.
        colour[ball] = linear_from_srgb(torch.tensor(paint)).numpy()
    apart = 1e3 * float(np.linalg.norm(centres[0] - centres[1]))
    return Subject(**{**vars(subject), "linear_rgb": colour}), apart, diameter


def judge(model: HeadModel, seed: int, yaw_deg: float) -> dict[str, object]:
    """One picture: the error of the pupils' distance over the truth, and what was stated."""
    subject, true_mm, iris_mm = with_iris(
        model, ict_subject(model, seed), 100 * seed + int(yaw_deg)
    )
    picture = photograph(subject, yaw_deg, seed).rgb
    head = face3d.reconstruct(picture)
    scale, pupils = head.scale, head.measurements["pupillary_distance"]
    return {
        "subject": subject.name,
        "yaw_deg": yaw_deg,
        "true_mm": true_mm,
        "iris_mm": iris_mm,
        "estimated_mm": pupils.mm,
        "sd_mm": pupils.sd_mm,
        "fitted_mm": pupils.mm / scale.metres_per_unit,
        "sources": [s for s in scale.used if s != POPULATION],
        "notes": [s.note for s in scale.sources if s.note] + list(scale.notes),
    }


def summary(rows: list[dict[str, object]]) -> dict[str, float]:
    """Medians and coverage."""
    true, got, sd, alone = (
        np.array([float(str(row[name])) for row in rows])
        for name in ("true_mm", "estimated_mm", "sd_mm", "fitted_mm")
    )
    return {
        "pictures": len(rows),
        "median_error_percent": float(100 * np.median(np.abs(got / true - 1))),
        "bias_percent": float(100 * np.mean(got / true - 1)),
        "fitted_size_median_error_percent": float(100 * np.median(np.abs(alone / true - 1))),
        "within_one_sd_percent": float(100 * np.mean(np.abs(got - true) < sd)),
        "median_stated_sd_percent": float(100 * np.median(sd / got)),
        "iris_used_percent": float(100 * np.mean([bool(row["sources"]) for row in rows])),
    }


def main() -> None:
    """Run, print, keep."""
    model = HeadModel(read_ict(SCANS / "ict"))
    rows = [judge(model, seed, yaw) for seed in range(HEADS) for yaw in YAWS_DEG]
    results: dict[str, object] = {"all": summary(rows)}
    for yaw in YAWS_DEG:
        results[f"yaw {yaw}"] = summary([row for row in rows if row["yaw_deg"] == yaw])
    for name, values in results.items():
        print(name, *(f"{key} {value:.2f}" for key, value in values.items()), sep="\n  ")
    write("scale", {**results, "rows": rows})


if __name__ == "__main__":
    main()
