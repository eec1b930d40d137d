import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from face3d.core import InputError
from face3d.detect.iris import measure_iris

LARGE = 4
"""Drawn so many times larger and averaged, so that edges lie between pixels."""


def eye_picture(
    radius_px: float,
    *,
    centre=(60.3, 49.6),
    lids: float = 0.8,
    blur: float = 0.6,
    squash: float = 1.0,
    iris=(0.3, 0.2, 0.1),
    noise: float = 0.01,
) -> np.ndarray:
    """A painted eye: skin, white, iris, pupil; ``squash`` narrows the iris from side to side."""
    y, x = (np.mgrid[: 100 * LARGE, : 120 * LARGE] + 0.5) / LARGE
    dx, dy = (x - centre[0]) / radius_px, (y - centre[1]) / radius_px
    picture = np.full((*x.shape, 3), (0.8, 0.6, 0.5))
    opening = (dx / 2.3) ** 2 + (dy / lids) ** 2 < 1
    picture[opening] = (0.9, 0.88, 0.86)
    off = np.hypot(dx / squash, dy)
    picture[opening & (off < 1)] = iris
    picture[opening & (off < 0.4)] = 0.02
    small = picture.reshape(100, LARGE, 120, LARGE, 3).mean((1, 3))
    rng = np.random.default_rng(0)
    small = gaussian_filter(small, (blur, blur, 0)) + noise * rng.standard_normal(small.shape)
    return (np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8)


def lids_outline(radius_px: float, *, centre=(60.3, 49.6), lids: float = 0.8) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.array(centre) + radius_px * np.stack([2.3 * np.cos(t), lids * np.sin(t)], axis=1)


@pytest.mark.parametrize("radius_px", [6.0, 8.3, 12.0, 17.7])
@pytest.mark.parametrize("off", [0.85, 1.2])
def test_the_width_is_found_from_a_poor_guess(radius_px, off):
    guess = np.array([60.3 + 0.12 * radius_px, 49.6 - 0.1 * radius_px])
    found = measure_iris(
        eye_picture(radius_px),
        guess,
        np.eye(2),
        off * radius_px,
        opening_px=lids_outline(radius_px),
    )
    assert found.refused == ""
    assert found.radius == pytest.approx(radius_px, rel=0.03)
    assert found.diameter_px == pytest.approx(2 * radius_px, rel=0.03)
    np.testing.assert_allclose(found.centre_px, (60.3, 49.6), atol=0.06 * radius_px)
    assert 0 < found.log_sd < 0.04


def test_the_unit_and_the_turn_of_the_plane_are_the_callers():
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    found = measure_iris(
        eye_picture(12.0), np.array([60.3, 49.6]), 2000 * turn, 0.0055,
        opening_px=lids_outline(12.0),
    )  # fmt: skip
    assert found.radius == pytest.approx(0.006, rel=0.03)


def test_an_eye_seen_from_the_side_has_the_same_width():
    squash = np.cos(0.6)
    found = measure_iris(
        eye_picture(14.0, squash=squash), np.array([60.3, 49.6]), np.diag([squash, 1.0]), 13.0,
        opening_px=lids_outline(14.0),
    )  # fmt: skip
    assert found.radius == pytest.approx(14.0, rel=0.03)


@pytest.mark.parametrize("iris", [(0.1, 0.06, 0.04), (0.35, 0.5, 0.65), (0.3, 0.45, 0.3)])
def test_every_colour_of_iris_is_found_and_not_its_pupil(iris):
    found = measure_iris(
        eye_picture(10.0, iris=iris), np.array([62.0, 49.6]), np.eye(2), 9.0,
        opening_px=lids_outline(10.0),
    )  # fmt: skip
    assert found.radius == pytest.approx(10.0, rel=0.03)


def test_light_blur_biases_little_and_heavy_blur_is_refused():
    outline, centre = lids_outline(12.0), np.array([60.3, 49.6])
    soft = measure_iris(eye_picture(12.0, blur=2.0), centre, np.eye(2), 12.0, opening_px=outline)
    assert soft.refused == ""
    assert soft.radius == pytest.approx(12.0, rel=0.06)
    lost = measure_iris(eye_picture(12.0, blur=6.0), centre, np.eye(2), 12.0, opening_px=outline)
    assert lost.refused
    assert np.isnan(lost.radius)


def test_closed_lids_and_few_pixels_are_refused():
    closed = measure_iris(
        eye_picture(12.0, lids=0.08), np.array([60.3, 49.6]), np.eye(2), 12.0,
        opening_px=lids_outline(12.0, lids=0.08),
    )  # fmt: skip
    assert closed.refused
    tiny = measure_iris(eye_picture(3.0), np.array([60.3, 49.6]), np.eye(2), 3.0)
    assert "6 px" in tiny.refused


def test_plain_skin_and_the_picture_s_border_are_refused():
    skin = np.full((100, 120, 3), 180, dtype=np.uint8)
    assert measure_iris(skin, np.array([60.0, 50.0]), np.eye(2), 12.0).refused
    assert measure_iris(eye_picture(12.0), np.array([-40.0, 50.0]), np.eye(2), 12.0).refused


@pytest.mark.parametrize(
    ("centre", "plane", "radius"),
    [
        (np.array([np.nan, 1.0]), np.eye(2), 5.0),
        (np.array([1.0, 1.0]), np.full((2, 2), np.inf), 5.0),
        (np.array([1.0, 1.0]), np.zeros((2, 2)), 5.0),
        (np.array([1.0, 1.0]), np.eye(2), -5.0),
        (np.array([1.0, 1.0]), np.eye(2), float("nan")),
    ],
)
def test_degenerate_input_is_an_error(centre, plane, radius):
    with pytest.raises(InputError):
        measure_iris(eye_picture(12.0), centre, plane, radius)
