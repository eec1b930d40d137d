"""Flat faces, and the network that moves landmarks."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import face3d
from face3d.core.errors import AssetError
from face3d.model.head import HeadModel
from face3d.regress.flat_face import FILLED, SIDE, FlatFace, face_frames, flat_places, reduced
from face3d.regress.surface_net import (
    SurfaceNet,
    read_surface_net,
    save_surface_net,
    surface_landmarks,
)
from face3d.train.synthetic.scene import landmark_points


@pytest.fixture(scope="module")
def mean_face() -> np.ndarray:
    """The mean head's landmarks seen from the front, px."""
    model = face3d.load_head("open")
    points = landmark_points(model, model.template).numpy()
    return points[:, :2] * [1000, -1000] + [300, 200]


@pytest.fixture(scope="module")
def places() -> np.ndarray:
    model: HeadModel = face3d.load_head("open")
    return flat_places(landmark_points(model, model.template).numpy())


def turned(points: np.ndarray, turn: float, scale: float) -> np.ndarray:
    c, s = np.cos(turn), np.sin(turn)
    return points @ (scale * np.array([[c, -s], [s, c]])).T + [40.0, 30.0]


def test_the_layout_is_a_face_and_fills_the_picture(places: np.ndarray) -> None:
    assert np.abs(places[:468]).max() == pytest.approx(FILLED, abs=1e-5)
    # The subject's left eye is on the right, brows above the chin, left and right alike.
    assert places[263, 0] > 0.3 > -0.3 > places[33, 0]
    assert places[10, 1] < places[152, 1]
    assert places[263, 0] == pytest.approx(-places[33, 0], abs=0.02)


def test_a_frame_goes_with_its_face(mean_face: np.ndarray) -> None:
    frame = face_frames(np.stack([mean_face, turned(mean_face, 0.4, 2.0)]))
    own = [
        (p - c) @ m.T
        for p, c, m in zip(
            (mean_face, turned(mean_face, 0.4, 2.0)), frame.centre_px, frame.from_picture,
            strict=True,
        )
    ]  # fmt: skip
    assert np.allclose(own[0], own[1], atol=1e-9)
    assert frame.px[1] == pytest.approx(2 * frame.px[0])


def test_each_landmark_is_always_in_its_place(mean_face: np.ndarray, places: np.ndarray) -> None:
    """A dot painted where a landmark is shows up where the layout says, however the face turns."""
    flat = FlatFace(places)
    for number in (1, 33, 263, 61, 152):
        for turn, scale in ((0.0, 1.0), (0.5, 1.7)):
            points = turned(mean_face, turn, scale)
            photo = np.zeros((700, 900, 3), np.uint8)
            x, y = points[number]
            cv2.circle(photo, (round(x), round(y)), round(4 * scale), (255, 255, 255), -1)
            picture, where = flat.laid_out(photo, points, face_frames(points[None]))
            bright = picture[..., 0].astype(float)
            row, column = np.unravel_index(cv2.GaussianBlur(bright, (0, 0), 2).argmax(), (128, 128))
            found = 2 * np.array([column + 0.5, row + 0.5]) / SIDE - 1
            assert np.abs(found - places[number]).max() < 0.05
            frame = face_frames(points[None])
            own = (points[number] - frame.centre_px[0]) @ frame.from_picture[0].T
            assert np.abs(where[row, column] - own).max() < 0.06


def test_large_faces_are_reduced_and_cut_out(mean_face: np.ndarray) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (1600, 2000, 3), dtype=np.uint8)
    points = 4 * mean_face
    small, corner, scale = reduced(rgb, points)
    assert max(small.shape) < 260
    assert 3 < scale.mean() < 8
    inside = (points - corner) / scale
    assert (inside > 0).all()
    assert (inside < np.array(small.shape[1::-1])).all()
    tiny, _, one = reduced(rgb, mean_face / 4)
    assert (one == 1).all()
    assert max(tiny.shape) < 100
    beside, _, _ = reduced(rgb, mean_face - [400, 900])
    assert min(beside.shape[:2]) >= 1


@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_what_the_network_says_is_in_the_faces_frame(
    mean_face: np.ndarray, places: np.ndarray, turn: float
) -> None:
    """The same answer moves the landmarks of a turned, larger face likewise."""
    net = SurfaceNet(places).eval()
    with torch.no_grad():
        net.out.weight.zero_()
        assert net.out.bias is not None
        net.out.bias.copy_(torch.tensor([0.1, 0.05, -2.0]))
    rgb = np.zeros((1200, 1600, 3), np.uint8)
    plain = surface_landmarks(net, rgb, mean_face[None])
    moved = surface_landmarks(net, rgb, turned(mean_face, turn, 2.0)[None])
    assert np.allclose(turned(plain.points_px[0], turn, 2.0), moved.points_px[0], atol=0.6)
    assert np.abs(plain.points_px[0] - mean_face).max() > 3
    assert np.allclose(plain.spread_px, np.exp(-2.0) * plain.unit_px[:, None], rtol=1e-3)


def test_weights_survive_a_file(tmp_path: Path, places: np.ndarray) -> None:
    torch.manual_seed(0)
    net = SurfaceNet(places).eval()
    save_surface_net(tmp_path / "net.npz", net)
    assert (tmp_path / "net.npz").stat().st_size < 9e6
    again = read_surface_net(tmp_path / "net.npz")
    assert torch.equal(net.places, again.places)
    rgb = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    points = (np.random.default_rng(1).random((1, 478, 2)) * 200 + 50).astype(float)
    a, b = (surface_landmarks(n, rgb, points).points_px for n in (net, again))
    assert np.abs(a - b).max() < 0.1
    (tmp_path / "bad.npz").write_bytes(b"PK")
    with pytest.raises(AssetError, match="not a readable"):
        read_surface_net(tmp_path / "bad.npz")
