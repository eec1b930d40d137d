"""The bars of the main job on real photographs (../shared/real; skipped where it is absent)."""

from pathlib import Path

import numpy as np
import pytest

import face3d
from face3d.core import DetectionError

PHOTOS = Path(__file__).parents[3] / "shared/real/photos"
NO_FACE = sorted(PHOTOS.glob("noface_*"))
# A profile behind a camera, and eyes without a face around them: either answer is right.
EITHER = {"cc0_camera.png", "wm_eyes_only.png"}
SINGLE = [
    p for p in sorted(PHOTOS.glob("*.*")) if p not in NO_FACE and p.name not in EITHER
    and p.name != "derived_grid12.jpg"
]  # fmt: skip
needs_photos = pytest.mark.skipif(not PHOTOS.exists(), reason="needs ../shared/real/photos")


@needs_photos
@pytest.mark.slow
def test_every_face_is_fitted_within_the_bars():
    errors = {p.name: face3d.reconstruct(p, fast=True).landmark_error_percent for p in SINGLE}
    assert len(errors) >= 30
    # One face, laughing, bent down and turned away, is at 1.3%: see docs/limits.md.
    above = {name: error for name, error in errors.items() if error > 1.0}
    assert set(above) <= {"mp_stretching.jpg"}
    assert max(errors.values()) < 1.4
    assert np.median(list(errors.values())) <= 0.7


@needs_photos
@pytest.mark.parametrize("path", NO_FACE, ids=lambda p: p.name)
def test_pictures_without_a_face_are_said_to_have_none(path):
    with pytest.raises(DetectionError, match="No face was found"):
        face3d.reconstruct(path, fast=True)


@needs_photos
@pytest.mark.slow
def test_all_twelve_faces_of_a_collage():
    heads = face3d.reconstruct_all(PHOTOS / "derived_grid12.jpg", texture=128)
    assert len(heads) == 12
    assert all(head.landmark_error_percent < 2 for head in heads)
