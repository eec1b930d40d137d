"""A fitted head's eyes in a photo: where their irises lie, and how wide these are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from face3d.core.landmarks import LEFT_IRIS, RIGHT_IRIS
from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.types import Detection, FitResult, Frame
from face3d.detect.iris import IrisWidth, measure_iris
from face3d.model import HeadModel

IRIS_RADIUS_M = 0.00585
"""Half of the 11.7 mm that the visible iris measures in almost everybody."""

IRIS_AHEAD_M = 0.0138
"""From the centre of the open head's eyeball to the plane of the iris's rim."""

GAZE_SD_RAD = 0.08
"""Error of the fitted gaze. By renders 0.055; people who look into the camera get 0.05 to 0.2."""

VIEW_LOG_SD = 0.01
"""Of the fit's scale at the eyes against that of the face, measured on renders."""

MOST_TILT_RAD = 0.8
"""Eyes turned farther from the camera are left out."""

OPENINGS = (
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
)
"""mediapipe478: outline between the lids of the left and of the right eye, from the outer corner
along the upper lid and back."""

LEAST_VISIBLE = 0.5


@runtime_checkable
class SizedPhoto(Protocol):
    """A photo of the person with its fit."""

    @property
    def frame(self) -> Frame:
        """The picture."""
        ...

    @property
    def detection(self) -> Detection:
        """Its landmarks, one face."""
        ...

    @property
    def fit(self) -> FitResult:
        """The head in it."""
        ...


@dataclass(frozen=True, kw_only=True)
class EyeView:
    """One eye of a fitted head before the camera.

    Attributes:
        side: 0 left, 1 right.
        centre: The iris's middle, camera frame, in the fit's units.
        px_from_plane: From offsets in the iris's plane, in the fit's units, to px.
        tilt_rad: Between the gaze and the line to the camera.
    """

    side: int
    centre: Float[np.ndarray, "3"]
    px_from_plane: Float[np.ndarray, "2 2"]
    tilt_rad: float


@dataclass(frozen=True, kw_only=True)
class IrisEstimate:
    """What the irises of all photos say of a head's size.

    Attributes:
        log_factor: Logarithm of metres per unit, for irises as wide as people's are on average.
        log_sd: Of the measuring alone; people's irises differ besides.
        note: If eyes disagree.
        refused: Why there is no estimate, one clause; empty when there is one.
    """

    log_factor: float
    log_sd: float
    note: str = ""
    refused: str = ""


def eye_views(model: HeadModel, photo: SizedPhoto) -> list[EyeView]:
    """Both eyes of a fitted head; none if the head has no eye joints."""
    names, params = model.data.joint_names, photo.fit.params
    if "left_eye" not in names or "right_eye" not in names:
        return []
    with torch.no_grad():
        pose = params.world_from_head.double().numpy()
        joints = model.joints(params.shape).double().numpy()
        turns = matrix_from_axis_angle(params.eyes.double()).numpy()
    rotation, focal = pose[:3, :3], float(photo.fit.camera.fx)
    views: list[EyeView] = []
    for side, name in enumerate(("left_eye", "right_eye")):
        gaze = rotation @ turns[side][:, 2]
        centre = rotation @ joints[names.index(name)] + pose[:3, 3] + IRIS_AHEAD_M * gaze
        across = rotation[:, 0] - gaze * (rotation[:, 0] @ gaze)
        across /= np.linalg.norm(across)
        x, y, z = centre
        projection = focal / z * np.array([[1.0, 0.0, -x / z], [0.0, 1.0, -y / z]])
        cosine = -gaze @ centre / np.linalg.norm(centre)
        views.append(
            EyeView(
                side=side,
                centre=centre,
                px_from_plane=projection @ np.stack([across, np.cross(gaze, across)], axis=1),
                tilt_rad=math.acos(min(1.0, max(-1.0, float(cosine)))),
            )
        )
    return views


