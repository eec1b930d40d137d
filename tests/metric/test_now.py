from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from face3d.core.errors import InputError
from face3d.metric import (
    CURVE_MM,
    Surface,
    apply_transform,
    cumulative,
    face_ball,
    landmark_distances,
    now_distances,
    pooled,
    summary,
    unit_of,
)

SEVEN = np.array(
    [[-45, 40, 0], [-15, 40, 0], [15, 40, 0], [45, 40, 0], [0, 0, 0], [-25, -25, 0], [25, -25, 0]],
    dtype=np.float64,
)


def test_the_ball_is_the_protocols():
    centre, radius = face_ball(SEVEN)
    np.testing.assert_allclose(centre, [0, 12, 0])
    assert radius == pytest.approx(0.7 * (90 + 40))


@pytest.mark.parametrize(("factor", "unit"), [(1.0, "mm"), (0.1, "cm"), (0.001, "m")])
def test_the_unit_follows_from_the_eyes(factor: float, unit: Any):
    for size in (0.5, 1.0, 3.0):
        assert unit_of(SEVEN * factor * size) == unit


@pytest.mark.parametrize("factor", [0.0, 100.0, 1e-6])
def test_what_is_no_face_has_no_unit(factor: float):
    with pytest.raises(InputError, match="--unit"):
        unit_of(SEVEN * factor)


@pytest.mark.parametrize("metric", [False, True])
def test_the_same_head_elsewhere_has_no_error(
    face: Any, moved_by: Callable[..., np.ndarray], metric: bool
):
    mesh = apply_transform(moved_by(1.0 if metric else 1.4), face.vertices)
    marks = face.landmarks(face.vertices)
    found = now_distances(
        Surface(mesh, face.faces), face.landmarks(mesh), face.vertices, marks, metric=metric
    )
    assert found.converged
    assert found.distances_m.max() < 1e-8
    assert landmark_distances(found, face.landmarks(mesh), marks).max() < 1e-8
    centre, radius = face_ball(marks)
    inside = np.linalg.norm(face.vertices - centre, axis=1) <= radius
    np.testing.assert_array_equal(found.inside, inside)
    assert len(found.distances_m) == inside.sum()


def test_only_the_metric_protocol_sees_size(face: Any):
    mesh, marks = 1.05 * face.vertices, face.landmarks(face.vertices)
    errors = [
        now_distances(
            Surface(mesh, face.faces), face.landmarks(mesh), face.vertices, marks, metric=metric
        ).distances_m
        for metric in (False, True)
    ]
    assert errors[0].max() < 1e-8
    assert np.median(errors[1]) > 5e-4


def test_every_vertex_of_the_scan_counts(face: Any):
    """A bump that the prediction does not have is an error where it is."""
    scan = face.vertices.copy()
    tip = scan[scan[:, 2].argmax()].copy()
    near = np.linalg.norm(scan - tip, axis=1) < 0.01
    scan[near] += [0, 0, 0.005]
    marks = face.landmarks(face.vertices)
    found = now_distances(
        Surface(face.vertices, face.faces), marks, scan, marks, metric=True
    ).distances_m
    assert found.max() == pytest.approx(0.005, abs=0.0015)
    assert np.median(found) < 5e-4


def test_a_scan_elsewhere_is_refused(face: Any):
    marks = face.landmarks(face.vertices)
    with pytest.raises(InputError, match="one unit and frame"):
        now_distances(
            Surface(face.vertices, face.faces), marks, face.vertices + 1.0, marks, metric=False
        )


def test_summaries_pool_vertices_and_not_pictures():
    parts = {"a": [np.array([0.001, 0.002, 0.003])], "b": [np.array([0.004]), np.array([0.01])]}
    found = pooled(parts)
    assert list(found) == ["all", "a", "b"]
    assert found["all"].median_mm == pytest.approx(3)
    assert found["all"].mean_mm == pytest.approx(4)
    assert found["all"].sd_mm == pytest.approx(np.std([1, 2, 3, 4, 10]))
    assert (found["all"].count, found["a"].count, found["b"].count) == (5, 3, 2)
    assert found["b"].mean_mm == pytest.approx(7)
    with pytest.raises(InputError, match="at least one"):
        summary(np.zeros(0))
    with pytest.raises(InputError, match="at least one"):
        pooled({})


def test_the_curve_counts_what_is_at_most_the_threshold():
    shares = cumulative(np.array([0.0, 0.001, 0.0025, 0.1]))
    by = dict(zip(CURVE_MM, shares))
    assert (by[0.0], by[0.9], by[1.0], by[2.4], by[2.5], by[7.0]) == (
        *(0.25, 0.25, 0.5),
        *(0.5, 0.75, 0.75),
    )
