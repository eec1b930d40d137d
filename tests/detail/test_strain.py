"""How skin is stretched."""

import pytest
import torch

from face3d.detail.strain import compression, metric, most_compressed
from face3d.render import texel_fragments
from face3d.render.detail import texel_axes


def _metric(mesh):
    return metric(texel_axes(mesh, texel_fragments(mesh.topology, 16)))


def test_a_sheet_pressed_together_along_u(sheets):
    rest, pressed = sheets.make(), sheets.make(wide=0.9, tall=1.05)
    direction, share = most_compressed(_metric(rest), _metric(pressed))
    assert share.mean() == pytest.approx(0.1, abs=1e-4)
    # One metre at rest, along u.
    assert direction[0].abs().mean() == pytest.approx(1 / sheets.side, rel=1e-4)
    assert direction[1].abs().max() < 1e-2
    along = compression(_metric(rest), _metric(pressed), direction)
    assert torch.allclose(along, torch.full_like(along, 0.1), atol=1e-4)


def test_turning_and_moving_is_no_strain(sheets):
    rest = sheets.make()
    direction, share = most_compressed(_metric(rest), _metric(sheets.turned(rest, 33.0)))
    assert share.max() < 2e-3
    assert torch.isfinite(direction).all()


def test_stretching_is_no_compression(sheets):
    _, share = most_compressed(_metric(sheets.make()), _metric(sheets.make(wide=1.2, tall=1.1)))
    assert share.max() == 0


def test_pressed_at_an_angle(sheets):
    # Shear is compression along one diagonal.
    rest, sheared = sheets.make(), sheets.make()
    vertices = sheared.vertices.clone()
    vertices[:, 0] += 0.2 * vertices[:, 1]
    moved = type(rest)(vertices=vertices, frame="head", topology=rest.topology)
    direction, share = most_compressed(_metric(rest), _metric(moved))
    # Singular values of a simple shear by g are (sqrt(g² + 4) ± g) / 2.
    assert share.mean() == pytest.approx(1 - (4.04**0.5 - 0.2) / 2, abs=1e-4)
    assert (direction[0] * direction[1] < 0).all()