def measured_iris(photo: SizedPhoto, view: EyeView) -> IrisWidth:
    """The iris of one eye, measured in the photo from where the landmarks say it is."""
    landmarks = photo.detection.landmarks[:, :2].astype(np.float64)
    centre, *ring = (LEFT_IRIS, RIGHT_IRIS)[view.side]
    inverse = np.linalg.inv(view.px_from_plane)
    # Of the ring only the points beside the pupil: lids cover the others.
    arms = (landmarks[[ring[0], ring[2]]] - landmarks[centre]) @ inverse.T
    guess = float(np.linalg.norm(arms, axis=1).mean())
    guess = min(max(guess, 0.75 * IRIS_RADIUS_M), 1.35 * IRIS_RADIUS_M)
    return measure_iris(
        photo.frame.rgb, landmarks[centre], view.px_from_plane, guess,
        opening_px=landmarks[list(OPENINGS[view.side])],
    )  # fmt: skip


def iris_estimate(model: HeadModel, photos: Sequence[SizedPhoto]) -> IrisEstimate:
    """Measure every iris of every photo and weigh them by their precision."""
    logs: list[float] = []
    own: list[float] = []  # of one eye's measuring
    shared: list[float] = []  # of gaze and fit, which the eyes of a photo have in common
    reasons: list[str] = []
    for photo in photos:
        for view in eye_views(model, photo):
            if view.tilt_rad > MOST_TILT_RAD:
                reasons.append("the eyes look too far aside")
                continue
            iris = measured_iris(photo, view)
            if iris.refused:
                reasons.append(iris.refused)
                continue
            logs.append(math.log(IRIS_RADIUS_M / iris.radius))
            own.append(iris.log_sd)
            shared.append(math.hypot(GAZE_SD_RAD * math.tan(view.tilt_rad), VIEW_LOG_SD))
    if not logs:
        why = reasons[0] if reasons else "the head has no eye joints"
        nan = float("nan")
        return IrisEstimate(log_factor=nan, log_sd=nan, refused=why)
    weight = 1 / (np.array(own) ** 2 + np.array(shared) ** 2)
    share = weight / weight.sum()
    mean = float(share @ logs)
    common = float(share @ shared) / math.sqrt(len(photos))
    deviation = math.hypot(float(np.linalg.norm(share * own)), common)
    spread = float(weight @ (np.array(logs) - mean) ** 2)
    note = ""
    if len(logs) > 1 and spread > 4.0 * (len(logs) - 1):
        deviation *= math.sqrt(spread / (len(logs) - 1))
        note = "the irises differ in width, so they count less"
    return IrisEstimate(log_factor=mean, log_sd=deviation, note=note)


def pupils_apart(model: HeadModel, photos: Sequence[SizedPhoto]) -> tuple[float, bool]:
    """How much farther apart the pupils are in the photos than on the fitted head.

    Returns:
        The ratio, and whether the irises' own rims gave it and not the landmarks.
    """
    logs: list[float] = []
    weights: list[float] = []
    by_rims = False
    for photo in photos:
        views = eye_views(model, photo)
        middles = [ring[0] for ring in (LEFT_IRIS, RIGHT_IRIS)]
        if len(views) < 2 or photo.detection.visibility[middles].min() < LEAST_VISIBLE:
            continue
        left, right = (view.centre[:2] / view.centre[2] for view in views)
        fitted = float(photo.fit.camera.fx) * float(np.linalg.norm(left - right))
        seen = photo.detection.landmarks[middles, :2].astype(np.float64)
        irises = [measured_iris(photo, view) for view in views]
        if not any(iris.refused for iris in irises):
            seen, by_rims = np.array([iris.centre_px for iris in irises]), True
        logs.append(math.log(float(np.linalg.norm(seen[0] - seen[1])) / fitted))
        # A face turned aside says little of the distance across it.
        weights.append(float(photo.fit.params.world_from_head[2, 2]) ** 2)
    return (math.exp(float(np.average(logs, weights=weights))) if logs else 1.0), by_rims
