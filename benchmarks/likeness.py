"""Likeness: fitted heads against the true faces of people that no part of face3d was made from.

    python benchmarks/likeness.py             # 30 heads, five photos each; ten minutes or so
    python benchmarks/likeness.py --heads 2   # a minute
    python benchmarks/likeness.py --all       # all twenty photos of each head

Random heads of ICT-FaceKit (a model of Light Stage scans) at rest and with ICT's own expressions,
painted and lit by chance before all kinds of backgrounds, and one laser scan of a real face. The
truth is the person at rest as a scanner in front would see it, and the measure is the NoW
protocol's. ICT is for measuring only: nothing is trained or tuned on it.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from machine import write
from scipy.ndimage import gaussian_filter
from surface import (
    DISTANCE_M,
    FOCAL_PX,
    SCANS,
    SIZE,
    Subject,
    ict_landmarks,
    ict_subject,
    random_light,
    scan_subject,
    studio_camera,
)

import face3d
from face3d.core import Camera, HeadMesh, Topology
from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.transforms import rigid_from_parts, transform_points
from face3d.metric import (
    FROM_IBUG68,
    FROM_MEDIAPIPE478,
    Surface,
    now_distances,
    region_errors,
    summary,
)
from face3d.metric.visibility import seen_from_front
from face3d.model import HeadModel, read_ict
from face3d.render import interpolate, rasterize, sh_basis, srgb_from_linear, vertex_normals

SEEDS = tuple(range(1000, 1030))
"""The 30 people; surface.py's are others."""

YAWS_DEG = (-40, -20, 0, 20, 40)
EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {
        "mouthSmileLeft": 0.7, "mouthSmileRight": 0.7, "cheekSquintLeft": 0.4,
        "cheekSquintRight": 0.4,
    },
    "speech": {"jawOpen": 0.35, "mouthFunnel": 0.4, "browInnerUp": 0.3},
    "frown": {
        "browDownLeft": 0.7, "browDownRight": 0.7, "mouthFrownLeft": 0.5, "mouthFrownRight": 0.5,
        "eyeSquintLeft": 0.4, "eyeSquintRight": 0.4,
    },
}  # fmt: skip
TRIPLES_DEG = ((0, -40, 40), (0, -20, 20))
SCAN_YAWS_DEG = (0, -15, 15)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A person as a scanner sees it; metres, the person's own frame.

    ``surface`` is at rest for painted heads and as pictured for the laser scan; ``pd_m`` is the
    distance between the pupils, if it is known.
    """

    name: str
    surface: Surface
    landmarks: np.ndarray  # (7, 3), ordered as face3d.metric.LANDMARKS
    at_rest: bool
    pd_m: float | None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A photo and all that is known of it."""

    rgb: np.ndarray  # (h, w, 3) uint8
    yaw_deg: int
    expression: str
    camera: Camera
    vertices: np.ndarray  # (v, 3) the pictured surface in the camera's frame
    faces: np.ndarray
    landmarks: np.ndarray | None  # (68, 3) on it, iBUG's, if they are known
    shown: np.ndarray  # (h, w, 3) the point that each pixel shows, NaN beside the person


@dataclass(frozen=True, kw_only=True)
class Case:
    """One person's photos and the truth."""

    truth: Truth
    pictures: tuple[Picture, ...]
    triples: tuple[tuple[int, ...], ...]  # numbers of photos that are given together


def ict_case(model: HeadModel, number: int, *, every: bool = False, quick: bool = False) -> Case:
    """One of the 30 heads.

    Args:
        model: ICT-FaceKit.
        number: 0 to 29.
        every: All expressions at all yaws. Otherwise each yaw once, with expressions in turn, so
            that over four heads every expression is met at every yaw.
        quick: Only the first triple's photos.
    """
    seed, names = SEEDS[number], list(EXPRESSIONS)
    subject = ict_subject(model, seed)
    rng = np.random.default_rng(seed)
    shape = torch.tensor(rng.standard_normal(model.identity_count)).float()
    at_rest = model(shape, torch.zeros(model.expression_count)).detach().numpy()
    assert np.allclose(at_rest, subject.vertices), "ict_subject draws the identity first"
    subject = replace(subject, linear_rgb=living_skin(model, subject, rng))
    yaws = TRIPLES_DEG[0] if quick else YAWS_DEG
    if every:
        jobs = [(yaw, name) for name in names for yaw in yaws]
    else:
        jobs = [(yaw, names[(k + number) % len(names)]) for k, yaw in enumerate(yaws)]
    landmarks = ict_landmarks()
    pictures: list[Picture] = []
    for yaw, name in jobs:
        weights = torch.zeros(model.expression_count)
        for shape_name, weight in EXPRESSIONS[name].items():
            weights[model.data.expression_names.index(shape_name)] = weight
        posed = replace(subject, vertices=model(shape, weights).detach().numpy())
        pictures.append(shoot(posed, yaw, rng, expression=name, landmarks=landmarks))
    # Together are the first photos at those yaws; of all expressions, those of one expression.
    blocks = range(0, len(jobs), len(yaws))
    triples = [
        tuple(first + yaws.index(yaw) for yaw in three)
        for three in TRIPLES_DEG
        for first in blocks
        if set(three) <= set(yaws)
    ]
    regions = model.data.regions
    eyes = [at_rest[regions[f"{side}_iris"]].mean(0) for side in ("left", "right")]
    return Case(
        truth=Truth(
            name=f"ict {seed}",
            surface=scanned(at_rest, model.data.faces, regions["face"]),
            landmarks=at_rest[landmarks[list(FROM_IBUG68)]].astype(np.float64),
            at_rest=True,
            pd_m=float(np.linalg.norm(eyes[0] - eyes[1])),
        ),
        pictures=tuple(pictures),
        triples=tuple(triples),
    )


