"""How large a reconstructed head is in truth: what the photo, its file and the user say of it.

Each function turns one kind of evidence into a ``ScaleSource``; docs/design/scale.md says where
the deviations come from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from PIL import Image, UnidentifiedImageError

from face3d.core.camera import focal_px_from_equivalent_mm
from face3d.core.errors import InputError
from face3d.core.types import Frame
from face3d.fit.priors import FitPriors
from face3d.metric.measurements import (
    MEASUREMENTS,
    MeasurableHead,
    Measurement,
    Measurements,
    measure_head,
)
from face3d.metric.scale import (
    POPULATION,
    Scale,
    ScaleSource,
    combine_scales,
    scale_source,
    silent_source,
)
from face3d.model import HeadModel
from face3d.pipeline.eye_views import SizedPhoto, eye_views, iris_estimate, pupils_apart
from face3d.render import rasterize

OPEN_HEAD_NAME = "open head"

POPULATION_FACTOR, SHADED_FACTOR, POPULATION_LOG_SD = 1.07, 1.08, 0.05
"""Of the open head's size, given the form that landmarks tell, or landmarks and shading: on photos
the fitted eyes are too close together for adults. Other heads are taken as they are
(docs/design/scale.md)."""

IRIS_PEOPLE_LOG_SD = 0.5 / 11.7
"""The visible iris across people: 11.7 mm, standard deviation 0.5 mm."""

IRIS_RIM_LOG_SD = 0.015
"""Where the rim of a soft-edged iris lies: what light, lens and definition make of it. Believed."""

FORM_LOG_SD: dict[str, float] = {
    "pupillary_distance": 0.032, "face_width": 0.026, "face_height": 0.066, "nose_width": 0.10,
    "jaw_width": 0.039, "head_circumference": 0.030,
}  # fmt: skip
"""Of each size when the head's scale is known: what the fitted form errs, measured on renders."""

PUPILS_BY_RIMS_LOG_SD = 0.0175
"""Of the pupillary distance, likewise, if the rims of both irises were measured."""

GIVEN_LOG_SD = 0.01
"""Of what a user has measured."""

CARD_LOG_SD = 0.02
"""Of two points that may lie a centimetre before or behind the eyes, at half a metre."""

EXIF_DISTANCE_LOG_SD = 0.12
"""Of an autofocus distance and a rounded focal length together. Believed, not measured."""

EXIF_FOCAL_LOG_SD = 0.03
"""Of a focal length that EXIF rounds to whole millimetres. Believed, not measured."""

RELIEF_LOG_SD = 0.11
"""Of a fitted face's depth from nose to ears, by which a depth map is compared without a focal."""

MOST_FOCAL_PULL = 5.0
"""By how many of its prior's deviations a fit may leave EXIF's focal length; on renders with the
right one 1% of the fits go beyond."""

LEAST_DEPTH_PIXELS = 50


