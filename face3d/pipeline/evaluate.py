"""Predictions against scans: files in, errors out."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from PIL import Image, UnidentifiedImageError

from face3d.core.errors import AssetError, InputError
from face3d.export import read_glb
from face3d.metric import (
    CURVE_MM,
    FROM_IBUG68,
    FROM_MEDIAPIPE478,
    LANDMARKS,
    MESH_SUFFIXES,
    METRES,
    ErrorSummary,
    NowResult,
    RegionErrors,
    Surface,
    apply_transform,
    cumulative,
    landmark_distances,
    normal_angles,
    now_distances,
    pooled,
    read_landmarks,
    read_mesh,
    region_errors,
    summary,
    texture_psnr,
    unit_of,
)
from face3d.metric.now_folder import NowPart, read_now_folder
from face3d.model import HeadData
from face3d.pipeline.heads import OPEN_HEAD, load_head
from face3d.pipeline.saved import load

Unit = Literal["auto", "mm", "cm", "m"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A surface with the protocol's seven landmarks, metres.

    Attributes:
        vertices: Of the person at rest.
        faces: None of a scan that is points only.
        landmarks: In the order of face3d.metric.LANDMARKS.
        unit: Of the file.
    """

    vertices: Float[np.ndarray, "vertex 3"]
    faces: Int[np.ndarray, "face 3"]
    landmarks: Float[np.ndarray, "7 3"]
    unit: str