def laser_case() -> Case:
    """The laser scan. It has no landmarks: the detector's on the frontal photo stand for them."""
    subject = scan_subject()
    rng = np.random.default_rng(0)
    pictures = tuple(shoot(subject, yaw, rng, expression="its own") for yaw in SCAN_YAWS_DEG)
    front = pictures[0]
    seen = face3d.reconstruct(front.rgb).detection.landmarks[list(FROM_MEDIAPIPE478), :2]
    column, row = seen.astype(int).clip(0, SIZE - 1).T
    surface = Surface(front.vertices, front.faces)
    return Case(
        truth=Truth(
            name="laser scan",
            surface=surface,
            landmarks=surface.closest(front.shown[row, column]).points,
            at_rest=False,
            pd_m=None,
        ),
        pictures=pictures,
        triples=(tuple(range(len(pictures))),),
    )


def scanned(vertices: np.ndarray, faces: np.ndarray, skin: np.ndarray) -> Surface:
    """What scanners in front and at both sides see of the skin; the rest of it is left out."""
    vertices = vertices.astype(np.float64)
    whole = Surface(vertices, faces)
    centre = vertices[skin & (vertices[:, 2] > np.quantile(vertices[:, 2], 0.9))].mean(0)
    seen = np.zeros(len(vertices), dtype=bool)
    for yaw in (-45.0, 0.0, 45.0):
        turn = matrix_from_axis_angle(torch.tensor([0.0, np.radians(yaw), 0.0])).double().numpy()
        seen |= seen_from_front(whole, turn, centre, 0.16)
    kept = faces[(seen & skin)[faces].all(1)]
    used, own = np.unique(kept, return_inverse=True)
    return Surface(vertices[used], own.reshape(-1, 3))


def living_skin(model: HeadModel, subject: Subject, rng: np.random.Generator) -> np.ndarray:
    """Colours that vary over the skin: blotches of some centimetres, and grain."""
    regions = model.data.regions
    skin = regions["face"] | regions["head_and_neck"]
    colour = subject.linear_rgb.astype(np.float64)
    points = model.data.v_template
    for weights in ([1.0, 0.7, 0.6], [0.4, 1.0, 1.0]):  # blood, pigment
        blotches = np.zeros(len(points))
        for _ in range(12):
            wave = rng.normal(size=3)
            wave *= 2 * np.pi / rng.uniform(0.02, 0.09) / np.linalg.norm(wave)
            blotches += np.cos(points @ wave + rng.uniform(0, 2 * np.pi)) / np.sqrt(6)
        colour *= np.exp(0.05 * blotches[:, None] * weights * skin[:, None])
    grain = 0.04 * rng.standard_normal((len(points), 1)) * skin[:, None]
    return np.clip(colour * np.exp(grain), 0, 1)


def backdrop(rng: np.random.Generator) -> np.ndarray:
    """A background, sRGB: colours that run into each other, with noise of several sizes."""
    corners = rng.uniform(0.05, 0.9, (2, 2, 1)) + rng.uniform(-0.15, 0.15, (2, 2, 3))
    along = np.linspace(0, 1, SIZE)[:, None]
    top, bottom = (c[0] * (1 - along) + c[1] * along for c in corners)
    picture = top * (1 - along[..., None]) + bottom * along[..., None]
    for size, strength in ((60.0, 0.2), (12.0, 0.12), (2.0, 0.05)):
        grey, colour = rng.standard_normal((SIZE, SIZE, 1)), rng.standard_normal((SIZE, SIZE, 3))
        noise = gaussian_filter(grey + 0.4 * colour, (size, size, 0))
        picture = picture + strength * rng.uniform() * noise / noise.std()
    return np.clip(picture, 0, 1)


