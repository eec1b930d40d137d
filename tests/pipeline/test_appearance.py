import numpy as np
import pytest
import torch
from skimage import data

import face3d
from face3d.pipeline import load_head
from face3d.pipeline.appearance import (
    BROWN_IRIS,
    Iris,
    _iris_colour,
    irises_from_landmarks,
    texel_guide,
)
from face3d.render import texel_fragments


def eye_picture() -> np.ndarray:
    """A blue iris of radius 10 px with a dark pupil, under a lid that hides its upper third."""
    y, x = np.mgrid[0:60, 0:80] + 0.5
    distance = np.hypot(x - 40, y - 30)
    picture = np.full((60, 80, 3), (200, 150, 130), np.uint8)
    picture[distance < 10] = (60, 90, 160)
    picture[distance < 4] = (5, 5, 5)
    picture[y < 24] = (180, 120, 110)
    return picture


def test_the_iris_colour_is_neither_the_lids_nor_the_pupils():
    found = _iris_colour(eye_picture(), [Iris(centre_px=(40.0, 30.0), radius_px=10.0)])
    torch.testing.assert_close(found * 255, torch.tensor([60.0, 90, 160]))


def test_without_open_eyes_the_iris_is_brown():
    assert _iris_colour(eye_picture(), []).tolist() == pytest.approx(BROWN_IRIS)
    outside = [Iris(centre_px=(500.0, 30.0), radius_px=10.0)]
    assert _iris_colour(eye_picture(), outside).tolist() == pytest.approx(BROWN_IRIS)


def test_closed_eyes_have_no_iris():
    head = face3d.reconstruct(data.astronaut(), texture=128, fast=True)
    landmarks = head.detection.landmarks.copy()
    assert len(irises_from_landmarks(landmarks)) == 2
    landmarks[[386, 159]] = landmarks[[374, 145]]
    assert irises_from_landmarks(landmarks) == []


def test_a_grey_photo_gives_a_grey_texture():
    grey = data.astronaut().mean(-1).astype(np.uint8)
    texture = face3d.reconstruct(grey, texture=256, fast=True).texture
    covered = texture.sum(0) > 0
    chroma = (texture.amax(0) - texture.amin(0))[covered]
    # The eye sockets' lining keeps a trace of its tint.
    assert chroma.quantile(0.9) < 0.03


def test_the_painted_iris_is_as_wide_as_an_iris():
    data = load_head("open").data
    guide = texel_guide(data, 1024)
    rgb = torch.zeros(3, 1024 * 1024)
    guide.paint(rgb, ("iris", "pupil"), torch.ones(3))
    fragments = texel_fragments(data.topology, 1024)
    covered = fragments.face_index >= 0
    corners = torch.as_tensor(data.faces)[fragments.face_index[covered]]
    share = fragments.barycentric[covered][..., None]
    place = (torch.tensor(data.v_template).float()[corners] * share).sum(1)
    left = guide.mask("left_eye")[covered] > 0.5
    painted = place[left & (rgb.reshape(3, 1024, 1024)[0][covered] > 0.5)]
    across = painted[:, 0].max() - painted[:, 0].min()
    assert float(across) == pytest.approx(0.0117, rel=0.06)
