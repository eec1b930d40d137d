import numpy as np
import pytest

from face3d.core.errors import InputError
from face3d.metric import box_size, landmark_nme, normal_angles, outer_eye_distance, texture_psnr


@pytest.mark.parametrize("lead", [(), (1,), (2, 3)])
def test_landmark_errors_relate_to_the_face(lead: tuple[int, ...]):
    true = np.broadcast_to(np.array([[0.0, 0], [40, 0], [20, 90]]), (*lead, 3, 2))
    predicted = true + np.array([3.0, 4.0])
    eyes = outer_eye_distance(true, right=0, left=1)
    np.testing.assert_allclose(eyes, np.full(lead, 40.0))
    np.testing.assert_allclose(landmark_nme(predicted, true, norm=eyes), np.full(lead, 0.125))
    box = box_size(true)
    np.testing.assert_allclose(box, np.full(lead, 60.0))
    np.testing.assert_allclose(landmark_nme(predicted, true, norm=box), np.full(lead, 5 / 60))


def test_a_face_without_size_is_refused():
    points = np.zeros((3, 2))
    with pytest.raises(InputError, match="no size"):
        landmark_nme(points, points, norm=box_size(points))


def test_normal_angles_are_exact():
    true = np.tile([0.0, 0.0, 1.0], (2, 3, 1))
    predicted = true.copy()
    predicted[0, 0] = [0, 1, 0]
    predicted[0, 1] = [0, 2, 2]  # of any length
    predicted[0, 2] = [0, 0, -1]
    predicted[1, 0] = 0  # no direction: left out
    predicted[1, 1] = [1e-9, 0, 1]
    mask = np.ones((2, 3), dtype=bool)
    mask[1, 2] = False
    found = np.degrees(normal_angles(predicted, true, mask))
    np.testing.assert_allclose(found, [90, 45, 180, np.degrees(1e-9)], rtol=1e-12)
    with pytest.raises(InputError, match="no normals"):
        normal_angles(predicted, true, ~mask & False)


def test_psnr_is_exact():
    true = np.zeros((4, 4, 3))
    predicted = true + 0.1
    assert texture_psnr(predicted, true) == pytest.approx(20.0)
    predicted[0] = 1.0
    mask = np.ones((4, 4), dtype=bool)
    mask[0] = False
    assert texture_psnr(predicted, true, mask) == pytest.approx(20.0)
    assert texture_psnr(true, true) == float("inf")
    with pytest.raises(InputError, match="no texels"):
        texture_psnr(true, true, mask & False)