def shoot(
    subject: Subject,
    yaw_deg: int,
    rng: np.random.Generator,
    *,
    expression: str,
    landmarks: np.ndarray | None = None,
) -> Picture:
    """Render a subject, from nearer or farther with the lens that goes with it."""
    distance = rng.uniform(0.45, 0.95)
    focal = torch.tensor(FOCAL_PX * distance / DISTANCE_M * rng.uniform(0.9, 1.1)).float()
    camera = replace(studio_camera(), fx=focal, fy=focal)
    turn = matrix_from_axis_angle(torch.tensor([0.0, np.radians(yaw_deg), 0.0]))
    nod = matrix_from_axis_angle(torch.tensor([np.radians(rng.normal(0, 4)), 0.0, 0.0]))
    rotation = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    rotation = rotation @ nod.double() @ turn.double()
    vertices = torch.tensor(subject.vertices).double()
    face = vertices[vertices[:, 2] > vertices[:, 2].quantile(0.8)].mean(0)
    place = torch.tensor([0.0, 0.0, distance], dtype=torch.float64) - rotation @ face
    world = transform_points(rigid_from_parts(rotation, place), vertices).float()
    mesh = HeadMesh(vertices=world, frame="world", topology=Topology(faces=subject.faces))
    fragments = rasterize(mesh, camera)
    faces, seen = torch.as_tensor(subject.faces), fragments.face_index >= 0
    normal = interpolate(fragments, vertex_normals(world, faces), faces)[seen]
    albedo = interpolate(fragments, torch.tensor(subject.linear_rgb).float(), faces)[seen]
    light = random_light(rng)
    shade = torch.ones(1)
    if subject.painted:  # a photographic texture has its own light
        basis = sh_basis(torch.nn.functional.normalize(normal, dim=-1))
        shade = (basis @ light).clamp(min=0.02)
    picture = torch.tensor(backdrop(rng)).float()
    picture[seen] = srgb_from_linear((albedo * shade).clamp(0, 1))
    soft = gaussian_filter(picture.numpy(), (0.6, 0.6, 0)) + rng.normal(0, 0.006, picture.shape)
    shown = torch.full((SIZE, SIZE, 3), torch.nan)
    shown[seen] = interpolate(fragments, world, faces)[seen]
    return Picture(
        rgb=(np.clip(soft, 0, 1) * 255 + 0.5).astype(np.uint8),
        yaw_deg=yaw_deg,
        expression=expression,
        camera=camera,
        vertices=world.double().numpy(),
        faces=subject.faces,
        landmarks=None if landmarks is None else world[landmarks].double().numpy(),
        shown=shown.double().numpy(),
    )


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A head of the open model, at rest or as in the first photo."""

    vertices: np.ndarray
    landmarks: np.ndarray
    pd_m: float


def predicted(model: HeadModel, head: face3d.Head | None, *, at_rest: bool) -> Prediction:
    """The surface to compare; no head is the mean head."""
    with torch.no_grad():
        if head is None:
            vertices = model(torch.zeros(model.identity_count), torch.zeros(model.expression_count))
        elif at_rest:
            vertices = head.neutral.vertices
        else:
            vertices = head.model.mesh(head.params, frame="head").vertices
    size = 1.0 if head is None else head.scale.metres_per_unit
    vertices = size * vertices.double().numpy()
    data = model.data
    known, rows = data.embeddings["ibug68"], list(FROM_IBUG68)
    corners = vertices[data.faces[known.face_index[rows]]]
    pupils = [
        vertices[data.regions["pupil"] & data.regions[f"{side}_eye"]].mean(0)
        for side in ("left", "right")
    ]
    return Prediction(
        vertices=vertices,
        landmarks=(corners * known.barycentric[rows][..., None]).sum(1),
        pd_m=1e-3 * head.measurements["pupillary_distance"].mm
        if head is not None
        else float(np.linalg.norm(pupils[0] - pupils[1])),
    )


Method = Callable[[Sequence[np.ndarray]], "face3d.Head | None"]
METHODS: dict[str, Method] = {
    "mean": lambda photos: None,
    "landmarks": lambda photos: face3d.reconstruct(list(photos), texture=128, fast=True),
    "full": lambda photos: face3d.reconstruct(list(photos), texture=128),
}


def cases(count: int, *, every: bool = False, quick: bool = False) -> Iterator[Case]:
    """The first ``count`` of the 30 heads, then the laser scan."""
    model = HeadModel(read_ict(SCANS / "ict"))
    for number in range(count):
        yield ict_case(model, number, every=every, quick=quick)
    yield laser_case()


def measure(case: Case, methods: Sequence[str], *, regions: bool) -> Iterator[dict[str, object]]:
    """Rows of one person: each method on each photo and each triple."""
    open_head = face3d.load_head("open")
    faces = open_head.data.faces
    skin = faces[open_head.data.regions["skin"][faces].all(1)]
    truth = case.truth
    jobs = [("one", (k,)) for k in range(len(case.pictures))]
    jobs += [("three", triple) for triple in case.triples]
    for name in methods:
        # The mean head is the same whatever the photo.
        for count, numbers in [("no", ())] if name == "mean" else jobs:
            photos = [case.pictures[k] for k in numbers]
            head = METHODS[name]([p.rgb for p in photos])
            found = predicted(open_head, head, at_rest=truth.at_rest)
            surface = Surface(found.vertices, skin)
            row: dict[str, object] = {
                "subject": truth.name,
                "method": name,
                "photos": count,
                "yaws_deg": [p.yaw_deg for p in photos],
                "expressions": [p.expression for p in photos],
            }
            for label, metric in (("non-metric", False), ("metric", True)):
                result = now_distances(
                    surface,
                    found.landmarks,
                    truth.surface.vertices,
                    truth.landmarks,
                    metric=metric,
                )
                row[label] = result.distances_m
            if truth.pd_m is not None:
                row["pd_error"] = found.pd_m / truth.pd_m - 1
            if regions:
                row["regions_mm"] = {
                    region: error.mean_mm
                    for region, error in region_errors(
                        surface, found.landmarks, truth.surface, truth.landmarks
                    ).items()
                }
            yield row


def table(rows: Sequence[dict[str, object]]) -> dict[str, dict[str, float]]:
    """Pooled over all vertices of all people, by photos, method and protocol."""
    out: dict[str, dict[str, float]] = {}
    groups: dict[tuple[str, str], list[dict[str, object]]] = defaultdict(list)
    for row in rows:
        groups[str(row["photos"]), str(row["method"])].append(row)
    for (photos, method), part in groups.items():
        for label in ("non-metric", "metric"):
            pooled = summary(np.concatenate([np.asarray(row[label]) for row in part]))
            entry = {
                "median_mm": pooled.median_mm,
                "mean_mm": pooled.mean_mm,
                "sd_mm": pooled.sd_mm,
                "pictures": float(len(part)),
            }
            errors = [abs(float(str(row["pd_error"]))) for row in part if "pd_error" in row]
            if label == "metric" and errors:
                entry["pd_error_percent"] = 100 * float(np.median(errors))
            out[f"{photos} photo{'s' * (photos == 'three')}, {method}, {label}"] = entry
    return out


def brief(row: dict[str, object]) -> dict[str, object]:
    """A row with medians in place of the distances."""
    medians = {
        label: summary(np.asarray(row[label])).median_mm for label in ("non-metric", "metric")
    }
    return {**row, **medians}


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--heads", type=int, default=len(SEEDS), choices=range(len(SEEDS) + 1))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--all", action="store_true", help="all expressions at all yaws")
    parser.add_argument("--quick", action="store_true", help="three photos of each head")
    parser.add_argument("--regions", action="store_true", help="errors by region, too")
    options = parser.parse_args()
    results: dict[str, object] = {}
    groups: dict[str, list[dict[str, object]]] = {"ict": [], "laser": []}
    for case in cases(options.heads, every=options.all, quick=options.quick):
        group = groups[case.truth.name.split()[0]]
        print(f"{case.truth.name} ...", file=sys.stderr, flush=True)
        group += measure(case, options.methods, regions=options.regions)
    for name, rows in groups.items():
        if not rows:
            continue
        results[name] = table(rows)
        print(f"{name:38s}{'median':>8s}{'mean':>8s}{'sd':>8s} mm{'PD off':>10s}")
        for label, entry in table(rows).items():
            figures = "".join(f"{entry[k]:8.2f}" for k in ("median_mm", "mean_mm", "sd_mm"))
            pd = entry.get("pd_error_percent")
            print(f"  {label:36s}{figures}" + ("" if pd is None else f"{pd:12.1f}%"))
    results["rows"] = [brief(row) for rows in groups.values() for row in rows]
    whole = options.heads == len(SEEDS) and not options.quick and len(options.methods) == 3
    write("likeness" if whole else "likeness_part", results)


if __name__ == "__main__":
    main()
