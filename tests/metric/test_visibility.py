from typing import Any

import numpy as np
import pytest

from face3d.metric import Surface
from face3d.metric.visibility import seen_from_front
from face3d.pipeline import load_head


def square(z: float, half: float, steps: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """A square that faces +z."""
    line = np.linspace(-half, half, steps)
    x, y = np.meshgrid(line, line)
    grid = np.arange(steps * steps).reshape(steps, steps)
    a, b, c, d = (g.ravel() for g in (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], 1), faces


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_what_lies_behind_is_not_seen(unit: Any):
    (front, faces), (back, more) = square(0.01, 0.0451), square(0.0, 0.08)
    vertices = np.concatenate([front, back])
    surface = Surface(vertices * unit, np.concatenate([faces, more + len(front)]))
    seen = seen_from_front(surface, np.eye(3), np.zeros(3), 0.1 * unit)
    assert seen[: len(front)][np.abs(front[:, :2]).max(1) < 0.044].all()
    off = np.abs(back[:, :2]).max(1)
    np.testing.assert_array_equal(seen[len(front) :][off < 0.079], off[off < 0.079] > 0.046)
    turned = seen_from_front(surface, np.diag([-1.0, 1, -1]), np.zeros(3), 0.1 * unit)
    assert not turned.any(), "from behind there are only backs"


def test_of_a_head_only_skin_and_the_eyes_fronts_are_seen():
    data = load_head("open").data
    vertices = data.v_template.astype(np.float64)
    surface = Surface(vertices, data.faces)
    seen = seen_from_front(surface, np.eye(3), np.array([0.0, 0, 0.05]), 0.12)
    assert not seen[data.regions["teeth"]].any()
    assert not seen[data.regions["tongue"]].any()
    assert not seen[vertices[:, 2] < -0.03].any()
    assert seen[data.regions["nose"] & (vertices[:, 2] > 0.105)].mean() > 0.8
    assert seen[data.regions["forehead"]].all()
    assert seen[vertices[:, 2].argmax()]
