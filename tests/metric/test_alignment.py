from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from face3d.core.errors import InputError
from face3d.metric import Surface, align_landmarks, align_surface, apply_transform
from face3d.metric.alignment import scale_of


@pytest.mark.parametrize("scale", [1.0, 0.8, 1000.0])
def test_landmarks_give_the_similarity_back(moved_by: Callable[..., np.ndarray], scale: float):
    points = np.random.default_rng(0).normal(size=(7, 3))
    true = moved_by(scale)
    found = align_landmarks(points, apply_transform(true, points), scale=True)
    np.testing.assert_allclose(found, true, atol=1e-9 * scale)
    assert scale_of(found) == pytest.approx(scale)


def test_without_scale_the_size_stays(moved_by: Callable[..., np.ndarray]):
    points = np.random.default_rng(0).normal(size=(7, 3))
    found = align_landmarks(points, 1.3 * points, scale=False)
    assert scale_of(found) == pytest.approx(1)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("scale", [False, True])
def test_a_surface_is_brought_to_its_points(
    face: Any, moved_by: Callable[..., np.ndarray], scale: bool
):
    """Points between the vertices; the start is a landmark alignment with rough landmarks."""
    true = moved_by(1.07 if scale else 1.0)
    at = face.vertices[face.faces[::7]]
    points = at.mean(1)[at.mean(1)[:, 2] > 0.03]
    mesh = apply_transform(np.linalg.inv(true), face.vertices)
    rough = face.landmarks(face.vertices)
    rough = rough + np.random.default_rng(1).normal(0, 0.003, rough.shape)
    start = align_landmarks(face.landmarks(mesh), rough, scale=scale)
    found = align_surface(points, Surface(mesh, face.faces), start, scale=scale)
    assert found.converged
    np.testing.assert_allclose(found.points_from_mesh, true, atol=1e-6)
    assert found.distances.max() < 1e-6
    assert scale_of(found.points_from_mesh) == pytest.approx(1.07 if scale else 1, abs=1e-6)


def test_the_result_is_a_minimum(face: Any):
    """On noisy points no small motion makes the squares less."""
    rng = np.random.default_rng(0)
    front = face.vertices[face.vertices[:, 2] > 0.05]
    points = front + rng.normal(0, 0.002, front.shape)
    surface = Surface(face.vertices, face.faces)
    found = align_surface(points, surface, np.eye(4), scale=True)
    least = (found.distances**2).sum()
    assert least < (surface.closest(points).distances ** 2).sum()
    for axis in range(3):
        for sign in (1, -1):
            other = found.points_from_mesh.copy()
            other[axis, 3] += sign * 2e-4
            there = apply_transform(np.linalg.inv(other), points)
            scale = scale_of(other)
            assert ((surface.closest(there).distances * scale) ** 2).sum() > least


def test_rubble_is_survived():
    """Loose triangles and points far off: full steps would run about, or take the size to zero."""
    settled = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        surface = Surface(rng.normal(size=(12, 3)), rng.integers(0, 12, (10, 3)))
        points = rng.normal(size=(20, 3))
        found = align_surface(points, surface, np.eye(4), scale=True)
        assert np.isfinite(found.points_from_mesh).all()
        assert (found.distances**2).sum() <= (surface.closest(points).distances ** 2).sum()
        settled += found.converged
    assert settled > 50


def test_distances_are_in_the_points_unit(face: Any, moved_by: Callable[..., np.ndarray]):
    """A prediction a thousand times smaller changes nothing."""
    front = face.vertices[face.vertices[:, 2] > 0.05] + [0, 0, 0.001]
    results = []
    for shrink in (1.0, 1e-3):
        mesh = face.vertices * shrink
        start = np.diag([1 / shrink, 1 / shrink, 1 / shrink, 1.0])
        results.append(align_surface(front, Surface(mesh, face.faces), start, scale=True))
    np.testing.assert_allclose(results[0].distances, results[1].distances, atol=1e-7)


def test_bad_landmarks():
    good = np.eye(3)
    with pytest.raises(InputError, match="at least 3"):
        align_landmarks(good[:2], good[:2], scale=True)
    with pytest.raises(InputError, match="cannot be laid"):
        align_landmarks(good, np.zeros((4, 3)), scale=True)
    with pytest.raises(InputError, match="one line"):
        align_landmarks(good, np.linspace(0, 1, 3)[:, None] * np.ones(3), scale=False)
    with pytest.raises(InputError, match="one point"):
        align_landmarks(np.ones((7, 3)), np.eye(7)[:, :3], scale=False)
    with pytest.raises(InputError, match="NaN"):
        align_landmarks(good * np.nan, good, scale=True)


def test_too_few_points(face: Any):
    with pytest.raises(InputError, match="Only 3 points"):
        align_surface(np.eye(3), Surface(face.vertices, face.faces), np.eye(4), scale=False)