@dataclass(frozen=True, kw_only=True)
class Errors:
    """One way of comparing, with or without the size."""

    scan_to_mesh: ErrorSummary
    landmarks_mm: Mapping[str, float]  # of the aligned prediction, by name
    normals_deg: Mapping[str, float] | None  # mean and median angle to the scan's normals
    converged: bool  # whether the alignment settled


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What face3d evaluate says of one prediction.

    Attributes:
        non_metric: The size removed.
        metric: At the predicted size, if asked for.
        regions: By region, if asked for.
        texture_psnr_db: If pictures were given.
        units: The files' units, of the prediction and the scan.
    """

    non_metric: Errors
    metric: Errors | None
    regions: Mapping[str, RegionErrors] | None
    texture_psnr_db: float | None
    units: Mapping[str, str]

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def evaluate(
    prediction: Path,
    scan: Path,
    *,
    landmarks: Path,
    prediction_landmarks: Path | None = None,
    metric: bool = False,
    regions: bool = False,
    texture: tuple[Path, Path] | None = None,
    unit: Unit = "auto",
    prediction_unit: Unit = "auto",
) -> Evaluation:
    """Compare a predicted head with a scan of the person by the NoW protocol.

    Args:
        prediction: .npz (parameters), .glb, .obj, .ply or .stl; the person at rest.
        scan: .obj, .ply or .stl.
        landmarks: Of the scan: .pp, .txt, .npy or .json with seven points in the scan's unit.
        prediction_landmarks: Of the prediction; heads with the open head's mesh need none.
        metric: Also compare at the predicted size.
        regions: Also compare by region, with non-rigid correspondence.
        texture: Two pictures of one size, predicted and true, whose colours are compared too.
        unit: Of the scan; "auto" takes the one in which the eyes are as far apart as eyes are.
        prediction_unit: Of the prediction; unless ``metric``, any will do.

    Raises:
        InputError: A file is missing or damaged, or does not go with the others.
        AssetError: A head that the prediction was made with is not installed.
    """
    true = read_measured(scan, landmarks, unit=unit)
    mine = read_prediction(prediction, prediction_landmarks, unit=prediction_unit, sized=metric)
    by_region = None
    if regions:
        by_region = region_errors(
            Surface(mine.vertices, mine.faces),
            mine.landmarks,
            Surface(true.vertices, true.faces),
            true.landmarks,
        )
    return Evaluation(
        non_metric=_errors(mine, true, metric=False),
        metric=_errors(mine, true, metric=True) if metric else None,
        regions=by_region,
        texture_psnr_db=None if texture is None else _texture_error(*texture),
        units={"prediction": mine.unit, "scan": true.unit},
    )


def read_measured(
    path: Path, landmarks: Path, *, unit: Unit = "auto", sized: bool = True
) -> Measured:
    """A mesh and its landmarks from files.

    Args:
        path: .obj, .ply or .stl.
        landmarks: See face3d.metric.read_landmarks.
        unit: Of both.
        sized: Whether the size matters; if not, a unit that cannot be told is no error.

    Raises:
        InputError: A file cannot be used, or the unit cannot be told.
    """
    vertices, faces = read_mesh(path)
    return _in_metres(vertices, faces, read_landmarks(landmarks), unit, sized=sized)


def read_prediction(
    path: Path, landmarks: Path | None, *, unit: Unit = "auto", sized: bool = True
) -> Measured:
    """A predicted head at rest from any file that heads are kept in.

    Args:
        path: .npz, .glb, .obj, .ply or .stl.
        landmarks: Where its landmarks are, if its mesh is not the open head's.
        unit: Of both.
        sized: As of read_measured.

    Raises:
        InputError: The file is of another kind, or its landmarks are not known.
    """
    suffix = path.suffix.lower()
    data: HeadData | None = None
    if suffix == ".npz":
        head = load(path)
        data = head.model.data
        vertices = head.metres_per_unit * head.neutral.vertices.double().numpy()
        faces = data.faces
    elif suffix == ".glb":
        character, _ = read_glb(path)
        vertices, faces = character.vertices.astype(np.float64), character.topology.faces
    elif suffix in MESH_SUFFIXES:
        vertices, faces = read_mesh(path)
    else:
        known = ", ".join([".npz", ".glb", *MESH_SUFFIXES])
        raise InputError(f"{path} is no head; give a file that ends in {known}.")
    if not len(faces):
        raise InputError(f"{path} holds no triangles; give a mesh.")
    if landmarks is not None:
        points = read_landmarks(landmarks)
    else:
        points = _own_landmarks(data or _open_head(len(vertices)), vertices, path)
    return _in_metres(vertices, faces, points, unit, sized=sized)


@lru_cache(maxsize=1)
def _open_head_data() -> HeadData | None:
    try:
        return load_head(OPEN_HEAD).data
    except AssetError:
        return None


def _open_head(count: int) -> HeadData | None:
    """The open head, if a mesh of so many vertices can be one: writers keep their order."""
    data = _open_head_data()
    return data if data is not None and len(data.v_template) == count else None


def _own_landmarks(
    data: HeadData | None, vertices: Float[np.ndarray, "vertex 3"], path: Path
) -> Float[np.ndarray, "7 3"]:
    """The seven points of a head whose model knows where they are."""
    for layout, wanted in (("ibug68", FROM_IBUG68), ("mediapipe478", FROM_MEDIAPIPE478)):
        known = data.embeddings.get(layout) if data is not None else None
        if data is None or known is None or not np.isin(wanted, known.indices).all():
            continue
        rows = np.searchsorted(known.indices, wanted)
        corners = vertices[data.faces[known.face_index[rows]]]
        return (corners * known.barycentric[rows][..., None]).sum(1)
    raise InputError(
        f"Where the landmarks of {path} are is not known; give a file with seven points on it by "
        "--prediction-landmarks."
    )


def _in_metres(
    vertices: Float[np.ndarray, "vertex 3"],
    faces: Int[np.ndarray, "face 3"],
    landmarks: Float[np.ndarray, "7 3"],
    unit: Unit,
    *,
    sized: bool,
) -> Measured:
    name = str(unit)
    if unit == "auto":
        try:
            name = unit_of(landmarks)
        except InputError:
            if sized:
                raise
            name = "unknown"
    metres = METRES.get(name, 1.0)
    return Measured(
        vertices=vertices * metres, faces=faces, landmarks=landmarks * metres, unit=name
    )


def _errors(mine: Measured, true: Measured, *, metric: bool) -> Errors:
    surface = Surface(mine.vertices, mine.faces)
    result = now_distances(surface, mine.landmarks, true.vertices, true.landmarks, metric=metric)
    each = landmark_distances(result, mine.landmarks, true.landmarks) * 1e3
    return Errors(
        scan_to_mesh=summary(result.distances_m),
        landmarks_mm={"mean": float(each.mean()), **dict(zip(LANDMARKS, each.tolist()))},
        normals_deg=_normal_errors(surface, true, result) if len(true.faces) else None,
        converged=result.converged,
    )


def _normal_errors(surface: Surface, true: Measured, result: NowResult) -> dict[str, float]:
    """Angles between the scan's normals and those of the nearest places, degrees."""
    placed = result.scan_from_mesh
    points = true.vertices[result.inside]
    near = surface.closest(apply_transform(np.linalg.inv(placed), points))
    there = surface.normals_at(near) @ placed[:3, :3].T
    here = Surface(true.vertices, true.faces).vertex_normals()[result.inside]
    angles = np.degrees(normal_angles(there, here))
    return {"mean": float(angles.mean()), "median": float(np.median(angles))}


