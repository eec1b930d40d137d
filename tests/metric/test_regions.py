from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from face3d.core.errors import InputError
from face3d.metric import (
    REGIONS,
    Surface,
    align_landmarks,
    align_surface,
    apply_transform,
    face_frame,
    region_errors,
    region_mask,
)


@pytest.fixture(scope="module")
def scan(face: Any):
    return Surface(face.vertices, face.faces)


def slid(face: Any, metres: float) -> np.ndarray:
    """The head with its nose higher up, sliding over the face."""
    tip = face.vertices[face.vertices[:, 2].argmax()]
    share = np.exp(-((face.vertices - tip) ** 2).sum(1) / (2 * 0.012**2))
    return face.vertices + metres * share[:, None] * [0.0, 1.0, 0.0]


def test_a_face_against_itself(face: Any, scan: Surface, moved_by: Callable[..., np.ndarray]):
    """Whatever its unit and place, all regions are there and have no error."""
    mesh = apply_transform(moved_by(1000.0), face.vertices)
    marks = face.landmarks(face.vertices)
    found = region_errors(Surface(mesh, face.faces), face.landmarks(mesh), scan, marks)
    assert tuple(found) == REGIONS
    for error in found.values():
        assert error.rms_mm < 1e-3
        assert error.count >= 50


def test_rough_landmarks_are_made_good_by_the_regions_alignment(face: Any, scan: Surface):
    marks = face.landmarks(face.vertices)
    rough = marks * 1.03 + [0.002, 0.003, -0.002]
    # Landmarks anchor the correspondence, so the scan's are right and the prediction's are not.
    found = region_errors(scan, rough, scan, marks)
    assert all(error.nearest_mean_mm < 1e-2 for error in found.values())


def test_a_nose_that_slid_up_is_seen_where_icp_hides_it(face: Any, scan: Surface):
    mesh, marks = slid(face, 0.006), face.landmarks(face.vertices)
    surface = Surface(mesh, face.faces)
    found = region_errors(surface, face.landmarks(mesh), scan, marks)["nose"]
    assert found.mean_mm > 1.8 * found.nearest_mean_mm
    # Here each vertex belongs to itself, though what slides within the surface cannot be seen.
    frame = face_frame(marks)
    ahead = scan.vertex_normals() @ frame.axes[2] > 0.2
    points = face.vertices[region_mask("nose", frame, face.vertices) & ahead]
    start = align_landmarks(face.landmarks(mesh), marks, scale=True)
    placed = align_surface(points, surface, start, scale=True).points_from_mesh
    moved = apply_transform(placed, mesh)
    normals = Surface(moved, face.faces).vertex_normals()
    inside = region_mask("nose", frame, moved) & (normals @ frame.axes[2] > 0.2)
    true = np.linalg.norm(moved - face.vertices, axis=1)[inside].mean() * 1e3
    assert 0.65 * true < found.mean_mm < 1.05 * true
    assert found.nearest_mean_mm < 0.4 * true
    assert found.rms_mm >= found.mean_mm


def test_errors_stay_in_their_region(face: Any, scan: Surface):
    """Each region is aligned for itself: a wrong forehead says nothing of mouth and nose."""
    frame = face_frame(face.landmarks(face.vertices))
    up = frame.coordinates(face.vertices)[:, 1]
    mesh = face.vertices.copy()
    wave = np.sin(400 * face.vertices[:, 0]) * np.clip(up - 1.4, 0, 0.2) / 0.2
    mesh[:, 2] += 0.003 * wave
    marks = face.landmarks(face.vertices)
    found = region_errors(Surface(mesh, face.faces), marks, scan, marks)
    assert found["forehead"].mean_mm > 0.5
    for name in ("nose", "mouth", "cheek"):
        assert found[name].mean_mm < 0.02


def test_regions_are_disjoint_and_on_the_face(face: Any):
    frame = face_frame(face.landmarks(face.vertices))
    front = face.vertices[face.vertices[:, 2] > 0.03]
    masks = np.stack([region_mask(name, frame, front) for name in REGIONS])
    assert masks.sum(0).max() == 1
    nose, mouth, forehead, cheek = (front[mask].mean(0) for mask in masks)
    assert forehead[1] > nose[1] > mouth[1]
    assert nose[2] > cheek[2]
    tip = front[front[:, 2].argmax()]
    assert region_mask("nose", frame, tip[None])[0]


def test_a_missing_part_of_the_scan_is_left_out(face: Any):
    """A scan that ends below the brows has no forehead to compare."""
    marks = face.landmarks(face.vertices)
    low = face.vertices[:, 1] < marks[0, 1] + 0.01
    part = Surface(face.vertices, face.faces[low[face.faces].all(1)])
    # A scan has no vertices beside its faces.
    used = np.unique(part.faces)
    index = np.zeros(len(face.vertices), dtype=np.int64)
    index[used] = np.arange(len(used))
    part = Surface(face.vertices[used], index[part.faces])
    found = region_errors(Surface(face.vertices, face.faces), marks, part, marks)
    assert "forehead" not in found
    assert {"nose", "mouth"} <= set(found)


def test_bad_landmarks(face: Any, scan: Surface):
    marks = face.landmarks(face.vertices)
    with pytest.raises(InputError, match="order"):
        face_frame(marks[[0, 1, 4, 3, 2, 5, 6]] + [[0.0], [0], [0], [0], [0.2], [0], [0]])
    with pytest.raises(InputError, match="No region"):
        region_errors(Surface(face.vertices, face.faces), marks, scan, marks + 5.0)
    with pytest.raises(InputError, match="order"):  # left and right exchanged
        face_frame(marks[[3, 2, 1, 0, 4, 6, 5]])
