"""The detector's bias and spread from observed pictures of known heads."""

from dataclasses import dataclass

import numpy as np
import torch

from face3d.fit.landmark_head import LandmarkHead
from face3d.fit.landmark_noise import REFERENCE_M, picture_from_face, view_angles
from face3d.model.data import HeadData
from landmark_study.scenes import SIZE

YAW_CENTRES_DEG = (0.0, 18.0, 34.0, 52.0, 72.0)
SHARED_MODES = 32
"""Errors that go through the whole face are taken out before a landmark's own spread is measured:
they say nothing about how much one landmark is to be trusted against another."""

MODEL_ERROR_MM = 0.5
"""Added to every spread: what the head's basis cannot say of a real face. Chosen on held-out
renders, see docs/design/landmark-noise.md."""

FLOOR_PX = 0.35
"""Error that a larger face does not get rid of: the detector looks at 192 to 256 px crops."""


@dataclass(frozen=True, kw_only=True)
class FaceFrame:
    """Pictures of known heads, in the face's frame, unit REFERENCE_M."""

    error: np.ndarray  # (n, l, 2) detected minus true
    yaw: np.ndarray
    pitch: np.ndarray


def face_frame(data: HeadData, observed: dict[str, np.ndarray]) -> FaceFrame:
    """Project the true landmarks and bring them and the detected ones into the face's frame."""
    head = LandmarkHead(data, "mediapipe478", dtype=torch.float64)
    pose = torch.tensor(observed["world_from_head"]).double()
    joints = torch.cat(
        [torch.zeros(len(pose), 1, 3), torch.tensor(observed["eyes"])], dim=1
    ).double()
    points = head.points(
        torch.tensor(observed["shape"]).double(),
        torch.tensor(observed["expression"]).double(),
        joints,
    )
    camera = points @ pose[:, :3, :3].mT + pose[:, None, :3, 3]
    focal = torch.tensor(observed["focal_px"]).double()[:, None, None]
    true = focal * camera[..., :2] / camera[..., 2:] + SIZE / 2
    angles = view_angles(pose)
    scale = focal * REFERENCE_M / pose[:, None, 2:3, 3]
    # The map is its own inverse's transpose: rotation and reflection.
    turn = picture_from_face(angles.roll)
    error = (torch.tensor(observed["detected"][..., :2]) - true) @ turn / scale
    return FaceFrame(
        error=error.numpy(),
        yaw=angles.yaw.numpy(),
        pitch=angles.pitch.numpy(),
    )


def _robust_rows(errors: np.ndarray) -> np.ndarray:
    """Pictures whose detection did not fail as a whole."""
    typical = np.linalg.norm(errors - np.median(errors, axis=0), axis=2).mean(1)
    return typical < 3.5 * np.median(typical)


def _with_mirror_images(faces: FaceFrame, mirror: np.ndarray) -> FaceFrame:
    flip = np.array([-1, 1])
    return FaceFrame(
        error=np.concatenate([faces.error, faces.error[:, mirror] * flip]),
        yaw=np.concatenate([faces.yaw, -faces.yaw]),
        pitch=np.concatenate([faces.pitch, faces.pitch]),
    )


def _calibrate_bin(faces: FaceFrame, chosen: np.ndarray, centre: float) -> dict[str, np.ndarray]:
    """Bias and spread of the pictures in one yaw bin."""
    chosen = np.flatnonzero(chosen)
    chosen = chosen[_robust_rows(faces.error[chosen])]
    count = len(chosen)
    shape = faces.error.shape[1:]
    error = faces.error[chosen].reshape(count, -1)
    terms = np.stack([np.ones(count), faces.pitch[chosen], faces.yaw[chosen] - centre], axis=1)
    bias = np.linalg.lstsq(terms, error, rcond=None)[0]
    rest = error - terms @ bias
    _, _, modes = np.linalg.svd(rest, full_matrices=False)
    modes = modes[: min(SHARED_MODES, count // 8)]
    own = rest - rest @ modes.T @ modes
    spread = np.sqrt((own**2).sum(0) / max(count - len(modes) - 3, 1))
    model_error = MODEL_ERROR_MM / (REFERENCE_M * 1000)

    def rms(v: np.ndarray) -> float:
        return float(np.sqrt((v**2).mean()) * REFERENCE_M * 1000)

    print(
        f"  yaw {np.degrees(centre):.0f}: {count} pictures, rms error {rms(error):.2f} mm, "
        f"after bias {rms(rest):.2f} mm, of one landmark alone {rms(own):.2f} mm"
    )
    return {
        "bias": bias.reshape(3, *shape),
        "spread": np.sqrt(spread**2 + model_error**2).reshape(shape),
    }


def calibrate(
    data: HeadData, observed: dict[str, np.ndarray], mirror: np.ndarray
) -> dict[str, np.ndarray]:
    """The detector's noise per yaw bin.

    Pictures turned to the other side count mirrored, frontal ones both ways.
    """
    faces = _with_mirror_images(face_frame(data, observed), mirror)
    centres = np.radians(YAW_CENTRES_DEG)
    edges = np.concatenate([[-centres[1] / 2], (centres[1:] + centres[:-1]) / 2, [np.inf]])
    bins = [
        _calibrate_bin(faces, (faces.yaw >= low) & (faces.yaw < high), centre)
        for low, high, centre in zip(edges[:-1], edges[1:], centres)
    ]
    tables = {name: np.stack([b[name] for b in bins]).astype(np.float16) for name in bins[0]}
    return {
        **tables,
        "yaw_rad": centres,
        "mirror": mirror.astype(np.int16),
        "floor_px": np.array(FLOOR_PX),
    }