def _texture_error(predicted: Path, true: Path) -> float:
    """PSNR where the true picture is opaque."""
    pictures: list[np.ndarray] = []
    for path in (predicted, true):
        try:
            with Image.open(path) as picture:
                pictures.append(np.asarray(picture.convert("RGBA")) / 255.0)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} cannot be read as a picture; check the file.") from error
    mine, theirs = pictures
    if mine.shape != theirs.shape:
        raise InputError(
            f"{predicted} has {mine.shape[1]} x {mine.shape[0]} px and {true} has "
            f"{theirs.shape[1]} x {theirs.shape[0]}; give textures of one size and layout."
        )
    return texture_psnr(mine[..., :3], theirs[..., :3], theirs[..., 3] > 0.5)


@dataclass(frozen=True, kw_only=True)
class NowEvaluation:
    """The NoW table of one method.

    Attributes:
        non_metric: By category of pictures and "all", over the vertices of all of them.
        metric: The same at the predicted sizes, if asked for.
        regions: Means over the pictures, if asked for.
        curve: Thresholds in mm and the shares below them, non-metric.
        pictures: The median of each picture, mm, non-metric.
    """

    non_metric: Mapping[str, ErrorSummary]
    metric: Mapping[str, ErrorSummary] | None
    regions: Mapping[str, Mapping[str, float]] | None
    curve: Mapping[str, list[float]]
    pictures: Mapping[str, float]

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def evaluate_now(
    folder: Path,
    predictions: Path,
    *,
    part: NowPart = "validation",
    metric: bool = False,
    regions: bool = False,
    unit: Unit = "auto",
    prediction_unit: Unit = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> NowEvaluation:
    """Compute the NoW benchmark's figures.

    Args:
        folder: The official folder; see face3d.metric.now_folder.
        predictions: A mesh of the person at rest and its landmarks for every picture.
        part: Which list of pictures.
        metric: Also at the predicted sizes.
        regions: Also by region.
        unit: Of the scans.
        prediction_unit: Of the predictions.
        progress: Called with pictures done and in all.

    Raises:
        InputError: Something is missing or cannot be used; the message names it.
    """
    cases = read_now_folder(folder, predictions, part=part)
    ways = (False, True) if metric else (False,)
    distances: dict[bool, dict[str, list[np.ndarray]]] = {w: defaultdict(list) for w in ways}
    by_region: dict[str, list[RegionErrors]] = defaultdict(list)
    medians: dict[str, float] = {}
    read_scan = lru_cache(maxsize=2)(read_measured)
    for number, case in enumerate(cases):
        try:
            true = read_scan(case.scan, case.scan_landmarks, unit=unit)
            mine = read_measured(
                case.prediction, case.prediction_landmarks, unit=prediction_unit, sized=metric
            )
            surface = Surface(mine.vertices, mine.faces)
            for way in ways:
                found = now_distances(
                    surface, mine.landmarks, true.vertices, true.landmarks, metric=way
                )
                distances[way][case.category].append(found.distances_m)
                if not way:
                    medians[case.picture] = summary(found.distances_m).median_mm
            if regions:
                scan = Surface(true.vertices, true.faces)
                errors = region_errors(surface, mine.landmarks, scan, true.landmarks)
                for name, error in errors.items():
                    by_region[name].append(error)
        except InputError as error:
            raise InputError(f"{case.picture}: {error}") from error
        if progress is not None:
            progress(number + 1, len(cases))
    every = np.concatenate([d for parts in distances[False].values() for d in parts])
    return NowEvaluation(
        non_metric=pooled(distances[False]),
        metric=pooled(distances[True]) if metric else None,
        regions={n: _mean_of(e) for n, e in by_region.items()} if regions else None,
        curve={"mm": list(CURVE_MM), "share": cumulative(every).tolist()},
        pictures=medians,
    )


def _mean_of(errors: list[RegionErrors]) -> dict[str, float]:
    names = ("rms_mm", "mean_mm", "nearest_mean_mm")
    means = {name: float(np.mean([getattr(e, name) for e in errors])) for name in names}
    return {**means, "pictures": float(len(errors))}