@dataclass(frozen=True, kw_only=True)
class KnownSizes:
    """What a user knows of true sizes in the first photo.

    Attributes:
        mm: True sizes in mm by their name in MEASUREMENTS.
        points: Two places in the photo, px, at about the depth of the eyes, and their distance in
            mm; a card held to the face, say.
        depth_m: The photo's depth map: distance along the camera's axis in metres, pixel by
            pixel; zero, NaN or infinite where there is none.
        focal_px: The photo's focal length, from a calibration.
        network: Factors to true size from elsewhere, such as a network's, as sources.
    """

    mm: Mapping[str, float] = field(default_factory=dict)
    points: tuple[tuple[float, float], tuple[float, float], float] | None = None
    depth_m: Float[np.ndarray, "h w"] | None = None
    focal_px: float | None = None
    network: tuple[ScaleSource, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be a size."""
        for name, value in self.mm.items():
            if name not in MEASUREMENTS:
                raise InputError(f"known_mm has {name!r}; the sizes are {', '.join(MEASUREMENTS)}.")
            _require_positive(f"{name} in mm", value)
        if self.points is not None:
            (ax, ay), (bx, by), length = self.points
            _require_positive("The distance of known_points in mm", length)
            apart = math.hypot(ax - bx, ay - by)
            if not (math.isfinite(apart) and apart >= 2):
                raise InputError("The two known_points must be at least 2 px apart.")
        if self.focal_px is not None:
            _require_positive("focal_px", self.focal_px)


def _require_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} is {value}; give a positive number.")


def read_depth(source: Path | str | Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "h w"]:
    """A depth map in metres.

    Args:
        source: An array of fractions in metres or of 16-bit integers in millimetres, or a 16-bit
            PNG in millimetres, as depth cameras write it.

    Raises:
        InputError: It cannot be read, or is of another kind.
    """
    if isinstance(source, str | Path):
        try:
            with Image.open(source) as picture:
                if not picture.mode.startswith("I"):
                    raise InputError(f"{source} is no depth map; it must be a 16-bit grey PNG.")
                depth = np.asarray(picture).astype(np.float64) / 1000
        except (OSError, UnidentifiedImageError) as error:
            raise InputError(f"{source} cannot be read as a depth map in PNG.") from error
    elif source.dtype == np.uint16:
        depth = source.astype(np.float64) / 1000
    elif np.issubdtype(source.dtype, np.floating):
        depth = source.astype(np.float64)
    else:
        raise InputError(
            f"The depth map holds {source.dtype}; give fractions in metres or uint16 in mm."
        )
    if depth.ndim != 2:
        raise InputError(f"The depth map has shape {depth.shape}; it must be (h, w).")
    return depth


def true_scale(
    model: HeadModel, photos: Sequence[SizedPhoto], known: KnownSizes, *, shaded: bool = False
) -> Scale:
    """Estimate a fitted head's size from all there is.

    Args:
        model: The head model.
        photos: Photos of the person, one or more; what is known refers to the first.
        known: What the user knows.
        shaded: Whether the form was fitted to shading, too.

    Returns:
        The factor from the fit's units to metres.

    Raises:
        InputError: The depth map is not of the photo's size, or shows no face.
    """
    usual = SHADED_FACTOR if shaded else POPULATION_FACTOR
    if model.data.name != OPEN_HEAD_NAME:
        usual = 1.0
    sources = [scale_source(POPULATION, usual, POPULATION_LOG_SD), _iris(model, photos)]
    notes = [note for photo in photos if (note := _focal_note(photo))]
    sources += _exif(model, photos)
    sources += [_known_length(model, photos, name, mm) for name, mm in known.mm.items()]
    if known.points is not None:
        sources.append(_known_points(model, photos[0], known.points))
    if known.depth_m is not None:
        sources.append(_depth(model, photos[0], known.depth_m, known.focal_px))
    sources += known.network
    return combine_scales(sources, notes)


def true_measurements(
    model: HeadModel, photos: Sequence[SizedPhoto], known: KnownSizes, scale: Scale
) -> Measurements:
    """Sizes of the person in mm; those that the user gave are returned as given."""
    lengths, missing = _lengths(model, photos)
    values: dict[str, Measurement] = {}
    for name, (length, form_log_sd) in lengths.items():
        if name in known.mm:
            mm, log_sd = float(known.mm[name]), GIVEN_LOG_SD
        else:
            mm = 1000 * scale.metres_per_unit * length
            log_sd = math.hypot(scale.log_sd, form_log_sd)
        values[name] = Measurement(mm=mm, sd_mm=mm * log_sd)
    return Measurements(values=values, missing=missing)


def _lengths(
    model: HeadModel, photos: Sequence[SizedPhoto]
) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """Sizes in the fit's units, the pupils' distance as the photos show it; with deviations.

    The deviations are of the logarithms, for a scale that is known.
    """
    data, shape = model.data, photos[0].fit.params.shape
    names = data.joint_names
    with torch.no_grad():
        rest = model(shape, shape.new_zeros(model.expression_count))
        joints = model.joints(shape).numpy().astype(np.float64)
    eyes = None
    if "left_eye" in names and "right_eye" in names:
        eyes = joints[[names.index("left_eye"), names.index("right_eye")]]
    head = MeasurableHead(
        vertices=rest.numpy().astype(np.float64),
        faces=data.faces,
        regions=data.regions,
        embedding=data.embeddings.get("mediapipe478"),
        eye_centres=eyes,
    )
    plain, missing = measure_head(head)
    lengths = {name: (length, FORM_LOG_SD[name]) for name, length in plain.items()}
    if "pupillary_distance" in plain:
        ratio, by_rims = pupils_apart(model, photos)
        deviation = PUPILS_BY_RIMS_LOG_SD if by_rims else FORM_LOG_SD["pupillary_distance"]
        lengths["pupillary_distance"] = (plain["pupillary_distance"] * ratio, deviation)
    return lengths, missing


def _iris(model: HeadModel, photos: Sequence[SizedPhoto]) -> ScaleSource:
    found = iris_estimate(model, photos)
    if found.refused:
        return silent_source("iris", found.refused)
    deviation = math.hypot(IRIS_PEOPLE_LOG_SD, IRIS_RIM_LOG_SD, found.log_sd)
    return scale_source("iris", math.exp(found.log_factor), deviation, note=found.note)


def _metres_per_px(model: HeadModel, photo: SizedPhoto) -> float:
    """Of the fit at the depth of the eyes, in the fit's units."""
    views = eye_views(model, photo)
    if views:
        depth = sum(float(view.centre[2]) for view in views) / len(views)
    else:
        depth = float(photo.fit.params.world_from_head[2, 3])
    return depth / float(photo.fit.camera.fx)


def _exif_focal_px(frame: Frame) -> float | None:
    if frame.focal_equivalent_mm is None:
        return None
    height, width = frame.rgb.shape[:2]
    return focal_px_from_equivalent_mm(frame.focal_equivalent_mm, width, height)


def _focal_note(photo: SizedPhoto) -> str:
    """A sentence if the face's perspective contradicts EXIF's focal length."""
    focal_px = _exif_focal_px(photo.frame)
    if focal_px is None:
        return ""
    pull = math.log(float(photo.fit.camera.fx) / focal_px) / FitPriors().log_focal_exif
    if abs(pull) <= MOST_FOCAL_PULL:
        return ""
    much = "shorter" if pull > 0 else "longer"
    return (
        f"The focal length in the EXIF data ({photo.frame.focal_equivalent_mm:.0f} mm equivalent) "
        f"is {much} than the face's perspective allows, so the picture may be cropped."
    )


def _exif(model: HeadModel, photos: Sequence[SizedPhoto]) -> list[ScaleSource]:
    """From the subject's distance, the focal length and the face's width in px."""
    for photo in photos:
        distance = photo.frame.subject_distance_m
        if distance is None:
            continue
        focal_px = _exif_focal_px(photo.frame)
        if focal_px is None:
            why = "the EXIF data gives a distance but no focal length"
            return [silent_source("exif", why, trust="metadata")]
        if _focal_note(photo):
            why = "the face's perspective contradicts the EXIF focal length"
            return [silent_source("exif", why, trust="metadata")]
        factor = distance / focal_px / _metres_per_px(model, photo)
        return [scale_source("exif", factor, EXIF_DISTANCE_LOG_SD, trust="metadata")]
    return []


def _known_length(
    model: HeadModel, photos: Sequence[SizedPhoto], name: str, mm: float
) -> ScaleSource:
    lengths, missing = _lengths(model, photos)
    if name not in lengths:
        raise InputError(f"{name} cannot be used for this head: {missing[name]}.")
    length, form_log_sd = lengths[name]
    deviation = math.hypot(GIVEN_LOG_SD, form_log_sd)
    return scale_source(f"known {name}", mm / 1000 / length, deviation, trust="given")


def _known_points(
    model: HeadModel,
    photo: SizedPhoto,
    points: tuple[tuple[float, float], tuple[float, float], float],
) -> ScaleSource:
    (ax, ay), (bx, by), mm = points
    px = math.hypot(ax - bx, ay - by)
    factor = mm / 1000 / (px * _metres_per_px(model, photo))
    # Each end is right within half a pixel or so.
    deviation = math.hypot(CARD_LOG_SD, 0.7 / px)
    return scale_source("known points", factor, deviation, trust="given")


def _depth(
    model: HeadModel, photo: SizedPhoto, depth_m: Float[np.ndarray, "h w"], focal_px: float | None
) -> ScaleSource:
    """From a depth map: by the distance if the focal length is known, else by the face's relief."""
    if depth_m.shape != photo.frame.rgb.shape[:2]:
        raise InputError(
            f"The depth map has shape {depth_m.shape}, the upright photo "
            f"{photo.frame.rgb.shape[:2]}; they must lie on each other."
        )
    with torch.no_grad():
        mesh = model.mesh(photo.fit.params, frame="world")
        own = rasterize(mesh, photo.fit.camera)
    face = model.data.regions.get("face", np.ones(len(model.data.v_template), dtype=bool))
    index = own.face_index.numpy()
    seen = (index >= 0) & face[model.data.faces].all(1)[np.maximum(index, 0)]
    seen &= np.isfinite(depth_m) & (depth_m > 0.05) & (depth_m < 20)
    if seen.sum() < LEAST_DEPTH_PIXELS:
        raise InputError(
            f"The depth map has only {int(seen.sum())} values on the face; "
            f"{LEAST_DEPTH_PIXELS} are needed, in metres."
        )
    true, fitted = depth_m[seen], own.depth_m.numpy()[seen].astype(np.float64)
    exact, camera_px = focal_px is not None, float(photo.fit.camera.fx)
    if focal_px is None and not _focal_note(photo):
        focal_px = _exif_focal_px(photo.frame)
    if focal_px is not None:
        factor = float(np.median(true / fitted)) * camera_px / focal_px
        deviation = GIVEN_LOG_SD if exact else math.hypot(GIVEN_LOG_SD, EXIF_FOCAL_LOG_SD)
        return scale_source("depth map", factor, deviation, trust="given")
    factor = _relief_ratio(true, fitted)
    if not factor > 0:
        return silent_source("depth map", "it shows no relief of the face", trust="given")
    note = "no focal length is known, so only the face's relief was compared"
    return scale_source("depth map", factor, RELIEF_LOG_SD, trust="given", note=note)


def _relief_ratio(true: Float[np.ndarray, "n"], fitted: Float[np.ndarray, "n"]) -> float:
    """How much deeper one relief of a face is than another, pixel by pixel, robustly."""
    keep = np.ones(len(true), dtype=bool)
    slope = 0.0
    for _ in range(6):
        x, y = fitted[keep] - fitted[keep].mean(), true[keep] - true[keep].mean()
        # The line that serves both as error-prone: geometric mean of both regressions.
        slope = float(np.sqrt((y @ y) / (x @ x)) * np.sign(x @ y))
        rest = np.abs(true - true[keep].mean() - slope * (fitted - fitted[keep].mean()))
        keep = rest <= 3 * max(1.483 * float(np.median(rest)), 1e-6)
    return slope
