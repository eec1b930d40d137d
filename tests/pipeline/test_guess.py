"""What the own regressor is shown of photos, and what becomes of its answers."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from face3d.core.types import Detection, Frame
from face3d.detect.crops import Square, averaged_crop, crop
from face3d.pipeline.guess import guess_faces
from face3d.regress.own_net import INPUT_PX, OwnNet


def picture(size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (size, size, 3), dtype=np.uint8)


def test_small_faces_are_interpolated_and_large_ones_averaged() -> None:
    rgb = picture(600)
    small = Square(x=300.0, y=290.0, side=200.0, angle_rad=0.2)
    assert np.array_equal(averaged_crop(rgb, small, INPUT_PX), crop(rgb, small, size_px=INPUT_PX))
    large = Square(x=300.0, y=300.0, side=4.0 * INPUT_PX)
    mean = rgb[44:556, 44:556].reshape(INPUT_PX, 4, INPUT_PX, 4, 3).mean((1, 3))
    assert np.abs(averaged_crop(rgb, large, INPUT_PX) - mean).max() <= 1.0


def detection(points: np.ndarray) -> Detection:
    low, high = points[..., :2].min(-2), points[..., :2].max(-2)
    return Detection(
        box_xyxy=np.concatenate([low, high], axis=-1), landmarks=points, layout="mediapipe478",
        score=np.ones(len(points)), visibility=np.ones(points.shape[:2]),
    )  # fmt: skip


def test_a_moved_and_doubled_face_is_guessed_moved_and_doubled() -> None:
    """The network sees the same crop, and its answers are brought back to where it came from."""
    torch.manual_seed(0)
    net = OwnNet().eval()
    with torch.no_grad():
        net.out.weight.normal_(std=0.02)
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.uniform(100, 228, (478, 2)), np.zeros((478, 1))], axis=1)
    smooth = gaussian_filter(picture(400).astype(float), (6, 6, 0))
    rgb = np.clip(128 + 8 * (smooth - 128), 0, 255).astype(np.uint8)
    twice = np.kron(rgb, np.ones((2, 2, 1), np.uint8))
    guess = guess_faces(net, Frame(rgb=rgb), detection(points[None]), 500.0)
    other = guess_faces(net, Frame(rgb=twice), detection(2 * points[None]), 1000.0)
    assert guess.landmarks_px.shape == (1, 478, 2)
    torch.testing.assert_close(other.params.shape, guess.params.shape, atol=0.02, rtol=0.05)
    torch.testing.assert_close(other.landmarks_px, 2 * guess.landmarks_px, atol=3.0, rtol=0.01)
    a, b = guess.params.world_from_head, other.params.world_from_head
    torch.testing.assert_close(a, b, atol=0.02, rtol=0.02)
    turned = a[:, :3, :3] @ a[:, :3, :3].mT
    torch.testing.assert_close(turned, torch.eye(3)[None], atol=1e-5, rtol=0)
