from typing import Any

import numpy as np
import pytest

from face3d.core.errors import InputError
from face3d.metric import Surface
from face3d.metric.surface_distance import closest_plain

TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
ONE = np.array([[0, 1, 2]])


@pytest.mark.parametrize(
    ("point", "nearest"),
    [
        ((0.25, 0.25, 2.0), (0.25, 0.25, 0.0)),  # above the inside
        ((0.25, 0.25, -2.0), (0.25, 0.25, 0.0)),  # below it
        ((-1.0, -1.0, 0.5), (0.0, 0.0, 0.0)),  # a corner
        ((0.5, -3.0, 0.0), (0.5, 0.0, 0.0)),  # a side
        ((2.0, 2.0, 1.0), (0.5, 0.5, 0.0)),  # the long side
        ((0.2, 0.3, 0.0), (0.2, 0.3, 0.0)),  # on it
    ],
)
def test_the_nearest_place_of_a_triangle(point: Any, nearest: Any):
    for found in (
        Surface(TRIANGLE, ONE).closest(np.array([point])),
        closest_plain(np.array([point]), TRIANGLE, ONE),
    ):
        np.testing.assert_allclose(found.points[0], nearest, atol=1e-15)
        distance = np.linalg.norm(np.subtract(point, nearest))
        np.testing.assert_allclose(found.distances, [distance], atol=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_the_tree_is_exact(seed: int):
    """Against every triangle: long, crossing, doubled and empty ones, points near and far."""
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(80, 3)) * [10, 1, 0.1 if seed % 2 else 1]
    faces = np.concatenate([rng.integers(0, 80, (150, 3)), [[1, 1, 1], [2, 2, 3], [4, 5, 4]]])
    points = np.concatenate([rng.normal(size=(300, 3)) * 8, vertices[:20]])
    found, plain = Surface(vertices, faces).closest(points), closest_plain(points, vertices, faces)
    np.testing.assert_allclose(found.distances, plain.distances, rtol=1e-12, atol=1e-9)
    for guess in (found.face_index, rng.integers(-1, len(faces), len(points))):
        again = Surface(vertices, faces).closest(points, guess=guess)
        np.testing.assert_allclose(again.distances, plain.distances, rtol=1e-12, atol=1e-9)
    corners = vertices[faces[found.face_index]]
    for row in range(0, len(points), 40):
        own = closest_plain(found.points[row : row + 1], corners[row], ONE)
        assert own.distances[0] < 1e-9, "the place lies on the triangle that is named"


def test_the_tree_is_exact_on_a_head(face: Any):
    rng = np.random.default_rng(0)
    points = face.vertices[::400] + rng.normal(0, 0.01, face.vertices[::400].shape)
    found = Surface(face.vertices, face.faces).closest(points)
    plain = closest_plain(points, face.vertices, face.faces)
    np.testing.assert_allclose(found.distances, plain.distances, rtol=1e-9, atol=1e-12)


def test_equal_triangles_and_no_points():
    """Centres that all agree still make a tree that ends."""
    surface = Surface(TRIANGLE, np.tile(ONE, (100, 1)))
    np.testing.assert_allclose(surface.closest(np.array([[0.1, 0.1, 3.0]])).distances, [3.0])
    assert surface.closest(np.zeros((0, 3))).distances.shape == (0,)


def test_normals():
    surface = Surface(TRIANGLE, np.concatenate([ONE, [[0, 0, 1]]]))
    np.testing.assert_array_equal(surface.face_normals(), [[0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(surface.vertex_normals(), np.tile([0.0, 0, 1], (3, 1)))


def test_normals_between_vertices(face: Any):
    surface = Surface(face.vertices, face.faces)
    at_vertices = surface.normals_at(surface.closest(face.vertices))
    np.testing.assert_allclose(at_vertices, surface.vertex_normals(), atol=1e-6)
    roof = np.array([[0.0, 0, 0], [1, 0, -1], [-1, 0, -1], [0, 1, 0]])
    bent = Surface(roof, np.array([[0, 1, 3], [0, 3, 2]]))
    middle = bent.closest(np.array([[0, 0.5, 1.0]]))
    np.testing.assert_allclose(bent.normals_at(middle), [[0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(
        np.abs(bent.face_normals()[middle.face_index] @ [0, 0, 1]), np.sqrt(0.5)
    )


def test_bad_input():
    with pytest.raises(InputError, match="no triangles"):
        Surface(TRIANGLE, np.zeros((0, 3), dtype=np.int64))
    with pytest.raises(InputError, match="damaged"):
        Surface(TRIANGLE, ONE + 1)
    with pytest.raises(InputError, match="damaged"):
        Surface(TRIANGLE, ONE - 1)
    with pytest.raises(InputError, match="NaN"):
        Surface(TRIANGLE * np.nan, ONE)
    with pytest.raises(InputError, match="NaN"):
        Surface(TRIANGLE, ONE).closest(np.array([[np.inf, 0, 0]]))
