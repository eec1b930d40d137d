"""What the fit is told of detected faces."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from face3d.assets import find_asset
from face3d.core.camera import focal_px_from_equivalent_mm
from face3d.core.types import Camera, Detection, FitResult, Frame, HeadParams
from face3d.fit import LandmarkObservations
from face3d.regress.surface_net import SurfaceNet, read_surface_net, surface_landmarks

MOVED = 0.5
"""Share of the way to where the network has the surface's landmarks. It has never seen a real
photo: half the way is safer there than all of it (docs/design/surface-landmarks.md)."""

SPREAD = 0.018
"""Standard deviation of a landmark that was moved to the surface, in its frame's unit (about
11 cm). Chosen on renders and a scan, see docs/design/surface-landmarks.md."""


CLOSE = 0.009
"""The same for pose and expression, once the identity is found: a head should lie on the photo."""


@lru_cache(maxsize=1)
def surface_net() -> SurfaceNet:
    """The network that moves landmarks to the surface, loaded once.

    Raises:
        AssetError: It is not installed.
    """
    return read_surface_net(find_asset("surface_net"))


def observations(frame: Frame, detection: Detection) -> LandmarkObservations:
    """Landmarks of the faces detected in one picture, moved towards the surface's."""
    height, width = frame.rgb.shape[:2]
    count = len(detection.landmarks)
    focal = torch.nan
    if frame.focal_equivalent_mm is not None:
        focal = focal_px_from_equivalent_mm(frame.focal_equivalent_mm, width, height)
    seen = detection.landmarks[..., :2]
    found = surface_landmarks(surface_net(), frame.rgb, seen)
    unit = torch.as_tensor(found.unit_px).float()[:, None].expand(count, 478)
    return LandmarkObservations(
        points_px=torch.as_tensor(seen + MOVED * (found.points_px - seen)).float(),
        visibility=torch.as_tensor(detection.visibility).float(),
        width_px=torch.full((count,), float(width)),
        height_px=torch.full((count,), float(height)),
        focal_px=torch.full((count,), focal),
        spread_px=SPREAD * unit,
        close_px=CLOSE * unit,
        bias_share=torch.full((count,), 1 - MOVED),
    )


def observation(frame: Frame, face: Detection) -> LandmarkObservations:
    """The same of one face, without a batch axis."""
    return one_observation(observations(frame, batched(face)))


def one_observation(found: LandmarkObservations, k: int = 0) -> LandmarkObservations:
    """One face of a batch."""
    return LandmarkObservations(
        **{name: value[k] for name, value in vars(found).items() if value is not None}
    )


def batched(face: Detection) -> Detection:
    """One face as a batch of one."""
    return Detection(
        box_xyxy=face.box_xyxy[None],
        landmarks=face.landmarks[None],
        layout=face.layout,
        score=np.asarray(face.score)[None],
        visibility=face.visibility[None],
    )


def one_face(found: Detection, k: int) -> Detection:
    """One face of several."""
    return Detection(
        box_xyxy=found.box_xyxy[k],
        landmarks=found.landmarks[k],
        layout=found.layout,
        score=np.asarray(found.score[k]),
        visibility=found.visibility[k],
    )


def one_fit(fits: FitResult, k: int) -> FitResult:
    """One face of a batch."""

    def of(record: HeadParams | Camera, names: tuple[str, ...]) -> dict[str, Tensor]:
        return {name: getattr(record, name)[k] for name in names}

    take: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda d: {  # noqa: E731
        name: value[k] for name, value in d.items()
    }
    params = HeadParams(
        **of(fits.params, ("shape", "expression", "neck", "jaw", "eyes", "world_from_head"))
    )
    camera = replace(fits.camera, **of(fits.camera, ("fx", "fy", "cx", "cy", "camera_from_world")))
    return FitResult(
        params=params,
        camera=camera,
        energies=take(dict(fits.energies)),
        landmark_error_px=fits.landmark_error_px[k],
        reprojection_error_px=fits.reprojection_error_px[k],
        converged=fits.converged[k],
        iterations=fits.iterations[k],
        standard_deviation=take(dict(fits.standard_deviation)),
    )
