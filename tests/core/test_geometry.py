import math

import pytest
import torch

from face3d.core import Camera, camera_points_from_pixels, focal_px_from_equivalent_mm, project
from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.transforms import (
    invert_rigid,
    procrustes,
    rigid_from_parts,
    transform_points,
)


def camera(**changes) -> Camera:
    values = {
        "fx": torch.tensor(500.0), "fy": torch.tensor(600.0), "cx": torch.tensor(320.0),
        "cy": torch.tensor(240.0), "width": 640, "height": 480, "camera_from_world": torch.eye(4),
    }  # fmt: skip
    return Camera(**{**values, **changes})


def test_projection_of_a_known_point():
    pixels = project(camera(), torch.tensor([[0.2, -0.1, 2.0]]))
    torch.testing.assert_close(pixels, torch.tensor([[370.0, 210.0, 2.0]]))


def test_pixels_go_back_to_their_points():
    points = torch.randn(7, 3) + torch.tensor([0.0, 0, 5])
    pixels = project(camera(), points)
    torch.testing.assert_close(
        camera_points_from_pixels(camera(), pixels[:, :2], pixels[:, 2]), points
    )


def test_the_35_mm_equivalent_compares_diagonals():
    assert focal_px_from_equivalent_mm(50.0, 3600, 2400) == pytest.approx(5000.0)
    assert focal_px_from_equivalent_mm(26.0, 4032, 3024) == pytest.approx(
        26 / math.hypot(36, 24) * math.hypot(4032, 3024)
    )


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_inverse_undoes_a_rigid_transform(batch):
    pose = rigid_from_parts(matrix_from_axis_angle(torch.randn(*batch, 3)), torch.randn(*batch, 3))
    points = torch.randn(*batch, 5, 3)
    back = transform_points(invert_rigid(pose), transform_points(pose, points))
    torch.testing.assert_close(back, points, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [False, True])
def test_procrustes_recovers_the_transform_that_made_the_target(scale):
    source = torch.randn(4, 20, 3, dtype=torch.float64)
    rotation = matrix_from_axis_angle(torch.randn(4, 3, dtype=torch.float64))
    factor = 1.7 if scale else 1.0
    pose = rigid_from_parts(factor * rotation, torch.randn(4, 3, dtype=torch.float64))
    found = procrustes(source, transform_points(pose, source), scale=scale)
    torch.testing.assert_close(found, pose)


def test_procrustes_never_mirrors():
    source = torch.randn(20, 3, dtype=torch.float64)
    found = procrustes(source, source * torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    torch.testing.assert_close(
        torch.linalg.det(found[:3, :3]), torch.tensor(1.0, dtype=torch.float64)
    )


def test_procrustes_ignores_points_without_weight():
    source = torch.randn(10, 3, dtype=torch.float64)
    target = source.clone()
    target[0] += 5.0
    weights = torch.ones(10, dtype=torch.float64)
    weights[0] = 0
    torch.testing.assert_close(
        procrustes(source, target, weights), torch.eye(4, dtype=torch.float64)
    )
